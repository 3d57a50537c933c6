//! The state of the cluster as rows, and one view per app made from them. Synchronous: fed by `apply`, `delete` and `reset`,
//! read under a lock that is never held across an await. Must not know how rows arrive or who reads them.
//!
//! ```text
//! rows (Deployment, ReplicaSet, Pod, Event, Revision) --apply/delete/reset--> tables --publish--> views --> change log, signals
//! ```

mod changes;
mod history;
mod signals;
mod tables;
mod views;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use parking_lot::RwLock;
use tokio::sync::watch;

use self::{changes::Changes, signals::Signals, tables::Tables, views::Views};
pub use self::{
    changes::{Batch, Change, Cursor},
    tables::Row,
};
use crate::domain::{
    Error,
    act::{Position, Seen},
    app::{App, State},
    name::{self, Scope},
    observed::Event,
    revision::{Cause, End, Record},
    rollout::Rollout,
    selector::Selector,
};

/// What the index holds rows of, one watch each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// apps/v1 Deployments.
    Deployments,
    /// apps/v1 ReplicaSets.
    ReplicaSets,
    /// v1 Pods.
    Pods,
    /// v1 Events.
    Events,
    /// apps/v1 ControllerRevisions of ours.
    Revisions,
    /// autoscaling/v2 HorizontalPodAutoscalers.
    HorizontalPodAutoscalers,
    /// keda.sh/v1alpha1 ScaledObjects; there are none where KEDA is not installed.
    ScaledObjects,
}

/// A handle to the one index, cheap to clone.
#[derive(Clone)]
pub struct Index {
    state: Arc<RwLock<Inner>>,
    /// Distinguishes this process's change log from those of others: their cursors mean nothing here.
    epoch: u64,
}

struct Inner {
    tables: Tables,
    views: Views,
    changes: Changes,
    signals: Signals,
    /// When each kind was last heard of; a kind that is absent has never been read whole.
    heard: BTreeMap<Kind, Timestamp>,
}

/// Which apps a list wants.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Labels of the Deployment.
    pub selector: Selector,
    /// One of these; empty means any.
    pub states: Vec<State>,
}

/// A line for people about an app's objects: a Kubernetes event.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    /// Grows with each line; give the last one seen to get only later ones.
    pub sequence: u64,
    /// What was seen.
    pub event: Event,
}

/// How much the index holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Apps.
    pub apps: usize,
    /// Pods.
    pub pods: usize,
}

// === impl Kind ===

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Deployments,
        Self::ReplicaSets,
        Self::Pods,
        Self::Events,
        Self::Revisions,
        Self::HorizontalPodAutoscalers,
        Self::ScaledObjects,
    ];

    /// Its resource name in Kubernetes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deployments => "deployments",
            Self::ReplicaSets => "replicasets",
            Self::Pods => "pods",
            Self::Events => "events",
            Self::Revisions => "controllerrevisions",
            Self::HorizontalPodAutoscalers => "horizontalpodautoscalers",
            Self::ScaledObjects => "scaledobjects",
        }
    }

    /// Whether everything but one sentence of the answers is right without it, so that a cluster that does not have it, or a
    /// server that may not read it, goes on without.
    pub const fn optional(self) -> bool {
        matches!(self, Self::HorizontalPodAutoscalers | Self::ScaledObjects)
    }
}

// === impl Index ===

impl Index {
    /// An empty index. `epoch` must differ from that of every earlier process.
    pub fn new(epoch: u64) -> Self {
        let state = Inner {
            tables: Tables::default(),
            views: Views::default(),
            changes: Changes::default(),
            signals: Signals::default(),
            heard: BTreeMap::new(),
        };
        Self { state: Arc::new(RwLock::new(state)), epoch }
    }

    // --- writing

