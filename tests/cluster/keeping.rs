//! What is stored of rollouts: the evidence of a failure, even after the pods and events that it describes
//! are gone; a limited number of revisions; and the autoscaler policy that a rollback restores.

use std::{collections::HashMap, time::Instant};

use gantry::pb::{self, watch_rollout_response::Event};
use k8s_openapi::api::{
    apps::v1::ControllerRevision,
    core::v1::{Event as CoreEvent, Pod, Secret},
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::json;

use crate::support::{Daemon, Env, annotate_all, follow, run, until, web};

fn image(tag: &str) -> pb::AppSpec {
    pb::AppSpec { image: format!("web:{tag}"), ..pb::AppSpec::default() }
}

async fn rollout(env: &Env, number: u64) -> pb::Rollout {
    let name = format!("{}/rollouts/{number}", env.name("web"));
    let request = pb::GetRolloutRequest { name, ..Default::default() };
    env.daemon.get_rollout(request).await.unwrap().rollout.unwrap()
}

async fn rollback(env: &Env, request: pb::RollbackAppRequest) -> pb::RollbackAppResponse {
    let request = pb::RollbackAppRequest { name: env.name("web"), ..request };
    env.daemon.rollback_app(request).await.unwrap()
}

/// A spec whose containers log this text and crash.
fn crashing(words: &str) -> pb::AppSpec {
    let policy = pb::RolloutPolicy { tolerated_restarts: Some(0), ..pb::RolloutPolicy::default() };
    let patch = annotate_all(&[
        ("sim/unready", "true"),
        ("sim/crash-after", "100ms"),
        ("sim/crash-log", words),
        ("sim/restart-after", "60s"),
    ]);
    pb::AppSpec { rollout_policy: Some(policy), pod_template_patch: Some(patch), ..image("2") }
}

/// Deploys a crashing app that logs a password and a value of a Secret that it reads; returns the name of the
/// rollout.
async fn deploy_that_logs_secrets(env: &Env) -> String {
    let words = "FATAL cannot reach db-7\nurl postgres://app:hunter2@db-7:5432/shop\ntried correct horse battery in vain";
    let secret: Secret = serde_json::from_value(json!({
        "metadata": {"name": "db"}, "stringData": {"word": "correct horse battery\n", "zone": "db-7"}
    }))
    .unwrap();
    let secrets = Api::<Secret>::namespaced(env.client.clone(), &env.namespace);
    secrets.create(&PostParams::default(), &secret).await.unwrap();
    let key = pb::KeyRef { name: "db".into(), key: "word".into(), ..pb::KeyRef::default() };
    let bad = pb::AppSpec { secret_env: [("WORD".to_owned(), key)].into(), ..crashing(words) };
    env.deploy("web", bad).await.unwrap().rollout.unwrap().name
}

/// Watches the rollout: it fails, then its log tail comes, and the final message has both.
async fn follow_to_the_last_words(env: &Env, rollout: &str) {
    let request = pb::WatchRolloutRequest { name: rollout.into(), ..Default::default() };
    let mut stream = env.daemon.watch_rollout(request).await.unwrap();
    let mut told = Vec::new();
    let mut failed = None;
    while let Some(message) = stream.message().await.unwrap() {
        match message.event {
            Some(Event::Rollout(rollout)) if rollout.state() == pb::RolloutState::Failed => {
                failed = Some(Instant::now());
                told.push("failed");
            }
            Some(Event::Problem(problem)) if !problem.log_tail.is_empty() => told.push("words"),
            Some(Event::Completed(rollout)) => {
                told.push("completed");
                let problem = rollout.error.unwrap().problem.unwrap();
                let has_tail = problem.log_tail.iter().any(|line| line.contains("cannot reach db-7"));
                assert!(has_tail, "{problem:?}");
                assert!(!format!("{problem:?}").contains("correct horse"), "{problem:?}");
            }
            _ => {}
        }
    }
    assert_eq!(told, ["failed", "words", "completed"]);
    eprintln!("from FAILED to the end with the log tail: {:?}", failed.unwrap().elapsed());
}

/// Waits until the failed pods are gone, and deletes all events.
async fn remove_what_failed(env: &Env) {
    let pods = Api::<Pod>::namespaced(env.client.clone(), &env.namespace);
    let image = |pod: &Pod| pod.spec.as_ref().unwrap().containers[0].image.clone();
    until("the pods that failed are gone", async || {
        let all = pods.list(&ListParams::default()).await.unwrap();
        all.items.iter().all(|pod| image(pod).as_deref() == Some("web:1"))
    })
    .await;
    let events = Api::<CoreEvent>::namespaced(env.client.clone(), &env.namespace);
    events.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
}

async fn evidence_is_whole_and_redacted(env: &Env) {
    let failed = rollout(env, 2).await;
    assert_eq!(failed.state(), pb::RolloutState::Failed);
    let failure = failed.failure.unwrap();
    let problem = &failure.problems[0];
    let seen = (problem.reason.as_str(), problem.affected_replicas > 0);
    assert_eq!(seen, ("CRASH_LOOP", true), "{failure:?}");
    let tail = problem.log_tail.join("\n");
    assert!(tail.contains("FATAL cannot reach db-7"), "{tail}");
    assert!(tail.contains("postgres://app:[redacted]@db-7") && !tail.contains("hunter2"), "{tail}");
    assert!(tail.contains("tried [redacted] in vain"), "a value of a Secret that the app reads: {tail}");
    assert_eq!(failure.replicas[0].state(), pb::ReplicaState::Failing);
    assert!(!failure.events.is_empty() && failure.record_time.is_some(), "{failure:?}");
    let revisions = Api::<ControllerRevision>::namespaced(env.client.clone(), &env.namespace);
    let stored = revisions.get("gantry-web-2").await.unwrap().metadata.annotations.unwrap();
    assert!(stored.values().all(|text| !text.contains("correct horse")), "{stored:?}");
    let bytes = stored["gantry.dev/evidence"].len();
    assert!(bytes <= 64 * 1024, "{bytes}");
}

async fn only_full_lists_have_evidence(env: &Env) {
    for (view, has) in [(pb::RolloutView::Basic, false), (pb::RolloutView::Full, true)] {
        let request =
            pb::ListRolloutsRequest { parent: env.name("web"), view: view.into(), ..Default::default() };
        let all = env.daemon.list_rollouts(request).await.unwrap().rollouts;
        assert_eq!(all[1].failure.is_some(), has);
    }
}

#[tokio::test]
#[ignore = "needs simulated pods"]
async fn the_evidence_of_a_failure_is_there_when_all_that_it_is_about_is_gone() {
    run(|mut env| async move {
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        let name = deploy_that_logs_secrets(&env).await;
        follow_to_the_last_words(&env, &name).await;

        // The rollout is undone, the failed pods and all events are deleted, and gantryd is restarted.
        let back = rollback(&env, pb::RollbackAppRequest::default()).await.rollout.unwrap();
        follow(&env.daemon, &back.name).await;
        remove_what_failed(&env).await;
        env.daemon.kill().await;
        env.daemon = Daemon::start().await;

        evidence_is_whole_and_redacted(&env).await;
        only_full_lists_have_evidence(&env).await;
        // A rollback to the failed rollout is warned about.
        let request = pb::RollbackAppRequest { rollout: name, validate_only: true, ..Default::default() };
        let checks = rollback(&env, request).await.plan.unwrap().checks;
        let warned = checks.iter().find(|check| check.kind == "HISTORY").unwrap();
        assert_eq!(warned.result(), pb::CheckResult::Warn, "{warned:?}");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs simulated pods"]
async fn what_goes_back_by_itself_keeps_the_evidence_first() {
    run(|env| async move {
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        let mut bad = crashing("FATAL by itself");
        bad.rollout_policy.as_mut().unwrap().on_failure = pb::OnFailure::RollBack.into();
        env.deploy_and_follow(env.deploy_request("web", bad)).await;
        until("it went back", async || rollouts(&env).await.len() == 3).await;
        let failure = rollout(&env, 2).await.failure.unwrap();
        assert!(failure.problems[0].log_tail.iter().any(|line| line.contains("by itself")), "{failure:?}");
        assert!(!failure.replicas.is_empty());
    })
    .await;
}

async fn rollouts(env: &Env) -> Vec<pb::Rollout> {
    let request = pb::ListRolloutsRequest { parent: env.name("web"), ..Default::default() };
    env.daemon.list_rollouts(request).await.unwrap().rollouts
}

#[tokio::test]
async fn so_many_rollouts_are_kept_and_no_more() {
    run(|mut env| async move {
        env.daemon = env.daemon_like(&["--history", "3"]).await;
        // None of these deploys has a request id. A revision with one would be retained for an hour to answer
        // repeats.
        for tag in ["1", "2", "3", "4", "5", "6"] {
            let spec = if tag == "1" { web() } else { image(tag) };
            env.deploy_and_follow(env.deploy_request("web", spec)).await;
        }
        let numbers: HashMap<_, _> = rollouts(&env)
            .await
            .into_iter()
            .map(|r| (r.name.rsplit('/').next().unwrap().to_owned(), r.state()))
            .collect();
        // The three rollouts that were stored when the last one began, and the last one.
        let mut kept: Vec<_> = numbers.keys().cloned().collect();
        kept.sort();
        assert_eq!(kept, ["3", "4", "5", "6"]);
        let back = rollback(&env, pb::RollbackAppRequest::default()).await;
        assert_eq!(back.rollout.unwrap().source_rollout, format!("{}/rollouts/5", env.name("web")));
    })
    .await;
}

#[tokio::test]
async fn a_rollback_brings_back_the_autoscaler_of_that_time() {
    run(|env| async move {
        let mut autoscalers = env.daemon.autoscalers().await;
        let signal = pb::scaling_target::Signal::Concurrency(5.0);
        let set = |mode: pb::AutoscalerMode, max| pb::UpdateAutoscalerRequest {
            autoscaler: Some(pb::Autoscaler {
                name: format!("{}/autoscaler", env.name("web")),
                mode: mode.into(),
                max_replicas: max,
                targets: vec![pb::ScalingTarget { signal: Some(signal.clone()) }],
                ..Default::default()
            }),
            ..Default::default()
        };
        let now = async || {
            let name = format!("{}/autoscaler", env.name("web"));
            let request = pb::GetAutoscalerRequest { name, ..Default::default() };
            let autoscaler = env.daemon.get_autoscaler(request).await.unwrap();
            let autoscaler = autoscaler.autoscaler.unwrap();
            (autoscaler.mode(), autoscaler.max_replicas)
        };
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        autoscalers.update_autoscaler(set(pb::AutoscalerMode::Active, 4)).await.unwrap();
        env.deploy_and_follow(env.deploy_request("web", image("2"))).await;
        autoscalers.update_autoscaler(set(pb::AutoscalerMode::Shadow, 9)).await.unwrap();

        let keep =
            pb::RollbackAppRequest { keep_autoscaler: true, validate_only: true, ..Default::default() };
        let told =
            |plan: pb::Plan| plan.changes.iter().any(|change| change.path.contains("gantry.dev/autoscaler"));
        assert!(!told(rollback(&env, keep).await.plan.unwrap()));
        let plan = pb::RollbackAppRequest { validate_only: true, ..Default::default() };
        let plan = rollback(&env, plan).await.plan.unwrap();
        let warned = plan.checks.iter().find(|check| check.kind == "AUTOSCALER").unwrap();
        assert_eq!(warned.result(), pb::CheckResult::Warn, "{warned:?}");
        assert!(told(plan), "the plan says so");
        assert_eq!(now().await, (pb::AutoscalerMode::Shadow, 9));

        let back = rollback(&env, pb::RollbackAppRequest::default()).await.rollout.unwrap();
        assert_eq!(follow(&env.daemon, &back.name).await.state(), pb::RolloutState::Succeeded);
        assert_eq!(now().await, (pb::AutoscalerMode::Active, 4));
        let of = async |number| rollout(&env, number).await.autoscaler.map(|a| (a.mode(), a.max_replicas));
        assert_eq!(of(1).await, Some((pb::AutoscalerMode::Active, 4)));
        assert_eq!(of(2).await, Some((pb::AutoscalerMode::Shadow, 9)));
        let again = rollback(
            &env,
            pb::RollbackAppRequest {
                rollout: format!("{}/rollouts/1", env.name("web")),
                ..Default::default()
            },
        );
        assert_eq!(again.await.rollout, None, "nothing differs any more");
    })
    .await;
}
