//! The state of the cluster as rows, and one view per app made from them. Synchronous: fed by `apply`, `delete` and `reset`,
//! read under a lock that is never held across an await. Must not know how rows arrive or who reads them.
//!
//! ```text
//! rows (Deployment, ReplicaSet, Pod, Event, Revision) --apply/delete/reset--> tables --publish--> views --> change log, signals
//! ```

mod autoscaler_inputs;
mod autoscaler_state;
mod changes;
mod endpoints;
mod history;
mod interner;
mod logs;
mod pending_work;
mod subscriptions;
mod tables;
mod timeline;
mod views;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use parking_lot::RwLock;
use tokio::sync::watch;

pub use self::{
    autoscaler_inputs::AutoscalerInput,
    autoscaler_state::{AutoscalerState, Decision, Leader},
    changes::{Batch, Change, Cursor},
    endpoints::Endpoints,
    logs::LogSource,
    tables::Row,
    timeline::{AuditedCall, Entry, TimelineEvent, TimelineStart},
    views::UnrecordedVerdict,
};
use self::{
    changes::ChangeLog, endpoints::EndpointSubscriptions, subscriptions::Subscriptions, tables::Tables,
    timeline::Timelines, views::Views,
};
use crate::domain::{
    Error,
    app::{App, State},
    commands::{ObservedVersion, Position},
    endpoint,
    name::{self, Scope},
    observed::Event,
    replica::Replica,
    rollout::{Moment, Rollout},
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
    /// discovery.k8s.io/v1 EndpointSlices.
    EndpointSlices,
    /// v1 Nodes.
    Nodes,
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
    changes: ChangeLog,
    signals: Subscriptions,
    followers: EndpointSubscriptions,
    timelines: Timelines,
    /// Kinds that this server may not read, and does without.
    refused: BTreeSet<Kind>,
    /// The latest resourceVersion at which Deployments were heard of, whatever became of them.
    deployments_at: u64,
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
    pub event: Arc<Event>,
}

/// An object of which the index holds something else than the cluster has.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference<R> {
    /// What the index holds.
    pub held: Option<R>,
    /// What the cluster has.
    pub listed: Option<R>,
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
    pub const ALL: [Self; 9] = [
        Self::Deployments,
        Self::ReplicaSets,
        Self::Pods,
        Self::Events,
        Self::Revisions,
        Self::EndpointSlices,
        Self::Nodes,
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
            Self::EndpointSlices => "endpointslices",
            Self::Nodes => "nodes",
            Self::HorizontalPodAutoscalers => "horizontalpodautoscalers",
            Self::ScaledObjects => "scaledobjects",
        }
    }

    /// Whether the others are of use without it: a replica's own readiness says what slices say, a node says only its zone, and
    /// an autoscaler only who decides the count. A cluster that does not have it, or a server that may not read it, goes on.
    pub const fn is_optional(self) -> bool {
        match self {
            Self::EndpointSlices | Self::Nodes | Self::HorizontalPodAutoscalers | Self::ScaledObjects => true,
            Self::Deployments | Self::ReplicaSets | Self::Pods | Self::Events | Self::Revisions => false,
        }
    }
}

// === impl Index ===

