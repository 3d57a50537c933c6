//! Changes made outside Gantry with kubectl: each is a rollout like any other, seen, judged and stored once.
//! And Deployments that are not managed by Gantry: their rollouts can be read, and Gantry writes nothing to
//! the cluster for them.

use gantry::{
    cluster::decode::{self, Decode},
    pb,
};
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, Deployment, ReplicaSet},
    autoscaling::v2::HorizontalPodAutoscaler,
};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::support::{Daemon, Env, follow, run, simulated, until, web};

fn deployments(env: &Env) -> Api<Deployment> {
    Api::namespaced(env.client.clone(), &env.namespace)
}

async fn patch(env: &Env, manager: &str, patch: Value) {
    let params = PatchParams { field_manager: Some(manager.into()), ..PatchParams::default() };
    deployments(env).patch("web", &params, &Patch::Strategic(patch)).await.unwrap();
}

/// `kubectl set image deployment/web {container}={image}`.
async fn set_image(env: &Env, container: &str, image: &str) {
    let containers = json!([{"name": container, "image": image}]);
    patch(env, "kubectl-set", json!({"spec": {"template": {"spec": {"containers": containers}}}})).await;
}

/// `kubectl rollout undo deployment/web --to-revision={number}`: the template and the annotations of that
/// ReplicaSet.
async fn undo(env: &Env, number: &str) {
    const KUBERNETES: &str = "deployment.kubernetes.io/revision";
    let sets = Api::<ReplicaSet>::namespaced(env.client.clone(), &env.namespace);
    let all = sets.list(&ListParams::default()).await.unwrap().items;
    let annotations = |set: &ReplicaSet| set.metadata.annotations.clone().unwrap_or_default();
    let set = all.into_iter().find(|set| annotations(set)[KUBERNETES] == number).unwrap();
    let mut template = serde_json::to_value(set.spec.as_ref().unwrap().template.clone().unwrap()).unwrap();
    template["metadata"]["labels"].as_object_mut().unwrap().remove("pod-template-hash");
    let mut annotations = annotations(&set);
    annotations.retain(|key, _| !key.starts_with("deployment.kubernetes.io/"));
    let back = json!({"metadata": {"annotations": annotations}, "spec": {"template": template}});
    let params = PatchParams { field_manager: Some("kubectl-rollout".into()), ..PatchParams::default() };
    deployments(env).patch("web", &params, &Patch::Merge(back)).await.unwrap();
}

/// A rollout as a daemon lists it: number, state, cause, image, actor.
type Listed = (String, pb::RolloutState, pb::RolloutCause, String, String);

/// The rollouts of the app as this daemon lists them, newest first.
async fn list(env: &Env, daemon: &Daemon) -> Vec<Listed> {
    let request = pb::ListRolloutsRequest {
        parent: env.name("web"),
        view: pb::RolloutView::Full.into(),
        ..pb::ListRolloutsRequest::default()
    };
    let Ok(listed) = daemon.list_rollouts(request).await else { return Vec::new() };
    let listed = listed.rollouts;
    let told = |r: pb::Rollout| {
        let number = r.name.rsplit('/').next().unwrap().to_owned();
        (number, r.state(), r.cause(), r.spec.clone().unwrap_or_default().image, r.actor)
    };
    listed.into_iter().map(told).collect()
}

async fn latest_is(env: &Env, daemon: &Daemon, number: &str) {
    until("the change is seen", async || {
        list(env, daemon).await.first().is_some_and(|newest| newest.0 == number)
    })
    .await;
}

fn other(image: &str) -> String {
    let (repository, _) = image.split_once(':').unwrap();
    if simulated() { format!("{repository}:2") } else { format!("{repository}:1.28-alpine") }
}

/// The rollout of this number, once the daemon lists it as the latest and it has ended.
async fn ended(env: &Env, daemon: &Daemon, number: &str) -> pb::Rollout {
    latest_is(env, daemon, number).await;
    follow(daemon, &format!("{}/rollouts/{number}", env.name("web"))).await
}

