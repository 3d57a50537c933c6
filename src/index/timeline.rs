//! What happened to apps, as it becomes known: one bounded list for each, and what the rows still tell of the time before. The former is
//! lost with the process, and a reader is told so. Synchronous like the index.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use jiff::Timestamp;
use tokio::sync::watch;

use super::{Decision, Index, Inner, subscriptions::Subscriptions};
use crate::domain::{
    Error,
    app::App,
    name::{self, Scope},
    observed::Event,
    problem::Problem,
    rollout::{Progress, Rollout, State},
    timeline::{Mark, Position},
};

/// Entries kept of one app.
const OF_ONE: usize = 1000;

/// Entries kept in all, some hundred bytes each.
const OF_ALL: usize = 20_000;

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum TimelineEvent {
    /// A rollout began, moved on or ended.
    Rollout(Arc<Rollout>),
    /// A problem appeared.
    Problem(Arc<Problem>),
    /// The autoscaler changed a count, or should have.
    Scaling(Arc<Decision>),
    /// A Kubernetes event.
    Event(Arc<Event>),
    /// Somebody called.
    Call(Arc<AuditedCall>),
    /// Endpoints came or went.
    Endpoints {
        /// Those that take traffic now.
        ready: i32,
        /// Those that finish what they have.
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
    /// What the error said; empty if there was none.
    pub error: String,
    /// Who called.
    pub actor: String,
    /// Why, as the caller said.
    pub reason: String,
    /// Id of the call.
    pub id: String,
}

/// An entry of a timeline.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its place.
    pub mark: Mark,
    /// When it became known, as a number that grows; 0 for what is from before this process.
    pub sequence: u64,
    /// What happened.
    pub what: TimelineEvent,
}

/// What there is at a moment.
#[derive(Debug)]
pub struct TimelineStart {
    /// The entries, in the order of their marks.
    pub entries: Vec<Entry>,
    /// What becomes known later has a greater number.
    pub sequence: u64,
    /// Before this time only what the cluster keeps is known.
    pub known_since: Timestamp,
}

/// The lists of all apps.
#[derive(Default)]
pub(super) struct Timelines {
    /// When this process began to see what happens.
    since: Option<Timestamp>,
    last: u64,
    apps: HashMap<name::App, List>,
    /// Whose an entry is, by its number; the first one goes first.
    order: BTreeMap<u64, name::App>,
    /// The last entry that went, of all.
    gone: Option<(u64, Timestamp)>,
    signals: Subscriptions,
    /// Apps whose endpoints are to be counted.
    moved: BTreeSet<name::App>,
    /// Endpoints when they were counted last.
    counts: HashMap<name::App, (i32, i32)>,
}

#[derive(Default)]
struct List {
    entries: VecDeque<Entry>,
    known: HashSet<u64>,
    /// The last entry that went.
    gone: Option<(u64, Timestamp)>,
}

// === impl Happened ===

impl TimelineEvent {
    /// Whether the cluster keeps it, so that any server can tell it again.
    pub fn is_kept(&self) -> bool {
        match self {
            Self::Event(_) => true,
            Self::Rollout(rollout) => rollout.state.ended() || rollout.state == State::Pending,
            Self::Problem(_) | Self::Scaling(_) | Self::Call(_) | Self::Endpoints { .. } => false,
        }
    }
}

fn begin_of(rollout: &Rollout) -> (Mark, TimelineEvent) {
    let key = format!("rollout {} {} begin", rollout.number, rollout.digest);
    let begun = Rollout {
        state: State::Pending,
        progress: Progress::default(),
        problems: Vec::new(),
        error: None,
        end: None,
        message: String::new(),
        ..rollout.clone()
    };
    (Mark::new(rollout.start, &key), TimelineEvent::Rollout(Arc::new(begun)))
}

fn end_of(rollout: &Arc<Rollout>) -> Option<(Mark, TimelineEvent)> {
    let end = rollout.end.filter(|_| rollout.state.ended())?;
    let key = format!("rollout {} {} end", rollout.number, rollout.digest);
    Some((Mark::new(end, &key), TimelineEvent::Rollout(rollout.clone())))
}

