//! What the index holds, behind its lock. The methods of [`Index`] stand in the files of what they are about.

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

/// A handle to the one index, cheap to clone.
#[derive(Clone)]
pub struct Index {
    pub(super) state: Arc<RwLock<IndexState>>,
    /// Tells this process's change log from those of earlier processes: their cursors mean nothing here.
    pub(super) epoch: u64,
}

pub(super) struct IndexState {
    pub(super) tables: Tables,
    pub(super) views: Views,
    pub(super) changes: ChangeLog,
    pub(super) app_subscriptions: Subscriptions,
    pub(super) endpoint_channels: EndpointChannels,
    pub(super) timelines: TimelineLog,
    /// Kinds that this server may not read, and does without.
    pub(super) refused: BTreeSet<Kind>,
    /// The latest resourceVersion at which Deployments were heard of, whatever became of them.
    pub(super) deployments_version: u64,
    /// When each kind was last heard of; a kind that is absent has never been read whole.
    pub(super) heard: BTreeMap<Kind, Timestamp>,
}

// === impl Index ===

impl Index {
    /// An empty index. `epoch` must differ from that of every earlier process.
    pub fn new(epoch: u64) -> Self {
        let state = IndexState {
            tables: Tables::default(),
            views: Views::default(),
            changes: ChangeLog::default(),
            app_subscriptions: Subscriptions::default(),
            endpoint_channels: EndpointChannels::default(),
            timelines: TimelineLog::default(),
            refused: BTreeSet::new(),
            deployments_version: 0,
            heard: BTreeMap::new(),
        };
        Self { state: Arc::new(RwLock::new(state)), epoch }
    }

    /// What tells this process's tokens from those of another.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
}

// === impl IndexState ===

impl IndexState {
    /// The time that the rows are about: a server that is cut off must not hold against a rollout what it
    /// cannot see.
    pub(super) fn as_of(&self, now: Timestamp) -> Timestamp {
        [Kind::Deployments, Kind::Pods]
            .iter()
            .filter_map(|kind| self.heard.get(kind))
            .copied()
            .fold(now, Timestamp::min)
    }

    /// Whether every kind has been read once, but for those that this server does without.
    pub(super) fn is_filled(&self) -> bool {
        Kind::ALL.iter().all(|kind| self.heard.contains_key(kind) || self.refused.contains(kind))
    }
}
