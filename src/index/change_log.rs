//! The change log: each app at its latest version, so that a reader who is behind gets every app once and
//! nothing accumulates.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use super::views::Views;
use crate::domain::{
    app::App,
    name::{self, Scope},
};

/// The number of deletions that are remembered. A reader who is further behind gets a fresh snapshot.
const TOMBSTONES: usize = 10_000;

/// Versions of apps and of deletions.
#[derive(Default)]
pub(super) struct ChangeLog {
    last: u64,
    /// The app that changed at a version. An app is listed only at its latest version.
    by_version: BTreeMap<u64, name::App>,
    version_of: HashMap<name::App, u64>,
    /// Versions in `by_version` that are deletions.
    tombstones: BTreeSet<u64>,
    /// A cursor before this may have missed a deletion.
    forgotten: u64,
}

/// A place in the change log of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeCursor {
    /// Identifies the process.
    pub epoch: u64,
    /// Version of the last change that was seen.
    pub version: u64,
    /// In the middle of a snapshot: the version at which it began. Deletions up to this version are not sent,
    /// because the reader never saw those apps.
    pub snapshot: u64,
}

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub enum AppChange {
    /// The current state of the app.
    Updated(Arc<App>),
    /// The app was deleted.
    Deleted(name::App),
}

/// Some changes in order.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangeBatch {
    /// Whether these changes begin a snapshot, so that the reader must forget everything that it knew before.
    pub fresh: bool,
    /// The changes, each with the cursor after it.
    pub changes: Vec<(ChangeCursor, AppChange)>,
    /// The cursor to continue with.
    pub next: ChangeCursor,
    /// Whether more changes can be read at once.
    pub more: bool,
}

// === impl ChangeLog ===

impl ChangeLog {
    pub(super) fn record(&mut self, name: &name::App, exists: bool) -> u64 {
        let known = self.version_of.get(name);
        if !exists && known.is_none_or(|version| self.tombstones.contains(version)) {
            // The app was never seen, or its deletion is already recorded. Only its rollout changed, which is
            // not a change of an app.
            return self.last;
        }
        self.last += 1;
        if let Some(earlier) = self.version_of.insert(name.clone(), self.last) {
            self.by_version.remove(&earlier);
            self.tombstones.remove(&earlier);
        }
        self.by_version.insert(self.last, name.clone());
        if !exists {
            self.tombstones.insert(self.last);
        }
        while self.tombstones.len() > TOMBSTONES {
            let Some(version) = self.tombstones.pop_first() else { break };
            self.forgotten = version;
            if let Some(name) = self.by_version.remove(&version) {
                self.version_of.remove(&name);
            }
        }
        self.last
    }

    pub(super) fn changes_after(
        &self,
        views: &Views,
        scope: &Scope,
        cursor: Option<ChangeCursor>,
        epoch: u64,
        limit: usize,
    ) -> ChangeBatch {
        let known = cursor.filter(|c| {
            let seen = c.version.max(c.snapshot);
            self.forgotten <= seen && seen <= self.last
        });
        let fresh = known.is_none();
        let ChangeCursor { version: from, snapshot, .. } =
            known.unwrap_or(ChangeCursor { epoch, version: 0, snapshot: self.last });
        let at = |version| ChangeCursor {
            epoch,
            version,
            snapshot: if version < snapshot { snapshot } else { 0 },
        };
        let mut batch = ChangeBatch { fresh, changes: Vec::new(), next: at(self.last), more: false };
        for (&version, name) in self.by_version.range(from + 1..).filter(|(_, name)| scope.holds(name)) {
            let change = match views.app(name) {
                Some(app) => AppChange::Updated(app),
                None if version <= snapshot => continue,
                None => AppChange::Deleted(name.clone()),
            };
            if batch.changes.len() == limit {
                batch.more = true;
                batch.next = batch.changes.last().map_or(batch.next, |(cursor, _)| *cursor);
                break;
            }
            batch.changes.push((at(version), change));
        }
        batch
    }
}

// === impl ChangeCursor ===

impl ChangeCursor {
    /// Parses a resume token. `None` for an invalid one, which means a fresh snapshot.
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, version) = text.strip_prefix("w1.")?.split_once('.')?;
        let (version, snapshot) = version.split_once('.').unwrap_or((version, "0"));
        Some(Self {
            epoch: epoch.parse().ok()?,
            version: version.parse().ok()?,
            snapshot: snapshot.parse().ok()?,
        })
    }
}

impl fmt::Display for ChangeCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "w1.{}.{}", self.epoch, self.version)?;
        if self.snapshot > 0 { write!(f, ".{}", self.snapshot) } else { Ok(()) }
    }
}
