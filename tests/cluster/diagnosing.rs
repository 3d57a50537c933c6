//! Deploys that fail: the reason is named as soon as it is known, and the earlier replicas go on serving.

use std::time::{Duration, Instant};

use gantry::pb;
use k8s_openapi::api::{
    admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    apps::v1::Deployment,
    core::v1::{Node, Pod, ResourceQuota},
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, ResourceExt},
};
use serde_json::json;

use crate::support::{Env, annotate, annotate_all, follow, run, simulated, until, web};

/// Deploys a good spec, then a bad one; returns the end of the bad rollout and the time until its verdict.
async fn fail(env: &Env, bad: pb::AppSpec) -> (pb::Rollout, Duration) {
    let good = env.deploy_and_follow(env.deploy_request("web", web())).await;
    assert_eq!(good.state(), pb::RolloutState::Succeeded, "{good:?}");
    let started = Instant::now();
    let rollout = env.deploy_and_follow(env.deploy_request("web", bad)).await;
    let took = started.elapsed();
    assert_eq!(rollout.state(), pb::RolloutState::Failed, "{rollout:?}");
    let status = env.get("web").await.unwrap().status.unwrap();
    assert_eq!(
        (status.state(), status.ready_replicas),
        (pb::AppState::Degraded, 2),
        "old replicas go on serving"
    );
    assert_eq!(status.problems[0].reason, rollout.error.as_ref().unwrap().reason);
    (rollout, took)
}

#[tokio::test]
async fn an_image_that_does_not_exist_is_named_within_seconds() {
    run(|env| async move {
        let repository = web().image.split(':').next().unwrap().to_owned();
        let bad = pb::AppSpec { image: format!("{repository}:does-not-exist"), ..pb::AppSpec::default() };
        let (rollout, took) = fail(&env, bad).await;
        eprintln!("deploy to verdict: {took:?}");
        let error = rollout.error.unwrap();
        assert_eq!(error.reason, "IMAGE_PULL_FAILED");
        let problem = error.problem.unwrap();
        assert!(problem.object.starts_with("pod/web-"), "{problem:?}");
        assert!(problem.fatal && !problem.remedy.is_empty(), "{problem:?}");
        // Events come by a separate watch and may be later than the verdict, which does not wait for them.
        until("the app shows the events that matter", async || {
            let events = env.get("web").await.unwrap().status.unwrap().problems[0].events.clone();
            events.iter().any(|e| e.contains("does-not-exist"))
        })
        .await;
        // A real registry takes a moment to refuse a pull.
        assert!(took < Duration::from_secs(if simulated() { 10 } else { 60 }), "{took:?}");
    })
    .await;
}

