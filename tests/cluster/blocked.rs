//! Bad times: objects that are being deleted, a webhook that does not answer, an overloaded API server, an
//! answer that gets lost. Each error says what was done before it, and repeating the call completes it.

use gantry::pb;
use k8s_openapi::api::{
    admissionregistration::v1::ValidatingWebhookConfiguration,
    apps::v1::{ControllerRevision, Deployment},
    core::v1::{ConfigMap, Namespace, Service},
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{
    proxy::{Fault, Proxy},
    support::{Daemon, Env, follow, reason, run, until, web},
};

fn metadata(status: &Status, key: &str) -> String {
    let details = status.get_error_details();
    details.error_info().unwrap().metadata.get(key).cloned().unwrap_or_default()
}

/// Repeats a deploy until it is answered, and follows the first rollout of the app to its end.
async fn completed(env: &Env, daemon: &Daemon, request: pb::DeployAppRequest) {
    let first = env.name("web") + "/rollouts/1";
    until("repeating it completes it", async || {
        match daemon.deploy_app(request.clone()).await {
            // There is no rollout in the answer if the daemon has already finished the first deploy in the
            // background.
            Ok(answer) => answer.rollout.is_none_or(|rollout| rollout.name == first),
            Err(_) => false,
        }
    })
    .await;
    let end = follow(daemon, &first).await;
    assert_eq!(end.state(), pb::RolloutState::Succeeded, "{end:?}");
    let revisions = Api::<ControllerRevision>::namespaced(env.client.clone(), &env.namespace);
    assert_eq!(revisions.list(&ListParams::default()).await.unwrap().items.len(), 1, "one revision");
    Api::<Service>::namespaced(env.client.clone(), &env.namespace).get("web").await.unwrap();
}

#[tokio::test]
async fn what_is_being_deleted_is_not_changed() {
    run(|env| async move {
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        let deployments = Api::<Deployment>::namespaced(env.client.clone(), &env.namespace);
        let finalizers = |list: serde_json::Value| Patch::Merge(json!({"metadata": {"finalizers": list}}));
        let params = PatchParams::default();
        deployments.patch("web", &params, &finalizers(json!(["example.com/later"]))).await.unwrap();
        deployments.delete("web", &DeleteParams::default()).await.unwrap();
        let change = pb::AppSpec { image: "web:2".into(), ..Default::default() };
        let mut apps = env.daemon.apps().await;
        let deploy = apps.deploy_app(env.deploy_request("web", change)).await.unwrap_err();
        let scale = pb::ScaleAppRequest { name: env.name("web"), replicas: Some(3), ..Default::default() };
        let scale = apps.scale_app(scale).await.unwrap_err();
        let restart = pb::RestartAppRequest { name: env.name("web"), ..Default::default() };
        let restart = apps.restart_app(restart).await.unwrap_err();
        deployments.patch("web", &params, &finalizers(json!([]))).await.unwrap();
        for status in [deploy, scale, restart] {
            let got = (status.code(), reason(&status));
            assert_eq!(got, (Code::FailedPrecondition, "BEING_DELETED".to_owned()), "{status}");
            assert!(status.message().contains(&env.name("web")), "{status}");
        }
        until("it can be created again", async || {
            apps.deploy_app(env.deploy_request("web", web())).await.is_ok()
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_namespace_that_is_being_deleted_takes_no_new_app() {
    run(|env| async move {
        let namespaces = Api::<Namespace>::all(env.client.clone());
        let name = format!("{}-going", env.namespace);
        let namespace = json!({"metadata": {"name": name}});
        let create = PostParams::default();
        namespaces.create(&create, &serde_json::from_value(namespace).unwrap()).await.unwrap();
        let maps = Api::<ConfigMap>::namespaced(env.client.clone(), &name);
        let map = json!({"metadata": {"name": "last", "finalizers": ["example.com/later"]}});
        maps.create(&create, &serde_json::from_value(map).unwrap()).await.unwrap();
        namespaces.delete(&name, &DeleteParams::default()).await.unwrap();
        let mut request = env.deploy_request("web", web());
        request.app.as_mut().unwrap().name = format!("namespaces/{name}/apps/web");
        let answer = env.daemon.deploy_app(request).await;
        let patch = Patch::Merge(json!({"metadata": {"finalizers": []}}));
        maps.patch("last", &PatchParams::default(), &patch).await.unwrap();
        let status = answer.unwrap_err();
        let got = (status.code(), reason(&status));
        assert_eq!(got, (Code::FailedPrecondition, "BEING_DELETED".to_owned()), "{status}");
    })
    .await;
}

/// The webhook has side effects, so it is not called for a dry run, and its server does not answer.
#[tokio::test]
async fn a_webhook_that_does_not_answer_is_named_and_the_deploy_is_completed_later() {
    run(|env| async move {
        let name = env.namespace.clone();
        let hooks = Api::<ValidatingWebhookConfiguration>::all(env.client.clone());
        let hook = json!({"metadata": {"name": name}, "webhooks": [{
            "name": "services.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "NoneOnDryRun",
            // A port on which nothing listens.
            "clientConfig": {"url": "https://127.0.0.1:9/"}, "failurePolicy": "Fail", "timeoutSeconds": 1,
            "matchConditions": [{"name": "real", "expression": "!has(request.dryRun) || !request.dryRun"}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["services"]}]}]});
        hooks.create(&PostParams::default(), &serde_json::from_value(hook).unwrap()).await.unwrap();
        env.services_are_refused("the webhook is in force").await;
        let answer = env.deploy("web", web()).await;
        hooks.delete(&name, &DeleteParams::default()).await.unwrap();
        let status = answer.unwrap_err();
        let got = (status.code(), reason(&status));
        assert_eq!(got, (Code::FailedPrecondition, "ADMISSION_DENIED".to_owned()), "{status}");
        assert_eq!(metadata(&status, "webhook"), "services.example.com");
        assert_eq!(metadata(&status, "applied"), "deployment.apps/web,poddisruptionbudget.policy/web");
        assert_eq!(metadata(&status, "notApplied"), "service/web");
        assert_eq!(metadata(&status, "rollout"), env.name("web") + "/rollouts/1");
        completed(&env, &env.daemon, env.deploy_request("web", web())).await;
    })
    .await;
}

#[tokio::test]
async fn an_api_server_with_too_much_to_do_is_distinguished_from_one_that_is_away() {
    run(|env| async move {
        let proxy = Proxy::start(env.client.clone()).await;
        let dir = tempfile::tempdir().unwrap();
        let daemon = proxy.daemon(dir.path()).await;
        let deploy = async || {
            let status = daemon.deploy_app(env.deploy_request("web", web())).await.unwrap_err();
            let got = (status.code(), reason(&status));
            assert_eq!(got, (Code::Unavailable, "THROTTLED".to_owned()), "{status}");
            assert!(
                status.get_error_details().retry_info().is_some_and(|r| r.retry_delay.is_some()),
                "{status}"
            );
            status
        };
        // Refused before anything is written, and then between two writes.
        proxy.spoil(Fault::Busy, |call| call.starts_with("PATCH") && call.contains("dryRun=All"));
        let early = deploy().await;
        assert_eq!(metadata(&early, "applied"), "");
        assert_eq!(env.objects().await, Vec::<String>::new(), "nothing is written");
        proxy.spoil(Fault::Busy, |call| {
            call.contains("/services/web") && !call.contains("dryRun=All") && call.starts_with("PATCH")
        });
        let late = deploy().await;
        assert_eq!(metadata(&late, "notApplied"), "service/web");
        assert!(metadata(&late, "applied").contains("deployment.apps/web"), "{late}");
        completed(&env, &daemon, env.deploy_request("web", web())).await;
    })
    .await;
}

#[tokio::test]
async fn a_conflict_at_every_attempt_is_reported_as_one_and_the_call_can_be_repeated() {
    run(|env| async move {
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        let proxy = Proxy::start(env.client.clone()).await;
        let dir = tempfile::tempdir().unwrap();
        let daemon = proxy.daemon(dir.path()).await;
        proxy.spoil(Fault::Conflict, |call| {
            call.starts_with("PATCH") && call.contains("/deployments/web") && !call.contains("dryRun=All")
        });
        let autoscaler = pb::Autoscaler {
            name: env.name("web") + "/autoscaler",
            max_replicas: 3,
            ..pb::Autoscaler::default()
        };
        let update = pb::UpdateAutoscalerRequest {
            autoscaler: Some(autoscaler),
            ..pb::UpdateAutoscalerRequest::default()
        };
        let tuned = daemon.update_autoscaler(update.clone()).await.unwrap_err();
        let mut next = web();
        next.image = "web:2".into();
        let deployed = daemon.deploy_app(env.deploy_request("web", next.clone())).await.unwrap_err();
        for status in [&tuned, &deployed] {
            assert_eq!(
                (status.code(), reason(status).as_str()),
                (Code::Aborted, "WRITE_CONFLICT"),
                "{status}"
            );
            assert!(
                status.get_error_details().retry_info().is_some_and(|r| r.retry_delay.is_some()),
                "{status}"
            );
            assert!(status.message().contains("deployment.apps/web"), "{status}");
        }
        // The deploy has begun, so the error names its rollout.
        assert_eq!(metadata(&deployed, "rollout"), env.name("web") + "/rollouts/2");
        proxy.spoil(Fault::Busy, |_| false);
        daemon.update_autoscaler(update).await.unwrap();
        daemon.deploy_app(env.deploy_request("web", next)).await.unwrap();
        let end = follow(&daemon, &(env.name("web") + "/rollouts/2")).await;
        assert_eq!(end.state(), pb::RolloutState::Succeeded, "{end:?}");
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_gets_lost_may_have_happened_and_is_not_done_twice() {
    run(|env| async move {
        let proxy = Proxy::start(env.client.clone()).await;
        let dir = tempfile::tempdir().unwrap();
        let daemon = proxy.daemon(dir.path()).await;
        proxy.spoil(Fault::Silent, |call| {
            call.contains("/deployments/web") && !call.contains("dryRun=All") && call.starts_with("PATCH")
        });
        let request_id = "6f1a2c1e-0000-4000-8000-0000000000aa".to_owned();
        let request = pb::DeployAppRequest { request_id, ..env.deploy_request("web", web()) };
        let status = daemon.deploy_app(request.clone()).await.unwrap_err();
        let got = (status.code(), reason(&status));
        assert_eq!(got, (Code::DeadlineExceeded, "DEADLINE".to_owned()), "{status}");
        assert_eq!(metadata(&status, "mayHaveHappened"), "true");
        assert!(metadata(&status, "waitingFor").contains("deployment.apps/web"), "{status}");
        let deployments = Api::<Deployment>::namespaced(env.client.clone(), &env.namespace);
        deployments.get("web").await.expect("it happened");
        completed(&env, &daemon, request).await;
    })
    .await;
}
