//! Measures how long a rollout has made no progress, from observations. Pure: times are arguments.
//!
//! Kubernetes has a progress deadline too, but stops checking it once a rollout was complete for an instant.
//! This one is checked until the rollout has ended. Only a state better than any before counts as progress,
//! so replicas that come and go do not, and every rollout ends.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The longest gap between two observations while the cluster answers, because every kind is queried every
/// ten seconds. A longer gap means that the cluster was silent.
const QUIET: SignedDuration = SignedDuration::from_secs(15);
/// The time counted for such a gap. Observations are normally one second apart.
const INTERVAL: SignedDuration = SignedDuration::from_secs(1);
/// The time for which this process must have observed the rollout before it can be overdue. After a start of
/// the daemon, rows describe the time before only in part.
const OWN: SignedDuration = SignedDuration::from_secs(10);
/// The largest multiple of the timeout that a rollout gets when only the count goes down and up again, or
/// replicas terminate one after the other.
const MOST: i32 = 2;

/// The state of a rollout at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// Whether it is applied to the Deployment.
    pub applied: bool,
    /// Whether the Deployment controller has taken it up.
    pub taken_up: bool,
    /// Whether it is paused.
    pub paused: bool,
    /// The desired replica count.
    pub desired: i32,
    /// Replicas of the new content that are ready.
    pub ready: i32,
    /// Replicas of the new content that were ready and are not now.
    pub lost: i32,
    /// Replicas of older content that take traffic.
    pub serving: i32,
    /// All replicas of older content, including those that are terminating.
    pub old: i32,
    /// The remaining grace period of terminating replicas, the longest of them.
    pub grace: SignedDuration,
    /// When it began.
    pub start: Timestamp,
    /// When it last made progress, as far as rows show. Used by the first observation only.
    pub moved: Timestamp,
}

/// The time of an observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Now.
    pub now: Timestamp,
    /// The last time at which the cluster answered. Nothing is known about the time after it.
    pub heard: Timestamp,
}

/// The progress of one rollout over its observations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracker(Option<State>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    /// The best value of each field so far.
    best: Observation,
    /// The previous observation. It decides how the time since then counts.
    last: Observation,
    /// The time up to which time was counted.
    until: Timestamp,
    /// When it was first seen as applied to the Deployment.
    applied: Timestamp,
    /// Time without progress, except while replicas are terminating. Raising the count restarts it.
    idle: SignedDuration,
    /// All time without progress. Raising the count restarts it only if the new count is higher than any
    /// before, because scaling down and up again is no progress.
    spent: SignedDuration,
    /// Counted time since the rollout began.
    whole: SignedDuration,
    /// Counted time since the first observation.
    own: SignedDuration,
    /// The longest remaining grace period seen while `spent` was counted.
    longest: SignedDuration,
}

// === impl Moment ===

impl From<Timestamp> for Moment {
    /// Returns a moment up to which everything is known.
    fn from(now: Timestamp) -> Self {
        Self { now, heard: now }
    }
}

// === impl Observation ===

impl Observation {
    /// Returns whether time does not count, because the rollout is paused or wants no replica.
    const fn is_held(&self) -> bool {
        self.paused || self.desired == 0
    }
}

// === impl Tracker ===

impl Tracker {
    /// Takes in an observation.
    pub fn observe(&mut self, seen: &Observation, at: Moment) {
        match &mut self.0 {
            Some(state) => state.observe(seen, at),
            None => self.0 = Some(State::first(seen, at.now)),
        }
    }

    /// Returns whether the rollout has made no progress for this long.
    pub fn is_overdue(&self, timeout: Duration) -> bool {
        let timeout = signed(timeout);
        let last = |s: &State| timeout.saturating_mul(MOST).saturating_add(s.longest);
        let over = |s: &State| (s.idle >= timeout || s.spent >= last(s)) && s.own >= OWN.min(timeout);
        self.0.as_ref().is_some_and(over)
    }

    /// Returns whether the rollout has had this much time, not counting pauses and silence of the cluster.
    pub fn had(&self, time: Duration) -> bool {
        self.0.as_ref().is_some_and(|state| state.whole >= signed(time))
    }

    /// Returns the highest number of new replicas that were ready at the same time.
    pub fn most_ready(&self) -> i32 {
        self.0.as_ref().map_or(0, |state| state.best.ready)
    }

    /// Returns how long it has been applied to the Deployment, as far as known.
    pub fn since_applied(&self, now: Timestamp) -> SignedDuration {
        self.0.as_ref().map_or(SignedDuration::ZERO, |state| now.duration_since(state.applied))
    }
}

impl State {
    fn first(seen: &Observation, now: Timestamp) -> Self {
        // Rows do not show how long a rollout was paused, and one that is not applied yet may be resumed in a
        // moment. So earlier time counts for neither.
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
        // The new state counts from now on, and the old state up to the last answer of the cluster.
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
