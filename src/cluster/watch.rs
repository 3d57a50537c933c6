//! The watches: one per kind, each feeding the index, each started anew when it fails. A list replaces the rows of its kind
//! at once when it is complete; until then the old rows answer.

use std::{fmt::Debug, time::Duration};

use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use kube::{
    Api,
    api::ListParams,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;
use tracing::{debug, info, warn};

use super::{
    client::Cluster,
    decode::{
        Decode, Deployment, Event as KubeEvent, HorizontalPodAutoscaler, Pod, ReplicaSet, Revision,
        ScaledObject,
    },
    error::Doing,
};
use crate::{
    domain::{Error, manifest::REVISIONS_OF},
    index::{Index, Kind, Row},
};

/// How long one watch call lasts. A connection that died without a word is noticed this much (and 5 s) later.
const WATCH_SECONDS: u32 = 30;

/// Events taken into the index under one lock: a burst costs one publication per app, not one per event.
const BATCH: usize = 256;

/// Failed starts in a row after which the watch begins with a new list: its place in the history may be gone.
const FAILURES: u32 = 5;

/// How often a quiet kind is asked whether the API server still answers for it.
const PROBE_PERIOD: Duration = Duration::from_secs(10);

/// How often a kind that was not there is looked for.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Pause before a kind is asked for again whose API server did not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// Watches one kind until dropped.
pub async fn run(cluster: Cluster, index: Index, kind: Kind) {
    match kind {
        Kind::Deployments => watch::<Deployment>(&cluster, &index).await,
        Kind::ReplicaSets => watch::<ReplicaSet>(&cluster, &index).await,
        Kind::Pods => watch::<Pod>(&cluster, &index).await,
        Kind::Events => watch::<KubeEvent>(&cluster, &index).await,
        Kind::Revisions => watch::<Revision>(&cluster, &index).await,
        Kind::HorizontalPodAutoscalers => watch_optional::<HorizontalPodAutoscaler>(&cluster, &index).await,
        Kind::ScaledObjects => watch_optional::<ScaledObject>(&cluster, &index).await,
    }
}

/// Asks for each kind in turn whether the API server answers, so that the age of a quiet kind is known. Runs until dropped.
pub async fn probe(cluster: Cluster, index: Index) {
    let mut silent = false;
    loop {
        for kind in Kind::ALL {
            let answer = match kind {
                Kind::Deployments => ask::<Deployment>(&cluster).await,
                Kind::ReplicaSets => ask::<ReplicaSet>(&cluster).await,
                Kind::Pods => ask::<Pod>(&cluster).await,
                Kind::Events => ask::<KubeEvent>(&cluster).await,
                Kind::Revisions => ask::<Revision>(&cluster).await,
                Kind::HorizontalPodAutoscalers => ask::<HorizontalPodAutoscaler>(&cluster).await,
                Kind::ScaledObjects => ask::<ScaledObject>(&cluster).await,
            };
            let done_without = |error: &Error| kind.optional() && is_refusal(error);
            match answer.or_else(|error| if done_without(&error) { Ok(()) } else { Err(error) }) {
                Ok(()) => {
                    if std::mem::take(&mut silent) {
                        info!("the API server answers again");
                    }
                    index.heard(kind, Timestamp::now());
                }
                // Once per outage: an operator must see it, and must still see other things.
                Err(error) if !silent => {
                    silent = true;
                    warn!(%error, kind = kind.as_str(), "the API server does not answer; reads go on from what is known");
                }
                Err(error) => debug!(%error, kind = kind.as_str(), "probe failed"),
            }
        }
        tokio::time::sleep(PROBE_PERIOD).await;
    }
}

async fn ask<K: Decode + DeserializeOwned + Clone + Debug>(cluster: &Cluster) -> Result<(), Error> {
    let api = Api::<K>::all(cluster.client.clone());
    let params = ListParams::default().limit(1).match_any();
    let doing = Doing { verb: "list", object: K::KIND.as_str() };
    cluster.call(doing, api.list_metadata(&params)).await.map(|_| ())
}

/// Whether the API server does not have a kind, or does not let this server read it.
fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::NotFound { .. } | Error::DaemonForbidden { .. })
}

