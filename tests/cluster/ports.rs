//! The Service while a rollout changes the ports of an app, after it ended, and after the daemon was killed
//! in the middle; and the ports of a Service that was adopted.

use std::collections::BTreeSet;

use gantry::pb;
use k8s_openapi::{
    api::{
        apps::v1::{ControllerRevision, Deployment},
        core::v1::{Pod, Service},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::{
    Api,
    api::{ListParams, PostParams, ResourceExt},
};
use serde_json::json;

use crate::support::{Daemon, Env, annotate, follow, reason, run, until, web};

fn port(name: &str, number: i32) -> pb::Port {
    pb::Port { name: name.into(), number, protocol: pb::Protocol::Http.into() }
}

/// A deploy of these ports, which replaces all others.
fn with_ports(env: &Env, spec: pb::AppSpec, ports: Vec<pb::Port>) -> pb::DeployAppRequest {
    let mut paths = vec!["spec.ports".to_owned()];
    if !spec.image.is_empty() {
        paths.push("spec.image".to_owned());
    }
    if spec.pod_template_patch.is_some() {
        paths.push("spec.pod_template_patch".to_owned());
    }
    let request = env.deploy_request("web", pb::AppSpec { ports, ..spec });
    pb::DeployAppRequest { update_mask: Some(prost_types::FieldMask { paths }), ..request }
}

fn image(tag: &str) -> pb::AppSpec {
    pb::AppSpec { image: format!("web:{tag}"), ..pb::AppSpec::default() }
}

/// The ports of the Service as `name number target`; `None` if there is no Service.
async fn service(env: &Env) -> Option<Vec<String>> {
    let services = Api::<Service>::namespaced(env.client.clone(), &env.namespace);
    let service = services.get_opt("web").await.unwrap()?;
    let target = |target: Option<IntOrString>| match target {
        Some(IntOrString::Int(number)) => number.to_string(),
        Some(IntOrString::String(name)) => name,
        None => String::new(),
    };
    let ports = service.spec.unwrap().ports.unwrap_or_default().into_iter();
    let mut all: Vec<_> = ports
        .map(|p| format!("{} {} {}", p.name.unwrap_or_default(), p.port, target(p.target_port)))
        .collect();
    all.sort();
    Some(all)
}

async fn becomes(env: &Env, ports: &[&str]) {
    let mut last = None;
    let expected: Vec<_> = ports.iter().map(|port| (*port).to_owned()).collect();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while std::time::Instant::now() < end {
        last = service(env).await;
        if last.as_ref() == Some(&expected) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the Service has {last:?}, not {expected:?}");
}

/// How many ready replicas are behind each port of the Service, by name, with the number in the replica.
async fn ready(env: &Env) -> BTreeSet<(String, i32, usize)> {
    let slices = Api::<EndpointSlice>::namespaced(env.client.clone(), &env.namespace);
    let list = slices.list(&ListParams::default().labels("kubernetes.io/service-name=web")).await.unwrap();
    let mut found = BTreeSet::new();
    for slice in list {
        let is_ready = |e: &&k8s_openapi::api::discovery::v1::Endpoint| {
            e.conditions.as_ref().and_then(|c| c.ready) == Some(true)
        };
        let count = slice.endpoints.iter().filter(is_ready).count();
        for port in slice.ports.into_iter().flatten().filter(|_| count > 0) {
            found.insert((port.name.unwrap_or_default(), port.port.unwrap_or_default(), count));
        }
    }
    found
}

fn set<const N: usize>(all: [(&str, i32, usize); N]) -> BTreeSet<(String, i32, usize)> {
    all.into_iter().map(|(name, port, count)| (name.to_owned(), port, count)).collect()
}

async fn discovered(env: &Env, port: &str) -> Vec<i32> {
    let request =
        pb::ListEndpointsRequest { parent: env.name("web"), port: port.into(), ..Default::default() };
    let found = env.daemon.list_endpoints(request).await.unwrap();
    found.endpoints.iter().map(|endpoint| endpoint.port).collect()
}

/// Whether the newest revision has the mark of the step after the success.
async fn is_marked(env: &Env) -> bool {
    let revisions = Api::<ControllerRevision>::namespaced(env.client.clone(), &env.namespace);
    let all = revisions.list(&ListParams::default()).await.unwrap();
    let newest = all.iter().max_by_key(|revision| revision.revision).unwrap();
    newest.annotations().contains_key("gantry.dev/earlier-ports-removed")
}

fn later(plan: &pb::Plan) -> Vec<(String, String)> {
    let later = plan.changes.iter().filter(|change| change.after_success);
    later.map(|change| (change.object.clone(), change.path.clone())).collect()
}

#[tokio::test]
#[ignore = "needs simulated pods; tests/run-cluster includes it where they are"]
async fn a_port_renamed_with_an_image_that_does_not_exist_keeps_its_endpoints() {
    run(|env| async move {
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        until("both are ready", async || ready(&env).await == set([("http", 8080, 2)])).await;
        let bad = with_ports(&env, image("does-not-exist"), vec![port("web", 8080)]);
        let answer = env.daemon.deploy_app(bad.clone()).await.unwrap();
        let service_changes = [
            ("service/web".to_owned(), "spec.ports[8080].name".to_owned()),
            ("service/web".to_owned(), "spec.ports[8080].targetPort".to_owned()),
        ];
        assert_eq!(later(&answer.plan.unwrap()), service_changes);
        let failed = follow(&env.daemon, &answer.rollout.unwrap().name).await;
        assert_eq!(failed.state(), pb::RolloutState::Failed);
        becomes(&env, &["http 8080 8080"]).await;
        assert_eq!(ready(&env).await, set([("http", 8080, 2)]));
        assert_eq!(discovered(&env, "http").await, [8080, 8080]);
        assert!(!is_marked(&env).await);

        // Another failure, of another port, with the first one's replicas still there.
        let failed =
            env.deploy_and_follow(with_ports(&env, image("missing"), vec![port("http", 9000)])).await;
        assert_eq!(failed.state(), pb::RolloutState::Failed);
        assert_eq!(service(&env).await.unwrap(), ["http 8080 8080", "http--9000 9000 http"]);
        assert!(ready(&env).await.contains(&("http".to_owned(), 8080, 2)), "{:?}", ready(&env).await);

        let done = env.deploy_and_follow(with_ports(&env, image("2"), vec![port("web", 8080)])).await;
        assert_eq!(done.state(), pb::RolloutState::Succeeded);
        becomes(&env, &["web 8080 web"]).await;
        until("the new ones are ready", async || ready(&env).await == set([("web", 8080, 2)])).await;
        assert_eq!(discovered(&env, "web").await.len(), 2);
        until("it is marked", async || is_marked(&env).await).await;
        let before = env.settled().await;
        let again =
            env.daemon.deploy_app(with_ports(&env, image("2"), vec![port("web", 8080)])).await.unwrap();
        assert_eq!((again.rollout, again.plan.unwrap().changes), (None, vec![]));
        assert_eq!(env.settled().await, before, "the same again writes nothing");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs simulated pods; tests/run-cluster includes it where they are"]
async fn while_ports_change_old_and_new_replicas_are_reached_and_a_rollback_ends_it() {
    run(|env| async move {
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        let slow = pb::AppSpec { pod_template_patch: Some(annotate("sim/ready-after", "3s")), ..image("2") };
        let answer = env.daemon.deploy_app(with_ports(&env, slow, vec![port("http", 9000)])).await.unwrap();
        assert_eq!(service(&env).await.unwrap(), ["http 8080 http", "http--9000 9000 http"]);
        let pods = Api::<Pod>::namespaced(env.client.clone(), &env.namespace);
        until("a new replica is there", async || {
            pods.list(&ListParams::default()).await.unwrap().items.len() == 3
        })
        .await;
        // The rollout is held in its middle, with two old replicas and a new one.
        let pause = pb::PauseRolloutRequest { name: answer.rollout.unwrap().name, ..Default::default() };
        env.daemon.pause_rollout(pause).await.unwrap();
        let both =
            set([("http", 8080, 2), ("http", 9000, 1), ("http--9000", 8080, 2), ("http--9000", 9000, 1)]);
        until("all three are reached", async || ready(&env).await == both).await;
        let mut numbers = discovered(&env, "http").await;
        numbers.sort_unstable();
        assert_eq!(numbers, [8080, 8080, 9000]);

        let request = pb::RollbackAppRequest {
            name: env.name("web"),
            rollout: env.name("web") + "/rollouts/1",
            ..Default::default()
        };
        let back = env.daemon.rollback_app(request).await.unwrap();
        assert_eq!(
            follow(&env.daemon, &back.rollout.unwrap().name).await.state(),
            pb::RolloutState::Succeeded
        );
        becomes(&env, &["http 8080 http"]).await;
        assert_eq!(ready(&env).await, set([("http", 8080, 2)]));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs simulated pods; tests/run-cluster includes it where they are"]
async fn without_ports_the_service_goes_after_the_success_also_if_the_daemon_was_killed() {
    run(|mut env| async move {
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        let slow = pb::AppSpec { pod_template_patch: Some(annotate("sim/ready-after", "3s")), ..image("2") };
        let only = pb::DeployAppRequest { validate_only: true, ..with_ports(&env, slow.clone(), vec![]) };
        let planned = env.daemon.deploy_app(only).await.unwrap().plan.unwrap();
        assert_eq!(later(&planned), [("service/web".to_owned(), String::new())]);
        let answer = env.daemon.deploy_app(with_ports(&env, slow, vec![])).await.unwrap();
        assert_eq!(answer.plan.unwrap().changes, planned.changes);
        env.daemon.kill().await;
        assert_eq!(service(&env).await.unwrap(), ["http 8080 http"], "the old replicas serve");
        let deployments = Api::<Deployment>::namespaced(env.client.clone(), &env.namespace);
        until("the new replicas are there", async || {
            let status = deployments.get("web").await.unwrap().status.unwrap();
            status.updated_replicas == Some(2)
                && status.replicas == Some(2)
                && status.ready_replicas == Some(2)
        })
        .await;
        assert!(service(&env).await.is_some(), "there is no daemon to take it away");
        env.daemon = Daemon::start().await;
        until("the next daemon takes the Service away", async || service(&env).await.is_none()).await;
        until("and marks the revision", async || is_marked(&env).await).await;
        assert_eq!(env.get("web").await.unwrap().spec.unwrap().ports, []);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs simulated pods; tests/run-cluster includes it where they are"]
async fn a_port_of_an_adopted_service_sends_to_the_port_that_a_deploy_changes() {
    run(|env| async move {
        let by_kubectl = PostParams { field_manager: Some("kubectl-create".into()), ..PostParams::default() };
        let labels = json!({"run": "web"});
        let deployment = json!({"metadata": {"name": "web"}, "spec": {"replicas": 2, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "web:1",
                "ports": [{"name": "http", "containerPort": 8080}]}]}}}});
        let exposed = json!({"metadata": {"name": "web"}, "spec": {"selector": labels,
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}});
        let deployments = Api::<Deployment>::namespaced(env.client.clone(), &env.namespace);
        let services = Api::<Service>::namespaced(env.client.clone(), &env.namespace);
        deployments.create(&by_kubectl, &serde_json::from_value(deployment).unwrap()).await.unwrap();
        services.create(&by_kubectl, &serde_json::from_value(exposed).unwrap()).await.unwrap();
        until("it is seen", async || env.get("web").await.is_ok()).await;
        let adopt = pb::DeployAppRequest { adopt: true, ..env.deploy_request("web", image("2")) };
        env.deploy_and_follow(adopt).await;
        assert_eq!(service(&env).await.unwrap(), ["http 80 8080"], "adoption leaves it alone");

        let moved = || with_ports(&env, pb::AppSpec::default(), vec![port("http", 9000)]);
        let refused = env.daemon.deploy_app(moved()).await.unwrap_err();
        assert_eq!(reason(&refused), "CONFLICTING_FIELD_MANAGER", "{refused}");
        assert!(refused.message().contains("targetPort"), "{refused}");
        let forced = pb::DeployAppRequest { force: true, ..moved() };
        assert_eq!(env.deploy_and_follow(forced).await.state(), pb::RolloutState::Succeeded);
        becomes(&env, &["http 80 http", "http--9000 9000 http"]).await;
        let both = set([("http", 9000, 2), ("http--9000", 9000, 2)]);
        until("it reaches the new port", async || ready(&env).await == both).await;
        // It stays so, without force.
        env.deploy_and_follow(env.deploy_request("web", image("3"))).await;
        until("it goes on", async || ready(&env).await == both).await;
    })
    .await;
}
