//! Which Deployments Gantry manages: copies, Deployments whose history was deleted, and Deployments whose
//! annotations were changed by hand.

use gantry::pb;
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, Deployment},
    core::v1::Service,
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, ResourceExt},
};
use serde_json::{Value, json};
use tonic::Code;

use crate::support::{Env, follow, reason, run, until, web};

fn deployments(env: &Env) -> Api<Deployment> {
    Api::namespaced(env.client.clone(), &env.namespace)
}

fn revisions(env: &Env) -> Api<ControllerRevision> {
    Api::namespaced(env.client.clone(), &env.namespace)
}

async fn delete_history(env: &Env) {
    let all = ListParams::default();
    revisions(env).delete_collection(&DeleteParams::default(), &all).await.unwrap();
    until("the history is gone", async || revisions(env).list(&all).await.unwrap().items.is_empty()).await;
}

/// Two versions of an app.
async fn deploy_twice(env: &Env) {
    for n in 1..=2 {
        let spec = pb::AppSpec { image: format!("web:{n}"), ..web() };
        env.deploy("web", spec).await.unwrap();
    }
}

fn delete(env: &Env, app: &str) -> pb::DeleteAppRequest {
    pb::DeleteAppRequest { name: env.name(app), ..pb::DeleteAppRequest::default() }
}

/// A copy as made with `kubectl get -o yaml`, an editor and `kubectl apply`.
fn copy(of: &Deployment, name: &str) -> Deployment {
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        labels: of.metadata.labels.clone(),
        annotations: of.metadata.annotations.clone(),
        ..ObjectMeta::default()
    };
    Deployment { metadata, spec: of.spec.clone(), status: None }
}

#[tokio::test]
async fn a_copy_is_read_and_scaled_and_changed_only_if_it_is_adopted() {
    run(|env| async move {
        env.refuse_pods().await;
        let mut apps = env.daemon.apps().await;
        apps.deploy_app(env.deploy_request("web", web())).await.unwrap();
        let original = deployments(&env).get("web").await.unwrap();
        let by_kubectl =
            PostParams { field_manager: Some("kubectl-client-side-apply".into()), ..PostParams::default() };
        deployments(&env).create(&by_kubectl, &copy(&original, "copy")).await.unwrap();
        until("it is seen", async || env.get("copy").await.is_ok()).await;
        assert_eq!(env.get("copy").await.unwrap().status.unwrap().managed_by, "");
        assert_eq!(env.get("web").await.unwrap().status.unwrap().managed_by, "gantry");

        let image = |image: &str| pb::AppSpec { image: image.into(), ..pb::AppSpec::default() };
        let refused = apps.deploy_app(env.deploy_request("copy", image("web:2"))).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::AlreadyExists, "NAME_TAKEN"));
        assert!(refused.message().contains("labels"), "{refused}");
        let refused = apps.delete_app(delete(&env, "copy")).await.unwrap_err();
        assert_eq!(reason(&refused), "NOT_MANAGED");
        let scale = pb::ScaleAppRequest {
            name: env.name("copy"),
            replicas: Some(3),
            ..pb::ScaleAppRequest::default()
        };
        apps.scale_app(scale).await.unwrap();
        let unchanged = deployments(&env).get("copy").await.unwrap().spec.unwrap();
        assert_eq!((unchanged.replicas, unchanged.template), (Some(3), original.spec.unwrap().template));

        // Adopted without mentioning the labels and annotations that it has from the original.
        let request = pb::DeployAppRequest { adopt: true, ..env.deploy_request("copy", image("web:2")) };
        let plan = pb::DeployAppRequest { validate_only: true, ..request.clone() };
        let plan = apps.deploy_app(plan).await.unwrap().into_inner().plan.unwrap();
        let failing: Vec<_> = plan.checks.iter().filter(|c| c.result() == pb::CheckResult::Fail).collect();
        // Checks about pods fail because this namespace refuses all pods.
        let about_pods = |check: &&&pb::Check| check.object == "pod" || check.kind == "QUOTA";
        assert!(failing.iter().all(|check| about_pods(&check)), "{failing:?}");
        let adopted = apps.deploy_app(request).await.unwrap().into_inner();
        assert_eq!(adopted.rollout.unwrap().name, env.name("copy") + "/rollouts/2");
        let status = env.get("copy").await.unwrap().status.unwrap();
        assert_eq!((status.managed_by.as_str(), status.desired_replicas), ("gantry", 3));
        apps.delete_app(delete(&env, "copy")).await.unwrap();
        assert_eq!(env.get("web").await.unwrap().status.unwrap().managed_by, "gantry");
    })
    .await;
}

