//! Deploys that succeed: the objects that they make, what a second deploy changes, who owns the replica
//! count, and deletion.

use std::time::{Duration, Instant};

use gantry::pb;
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, Deployment, StatefulSet},
    core::v1::Service,
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, ResourceExt},
};
use serde_json::json;

use crate::support::{Env, follow, reason, run, until, web};

fn deployments(env: &Env) -> Api<Deployment> {
    Api::namespaced(env.client.clone(), &env.namespace)
}

fn revisions(env: &Env) -> Api<ControllerRevision> {
    Api::namespaced(env.client.clone(), &env.namespace)
}

/// It waits until the verdict is stored, which takes a moment, and no longer.
#[tokio::test]
async fn a_change_right_after_a_verdict_is_made_at_once() {
    run(|env| async move {
        let mut fastest = Duration::MAX;
        for version in 1..=4 {
            let image = format!("registry.example/web:{version}");
            env.deploy_and_follow(env.deploy_request("web", pb::AppSpec { image, ..web() })).await;
            let started = Instant::now();
            env.scale("web", 1 + version % 2).await.unwrap();
            fastest = fastest.min(started.elapsed());
        }
        assert!(fastest < Duration::from_millis(1500), "{fastest:?}");
    })
    .await;
}

#[tokio::test]
async fn a_deploy_makes_what_the_design_says_and_a_delete_takes_it_away() {
    run(|env| async move {
        let rollout = env.deploy_and_follow(env.deploy_request("web", web())).await;
        assert_eq!(rollout.state(), pb::RolloutState::Succeeded, "{rollout:?}");
        assert_eq!(rollout.name, env.name("web") + "/rollouts/1");

        let deployment = deployments(&env).get("web").await.unwrap();
        let selector = deployment.spec.as_ref().unwrap().selector.match_labels.clone().unwrap();
        assert_eq!(selector, [("gantry.dev/app".to_owned(), "web".to_owned())].into());
        assert_eq!(deployment.labels()["app.kubernetes.io/managed-by"], "gantry");
        let uid = deployment.uid().unwrap();
        let owned = |object: &dyn Fn() -> Vec<String>| assert_eq!(object(), std::slice::from_ref(&uid));
        let owners = |refs: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference]| {
            refs.iter().map(|o| o.uid.clone()).collect::<Vec<_>>()
        };
        let service =
            Api::<Service>::namespaced(env.client.clone(), &env.namespace).get("web").await.unwrap();
        let budgets = Api::<PodDisruptionBudget>::namespaced(env.client.clone(), &env.namespace);
        let budget = budgets.get("web").await.unwrap();
        let revision = revisions(&env).get("gantry-web-1").await.unwrap();
        owned(&|| owners(service.owner_references()));
        owned(&|| owners(budget.owner_references()));
        owned(&|| owners(revision.owner_references()));
        assert!(!revision.labels().contains_key("gantry.dev/app"), "no label of the pods");

        let app = env.get("web").await.unwrap();
        let status = app.status.unwrap();
        assert_eq!(
            (status.state(), status.ready_replicas, status.reconciling),
            (pb::AppState::Active, 2, false)
        );
        assert_eq!(app.uid, uid);

        let delete = pb::DeleteAppRequest { name: env.name("web"), ..Default::default() };
        let answer = env.daemon.delete_app(delete.clone()).await.unwrap();
        assert_eq!(answer.plan.unwrap().changes.len(), 3);
        until("the app is gone", async || env.get("web").await.is_err_and(|s| reason(&s) == "APP_NOT_FOUND"))
            .await;
        until("its revisions are gone", async || {
            revisions(&env).list(&ListParams::default()).await.unwrap().items.is_empty()
        })
        .await;
        let again = env.daemon.delete_app(delete.clone()).await.unwrap_err();
        assert_eq!(reason(&again), "APP_NOT_FOUND");
        let allowed = pb::DeleteAppRequest { allow_missing: true, ..delete };
        env.daemon.delete_app(allowed).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_same_deploy_again_writes_nothing_and_some_fields_change_only_those() {
    run(|env| async move {
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        let version = || async { deployments(&env).get("web").await.unwrap().resource_version() };
        until("the Deployment is quiet", async || {
            let before = version().await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            before == version().await
        })
        .await;
        let before = version().await;
        let answer = env.deploy("web", web()).await.unwrap();
        assert_eq!((answer.rollout, answer.plan.unwrap().changes), (None, vec![]));
        assert_eq!(version().await, before, "nothing is written");
        assert_eq!(revisions(&env).list(&ListParams::default()).await.unwrap().items.len(), 1);

        let some = pb::AppSpec { env: [("A".to_owned(), "1".to_owned())].into(), ..pb::AppSpec::default() };
        let rollout = env.deploy_and_follow(env.deploy_request("web", some)).await;
        assert_eq!(rollout.state(), pb::RolloutState::Succeeded);
        let spec = env.get("web").await.unwrap().spec.unwrap();
        assert_eq!(spec, pb::AppSpec { env: [("A".to_owned(), "1".to_owned())].into(), ..web() });

        // The outcome of the first rollout is stored, although the second rollout followed it.
        let first = follow(&env.daemon, &(env.name("web") + "/rollouts/1")).await;
        assert_eq!(first.state(), pb::RolloutState::Succeeded);
    })
    .await;
}

#[tokio::test]
async fn a_count_that_another_field_manager_set_stays() {
    run(|env| async move {
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        let params = PatchParams { field_manager: Some("kubectl-scale".into()), ..PatchParams::default() };
        deployments(&env)
            .patch_scale("web", &params, &Patch::Merge(json!({"spec": {"replicas": 4}})))
            .await
            .unwrap();
        let count = || async { deployments(&env).get("web").await.unwrap().spec.unwrap().replicas.unwrap() };

        // A deploy without the count does not reset it. A deploy with the count does not reset it either, and
        // is warned.
        let some = pb::AppSpec { env: [("A".to_owned(), "1".to_owned())].into(), ..pb::AppSpec::default() };
        env.deploy_and_follow(env.deploy_request("web", some)).await;
        assert_eq!(count().await, 4);
        let more = pb::AppSpec { env: [("A".to_owned(), "2".to_owned())].into(), ..web() };
        let answer = env.deploy("web", more).await.unwrap();
        assert_eq!(count().await, 4);
        let worst = &answer.plan.unwrap().checks[0];
        assert_eq!((worst.kind.as_str(), worst.result()), ("REPLICAS", pb::CheckResult::Warn));
        assert!(worst.message.contains("kubectl-scale"), "{}", worst.message);

        // If the mask names the count, it is set.
        let mut named = env.deploy_request("web", web());
        named.update_mask = Some(prost_types::FieldMask { paths: vec!["spec.replicas".into()] });
        env.daemon.deploy_app(named).await.unwrap();
        assert_eq!(count().await, 2);
    })
    .await;
}

#[tokio::test]
async fn an_unmanaged_app_is_read_and_never_taken_over() {
    run(|env| async move {
        let (image, namespace) = (web().image, env.namespace.clone());
        let foreign = json!({"metadata": {"name": "3scale", "namespace": namespace}, "spec": {
            "replicas": 1, "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "main", "image": image}]}}}});
        let mut own = foreign.clone();
        own["metadata"]["name"] = json!("shop");
        for object in [foreign, own] {
            deployments(&env).create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
        }
        until("it is active", async || {
            let app = env.get("3scale").await;
            app.is_ok_and(|app| app.status.unwrap().state() == pb::AppState::Active)
        })
        .await;
        assert_eq!(env.get("3scale").await.unwrap().spec.unwrap().image, image);
        let before = deployments(&env).get("shop").await.unwrap().metadata.generation;
        let taken = env.deploy("shop", web()).await.unwrap_err();
        assert_eq!(reason(&taken), "NAME_TAKEN");
        let request = pb::DeleteAppRequest { name: env.name("shop"), ..Default::default() };
        assert_eq!(reason(&env.daemon.delete_app(request).await.unwrap_err()), "NOT_MANAGED");
        assert_eq!(deployments(&env).get("shop").await.unwrap().metadata.generation, before);
        assert!(revisions(&env).list(&ListParams::default()).await.unwrap().items.is_empty());
    })
    .await;
}

/// Trap: Kubernetes lets a StatefulSet adopt any ControllerRevision without a controller whose labels match
/// its selector.
#[tokio::test]
#[ignore = "needs simulated pods; tests/run-cluster includes it where they are"]
async fn a_stateful_set_cannot_adopt_our_revisions() {
    run(|env| async move {
        let sets = Api::<StatefulSet>::namespaced(env.client.clone(), &env.namespace);
        let greedy = json!({"metadata": {"name": "web"}, "spec": {"serviceName": "x", "replicas": 1,
            "selector": {"matchLabels": {"gantry.dev/app": "web"}},
            "template": {"metadata": {"labels": {"gantry.dev/app": "web"}}, "spec": {"containers": [{"name": "c", "image": "c:1"}]}}}});
        sets.create(&PostParams::default(), &serde_json::from_value(greedy).unwrap()).await.unwrap();
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let revision = revisions(&env).get("gantry-web-1").await.unwrap();
        let owners: Vec<_> = revision.owner_references().iter().map(|o| o.kind.as_str()).collect();
        assert_eq!(owners, ["Deployment"]);
        sets.delete("web", &DeleteParams::default()).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn deploys_at_once_each_get_a_revision_and_the_last_one_runs() {
    run(|env| async move {
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        let deploys = (0..5).map(|i| {
            let spec =
                pb::AppSpec { env: [("N".to_owned(), i.to_string())].into(), ..pb::AppSpec::default() };
            let request = env.deploy_request("web", spec);
            let daemon = &env.daemon;
            async move { daemon.deploy_app(request).await.unwrap().rollout.unwrap().name }
        });
        let mut names = futures::future::join_all(deploys).await;
        names.sort();
        let expected: Vec<_> = (2..=6).map(|n| format!("{}/rollouts/{n}", env.name("web"))).collect();
        assert_eq!(names, expected);
        let last = follow(&env.daemon, &expected[4]).await;
        assert_eq!(last.state(), pb::RolloutState::Succeeded);
        let value = last.spec.unwrap().env["N"].clone();
        assert_eq!(env.get("web").await.unwrap().spec.unwrap().env["N"], value);
        for name in &expected[..4] {
            let rollout = follow(&env.daemon, name).await;
            // On a slow machine one rollout may have ended before the next begins.
            let fine = [pb::RolloutState::Superseded, pb::RolloutState::Succeeded];
            assert!(fine.contains(&rollout.state()), "{rollout:?}");
        }
    })
    .await;
}