fn mark_of(event: &Event) -> Mark {
    let (namespace, id) = (&event.about.namespace, &event.id);
    Mark::new(event.time, &format!("event {namespace}/{id} {} {}", event.count, event.time))
}

// === impl Index ===

impl Index {
    /// Notes that something happened to an app, if there is one.
    pub fn record_event(&self, app: &name::App, time: Timestamp, what: TimelineEvent) {
        let mut state = self.state.write();
        let known = state.views.app(app).is_some() || state.timelines.apps.contains_key(app);
        if known {
            state.timelines.note_new(app, time, what);
        }
    }

    /// What is known of an app so far.
    pub fn timeline(&self, app: &name::App) -> Result<TimelineStart, Error> {
        let state = self.state.read();
        let list = state.timelines.apps.get(app);
        if list.is_none() && state.views.app(app).is_none() && state.views.newest_rollout(app).is_none() {
            return Err(state.views.missing(app));
        }
        let mut entries: Vec<_> = list.into_iter().flat_map(|list| &list.entries).cloned().collect();
        let known: HashSet<u64> = entries.iter().map(|entry| entry.mark.id).collect();
        let kept = state.kept(app).filter(|(mark, _)| !known.contains(&mark.id));
        entries.extend(kept.map(|(mark, what)| Entry { mark, sequence: 0, what }));
        entries.sort_by_key(|entry| entry.mark);
        let since = state.timelines.since.unwrap_or_default();
        let gone = state.timelines.gone_of(app).map(|(_, time)| time);
        Ok(TimelineStart {
            entries,
            sequence: state.timelines.last,
            known_since: gone.map_or(since, |gone| gone.max(since)),
        })
    }

    /// What became known of an app since that number, at most so much; `None` if some of it is forgotten.
    pub fn timeline_since(&self, app: &name::App, sequence: u64, limit: usize) -> Option<Vec<Entry>> {
        let state = self.state.read();
        if state.timelines.gone_of(app).is_some_and(|(gone, _)| gone > sequence) {
            return None;
        }
        let entries = state.timelines.apps.get(app).into_iter().flat_map(|list| &list.entries);
        Some(entries.filter(|entry| entry.sequence > sequence).take(limit).cloned().collect())
    }

    /// Whether a position is of this process, and all that became known since is still there.
    pub fn can_resume(&self, app: &name::App, position: &Position) -> bool {
        position.epoch == self.epoch && self.timeline_since(app, position.sequence, 0).is_some()
    }

    /// Wakes after each entry of an app.
    pub fn watch_timeline(&self, app: &name::App) -> watch::Receiver<u64> {
        self.state.write().timelines.signals.subscribe(&Scope::App(app.clone()))
    }
}

impl Inner {
    /// What the rows tell.
    fn kept<'a>(&'a self, app: &'a name::App) -> impl Iterator<Item = (Mark, TimelineEvent)> + 'a {
        let rollouts = self.rollouts(app, None, OF_ONE).into_iter();
        let rollouts = rollouts.flat_map(|rollout| [Some(begin_of(&rollout)), end_of(&rollout)]).flatten();
        let events = self.tables.events_of(app);
        rollouts.chain(events.map(|event| (mark_of(event), TimelineEvent::Event(event.clone()))))
    }

    /// Notes what a change of the rows shows: the view of this app was another one before.
    pub(super) fn compare(
        &mut self,
        name: &name::App,
        before: (Option<Arc<App>>, Option<Arc<Rollout>>),
        now: Timestamp,
    ) {
        if self.timelines.since.is_none() {
            return;
        }
        let (app, rollout) = (self.views.app(name), self.views.newest_rollout(name));
        let (app_before, rollout_before) = before;
        if let Some(rollout) = &rollout {
            let same = rollout_before.as_ref().filter(|before| before.number == rollout.number);
            match (same, &rollout_before) {
                (Some(before), _) if before.state == rollout.state => {}
                (Some(_), _) => {
                    let what = TimelineEvent::Rollout(rollout.clone());
                    if let Some((mark, end)) = end_of(rollout) {
                        self.timelines.note(name, mark, end);
                    } else if !what.is_kept() {
                        self.timelines.note_new(name, now, what);
                    }
                }
                (None, before) => {
                    let earlier = before.as_ref().and_then(|before| {
                        let earlier = self.rollouts(name, before.number.checked_add(1), 1).pop()?;
                        end_of(&earlier).filter(|_| earlier.number == before.number)
                    });
                    let begin = begin_of(rollout);
                    for (mark, what) in earlier.into_iter().chain([begin]).chain(end_of(rollout)) {
                        self.timelines.note(name, mark, what);
                    }
                }
            }
        }
        let had =
            |reason| app_before.as_ref().is_some_and(|app| app.problems.iter().any(|p| p.reason == reason));
        for problem in app.iter().flat_map(|app| &app.problems).filter(|problem| !had(problem.reason)) {
            self.timelines.note_new(name, now, TimelineEvent::Problem(Arc::new(problem.clone())));
        }
    }

