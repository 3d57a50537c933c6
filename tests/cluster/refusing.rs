//! Refusals that only a real API server gives. Each has its reason, and says what was done before it.

use gantry::pb;
use k8s_openapi::api::{
    admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    apps::v1::{ControllerRevision, Deployment},
    core::v1::{ResourceQuota, Service},
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, ResourceExt},
};
use prost_types::value::Kind;
use serde_json::json;
use tonic::Code;
use tonic_types::StatusExt;

use crate::support::{Env, annotate, follow, reason, run, until, web};

#[tokio::test]
async fn an_absent_namespace_is_named() {
    run(|env| async move {
        let mut request = env.deploy_request("web", web());
        request.app.as_mut().unwrap().name = "namespaces/gantry-test-none/apps/web".into();
        let status = env.daemon.deploy_app(request).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "NAMESPACE_NOT_FOUND"));
        let list = |namespace: &str| {
            let parent = format!("namespaces/{namespace}");
            env.daemon.list_apps(pb::ListAppsRequest { parent, ..Default::default() })
        };
        let status = list("gantry-test-none").await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "NAMESPACE_NOT_FOUND"));
        assert_eq!(list(&env.namespace).await.unwrap().apps, [], "it exists, and has no app");
    })
    .await;
}

#[tokio::test]
async fn an_etag_of_an_app_that_is_gone_is_not_found() {
    run(|env| async move {
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        let etag = env.get("web").await.unwrap().etag;
        let delete = pb::DeleteAppRequest { name: env.name("web"), ..Default::default() };
        env.daemon.delete_app(delete.clone()).await.unwrap();
        until("the app is gone", async || env.get("web").await.is_err()).await;
        let mut deploy = env.deploy_request("web", web());
        deploy.app.as_mut().unwrap().etag.clone_from(&etag);
        let status = env.daemon.deploy_app(deploy.clone()).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "APP_NOT_FOUND"));
        assert!(status.message().contains("leave out the etag"), "{status}");
        assert_eq!(env.objects().await, Vec::<String>::new(), "nothing is written");
        let missing = pb::DeleteAppRequest { etag, allow_missing: true, ..delete };
        env.daemon.delete_app(missing).await.unwrap();
        deploy.app.as_mut().unwrap().etag.clear();
        env.daemon.deploy_app(deploy).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_etag_of_yesterday_is_refused() {
    run(|env| async move {
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        let etag = env.get("web").await.unwrap().etag;
        let with = |etag: &str, value: &str| {
            let spec =
                pb::AppSpec { env: [("A".to_owned(), value.to_owned())].into(), ..pb::AppSpec::default() };
            let mut request = env.deploy_request("web", spec);
            request.app.as_mut().unwrap().etag = etag.into();
            request
        };
        env.daemon.deploy_app(with(&etag, "1")).await.unwrap();
        let status = env.daemon.deploy_app(with(&etag, "2")).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Aborted, "ETAG_MISMATCH"));
        let current = status.get_error_details().error_info().unwrap().metadata["etag"].clone();
        assert_eq!(current, env.get("web").await.unwrap().etag);
    })
    .await;
}

#[tokio::test]
async fn a_field_that_another_manager_took_is_left_to_it() {
    run(|env| async move {
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        let deployments = Api::<Deployment>::namespaced(env.client.clone(), &env.namespace);
        let image = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": {"spec": {"containers": [
            {"name": "app", "image": format!("{}-alien", web().image)}]}}}});
        deployments.patch("web", &PatchParams::apply("alien").force(), &Patch::Apply(image)).await.unwrap();
        let spec = pb::AppSpec { image: "web:2".into(), ..pb::AppSpec::default() };
        let status = env.deploy("web", spec).await.unwrap_err();
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
async fn what_is_refused_leaves_nothing_behind() {
    run(|env| async move {
        env.limit(json!({"count/services": "0"})).await;
        let status = env.deploy("web", web()).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "QUOTA_EXCEEDED"));
        let revisions = Api::<ControllerRevision>::namespaced(env.client.clone(), &env.namespace);
        assert!(revisions.list(&ListParams::default()).await.unwrap().items.is_empty());
        let quotas = Api::<ResourceQuota>::namespaced(env.client.clone(), &env.namespace);
        quotas.delete("limits", &DeleteParams::default()).await.unwrap();
        until("the quota is gone", async || env.deploy("web", web()).await.is_ok()).await;
        follow(&env.daemon, &(env.name("web") + "/rollouts/1")).await;

        // A refused change does not become part of the next one.
        let mut patch = annotate("a", "b");
        let policy = prost_types::Value { kind: Some(Kind::StringValue("Sometimes".into())) };
        let spec = prost_types::Struct { fields: [("restartPolicy".to_owned(), policy)].into() };
        let spec = prost_types::Value { kind: Some(Kind::StructValue(spec)) };
        patch.fields.insert("spec".into(), spec);
        let bad = pb::AppSpec { pod_template_patch: Some(patch), ..pb::AppSpec::default() };
        let status = env.deploy("web", bad).await.unwrap_err();
        assert_eq!(reason(&status), "INVALID_FIELD");
        let good = pb::AppSpec { env: [("A".to_owned(), "1".to_owned())].into(), ..pb::AppSpec::default() };
        let rollout = env.deploy_and_follow(env.deploy_request("web", good)).await;
        assert_eq!(
            (rollout.state(), rollout.name),
            (pb::RolloutState::Succeeded, env.name("web") + "/rollouts/2")
        );
    })
    .await;
}

