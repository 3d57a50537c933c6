//! Each field of a spec is rendered as the contract says.

use std::time::Duration;

use serde_json::{Value, json};

use super::{mk_demo, patched, rendered, template};
use crate::domain::spec::{
    Check, Content, Files, KeyRef, Placement, Probe, Probes, SecurityProfile, Source, Spec, Spread,
    Toleration, Traffic, Volume,
};

fn mk_stored() -> Content {
    let spec: Spec = serde_json::from_str(include_str!("../../spec/full.json")).unwrap();
    Content { spec, ..Content::default() }
}

fn changed(change: impl FnOnce(&mut Spec)) -> Value {
    let mut content = mk_demo();
    change(&mut content.spec);
    template(&content)["spec"].clone()
}

fn container(change: impl FnOnce(&mut Spec)) -> Value {
    changed(change)["containers"][0].clone()
}

// These bytes are in clusters. If unchanged content is to be rendered differently, the renderer version must
// change.
#[test]
fn an_app_with_every_field_is_rendered_like_this() {
    let container = json!({
        "name": "main",
        "image": "shop:1",
        "command": ["/shop"],
        "args": ["-v"],
        "env": [
            {"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "shop", "key": "level"}}},
            {"name": "MODE", "value": "live"},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "shop", "key": "token", "optional": true}}},
        ],
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        "resources": {"requests": {"cpu": "250m"}, "limits": {"memory": "1Gi"}},
        "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}, {"name": "admin", "containerPort": 9090, "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"port": "http", "path": "/ready"}, "periodSeconds": 5, "timeoutSeconds": 2,
            "failureThreshold": 4, "initialDelaySeconds": 1},
        "livenessProbe": {"exec": {"command": ["/alive"]}},
        "startupProbe": {"tcpSocket": {"port": "admin"}},
        "volumeMounts": [
            {"name": "config-map-e8f2436927", "mountPath": "/etc/shop", "readOnly": true},
            {"name": "secret-c9d880b251", "mountPath": "/secret", "readOnly": true},
            {"name": "claim-254284ad2e", "mountPath": "/data", "readOnly": true},
            {"name": "empty-dir-b37caa5787", "mountPath": "/tmp"},
        ],
        "lifecycle": {"preStop": {"sleep": {"seconds": 10}}},
    });
    let expected = json!({
        "containers": [container],
        "hostname": "shop",
        "imagePullSecrets": [{"name": "registry"}],
        "nodeSelector": {"disk": "ssd"},
        "priorityClassName": "high",
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}, "runAsNonRoot": true},
        "serviceAccountName": "shop",
        "terminationGracePeriodSeconds": 60,
        "tolerations": [{"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}],
        "topologySpreadConstraints": [{"topologyKey": "rack", "maxSkew": 2, "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"gantry.dev/app": "shop"}}, "matchLabelKeys": ["pod-template-hash"]}],
        "volumes": [
            {"name": "config-map-e8f2436927", "configMap": {"name": "shop", "items": [{"key": "a", "path": "b/a"}], "optional": true}},
            {"name": "secret-c9d880b251", "secret": {"secretName": "shop"}},
            {"name": "claim-254284ad2e", "persistentVolumeClaim": {"claimName": "shop"}},
            {"name": "empty-dir-b37caa5787", "emptyDir": {"sizeLimit": "1Gi", "medium": "Memory"}},
        ],
    });
    assert_eq!(template(&mk_stored())["spec"], expected);
}

#[test]
fn what_steers_the_daemon_alone_changes_no_object() {
    let plain = rendered(&mk_demo());
    let mut content = mk_demo();
    content.spec.traffic = Some(Traffic { timeout: Some(Duration::from_secs(1)), max_attempts: 3 });
    content.spec.rollout_policy =
        mk_stored().spec.rollout_policy.map(|policy| crate::domain::spec::RolloutPolicy {
            max_surge: String::new(),
            max_unavailable: String::new(),
            strategy: crate::domain::spec::Strategy::Rolling,
            progress_timeout: None,
            ..policy
        });
    assert_ne!(content, mk_demo());
    assert_eq!(rendered(&content), plain);
}

#[test]
fn the_default_probe_can_be_changed_and_switched_off() {
    let readiness = |check| {
        let probes = Probes { readiness: Some(Probe::new(check)), ..Probes::default() };
        container(|spec| spec.probes = Some(Box::new(probes)))["readinessProbe"].clone()
    };
    let grpc = |service: &str| readiness(Check::Grpc { port: "http".into(), service: service.into() });
    assert_eq!(container(|_| {})["readinessProbe"], json!({"tcpSocket": {"port": "http"}}));
    assert_eq!(readiness(Check::None), Value::Null);
    assert_eq!(grpc(""), json!({"grpc": {"port": 8080}}), "Kubernetes takes no name here");
    assert_eq!(grpc("shop"), json!({"grpc": {"port": 8080, "service": "shop"}}));
    assert_eq!(
        readiness(Check::HttpGet { port: "http".into(), path: String::new() }),
        json!({"httpGet": {"port": "http", "path": "/"}})
    );
    // Other probes do not affect the default readiness probe. Without ports there is no default.
    let alive = Probes { liveness: Some(Probe::new(Check::Exec(vec!["true".into()]))), ..Probes::default() };
    assert_eq!(
        container(|s| s.probes = Some(Box::new(alive)))["readinessProbe"],
        json!({"tcpSocket": {"port": "http"}})
    );
    assert_eq!(container(|s| s.ports.clear()).get("readinessProbe"), None);
}

#[test]
fn a_time_shorter_than_a_second_is_a_second_and_no_default() {
    let short = Some(Duration::from_millis(1));
    let probe = Probe {
        period: short,
        timeout: Some(Duration::ZERO),
        initial_delay: short,
        ..Probe::new(Check::Exec(vec![]))
    };
    let probes = Probes { liveness: Some(probe), ..Probes::default() };
    let rendered = container(|spec| spec.probes = Some(Box::new(probes)))["livenessProbe"].clone();
    assert_eq!(
        rendered,
        json!({"exec": {"command": []}, "periodSeconds": 1, "timeoutSeconds": 1, "initialDelaySeconds": 1})
    );
    let waits = container(|spec| spec.drain_delay = Some(Duration::from_millis(1500)));
    assert_eq!(waits["lifecycle"]["preStop"]["sleep"]["seconds"], 2);
    assert_eq!(container(|spec| spec.drain_delay = Some(Duration::ZERO)).get("lifecycle"), None);
}

#[test]
fn an_account_that_is_asked_for_may_have_its_token() {
    let plain = changed(|_| {});
    assert_eq!(
        (&plain["serviceAccountName"], &plain["automountServiceAccountToken"]),
        (&json!("default"), &json!(false))
    );
    for name in ["shop", "default"] {
        let named = changed(|spec| spec.service_account = name.into());
        assert_eq!(
            (&named["serviceAccountName"], named.get("automountServiceAccountToken")),
            (&json!(name), None)
        );
    }
}

#[test]
fn an_empty_part_of_a_toleration_tolerates_all() {
    let toleration = |key: &str, value: &str, effect: &str| {
        let tolerations = vec![Toleration { key: key.into(), value: value.into(), effect: effect.into() }];
        let placement = Placement { tolerations, ..Placement::default() };
        changed(|spec| spec.placement = Some(Box::new(placement)))["tolerations"][0].clone()
    };
    assert_eq!(toleration("", "", ""), json!({"operator": "Exists"}));
    assert_eq!(toleration("", "", "NoExecute"), json!({"operator": "Exists", "effect": "NoExecute"}));
    assert_eq!(toleration("gpu", "", ""), json!({"key": "gpu", "operator": "Exists"}));
    assert_eq!(toleration("gpu", "a", ""), json!({"key": "gpu", "operator": "Equal", "value": "a"}));
}

#[test]
fn replicas_spread_as_asked_and_else_over_zones_and_nodes() {
    let default = changed(|_| {})["topologySpreadConstraints"].clone();
    let spread = |spread| {
        let placement = Placement { spread, ..Placement::default() };
        changed(|spec| spec.placement = Some(Box::new(placement)))["topologySpreadConstraints"].clone()
    };
    assert_eq!(spread(vec![]), default);
    assert_eq!(spread(Spread::default_spread()), default);
    let strict = spread(vec![Spread { topology_key: "rack".into(), max_skew: 0, required: true }]);
    assert_eq!(strict.as_array().map(Vec::len), Some(1));
    assert_eq!(
        (&strict[0]["maxSkew"], &strict[0]["whenUnsatisfiable"]),
        (&json!(1), &json!("DoNotSchedule"))
    );
}

#[test]
fn a_profile_that_is_said_belongs_to_the_field_also_if_it_is_the_default() {
    let patch = json!({"spec": {"securityContext": {"seccompProfile": null}}});
    let mut content = mk_demo();
    assert!(patched(&content, patch.clone()).is_ok());
    content.spec.security_profile = Some(SecurityProfile::Baseline);
    assert_eq!(template(&content), template(&mk_demo()));
    assert!(patched(&content, patch).is_err());
}

// If the name changed for unchanged content, every pod would be replaced.
#[test]
fn a_volume_is_named_by_what_it_is_and_where_it_goes() {
    let names = |volumes: Vec<(&str, Source)>| -> Vec<String> {
        let volume =
            |(path, source): (&str, Source)| Volume { mount_path: path.into(), source, read_only: false };
        let volumes: Vec<_> = volumes.into_iter().map(volume).collect();
        let pod = changed(|spec| spec.volumes = volumes);
        pod["volumes"].as_array().unwrap().iter().map(|v| v["name"].as_str().unwrap().to_owned()).collect()
    };
    let files = |name: &str| Files { name: name.into(), ..Files::default() };
    let dir = || Source::EmptyDir(crate::domain::spec::EmptyDir::default());
    let all = names(vec![
        ("/a", dir()),
        ("/b", dir()),
        ("/c", Source::ConfigMap(files("x"))),
        ("/d", Source::Secret(files("x"))),
        ("/e", Source::Claim("x".into())),
    ]);
    let distinct: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), 5);
    assert!(all.iter().all(|name| crate::domain::name::is_label(name)), "{all:?}");
    // The name does not depend on other mounts or their order.
    assert_eq!(names(vec![("/b", dir())])[0], all[1]);
    assert_ne!(names(vec![("/c", Source::ConfigMap(files("y")))])[0], all[2]);
}

