//! The timeline of an app: what happened to it since this process began, and what the rows still show of the
//! time before. The first part is lost with the process, and readers get a gap for it.

use std::{collections::HashSet, sync::Arc};

use jiff::Timestamp;
use tokio::sync::watch;

use super::{
    state::{Index, IndexState},
    timeline_log::{MOST_OF_APP, TimelineEntry, TimelineEvent, TimelineLog},
};
use crate::domain::{
    Error,
    app::App,
    name::{self, Scope},
    observed::{Event, ReplicaSet},
    rollout::{Progress, Rollout, State},
    timeline::{
        Mark, Position,
        order::{Change, Item, What, order},
    },
};

/// The timeline of an app at a moment.
#[derive(Debug)]
pub struct TimelineStart {
    /// The entries, in the order in which they happened, as far as it is known.
    pub entries: Vec<TimelineEntry>,
    /// Entries that become known later have a greater sequence number.
    pub sequence: u64,
    /// Before this time only what the cluster stores is known.
    pub known_since: Timestamp,
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
    // The two times may be of different clocks.
    Some((Mark::new(end.max(rollout.start), &key), TimelineEvent::Rollout(rollout.clone())))
}

fn mark_of(event: &Event) -> Mark {
    let (namespace, id) = (&event.about.namespace, &event.id);
    Mark::new(event.time, &format!("event {namespace}/{id} {} {}", event.count, event.time))
}

fn to_item<'a>(entry: &'a TimelineEntry, set: Option<&'a str>) -> Item<'a> {
    let what = match &entry.what {
        TimelineEvent::Rollout(rollout) => {
            let change = Change { number: rollout.number, set };
            match rollout.state {
                State::Pending => What::Begin(change),
                State::Succeeded | State::Failed | State::Superseded => What::End(change),
                State::Running | State::Paused => What::Other,
            }
        }
        TimelineEvent::Event(event) => What::Event(event),
        TimelineEvent::Problem(_)
        | TimelineEvent::Scaling(_)
        | TimelineEvent::Call(_)
        | TimelineEvent::Endpoints { .. } => What::Other,
    };
    Item { time: entry.mark.time, id: entry.mark.id, sequence: entry.sequence, what }
}

// === impl Index ===

impl Index {
    /// Records that something happened to an app, if the app exists.
    pub fn record_event(&self, app: &name::App, time: Timestamp, what: TimelineEvent) {
        let mut state = self.state.write();
        let known = state.views.app(app).is_some() || state.timelines.apps.contains_key(app);
        if known {
            state.timelines.note_new(app, time, what);
        }
    }

    /// Returns everything that is known of an app so far.
    pub fn get_timeline(&self, app: &name::App) -> Result<TimelineStart, Error> {
        let state = self.state.read();
        let list = state.timelines.apps.get(app);
        if list.is_none() && state.views.app(app).is_none() && state.views.newest_rollout(app).is_none() {
            return Err(state.views.missing(app));
        }
        let mut entries: Vec<_> = list.into_iter().flat_map(|list| &list.entries).cloned().collect();
        let known: HashSet<u64> = entries.iter().map(|entry| entry.mark.id).collect();
        let kept = state.kept_entries(app).filter(|(mark, _)| !known.contains(&mark.id));
        entries.extend(kept.map(|(mark, what)| TimelineEntry { mark, sequence: 0, what }));
        let entries = state.in_order(app, entries);
        let since = state.timelines.since.unwrap_or_default();
        let gone = state.timelines.gone_of(app).map(|(_, time)| time);
        Ok(TimelineStart {
            entries,
            sequence: state.timelines.last,
            known_since: gone.map_or(since, |gone| gone.max(since)),
        })
    }

    /// Returns the entries of an app with sequence numbers above `sequence`, at most `limit`. `None` if some
    /// of them were dropped.
    pub fn timeline_after(&self, app: &name::App, sequence: u64, limit: usize) -> Option<Vec<TimelineEntry>> {
        let state = self.state.read();
        if state.timelines.gone_of(app).is_some_and(|(gone, _)| gone > sequence) {
            return None;
        }
        let entries = state.timelines.apps.get(app).into_iter().flat_map(|list| &list.entries);
        Some(entries.filter(|entry| entry.sequence > sequence).take(limit).cloned().collect())
    }

    /// Whether a position is of this process, and all entries since then are still stored.
    pub fn can_resume_timeline(&self, app: &name::App, position: &Position) -> bool {
        position.epoch == self.epoch && self.timeline_after(app, position.sequence, 0).is_some()
    }

    /// Returns a channel that wakes after each entry of an app.
    pub fn watch_timeline(&self, app: &name::App) -> watch::Receiver<u64> {
        self.state.write().timelines.subscriptions.subscribe(&Scope::App(app.clone()))
    }
}

