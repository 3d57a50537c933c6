//! What is known about the watch of each kind beside its rows: what keeps it from being read, how far the cluster's history has
//! come, and that somebody wants it to begin anew.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::index::Kind;

/// How long a refusal counts that did not come again. Watches and probes repeat it every few seconds as long as it holds.
const FORGET: Duration = Duration::from_secs(60);

/// One feed for each kind; cheap to clone.
#[derive(Clone)]
pub(super) struct WatchStatus(Arc<BTreeMap<Kind, Feed>>);

#[derive(Default)]
struct Feed {
    again: Notify,
    refusal: Mutex<Option<(String, Timestamp)>>,
    /// Highest version of the cluster's history that was seen.
    highest: Mutex<u64>,
}

// === impl Feeds ===

impl Default for WatchStatus {
    fn default() -> Self {
        Self(Arc::new(Kind::ALL.into_iter().map(|kind| (kind, Feed::default())).collect()))
    }
}

impl WatchStatus {
    /// Makes the watch of this kind begin anew with a list.
    pub(super) fn begin_again(&self, kind: Kind) {
        if let Some(feed) = self.0.get(&kind) {
            feed.again.notify_one();
        }
    }

    /// Waits until [`WatchStatus::begin_again`].
    pub(super) async fn told_to_begin_again(&self, kind: Kind) {
        match self.0.get(&kind) {
            Some(feed) => feed.again.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Notes what Kubernetes said when it refused. True if it is news.
    pub(super) fn refused(&self, kind: Kind, words: &str, now: Timestamp) -> bool {
        let Some(feed) = self.0.get(&kind) else { return false };
        feed.refusal.lock().replace((words.to_owned(), now)).is_none()
    }

    /// Notes that the kind can be read.
    pub(super) fn allowed(&self, kind: Kind) {
        if let Some(feed) = self.0.get(&kind) {
            *feed.refusal.lock() = None;
        }
    }

    /// What keeps kinds from being read, in one sentence each.
    pub(super) fn refusals(&self, now: Timestamp) -> Vec<String> {
        let young = |at: Timestamp| Duration::try_from(now.duration_since(at)).is_ok_and(|age| age < FORGET);
        let refusals = self.0.iter().filter_map(|(kind, feed)| {
            let (words, at) = feed.refusal.lock().clone()?;
            young(at).then(|| format!("This server may not list and watch {}: {words}", kind.as_str()))
        });
        refusals.collect()
    }

    /// Takes in how far the cluster's history has come. True if it went back: etcd was restored from an older state, and a watch
    /// would wait for what is never repeated.
    pub(super) fn went_back(&self, kind: Kind, version: &str) -> bool {
        let (Some(feed), Ok(version)) = (self.0.get(&kind), version.parse::<u64>()) else { return false };
        let mut highest = feed.highest.lock();
        version < std::mem::replace(&mut *highest, version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_refusal_is_told_until_it_ends_or_is_old() {
        let feeds = WatchStatus::default();
        assert!(feeds.refused(Kind::Pods, "no", at(0)));
        assert!(!feeds.refused(Kind::Pods, "no", at(10)), "no news");
        assert_eq!(feeds.refusals(at(20)), ["This server may not list and watch pods: no"]);
        assert!(feeds.refusals(at(100)).is_empty());
        feeds.allowed(Kind::Pods);
        assert!(feeds.refusals(at(20)).is_empty());
    }

    #[test]
    fn a_history_that_goes_back_is_noticed_once() {
        let feeds = WatchStatus::default();
        assert!(!feeds.went_back(Kind::Pods, "9"));
        assert!(!feeds.went_back(Kind::Pods, "9"));
        assert!(!feeds.went_back(Kind::Pods, "10"), "a number, not a text");
        assert!(!feeds.went_back(Kind::Events, "3"), "each kind has its own");
        assert!(feeds.went_back(Kind::Pods, "9"));
        assert!(!feeds.went_back(Kind::Pods, "9"));
        assert!(!feeds.went_back(Kind::Pods, "not a number"));
    }
}
