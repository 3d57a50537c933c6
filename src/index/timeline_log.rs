//! What happened to apps, in the order in which it became known: one bounded list for each app. Lost with the
//! process.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use jiff::Timestamp;

use super::{autoscaler_state::Decision, subscriptions::Subscriptions};
use crate::domain::{
    name,
    observed::Event,
    problem::Problem,
    rollout::{Rollout, State},
    timeline::{Mark, Place},
};

/// The number of entries stored of one app.
pub(super) const MOST_OF_APP: usize = 1000;

/// The number of entries stored in all, some hundred bytes each.
const MOST_ENTRIES: usize = 20_000;

/// Something that happened.
#[derive(Clone, Debug)]
pub enum TimelineEvent {
    /// A rollout began, moved on or ended.
    Rollout(Arc<Rollout>),
    /// A problem appeared.
    Problem(Arc<Problem>),
    /// The autoscaler changed a replica count, or should have.
    Scaling(Arc<Decision>),
    /// A Kubernetes event.
    Event(Arc<Event>),
    /// A call that was audited.
    Call(Arc<AuditedCall>),
    /// Endpoints came or went.
    Endpoints {
        /// Endpoints that take traffic now.
        ready: i32,
        /// Endpoints that are draining.
        draining: i32,
    },
}

/// A call that changed something, or was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditedCall {
    /// Full name of the method.
    pub method: String,
    /// Number of the gRPC status code.
    pub code: i32,
    /// The message of the error. Empty if there was none.
    pub error: String,
    /// Who called.
    pub actor: String,
    /// The reason that the caller gave.
    pub reason: String,
    /// Id of the call.
    pub id: String,
}

/// An entry of a timeline.
#[derive(Clone, Debug)]
pub struct TimelineEntry {
    /// Identifies it, and says when it happened.
    pub mark: Mark,
    /// The order in which it became known: a number that grows, or 0 for what happened before this process
    /// began.
    pub sequence: u64,
    /// What happened.
    pub what: TimelineEvent,
}

/// The lists of all apps.
#[derive(Default)]
pub(super) struct TimelineLog {
    /// When this process began to see what happens.
    pub(super) since: Option<Timestamp>,
    pub(super) last: u64,
    pub(super) apps: HashMap<name::App, AppTimeline>,
    /// The app of each entry, by sequence number. The first entry is dropped first.
    order: BTreeMap<u64, name::App>,
    /// The last entry of any app that was dropped.
    gone: Option<(u64, Timestamp)>,
    pub(super) subscriptions: Subscriptions,
    /// Apps whose endpoints must be counted again.
    pub(super) moved: BTreeSet<name::App>,
    /// Endpoints (ready, draining) at the last count.
    pub(super) counts: HashMap<name::App, (i32, i32)>,
}

#[derive(Default)]
pub(super) struct AppTimeline {
    pub(super) entries: VecDeque<TimelineEntry>,
    known: HashSet<u64>,
    /// The last entry that was dropped.
    gone: Option<(u64, Timestamp)>,
}

// === impl TimelineEvent ===

impl TimelineEvent {
    /// Whether the cluster stores it, so that any daemon can show it again.
    pub fn is_kept(&self) -> bool {
        match self {
            Self::Event(_) => true,
            Self::Rollout(rollout) => rollout.state.ended() || rollout.state == State::Pending,
            Self::Problem(_) | Self::Scaling(_) | Self::Call(_) | Self::Endpoints { .. } => false,
        }
    }
}

// === impl TimelineEntry ===

impl TimelineEntry {
    /// Returns what the position of a reader needs to know of it.
    pub fn place(&self) -> Place {
        Place { mark: self.mark, sequence: self.sequence, kept: self.what.is_kept() }
    }
}

// === impl TimelineLog ===

impl TimelineLog {
    /// Records something that happens only once.
    pub(super) fn note_new(&mut self, app: &name::App, time: Timestamp, what: TimelineEvent) {
        let mark = Mark::new(time, &format!("{time} {}", self.last));
        self.note(app, mark, what);
    }

    pub(super) fn note(&mut self, app: &name::App, mark: Mark, what: TimelineEvent) {
        let list = self.apps.entry(app.clone()).or_default();
        if !list.known.insert(mark.id) {
            return;
        }
        self.last += 1;
        list.entries.push_back(TimelineEntry { mark, sequence: self.last, what });
        self.order.insert(self.last, app.clone());
        if list.entries.len() > MOST_OF_APP
            && let Some(oldest) = list.drop_oldest()
        {
            self.order.remove(&oldest);
        }
        if self.order.len() > MOST_ENTRIES
            && let Some((_, app)) = self.order.pop_first()
            && let Some(list) = self.apps.get_mut(&app)
        {
            list.drop_oldest();
            self.gone = self.gone.max(list.gone);
            if list.entries.is_empty() {
                self.apps.remove(&app);
            }
        }
        self.subscriptions.notify(app, self.last);
    }

    /// Returns the last entry of an app that was, or may have been, dropped. An app without entries may have
    /// lost all of them.
    pub(super) fn gone_of(&self, app: &name::App) -> Option<(u64, Timestamp)> {
        self.apps.get(app).map_or(self.gone, |list| list.gone)
    }
}

// === impl AppTimeline ===

impl AppTimeline {
    fn drop_oldest(&mut self) -> Option<u64> {
        let oldest = self.entries.pop_front()?;
        self.known.remove(&oldest.mark.id);
        self.gone = Some((oldest.sequence, oldest.mark.time));
        Some(oldest.sequence)
    }
}