// === impl IndexState ===

impl IndexState {
    /// Returns the entries that the rows show.
    fn kept_entries<'a>(&'a self, app: &'a name::App) -> impl Iterator<Item = (Mark, TimelineEvent)> + 'a {
        let rollouts = self.rollouts(app, None, MOST_OF_APP).into_iter();
        let rollouts = rollouts.flat_map(|rollout| [Some(begin_of(&rollout)), end_of(&rollout)]).flatten();
        let events = self.tables.events_of(app);
        rollouts.chain(events.map(|event| (mark_of(event), TimelineEvent::Event(event.clone()))))
    }

    /// Puts entries into the order in which they happened.
    fn in_order(&self, app: &name::App, entries: Vec<TimelineEntry>) -> Vec<TimelineEntry> {
        let sets: Vec<_> = entries
            .iter()
            .map(|entry| match &entry.what {
                TimelineEvent::Rollout(rollout) => self.set_of(app, rollout),
                TimelineEvent::Problem(_)
                | TimelineEvent::Scaling(_)
                | TimelineEvent::Event(_)
                | TimelineEvent::Call(_)
                | TimelineEvent::Endpoints { .. } => None,
            })
            .collect();
        let items: Vec<_> =
            entries.iter().zip(&sets).map(|(entry, set)| to_item(entry, set.as_deref())).collect();
        let places = order(&items);
        let mut entries: Vec<_> = entries.into_iter().map(Some).collect();
        places.into_iter().filter_map(|place| entries[place].take()).collect()
    }

    /// Returns the name of the ReplicaSet that a rollout led to, if it is known.
    fn set_of(&self, app: &name::App, rollout: &Rollout) -> Option<Arc<str>> {
        let carries = |rs: &&ReplicaSet| rs.revision == Some(rollout.number);
        let set = rollout.set.as_ref().map(|(name, _)| name.clone());
        set.or_else(|| self.tables.sets(app).find(carries).map(|rs| rs.name.clone()))
    }

    /// Records what the change of a view shows. `before` is the view before the change.
    pub(super) fn note_changes(
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
        let mut ended = None;
        if let Some(rollout) = &rollout {
            let same = rollout_before.as_ref().filter(|before| before.number == rollout.number);
            match (same, &rollout_before) {
                (Some(before), _) if before.state == rollout.state => {}
                (Some(_), _) => {
                    let what = TimelineEvent::Rollout(rollout.clone());
                    ended = end_of(rollout);
                    if ended.is_none() && !what.is_kept() {
                        self.timelines.note_new(name, now, what);
                    }
                }
                (None, before) => {
                    let earlier = before.as_ref().and_then(|before| {
                        let earlier = self.rollouts(name, before.number.checked_add(1), 1).pop()?;
                        end_of(&earlier).filter(|_| earlier.number == before.number)
                    });
                    for (mark, what) in earlier.into_iter().chain([begin_of(rollout)]) {
                        self.timelines.note(name, mark, what);
                    }
                    ended = end_of(rollout);
                }
            }
        }
        let had =
            |reason| app_before.as_ref().is_some_and(|app| app.problems.iter().any(|p| p.reason == reason));
        for problem in app.iter().flat_map(|app| &app.problems).filter(|problem| !had(problem.reason)) {
            self.timelines.note_new(name, now, TimelineEvent::Problem(Arc::new(problem.clone())));
        }
        // The rollout may have ended because of a problem.
        if let Some((mark, end)) = ended {
            self.timelines.note(name, mark, end);
        }
    }

    /// Records new events, and notes which apps may have other endpoints now. In the first call nothing
    /// counts as new.
    pub(super) fn note_events(&mut self, moved: impl IntoIterator<Item = name::App>, now: Timestamp) {
        let fresh = self.tables.take_fresh();
        self.timelines.moved.extend(moved);
        if self.timelines.since.is_none() {
            self.timelines.since = Some(now);
            // Count the endpoints here and not at the next tick, so that every later change counts as new,
            // even the endpoints of the first app.
            self.recount_endpoints(|_, _, _| {});
            return;
        }
        for (app, event) in fresh {
            self.timelines.note(&app, mark_of(&event), TimelineEvent::Event(event));
        }
    }

    /// Counts the endpoints of apps whose endpoints may have changed, once for everything that happened since
    /// the last call.
    pub(super) fn count_endpoints(&mut self, now: Timestamp) {
        self.recount_endpoints(|timelines, app, (ready, draining)| {
            timelines.note_new(app, now, TimelineEvent::Endpoints { ready, draining });
        });
    }

    fn recount_endpoints(&mut self, changed: impl Fn(&mut TimelineLog, &name::App, (i32, i32))) {
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