#[tokio::test]
async fn a_deployment_without_its_history_is_adopted_and_its_numbers_go_on() {
    run(|env| async move {
        env.refuse_pods().await;
        deploy_twice(&env).await;
        let mut apps = env.daemon.apps().await;
        delete_history(&env).await;
        let third =
            env.deploy_request("web", pb::AppSpec { image: "web:3".into(), ..pb::AppSpec::default() });
        assert_eq!(reason(&apps.deploy_app(third.clone()).await.unwrap_err()), "NAME_TAKEN");
        let restart = pb::RestartAppRequest { name: env.name("web"), ..pb::RestartAppRequest::default() };
        apps.restart_app(restart).await.unwrap();
        let back = pb::RollbackAppRequest { name: env.name("web"), ..pb::RollbackAppRequest::default() };
        let refused = env.daemon.rollback_app(back).await.unwrap_err();
        assert_eq!(reason(&refused), "NOT_MANAGED");
        until("it is not managed any more", async || {
            env.get("web").await.unwrap().status.unwrap().managed_by.is_empty()
        })
        .await;

        let answer =
            apps.deploy_app(pb::DeployAppRequest { adopt: true, ..third }).await.unwrap().into_inner();
        let rollout = answer.rollout.unwrap().name;
        let number: u64 = rollout.rsplit('/').next().unwrap().parse().unwrap();
        assert!(number > 2, "{rollout}");
        let live = deployments(&env).get("web").await.unwrap();
        assert_eq!(live.annotations()["gantry.dev/revision"], number.to_string());
        assert_eq!(live.spec.unwrap().template.spec.unwrap().containers[0].image.as_deref(), Some("web:3"));
        let app = answer.app.unwrap();
        assert_eq!(
            (app.spec.unwrap().ports[0].number, app.status.unwrap().managed_by.as_str()),
            (web().ports[0].number, "gantry")
        );
    })
    .await;
}

#[tokio::test]
async fn what_runs_stays_when_the_newest_revision_is_deleted() {
    run(|env| async move {
        env.refuse_pods().await;
        deploy_twice(&env).await;
        let mut apps = env.daemon.apps().await;
        revisions(&env).delete("gantry-web-2", &DeleteParams::default()).await.unwrap();
        let restart = pb::RestartAppRequest { name: env.name("web"), ..pb::RestartAppRequest::default() };
        let restarted = apps.restart_app(restart).await.unwrap().into_inner().rollout.unwrap();
        assert_eq!(restarted.name, env.name("web") + "/rollouts/3");
        let image = async || {
            let live = deployments(&env).get("web").await.unwrap();
            live.spec.unwrap().template.spec.unwrap().containers[0].image.clone().unwrap()
        };
        assert_eq!(image().await, "web:2");
        revisions(&env).delete("gantry-web-3", &DeleteParams::default()).await.unwrap();
        let change = pb::AppSpec { env: [("A".to_owned(), "1".to_owned())].into(), ..pb::AppSpec::default() };
        let answer = apps.deploy_app(env.deploy_request("web", change)).await.unwrap().into_inner();
        assert_eq!(answer.rollout.unwrap().name, env.name("web") + "/rollouts/4");
        assert_eq!(image().await, "web:2");
        assert_eq!(
            answer.app.unwrap().spec.unwrap().ports,
            web().ports,
            "fields that the template does not show are preserved"
        );
    })
    .await;
}