/// Waits until the daemon lists these rollouts, newest first, and then the successful deploy before them.
async fn lists_after_the_deploy(env: &Env, daemon: &Daemon, expected: &[Listed]) {
    let deployed = (pb::RolloutState::Succeeded, pb::RolloutCause::Deploy);
    until("both daemons list the same rollouts", async || {
        let listed = list(env, daemon).await;
        let same = listed.len() == expected.len() + 1
            && listed.starts_with(expected)
            && (listed[expected.len()].1, listed[expected.len()].2) == deployed;
        if !same {
            eprintln!("not yet: {listed:?}");
        }
        same
    })
    .await;
}

/// Waits until each of this many rollouts has one revision, owned and with its verdict.
async fn all_are_stored_with_their_end(env: &Env, count: usize) {
    let revisions = Api::<ControllerRevision>::namespaced(env.client.clone(), &env.namespace);
    until("every rollout is stored with its verdict", async || {
        let all = revisions.list(&ListParams::default()).await.unwrap().items;
        let ended = |r: &ControllerRevision| {
            r.metadata.annotations.as_ref().is_some_and(|a| a.contains_key("gantry.dev/end"))
        };
        let owned = |r: &ControllerRevision| r.metadata.owner_references.is_some();
        all.len() == count && all.iter().all(|r| ended(r) && owned(r))
    })
    .await;
}

#[tokio::test]
async fn what_kubectl_does_to_an_app_is_a_rollout_and_kept_once() {
    run(|env| async move {
        use pb::{RolloutCause::External, RolloutState::Failed, RolloutState::Succeeded};
        let second = Daemon::start().await;
        let (good, newer) = (web().image, other(&web().image));
        let bad = format!("{}:does-not-exist", good.split(':').next().unwrap());
        env.deploy_and_follow(env.deploy_request("web", web())).await;

        set_image(&env, "app", &newer).await;
        let rollout = ended(&env, &env.daemon, "2").await;
        assert_eq!((rollout.state(), rollout.cause()), (Succeeded, External), "{rollout:?}");
        assert!(rollout.message.starts_with("Changed outside Gantry by kubectl-set: "), "{rollout:?}");
        let app = env.get("web").await.unwrap();
        let status = app.status.unwrap();
        assert_eq!(app.spec.unwrap().image, good, "only callers change the spec that is asked for");
        assert_eq!((status.state(), status.rollout), (pb::AppState::Active, rollout.name));
        assert!(status.message.contains("outside Gantry by kubectl-set"), "{}", status.message);
        let owner = status.replica_owner.unwrap();
        assert_eq!((owner.kind(), owner.owner.as_str()), (pb::ReplicaOwnerKind::Caller, "gantry"));

        set_image(&env, "app", &bad).await;
        let rollout = ended(&env, &second, "3").await;
        assert_eq!((rollout.state(), rollout.cause()), (Failed, External), "{rollout:?}");
        assert_eq!(rollout.error.unwrap().reason, "IMAGE_PULL_FAILED");
        assert_eq!(env.get("web").await.unwrap().status.unwrap().state(), pb::AppState::Degraded);

        // Back to the first template and its annotations.
        undo(&env, "1").await;
        let rollout = ended(&env, &env.daemon, "4").await;
        assert_eq!((rollout.state(), rollout.cause()), (Succeeded, External), "{rollout:?}");

        let kubectl = |number: &str, state, image: &String, by: &str| {
            (number.to_owned(), state, External, image.clone(), by.to_owned())
        };
        let expected = [
            kubectl("4", Succeeded, &good, "kubectl-rollout"),
            kubectl("3", Failed, &bad, "kubectl-set"),
            kubectl("2", Succeeded, &newer, "kubectl-set"),
        ];
        for daemon in [&env.daemon, &second] {
            lists_after_the_deploy(&env, daemon, &expected).await;
        }
        all_are_stored_with_their_end(&env, 4).await;
    })
    .await;
}

