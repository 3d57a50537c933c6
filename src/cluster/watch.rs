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
    decode::{Decode, Deployment, Event as KubeEvent, Node, Pod, ReplicaSet, Revision, Slice},
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

/// Watches one kind until dropped.
pub async fn run(cluster: Cluster, index: Index, kind: Kind) {
    match kind {
        Kind::Deployments => watch::<Deployment>(&cluster, &index).await,
        Kind::ReplicaSets => watch::<ReplicaSet>(&cluster, &index).await,
        Kind::Pods => watch::<Pod>(&cluster, &index).await,
        Kind::Events => watch::<KubeEvent>(&cluster, &index).await,
        Kind::Revisions => watch::<Revision>(&cluster, &index).await,
        Kind::EndpointSlices => watch::<Slice>(&cluster, &index).await,
        Kind::Nodes => watch::<Node>(&cluster, &index).await,
    }
}

/// Asks for each kind in turn whether the API server answers, so that the age of a quiet kind is known. Runs until dropped.
pub async fn probe(cluster: Cluster, index: Index) {
    let mut silent = false;
    loop {
        let refused = index.refused();
        for kind in Kind::ALL.into_iter().filter(|kind| !refused.contains(kind)) {
            let answer = match kind {
                Kind::Deployments => ask::<Deployment>(&cluster).await,
                Kind::ReplicaSets => ask::<ReplicaSet>(&cluster).await,
                Kind::Pods => ask::<Pod>(&cluster).await,
                Kind::Events => ask::<KubeEvent>(&cluster).await,
                Kind::Revisions => ask::<Revision>(&cluster).await,
                Kind::EndpointSlices => ask::<Slice>(&cluster).await,
                Kind::Nodes => ask::<Node>(&cluster).await,
            };
            match answer {
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
    list_one::<K>(cluster, ListParams::default().match_any()).await.map(|_| ())
}

/// Asks for one object at most; tells the resourceVersion that the answer is about.
async fn list_one<K: Decode + DeserializeOwned + Clone + Debug>(
    cluster: &Cluster,
    params: ListParams,
) -> Result<u64, Error> {
    let api = Api::<K>::all(cluster.client.clone());
    let doing = Doing { verb: "list", object: K::KIND.as_str() };
    let list = cluster.call(doing, api.list_metadata(&params.limit(1))).await?;
    Ok(list.metadata.resource_version.and_then(|v| v.parse().ok()).unwrap_or_default())
}

/// Whether the API server said that this server may not read the kind.
fn is_forbidden(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status.code == 403,
        watcher::Error::InitialListFailed(_)
        | watcher::Error::WatchStartFailed(_)
        | watcher::Error::WatchFailed(_)
        | watcher::Error::NoResourceVersion => false,
    }
}

async fn watch<K>(cluster: &Cluster, index: &Index)
where
    K: Decode + DeserializeOwned + Clone + Debug + Send + Sync + 'static,
{
    let kind = K::KIND.as_str();
    let mut refused = false;
    loop {
        // The list that follows is at least as new as this answer. The list itself does not tell how new it is.
        let newest = if K::KIND == Kind::Deployments {
            list_one::<K>(cluster, ListParams::default()).await.unwrap_or_default()
        } else {
            0
        };
        let mut config = watcher::Config::default().timeout(WATCH_SECONDS);
        if K::KIND == Kind::Revisions {
            config = config.labels(REVISIONS_OF);
        }
        let api = Api::<K>::all(cluster.client.clone());
        let mut batches =
            watcher::watcher(api, config).default_backoff().into_stream().ready_chunks(BATCH).boxed();
        let mut feed = Feed::<K>::new(index, newest);
        let mut failures = 0;
        while let Some(batch) = batches.next().await {
            for event in batch {
                match event {
                    Ok(event) => {
                        failures = 0;
                        refused = false;
                        feed.take(event);
                    }
                    // It is tried again for ever, in case the right is given; that is told once, and in GetServerInfo.
                    Err(error) if K::KIND.is_optional() && is_forbidden(&error) => {
                        failures += 1;
                        if !std::mem::replace(&mut refused, true) {
                            warn!(%error, kind, "this server may not read a kind that it can do without");
                        }
                        index.refuse(K::KIND, Timestamp::now());
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
        if !refused {
            info!(kind, "watch begins anew with a list");
        }
    }
}

/// Gathers the events of one batch, and the rows of a list until it is complete.
struct Feed<'a, K: Decode> {
    index: &'a Index,
    list: Option<Vec<K::Row>>,
    applied: Vec<K::Row>,
    deleted: Vec<<K::Row as Row>::Key>,
    /// The latest resourceVersion among these events, or that a list is known to have at least.
    newest: u64,
}

impl<'a, K: Decode> Feed<'a, K> {
    fn new(index: &'a Index, newest: u64) -> Self {
        Self { index, list: None, applied: Vec::new(), deleted: Vec::new(), newest }
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
                self.note();
            }
            Event::Apply(object) => {
                self.newest = self.newest.max(object.version());
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
            Event::Delete(object) => {
                self.newest = self.newest.max(object.version());
                self.deleted.extend(object.key());
            }
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
        self.note();
    }

    /// After the rows, never before them.
    fn note(&self) {
        if K::KIND == Kind::Deployments {
            self.index.deployments_at(self.newest);
        }
    }
}
