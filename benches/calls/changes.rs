//! How long a change takes from the API server to a subscriber, with the daemon and with a bare watch.

use std::time::{Duration, Instant};

use futures::TryStreamExt;
use gantry::pb::{self, watch_apps_response::Event};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
};
use serde_json::json;
use tokio::sync::mpsc;

use crate::{
    Size,
    place::{Daemon, Place},
    stats::{Goal, Ratio, Series, Table, Unit, later, micros},
};

const WATCH_APPS: &str = "WatchApps";
const WATCH: &str = "bare watch of Deployments";
const LATER: &str = "WatchApps later than the bare watch by";

const CHANGES: usize = 30;
const PATIENCE: Duration = Duration::from_secs(10);
/// The label that changes. It is only metadata, so no controller reacts to it.
const LABEL: &str = "bench/change";
/// A Deployment that is not managed by Gantry. The daemon shows the labels of these unchanged.
const APP: &str = "changing";

/// The value of the label that was seen, and the time.
type Seen = (String, Instant);

pub async fn measure(place: &Place, daemon: &Daemon, size: Size) -> Table {
    let api = Api::<Deployment>::namespaced(place.client.clone(), &place.namespace);
    let mut table = Table {
        title: "From a change to a subscriber",
        about: format!(
            "A label of a Deployment changes; from sending the patch to the message. Both subscribers watch the whole namespace. Goal: \
             {WATCH_APPS} at most 1 ms later than the bare watch at the median."
        ),
        unit: Unit::Micros,
        series: [WATCH_APPS, WATCH, LATER].map(Series::new).into(),
        ratios: vec![
            Ratio::alone(LATER, LATER, Goal::AtMost(1000.0)),
            Ratio::of("WatchApps to the bare watch", WATCH_APPS, WATCH, None),
        ],
    };
    let labels = json!({"app": APP});
    let object = json!({
        "metadata": {"name": APP},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "app", "image": "web:1"}]},
        }},
    });
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    place.settled(daemon).await;
    let mut change = 0;
    for _ in 0..size.rounds {
        table.begin_round();
        // Opened again in each round, so that no watch call ends in the middle of a round.
        let (mut bare, mut ours) = (watch(&api).await, watch_apps(place, daemon).await);
        for _ in 0..CHANGES {
            change += 1;
            let patch = Patch::Merge(json!({"metadata": {"labels": {LABEL: change.to_string()}}}));
            let start = Instant::now();
            api.patch(APP, &PatchParams::default(), &patch).await.unwrap();
            let (bare, ours) = (until(&mut bare, change).await, until(&mut ours, change).await);
            table.push(WATCH, micros(bare - start));
            table.push(WATCH_APPS, micros(ours - start));
            table.push(LATER, later(ours, bare));
        }
    }
    table
}

async fn until(seen: &mut mpsc::UnboundedReceiver<Seen>, change: usize) -> Instant {
    let this = async {
        loop {
            let (label, at) = seen.recv().await.expect("the watch goes on");
            if label == change.to_string() {
                return at;
            }
        }
    };
    tokio::time::timeout(PATIENCE, this).await.expect("a change is seen")
}

async fn watch(api: &Api<Deployment>) -> mpsc::UnboundedReceiver<Seen> {
    let (send, receive) = mpsc::unbounded_channel();
    let version = api.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let events = api.watch(&WatchParams::default().timeout(250), &version).await.unwrap();
    #[allow(clippy::disallowed_methods)] // ends with its receiver
    tokio::spawn(async move {
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.try_next().await.unwrap() {
            let at = Instant::now();
            if let WatchEvent::Modified(object) = event
                && object.name_any() == APP
                && send.send((object.labels().get(LABEL).cloned().unwrap_or_default(), at)).is_err()
            {
                return;
            }
        }
    });
    receive
}

async fn watch_apps(place: &Place, daemon: &Daemon) -> mpsc::UnboundedReceiver<Seen> {
    let (send, receive) = mpsc::unbounded_channel();
    let request = pb::WatchAppsRequest { parent: place.parent(), ..pb::WatchAppsRequest::default() };
    let mut stream = daemon.apps().await.watch_apps(request).await.unwrap().into_inner();
    while !matches!(stream.message().await.unwrap().unwrap().event, Some(Event::Synced(_))) {}
    #[allow(clippy::disallowed_methods)] // ends with its receiver
    tokio::spawn(async move {
        while let Some(message) = stream.message().await.unwrap() {
            let at = Instant::now();
            if let Some(Event::Updated(app)) = message.event
                && app.name.ends_with(APP)
                && send.send((app.labels.get(LABEL).cloned().unwrap_or_default(), at)).is_err()
            {
                return;
            }
        }
    });
    receive
}
