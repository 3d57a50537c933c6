//! Images that cannot be pulled: the messages of a real containerd for each way in which a registry refuses.

use gantry::pb;
use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, api::PostParams};
use serde_json::json;

use crate::{
    case::{Case, REGISTRY, patience, play, sample},
    support::{run, until},
};

fn image(image: String) -> pb::AppSpec {
    pb::AppSpec { image, rollout_policy: patience(60), ..sample(&["pause"]) }
}

fn of(path: &str) -> pb::AppSpec {
    image(format!("{REGISTRY}/{path}"))
}

const FAILED: &str = "IMAGE_PULL_FAILED";

#[tokio::test]
async fn an_image_that_is_not_there_is_distinguished_from_one_that_is_refused() {
    run(|env| async move {
        let absent: &[&str] = &["does not exist"];
        let refused: &[&str] = &["refuses access"];
        let cases = vec![
            Case::fails("image_tag_not_found", of("sample:9"), FAILED, absent),
            Case::fails("image_repository_not_found", of("nothing:1"), FAILED, absent),
            Case::fails("image_denied_like_docker_hub", of("hub/web:1"), FAILED, refused),
            Case::fails("image_denied_without_a_token", of("private/web:1"), FAILED, refused),
            Case::fails("image_denied_without_a_password", of("basic/web:1"), FAILED, refused),
            Case::fails("image_forbidden", of("forbidden/web:1"), FAILED, refused),
        ];
        play(&env, cases).await;
    })
    .await;
}

#[tokio::test]
async fn a_registry_that_cannot_answer_may_answer_later() {
    run(|env| async move {
        let words: &[&str] = &["cannot be pulled"];
        let cases = vec![
            Case::fails("registry_unreachable", image("127.0.0.1:1/web:1".into()), FAILED, words).passing(),
            Case::fails("registry_unknown", image("registry.invalid/web:1".into()), FAILED, words).passing(),
            Case::fails("registry_limits_rate", of("busy/web:1"), FAILED, &["limits the rate"]).passing(),
            Case::fails("registry_broken", of("broken/web:1"), FAILED, words).passing(),
        ];
        play(&env, cases).await;
    })
    .await;
}

/// DeployApp refuses such a name, so the Deployment is made without Gantry.
#[tokio::test]
async fn a_name_that_no_image_can_have_is_named() {
    run(|env| async move {
        let labels = json!({"app": "sample"});
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": {"name": "sample"},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "containers": [{"name": "app", "image": format!("{REGISTRY}/Sample:1")}],
                        "nodeSelector": {"gantry.dev/real": "true"},
                        "tolerations": [{"key": "gantry.dev/real", "operator": "Exists"}],
                    },
                },
            },
        }))
        .unwrap();
        let api = Api::<Deployment>::namespaced(env.client.clone(), &env.namespace);
        api.create(&PostParams::default(), &deployment).await.unwrap();
        until("the name is said to be invalid", async || {
            let request = pb::GetAppRequest { name: env.name("sample"), ..Default::default() };
            let app = env.daemon.get_app(request).await.ok().and_then(|answer| answer.app);
            let status = app.and_then(|app| app.status).unwrap_or_default();
            status
                .problems
                .iter()
                .any(|p| p.reason == FAILED && p.message.contains("the image name is invalid"))
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_pull_that_is_forbidden_is_named() {
    run(|env| async move {
        let mut never = of("absent:1");
        never.pod_template_patch = Some(container("imagePullPolicy", "Never"));
        let cases = vec![Case::fails("image_never_pulled", never, FAILED, &["may not be pulled"])];
        play(&env, cases).await;
    })
    .await;
}

/// A patch of the app's container.
fn container(key: &str, value: &str) -> prost_types::Struct {
    use prost_types::{ListValue, Struct, Value, value::Kind};
    let object = |fields: Vec<(&str, Value)>| Struct {
        fields: fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
    };
    let text = |s: &str| Value { kind: Some(Kind::StringValue(s.into())) };
    let wrapped = |s: Struct| Value { kind: Some(Kind::StructValue(s)) };
    let one = wrapped(object(vec![("name", text("app")), (key, text(value))]));
    let list = Value { kind: Some(Kind::ListValue(ListValue { values: vec![one] })) };
    object(vec![("spec", wrapped(object(vec![("containers", list)])))])
}
