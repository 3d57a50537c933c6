//! What the autoscaling loop knows besides the rows: the load that callers report, the last decisions, and
//! which daemon runs the loop. Synchronous like the index. Must not decide anything.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use jiff::Timestamp;
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::{
    autoscale::{Evaluation, LoadFigure, LoadFigures, Measurement, Outcome, RejectedFigure, Source, Verdict},
    domain::name::{self, Scope},
};

/// The number of decisions stored of one app.
const MOST_OF_APP: usize = 1000;

/// The number of decisions stored in all, about half a kilobyte each.
const MOST_DECISIONS: usize = 250_000;

/// The knowledge of the loop. Cheap to clone.
#[derive(Clone)]
pub struct AutoscalerState {
    state: Arc<RwLock<LoopState>>,
    /// Holds the id of the last decision.
    decided: watch::Sender<u64>,
    /// Grows with each report that brought something new.
    reported: watch::Sender<u64>,
}

struct LoopState {
    figures: LoadFigures,
    /// When this daemon began to receive reports.
    since: Timestamp,
    by_id: BTreeMap<u64, Arc<Decision>>,
    of_app: HashMap<name::App, VecDeque<u64>>,
    next: Option<Timestamp>,
    leader: Leader,
    metered: bool,
}

/// Which daemon runs the loop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leader {
    /// No daemon is known to run it, and this one was started without it.
    Off,
    /// Not known, for this reason. The reason is empty before the first look at the lease and while the lease
    /// changes hands. It may be that no daemon runs the loop then.
    Unknown(String),
    /// This daemon.
    Local,
    /// Another daemon.
    Remote {
        /// Its name.
        holder: String,
        /// Where it can be called.
        address: String,
    },
}

impl Default for Leader {
    fn default() -> Self {
        Self::Unknown(String::new())
    }
}

/// One evaluation and its outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Grows with each decision.
    pub id: u64,
    /// The app.
    pub app: name::App,
    /// Everything that the decision was made from.
    pub seen: Evaluation,
    /// The decision.
    pub verdict: Verdict,
}

// === impl AutoscalerState ===

impl AutoscalerState {
    /// Returns an empty state that receives reports from this time on.
    pub fn new(since: Timestamp) -> Self {
        let state = LoopState {
            figures: LoadFigures::default(),
            since,
            by_id: BTreeMap::new(),
            of_app: HashMap::new(),
            next: None,
            leader: Leader::default(),
            metered: false,
        };
        Self {
            state: Arc::new(RwLock::new(state)),
            decided: watch::Sender::new(0),
            reported: watch::Sender::new(0),
        }
    }

    // --- load

    /// Takes in reported figures, all or none. Returns how many were new.
    pub fn report_load(&self, figures: &[LoadFigure], now: Timestamp) -> Result<usize, Vec<RejectedFigure>> {
        let news = self.state.write().figures.report(figures, now)?;
        if news > 0 {
            self.reported.send_modify(|n| *n += 1);
        }
        Ok(news)
    }

    /// Returns what is known of a reported metric of an app.
    pub fn load_measurement(&self, app: &name::App, metric: &str, now: Timestamp) -> Measurement {
        let state = self.state.read();
        state.figures.measurement(&app.to_string(), metric, state.since, now)
    }

    /// Drops figures that are too old to be used.
    pub fn drop_old_reports(&self, now: Timestamp) {
        self.state.write().figures.drop_older(now);
    }

    /// Returns the names of the sources of load that gave figures lately.
    pub fn list_sources(&self) -> Vec<String> {
        let state = self.state.read();
        let metered = state.metered.then_some(Source::MetricsApi);
        let reported = (!state.figures.is_empty()).then_some(Source::Reported);
        metered.into_iter().chain(reported).map(|source| source.as_str().to_owned()).collect()
    }

    /// Sets whether the metrics API answered the last request.
    pub fn set_metered(&self, metered: bool) {
        self.state.write().metered = metered;
    }

    /// Returns a channel that wakes after each report that brought something new.
    pub fn watch_reports(&self) -> watch::Receiver<u64> {
        self.reported.subscribe()
    }

    // --- decisions

