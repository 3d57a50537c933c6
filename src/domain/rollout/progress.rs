//! How long a rollout has made no progress, from what was observed of it. Pure; times are arguments.
//!
//! Kubernetes has a deadline too, and stops asking once a rollout was complete for an instant. This one goes
//! on until the rollout has ended: progress is what the rollout never had before, so coming and going is
//! none, and there is an end to it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Longest time between two observations of a cluster that answers: each kind is asked for every ten seconds.
/// In a longer one nothing was heard.
const QUIET: SignedDuration = SignedDuration::from_secs(15);
/// What such a time counts: observations are a second apart.
const INTERVAL: SignedDuration = SignedDuration::from_secs(1);
/// Time for which it must have been observed: after a start of this server, rows tell of the time before, and
/// not all of it.
const OWN: SignedDuration = SignedDuration::from_secs(10);
/// How many times the timeout it may take in the end, when only the count goes down and up again, or one
/// replica after the other is told to stop.
const MOST: i32 = 2;

/// What is seen of a rollout at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// The Deployment carries it.
    pub applied: bool,
    /// The Deployment controller has taken it up.
    pub taken_up: bool,
    /// Nothing is to happen: it is held.
    pub paused: bool,
    /// Replicas wanted.
    pub desired: i32,
    /// Replicas of the new content that are ready.
    pub ready: i32,
    /// Those that are not ready any more.
    pub lost: i32,
    /// Replicas of older content that take traffic.
    pub serving: i32,
    /// All replicas of older content, those that finish their work included.
    pub old: i32,
    /// How much longer replicas that were told to stop may finish their work.
    pub grace: SignedDuration,
    /// When it began.
    pub start: Timestamp,
    /// When it last made progress, as far as rows tell. Only the first observation asks.
    pub moved: Timestamp,
}

/// When an observation is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Now.
    pub now: Timestamp,
    /// Until when the cluster was heard of: what came later is not known to be missing.
    pub heard: Timestamp,
}

/// What the observations of one rollout say about its progress.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracker(Option<State>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    /// The best of each so far.
    best: Observation,
    /// The observation before, which says how the time since then counts.
    last: Observation,
    /// Until when time was counted.
    until: Timestamp,
    /// Since when the Deployment is known to carry it.
    applied: Timestamp,
    /// Time without progress, but for that in which replicas finish their work. A raise of the count begins
    /// it again.
    idle: SignedDuration,
    /// All the time without progress. Here a raise to a count that the rollout had before is none: that is
    /// coming and going too.
    spent: SignedDuration,
    /// Time since it began.
    whole: SignedDuration,
    /// Time since the first seen.
    own: SignedDuration,
    /// The longest that a replica may finish its work in that time.
    longest: SignedDuration,
}

// === impl Moment ===

impl From<Timestamp> for Moment {
    /// A moment at which everything is known.
    fn from(now: Timestamp) -> Self {
        Self { now, heard: now }
    }
}

// === impl Observation ===

impl Observation {
    /// Whether time stands still: it is held, or no replica is wanted.
    const fn is_held(&self) -> bool {
        self.paused || self.desired == 0
    }
}

// === impl Tracker ===

impl Tracker {
    /// Takes in a seen.
    pub fn observe(&mut self, seen: &Observation, at: Moment) {
        match &mut self.0 {
            Some(state) => state.observe(seen, at),
            None => self.0 = Some(State::first(seen, at.now)),
        }
    }

    /// Whether nothing became better for as long as this.
    pub fn is_overdue(&self, timeout: Duration) -> bool {
        let timeout = signed(timeout);
        let last = |s: &State| timeout.saturating_mul(MOST).saturating_add(s.longest);
        let over = |s: &State| (s.idle >= timeout || s.spent >= last(s)) && s.own >= OWN.min(timeout);
        self.0.as_ref().is_some_and(over)
    }

    /// Whether the rollout had this time, without that in which it was held or nothing was heard.
    pub fn had(&self, time: Duration) -> bool {
        self.0.as_ref().is_some_and(|state| state.whole >= signed(time))
    }

    /// The most replicas of the new content that were ready at a time.
    pub fn most_ready(&self) -> i32 {
        self.0.as_ref().map_or(0, |state| state.best.ready)
    }

    /// How long the Deployment has been known to carry it.
    pub fn since_applied(&self, now: Timestamp) -> SignedDuration {
        self.0.as_ref().map_or(SignedDuration::ZERO, |state| now.duration_since(state.applied))
    }
}

impl State {
    fn first(seen: &Observation, now: Timestamp) -> Self {
        // Until when one was held rows do not tell; and one that is not applied yet may be taken up again in
        // a moment.
        let counts = seen.applied && !seen.is_held();
        let since = |then: Timestamp| now.duration_since(then).max(SignedDuration::ZERO);
        let ago = |then| if counts { since(then) } else { SignedDuration::ZERO };
        Self {
            best: Observation { ready: seen.ready + seen.lost, ..*seen },
            last: *seen,
            until: now.max(seen.start),
            applied: if seen.applied { seen.start } else { now },
            idle: ago(seen.moved.max(seen.start)),
            spent: ago(seen.moved.max(seen.start)),
            whole: ago(seen.start),
            own: SignedDuration::ZERO,
            longest: seen.grace,
        }
    }

    fn observe(&mut self, seen: &Observation, at: Moment) {
        self.count(at.heard);
        let best = &self.best;
        let moved = seen.applied && !best.applied
            || seen.taken_up && !best.taken_up
            || seen.ready > best.ready
            || seen.serving < best.serving
            || seen.old < best.old;
        let raised = seen.desired > self.last.desired;
        if seen.applied && !best.applied {
            self.applied = at.now;
        }
        if moved || raised {
            self.idle = SignedDuration::ZERO;
        }
        if moved || seen.desired > best.desired {
            self.spent = SignedDuration::ZERO;
            self.longest = SignedDuration::ZERO;
        }
        // What is seen now is from now on, and time counts up to where the cluster was heard of.
        if moved || raised || seen.is_held() != self.last.is_held() {
            self.until = self.until.max(at.now);
        }
        self.longest = self.longest.max(seen.grace);
        self.best = Observation {
            applied: best.applied || seen.applied,
            taken_up: best.taken_up || seen.taken_up,
            ready: best.ready.max(seen.ready),
            serving: best.serving.min(seen.serving),
            old: best.old.min(seen.old),
            desired: best.desired.max(seen.desired),
            ..*seen
        };
        self.last = *seen;
    }

    fn count(&mut self, until: Timestamp) {
        let step = until.duration_since(self.until);
        if step <= SignedDuration::ZERO {
            return;
        }
        self.until = until;
        if self.last.is_held() {
            return;
        }
        let step = if step > QUIET { INTERVAL } else { step };
        self.idle += step - step.min(self.last.grace);
        self.spent += step;
        self.whole += step;
        self.own += step;
    }
}

fn signed(time: Duration) -> SignedDuration {
    SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests;
