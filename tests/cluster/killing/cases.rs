//! The calls that are interrupted: for each method that writes, the state before the call, the call, and the
//! part of its answer that a repeat must give again. Must not know how the calls are interrupted.

use futures::{FutureExt, future::LocalBoxFuture};
use gantry::pb;
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tonic::Status;

use super::state::recorded;
use crate::support::{Daemon, Env, annotate, follow, web};

/// One app, and the daemon to call.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    pub env: &'a Env,
    pub daemon: &'a Daemon,
    pub app: &'a str,
    /// The id of the call.
    pub id: &'a str,
}

/// The result of an interrupted call that is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alone {
    /// A daemon finishes it.
    Finished,
    /// It happened completely, or it did not happen.
    Either,
}

/// One call.
pub struct Case {
    /// The method, as named in the contract.
    pub method: &'static str,
    /// The prefix of the names of its apps.
    pub name: &'static str,
    /// Brings the app to the state in which the call begins, and waits until the daemons have written
    /// everything about that state.
    pub before: fn(Scene<'_>) -> LocalBoxFuture<'_, ()>,
    /// Makes the call. Returns the part of its answer that must be the same each time, without the app's
    /// name.
    pub call: fn(Scene<'_>) -> LocalBoxFuture<'_, Result<String, Status>>,
    pub alone: Alone,
    /// Whether the call begins a rollout that ends.
    pub ends: bool,
    /// The fewest writes of the call. If fewer are seen, some are not counted.
    pub writes: usize,
}

/// Every method that writes to the cluster, some methods with several cases.
pub const CASES: &[Case] = &[
    Case {
        method: "DeployApp",
        name: "first",
        before: |_| async {}.boxed_local(),
        call: |scene| deploy(scene, web()).boxed_local(),
        alone: Alone::Finished,
        ends: true,
        writes: 5,
    },
    Case {
        method: "DeployApp",
        name: "update",
        before: |scene| deployed(scene, &["web:1"]).boxed_local(),
        call: |scene| {
            // The second port changes the Service too, because an object that does not change is not written.
            let mut update = image("web:2");
            let more = pb::Port { name: "more".into(), number: 9999, protocol: pb::Protocol::Tcp.into() };
            update.ports.push(more);
            deploy(scene, update).boxed_local()
        },
        alone: Alone::Finished,
        ends: true,
        writes: 4,
    },
    Case {
        // Ownership of the fields is handed over before they are changed.
        method: "DeployApp",
        name: "adopt",
        before: |scene| foreign(scene).boxed_local(),
        call: |scene| {
            let request = scene.env.deploy_request(scene.app, image("web:2"));
            deploy_as(scene, pb::DeployAppRequest { adopt: true, ..request }).boxed_local()
        },
        alone: Alone::Finished,
        ends: true,
        writes: 6,
    },
    Case {
        // Without ports the Service is removed, after the rollout succeeded.
        method: "DeployApp",
        name: "prune",
        before: |scene| deployed(scene, &["web:1"]).boxed_local(),
        call: |scene| {
            let request = scene.env.deploy_request(scene.app, pb::AppSpec::default());
            let update_mask = Some(prost_types::FieldMask { paths: vec!["spec.ports".into()] });
            deploy_as(scene, pb::DeployAppRequest { update_mask, ..request }).boxed_local()
        },
        alone: Alone::Finished,
        ends: true,
        writes: 3,
    },
    Case {
        // The earlier field manager must not own the count afterwards.
        method: "DeployApp",
        name: "count",
        before: |scene| counted_by_others(scene).boxed_local(),
        call: |scene| {
            let spec = pb::AppSpec { replicas: Some(1), ..pb::AppSpec::default() };
            let update_mask = Some(prost_types::FieldMask { paths: vec!["spec.replicas".into()] });
            let request = pb::DeployAppRequest { update_mask, ..scene.env.deploy_request(scene.app, spec) };
            deploy_as(scene, request).boxed_local()
        },
        alone: Alone::Finished,
        ends: true,
        writes: 3,
    },
    Case {
        method: "RestartApp",
        name: "restart",
        before: |scene| deployed(scene, &["web:1"]).boxed_local(),
        call: |scene| restart(scene).boxed_local(),
        alone: Alone::Finished,
        ends: true,
        writes: 3,
    },
    Case {
        // An app that is not managed by Gantry is restarted by a single write, from which Kubernetes makes
        // the rollout.
        method: "RestartApp",
        name: "foreign",
        before: |scene| foreign(scene).boxed_local(),
        call: |scene| {
            async move {
                let name = scene.env.name(scene.app);
                let request =
                    pb::RestartAppRequest { name, request_id: scene.id.into(), ..Default::default() };
                let answer = scene.daemon.restart_app(request).await?;
                assert!(answer.rollout.is_some(), "there is a rollout to follow");
                Ok(String::new())
            }
            .boxed_local()
        },
        alone: Alone::Either,
        ends: false,
        writes: 1,
    },
    Case {
        method: "RollbackApp",
        name: "rollback",
        before: |scene| before_rollback(scene).boxed_local(),
        call: |scene| rollback(scene).boxed_local(),
        alone: Alone::Finished,
        ends: true,
        writes: 4,
    },
    Case {
        method: "ScaleApp",
        name: "scale",
        before: |scene| deployed(scene, &["web:1"]).boxed_local(),
        call: |scene| scale(scene).boxed_local(),
        alone: Alone::Either,
        ends: false,
        writes: 2,
    },
    Case {
        // With a frozen autoscaler the count needs no hold, and an earlier hold must not outrank the new
        // count.
        method: "ScaleApp",
        name: "frozen",
        before: |scene| before_scaling_frozen(scene).boxed_local(),
        call: |scene| scale(scene).boxed_local(),
        alone: Alone::Either,
        ends: false,
        writes: 3,
    },
    Case {
        method: "PauseRollout",
        name: "pause",
        before: |scene| running(scene).boxed_local(),
        call: |scene| pause(scene).boxed_local(),
        alone: Alone::Either,
        ends: false,
        writes: 1,
    },
    Case {
        method: "ResumeRollout",
        name: "resume",
        before: |scene| before_resume(scene).boxed_local(),
        call: |scene| resume(scene).boxed_local(),
        alone: Alone::Either,
        ends: false,
        writes: 1,
    },
    Case {
        method: "UpdateAutoscaler",
        name: "autoscaler",
        // A count that was set outside Gantry is taken over by a separate write.
        before: |scene| counted_by_others(scene).boxed_local(),
        call: |scene| autoscaler(scene, scene.id, pb::AutoscalerMode::Active, 9).boxed_local(),
        alone: Alone::Either,
        ends: false,
        writes: 2,
    },
    Case {
        method: "DeleteApp",
        name: "delete",
        before: |scene| deployed(scene, &["web:1", "web:2"]).boxed_local(),
        call: |scene| delete(scene).boxed_local(),
        alone: Alone::Either,
        ends: false,
        writes: 2,
    },
];

fn image(image: &str) -> pb::AppSpec {
    pb::AppSpec { image: image.into(), ..web() }
}

/// A request id that is derived from the app's name, so that repeats of its call have the same id.
pub fn id_of(app: &str) -> String {
    let digest = app.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("6f1a2c1e-0000-4000-{:04x}-{:012x}", digest >> 48, digest & 0xffff_ffff_ffff)
}

/// Deploys these images one after the other, each to its end.
async fn deployed(scene: Scene<'_>, images: &[&str]) {
    for (step, tag) in images.iter().enumerate() {
        let request = scene.env.deploy_request(scene.app, image(tag));
        let answer = scene.daemon.deploy_app(request).await.unwrap();
        follow(scene.daemon, &answer.rollout.unwrap().name).await;
        recorded(scene.env, scene.app, step + 1).await;
    }
}

async fn deploy(scene: Scene<'_>, spec: pb::AppSpec) -> Result<String, Status> {
    deploy_as(scene, scene.env.deploy_request(scene.app, spec)).await
}

async fn deploy_as(scene: Scene<'_>, request: pb::DeployAppRequest) -> Result<String, Status> {
    let request = pb::DeployAppRequest { request_id: scene.id.into(), ..request };
    let answer = scene.daemon.deploy_app(request).await?;
    Ok(number(scene, answer.rollout))
}

async fn restart(scene: Scene<'_>) -> Result<String, Status> {
    let name = scene.env.name(scene.app);
    let request = pb::RestartAppRequest { name, request_id: scene.id.into(), ..Default::default() };
    let answer = scene.daemon.restart_app(request).await?;
    Ok(number(scene, answer.rollout))
}

async fn foreign(scene: Scene<'_>) {
    let labels = json!({"app": scene.app});
    let manifest = json!({"metadata": {"name": scene.app, "labels": labels}, "spec": {
        "replicas": 1, "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "web:1"}]}}}});
    let deployments = Api::<Deployment>::namespaced(scene.env.client.clone(), &scene.env.namespace);
    let made = serde_json::from_value(manifest).unwrap();
    deployments.create(&kube::api::PostParams::default(), &made).await.unwrap();
}

/// The rollback also restores the autoscaler that was set after the second rollout, by a separate write.
async fn before_rollback(scene: Scene<'_>) {
    deployed(scene, &["web:1", "web:2"]).await;
    autoscaler(scene, "", pb::AutoscalerMode::Shadow, 7).await.unwrap();
}

async fn rollback(scene: Scene<'_>) -> Result<String, Status> {
    let name = scene.env.name(scene.app);
    let request = pb::RollbackAppRequest {
        rollout: format!("{name}/rollouts/1"),
        name,
        request_id: scene.id.into(),
        ..Default::default()
    };
    let answer = scene.daemon.rollback_app(request).await?;
    Ok(number(scene, answer.rollout))
}

async fn scale(scene: Scene<'_>) -> Result<String, Status> {
    let request = pb::ScaleAppRequest {
        name: scene.env.name(scene.app),
        replicas: Some(3),
        request_id: scene.id.into(),
        ..Default::default()
    };
    let answer = scene.daemon.scale_app(request).await?;
    assert!(!answer.position.is_empty());
    Ok(answer.app.unwrap().status.unwrap().desired_replicas.to_string())
}

async fn before_scaling_frozen(scene: Scene<'_>) {
    deployed(scene, &["web:1"]).await;
    autoscaler(scene, "", pb::AutoscalerMode::Active, 9).await.unwrap();
    let request = pb::ScaleAppRequest {
        name: scene.env.name(scene.app),
        replicas: Some(1),
        hold_for: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
        ..Default::default()
    };
    scene.daemon.scale_app(request).await.unwrap();
    // The annotation is changed directly, because setting the mode through Gantry ends the hold.
    let deployments = Api::<Deployment>::namespaced(scene.env.client.clone(), &scene.env.namespace);
    let live = deployments.get(scene.app).await.unwrap();
    let text = &live.metadata.annotations.unwrap()["gantry.dev/autoscaler"];
    let mut policy: serde_json::Value = serde_json::from_str(text).unwrap();
    policy["mode"] = json!("FROZEN");
    let patch =
        Patch::Merge(json!({"metadata": {"annotations": {"gantry.dev/autoscaler": policy.to_string()}}}));
    deployments.patch(scene.app, &PatchParams::default(), &patch).await.unwrap();
}

/// A rollout that runs as long as the test does.
async fn running(scene: Scene<'_>) {
    deployed(scene, &["web:1"]).await;
    let spec = pb::AppSpec { pod_template_patch: Some(annotate("sim/unready", "true")), ..image("web:2") };
    scene.daemon.deploy_app(scene.env.deploy_request(scene.app, spec)).await.unwrap();
}

async fn before_resume(scene: Scene<'_>) {
    running(scene).await;
    pause(Scene { id: "", ..scene }).await.unwrap();
}

async fn pause(scene: Scene<'_>) -> Result<String, Status> {
    let name = format!("{}/rollouts/2", scene.env.name(scene.app));
    let request = pb::PauseRolloutRequest { name, request_id: scene.id.into(), ..Default::default() };
    let answer = scene.daemon.pause_rollout(request).await?;
    Ok(number(scene, answer.rollout))
}

async fn resume(scene: Scene<'_>) -> Result<String, Status> {
    let name = format!("{}/rollouts/2", scene.env.name(scene.app));
    let request = pb::ResumeRolloutRequest { name, request_id: scene.id.into(), ..Default::default() };
    let answer = scene.daemon.resume_rollout(request).await?;
    Ok(number(scene, answer.rollout))
}

async fn counted_by_others(scene: Scene<'_>) {
    deployed(scene, &["web:1"]).await;
    let deployments = Api::<Deployment>::namespaced(scene.env.client.clone(), &scene.env.namespace);
    let patch = Patch::Merge(json!({"spec": {"replicas": 3}}));
    let params = PatchParams { field_manager: Some("kubectl".into()), ..PatchParams::default() };
    deployments.patch(scene.app, &params, &patch).await.unwrap();
}

async fn autoscaler(
    scene: Scene<'_>,
    id: &str,
    mode: pb::AutoscalerMode,
    max: i32,
) -> Result<String, Status> {
    let signal = pb::scaling_target::Signal::Reported(pb::ReportedTarget {
        metric: "queue_depth".into(),
        per_replica: 1.0,
    });
    let autoscaler = pb::Autoscaler {
        name: format!("{}/autoscaler", scene.env.name(scene.app)),
        mode: mode.into(),
        max_replicas: max,
        targets: vec![pb::ScalingTarget { signal: Some(signal) }],
        ..pb::Autoscaler::default()
    };
    let request = pb::UpdateAutoscalerRequest {
        autoscaler: Some(autoscaler),
        request_id: id.into(),
        ..Default::default()
    };
    let answer = scene.daemon.update_autoscaler(request).await?;
    let stored = answer.autoscaler.unwrap();
    Ok(format!("{:?} {}", stored.mode(), stored.max_replicas))
}

async fn delete(scene: Scene<'_>) -> Result<String, Status> {
    let name = scene.env.name(scene.app);
    let request = pb::DeleteAppRequest { name, request_id: scene.id.into(), ..Default::default() };
    scene.daemon.delete_app(request).await.map(|_| String::new())
}

/// The number of the rollout that an answer names.
fn number(scene: Scene<'_>, rollout: Option<pb::Rollout>) -> String {
    let name = rollout.expect("a rollout").name;
    let prefix = format!("{}/rollouts/", scene.env.name(scene.app));
    name.strip_prefix(&prefix).unwrap_or_else(|| panic!("{name} is no rollout of {}", scene.app)).to_owned()
}