#[test]
fn a_patch_may_not_touch_what_these_fields_rendered_but_their_defaults() {
    let app = |change: Value| {
        let mut entry = json!({"name": "main"});
        entry.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        json!({"spec": {"containers": [entry]}})
    };
    let pod = |change: Value| json!({"spec": change});
    let mut full = mk_stored();
    full.spec.pod_template_patch = None;
    let mut unset = mk_demo();
    unset.spec.container = "main".into();
    for (patch, field) in [
        (app(json!({"env": [{"name": "TOKEN", "value": "x"}]})), "spec.secret_env"),
        (app(json!({"env": [{"name": "LEVEL", "value": "x"}]})), "spec.config_map_env"),
        (app(json!({"readinessProbe": {"periodSeconds": 1}})), "spec.probes"),
        (app(json!({"livenessProbe": null})), "spec.probes"),
        (app(json!({"startupProbe": {"exec": {"command": ["x"]}}})), "spec.probes"),
        (app(json!({"volumeMounts": [{"mountPath": "/tmp", "subPath": "x"}]})), "spec.volumes"),
        (app(json!({"volumeMounts": null})), "spec.volumes"),
        (pod(json!({"volumes": null})), "spec.volumes"),
        (pod(json!({"nodeSelector": {"disk": "hdd"}})), "spec.placement"),
        (pod(json!({"tolerations": [{"operator": "Exists"}]})), "spec.placement"),
        (
            pod(json!({"topologySpreadConstraints": [{"topologyKey": "rack", "maxSkew": 9}]})),
            "spec.placement",
        ),
        (pod(json!({"priorityClassName": "low"})), "spec.placement"),
        (pod(json!({"serviceAccountName": "admin"})), "spec.service_account"),
        (pod(json!({"securityContext": {"runAsNonRoot": false}})), "spec.security_profile"),
        (
            pod(json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}})),
            "spec.security_profile",
        ),
        (app(json!({"securityContext": {"allowPrivilegeEscalation": true}})), "spec.security_profile"),
        (app(json!({"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}})), "spec.security_profile"),
        (pod(json!({"imagePullSecrets": [{"name": "registry", "x": "y"}]})), "spec.image_pull_secrets"),
        (
            app(json!({"lifecycle": {"preStop": {"exec": {"command": ["x"]}, "sleep": null}}})),
            "spec.drain_delay",
        ),
    ] {
        let refused = patched(&full, patch.clone());
        let told = matches!(&refused, Err(super::Invalid::Touches { field: f, .. }) if *f == field);
        assert!(told, "{patch}: {refused:?}");
        assert!(patched(&unset, patch.clone()).is_ok(), "{patch} is refused where nothing is set");
    }
}

#[test]
fn what_a_patch_adds_beside_a_field_is_taken() {
    let mut content = mk_stored();
    content.spec.security_profile = Some(SecurityProfile::Restricted);
    content.spec.secret_env =
        [("A".to_owned(), KeyRef { name: "s".into(), key: "k".into(), optional: false })].into();
    let patch = json!({"spec": {
        "automountServiceAccountToken": false,
        "volumes": [{"name": "sock", "hostPath": {"path": "/run"}}],
        "imagePullSecrets": [{"name": "other"}],
        "securityContext": {"fsGroup": 1},
        "topologySpreadConstraints": [{"topologyKey": "rack", "whenUnsatisfiable": "ScheduleAnyway", "maxSkew": 1}],
        "containers": [{"name": "main", "volumeMounts": [{"name": "sock", "mountPath": "/run"}],
            "lifecycle": {"postStart": {"exec": {"command": ["x"]}}}, "securityContext": {"readOnlyRootFilesystem": true}}],
    }});
    let pod = patched(&content, patch).unwrap()["spec"].clone();
    assert_eq!(pod["volumes"].as_array().map(Vec::len), Some(5));
    assert_eq!(pod["imagePullSecrets"], json!([{"name": "registry"}, {"name": "other"}]));
    assert_eq!(pod["topologySpreadConstraints"].as_array().map(Vec::len), Some(2));
    let lifecycle = &pod["containers"][0]["lifecycle"];
    assert_eq!(lifecycle["preStop"]["sleep"]["seconds"], 10);
    assert_eq!(lifecycle["postStart"]["exec"]["command"], json!(["x"]));
}
