//! The status of each kind's watch, apart from its rows: why the kind cannot be read, which resourceVersion
//! the cluster has reached, and whether the watch must start again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::index::Kind;

/// How long a refusal counts that is not repeated. Watches and probes repeat it every few seconds while it
/// holds.
const FORGET: Duration = Duration::from_secs(60);

/// The status of each kind; cheap to clone.
#[derive(Clone)]
pub(super) struct WatchStatus(Arc<BTreeMap<Kind, KindStatus>>);

#[derive(Default)]
struct KindStatus {
    again: Notify,
    refusal: Mutex<Option<(String, Timestamp)>>,
    /// The resourceVersion that was seen last.
    highest: Mutex<u64>,
}

// === impl WatchStatus ===

impl Default for WatchStatus {
    fn default() -> Self {
        Self(Arc::new(Kind::ALL.into_iter().map(|kind| (kind, KindStatus::default())).collect()))
    }
}

impl WatchStatus {
    /// Makes the watch of this kind start again with a list.
    pub(super) fn begin_again(&self, kind: Kind) {
        if let Some(status) = self.0.get(&kind) {
            status.again.notify_one();
        }
    }

    /// Waits for [`WatchStatus::begin_again`].
    pub(super) async fn told_to_begin_again(&self, kind: Kind) {
        match self.0.get(&kind) {
            Some(status) => status.again.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Stores Kubernetes' message when it refused. Returns true if the kind was not refused before.
    pub(super) fn refused(&self, kind: Kind, words: &str, now: Timestamp) -> bool {
        let Some(status) = self.0.get(&kind) else { return false };
        status.refusal.lock().replace((words.to_owned(), now)).is_none()
    }

    /// Notes that the kind can be read.
    pub(super) fn allowed(&self, kind: Kind) {
        if let Some(status) = self.0.get(&kind) {
            *status.refusal.lock() = None;
        }
    }

    /// Why kinds cannot be read, one sentence for each.
    pub(super) fn refusals(&self, now: Timestamp) -> Vec<String> {
        let young = |at: Timestamp| Duration::try_from(now.duration_since(at)).is_ok_and(|age| age < FORGET);
        let refusals = self.0.iter().filter_map(|(kind, status)| {
            let (words, at) = status.refusal.lock().clone()?;
            young(at).then(|| format!("gantryd may not list and watch {}: {words}", kind.as_str()))
        });
        refusals.collect()
    }

    /// Stores the resourceVersion that the cluster has reached. Returns true if it went back. Then etcd was
    /// restored from an older state, and a watch would wait for changes that are never sent again.
    pub(super) fn went_back(&self, kind: Kind, version: &str) -> bool {
        let (Some(status), Ok(version)) = (self.0.get(&kind), version.parse::<u64>()) else { return false };
        let mut highest = status.highest.lock();
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
        let statuses = WatchStatus::default();
        assert!(statuses.refused(Kind::Pods, "no", at(0)));
        assert!(!statuses.refused(Kind::Pods, "no", at(10)), "no news");
        assert_eq!(statuses.refusals(at(20)), ["gantryd may not list and watch pods: no"]);
        assert!(statuses.refusals(at(100)).is_empty());
        statuses.allowed(Kind::Pods);
        assert!(statuses.refusals(at(20)).is_empty());
    }

    #[test]
    fn a_history_that_goes_back_is_noticed_once() {
        let statuses = WatchStatus::default();
        assert!(!statuses.went_back(Kind::Pods, "9"));
        assert!(!statuses.went_back(Kind::Pods, "9"));
        assert!(!statuses.went_back(Kind::Pods, "10"), "a number, not a text");
        assert!(!statuses.went_back(Kind::Events, "3"), "each kind has its own");
        assert!(statuses.went_back(Kind::Pods, "9"));
        assert!(!statuses.went_back(Kind::Pods, "9"));
        assert!(!statuses.went_back(Kind::Pods, "not a number"));
    }
}
