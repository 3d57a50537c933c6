//! The data of the index, behind its lock. The methods of [`Index`] are in the file of their subject.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use parking_lot::RwLock;

use super::{
    change_log::ChangeLog, endpoints::EndpointChannels, kind::Kind, subscriptions::Subscriptions,
    tables::Tables, timeline_log::TimelineLog, views::Views,
};

/// A handle to the one index. Cheap to clone.
#[derive(Clone)]
pub struct Index {
    pub(super) state: Arc<RwLock<IndexState>>,
    /// Distinguishes the change log of this process from those of earlier processes, whose cursors are not
    /// valid here.
    pub(super) epoch: u64,
}

pub(super) struct IndexState {
    pub(super) tables: Tables,
    pub(super) views: Views,
    pub(super) changes: ChangeLog,
    pub(super) app_subscriptions: Subscriptions,
    /// Wakes when a verdict is stored, which changes no view.
    pub(super) verdict_subscriptions: Subscriptions,
    pub(super) endpoint_channels: EndpointChannels,
    pub(super) timelines: TimelineLog,
    /// Optional kinds that the daemon may not read.
    pub(super) refused: BTreeSet<Kind>,
    /// The resourceVersion up to which everything about Deployments has been taken in, including deletions.
    pub(super) deployments_version: u64,
    /// When the cluster last sent something about each kind. A kind without an entry has never been read
    /// completely.
    pub(super) heard: BTreeMap<Kind, Timestamp>,
}

// === impl Index ===

impl Index {
    /// Returns an empty index. `epoch` must differ from that of every earlier process.
    pub fn new(epoch: u64) -> Self {
        let state = IndexState {
            tables: Tables::default(),
            views: Views::default(),
            changes: ChangeLog::default(),
            app_subscriptions: Subscriptions::default(),
            verdict_subscriptions: Subscriptions::default(),
            endpoint_channels: EndpointChannels::default(),
            timelines: TimelineLog::default(),
            refused: BTreeSet::new(),
            deployments_version: 0,
            heard: BTreeMap::new(),
        };
        Self { state: Arc::new(RwLock::new(state)), epoch }
    }

    /// Returns the number that distinguishes the tokens of this process from those of another.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
}

// === impl IndexState ===

impl IndexState {
    /// Returns the time up to which the rows are current. A daemon that is cut off from the cluster must not
    /// count time that it could not observe against a rollout.
    pub(super) fn as_of(&self, now: Timestamp) -> Timestamp {
        [Kind::Deployments, Kind::Pods]
            .iter()
            .filter_map(|kind| self.heard.get(kind))
            .copied()
            .fold(now, Timestamp::min)
    }

    /// Whether every kind has been read once, except optional kinds that the daemon may not read.
    pub(super) fn is_filled(&self) -> bool {
        Kind::ALL.iter().all(|kind| self.heard.contains_key(kind) || self.refused.contains(kind))
    }
}
