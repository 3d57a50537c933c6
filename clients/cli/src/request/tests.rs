//! The requests that each command sends.

use clap::Parser;

use super::*;
use crate::args::{Cli, Command};

pub(super) fn mk_name() -> name::App {
    name::App { namespace: "prod".into(), app: "shop".into() }
}

pub(super) fn mk_command(line: &str) -> Command {
    match Cli::try_parse_from(line.split(' ')) {
        Ok(cli) => cli.command,
        Err(error) => panic!("`{line}` is in order: {error}"),
    }
}

fn mk_request(line: &str) -> v1::DeployAppRequest {
    let Command::Deploy(flags) = mk_command(line) else { panic!("`{line}` deploys") };
    deploy(&mk_name(), &flags)
}

fn pair(key: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(key.to_owned(), value.to_owned())])
}

#[test]
fn what_is_not_named_is_not_set() {
    let request = mk_request("gantry deploy shop");
    let app = v1::App {
        name: "namespaces/prod/apps/shop".into(),
        spec: Some(v1::AppSpec::default()),
        ..Default::default()
    };
    assert_eq!(request, v1::DeployAppRequest { app: Some(app), ..Default::default() });
}

#[test]
fn every_flag_arrives() {
    let request = mk_request(
        "gantry deploy shop -i a:1 -r 0 -p http=80/http --request cpu=1,memory=2Gi --limit cpu=2 -e A=b=c --label l=1 \
         --annotation a=1 --pod-annotation p=1 --reason why --etag e --concurrency reject --force --adopt --dry-run \
         --request-id 0b0e5a2c-0000-4000-8000-000000000000 --command sh --command -c --env-secret S=db/key --env-config C=cfg/key? \
         --volume /tmp=empty --security restricted --service-account sa --pull-secret reg --container main \
         --termination-grace 40s --drain-delay 7s --readiness http:http/ready --liveness none --startup tcp:http \
         --strategy recreate --max-surge 1 --max-unavailable 10% --progress-timeout 1m --verdict wait --tolerated-restarts 0 \
         --transient-grace 5s --on-failure roll-back --node-selector disk=ssd --toleration gpu:NoSchedule --priority-class high \
         --call-timeout 2s --call-attempts 3 -- serve --fast",
    );
    assert_eq!((request.reason.as_str(), request.concurrency()), ("why", v1::Concurrency::Reject));
    assert!(request.force && request.adopt && request.validate_only && request.update_mask.is_none());
    assert_eq!(request.request_id, "0b0e5a2c-0000-4000-8000-000000000000");
    let app = request.app.unwrap_or_default();
    assert_eq!((app.etag.as_str(), &app.labels, &app.annotations), ("e", &pair("l", "1"), &pair("a", "1")));
    let json: serde_json::Value =
        serde_json::from_str(&crate::proto::to_json(&app).expect("it is a message")).expect("it is JSON");
    let expected = serde_json::json!({
        "image": "a:1",
        "replicas": 0,
        "ports": [{"name": "http", "number": 80, "protocol": "PROTOCOL_HTTP"}],
        "command": ["sh", "-c"],
        "args": ["serve", "--fast"],
        "env": {"A": "b=c"},
        "secretEnv": {"S": {"name": "db", "key": "key"}},
        "configMapEnv": {"C": {"name": "cfg", "key": "key", "optional": true}},
        "resources": {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"cpu": "2"}},
        "probes": {
            "readiness": {"httpGet": {"port": "http", "path": "/ready"}},
            "liveness": {"none": {}},
            "startup": {"tcpPort": "http"},
        },
        "rolloutPolicy": {
            "maxSurge": "1", "maxUnavailable": "10%", "strategy": "STRATEGY_RECREATE", "progressTimeout": "60s",
            "verdict": "VERDICT_WAIT", "toleratedRestarts": 0, "onFailure": "ON_FAILURE_ROLL_BACK", "transientGrace": "5s",
        },
        "volumes": [{"mountPath": "/tmp", "emptyDir": {}}],
        "placement": {
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "gpu", "effect": "NoSchedule"}],
            "priorityClass": "high",
        },
        "serviceAccount": "sa",
        "securityProfile": "SECURITY_PROFILE_RESTRICTED",
        "terminationGrace": "40s",
        "imagePullSecrets": ["reg"],
        "podTemplatePatch": {"metadata": {"annotations": {"p": "1"}}},
        "container": "main",
        "drainDelay": "7s",
        "traffic": {"timeout": "2s", "maxAttempts": 3},
    });
    assert_eq!(json["spec"], expected);
}

