//! Request ids on the wire: which calls use an id up, and to what request it is then bound.

use gantry::pb;

use crate::support::{Server, reason};

const ID: &str = "6f1a2c1e-0000-4000-8000-000000000001";

fn deploy(image: &str) -> pb::DeployAppRequest {
    let spec = pb::AppSpec { image: image.into(), ..Default::default() };
    let name = "namespaces/shop/apps/web".into();
    let app = pb::App { name, spec: Some(spec), ..Default::default() };
    pb::DeployAppRequest { app: Some(app), request_id: ID.into(), ..Default::default() }
}

#[tokio::test]
async fn a_plan_does_not_use_up_its_request_id() {
    let server = Server::start().await;
    let mut apps = server.apps();
    let plan = pb::DeployAppRequest { validate_only: true, ..deploy("web:1") };
    apps.deploy_app(plan.clone()).await.unwrap();
    apps.deploy_app(plan).await.unwrap();
    let first = apps.deploy_app(deploy("web:2")).await.unwrap().into_inner();
    let again = apps.deploy_app(deploy("web:2")).await.unwrap().into_inner();
    assert_eq!((&again.rollout, &again.position), (&first.rollout, &first.position));
    let done: Vec<_> = server.act.deploys.lock().unwrap().iter().map(|d| d.meta.validate_only).collect();
    assert_eq!(done, [true, true, false], "two plans, and one deploy that is not done twice");
}

#[tokio::test]
async fn a_request_id_is_bound_to_its_request_and_method() {
    let server = Server::start().await;
    server.apps().deploy_app(deploy("web:1")).await.unwrap();
    let other = server.apps().deploy_app(deploy("web:2")).await.unwrap_err();
    assert_eq!(reason(&other), "REQUEST_ID_REUSED");
    let scale = pb::ScaleAppRequest {
        name: "namespaces/shop/apps/web".into(),
        replicas: Some(1),
        request_id: ID.into(),
        ..Default::default()
    };
    assert_eq!(reason(&server.apps().scale_app(scale).await.unwrap_err()), "REQUEST_ID_REUSED");
}
