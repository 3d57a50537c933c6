//! The watches: one per kind, each feeding the index, each started again when it fails. A list replaces the
//! rows of its kind in one step when it is complete. Until then the old rows are served.

use std::{fmt::Debug, time::Duration};

use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use kube::{
    api::ListParams,
    runtime::{
        WatchStreamExt,
        utils::Backoff,
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::{client::Cluster, decode::Decode};
use crate::{
    domain::{Error, labels::REVISIONS_OF_LABEL},
    index::{Index, Kind, Row},
    metrics::METRICS,
};

/// How long one watch call lasts. A connection that died silently is noticed this much (and 5 s) later.
const WATCH_SECONDS: u32 = 30;

/// Events that go into the index under one lock. So a burst costs one publication per app, not one per event.
const BATCH: usize = 256;

/// Failed starts in a row after which the watch starts with a new list, because its resourceVersion may have
/// expired.
const FAILURES: u32 = 5;

/// How often the API server is asked for a resourceVersion of each kind.
const PROBE_PERIOD: Duration = Duration::from_secs(10);

/// How soon it is asked about the kinds of which a verdict waits for news only.
const NEWS_PERIOD: Duration = Duration::from_secs(1);

/// Kinds whose age counts for verdicts.
const OF_VERDICTS: [Kind; 2] = [Kind::Deployments, Kind::Pods];

/// Shortest and longest pause before a failed watch is retried. Longer pauses would help no API server, and
/// would delay catching up.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(800), Duration::from_secs(5));

/// After a watch that lasted this long, the next pause is the shortest again.
const HELD: Duration = Duration::from_secs(60);

/// Evaluates an expression with `K` as the slim type of a kind. The only place that pairs them.
macro_rules! each_kind {
    ($kind:expr, $k:ident => $do:expr) => {{
        use crate::cluster::decode;
        match $kind {
            Kind::Deployments => {
                type $k = decode::Deployment;
                $do
            }
            Kind::ReplicaSets => {
                type $k = decode::ReplicaSet;
                $do
            }
            Kind::Pods => {
                type $k = decode::Pod;
                $do
            }
            Kind::Events => {
                type $k = decode::Event;
                $do
            }
            Kind::Revisions => {
                type $k = decode::Revision;
                $do
            }
            Kind::EndpointSlices => {
                type $k = decode::EndpointSlice;
                $do
            }
            Kind::Nodes => {
                type $k = decode::Node;
                $do
            }
            Kind::HorizontalPodAutoscalers => {
                type $k = decode::HorizontalPodAutoscaler;
                $do
            }
            Kind::ScaledObjects => {
                type $k = decode::ScaledObject;
                $do
            }
        }
    }};
}
pub(super) use each_kind;

/// The label that objects of a kind must have to be watched.
pub(super) fn label_selector(kind: Kind) -> Option<&'static str> {
    (kind == Kind::Revisions).then_some(REVISIONS_OF_LABEL)
}

/// Watches one kind until dropped.
pub async fn run_watch(cluster: Cluster, index: Index, kind: Kind) {
    each_kind!(kind, K => watch_kind::<K>(&cluster, &index).await);
}

/// Returns how many rows of a kind the index holds.
pub fn count_objects(index: &Index, kind: Kind) -> usize {
    each_kind!(kind, K => index.count_rows::<<K as Decode>::Row>())
}

/// Asks the API server about each kind in turn, so that the age of a kind without changes is known. Runs
/// until dropped.
pub async fn probe_watches(cluster: Cluster, index: Index) {
    loop {
        let without = index.refused_kinds();
        for kind in Kind::ALL.into_iter().filter(|kind| !without.contains(kind)) {
            probe(&cluster, &index, kind).await;
        }
        let next = Instant::now() + PROBE_PERIOD;
        while Instant::now() < next {
            tokio::time::sleep(NEWS_PERIOD).await;
            if index.waits_for_news(Timestamp::now()) {
                for kind in OF_VERDICTS {
                    probe(&cluster, &index, kind).await;
                }
            }
        }
    }
}

async fn probe(cluster: &Cluster, index: &Index, kind: Kind) {
    // The API server's own probe has reported the outage. More attempts would only fill the log.
    if cluster.api_health.outage().is_some() {
        return;
    }
    match each_kind!(kind, K => read_version::<K>(cluster).await) {
        Ok(version) => {
            index.note_heard(kind, Timestamp::now());
            if cluster.watch_status.went_back(kind, &version) {
                warn!(
                    kind = kind.as_str(),
                    "the resourceVersion went back, as after a restore of etcd; listing the kind again"
                );
                cluster.watch_status.begin_again(kind);
            }
        }
        Err(Error::DaemonForbidden { message, .. }) => note_refusal(cluster, kind, &message),
        Err(error) => debug!(%error, kind = kind.as_str(), "probe failed"),
    }
}

/// Returns the resourceVersion that a kind has reached. It is not read from the API server's cache, because
/// an API server that is cut off from etcd would still answer from it.
async fn read_version<K: Decode + DeserializeOwned + Clone + Debug>(
    cluster: &Cluster,
) -> Result<String, Error> {
    let answer = cluster.all::<K>().list_metadata(&ListParams::default().limit(1)).await?;
    Ok(answer.metadata.resource_version.unwrap_or_default())
}

fn note_refusal(cluster: &Cluster, kind: Kind, words: &str) {
    if cluster.watch_status.refused(kind, words, Timestamp::now()) {
        warn!(kind = kind.as_str(), "gantryd may not list or watch: {words}");
    }
}

async fn watch_kind<K>(cluster: &Cluster, index: &Index)
where
    K: Decode + DeserializeOwned + Clone + Debug + Send + Sync + 'static,
{
    let kind = K::KIND.as_str();
    loop {
        let mut config = watcher::Config::default().timeout(WATCH_SECONDS);
        if let Some(labels) = label_selector(K::KIND) {
            config = config.labels(labels);
        }
        // The list that follows is at least as new as this answer. The list itself does not tell its version.
        let newest = if K::KIND == Kind::Deployments {
            read_version::<K>(cluster).await.ok().and_then(|version| version.parse().ok()).unwrap_or_default()
        } else {
            0
        };
        let mut batches = watcher::watcher(cluster.all::<K>().watchable(), config)
            .backoff(WatchBackoff::default())
            .into_stream()
            .ready_chunks(BATCH)
            .boxed();
        let mut buffer = RowBuffer::<K>::new(index, newest);
        let mut failures = 0;
        loop {
            let batch = tokio::select! {
                batch = batches.next() => batch,
                () = cluster.watch_status.told_to_begin_again(K::KIND) => break,
            };
            let Some(batch) = batch else { break };
            for event in batch {
                match event {
                    Ok(event) => {
                        // The start of a list says nothing yet.
                        if !matches!(event, Event::Init) {
                            failures = 0;
                            cluster.watch_status.allowed(K::KIND);
                        }
                        buffer.take(event);
                    }
                    // The outage was logged already, and it does not mean that the resourceVersion has
                    // expired.
                    Err(error) if cluster.api_health.outage().is_some() => {
                        debug!(%error, kind, "watch failed");
                    }
                    // The kind is not installed, or not any more. It may be installed later, so the watch is
                    // retried.
                    Err(error) if K::KIND.is_optional() && is_absent(&error) => {
                        debug!(%error, kind, "the cluster does not have this kind");
                        index.reset_rows::<K::Row>(K::KIND, Vec::new(), Timestamp::now());
                    }
                    Err(error) => {
                        if let Some(words) = refusal(&error) {
                            note_refusal(cluster, K::KIND, &words);
                            // The watch is retried forever, in case the right is granted.
                            index.refuse_kind(K::KIND, Timestamp::now());
                        } else {
                            failures += 1;
                            info!(%error, kind, failures, "watch failed");
                        }
                    }
                }
            }
            buffer.flush();
            if failures >= FAILURES {
                break;
            }
        }
        METRICS.watch_restarted(kind);
        info!(kind, "watch starts again with a list");
    }
}

/// The pause before each attempt, longer with each failure in a row.
#[derive(Default)]
struct WatchBackoff {
    last: Option<(Instant, Duration)>,
}

impl Iterator for WatchBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let (shortest, longest) = BACKOFF;
        let pause = match self.last {
            Some((at, last)) if at.elapsed() < HELD => longest.min(last * 2),
            Some(_) | None => shortest,
        };
        self.last = Some((Instant::now(), pause));
        Some(spread_requests(pause, Timestamp::now()))
    }
}

