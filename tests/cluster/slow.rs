//! Rollouts that take their time through no fault of the version: something comes later, an old replica stops
//! slowly, there is no room for more, or nothing runs at all.

use gantry::pb;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Api, api::PostParams};
use serde_json::json;

use crate::support::{Env, annotate, annotate_all, follow, run, until, web};

#[allow(clippy::unnecessary_wraps)] // fields of messages are optional
fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

async fn succeed(env: &Env, spec: pb::AppSpec) -> pb::Rollout {
    let rollout = env.deploy_and_follow(env.deploy_request("web", spec)).await;
    assert_eq!(rollout.state(), pb::RolloutState::Succeeded, "{rollout:?}");
    rollout
}

async fn problem(env: &Env) -> pb::Problem {
    let status = env.get("web").await.unwrap().status.unwrap();
    status.problems.into_iter().next().unwrap_or_default()
}

#[tokio::test]
async fn a_service_account_that_comes_later_fails_nothing() {
    run(|env| async move {
        let spec = pb::AppSpec { service_account: "till".into(), ..web() };
        let rollout = env.deploy("web", spec).await.unwrap().rollout.unwrap();
        until("it is named", async || problem(&env).await.reason == "CONFIG_MISSING").await;
        let missing = problem(&env).await;
        assert!(missing.object.starts_with("replicaset.apps/web-") && !missing.fatal, "{missing:?}");
        let command = format!("kubectl create serviceaccount till --namespace {}", env.namespace);
        assert!(missing.remedy.contains(&command), "{missing:?}");
        let accounts = Api::<ServiceAccount>::namespaced(env.client.clone(), &env.namespace);
        let account = serde_json::from_value(json!({"metadata": {"name": "till"}})).unwrap();
        accounts.create(&PostParams::default(), &account).await.unwrap();
        let end = follow(&env.daemon, &rollout.name).await;
        assert_eq!(end.state(), pb::RolloutState::Succeeded, "{end:?}");
        assert_eq!(env.get("web").await.unwrap().status.unwrap().problems, vec![]);
    })
    .await;
}

#[tokio::test]
async fn a_quota_that_demands_requests_says_how_to_set_them() {
    run(|env| async move {
        env.limit(json!({"limits.cpu": "9"})).await;
        let spec = pb::AppSpec { resources: None, ..web() };
        let rollout = env.deploy_and_follow(env.deploy_request("web", spec)).await;
        let problem = rollout.error.unwrap().problem.unwrap();
        assert_eq!((problem.reason.as_str(), problem.fatal), ("QUOTA_EXCEEDED", true), "{problem:?}");
        assert!(problem.message.contains("must specify limits.cpu"), "{problem:?}");
        assert!(problem.remedy.contains("--limit"), "{problem:?}");
    })
    .await;
}

/// Trap: with Recreate nothing of the new version exists before the old replicas are gone.
#[tokio::test]
#[ignore = "needs simulated pods; tests/run-cluster includes it where they are"]
async fn a_rollout_that_waits_for_a_replica_to_stop_names_it() {
    run(|env| async move {
        let policy = pb::RolloutPolicy {
            strategy: pb::Strategy::Recreate.into(),
            progress_timeout: seconds(3),
            ..pb::RolloutPolicy::default()
        };
        let slow = pb::AppSpec {
            replicas: Some(1),
            rollout_policy: Some(policy),
            pod_template_patch: Some(annotate("sim/stop-after", "60s")),
            drain_delay: seconds(0),
            termination_grace: seconds(2),
            ..web()
        };
        succeed(&env, slow.clone()).await;
        let next = pb::AppSpec { image: "web:2".into(), ..slow };
        let rollout = env.deploy("web", next).await.unwrap().rollout.unwrap();
        until("it says what it waits for", async || {
            let message = env.get("web").await.unwrap().status.unwrap().message;
            message.contains("was told to stop at") && message.contains("with 2 s to end")
        })
        .await;
        let error = follow(&env.daemon, &rollout.name).await.error.unwrap();
        assert_eq!(error.reason, "PROGRESS_TIMEOUT");
        assert!(error.message.contains("was told to stop at"), "{}", error.message);
        assert!(error.problem.unwrap().object.starts_with("pod/web-"));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs simulated pods; tests/run-cluster includes it where they are"]
async fn a_count_raised_beyond_the_room_dooms_no_version() {
    run(|env| async move {
        env.limit(json!({"pods": "6"})).await;
        succeed(&env, web()).await;
        let next = pb::AppSpec {
            image: "web:2".into(),
            pod_template_patch: Some(annotate_all(&[("sim/ready-after", "3s")])),
            rollout_policy: Some(pb::RolloutPolicy {
                transient_grace: seconds(6),
                ..pb::RolloutPolicy::default()
            }),
            ..pb::AppSpec::default()
        };
        let rollout = env.deploy("web", next).await.unwrap().rollout.unwrap();
        env.scale("web", 9).await.unwrap();
        let end = follow(&env.daemon, &rollout.name).await;
        assert_eq!(end.state(), pb::RolloutState::Succeeded, "{end:?}");
        assert!(end.message.contains("The count was raised from 2 meanwhile"), "{}", end.message);
        assert_eq!(problem(&env).await.reason, "QUOTA_EXCEEDED");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs simulated pods; tests/run-cluster includes it where they are"]
async fn no_rollback_goes_to_what_never_ran() {
    run(|env| async move {
        let first = succeed(&env, web()).await;
        env.scale("web", 0).await.unwrap();
        let image = |image: &str| pb::AppSpec { image: image.into(), ..pb::AppSpec::default() };
        let empty = succeed(&env, image("web:does-not-exist")).await;
        assert!(empty.message.contains("at 0 replicas nothing has run it"), "{}", empty.message);
        env.scale("web", 1).await.unwrap();
        until("it cannot run", async || problem(&env).await.reason == "IMAGE_PULL_FAILED").await;
        let policy = pb::RolloutPolicy { on_failure: pb::OnFailure::RollBack.into(), ..Default::default() };
        let bad = pb::AppSpec { rollout_policy: Some(policy), ..image("web:missing") };
        let failed = env.deploy_and_follow(env.deploy_request("web", bad)).await;
        assert_eq!(failed.state(), pb::RolloutState::Failed, "{failed:?}");
        let latest = format!("{}/rollouts/latest", env.name("web"));
        let mut back = pb::Rollout::default();
        until("it is rolled back", async || {
            let request = pb::GetRolloutRequest { name: latest.clone(), ..Default::default() };
            back = env.daemon.get_rollout(request).await.unwrap().rollout.unwrap_or_default();
            back.cause() == pb::RolloutCause::AutoRollback
        })
        .await;
        assert_eq!(back.source_rollout, first.name, "{back:?}");
        let end = follow(&env.daemon, &back.name).await;
        assert_eq!(end.state(), pb::RolloutState::Succeeded, "{end:?}");
    })
    .await;
}
