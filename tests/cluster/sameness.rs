//! What counts as the same content, what the order of variables is, and what a second attempt does.

use std::collections::BTreeMap;

use gantry::pb;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::{Api, api::ListParams};

use crate::support::{Env, run, web};

fn with_cpu(cpu: &str) -> pb::AppSpec {
    let requests = [("cpu".to_owned(), cpu.to_owned())].into();
    pb::AppSpec { resources: Some(pb::Resources { requests, limits: BTreeMap::new() }), ..web() }
}

fn with_env(env: &[(&str, &str)]) -> pb::AppSpec {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    pb::AppSpec { env, ..web() }
}

async fn deployment(env: &Env) -> Deployment {
    Api::<Deployment>::namespaced(env.client.clone(), &env.namespace).get("web").await.unwrap()
}

async fn replica_sets(env: &Env) -> usize {
    let sets = Api::<ReplicaSet>::namespaced(env.client.clone(), &env.namespace);
    sets.list(&ListParams::default()).await.unwrap().items.len()
}

/// Variables of the live Deployment, in their order.
async fn variables(env: &Env) -> String {
    let containers = deployment(env).await.spec.unwrap().template.spec.unwrap().containers;
    let env = containers.into_iter().next().unwrap().env.unwrap_or_default();
    env.into_iter().map(|variable| variable.name).collect::<Vec<_>>().join(" ")
}

fn changes(answer: &pb::DeployAppResponse) -> Vec<String> {
    let changes = answer.plan.iter().flat_map(|plan| &plan.changes);
    changes.map(|change| change.path.clone()).collect()
}

fn checks(answer: &pb::DeployAppResponse, kind: &str) -> Vec<(pb::CheckResult, String)> {
    let checks = answer.plan.iter().flat_map(|plan| &plan.checks).filter(|check| check.kind == kind);
    checks.map(|check| (check.result(), check.message.clone())).collect()
}

#[tokio::test]
async fn another_spelling_rolls_nothing_and_is_read_back() {
    run(|env| async move {
        env.refuse_pods().await;
        let first = env.daemon.deploy_app(env.deploy_request("web", with_cpu("0.1"))).await.unwrap();
        let before = deployment(&env).await;
        let grace = prost_types::Duration { seconds: 30, nanos: 0 };
        for spec in [
            with_cpu("100m"),
            with_cpu("0.10"),
            pb::AppSpec { termination_grace: Some(grace), ..with_cpu("100m") },
        ] {
            let request = env.deploy_request("web", spec.clone());
            let plan = pb::DeployAppRequest { validate_only: true, ..request.clone() };
            let plan = env.daemon.deploy_app(plan).await.unwrap();
            assert_eq!(changes(&plan), Vec::<String>::new());
            let answer = env.daemon.deploy_app(request).await.unwrap();
            assert_eq!(changes(&answer), Vec::<String>::new());
            assert_eq!(answer.rollout.map(|r| r.name), first.rollout.as_ref().map(|r| r.name.clone()));
            let app = answer.app.unwrap();
            assert_eq!(app.etag, first.app.as_ref().unwrap().etag);
            let read = pb::GetAppRequest { name: app.name, read_after: answer.position };
            let read = env.daemon.get_app(read).await.unwrap().app.unwrap().spec.unwrap();
            assert_eq!((read.resources, read.termination_grace), (spec.resources, spec.termination_grace));
        }
        let after = deployment(&env).await;
        assert_eq!(after.metadata.generation, before.metadata.generation);

        // A rollback passes over what is the same.
        let other = pb::AppSpec { image: "web:2".into(), ..with_cpu("100m") };
        env.daemon.deploy_app(env.deploy_request("web", other)).await.unwrap();
        let changed = env.daemon.deploy_app(env.deploy_request("web", with_cpu("200m"))).await.unwrap();
        assert_eq!(changed.rollout.unwrap().name, env.name("web") + "/rollouts/3");
    })
    .await;
}

#[tokio::test]
async fn a_variable_comes_after_those_that_it_refers_to() {
    run(|env| async move {
        env.refuse_pods().await;
        let request = env.deploy_request("web", with_env(&[("A", "$(B)"), ("B", "1")]));
        let answer = env.daemon.deploy_app(request).await.unwrap();
        assert_eq!(variables(&env).await, "B A");
        let order = "Variables that others refer to come first: B, A.".to_owned();
        assert_eq!(checks(&answer, "ENV"), [(pb::CheckResult::Pass, order)]);

        let request = env.deploy_request("web", with_env(&[("A", "$(B)")]));
        let plan = pb::DeployAppRequest { validate_only: true, ..request };
        let told = checks(&env.daemon.deploy_app(plan).await.unwrap(), "ENV");
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].0, pb::CheckResult::Warn);
        assert!(told[0].1.contains("A refers to B, which this change removes"), "{told:?}");
    })
    .await;
}

#[tokio::test]
async fn the_same_deploy_after_a_failure_starts_new_replicas() {
    run(|env| async move {
        let spec = pb::AppSpec { image: "web:does-not-exist".into(), ..web() };
        let request = env.deploy_request("web", spec);
        let first = env.deploy_and_follow(request.clone()).await;
        assert_eq!(first.state(), pb::RolloutState::Failed, "{first:?}");
        let sets = replica_sets(&env).await;
        let again = env.daemon.deploy_app(request.clone()).await.unwrap();
        assert!(
            changes(&again).iter().any(|path| path.starts_with("spec.template.metadata.annotations")),
            "{again:?}"
        );
        let history = checks(&again, "HISTORY");
        assert!(history[0].1.contains("failed; it is tried again"), "{history:?}");
        let second = crate::support::follow(&env.daemon, &again.rollout.unwrap().name).await;
        assert_eq!(second.name, env.name("web") + "/rollouts/2");
        assert_eq!(replica_sets(&env).await, sets + 1);
    })
    .await;
}
