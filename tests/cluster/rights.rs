//! Missing rights: the answer names who lacks which right, and nothing is written.

use gantry::pb;
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::{reason, run, web};

/// The right to read everything that the daemon reads.
fn reads() -> Value {
    json!({"apiGroups": ["", "apps", "policy", "autoscaling", "discovery.k8s.io"], "verbs": ["get", "list", "watch"], "resources": [
        "deployments", "replicasets", "pods", "events", "controllerrevisions", "services", "poddisruptionbudgets",
        "horizontalpodautoscalers", "endpointslices", "nodes"]})
}

/// Verb, resource and namespace of a `NOT_ALLOWED`.
fn refused(status: &Status) -> (String, String, String) {
    assert_eq!((status.code(), reason(status).as_str()), (Code::PermissionDenied, "NOT_ALLOWED"), "{status}");
    let details = status.get_error_details();
    let metadata = &details.error_info().unwrap().metadata;
    let [verb, resource, namespace] = ["verb", "resource", "namespace"].map(|key| metadata[key].clone());
    (verb, resource, namespace)
}

#[tokio::test]
async fn a_right_to_write_that_is_missing_is_named() {
    run(|env| async move {
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        let (daemon, _dir) = env.daemon_with(json!([reads()])).await;
        let (mut apps, mut rollouts) = (daemon.apps().await, daemon.rollouts().await);
        let before = env.settled().await;
        let may_not =
            |verb: &str, resource: &str| (verb.to_owned(), resource.to_owned(), env.namespace.clone());
        let change = pb::AppSpec { image: "web:2".into(), ..Default::default() };
        let status = apps.deploy_app(env.deploy_request("web", change.clone())).await.unwrap_err();
        assert_eq!(refused(&status), may_not("patch", "deployments.apps"));
        assert!(
            status.message().contains(&format!("system:serviceaccount:{0}:{0}", env.namespace)),
            "{status}"
        );
        let status = apps.deploy_app(env.deploy_request("new", web())).await.unwrap_err();
        assert_eq!(refused(&status), may_not("patch", "deployments.apps"));
        let scale = pb::ScaleAppRequest { name: env.name("web"), replicas: Some(3), ..Default::default() };
        let status = apps.scale_app(scale.clone()).await.unwrap_err();
        assert_eq!(refused(&status), may_not("patch", "deployments.apps/scale"));
        let restart = pb::RestartAppRequest { name: env.name("web"), ..Default::default() };
        let status = apps.restart_app(restart.clone()).await.unwrap_err();
        assert_eq!(refused(&status), may_not("patch", "deployments.apps"));
        let delete = pb::DeleteAppRequest { name: env.name("web"), ..Default::default() };
        let status = apps.delete_app(delete.clone()).await.unwrap_err();
        assert_eq!(refused(&status), may_not("delete", "deployments.apps"));
        assert_eq!(env.objects().await, before, "nothing is written");

        // A plan says the same in a check instead of an error, the worst check first.
        let plan = pb::DeployAppRequest { validate_only: true, ..env.deploy_request("web", change) };
        let plan = apps.deploy_app(plan).await.unwrap().into_inner().plan.unwrap();
        assert_eq!(plan.checks[0].result(), pb::CheckResult::Fail, "{:?}", plan.checks);
        let denied = plan.checks.iter().filter(|c| c.kind == "PERMISSION");
        assert!(
            denied.clone().count() > 0 && denied.clone().all(|c| c.result() == pb::CheckResult::Fail),
            "{:?}",
            plan.checks
        );
        assert!(
            denied.clone().all(|c| c.message.contains("may not patch") && c.message.contains(&env.namespace))
        );
        let delete = pb::DeleteAppRequest { validate_only: true, ..delete };
        let plan = apps.delete_app(delete).await.unwrap().into_inner().plan.unwrap();
        assert_eq!(
            (plan.checks[0].kind.as_str(), plan.checks[0].result()),
            ("PERMISSION", pb::CheckResult::Fail)
        );

        // Reads still work. It may not look for namespaces, so that an absent one looks like an empty one.
        let list = pb::ListAppsRequest { parent: "namespaces/gantry-test-none".into(), ..Default::default() };
        assert_eq!(apps.list_apps(list).await.unwrap().into_inner().apps, []);
        let latest =
            pb::GetRolloutRequest { name: env.name("web") + "/rollouts/latest", ..Default::default() };
        assert!(rollouts.get_rollout(latest).await.is_ok());
        assert_eq!(env.objects().await, before, "nothing is written");
    })
    .await;
}

#[tokio::test]
async fn a_server_that_may_not_keep_revisions_names_the_rule_to_add() {
    run(|env| async move {
        let writes = json!({"apiGroups": ["", "apps", "policy"], "verbs": ["create", "patch", "update", "delete"],
            "resources": ["deployments", "deployments/scale", "services", "poddisruptionbudgets"]});
        let (daemon, _dir) = env.daemon_with(json!([reads(), writes])).await;
        let status = daemon.deploy_app(env.deploy_request("web", web())).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "DAEMON_RBAC_MISSING"), "{status}");
        let details = status.get_error_details();
        let violation = &details.precondition_failure().unwrap().violations[0];
        assert_eq!(violation.r#type, "RBAC");
        assert!(violation.subject.contains("create") && violation.subject.contains("controllerrevision"), "{violation:?}");
        assert_eq!(env.objects().await, Vec::<String>::new(), "no Deployment without its revision");
    })
    .await;
}