    /// Stores a decision.
    pub fn record_decision(&self, app: &name::App, seen: Evaluation, verdict: Verdict) -> Arc<Decision> {
        let decision = {
            let mut state = self.state.write();
            // The id is the time, so that ids also grow across restarts.
            let by_clock = u64::try_from(seen.now.as_microsecond()).unwrap_or_default().max(1);
            let id = state.by_id.last_key_value().map_or(by_clock, |(last, _)| by_clock.max(last + 1));
            let decision = Arc::new(Decision { id, app: app.clone(), seen, verdict });
            state.by_id.insert(id, decision.clone());
            let ids = state.of_app.entry(app.clone()).or_default();
            ids.push_back(id);
            let oldest = if ids.len() > MOST_OF_APP { ids.pop_front() } else { None };
            if let Some(oldest) = oldest {
                state.by_id.remove(&oldest);
            }
            if state.by_id.len() > MOST_DECISIONS {
                state.drop_oldest();
            }
            decision
        };
        self.decided.send_replace(decision.id);
        decision
    }

    /// Drops the decisions of apps that do not exist.
    pub fn retain_apps(&self, exist: impl Fn(&name::App) -> bool) {
        let mut state = self.state.write();
        let gone: HashSet<_> = state.of_app.keys().filter(|app| !exist(app)).cloned().collect();
        for app in gone {
            for id in state.of_app.remove(&app).into_iter().flatten() {
                state.by_id.remove(&id);
            }
        }
    }

    /// Returns the last decision on an app.
    pub fn latest_decision(&self, app: &name::App) -> Option<Arc<Decision>> {
        let state = self.state.read();
        state.by_id.get(state.of_app.get(app)?.back()?).cloned()
    }

    /// Returns the decisions on an app with ids below `before`, newest first, at most `limit`. The flag says
    /// whether more follow.
    pub fn list_decisions(
        &self,
        app: &name::App,
        before: Option<u64>,
        limit: usize,
        wanted: impl Fn(&Outcome) -> bool,
    ) -> (Vec<Arc<Decision>>, bool) {
        let state = self.state.read();
        let ids = state.of_app.get(app).into_iter().flatten().rev();
        let earlier = ids.filter(|id| before.is_none_or(|before| **id < before));
        let mut found = earlier.filter_map(|id| state.by_id.get(id)).filter(|d| wanted(&d.verdict.outcome));
        let page: Vec<_> = found.by_ref().take(limit).cloned().collect();
        let more = found.next().is_some();
        (page, more)
    }

    /// Returns the decisions on the apps of a scope with ids above `after`, oldest first, at most `limit`.
    pub fn decisions_after(&self, scope: &Scope, after: u64, limit: usize) -> Vec<Arc<Decision>> {
        let state = self.state.read();
        let later = state.by_id.range(after.saturating_add(1)..).map(|(_, decision)| decision);
        later.filter(|decision| scope.holds(&decision.app)).take(limit).cloned().collect()
    }

    /// Returns a channel that wakes after each decision and holds the id of the last one.
    pub fn watch_decisions(&self) -> watch::Receiver<u64> {
        self.decided.subscribe()
    }

    // --- the loop

    /// Returns when the loop evaluates next, if it runs here.
    pub fn next_evaluation(&self) -> Option<Timestamp> {
        self.state.read().next
    }

    /// Sets when the loop evaluates next.
    pub fn set_next_evaluation(&self, next: Option<Timestamp>) {
        self.state.write().next = next;
    }

    /// Returns which daemon runs the loop.
    pub fn leader(&self) -> Leader {
        self.state.read().leader.clone()
    }

    /// Sets which daemon runs the loop. A daemon that takes over counts reports from this time on, because
    /// earlier figures may have gone to another daemon.
    pub fn set_leader(&self, leader: Leader, now: Timestamp) {
        let mut state = self.state.write();
        if state.leader != leader {
            if leader == Leader::Local {
                state.since = now;
            } else {
                state.next = None;
            }
            state.leader = leader;
        }
    }
}

// === impl LoopState ===

impl LoopState {
    fn drop_oldest(&mut self) {
        let Some((id, decision)) = self.by_id.pop_first() else { return };
        if let Some(ids) = self.of_app.get_mut(&decision.app) {
            ids.retain(|known| *known != id);
            if ids.is_empty() {
                self.of_app.remove(&decision.app);
            }
        }
    }
}