impl Index {
    /// An empty index. `epoch` must differ from that of every earlier process.
    pub fn new(epoch: u64) -> Self {
        let state = Inner {
            tables: Tables::default(),
            views: Views::default(),
            changes: ChangeLog::default(),
            signals: Subscriptions::default(),
            followers: EndpointSubscriptions::default(),
            timelines: Timelines::default(),
            refused: BTreeSet::new(),
            deployments_at: 0,
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
        state.tables.note_heard(kind, now);
        state.refused.remove(&kind);
        state.publish(now);
    }

    /// Notes that this server may not read a kind. One that is optional, and has never been read, is done without.
    pub fn refuse(&self, kind: Kind, now: Timestamp) {
        let mut state = self.state.write();
        if kind.is_optional() && !state.heard.contains_key(&kind) && state.refused.insert(kind) {
            state.publish(now);
        }
    }

    /// Notes that everything about Deployments up to this resourceVersion has been taken in.
    pub fn deployments_at(&self, version: u64) {
        let mut state = self.state.write();
        state.deployments_at = state.deployments_at.max(version);
    }

    /// Notes that the cluster has spoken about a kind, if only to say that nothing changed.
    pub fn heard(&self, kind: Kind, now: Timestamp) {
        // A kind counts as read only after its first reset.
        let mut state = self.state.write();
        if let Some(time) = state.heard.get_mut(&kind) {
            *time = now;
            state.tables.note_heard(kind, now);
        }
    }

    /// Judges again what time alone can change: problems that outlast their grace, holds that end.
    pub fn tick(&self, now: Timestamp) {
        let now = self.state.read().as_of(now);
        let (waiting, moved) = {
            let state = self.state.read();
            (state.views.waiting_for_time(now), state.has_moved())
        };
        if moved {
            self.state.write().count_endpoints(now);
        }
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

    /// Kinds that this server may not read, and does without.
    pub fn refused(&self) -> Vec<Kind> {
        self.state.read().refused.iter().copied().collect()
    }

    /// How much there is.
    pub fn size(&self) -> Size {
        let state = self.state.read();
        Size { apps: state.tables.deployments.len(), pods: state.tables.pods.len() }
    }

    /// How many rows of a kind there are.
    pub fn count<R: Row>(&self) -> usize {
        self.state.read().tables.all::<R>().count()
    }

    /// Where the rows are not these, which are said to be all there are.
    pub fn differences<R: Row>(&self, listed: Vec<R>) -> HashMap<R::Key, Difference<R>> {
        let mut listed: HashMap<_, _> = listed.into_iter().map(|row| (row.key(), row)).collect();
        let mut found = HashMap::new();
        for held in self.state.read().tables.all::<R>() {
            let key = held.key();
            let listed = listed.remove(&key);
            if listed.as_ref() != Some(held) {
                found.insert(key, Difference { held: Some(held.clone()), listed });
            }
        }
        let missing = |(key, row)| (key, Difference { held: None, listed: Some(row) });
        found.extend(listed.into_iter().map(missing));
        found
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

    /// Where the replicas of an app are.
    pub fn endpoints(&self, name: &name::App) -> Result<Arc<endpoint::Set>, Error> {
        let state = self.state.read();
        let found = state.followers.get(name).or_else(|| state.tables.endpoints(name));
        found.ok_or_else(|| state.views.missing(name))
    }

    /// Follows where the replicas of an app are; it may not exist.
    pub fn watch_endpoints(&self, name: &name::App) -> watch::Receiver<Endpoints> {
        let Inner { followers, tables, .. } = &mut *self.state.write();
        followers.subscribe(name, tables)
    }

    /// Replicas of an app in the order of their pods' names, those after `after`, at most `limit`. The flag says that more follow.
    pub fn replicas(
        &self,
        name: &name::App,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Replica>, bool), Error> {
        let state = self.state.read();
        if !state.tables.deployments.contains_key(name) {
            return Err(state.views.missing(name));
        }
        Ok(state.tables.page_of_replicas(name, after, limit))
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

    /// Whether a reader of this index sees the write that gave the position.
    pub fn has_seen(&self, position: &Position) -> bool {
        let state = self.state.read();
        let deployment = state.tables.deployments.get(&position.app);
        match &position.seen {
            ObservedVersion::Version { deployment: version, revision } => match deployment {
                // Gone, or not come yet: the kind as a whole says which.
                None => state.deployments_at >= *version,
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
        Kind::ALL.iter().all(|kind| self.heard.contains_key(kind) || self.refused.contains(kind))
    }

    /// Makes the views of changed apps. Not before everything was read: a verdict on half of the rows would stay.
    fn publish(&mut self, now: Timestamp) {
        if !self.is_filled() {
            return;
        }
        let moved = self.tables.take_moved();
        let dirty = self.tables.take_dirty();
        let at = Moment { now, heard: self.as_of(now) };
        for name in moved.union(&dirty) {
            self.followers.publish(name, &self.tables);
        }
        for name in &dirty {
            let before = (self.views.app(name), self.views.newest_rollout(name));
            if self.views.rebuild(name, &self.tables, at) {
                self.compare(name, before, now);
                let exists = self.views.app(name).is_some();
                let version = self.changes.record(name, exists);
                self.signals.notify(name, version);
            }
        }
        self.take_news(moved.into_iter().chain(dirty), now);
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
