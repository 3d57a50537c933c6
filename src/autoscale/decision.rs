//! One evaluation of an app: from the policy and what was measured to what becomes of the replica count, and
//! the record of it.
//!
//! Owns the order in which limits act. Must not know where its input comes from or who carries the verdict
//! out: equal input gives an equal verdict, bit for bit, which is what makes a record worth keeping.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    hold::Hold,
    measurement::{Measurement, Missing},
    policy::{Mode, Policy, Signal},
    rate_law::{self, AppliedLimit, Limit, Observation, RateLaw},
};

/// Everything that a decision is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// When.
    pub now: Timestamp,
    /// The policy in force.
    pub policy: Arc<Policy>,
    /// Replicas asked for now, those that still start included.
    pub current: u32,
    /// What was measured, one for each target of the policy, in their order.
    pub readings: Vec<Measurement>,
    /// A rollout runs.
    pub rollout: bool,
    /// An autoscaler that is not ours and decides the count.
    pub other_autoscaler: Option<Arc<str>>,
    /// A caller's count over ours.
    pub hold: Option<Arc<Hold>>,
    /// Seconds since the last evaluation; 0 at the first.
    pub elapsed: f64,
    /// What the last evaluation left behind.
    pub memory: Memory,
}

/// What one evaluation hands to the next. A server that starts anew begins with none, which costs at most one
/// replica's fraction and the time that an app has been idle.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Memory {
    /// Of the law.
    pub law: rate_law::State,
    /// Seconds without demand.
    pub idle: f64,
}

/// What a decision came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// In one word.
    pub outcome: Outcome,
    /// Replicas after it.
    pub to: u32,
    /// `N_req`, before limits; `None` if nothing is known.
    pub required: Option<u32>,
    /// The target that asked for most, by its place in the policy.
    pub decisive: Option<usize>,
    /// What was applied to `N_req`, in order.
    pub limits: Vec<AppliedLimit>,
    /// For the next evaluation.
    pub memory: Memory,
}

/// What came of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The count was right.
    Unchanged,
    /// The count is to be changed, or was.
    Scaled,
    /// A change was due but a limit held it back.
    Held,
    /// A change was due but the mode is SHADOW.
    Advised,
    /// The change was tried and failed, for this reason.
    Failed(String),
}

/// How much of the demand is known.
struct Demand {
    /// Replicas that it asks for, as a fraction; `None` if nothing is known.
    required: Option<f64>,
    /// The target that asks for most.
    decisive: Option<usize>,
    /// What is missing, if anything: the count may then rise and must not fall.
    weak: Option<Limit>,
    /// Reported load is known in full, and is none.
    idle: bool,
}

// === impl Evaluation ===

impl Evaluation {
    /// Decides.
    pub fn decide(&self) -> Verdict {
        let mode = self.policy.mode_at(self.now);
        let mut demand = self.demand();
        let (law, idle) = self.law(&demand);
        if self.policy.min == 0 && self.is_idle_for(idle) {
            // Demand is what is reported: what an idle process uses of CPU and memory is none, known or not.
            (demand.required, demand.weak) = (Some(0.0), None);
        }
        let seen = Observation {
            required: demand.required,
            current: self.current,
            elapsed: self.elapsed,
            state: self.memory.law,
        };
        let mut step = law.step(&seen);
        if law.min > self.policy.min && step.replicas == law.min && demand.required == Some(0.0) {
            // The minimum of the moment is the wait for its idle timeout.
            for limited in step.limits.iter_mut().filter(|l| l.limit == Limit::Min) {
                limited.limit = Limit::Idle;
            }
        }
        let mut to = step.replicas;
        let wanted = to;
        // Also while the law only gathers fractions: what is gathered now must not be taken later.
        let falls = to < self.current || step.limits.iter().any(|l| l.limit == Limit::RateDown);
        let mut keep = |limit: Limit, to: &mut u32| {
            step.limits.push(AppliedLimit { limit, before: *to, after: self.current });
            *to = self.current;
            step.state = rate_law::State::default();
        };
        if falls {
            if let Some(weak) = demand.weak {
                keep(weak, &mut to);
            } else if self.rollout {
                keep(Limit::Rollout, &mut to);
            }
        }
        // Also while only fractions are due, or something else keeps the count too: fractions must not be
        // gathered meanwhile, and the record must say who decides the count.
        let due = wanted != self.current || step.limits.iter().any(|l| l.limit.is_rate());
        if self.gate(mode) && due {
            step.limits.push(AppliedLimit { limit: Limit::Hold, before: to, after: self.current });
            (to, step.state) = (self.current, rate_law::State::default());
        }
        let outcome = match mode {
            Mode::Active | Mode::Frozen if to != self.current => Outcome::Scaled,
            Mode::Off | Mode::Shadow if to != self.current => Outcome::Advised,
            Mode::Off | Mode::Shadow | Mode::Active | Mode::Frozen if step.limits.is_empty() => {
                Outcome::Unchanged
            }
            Mode::Off | Mode::Shadow | Mode::Active | Mode::Frozen => Outcome::Held,
        };
        let memory = Memory { law: step.state, idle };
        Verdict {
            outcome,
            to,
            required: step.required,
            decisive: demand.decisive,
            limits: step.limits,
            memory,
        }
    }

