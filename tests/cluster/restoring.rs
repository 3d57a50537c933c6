//! Histories whose Deployment is deleted or comes back: deleted without the objects that it owns, and
//! restored from a backup in any order.

use std::time::Duration;

use gantry::pb;
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, Deployment},
    core::v1::Service,
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, ObjectMeta, PostParams, PropagationPolicy, ResourceExt},
};
use serde_json::json;

use crate::support::{Env, run, until, web};

fn revisions(env: &Env) -> Api<ControllerRevision> {
    Api::namespaced(env.client.clone(), &env.namespace)
}

fn deployments(env: &Env) -> Api<Deployment> {
    Api::namespaced(env.client.clone(), &env.namespace)
}

/// The metadata that a backup retains.
fn kept(metadata: &ObjectMeta) -> ObjectMeta {
    let ObjectMeta { name, labels, annotations, .. } = metadata.clone();
    ObjectMeta { name, labels, annotations, ..ObjectMeta::default() }
}

/// The names of the revisions, and how many owners each has.
async fn owners(env: &Env) -> Vec<(String, usize)> {
    let all = revisions(env).list(&ListParams::default()).await.unwrap();
    all.iter().map(|r| (r.name_any(), r.owner_references().len())).collect()
}

fn named(all: &[(&str, usize)]) -> Vec<(String, usize)> {
    all.iter().map(|(name, owners)| ((*name).to_owned(), *owners)).collect()
}

/// Waits longer than the daemon waits before it finishes an interrupted change.
async fn nothing_happens() {
    tokio::time::sleep(Duration::from_secs(5)).await;
}

const URL: &str = "postgres://h/x?sslmode=require&pool=5";

/// Makes two rollouts. Both have a value that encoders may write differently.
async fn deploy_twice(env: &Env) {
    for image in ["web:1", "web:2"] {
        let vars = [("DB".to_owned(), URL.to_owned())].into();
        let spec = pb::AppSpec { image: image.into(), env: vars, ..web() };
        env.deploy("web", spec).await.unwrap();
    }
}

/// Asserts that the app runs what it ran before, and that the next deploy gets this number.
async fn goes_on(env: &Env, next: u64) {
    until("the app is back", async || {
        let is_back = |app: pb::App| app.spec.is_some_and(|spec| spec.image == "web:2");
        env.get("web").await.is_ok_and(is_back)
    })
    .await;
    let spec = pb::AppSpec { image: "web:3".into(), ..pb::AppSpec::default() };
    let deploy = env.deploy_request("web", spec);
    let answer = env.daemon.deploy_app(deploy).await.unwrap();
    assert_eq!(answer.rollout.unwrap().name, format!("{}/rollouts/{next}", env.name("web")));
    assert_eq!(answer.app.unwrap().spec.unwrap().env["DB"], URL);
    let read = pb::GetAppRequest { name: env.name("web"), read_after: answer.position };
    let app = env.daemon.get_app(read).await.unwrap().app.unwrap();
    assert_eq!(app.status.unwrap().managed_by, "gantry");
    let back = pb::RollbackAppRequest {
        name: env.name("web"),
        rollout: env.name("web") + "/rollouts/1",
        ..pb::RollbackAppRequest::default()
    };
    env.daemon.rollback_app(back).await.unwrap();
    assert_eq!(env.get("web").await.unwrap().spec.unwrap().image, "web:1");
}

/// With `--cascade=orphan` Kubernetes removes the owner references by strategic merge patches, and deletes
/// the Deployment only when all are removed.
#[tokio::test]
async fn a_deployment_that_was_deleted_with_cascade_orphan_is_gone_and_can_come_back() {
    run(|env| async move {
        env.refuse_pods().await;
        deploy_twice(&env).await;
        let deployment = deployments(&env).get("web").await.unwrap();
        let orphan =
            DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..DeleteParams::default() };
        deployments(&env).delete("web", &orphan).await.unwrap();
        until("it is gone", async || deployments(&env).get_opt("web").await.unwrap().is_none()).await;
        until("the app is gone", async || env.get("web").await.is_err()).await;
        nothing_happens().await;
        assert_eq!(owners(&env).await, named(&[("gantry-web-1", 0), ("gantry-web-2", 0)]));
        assert!(deployments(&env).get_opt("web").await.unwrap().is_none(), "no daemon creates it again");

        let restored =
            Deployment { metadata: kept(&deployment.metadata), spec: deployment.spec, status: None };
        deployments(&env).create(&PostParams::default(), &restored).await.unwrap();
        until("its history has its owner back", async || owners(&env).await.iter().all(|(_, n)| *n == 1))
            .await;
        goes_on(&env, 3).await;
    })
    .await;
}