#[tokio::test]
async fn a_service_that_only_has_our_labels_is_left_alone() {
    run(|env| async move {
        env.refuse_pods().await;
        let mut apps = env.daemon.apps().await;
        let image = |image: &str| pb::AppSpec { image: image.into(), ..pb::AppSpec::default() };
        apps.deploy_app(env.deploy_request("web", image("web:1"))).await.unwrap();
        let labels = deployments(&env).get("web").await.unwrap().metadata.labels;
        // `kubectl expose` gives a Service the labels of the Deployment.
        let exposed = json!({"metadata": {"name": "web", "labels": labels},
            "spec": {"selector": {"gantry.dev/app": "web"}, "ports": [{"port": 80}]}});
        let services = Api::<Service>::namespaced(env.client.clone(), &env.namespace);
        let by_kubectl = PostParams { field_manager: Some("kubectl-expose".into()), ..PostParams::default() };
        services.create(&by_kubectl, &serde_json::from_value(exposed).unwrap()).await.unwrap();
        apps.deploy_app(env.deploy_request("web", image("web:2"))).await.unwrap();
        let restart = pb::RestartAppRequest { name: env.name("web"), ..pb::RestartAppRequest::default() };
        apps.restart_app(restart).await.unwrap();
        assert!(
            services.get_opt("web").await.unwrap().is_some(),
            "Gantry does not delete a Service that it did not make"
        );
        let refused = apps.deploy_app(env.deploy_request("web", web())).await.unwrap_err();
        assert_eq!(reason(&refused), "NAME_TAKEN");
    })
    .await;
}

#[tokio::test]
async fn bookkeeping_that_was_changed_by_hand_is_written_again_and_nobody_is_asked_about_it() {
    run(|env| async move {
        env.refuse_pods().await;
        let mut apps = env.daemon.apps().await;
        apps.deploy_app(env.deploy_request("web", web())).await.unwrap();
        let mut last = 1;
        for (i, value) in [json!("7"), json!("1"), json!("x"), Value::Null, json!("18446744073709551615")].iter().enumerate() {
            let by_hand = json!({"metadata": {"annotations": {"gantry.dev/revision": value}, "labels": {"app.kubernetes.io/name": "else"}}});
            let params = PatchParams { field_manager: Some("kubectl-annotate".into()), ..PatchParams::default() };
            deployments(&env).patch("web", &params, &Patch::Merge(by_hand)).await.unwrap();
            let spec = pb::AppSpec { image: format!("web:{}", i + 2), ..pb::AppSpec::default() };
            let answer = apps.deploy_app(env.deploy_request("web", spec.clone())).await;
            let answer = answer.unwrap_or_else(|e| panic!("{value}: {e}")).into_inner();
            let number: u64 = answer.rollout.unwrap().name.rsplit('/').next().unwrap().parse().unwrap();
            assert!(number > last && number < 100, "{value}: {number} after {last}");
            last = number;
            let live = deployments(&env).get("web").await.unwrap();
            assert_eq!(live.annotations()["gantry.dev/revision"], number.to_string());
            assert_eq!(live.labels()["app.kubernetes.io/name"], "web");
            assert_eq!(live.spec.unwrap().template.spec.unwrap().containers[0].image, Some(spec.image));
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs simulated pods"]
async fn the_same_deploy_while_it_rolls_out_answers_with_that_rollout() {
    run(|env| async move {
        let mut apps = env.daemon.apps().await;
        let slow = crate::support::annotate("sim/ready-after", "4s");
        let spec = pb::AppSpec { pod_template_patch: Some(slow), ..web() };
        let first = apps.deploy_app(env.deploy_request("web", spec.clone())).await.unwrap().into_inner();
        let again = apps.deploy_app(env.deploy_request("web", spec.clone())).await.unwrap().into_inner();
        let rollout = again.rollout.expect("it is under way");
        assert_eq!(
            (rollout.name.clone(), again.plan.unwrap().changes),
            (first.rollout.unwrap().name, vec![])
        );
        assert_eq!(follow(&env.daemon, &rollout.name).await.state(), pb::RolloutState::Succeeded);
        until("its verdict is stored", async || {
            let all = revisions(&env).list(&ListParams::default()).await.unwrap();
            all.items[0].annotations().contains_key("gantry.dev/end")
        })
        .await;
        let done = apps.deploy_app(env.deploy_request("web", spec)).await.unwrap().into_inner();
        assert_eq!(done.rollout, None, "nothing changed, and nothing is under way");
    })
    .await;
}
