//! Unexpected behaviour of Kubernetes, and what Gantry must not do because of it. docs/coverage.md has the
//! whole list, and says where the other cases are tested.

use std::time::{Duration, Instant};

use gantry::pb;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{Pod, Service},
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api,
    api::{DeleteParams, EvictParams, ListParams, PostParams, ResourceExt},
};
use serde_json::json;

use crate::support::{Daemon, Env, annotate, follow, reason, run, until, web};

fn image(tag: &str) -> pb::AppSpec {
    pb::AppSpec { image: format!("{}:{tag}", web().image.split(':').next().unwrap()), ..Default::default() }
}

/// The uid and the Kubernetes revision number of each ReplicaSet.
async fn replica_sets(env: &Env) -> Vec<(String, String)> {
    let sets = Api::<ReplicaSet>::namespaced(env.client.clone(), &env.namespace);
    let list = sets.list(&ListParams::default()).await.unwrap();
    let mut all: Vec<_> = list
        .iter()
        .map(|set| (set.uid().unwrap(), set.annotations()["deployment.kubernetes.io/revision"].clone()))
        .collect();
    all.sort();
    all
}

/// A rollback reuses the old ReplicaSet, and Kubernetes gives it a new number. So the rollout of a pod is
/// found by its template, and no annotation of Gantry may make two ReplicaSets of one template.
#[tokio::test]
async fn a_rollback_uses_the_old_replica_set_again_and_its_replicas_are_of_the_new_rollout() {
    run(|env| async move {
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        let first = replica_sets(&env).await[0].0.clone();
        env.deploy_and_follow(env.deploy_request("web", image("other"))).await;
        let request = pb::RollbackAppRequest { name: env.name("web"), ..Default::default() };
        let answer = env.daemon.rollback_app(request).await.unwrap();
        let back = follow(&env.daemon, &answer.rollout.unwrap().name).await;
        assert_eq!(
            (back.state(), back.name.as_str()),
            (pb::RolloutState::Succeeded, &*(env.name("web") + "/rollouts/3"))
        );
        let sets = replica_sets(&env).await;
        assert_eq!(sets.len(), 2, "no third one: {sets:?}");
        assert!(sets.contains(&(first, "3".to_owned())), "{sets:?}");
        let request = pb::ListReplicasRequest { parent: env.name("web"), ..Default::default() };
        let replicas = env.daemon.list_replicas(request).await.unwrap().replicas;
        let current: Vec<_> = replicas.iter().filter(|r| r.state() == pb::ReplicaState::Ready).collect();
        assert_eq!(current.len(), 2, "{replicas:?}");
        assert!(current.iter().all(|r| r.rollout == back.name), "{replicas:?}");
    })
    .await;
}

/// The manifest depends only on the content, so a restarted daemon must not replace a single pod.
#[tokio::test]
async fn the_same_deploy_to_a_restarted_daemon_writes_nothing() {
    run(|mut env| async move {
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        let before = env.settled().await;
        env.daemon.kill().await;
        env.daemon = Daemon::start().await;
        let answer = env.deploy("web", web()).await.unwrap();
        assert_eq!((answer.rollout, answer.plan.unwrap().changes), (None, vec![]));
        assert_eq!(env.settled().await, before, "nor later");
    })
    .await;
}

/// Kubernetes refuses every eviction of a pod that two budgets cover.
#[tokio::test]
async fn where_a_budget_covers_the_replicas_no_second_one_is_made_and_they_can_be_evicted() {
    run(|env| async move {
        let budgets = Api::<PodDisruptionBudget>::namespaced(env.client.clone(), &env.namespace);
        let foreign = json!({"metadata": {"name": "wide"}, "spec": {
            "maxUnavailable": 1, "selector": {"matchLabels": {"gantry.dev/app": "web"}}}});
        budgets.create(&PostParams::default(), &serde_json::from_value(foreign).unwrap()).await.unwrap();
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        let names = async || {
            let list = budgets.list(&ListParams::default()).await.unwrap();
            list.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>()
        };
        assert_eq!(names().await, ["wide"]);
        let pods = Api::<Pod>::namespaced(env.client.clone(), &env.namespace);
        let pod = pods.list(&ListParams::default()).await.unwrap().items[0].name_any();
        until("the budget lets one go", async || {
            let answer = pods.evict(&pod, &EvictParams::default()).await;
            let refused = answer.as_ref().err().map(ToString::to_string);
            assert!(refused.as_ref().is_none_or(|e| !e.contains("more than one")), "{refused:?}");
            answer.is_ok()
        })
        .await;
        // Once no other budget covers the app, it gets one from Gantry.
        budgets.delete("wide", &DeleteParams::default()).await.unwrap();
        env.deploy_and_follow(env.deploy_request("web", image("other"))).await;
        assert_eq!(names().await, ["web"]);
    })
    .await;
}

