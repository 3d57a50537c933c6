//! How the index stands against the cluster: what it has read, when it last heard of it, and where it
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
};

/// An object of which the index holds something else than the cluster has.
#[derive(Clone, Debug, PartialEq)]
pub struct RowDifference<R> {
    /// What the index holds.
    pub held: Option<R>,
    /// What the cluster has.
    pub listed: Option<R>,
}

/// How much the index holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexSize {
    /// Apps.
    pub apps: usize,
    /// Pods.
    pub pods: usize,
}

// === impl Index ===

impl Index {
    /// Whether every kind has been read once. Until then an absent app may only be unread.
    pub fn check_filled(&self) -> Result<(), Error> {
        if self.is_filled() { Ok(()) } else { Err(Error::WarmingUp) }
    }

    /// See [`Index::check_filled`].
    pub fn is_filled(&self) -> bool {
        self.state.read().is_filled()
    }

    /// Time since the cluster last spoke, by kind.
    pub fn kind_ages(&self, now: Timestamp) -> BTreeMap<Kind, Duration> {
        let age = |then: &Timestamp| Duration::try_from(now.duration_since(*then)).unwrap_or_default();
        self.state.read().heard.iter().map(|(kind, then)| (*kind, age(then))).collect()
    }

    /// Kinds that this server may not read, and does without.
    pub fn refused_kinds(&self) -> Vec<Kind> {
        self.state.read().refused.iter().copied().collect()
    }

    /// How much there is.
    pub fn size(&self) -> IndexSize {
        let state = self.state.read();
        IndexSize { apps: state.tables.deployments.len(), pods: state.tables.pods.len() }
    }

    /// How many rows of a kind there are.
    pub fn count_rows<R: Row>(&self) -> usize {
        R::all(&self.state.read().tables).count()
    }

    /// Where the rows are not these, which are said to be all there are.
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

    /// Whether a reader of this index sees the write that gave the position.
    pub fn has_seen(&self, position: &Position) -> bool {
        let state = self.state.read();
        let deployment = state.tables.deployments.get(&position.app);
        match &position.seen {
            ObservedVersion::Version { deployment: version, revision } => match deployment {
                // Gone, or not come yet: the kind as a whole says which.
                None => state.deployments_version >= *version,
                Some(d) => {
                    let all = state.tables.revisions.get(&position.app);
                    // An app that was deleted since and made anew counts its revisions from the beginning.
                    let known = all.is_some_and(|all| all.keys().any(|n| n >= revision));
                    d.resource_version >= *version
                        && (*revision == 0 || known || d.revision.is_none_or(|n| n < *revision))
                }
            },
            ObservedVersion::Deleting { uid } => deployment.is_none_or(|d| d.uid != *uid || d.deleting),
        }
    }
}