#[tokio::test]
async fn an_unmanaged_app_has_rollouts_too_and_nothing_is_written_for_it() {
    run(|mut env| async move {
        use pb::RolloutState::{Failed, Succeeded, Superseded};
        let (good, newer) = (web().image, other(&web().image));
        let bad = format!("{}:does-not-exist", good.split(':').next().unwrap());
        let labels = json!({"app": "web"});
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
            "replicas": 2, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": good}]}}}});
        let params = PostParams { field_manager: Some("helm".into()), ..PostParams::default() };
        deployments(&env).create(&params, &serde_json::from_value(object).unwrap()).await.unwrap();
        latest_is(&env, &env.daemon, "1").await;
        let rollout = follow(&env.daemon, &(env.name("web") + "/rollouts/latest")).await;
        assert_eq!((rollout.state(), rollout.cause()), (Succeeded, pb::RolloutCause::External), "{rollout:?}");
        assert_eq!((rollout.actor.as_str(), rollout.spec.unwrap().image), ("helm", good.clone()));

        set_image(&env, "web", &bad).await;
        let rollout = ended(&env, &env.daemon, "2").await;
        assert_eq!((rollout.state(), rollout.actor.as_str()), (Failed, "kubectl-set"), "{rollout:?}");
        assert_eq!(rollout.error.unwrap().reason, "IMAGE_PULL_FAILED");

        set_image(&env, "web", &newer).await;
        let rollout = ended(&env, &env.daemon, "3").await;
        assert_eq!(rollout.state(), Succeeded, "{rollout:?}");
        let status = env.get("web").await.unwrap().status.unwrap();
        assert_eq!((status.state(), status.rollout), (pb::AppState::Active, rollout.name));
        let told = list(&env, &env.daemon).await;
        let states: Vec<_> = told.iter().map(|(number, state, ..)| (number.as_str(), *state)).collect();
        assert_eq!(states, [("3", Succeeded), ("2", Failed), ("1", Succeeded)]);

        // The new daemon knows only from Kubernetes that the rollout is complete, and would know it even if a
        // replica had failed by then.
        env.daemon = Daemon::start().await;
        let told = list(&env, &env.daemon).await;
        let states: Vec<_> = told.iter().map(|(number, state, ..)| (number.as_str(), *state)).collect();
        assert_eq!(states, [("3", Succeeded), ("2", Superseded), ("1", Superseded)]);
        let revisions = Api::<ControllerRevision>::namespaced(env.client.clone(), &env.namespace);
        assert_eq!(revisions.list(&ListParams::default()).await.unwrap().items.len(), 0);
    })
    .await;
}

#[tokio::test]
async fn an_external_autoscaler_is_named_as_the_owner_of_the_count() {
    run(|env| async move {
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        let api = Api::<HorizontalPodAutoscaler>::namespaced(env.client.clone(), &env.namespace);
        let object = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "by-hand"},
            "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "maxReplicas": 5}});
        api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
        let owner = async || env.get("web").await.unwrap().status.unwrap().replica_owner.unwrap();
        until("the autoscaler is seen", async || owner().await.kind() == pb::ReplicaOwnerKind::Foreign).await;
        assert_eq!(owner().await.owner, "horizontalpodautoscaler.autoscaling/by-hand");
        api.delete("by-hand", &kube::api::DeleteParams::default()).await.unwrap();
        until("its end is seen", async || owner().await.kind() == pb::ReplicaOwnerKind::Caller).await;
    })
    .await;
}

/// The field manager that changed a template is found by comparing templates, so the same template must
/// decode to equal rows from a Deployment and from its ReplicaSet.
#[tokio::test]
async fn a_deployment_and_the_replica_set_that_runs_it_have_one_template() {
    run(|env| async move {
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        set_image(&env, "app", &other(&web().image)).await;
        latest_is(&env, &env.daemon, "2").await;
        let deployment = Api::<decode::Deployment>::namespaced(env.client.clone(), &env.namespace);
        let deployment = deployment.get("web").await.unwrap().into_row().unwrap();
        let sets = Api::<decode::ReplicaSet>::namespaced(env.client.clone(), &env.namespace);
        let sets = sets.list(&ListParams::default()).await.unwrap().items;
        let sets: Vec<_> = sets.into_iter().filter_map(Decode::into_row).collect();
        let same: Vec<_> = sets.iter().filter(|set| set.template == deployment.template).collect();
        assert_eq!((sets.len(), same.len()), (2, 1), "{sets:?}");
        assert_eq!(same[0].template_revision, deployment.template_revision);
    })
    .await;
}