impl Backoff for WatchBackoff {
    fn reset(&mut self) {
        // Called at the start of every list, which may be refused at once. Only a watch that lasted gets the
        // short pause again.
    }
}

/// Varies a time by up to a tenth, so that several daemons do not ask at the same moment.
pub(super) fn spread_requests(time: Duration, now: Timestamp) -> Duration {
    let part = f64::from(now.subsec_nanosecond().unsigned_abs()) / 1e9;
    time.mul_f64(0.9 + 0.2 * part)
}

/// Returns Kubernetes' message if it refused because a right is missing.
fn refusal(error: &watcher::Error) -> Option<String> {
    let status = api_status(error)?;
    matches!(status.code, 401 | 403).then(|| status.message.clone())
}

/// Whether the cluster does not know the kind.
fn is_absent(error: &watcher::Error) -> bool {
    api_status(error).is_some_and(|status| status.code == 404)
}

/// Returns the API server's status, if it answered.
fn api_status(error: &watcher::Error) -> Option<&kube::core::Status> {
    use watcher::Error::{InitialListFailed, NoResourceVersion, WatchError, WatchFailed, WatchStartFailed};
    match error {
        InitialListFailed(kube::Error::Api(status))
        | WatchStartFailed(kube::Error::Api(status))
        | WatchError(status) => Some(status),
        InitialListFailed(_) | WatchStartFailed(_) | WatchFailed(_) | NoResourceVersion => None,
    }
}

