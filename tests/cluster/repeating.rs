//! Calls that are repeated with their `request_id` at a daemon that did not answer the first call, after the
//! app has changed.

use gantry::pb;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams, ResourceExt},
};
use serde_json::json;
use tonic::{Code, Status};

use crate::support::{Daemon, Env, reason, run, until, web};

fn delete(env: &Env, id: &str) -> pb::DeleteAppRequest {
    pb::DeleteAppRequest { name: env.name("web"), request_id: id.into(), ..Default::default() }
}

async fn ask(daemon: &Daemon, request: &pb::DeleteAppRequest) -> Result<pb::DeleteAppResponse, Status> {
    daemon.delete_app(request.clone()).await
}

async fn is_gone(env: &Env) {
    until("nothing of the app is left", async || {
        // The test's own daemon is asked too, because its index may be late.
        env.objects().await.is_empty() && env.get("web").await.is_err()
    })
    .await;
}

/// Kills the daemon and starts the next one.
async fn next(env: &mut Env) {
    env.daemon.kill().await;
    env.daemon = env.daemon_like(&["--lease-namespace", &env.namespace.clone()]).await;
}

/// The Leases that store the request ids of deletions.
async fn deletion_leases(env: &Env) -> Vec<Lease> {
    let leases = Api::<Lease>::namespaced(env.client.clone(), &env.namespace);
    leases.list(&ListParams::default().labels("gantry.dev/keeps=deletion")).await.unwrap().items
}

/// Plans the deletion and then deletes; returns the position of the answer and the name of the Lease.
async fn delete_and_find_the_lease(env: &Env, request: &pb::DeleteAppRequest) -> (String, String) {
    let only = pb::DeleteAppRequest { validate_only: true, ..request.clone() };
    ask(&env.daemon, &only).await.unwrap();
    assert_eq!(deletion_leases(env).await, vec![], "a plan uses no id");

    let first = ask(&env.daemon, request).await.unwrap();
    assert_eq!(first.app.unwrap().name, env.name("web"));
    is_gone(env).await;
    let lease = deletion_leases(env).await.pop().unwrap();
    let lease_name = lease.name_any();
    assert!(lease_name.starts_with("gantry-deletion-"), "{lease:?}");
    assert_eq!(lease.spec.unwrap().lease_duration_seconds, Some(7200));
    (first.position, lease_name)
}

/// The id stays used. A different request with it is refused, and a repeat leaves a new app of that name
/// unchanged.
async fn the_used_id_deletes_no_next_app(env: &mut Env, request: &pb::DeleteAppRequest, position: &str) {
    let other = pb::DeleteAppRequest { allow_missing: true, ..request.clone() };
    assert_eq!(reason(&ask(&env.daemon, &other).await.unwrap_err()), "REQUEST_ID_REUSED");
    let deploy =
        pb::DeployAppRequest { request_id: request.request_id.clone(), ..env.deploy_request("web", web()) };
    next(env).await;
    let status = env.daemon.deploy_app(deploy).await.unwrap_err();
    assert_eq!(reason(&status), "REQUEST_ID_REUSED");
    env.deploy_and_follow(env.deploy_request("web", web())).await;
    let before = env.settled().await;
    for fresh in [false, true] {
        if fresh {
            next(env).await;
        }
        let again = ask(&env.daemon, request).await.unwrap();
        assert_eq!((again.app, again.position.as_str()), (None, position), "the deleted app is not stored");
        assert_eq!(reason(&ask(&env.daemon, &other).await.unwrap_err()), "REQUEST_ID_REUSED");
    }
    assert_eq!(env.settled().await, before, "the new app stays");
}

/// Repeating the deletion of an app that did not exist leaves a new app unchanged. The expired Lease is
/// removed.
async fn the_deletion_of_a_missing_app_deletes_no_next_app(env: &mut Env, expired: &str) {
    ask(&env.daemon, &delete(env, "")).await.unwrap();
    is_gone(env).await;
    let missing =
        pb::DeleteAppRequest { allow_missing: true, ..delete(env, "6f1a2c1e-0000-4000-8000-0000000000d3") };
    ask(&env.daemon, &missing).await.unwrap();
    env.deploy_and_follow(env.deploy_request("web", web())).await;
    // Makes the first Lease look expired.
    let past = json!({"spec": {"renewTime": "2020-01-01T00:00:00.000000Z"}});
    let leases = Api::<Lease>::namespaced(env.client.clone(), &env.namespace);
    leases.patch(expired, &PatchParams::default(), &Patch::Merge(past)).await.unwrap();
    next(env).await;
    ask(&env.daemon, &missing).await.unwrap();
    assert!(env.get("web").await.is_ok(), "the new app stays");
    until("the expired Lease is removed", async || deletion_leases(env).await.len() == 1).await;
    assert_ne!(deletion_leases(env).await[0].name_any(), expired);
}

#[tokio::test]
async fn a_repeated_deletion_is_answered_after_a_restart_and_never_takes_the_next_app() {
    run(|mut env| async move {
        next(&mut env).await;
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        let request = delete(&env, "6f1a2c1e-0000-4000-8000-0000000000d1");
        let (position, lease_name) = delete_and_find_the_lease(&env, &request).await;

        next(&mut env).await;
        let again = ask(&env.daemon, &request).await.unwrap();
        assert_eq!((again.app, &again.position), (None, &position));
        let unknown = delete(&env, "6f1a2c1e-0000-4000-8000-0000000000d2");
        assert_eq!(ask(&env.daemon, &unknown).await.unwrap_err().code(), Code::NotFound);

        the_used_id_deletes_no_next_app(&mut env, &request, &position).await;
        the_deletion_of_a_missing_app_deletes_no_next_app(&mut env, &lease_name).await;
    })
    .await;
}

#[tokio::test]
async fn a_deletion_goes_on_where_its_id_cannot_be_kept() {
    run(|env| async move {
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        let rules = json!([{"apiGroups": ["", "apps", "policy", "autoscaling", "discovery.k8s.io"],
            "verbs": ["get", "list", "watch", "create", "patch", "delete"], "resources": [
            "deployments", "replicasets", "pods", "events", "controllerrevisions", "services", "poddisruptionbudgets",
            "horizontalpodautoscalers", "endpointslices", "nodes"]}]);
        let (daemon, _dir) = env.daemon_with(rules).await;
        ask(&daemon, &delete(&env, "6f1a2c1e-0000-4000-8000-0000000000d4")).await.unwrap();
        is_gone(&env).await;
    })
    .await;
}

#[tokio::test]
async fn a_deploy_that_changes_nothing_writes_nothing_its_id_neither() {
    run(|env| async move {
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        let there = env.settled().await;
        let id = "6f1a2c1e-0000-4000-8000-0000000000d5".to_owned();
        let request = pb::DeployAppRequest { request_id: id, ..env.deploy_request("web", web()) };
        let first = env.daemon.deploy_app(request.clone()).await.unwrap();
        assert_eq!(first.rollout, None);
        assert_eq!(env.settled().await, there);
        // The daemon that answered the first call knows the id.
        let update = pb::AppSpec { image: "web:2".into(), ..web() };
        env.deploy_and_follow(env.deploy_request("web", update)).await;
        let again = env.daemon.deploy_app(request).await.unwrap();
        assert_eq!(again.rollout, None);
        assert_eq!(env.get("web").await.unwrap().spec.unwrap().image, "web:2");
    })
    .await;
}