    /// Takes in rows that are new or changed, and those that are gone, all at once.
    pub fn update<R: Row>(&self, applied: Vec<R>, deleted: Vec<R::Key>, now: Timestamp) {
        let mut state = self.state.write();
        for row in applied {
            state.tables.apply(row);
        }
        for key in deleted {
            state.tables.delete::<R>(&key);
        }
        state.publish(now);
    }

    /// Makes these rows all there are of their kind.
    pub fn reset<R: Row>(&self, kind: Kind, rows: Vec<R>, now: Timestamp) {
        let mut state = self.state.write();
        state.tables.reset(rows);
        state.heard.insert(kind, now);
        state.publish(now);
    }

    /// Notes that the cluster has spoken about a kind, if only to say that nothing changed.
    pub fn heard(&self, kind: Kind, now: Timestamp) {
        // A kind counts as read only after its first reset.
        if let Some(time) = self.state.write().heard.get_mut(&kind) {
            *time = now;
        }
    }

    /// Judges again what time alone can change: problems that outlast their grace.
    pub fn tick(&self, now: Timestamp) {
        let now = self.state.read().as_of(now);
        let waiting = self.state.read().views.waiting_for_time();
        if !waiting.is_empty() {
            let mut state = self.state.write();
            state.tables.touch(waiting);
            state.publish(now);
        }
    }

    // --- reading

    /// Whether every kind has been read once. Until then an absent app may only be unread.
    pub fn check_filled(&self) -> Result<(), Error> {
        if self.is_filled() { Ok(()) } else { Err(Error::WarmingUp) }
    }

    /// See [`Index::check_filled`].
    pub fn is_filled(&self) -> bool {
        self.state.read().is_filled()
    }

    /// Time since the cluster last spoke, by kind.
    pub fn ages(&self, now: Timestamp) -> BTreeMap<Kind, Duration> {
        let age = |then: &Timestamp| Duration::try_from(now.duration_since(*then)).unwrap_or_default();
        self.state.read().heard.iter().map(|(kind, then)| (*kind, age(then))).collect()
    }

    /// How much there is.
    pub fn size(&self) -> Size {
        let state = self.state.read();
        Size { apps: state.tables.deployments.len(), pods: state.tables.pods.len() }
    }

    /// One app.
    pub fn get(&self, name: &name::App) -> Result<Arc<App>, Error> {
        let state = self.state.read();
        state.views.app(name).ok_or_else(|| state.views.missing(name))
    }

    /// One rollout.
    pub fn rollout(&self, name: &name::Rollout) -> Result<Arc<Rollout>, Error> {
        self.state.read().rollout(name)
    }

    /// Rollouts of an app, newest first, those with numbers below `before`, at most `limit`. The flag says that more follow.
    pub fn rollouts(
        &self,
        app: &name::App,
        before: Option<u64>,
        limit: usize,
    ) -> Result<(Vec<Arc<Rollout>>, bool), Error> {
        let state = self.state.read();
        let mut found = state.rollouts(app, before, limit.saturating_add(1));
        if found.is_empty() && state.views.app(app).is_none() && state.views.newest_rollout(app).is_none() {
            return Err(state.views.missing(app));
        }
        let more = found.len() > limit;
        found.truncate(limit);
        Ok((found, more))
    }

    /// The autoscaler, not of this server, that owns an app's replica count: `horizontalpodautoscaler.autoscaling/shop`.
    pub fn autoscaler_of(&self, app: &name::App) -> Option<String> {
        self.state.read().tables.autoscaler_of(app)
    }

    /// Apps of a scope in the order of their names, those after `after`, at most `limit`. The flag says that more follow.
    pub fn list(
        &self,
        scope: &Scope,
        filter: &Filter,
        after: Option<&name::App>,
        limit: usize,
    ) -> (Vec<Arc<App>>, bool) {
        let state = self.state.read();
        let mut matching = state.views.after(scope, after).filter(|app| filter.matches(app));
        let page: Vec<_> = matching.by_ref().take(limit).cloned().collect();
        let more = matching.next().is_some();
        (page, more)
    }

