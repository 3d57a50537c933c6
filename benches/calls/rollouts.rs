//! How long it takes from a rollout that is ready to the caller that waits for it: with the daemon, kubectl
//! and helm, each compared with a bare watch of the same Deployment.

use std::time::{Duration, Instant};

use futures::{TryStreamExt, future};
use gantry::pb::{
    self, app_service_client::AppServiceClient, rollout_service_client::RolloutServiceClient,
    watch_rollout_response::Event,
};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, ResourceExt,
    api::{WatchEvent, WatchParams},
};
use prost_types::Struct;
use serde_json::json;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

use crate::{
    Size,
    deploys::manifests,
    peers::{Chart, rollout_status},
    place::{Daemon, Place},
    stats::{Goal, Ratio, Series, Table, Unit, later},
};

const WATCH_ROLLOUT: &str = "WatchRollout";
const WAIT_ROLLOUT: &str = "WaitRollout";
const KUBECTL: &str = "kubectl rollout status";
const HELM: &str = "helm upgrade --wait";

/// Rollouts in a round.
const ROLLOUTS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(60);
/// Time that the new pod takes to become ready; long enough that the caller waits by then.
const READY_AFTER: &str = "2s";
const APP: &str = "told";
const CHART: &str = "told-by-helm";

pub async fn measure(place: &Place, daemon: &Daemon, size: Size) -> Table {
    let mut table = Table {
        title: "From a rollout that is ready to who waits for it",
        about: format!(
            "How much later than a bare watch of the Deployment, which is done when its status says that all replicas are new and \
             available and no old one is left. An app of 1 replica, whose new pod turns ready after {READY_AFTER}. WatchRollout, WaitRollout, \
             kubectl and the bare watch wait for the same rollout at once; helm makes one of its own right after. Processes count to \
             their end."
        ),
        unit: Unit::Micros,
        series: [WATCH_ROLLOUT, WAIT_ROLLOUT, KUBECTL, HELM].map(Series::new).into(),
        ratios: vec![
            Ratio::alone(WATCH_ROLLOUT, WATCH_ROLLOUT, Goal::AtMost(10_000.0)),
            Ratio::alone(WAIT_ROLLOUT, WAIT_ROLLOUT, Goal::AtMost(10_000.0)),
        ],
    };
    let channel = daemon.channel().await;
    deploy(place, &channel, "web:first").await;
    let objects = manifests(&channel, request(place, CHART, "web:first")).await;
    let chart = Chart::install(place, CHART, &objects, "web:first").await;
    place.settled(daemon).await;
    for round in 0..size.rounds {
        table.begin_round();
        for n in 0..ROLLOUTS {
            let image = format!("web:{round}-{n}");
            let bare = watch(place, APP, &image).await;
            let rollout = deploy(place, &channel, &image).await;
            let (kubectl, watched, waited, bare) = future::join4(
                ended(rollout_status(place, APP)),
                ended(watch_rollout(&channel, &rollout)),
                ended(wait_rollout(&channel, &rollout)),
                bare,
            )
            .await;
            let bare = bare.unwrap();
            table.push(WATCH_ROLLOUT, later(watched, bare));
            table.push(WAIT_ROLLOUT, later(waited, bare));
            table.push(KUBECTL, later(kubectl, bare));
            place.settled(daemon).await;

            let bare = watch(place, CHART, &image).await;
            let helm = ended(chart.upgrade(&image, true)).await;
            table.push(HELM, later(helm, bare.await.unwrap()));
            place.settled(daemon).await;
        }
    }
    table
}

async fn ended(what: impl Future<Output = ()>) -> Instant {
    tokio::time::timeout(PATIENCE, what).await.expect("a rollout comes to its end");
    Instant::now()
}

fn request(place: &Place, app: &str, image: &str) -> pb::DeployAppRequest {
    let mut request = place.deploy(app, image, 1);
    let patch = json!({"metadata": {"annotations": {"sim/ready-after": READY_AFTER}}});
    let spec = request.app.as_mut().and_then(|app| app.spec.as_mut()).unwrap();
    spec.pod_template_patch = Some(to_struct(&patch));
    request
}

fn to_struct(value: &serde_json::Value) -> Struct {
    let fields = value.as_object().into_iter().flatten().map(|(key, value)| {
        let kind = match value {
            serde_json::Value::String(text) => prost_types::value::Kind::StringValue(text.clone()),
            other => prost_types::value::Kind::StructValue(to_struct(other)),
        };
        (key.clone(), prost_types::Value { kind: Some(kind) })
    });
    Struct { fields: fields.collect() }
}

async fn deploy(place: &Place, channel: &Channel, image: &str) -> String {
    let mut apps = AppServiceClient::new(channel.clone());
    let answer = apps.deploy_app(request(place, APP, image)).await.unwrap().into_inner();
    answer.rollout.unwrap().name
}

async fn watch_rollout(channel: &Channel, name: &str) {
    let request = pb::WatchRolloutRequest { name: name.to_owned(), ..pb::WatchRolloutRequest::default() };
    let mut stream =
        RolloutServiceClient::new(channel.clone()).watch_rollout(request).await.unwrap().into_inner();
    while !matches!(stream.message().await.unwrap().unwrap().event, Some(Event::Completed(_))) {}
}

async fn wait_rollout(channel: &Channel, name: &str) {
    let timeout = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let request = pb::WaitRolloutRequest { name: name.to_owned(), timeout };
    let rollout =
        RolloutServiceClient::new(channel.clone()).wait_rollout(request).await.unwrap().into_inner().rollout;
    assert_eq!(rollout.unwrap().state(), pb::RolloutState::Succeeded);
}

/// Ends when the Deployment has this image and its rollout is over, by the rule of `kubectl rollout status`.
async fn watch(place: &Place, app: &str, image: &str) -> JoinHandle<Instant> {
    let api = Api::<Deployment>::namespaced(place.client.clone(), &place.namespace);
    let version = api.get(app).await.unwrap().resource_version().unwrap();
    let params = WatchParams::default().fields(&format!("metadata.name={app}")).timeout(250);
    let events = api.watch(&params, &version).await.unwrap();
    let image = image.to_owned();
    #[allow(clippy::disallowed_methods)] // it is awaited
    tokio::spawn(async move {
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.try_next().await.unwrap() {
            let at = Instant::now();
            if let WatchEvent::Modified(object) = event
                && is_over(&object, &image)
            {
                return at;
            }
        }
        panic!("the watch ended")
    })
}

fn is_over(object: &Deployment, image: &str) -> bool {
    let (Some(spec), Some(status)) = (&object.spec, &object.status) else { return false };
    let containers = spec.template.spec.iter().flat_map(|spec| &spec.containers);
    let wanted = spec.replicas.unwrap_or(1);
    containers.into_iter().any(|c| c.image.as_deref() == Some(image))
        && status.observed_generation >= object.metadata.generation
        && status.updated_replicas == Some(wanted)
        && status.replicas == Some(wanted)
        && status.available_replicas == Some(wanted)
}
