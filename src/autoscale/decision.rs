//! Evaluates one app: from the policy and the measurements to a decision about the replica count, with its
//! record.
//!
//! Owns the order in which limits apply. Must not know where its input comes from, nor who carries the
//! verdict out. Equal input gives an equal verdict, bit for bit, so a recorded decision can be replayed.

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

/// The complete input of a decision.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Time of the evaluation.
    pub now: Timestamp,
    /// The policy in force.
    pub policy: Arc<Policy>,
    /// `spec.replicas` now, which includes replicas that are still starting.
    pub current: u32,
    /// The measurements, one for each target of the policy, in the same order.
    pub readings: Vec<Measurement>,
    /// Whether a rollout is running.
    pub rollout: bool,
    /// The external autoscaler that controls the replica count, if there is one.
    pub other_autoscaler: Option<Arc<str>>,
    /// The hold that a caller set, if there is one.
    pub hold: Option<Arc<Hold>>,
    /// Seconds since the last evaluation; 0 at the first.
    pub elapsed: f64,
    /// What the last evaluation left behind.
    pub memory: Memory,
}

/// What one evaluation passes to the next. A daemon that starts has none. This costs at most a fraction of
/// one replica, and the idle time of an app is counted from 0 again.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Memory {
    /// State of the rate law.
    pub law: rate_law::State,
    /// Seconds for which there has been no demand.
    pub idle: f64,
}

/// The result of an evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The kind of result.
    pub outcome: Outcome,
    /// Replicas after the decision.
    pub to: u32,
    /// `N_req`, before limits; `None` if it is unknown.
    pub required: Option<u32>,
    /// Index of the target in the policy that requires most.
    pub decisive: Option<usize>,
    /// The limits applied to `N_req`, in order.
    pub limits: Vec<AppliedLimit>,
    /// Input of the next evaluation.
    pub memory: Memory,
}

/// Kinds of results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The count was already right.
    Unchanged,
    /// The count is to be changed, or was changed.
    Scaled,
    /// A change was due, but a limit prevented it.
    Held,
    /// A change was due, but the mode is SHADOW or OFF.
    Advised,
    /// The change was tried and failed, for this reason.
    Failed(String),
}

/// The demand, as far as it is known.
struct Demand {
    /// Replicas that it requires, as a fraction; `None` if it is unknown.
    required: Option<f64>,
    /// Index of the target that requires most.
    decisive: Option<usize>,
    /// What is missing, if anything is. The count may then rise but must not fall.
    weak: Option<Limit>,
    /// Whether the reported load is completely known and is 0.
    idle: bool,
}

// === impl Evaluation ===

impl Evaluation {
    /// Makes the decision.
    pub fn decide(&self) -> Verdict {
        let mode = self.policy.mode_at(self.now);
        let mut demand = self.demand();
        let (law, idle) = self.law(&demand);
        if self.policy.min == 0 && self.is_idle_for(idle) {
            // Only reported load counts as demand here. An idle process uses some CPU and memory, but that is
            // no demand, whether it is known or not.
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
            // The temporary minimum of 1 comes from the idle timeout.
            for limited in step.limits.iter_mut().filter(|l| l.limit == Limit::Min) {
                limited.limit = Limit::Idle;
            }
        }
        let mut to = step.replicas;
        let wanted = to;
        // Also applies while the law only accumulates fractions, so that they cannot take effect later.
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
        // Also applies while only fractions are due, or while another limit keeps the count. Fractions must
        // not accumulate meanwhile, and the record must show what controls the count.
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

    /// Returns whether the count is controlled by something else now. The autoscaler then still says what it
    /// would do.
    fn gate(&self, mode: Mode) -> bool {
        match mode {
            Mode::Off | Mode::Shadow => false,
            Mode::Frozen => true,
            Mode::Active => self.other_autoscaler.is_some() || self.held().is_some(),
        }
    }

    /// Returns the hold that is in force.
    pub fn held(&self) -> Option<&Hold> {
        self.hold.as_deref().filter(|hold| hold.holds(self.now))
    }

    /// Returns the law for this evaluation, and for how long the app has been idle. An app with a minimum of
    /// 0 keeps one replica until it has been idle for long enough.
    fn law(&self, demand: &Demand) -> (RateLaw, f64) {
        let law = self.policy.law();
        if law.min > 0 {
            return (law, 0.0);
        }
        let idle = if demand.idle { self.memory.idle + self.elapsed } else { 0.0 };
        // The first replica of a stopped app starts at once.
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

    /// Returns how many of the requested replicas do not run, for a target on CPU or memory. Their future use
    /// cannot be measured, and is not zero. Replicas that are still starting do run, and take no load yet.
    pub(super) fn unmeasured(&self, signal: &Signal, reading: &Measurement) -> u32 {
        let running = reading.expected.saturating_add(reading.starting);
        if signal.is_reported() { 0 } else { self.current.saturating_sub(running) }
    }

    /// Returns the replicas that a target requires, as a fraction.
    ///
    /// A replica that does not run counts as one at its target, so that an outage of some replicas does not
    /// shrink the app. It never makes the count rise. A replica that is still starting is not counted in
    /// either direction, as in a HorizontalPodAutoscaler. Otherwise a replica that never becomes ready would
    /// prevent a lower count for good.
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
        // A stopped app uses no CPU and no memory, so only reported load says whether it is needed.
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

    /// Returns the gaps in the measurements, each with its target.
    pub(super) fn missing(&self) -> impl Iterator<Item = (&Signal, &Measurement, &Missing)> {
        let pairs = self.policy.targets.iter().zip(&self.readings);
        pairs.filter_map(|(signal, reading)| reading.gap.as_ref().map(|gap| (signal, reading, gap)))
    }
}