    /// Whether something else decides the count for now. Advice is given all the same.
    fn gate(&self, mode: Mode) -> bool {
        match mode {
            Mode::Off | Mode::Shadow => false,
            Mode::Frozen => true,
            Mode::Active => self.other_autoscaler.is_some() || self.held().is_some(),
        }
    }

    /// The hold that is in force.
    pub fn held(&self) -> Option<&Hold> {
        self.hold.as_deref().filter(|hold| hold.holds(self.now))
    }

    /// The law of the moment, and for how long the app has been idle: an app that may be stopped keeps one
    /// replica until it has been without demand for long enough.
    fn law(&self, demand: &Demand) -> (RateLaw, f64) {
        let law = self.policy.law();
        if law.min > 0 {
            return (law, 0.0);
        }
        let idle = if demand.idle { self.memory.idle + self.elapsed } else { 0.0 };
        // The first replica of a stopped app does not wait for the law.
        let stops = if self.current == 0 {
            demand.required.is_none_or(|required| required <= 0.0)
        } else {
            self.is_idle_for(idle)
        };
        (RateLaw { min: if stops { 0 } else { 1.min(law.max) }, ..law }, idle)
    }

    fn is_idle_for(&self, idle: f64) -> bool {
        idle > 0.0 && idle >= self.policy.idle.as_secs_f64()
    }

    /// Replicas that were asked for and do not run, for a target on what replicas use: what they will use
    /// cannot be measured, and is not nothing. Those that start run, and take no load yet.
    pub(super) fn unmeasured(&self, signal: &Signal, reading: &Measurement) -> u32 {
        let running = reading.expected.saturating_add(reading.starting);
        if signal.is_reported() { 0 } else { self.current.saturating_sub(running) }
    }

    /// Replicas that a target asks for, as a fraction. A replica that does not run counts as one at its
    /// target, so that an outage of some does not shrink the app, but never as a reason to ask for more. One
    /// that starts counts as none, up and down, as for a HorizontalPodAutoscaler: else one that never gets
    /// ready would hold up the count for ever.
    fn share(&self, signal: &Signal, reading: &Measurement) -> Option<f64> {
        let share = reading.value? / signal.per_replica();
        let current = f64::from(self.current);
        let absent = f64::from(self.unmeasured(signal, reading));
        let share = if share < current { (share + absent).min(current) } else { share };
        (share.is_finite() && share >= 0.0).then_some(share)
    }

    fn demand(&self) -> Demand {
        let pairs: Vec<(usize, &Signal, &Measurement)> =
            self.policy.targets.iter().zip(&self.readings).enumerate().map(|(i, (t, r))| (i, t, r)).collect();
        // A stopped app uses no CPU and no memory; only what is reported says whether it is wanted.
        let counts = |signal: &Signal| self.current > 0 || signal.is_reported();
        let pairs: Vec<_> = pairs.into_iter().filter(|(_, signal, _)| counts(signal)).collect();
        let asked = pairs.iter().filter_map(|(i, signal, reading)| Some((*i, self.share(signal, reading)?)));
        let most = asked.fold(None, |most: Option<(usize, f64)>, (i, share)| match most {
            Some((_, known)) if known >= share => most,
            _ => Some((i, share)),
        });
        let unknown = pairs.iter().any(|(_, signal, reading)| self.share(signal, reading).is_none());
        let partial = pairs.iter().any(|(_, _, reading)| reading.gap.is_some());
        let weak = if unknown { Some(Limit::StaleSignal) } else { partial.then_some(Limit::PartialSignal) };
        let reported: Vec<_> = pairs.iter().filter(|(_, signal, _)| signal.is_reported()).collect();
        let none = |reading: &Measurement| reading.gap.is_none() && reading.value == Some(0.0);
        Demand {
            required: most.map(|(_, share)| share),
            decisive: most.map(|(i, _)| i),
            weak,
            idle: !reported.is_empty() && reported.iter().all(|(_, _, reading)| none(reading)),
        }
    }

    /// The gaps in what was measured, with the target that each is about.
    pub(super) fn missing(&self) -> impl Iterator<Item = (&Signal, &Measurement, &Missing)> {
        let pairs = self.policy.targets.iter().zip(&self.readings);
        pairs.filter_map(|(signal, reading)| reading.gap.as_ref().map(|gap| (signal, reading, gap)))
    }
}