    /// Notes events, and which apps may have other endpoints now. The first time nothing is news.
    pub(super) fn take_news(&mut self, moved: impl IntoIterator<Item = name::App>, now: Timestamp) {
        let fresh = self.tables.take_fresh();
        self.timelines.moved.extend(moved);
        if self.timelines.since.is_none() {
            self.timelines.since = Some(now);
            // Here and not when they are counted next: what comes until then is news, also that of the first app of all.
            self.recount(|_, _, _| {});
            return;
        }
        for (app, event) in fresh {
            self.timelines.note(&app, mark_of(&event), TimelineEvent::Event(event));
        }
    }

    /// Counts the endpoints of apps that may have others than before: once for all that happened since the last time.
    pub(super) fn count_endpoints(&mut self, now: Timestamp) {
        self.recount(|timelines, app, (ready, draining)| {
            timelines.note_new(app, now, TimelineEvent::Endpoints { ready, draining });
        });
    }

    fn recount(&mut self, changed: impl Fn(&mut Timelines, &name::App, (i32, i32))) {
        for app in std::mem::take(&mut self.timelines.moved) {
            let count = self.tables.endpoint_counts(&app);
            let before = if count == (0, 0) {
                self.timelines.counts.remove(&app)
            } else {
                self.timelines.counts.insert(app.clone(), count)
            };
            if before.unwrap_or_default() != count {
                changed(&mut self.timelines, &app, count);
            }
        }
    }

    pub(super) fn has_moved(&self) -> bool {
        !self.timelines.moved.is_empty() && self.timelines.since.is_some()
    }
}

// === impl Timelines ===

impl Timelines {
    /// Keeps what happens only once.
    fn note_new(&mut self, app: &name::App, time: Timestamp, what: TimelineEvent) {
        let mark = Mark::new(time, &format!("{time} {}", self.last));
        self.note(app, mark, what);
    }

    fn note(&mut self, app: &name::App, mark: Mark, what: TimelineEvent) {
        let list = self.apps.entry(app.clone()).or_default();
        if !list.known.insert(mark.id) {
            return;
        }
        self.last += 1;
        list.entries.push_back(Entry { mark, sequence: self.last, what });
        self.order.insert(self.last, app.clone());
        if list.entries.len() > OF_ONE
            && let Some(oldest) = list.drop_oldest()
        {
            self.order.remove(&oldest);
        }
        if self.order.len() > OF_ALL
            && let Some((_, app)) = self.order.pop_first()
            && let Some(list) = self.apps.get_mut(&app)
        {
            list.drop_oldest();
            self.gone = self.gone.max(list.gone);
            if list.entries.is_empty() {
                self.apps.remove(&app);
            }
        }
        self.signals.notify(app, self.last);
    }

    /// The last entry of an app that went, or may have: of an app without any, nobody remembers.
    fn gone_of(&self, app: &name::App) -> Option<(u64, Timestamp)> {
        self.apps.get(app).map_or(self.gone, |list| list.gone)
    }
}

impl List {
    fn drop_oldest(&mut self) -> Option<u64> {
        let oldest = self.entries.pop_front()?;
        self.known.remove(&oldest.mark.id);
        self.gone = Some((oldest.sequence, oldest.mark.time));
        Some(oldest.sequence)
    }
}