    /// Changes of a scope since a cursor: each app at most once, in its latest state. `None` begins with a snapshot, and so
    /// does a cursor of another process or one that is too old.
    pub fn changes(&self, scope: &Scope, cursor: Option<Cursor>, limit: usize) -> Batch {
        let state = self.state.read();
        state.changes.since(&state.views, scope, cursor.filter(|c| c.epoch == self.epoch), self.epoch, limit)
    }

    /// Wakes after each change of the scope.
    pub fn subscribe(&self, scope: &Scope) -> watch::Receiver<u64> {
        self.state.write().signals.subscribe(scope)
    }

    /// Events about the app and the replicas of one rollout, later than `after`, in the order in which they became known.
    pub fn log(&self, name: &name::App, rollout: u64, after: u64) -> Vec<LogLine> {
        let state = self.state.read();
        state.tables.log(name, state.carries(name, rollout), after)
    }

    /// What tells this process's tokens from those of others.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Verdicts that were reached here and are not yet kept in the cluster.
    pub fn unrecorded(&self) -> Vec<(name::App, u64, End)> {
        let state = self.state.read();
        state.views.unrecorded(&state.tables)
    }

    /// Changes made past this server that are not yet kept in the cluster: the app, the number, what to keep.
    pub fn unnoted(&self) -> Vec<(name::App, u64, Record)> {
        let state = self.state.read();
        state.views.unnoted(&state.tables).map(to_note).collect()
    }

    /// Whether a reader of this index sees the write that gave the position.
    pub fn has_seen(&self, position: &Position) -> bool {
        let state = self.state.read();
        let deployment = state.tables.deployments.get(&position.app);
        match &position.seen {
            Seen::Version { deployment: version, revision } => {
                deployment.is_some_and(|d| d.resource_version >= *version)
                    && state
                        .tables
                        .revisions
                        .get(&position.app)
                        .is_some_and(|all| all.keys().any(|n| n >= revision))
            }
            Seen::Deleting { uid } => deployment.is_none_or(|d| d.uid != *uid || d.deleting),
        }
    }
}

/// A change made past this server as a record, but for what only the rollout's verdict adds.
fn to_note(rollout: &Rollout) -> (name::App, u64, Record) {
    let content = (*rollout.content).clone();
    let (set, number) = rollout.set.clone().unzip();
    let record = Record {
        replica_set: set.map(|name| name.to_string()),
        template_revision: number,
        ..Record::new(Cause::External, content, rollout.actor.clone(), String::new(), rollout.start)
    };
    (rollout.app.clone(), rollout.number, record)
}

impl Inner {
    /// The time that the rows are about: a server that is cut off must not hold against a rollout what it cannot see.
    fn as_of(&self, now: Timestamp) -> Timestamp {
        [Kind::Deployments, Kind::Pods]
            .iter()
            .filter_map(|kind| self.heard.get(kind))
            .copied()
            .fold(now, Timestamp::min)
    }

    fn is_filled(&self) -> bool {
        Kind::ALL.iter().all(|kind| self.heard.contains_key(kind))
    }

    /// Makes the views of changed apps. Not before everything was read: a verdict on half of the rows would stay.
    fn publish(&mut self, now: Timestamp) {
        if !self.is_filled() {
            return;
        }
        for name in self.tables.take_dirty() {
            if self.views.rebuild(&name, &self.tables, now) {
                let exists = self.views.app(&name).is_some();
                let version = self.changes.record(&name, exists);
                self.signals.wake(&name, version);
            }
        }
    }
}

// === impl Filter ===

impl Filter {
    /// Whether the list wants this app.
    pub fn matches(&self, app: &App) -> bool {
        (self.states.is_empty() || self.states.contains(&app.state)) && self.selector.matches(&app.labels)
    }
}

#[cfg(test)]
mod tests;