#[test]
fn a_file_replaces_everything_and_says_nothing_for_the_server() {
    let Command::Deploy(flags) = mk_command("gantry deploy -f - --etag mine") else { panic!("it deploys") };
    let read = v1::App {
        etag: "of the file".into(),
        uid: "u".into(),
        status: Some(v1::AppStatus::default()),
        create_time: Some(prost_types::Timestamp::default()),
        update_time: Some(prost_types::Timestamp::default()),
        ..Default::default()
    };
    let request = deploy_file(read, &flags);
    assert_eq!(request.update_mask.map(|mask| mask.paths), Some(vec!["*".to_owned()]));
    assert_eq!(request.app, Some(v1::App { etag: "mine".into(), ..Default::default() }));
}

#[test]
fn an_app_that_was_read_can_be_deployed() {
    let mut app =
        mk_request("gantry deploy shop -i a:1 -r 3 -e A=1 --readiness tcp:http").app.unwrap_or_default();
    app.etag = "e".into();
    let shown = v1::App {
        status: Some(v1::AppStatus { ready_replicas: 3, ..Default::default() }),
        uid: "u".into(),
        create_time: Some(prost_types::Timestamp::default()),
        ..app.clone()
    };
    for text in [crate::proto::to_yaml(&shown), crate::proto::to_pretty_json(&shown)] {
        let read =
            crate::proto::from_yaml::<v1::App>(&text.expect("it is a message")).expect("it can be read");
        assert_eq!(deploy_file(read, &args::Deploy::default()).app.as_ref(), Some(&app));
    }
}

#[test]
fn every_other_change_arrives() {
    const CALL: &str = "--reason why --request-id id";
    let Command::Scale(flags) =
        mk_command(&format!("gantry scale shop 0 --hold-for 1h --etag e --dry-run {CALL}"))
    else {
        panic!("it scales")
    };
    let hold_for = Some(prost_types::Duration { seconds: 3600, nanos: 0 });
    let (name, etag, reason, request_id) =
        ("namespaces/prod/apps/shop".to_owned(), "e".to_owned(), "why".to_owned(), "id".to_owned());
    assert_eq!(
        scale(&mk_name(), &flags),
        v1::ScaleAppRequest {
            name: name.clone(),
            replicas: Some(0),
            hold_for,
            etag: etag.clone(),
            validate_only: true,
            request_id: request_id.clone(),
            reason: reason.clone(),
        }
    );
    let Command::Restart(flags) = mk_command(&format!("gantry restart shop --etag e --dry-run {CALL}"))
    else {
        panic!("it restarts")
    };
    assert_eq!(
        restart(&mk_name(), &flags),
        v1::RestartAppRequest {
            name: name.clone(),
            request_id: request_id.clone(),
            reason: reason.clone(),
            validate_only: true,
            etag: etag.clone(),
        }
    );
    let line = format!("gantry rollback shop --to 12 --keep-autoscaler --force --etag e --dry-run {CALL}");
    let Command::Rollback(flags) = mk_command(&line) else { panic!("it rolls back") };
    assert_eq!(
        rollback(&mk_name(), &flags),
        Ok(v1::RollbackAppRequest {
            name: name.clone(),
            rollout: format!("{name}/rollouts/12"),
            validate_only: true,
            request_id: request_id.clone(),
            reason: reason.clone(),
            etag: etag.clone(),
            keep_autoscaler: true,
            force: true,
        })
    );
    let line = format!("gantry delete shop --allow-missing --etag e --dry-run {CALL}");
    let Command::Delete(flags) = mk_command(&line) else { panic!("it deletes") };
    assert_eq!(
        delete(&mk_name(), &flags),
        v1::DeleteAppRequest { name, etag, allow_missing: true, validate_only: true, reason, request_id }
    );
}