/// The Service of a deleted app is not deleted by deploys of the next app of its name, and is deleted
/// together with that app.
#[tokio::test]
async fn the_service_of_an_app_that_was_orphaned_stays_until_the_next_one_is_deleted() {
    run(|env| async move {
        env.refuse_pods().await;
        deploy_twice(&env).await;
        let orphan =
            DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..DeleteParams::default() };
        deployments(&env).delete("web", &orphan).await.unwrap();
        until("the app is gone", async || env.get("web").await.is_err()).await;
        let services = Api::<Service>::namespaced(env.client.clone(), &env.namespace);
        let mut apps = env.daemon.apps().await;
        for image in ["web:3", "web:4"] {
            let spec = pb::AppSpec { image: image.into(), ..pb::AppSpec::default() };
            apps.deploy_app(env.deploy_request("web", spec)).await.unwrap();
            assert!(services.get_opt("web").await.unwrap().is_some(), "{image}");
        }
        let delete = pb::DeleteAppRequest { name: env.name("web"), ..pb::DeleteAppRequest::default() };
        apps.delete_app(delete).await.unwrap();
        until("the Service is gone too", async || services.get_opt("web").await.unwrap().is_none()).await;
    })
    .await;
}

#[tokio::test]
async fn a_backup_is_restored_revisions_first_and_nothing_is_carried_out() {
    run(|env| async move {
        env.refuse_pods().await;
        deploy_twice(&env).await;
        let deployment = deployments(&env).get("web").await.unwrap();
        let services = Api::<Service>::namespaced(env.client.clone(), &env.namespace);
        let service = services.get("web").await.unwrap();
        let saved = revisions(&env).list(&ListParams::default()).await.unwrap().items;
        let delete = pb::DeleteAppRequest { name: env.name("web"), ..pb::DeleteAppRequest::default() };
        env.daemon.delete_app(delete).await.unwrap();
        until("all is gone", async || {
            owners(&env).await.is_empty()
                && services.get_opt("web").await.unwrap().is_none()
                && deployments(&env).get_opt("web").await.unwrap().is_none()
        })
        .await;

        // A third revision that had not been carried out when the backup was made, an hour ago.
        let mut cut_off = saved[1].clone();
        cut_off.metadata = ObjectMeta {
            name: Some("gantry-web-3".to_owned()),
            annotations: None,
            ..kept(&cut_off.metadata)
        };
        cut_off.revision = 3;
        let record = cut_off.data.as_ref().unwrap().0["record"].as_str().unwrap().to_owned();
        let mut record: serde_json::Value = serde_json::from_str(&record).unwrap();
        let earlier = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1);
        record["time"] = json!(earlier.to_string());
        record["content"]["spec"]["image"] = json!("web:never");
        cut_off.data.as_mut().unwrap().0["record"] = json!(record.to_string());
        for revision in saved.iter().chain([&cut_off]) {
            let restored = ControllerRevision { metadata: kept(&revision.metadata), ..revision.clone() };
            revisions(&env).create(&PostParams::default(), &restored).await.unwrap();
        }
        nothing_happens().await;
        let all = [("gantry-web-1", 0), ("gantry-web-2", 0), ("gantry-web-3", 0)];
        assert_eq!(owners(&env).await, named(&all));
        assert!(env.get("web").await.is_err() && deployments(&env).get_opt("web").await.unwrap().is_none());
        revisions(&env).delete("gantry-web-3", &DeleteParams::default()).await.unwrap();

        let restored =
            Deployment { metadata: kept(&deployment.metadata), spec: deployment.spec, status: None };
        deployments(&env).create(&PostParams::default(), &restored).await.unwrap();
        let mut spec = service.spec.unwrap();
        (spec.cluster_ip, spec.cluster_ips) = (None, None);
        let restored = Service { metadata: kept(&service.metadata), spec: Some(spec), status: None };
        services.create(&PostParams::default(), &restored).await.unwrap();
        until("its history has its owner back", async || owners(&env).await.iter().all(|(_, n)| *n == 1))
            .await;
        goes_on(&env, 3).await;
    })
    .await;
}
