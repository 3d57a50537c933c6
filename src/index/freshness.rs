//! Compares the index with the cluster: what it has read, when it last heard from the cluster, and where it
//! differs.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use jiff::Timestamp;

use super::{kind::Kind, state::Index, tables::Row};
use crate::domain::{
    Error,
    commands::{ObservedVersion, Position},
    observed::Revision,
};

/// An object that differs between the index and the cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct RowDifference<R> {
    /// The row in the index.
    pub held: Option<R>,
    /// The object in the cluster.
    pub listed: Option<R>,
}

/// The size of the index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexSize {
    /// Apps.
    pub apps: usize,
    /// Pods.
    pub pods: usize,
}

// === impl Index ===

impl Index {
    /// Fails until every kind has been read once. Before that, an app that is absent may only be unread.
    pub fn check_filled(&self) -> Result<(), Error> {
        if self.is_filled() { Ok(()) } else { Err(Error::WarmingUp) }
    }

    /// Whether every kind has been read once. See [`Index::check_filled`].
    pub fn is_filled(&self) -> bool {
        self.state.read().is_filled()
    }

    /// Returns whether a rollout succeeds by now unless something has happened to its replicas, and nothing
    /// was heard from the cluster since.
    pub fn waits_for_news(&self, now: Timestamp) -> bool {
        let state = self.state.read();
        let known = state.as_of(now);
        let mut due = state.views.newest_rollouts().filter_map(|rollout| rollout.proved_at);
        due.any(|time| known < time && time <= now)
    }

    /// Returns the time since the cluster last sent something, by kind.
    pub fn kind_ages(&self, now: Timestamp) -> BTreeMap<Kind, Duration> {
        let age = |then: &Timestamp| Duration::try_from(now.duration_since(*then)).unwrap_or_default();
        self.state.read().heard.iter().map(|(kind, then)| (*kind, age(then))).collect()
    }

    /// Returns the optional kinds that the daemon may not read.
    pub fn refused_kinds(&self) -> Vec<Kind> {
        self.state.read().refused.iter().copied().collect()
    }

    /// Returns how many apps and pods the index holds.
    pub fn size(&self) -> IndexSize {
        let state = self.state.read();
        IndexSize { apps: state.tables.deployments.len(), pods: state.tables.pods.len() }
    }

    /// Returns how many rows of a kind the index holds.
    pub fn count_rows<R: Row>(&self) -> usize {
        R::all(&self.state.read().tables).count()
    }

    /// Returns where the rows differ from `listed`, which must be all objects of the kind.
    pub fn diff_rows<R: Row>(&self, listed: Vec<R>) -> HashMap<R::Key, RowDifference<R>> {
        let mut listed: HashMap<_, _> = listed.into_iter().map(|row| (row.key(), row)).collect();
        let mut found = HashMap::new();
        for held in R::all(&self.state.read().tables) {
            let key = held.key();
            let listed = listed.remove(&key);
            if listed.as_ref() != Some(held) {
                found.insert(key, RowDifference { held: Some(held.clone()), listed });
            }
        }
        let missing = |(key, row)| (key, RowDifference { held: None, listed: Some(row) });
        found.extend(listed.into_iter().map(missing));
        found
    }

    /// Whether the index has seen the write that returned this position.
    pub fn has_seen(&self, position: &Position) -> bool {
        let state = self.state.read();
        let deployment = state.tables.deployments.get(&position.app);
        match &position.seen {
            ObservedVersion::Version { deployment: version, revision, spelled } => match deployment {
                // The Deployment is deleted, or not seen yet. The resourceVersion of the whole kind tells
                // which.
                None => state.deployments_version >= *version,
                Some(d) => {
                    let all = state.tables.revisions.get(&position.app);
                    // An app that was deleted and created again since then numbers its revisions from the
                    // beginning.
                    let is_seen = |(n, row): (&u64, &Revision)| {
                        n > revision || n == revision && row.version >= *spelled
                    };
                    let known = all.is_some_and(|all| all.iter().any(is_seen));
                    d.resource_version >= *version
                        && (*revision == 0 || known || d.revision.is_none_or(|n| n < *revision))
                }
            },
            ObservedVersion::Deleting { uid } => deployment.is_none_or(|d| d.uid != *uid || d.deleting),
        }
    }
}
