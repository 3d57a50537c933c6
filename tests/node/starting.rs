//! What comes before and beside the app's container, and after it: init containers, sidecars, replicas that
//! their node refuses, and replicas that take their time to stop.

use gantry::pb;
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api,
    api::{ListParams, ResourceExt},
};
use prost_types::{ListValue, Struct, Value, value::Kind};
use serde_json::json;

use crate::{
    case::{Case, REGISTRY, patience, play, sample, seconds, serving},
    support::{Env, follow, run, until},
};

fn to_value(json: &serde_json::Value) -> Value {
    let kind = match json {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(value) => Kind::BoolValue(*value),
        serde_json::Value::Number(value) => Kind::NumberValue(value.as_f64().unwrap()),
        serde_json::Value::String(value) => Kind::StringValue(value.clone()),
        serde_json::Value::Array(values) => {
            Kind::ListValue(ListValue { values: values.iter().map(to_value).collect() })
        }
        serde_json::Value::Object(fields) => Kind::StructValue(Struct {
            fields: fields.iter().map(|(k, v)| (k.clone(), to_value(v))).collect(),
        }),
    };
    Value { kind: Some(kind) }
}

/// The spec with these fields in its pods.
fn with(spec: pb::AppSpec, pod: &serde_json::Value) -> pb::AppSpec {
    let fields = [("spec".to_owned(), to_value(pod))].into();
    pb::AppSpec { pod_template_patch: Some(Struct { fields }), rollout_policy: patience(6), ..spec }
}

/// Another container with the same program, which listens on a port of its own.
fn beside(name: &str, args: &[&str]) -> serde_json::Value {
    json!({"name": name, "image": format!("{REGISTRY}/sample:1"), "args": args,
        "env": [{"name": "PORT", "value": "9090"}],
        "resources": {"requests": {"cpu": "5m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}}})
}

#[tokio::test]
async fn what_comes_before_and_beside_the_app_is_named() {
    run(|env| async move {
        let never = with(serving(&[]), &json!({"initContainers": [beside("migrate", &["pause"])]}));
        let failing =
            with(serving(&[]), &json!({"initContainers": [beside("migrate", &["end", "-code=3"])]}));
        let failing = pb::AppSpec { rollout_policy: patience(60), ..failing };
        let mut mesh = beside("mesh", &["serve", "-start-after=1h"]);
        mesh["restartPolicy"] = json!("Always");
        mesh["startupProbe"] =
            json!({"tcpSocket": {"port": 9090}, "periodSeconds": 1, "failureThreshold": 999});
        let mut proxy = beside("proxy", &["serve", "-ready-after=1h"]);
        proxy["readinessProbe"] = json!({"httpGet": {"port": 9090, "path": "/ready"}, "periodSeconds": 1});
        let cases = vec![
            Case::fails(
                "init_never_ends",
                never,
                "PROGRESS_TIMEOUT",
                &["Init container \"migrate\" runs since"],
            ),
            Case::fails("init_fails", failing, "CRASH_LOOP", &["\"migrate\"", "3 times", "status 3"]),
            Case::fails(
                "sidecar_startup_failing",
                with(serving(&[]), &json!({"initContainers": [mesh]})),
                "PROBE_FAILING",
                &["\"mesh\"", "startup probe"],
            ),
            Case::fails(
                "sidecar_not_ready",
                with(serving(&[]), &json!({"containers": [proxy]})),
                "PROBE_FAILING",
                &["\"proxy\"", "readiness probe", "503"],
            ),
        ];
        play(&env, cases).await;
    })
    .await;
}

#[tokio::test]
async fn replicas_that_their_node_refuses_are_counted() {
    run(|env| async move {
        let nodes = Api::<Node>::all(env.client.clone());
        let real = nodes.list(&ListParams::default().labels("gantry.dev/real=true")).await.unwrap();
        let node = real.items[0].name_any();
        // Not by what it requests, because the scheduler counts that for the node until it has ended.
        let selector = json!({"gantry.dev/absent": "yes"});
        let refused = with(sample(&["pause"]), &json!({"nodeName": node, "nodeSelector": selector}));
        play(&env, vec![Case::fails("refused_by_node", refused, "CRASH_LOOP", &["NodeAffinity"])]).await;
    })
    .await;
}

#[tokio::test]
async fn a_replica_that_its_pre_stop_hook_holds_is_named() {
    run(|env: Env| async move {
        let hook = json!({"containers": [{"name": "app", "lifecycle": {"preStop": {"exec": {"command": ["/sample", "pause"]}}}}]});
        let held = pb::AppSpec {
            rollout_policy: Some(pb::RolloutPolicy {
                strategy: pb::Strategy::Recreate.into(),
                ..patience(60).unwrap()
            }),
            termination_grace: seconds(8),
            drain_delay: seconds(0),
            ..with(serving(&["-linger=0s"]), &hook)
        };
        let first = env.deploy_and_follow(env.deploy_request("held", held.clone())).await;
        assert_eq!(first.state(), pb::RolloutState::Succeeded, "{first:?}");
        let next = pb::AppSpec { image: format!("{REGISTRY}/sample:2"), ..held };
        let rollout = env.deploy("held", next).await.unwrap().rollout.unwrap();
        until("it is named", async || {
            let message = env.get("held").await.unwrap().status.unwrap().message;
            message.contains("was told to stop at") && message.contains("with 8 s to end")
        })
        .await;
        let end = follow(&env.daemon, &rollout.name).await;
        assert_eq!(end.state(), pb::RolloutState::Succeeded, "its time is up: {end:?}");
    })
    .await;
}