#[tokio::test]
async fn an_app_that_fits_on_no_node_fails_after_its_grace() {
    run(|env| async move {
        let requests = [("cpu".to_owned(), "5000".to_owned())];
        let bad = pb::AppSpec {
            resources: Some(pb::Resources { requests: requests.into(), ..pb::Resources::default() }),
            rollout_policy: Some(pb::RolloutPolicy {
                transient_grace: Some(prost_types::Duration { seconds: 2, nanos: 0 }),
                ..pb::RolloutPolicy::default()
            }),
            ..pb::AppSpec::default()
        };
        let (rollout, took) = fail(&env, bad).await;
        assert_eq!(rollout.error.unwrap().reason, "UNSCHEDULABLE");
        assert!(took >= Duration::from_secs(1), "not before its grace: {took:?}");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs simulated pods; tests/run-cluster includes it where they are"]
async fn a_container_that_keeps_crashing_is_named() {
    run(|env| async move {
        // Never ready in between, like a real container that ends before its first probe. A passed probe
        // would count as a success.
        let patch = annotate_all(&[
            ("sim/unready", "true"),
            ("sim/crash-after", "200ms"),
            ("sim/restart-after", "200ms"),
            ("sim/crash-code", "3"),
        ]);
        let bad = pb::AppSpec { pod_template_patch: Some(patch), ..pb::AppSpec::default() };
        let (rollout, _) = fail(&env, bad).await;
        let error = rollout.error.unwrap();
        assert_eq!(error.reason, "CRASH_LOOP");
        assert!(error.message.contains("3 times") && error.message.contains("status 3"), "{}", error.message);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs simulated pods; tests/run-cluster includes it where they are"]
async fn an_app_that_never_gets_ready_fails_when_its_time_is_up() {
    run(|env| async move {
        let bad = pb::AppSpec {
            pod_template_patch: Some(annotate("sim/unready", "true")),
            rollout_policy: Some(pb::RolloutPolicy {
                progress_timeout: Some(prost_types::Duration { seconds: 3, nanos: 0 }),
                ..pb::RolloutPolicy::default()
            }),
            ..pb::AppSpec::default()
        };
        let (rollout, _) = fail(&env, bad).await;
        let error = rollout.error.unwrap();
        assert_eq!(error.reason, "PROBE_FAILING", "the containers run but are not ready");
        assert!(error.message.starts_with("No progress for 3 s"), "{}", error.message);
    })
    .await;
}

/// A policy by which a problem that may be transient fails the rollout after this many seconds.
fn grace(seconds: i64) -> Option<pb::RolloutPolicy> {
    let transient_grace = Some(prost_types::Duration { seconds, nanos: 0 });
    Some(pb::RolloutPolicy { transient_grace, ..pb::RolloutPolicy::default() })
}

/// Trap: the Deployment passes every dry run, but each of its pods is refused.
#[tokio::test]
async fn a_quota_that_refuses_the_replicas_fails_the_rollout_after_its_grace() {
    run(|env| async move {
        env.limit(json!({"pods": "2"})).await;
        let bad = pb::AppSpec { image: "web:2".into(), rollout_policy: grace(1), ..pb::AppSpec::default() };
        let (rollout, _) = fail(&env, bad).await;
        let error = rollout.error.unwrap();
        assert_eq!(error.reason, "QUOTA_EXCEEDED");
        let problem = error.problem.unwrap();
        assert!(
            problem.object.starts_with("replicaset.apps/web-") && !problem.remedy.is_empty(),
            "{problem:?}"
        );
    })
    .await;
}

/// Trap: the Deployment passes every dry run, but its ReplicaSet is never created.
#[tokio::test]
async fn a_quota_that_refuses_the_replica_set_fails_the_rollout_after_its_grace() {
    run(|env| async move {
        let good = env.deploy_and_follow(env.deploy_request("web", web())).await;
        assert_eq!(good.state(), pb::RolloutState::Succeeded, "{good:?}");
        let quotas = Api::<ResourceQuota>::namespaced(env.client.clone(), &env.namespace);
        let quota = json!({"metadata": {"name": "sets"}, "spec": {"hard": {"count/replicasets.apps": "1"}}});
        quotas.create(&PostParams::default(), &serde_json::from_value(quota).unwrap()).await.unwrap();
        until("the quota has counted", async || {
            let status = quotas.get("sets").await.unwrap().status;
            status
                .and_then(|s| s.used)
                .is_some_and(|used| used.get("count/replicasets.apps").is_some_and(|n| n.0 == "1"))
        })
        .await;
        let bad = pb::AppSpec { image: "web:2".into(), rollout_policy: grace(2), ..pb::AppSpec::default() };
        let plan = async |spec: &pb::AppSpec| {
            let request =
                pb::DeployAppRequest { validate_only: true, ..env.deploy_request("web", spec.clone()) };
            let plan = env.daemon.deploy_app(request).await.unwrap().plan.unwrap();
            plan.checks.into_iter().find(|check| check.kind == "QUOTA").unwrap()
        };
        let same = plan(&pb::AppSpec { replicas: Some(3), ..pb::AppSpec::default() }).await;
        assert_eq!(same.result(), pb::CheckResult::Pass, "no new template, no new ReplicaSet: {same:?}");
        let check = plan(&bad).await;
        assert_eq!(check.result(), pb::CheckResult::Fail, "{check:?}");
        assert!(check.message.contains("0 of 1 count/replicasets.apps"), "{check:?}");

        // The second rollout is refused under the condition of the first, because Kubernetes does not renew
        // the condition.
        for image in ["web:2", "web:3"] {
            let started = Instant::now();
            let bad = pb::AppSpec { image: image.into(), ..bad.clone() };
            let rollout = env.deploy_and_follow(env.deploy_request("web", bad)).await;
            assert_eq!(rollout.state(), pb::RolloutState::Failed, "{rollout:?}");
            let error = rollout.error.unwrap();
            assert_eq!(error.reason, "QUOTA_EXCEEDED");
            assert!(error.message.contains("exceeded quota: sets"), "{}", error.message);
            assert_eq!(error.problem.unwrap().object, "deployment.apps/web");
            assert!(started.elapsed() >= Duration::from_secs(1), "not before its grace");
            let status = env.get("web").await.unwrap().status.unwrap();
            assert_eq!((status.ready_replicas, status.problems[0].reason.as_str()), (2, "QUOTA_EXCEEDED"));
        }
        // A rollback to the first template needs no new ReplicaSet.
        assert_eq!(plan(&web()).await.result(), pb::CheckResult::Pass);
        let back = env.deploy_and_follow(env.deploy_request("web", web())).await;
        assert_eq!(back.state(), pb::RolloutState::Succeeded, "{back:?}");
        assert_eq!(env.get("web").await.unwrap().status.unwrap().problems, vec![]);
    })
    .await;
}

/// Trap: Kubernetes reports once that a rollout is complete, and does not check it again.
#[tokio::test]
#[ignore = "needs simulated pods; tests/run-cluster includes it where they are"]
async fn replicas_that_were_ready_for_an_instant_fail_the_rollout_when_its_time_is_up() {
    run(|env| async move {
        // Without a probe the pods have to run for a moment before the rollout has succeeded.
        let brief = pb::AppSpec {
            image: web().image,
            replicas: Some(2),
            rollout_policy: Some(pb::RolloutPolicy {
                progress_timeout: Some(prost_types::Duration { seconds: 5, nanos: 0 }),
                verdict: pb::Verdict::Wait.into(),
                ..pb::RolloutPolicy::default()
            }),
            ..pb::AppSpec::default()
        };
        let request = env.deploy_request("web", brief);
        let rollout = env.daemon.deploy_app(request).await.unwrap().rollout.unwrap();
        let deployments = Api::<Deployment>::namespaced(env.client.clone(), &env.namespace);
        until("Kubernetes calls it complete", async || {
            let status = deployments.get("web").await.unwrap().status.unwrap_or_default();
            status.conditions.iter().flatten().any(|c| c.reason.as_deref() == Some("NewReplicaSetAvailable"))
        })
        .await;
        let unready = Patch::Merge(json!({"metadata": {"annotations": {"sim/unready": "true"}}}));
        let pods = Api::<Pod>::namespaced(env.client.clone(), &env.namespace);
        for pod in pods.list(&ListParams::default()).await.unwrap() {
            pods.patch(&pod.name_any(), &PatchParams::default(), &unready).await.unwrap();
        }
        let started = Instant::now();
        let end = follow(&env.daemon, &rollout.name).await;
        assert_eq!(end.state(), pb::RolloutState::Failed, "{end:?}");
        let error = end.error.unwrap();
        assert_eq!(error.reason, "PROBE_FAILING");
        assert!(
            error
                .message
                .starts_with("No progress for 5 s: 0 of 2 replicas are ready, 2 have become unready"),
            "{}",
            error.message
        );
        // In a quiet cluster the daemon has a new observation only every 10 s.
        assert!(started.elapsed() < Duration::from_secs(25), "{:?}", started.elapsed());
    })
    .await;
}

#[tokio::test]
async fn a_claim_that_is_not_there_is_named() {
    run(|env| async move {
        let claim = pb::Volume {
            mount_path: "/data".into(),
            source: Some(pb::volume::Source::Claim("nobody-made-it".into())),
            ..pb::Volume::default()
        };
        let bad = pb::AppSpec { volumes: vec![claim], rollout_policy: grace(1), ..pb::AppSpec::default() };
        let (rollout, _) = fail(&env, bad).await;
        let error = rollout.error.unwrap();
        assert_eq!(error.reason, "VOLUME_FAILED");
        assert!(error.message.contains("nobody-made-it"), "{}", error.message);
    })
    .await;
}

/// Runs on a separate node that the pods of other tests avoid.
#[tokio::test]
#[ignore = "needs simulated nodes; tests/run-cluster includes it where they are"]
async fn a_node_that_stops_answering_is_named() {
    run(|env| async move {
        let nodes = Api::<Node>::all(env.client.clone());
        let name = env.namespace.clone();
        let node = json!({
            "metadata": {"name": name, "labels": {"gantry.test/node": name}, "annotations": {"kwok.x-k8s.io/node": "fake"}},
            "spec": {"taints": [{"key": "gantry.test/node", "effect": "NoSchedule"}]}});
        nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
        let toleration = pb::Toleration { key: "gantry.test/node".into(), ..pb::Toleration::default() };
        let placement = pb::Placement {
            node_selector: [("gantry.test/node".to_owned(), name.clone())].into(),
            tolerations: vec![toleration],
            ..pb::Placement::default()
        };
        let rollout = env.deploy_and_follow(env.deploy_request("web", pb::AppSpec { placement: Some(placement), ..web() })).await;
        assert_eq!(rollout.state(), pb::RolloutState::Succeeded, "{rollout:?}");
        let down = Patch::Merge(json!({"metadata": {"annotations": {"sim/down": "true"}}}));
        nodes.patch(&name, &PatchParams::default(), &down).await.unwrap();
        until("the node is named", async || {
            let problems = env.get("web").await.unwrap().status.unwrap().problems;
            problems.first().is_some_and(|p| p.reason == "NODE_LOST" && p.message.contains(&name) && p.affected_replicas == 2)
        })
        .await;
        nodes.delete(&name, &DeleteParams::default()).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn admission_that_refuses_the_replicas_fails_the_rollout_at_once() {
    run(|env| async move {
        let name = env.namespace.clone();
        let policies = Api::<ValidatingAdmissionPolicy>::all(env.client.clone());
        let bindings = Api::<ValidatingAdmissionPolicyBinding>::all(env.client.clone());
        let pods =
            json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]);
        let policy = json!({"metadata": {"name": name}, "spec": {
            "failurePolicy": "Fail", "matchConstraints": {"resourceRules": pods}, "validations": [
                {"expression": "object.spec.containers.all(c, !c.image.endsWith(':2'))", "message": "no twos today"}]}});
        let binding = json!({"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}}});
        policies.create(&PostParams::default(), &serde_json::from_value(policy).unwrap()).await.unwrap();
        bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();
        let probe = Api::<Pod>::namespaced(env.client.clone(), &env.namespace);
        until("the policy is in force", async || {
            let pod = json!({"metadata": {"name": "probe"}, "spec": {"containers": [{"name": "c", "image": "c:2"}]}});
            let dry = PostParams { dry_run: true, ..PostParams::default() };
            // Before the namespace has its default ServiceAccount, the pod is refused for that reason.
            let made = probe.create(&dry, &serde_json::from_value(pod).unwrap()).await;
            made.is_err_and(|error| error.to_string().contains("no twos today"))
        })
        .await;
        let bad = pb::AppSpec { image: "web:2".into(), ..pb::AppSpec::default() };
        let (rollout, _) = fail(&env, bad).await;
        policies.delete(&name, &DeleteParams::default()).await.unwrap();
        bindings.delete(&name, &DeleteParams::default()).await.unwrap();
        let error = rollout.error.unwrap();
        assert_eq!(error.reason, "ADMISSION_DENIED");
        assert!(error.message.contains("no twos today"), "{}", error.message);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs simulated pods; tests/run-cluster includes it where they are"]
async fn a_container_that_is_killed_for_its_memory_is_distinguished_from_one_that_crashes() {
    run(|env| async move {
        let patch = annotate_all(&[
            ("sim/unready", "true"),
            ("sim/crash-after", "200ms"),
            ("sim/restart-after", "200ms"),
            ("sim/crash-code", "137"),
        ]);
        let bad = pb::AppSpec { pod_template_patch: Some(patch), ..pb::AppSpec::default() };
        let (rollout, _) = fail(&env, bad).await;
        assert_eq!(rollout.error.unwrap().reason, "OUT_OF_MEMORY");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs simulated pods; tests/run-cluster includes it where they are"]
async fn an_app_that_does_not_begin_to_run_fails_when_its_time_is_up() {
    run(|env| async move {
        let bad = pb::AppSpec {
            pod_template_patch: Some(annotate("sim/ready-after", "10m")),
            rollout_policy: Some(pb::RolloutPolicy {
                progress_timeout: Some(prost_types::Duration { seconds: 2, nanos: 0 }),
                ..pb::RolloutPolicy::default()
            }),
            ..pb::AppSpec::default()
        };
        let (rollout, _) = fail(&env, bad).await;
        assert_eq!(rollout.error.unwrap().reason, "PROGRESS_TIMEOUT");
    })
    .await;
}