/// The policy lets the dry run pass and refuses the write, so the deploy cannot know of the refusal before it
/// begins.
#[tokio::test]
async fn a_deploy_cut_off_between_two_objects_says_what_is_done_and_is_completed_by_repeating_it() {
    run(|env| async move {
        let name = env.namespace.clone();
        let policies = Api::<ValidatingAdmissionPolicy>::all(env.client.clone());
        let bindings = Api::<ValidatingAdmissionPolicyBinding>::all(env.client.clone());
        let services = json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["services"]}]);
        let policy = json!({"metadata": {"name": name}, "spec": {
            "failurePolicy": "Fail", "matchConstraints": {"resourceRules": services},
            "validations": [{"expression": "has(request.dryRun) && request.dryRun", "message": "no services today"}]}});
        let binding = json!({"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}}});
        policies.create(&PostParams::default(), &serde_json::from_value(policy).unwrap()).await.unwrap();
        bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();
        env.services_are_refused("the policy is in force").await;

        let status = env.deploy("web", web()).await.unwrap_err();
        env.deploy("brief", web()).await.unwrap_err();
        let delete = pb::DeleteAppRequest { name: env.name("brief"), ..Default::default() };
        env.daemon.delete_app(delete).await.unwrap();
        policies.delete(&name, &DeleteParams::default()).await.unwrap();
        bindings.delete(&name, &DeleteParams::default()).await.unwrap();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "ADMISSION_DENIED"));
        assert!(status.message().contains("no services today"), "{}", status.message());
        let details = status.get_error_details();
        let metadata = &details.error_info().unwrap().metadata;
        assert_eq!(metadata["policy"], name);
        assert_eq!(metadata["applied"], "deployment.apps/web,poddisruptionbudget.policy/web");
        assert_eq!(metadata["notApplied"], "service/web");
        assert_eq!(metadata["rollout"], env.name("web") + "/rollouts/1");

        until("repeating it completes it", async || {
            match env.deploy("web", web()).await {
                Ok(answer) => {
                    // There is no rollout in the answer if a daemon has already finished the first deploy in
                    // the background.
                    let rollout = answer.rollout.map(|r| r.name);
                    assert!(rollout.is_none_or(|name| name == env.name("web") + "/rollouts/1"));
                    true
                }
                Err(status) => {
                    assert_eq!(reason(&status), "ADMISSION_DENIED");
                    false
                }
            }
        })
        .await;
        Api::<Service>::namespaced(env.client.clone(), &env.namespace).get("web").await.unwrap();

        let revisions = Api::<ControllerRevision>::namespaced(env.client.clone(), &env.namespace);
        let of_brief = ListParams::default().labels("gantry.dev/revisions-of=brief");
        until("an app that was deleted is gone, and nothing of it is left to be carried out", async || {
            env.get("brief").await.is_err() && revisions.list(&of_brief).await.unwrap().items.is_empty()
        })
        .await;
    })
    .await;
}

/// Annotates the Deployment as another client, so that all its annotations together have this many bytes.
async fn fill_annotations(env: &Env, bytes: usize) {
    let deployments = Api::<Deployment>::namespaced(env.client.clone(), &env.namespace);
    let patch = |text: String| json!({"metadata": {"annotations": {"example.com/big": text}}});
    let empty = Patch::Merge(patch(String::new()));
    let object = deployments.patch("web", &PatchParams::default(), &empty).await.unwrap();
    let present: usize = object.annotations().iter().map(|(key, value)| key.len() + value.len()).sum();
    let full = Patch::Merge(patch("x".repeat(bytes - present)));
    deployments.patch("web", &PatchParams::default(), &full).await.unwrap();
}

#[tokio::test]
async fn annotations_of_others_near_the_limit_are_named_and_those_of_gantry_never_exceed_it() {
    const LIMIT: usize = 256 * 1024;
    run(|env| async move {
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        // There is room for few ids of requests, and for a ReplicaSet, which has some of its own.
        fill_annotations(&env, LIMIT - 7000).await;
        for n in 0..9 {
            let request = pb::ScaleAppRequest {
                name: env.name("web"),
                replicas: Some(n % 3),
                request_id: format!("6f1a2c1e-0000-4000-8000-00000000000{n}"),
                ..Default::default()
            };
            env.daemon.scale_app(request.clone()).await.unwrap();
            env.daemon.scale_app(request).await.unwrap();
        }
        let second = pb::AppSpec { image: "web:2".into(), ..Default::default() };
        let rollout = env.deploy_and_follow(env.deploy_request("web", second)).await;
        assert_eq!(rollout.state(), pb::RolloutState::Succeeded, "{rollout:?}");

        let third = pb::AppSpec { image: "web:3".into(), ..Default::default() };
        let mut request = env.deploy_request("web", third);
        let note = ("note".to_owned(), "x".repeat(9000));
        request.app.as_mut().unwrap().annotations = [note].into();
        // A Deployment may have that many, but none of its ReplicaSets, or not even the Deployment.
        for bytes in [LIMIT - 10_000, LIMIT - 100] {
            fill_annotations(&env, bytes).await;
            let before = env.settled().await;
            for validate_only in [true, false] {
                let request = pb::DeployAppRequest { validate_only, ..request.clone() };
                let refused = env.daemon.deploy_app(request).await.unwrap_err();
                assert_eq!(reason(&refused), "INVALID_FIELD", "{refused}");
                let told = refused.message();
                assert!(told.contains("app.annotations") && told.contains("example.com/big"), "{told}");
            }
            assert_eq!(env.objects().await, before, "nothing is written");
        }
    })
    .await;
}
