//! Refusals that only a real API server gives: each has its reason, and says what was done before it.

use gantry::pb;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::ResourceQuota};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tonic::Code;
use tonic_types::StatusExt;

use crate::support::{reason, run, until, web};

#[tokio::test]
async fn an_absent_namespace_is_named() {
    run(|env| async move {
        let mut request = env.deploy("web", web());
        request.app.as_mut().unwrap().name = "namespaces/gantry-test-none/apps/web".into();
        let status = env.daemon.apps().await.deploy_app(request).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "NAMESPACE_NOT_FOUND"));
    })
    .await;
}

#[tokio::test]
async fn an_etag_of_yesterday_is_refused() {
    run(|env| async move {
        env.deploy_and_follow(env.deploy("web", web())).await;
        let etag = env.get("web").await.unwrap().etag;
        let with = |etag: &str, value: &str| {
            let spec =
                pb::AppSpec { env: [("A".to_owned(), value.to_owned())].into(), ..pb::AppSpec::default() };
            let mut request = env.deploy("web", spec);
            request.app.as_mut().unwrap().etag = etag.into();
            request
        };
        env.daemon.apps().await.deploy_app(with(&etag, "1")).await.unwrap();
        let status = env.daemon.apps().await.deploy_app(with(&etag, "2")).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Aborted, "ETAG_MISMATCH"));
        let current = status.get_error_details().error_info().unwrap().metadata["etag"].clone();
        assert_eq!(current, env.get("web").await.unwrap().etag);
    })
    .await;
}

#[tokio::test]
async fn a_field_that_another_manager_took_is_left_to_it() {
    run(|env| async move {
        env.deploy_and_follow(env.deploy("web", web())).await;
        let deployments = Api::<Deployment>::namespaced(env.client.clone(), &env.namespace);
        let image = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": {"spec": {"containers": [
            {"name": "app", "image": format!("{}-alien", web().image)}]}}}});
        deployments.patch("web", &PatchParams::apply("alien").force(), &Patch::Apply(image)).await.unwrap();
        let spec = pb::AppSpec { image: "web:2".into(), ..pb::AppSpec::default() };
        let status = env.daemon.apps().await.deploy_app(env.deploy("web", spec)).await.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::FailedPrecondition, "CONFLICTING_FIELD_MANAGER")
        );
        let details = status.get_error_details();
        let violation = &details.precondition_failure().unwrap().violations[0];
        assert!(violation.subject.contains("image") && violation.description.contains("alien"), "{violation:?}");
    })
    .await;
}

#[tokio::test]
async fn a_deploy_cut_off_by_a_quota_says_what_is_done_and_is_completed_by_repeating_it() {
    run(|env| async move {
        let quotas = Api::<ResourceQuota>::namespaced(env.client.clone(), &env.namespace);
        let quota = json!({"metadata": {"name": "none"}, "spec": {"hard": {"count/services": "0"}}});
        quotas.create(&PostParams::default(), &serde_json::from_value(quota).unwrap()).await.unwrap();
        until("the quota is in force", || async {
            quotas.get("none").await.unwrap().status.is_some_and(|s| s.hard.is_some())
        })
        .await;
        let status = env.daemon.apps().await.deploy_app(env.deploy("web", web())).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "QUOTA_EXCEEDED"));
        let details = status.get_error_details();
        let metadata = &details.error_info().unwrap().metadata;
        assert_eq!(metadata["applied"], "deployment.apps/web");
        assert_eq!(metadata["notApplied"], "service/web,poddisruptionbudget.policy/web");
        assert_eq!(metadata["rollout"], env.name("web") + "/rollouts/1");

        quotas.delete("none", &DeleteParams::default()).await.unwrap();
        let answer = env.daemon.apps().await.deploy_app(env.deploy("web", web())).await.unwrap().into_inner();
        let made: Vec<_> = answer.plan.unwrap().changes.into_iter().map(|c| c.object).collect();
        assert_eq!(made, ["service/web", "poddisruptionbudget.policy/web"]);
        assert_eq!(answer.rollout.unwrap().name, env.name("web") + "/rollouts/1");
    })
    .await;
}
