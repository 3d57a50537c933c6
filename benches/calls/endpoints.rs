//! How long it takes from a pod that turns ready or unready to a subscriber of the app's endpoints, with the
//! daemon and with bare watches.

use std::time::{Duration, Instant};

use futures::{TryStreamExt, future};
use gantry::pb::{self, discovery_service_client::DiscoveryServiceClient, watch_endpoints_response::Event};
use k8s_openapi::api::{core::v1::Pod, discovery::v1::EndpointSlice};
use kube::{
    Api, Resource, ResourceExt,
    api::{ListParams, Patch, PatchParams, WatchEvent, WatchParams},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::mpsc::{self, UnboundedReceiver};

use crate::{
    Size,
    place::{Daemon, Place},
    stats::{Goal, Ratio, Series, Table, Unit, later, micros},
};

const WATCH_ENDPOINTS: &str = "WatchEndpoints";
const WATCH: &str = "bare watches of pods and EndpointSlices";
const LATER: &str = "WatchEndpoints later than the bare watches by";

/// Times that the pod turns unready and ready again in a round.
const TURNS: usize = 10;
const PATIENCE: Duration = Duration::from_secs(20);
/// Pause before each turn. The daemon sends a change at once after a quiet time, but a change that follows
/// closely only 50 ms after the last.
const QUIET: Duration = Duration::from_millis(150);
const APP: &str = "turning";

/// Whether the pod takes traffic, and when that was seen.
type Seen = UnboundedReceiver<(bool, Instant)>;

pub async fn measure(place: &Place, daemon: &Daemon, size: Size) -> Table {
    let mut table = Table {
        title: "From a pod to a subscriber of endpoints",
        about: "The one pod of an app turns unready, and ready again; from sending the patch that makes it so to the message. The times are \
                mostly those of the simulated node and of Kubernetes' controller of EndpointSlices. A pod takes traffic while both it and \
                its EndpointSlice say so: whoever watches barely has to watch both, and knows with the first that says no and the last \
                that says yes. The subscriber of the daemon is told by that rule. Each turn comes after a quiet time; of changes that follow \
                each other closely the daemon makes one message every 50 ms."
            .to_owned(),
        unit: Unit::Micros,
        series: [WATCH_ENDPOINTS, WATCH, LATER].map(Series::new).into(),
        ratios: vec![
            Ratio::alone(LATER, LATER, Goal::AtMost(1000.0)),
            Ratio::of("WatchEndpoints to the bare watches", WATCH_ENDPOINTS, WATCH, None),
        ],
    };
    daemon.apps().await.deploy_app(place.deploy(APP, "web:1", 1)).await.unwrap();
    place.settled(daemon).await;
    let pods = Api::<Pod>::namespaced(place.client.clone(), &place.namespace);
    let slices = Api::<EndpointSlice>::namespaced(place.client.clone(), &place.namespace);
    let of_app = format!("gantry.dev/app={APP}");
    let of_service = format!("kubernetes.io/service-name={APP}");
    let pod = pods.list(&ListParams::default().labels(&of_app)).await.unwrap().items.remove(0).name_any();
    for round in 0..=size.rounds {
        table.begin_round();
        // Opened again in each round, so that no watch call ends in the middle of a round.
        let mut of_pods = watch(&pods, &of_app, pod_is_ready).await;
        let mut of_slices = watch(&slices, &of_service, slice_is_ready).await;
        let mut ours = watch_endpoints(place, daemon).await;
        for turn in 0..TURNS * 2 {
            let ready = turn % 2 == 1;
            let unready = if ready { Value::Null } else { json!("true") };
            let patch = Patch::Merge(json!({"metadata": {"annotations": {"sim/unready": unready}}}));
            tokio::time::sleep(QUIET).await;
            let start = Instant::now();
            pods.patch(&pod, &PatchParams::default(), &patch).await.unwrap();
            let (pod, slice, ours) = future::join3(
                until(&mut of_pods, ready),
                until(&mut of_slices, ready),
                until(&mut ours, ready),
            )
            .await;
            let bare = if ready { pod.max(slice) } else { pod.min(slice) };
            table.push(WATCH, micros(bare - start));
            table.push(WATCH_ENDPOINTS, micros(ours - start));
            table.push(LATER, later(ours, bare));
        }
        if round == 0 {
            table.forget();
        }
    }
    table
}

async fn until(seen: &mut Seen, ready: bool) -> Instant {
    let this = async {
        loop {
            let (now, at) = seen.recv().await.expect("the watch goes on");
            if now == ready {
                return at;
            }
        }
    };
    tokio::time::timeout(PATIENCE, this).await.expect("a change is seen")
}

fn pod_is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

fn slice_is_ready(slice: &EndpointSlice) -> bool {
    let mut all = slice.endpoints.iter();
    all.any(|e| e.conditions.as_ref().is_some_and(|c| c.ready == Some(true)))
}

async fn watch<K>(api: &Api<K>, labels: &str, is_ready: fn(&K) -> bool) -> Seen
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let (send, receive) = mpsc::unbounded_channel();
    let list = api.list(&ListParams::default().labels(labels)).await.unwrap();
    let params = WatchParams::default().labels(labels).timeout(250);
    let events = api.watch(&params, &list.metadata.resource_version.unwrap()).await.unwrap();
    #[allow(clippy::disallowed_methods)] // ends with its receiver
    tokio::spawn(async move {
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.try_next().await.unwrap() {
            let at = Instant::now();
            if let WatchEvent::Modified(object) = event
                && send.send((is_ready(&object), at)).is_err()
            {
                return;
            }
        }
    });
    receive
}

async fn watch_endpoints(place: &Place, daemon: &Daemon) -> Seen {
    let (send, mut receive) = mpsc::unbounded_channel();
    let parent = place.name(APP);
    let request = pb::WatchEndpointsRequest { parent, ..pb::WatchEndpointsRequest::default() };
    let mut discovery = DiscoveryServiceClient::new(daemon.channel().await);
    let mut stream = discovery.watch_endpoints(request).await.unwrap().into_inner();
    #[allow(clippy::disallowed_methods)] // ends with its receiver
    tokio::spawn(async move {
        while let Some(message) = stream.message().await.unwrap() {
            let at = Instant::now();
            if let Some(Event::Snapshot(set)) = message.event
                && send.send((!set.endpoints.is_empty(), at)).is_err()
            {
                return;
            }
        }
    });
    until(&mut receive, true).await;
    receive
}