/// Kubernetes allows names of Deployments that it does not allow for Services. All can be read. Only names
/// that the contract allows are deployed.
#[tokio::test]
async fn names_that_only_kubernetes_allows_are_read_and_not_deployed() {
    run(|env| async move {
        let deployments = Api::<Deployment>::namespaced(env.client.clone(), &env.namespace);
        let longest = "x".repeat(63);
        let names = ["3scale", "my.app.v2", longest.as_str()];
        for name in names {
            let object = json!({"metadata": {"name": name}, "spec": {
                "replicas": 1, "selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "main", "image": web().image}]}}}});
            deployments.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
        }
        let mut apps = env.daemon.apps().await;
        for name in names {
            until("it is seen", async || env.get(name).await.is_ok()).await;
            let replicas = pb::ListReplicasRequest { parent: env.name(name), ..Default::default() };
            apps.list_replicas(replicas).await.unwrap();
            let wait = pb::WaitAppRequest { name: env.name(name), ..Default::default() };
            assert!(apps.wait_app(wait).await.unwrap().into_inner().settled, "{name}");
            let scale = pb::ScaleAppRequest { name: env.name(name), replicas: Some(0), ..Default::default() };
            apps.scale_app(scale).await.unwrap();
            let status = apps.deploy_app(env.deploy_request(name, web())).await.unwrap_err();
            assert_eq!(reason(&status), "INVALID_FIELD", "{name}: {status}");
        }
    })
    .await;
}

/// The progress deadline of Kubernetes goes on while a Deployment is paused. Gantry's deadline stops, and
/// runs again afterwards.
#[tokio::test]
#[ignore = "needs simulated pods; tests/run-cluster includes it where they are"]
async fn a_rollout_that_is_held_does_not_run_out_of_time() {
    run(|env| async move {
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        let slow = pb::AppSpec {
            pod_template_patch: Some(annotate("sim/unready", "true")),
            rollout_policy: Some(pb::RolloutPolicy {
                progress_timeout: Some(prost_types::Duration { seconds: 2, nanos: 0 }),
                ..Default::default()
            }),
            ..image("other")
        };
        let mut rollouts = env.daemon.rollouts().await;
        let answer = env.deploy("web", slow).await.unwrap();
        let name = answer.rollout.unwrap().name;
        let pause = pb::PauseRolloutRequest { name: name.clone(), ..Default::default() };
        rollouts.pause_rollout(pause).await.unwrap();
        let held = Instant::now();
        // Nothing must happen, so the rollout is watched for longer than its deadline.
        while held.elapsed() < Duration::from_secs(4) {
            let timeout = Some(prost_types::Duration { seconds: 1, nanos: 0 });
            let wait = pb::WaitRolloutRequest { name: name.clone(), timeout };
            let now = rollouts.wait_rollout(wait).await.unwrap().into_inner().rollout.unwrap();
            assert_eq!(now.state(), pb::RolloutState::Paused, "{now:?}");
        }
        let scale = pb::ScaleAppRequest { name: env.name("web"), replicas: Some(3), ..Default::default() };
        env.daemon.scale_app(scale).await.expect("scaling works all the same");
        let resume = pb::ResumeRolloutRequest { name: name.clone(), ..Default::default() };
        rollouts.resume_rollout(resume).await.unwrap();
        let end = follow(&env.daemon, &name).await;
        assert_eq!(end.state(), pb::RolloutState::Failed, "{end:?}");
    })
    .await;
}

/// Several Services may select the same pods, each with other port names.
#[tokio::test]
async fn a_second_service_over_the_same_replicas_shows_none_of_them_twice() {
    run(|env| async move {
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        let number = web().ports[0].number;
        let service = json!({"metadata": {"name": "second"}, "spec": {"selector": {"gantry.dev/app": "web"},
            "ports": [{"name": "front", "port": 80, "targetPort": number}]}});
        let services = Api::<Service>::namespaced(env.client.clone(), &env.namespace);
        services.create(&PostParams::default(), &serde_json::from_value(service).unwrap()).await.unwrap();
        let mut discovery = env.daemon.discovery().await;
        for port in ["front", "http", ""] {
            until("both replicas, each once", async || {
                let request = pb::ListEndpointsRequest {
                    parent: env.name("web"),
                    port: port.into(),
                    ..Default::default()
                };
                let Ok(answer) = discovery.list_endpoints(request).await else { return false };
                let endpoints = answer.into_inner().endpoints;
                let mut pods: Vec<_> = endpoints.iter().map(|e| e.pod.as_str()).collect();
                pods.sort_unstable();
                pods.dedup();
                assert_eq!(pods.len(), endpoints.len(), "{endpoints:?}");
                endpoints.len() == 2 && endpoints.iter().all(|e| e.port == number)
            })
            .await;
        }
    })
    .await;
}