/// Watches a kind that the cluster may not have, that may come and go, or that this server may not read. Until it can be
/// read there are no rows of it.
async fn watch_optional<K>(cluster: &Cluster, index: &Index)
where
    K: Decode + DeserializeOwned + Clone + Debug + Send + Sync + 'static,
{
    let kind = K::KIND.as_str();
    let mut told = false;
    loop {
        match ask::<K>(cluster).await {
            Ok(()) => {
                told = false;
                watch_until_it_fails::<K>(cluster, index).await;
            }
            Err(error) if is_refusal(&error) => {
                index.reset::<K::Row>(K::KIND, Vec::new(), Timestamp::now());
                let forbidden = matches!(error, Error::DaemonForbidden { .. });
                if forbidden && !std::mem::replace(&mut told, true) {
                    warn!(%error, kind, "may not be read; goes on without");
                } else {
                    debug!(%error, kind, "not there");
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Err(error) => {
                debug!(%error, kind, "cannot be asked for");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn watch<K>(cluster: &Cluster, index: &Index)
where
    K: Decode + DeserializeOwned + Clone + Debug + Send + Sync + 'static,
{
    loop {
        watch_until_it_fails::<K>(cluster, index).await;
    }
}

/// Watches one kind until it failed several times in a row.
async fn watch_until_it_fails<K>(cluster: &Cluster, index: &Index)
where
    K: Decode + DeserializeOwned + Clone + Debug + Send + Sync + 'static,
{
    let kind = K::KIND.as_str();
    let mut config = watcher::Config::default().timeout(WATCH_SECONDS);
    if K::KIND == Kind::Revisions {
        config = config.labels(REVISIONS_OF);
    }
    let api = Api::<K>::all(cluster.client.clone());
    let mut batches =
        watcher::watcher(api, config).default_backoff().into_stream().ready_chunks(BATCH).boxed();
    let mut feed = Feed::<K>::new(index);
    let mut failures = 0;
    while let Some(batch) = batches.next().await {
        for event in batch {
            match event {
                Ok(event) => {
                    failures = 0;
                    feed.take(event);
                }
                Err(error) => {
                    failures += 1;
                    warn!(%error, kind, failures, "watch failed");
                }
            }
        }
        feed.flush();
        if failures >= FAILURES {
            break;
        }
    }
    info!(kind, "watch begins anew with a list");
}

/// Gathers the events of one batch, and the rows of a list until it is complete.
struct Feed<'a, K: Decode> {
    index: &'a Index,
    list: Option<Vec<K::Row>>,
    applied: Vec<K::Row>,
    deleted: Vec<<K::Row as Row>::Key>,
}

impl<'a, K: Decode> Feed<'a, K> {
    fn new(index: &'a Index) -> Self {
        Self { index, list: None, applied: Vec::new(), deleted: Vec::new() }
    }

    fn take(&mut self, event: Event<K>) {
        match event {
            Event::Init => self.list = Some(Vec::new()),
            Event::InitApply(object) => {
                if let (Some(list), Some(row)) = (&mut self.list, object.row()) {
                    list.push(row);
                }
            }
            Event::InitDone => {
                self.flush();
                let rows = self.list.take().unwrap_or_default();
                debug!(kind = K::KIND.as_str(), rows = rows.len(), "list complete");
                self.index.reset(K::KIND, rows, Timestamp::now());
            }
            Event::Apply(object) => {
                let key = object.key();
                match object.row() {
                    // The index applies before it deletes: of two events about one object the later one must win.
                    Some(row) if key.as_ref().is_some_and(|k| self.deleted.contains(k)) => {
                        self.flush();
                        self.applied.push(row);
                    }
                    Some(row) => self.applied.push(row),
                    None => self.deleted.extend(key),
                }
            }
            Event::Delete(object) => self.deleted.extend(object.key()),
        }
    }

    fn flush(&mut self) {
        if self.applied.is_empty() && self.deleted.is_empty() {
            return;
        }
        let now = Timestamp::now();
        let (applied, deleted) = (std::mem::take(&mut self.applied), std::mem::take(&mut self.deleted));
        self.index.update(applied, deleted, now);
        self.index.heard(K::KIND, now);
    }
}