/// Collects the events of one batch, and the rows of a list until it is complete.
struct RowBuffer<'a, K: Decode> {
    index: &'a Index,
    list: Option<Vec<K::Row>>,
    applied: Vec<K::Row>,
    deleted: Vec<<K::Row as Row>::Key>,
    /// The latest resourceVersion among these events, or the lower bound that is known for a list.
    newest: u64,
}

impl<'a, K: Decode> RowBuffer<'a, K> {
    fn new(index: &'a Index, newest: u64) -> Self {
        Self { index, list: None, applied: Vec::new(), deleted: Vec::new(), newest }
    }

    fn take(&mut self, event: Event<K>) {
        match event {
            Event::Init => self.list = Some(Vec::new()),
            Event::InitApply(object) => {
                if let (Some(list), Some(row)) = (&mut self.list, object.into_row()) {
                    list.push(row);
                }
            }
            Event::InitDone => {
                self.flush();
                let rows = self.list.take().unwrap_or_default();
                debug!(kind = K::KIND.as_str(), rows = rows.len(), "list complete");
                self.index.reset_rows(K::KIND, rows, Timestamp::now());
                self.note();
            }
            Event::Apply(object) => {
                self.newest = self.newest.max(object.resource_version());
                let key = object.key();
                match object.into_row() {
                    // The index applies rows before it deletes rows. Of two events about one object the later
                    // one must win, so flush the deletion first.
                    Some(row) if key.as_ref().is_some_and(|k| self.deleted.contains(k)) => {
                        self.flush();
                        self.applied.push(row);
                    }
                    Some(row) => self.applied.push(row),
                    None => self.deleted.extend(key),
                }
            }
            Event::Delete(object) => {
                self.newest = self.newest.max(object.resource_version());
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
        self.index.update_rows(applied, deleted, now);
        self.index.note_heard(K::KIND, now);
        self.note();
    }

    /// Called after the rows are in the index, never before.
    fn note(&self) {
        if K::KIND == Kind::Deployments {
            self.index.set_deployments_version(self.newest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_do_not_ask_at_the_same_moment() {
        let minute = Duration::from_secs(60);
        let at = |nano| spread_requests(minute, Timestamp::new(1, nano).unwrap());
        assert_eq!(at(0), Duration::from_secs(54));
        assert!(at(999_999_999) > Duration::from_secs(65) && at(999_999_999) <= Duration::from_secs(66));
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_until_a_watch_holds() {
        let mut backoff = WatchBackoff::default();
        let close = |pause: Option<Duration>, to: f64| (pause.unwrap().as_secs_f64() / to - 1.0).abs() < 0.11;
        for expected in [0.8, 1.6, 3.2, 5.0, 5.0] {
            // A list that starts and is then refused must not be retried at full speed.
            backoff.reset();
            assert!(close(backoff.next(), expected), "{expected}");
        }
        tokio::time::advance(HELD).await;
        assert!(close(backoff.next(), 0.8));
    }
}
