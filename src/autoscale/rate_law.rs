//! The rate law `dN = (N_req - N_cur) / dt`: how fast a replica count follows the count that the demand
//! requires.
//!
//! Owns one step of the law: carried fractions, a time constant for each direction, the limits, and what to
//! do with input that makes no sense. Must not know where the required count comes from, nor what becomes of
//! the result.
//!
//! Evaluated every `h` seconds the law is a first-order lag, `N[k+1] = N[k] + (N_req - N[k]) * h / dt`: 63 %
//! of a change after `dt`, 95 % after `3 dt`. Replicas are whole, so the fraction of a step that is not taken
//! is carried into the next one; without that, an error smaller than `dt / h` replicas would never be
//! corrected. A constant error of `n` replicas is gone after `dt * (1 + 1/2 + ... + 1/n)`, and after `3 dt`
//! at the latest: what is left of it then, a twentieth, is taken at once, so that constant load means a
//! constant count.
//!
//! Only IEEE 754 addition, multiplication, division, ceiling and truncation are used. They are exact or
//! correctly rounded on every platform, so equal input gives equal output bit for bit; a logarithm or an
//! exponential would not.

#[cfg(test)]
mod tests;

/// The policy of one app: how fast the count follows in each direction, and how far it may go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateLaw {
    /// Time constant on the way up, in seconds. 0 goes to the required count at once.
    pub dt_up: f64,
    /// Time constant on the way down, in seconds. 0 goes to the required count at once.
    pub dt_down: f64,
    /// Never fewer replicas than this.
    pub min: u32,
    /// Never more replicas than this.
    pub max: u32,
}

/// What one step starts from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// `N_req`, the replicas that the demand requires, before limits; a fraction rounds up. `None` if nothing
    /// is known.
    pub required: Option<f64>,
    /// `N_cur`, the replicas asked for now. Those still starting count: capacity that is coming must not be
    /// ordered twice.
    pub current: u32,
    /// `h`, the seconds since the last step.
    pub elapsed: f64,
    /// What the last step left behind.
    pub state: State,
}

/// What one step hands to the next.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct State {
    /// Fraction of a replica that is not taken yet: in (-1, 1), with the sign of the error.
    pub carry: f64,
    /// The count that the steps lead to; `None` before the first, and after one that held.
    pub goal: Option<u32>,
    /// Seconds for which they have led there.
    pub pursued: f64,
}

/// What one step decides.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Replicas to ask for.
    pub replicas: u32,
    /// What to hand to the next step.
    pub state: State,
    /// `N_req` in whole replicas, before limits. `None` if nothing is known.
    pub required: Option<u32>,
    /// The limits that changed the count, in the order in which they acted.
    pub limits: Vec<AppliedLimit>,
}

/// One limit and what it made of the count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppliedLimit {
    /// The limit.
    pub limit: Limit,
    /// Replicas before it acted.
    pub before: u32,
    /// Replicas after it acted.
    pub after: u32,
}

/// What can keep the count from being the required one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// [`RateLaw::min`].
    Min,
    /// [`RateLaw::max`].
    Max,
    /// [`RateLaw::dt_up`].
    RateUp,
    /// [`RateLaw::dt_down`].
    RateDown,
    /// Something else decides the count for now: a caller's hold, a freeze, another autoscaler; or the input
    /// cannot be used.
    Hold,
    /// No figure is recent enough to go by.
    StaleSignal,
    /// Some of the figures are missing, and what is missing is not nothing: the count may rise and must not
    /// fall.
    PartialSignal,
    /// A rollout runs.
    Rollout,
    /// The app takes no load, but not for long enough yet to be stopped.
    Idle,
}

/// Why input cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Unusable {
    /// The required count is not known: absent, not a finite number, or negative.
    Demand,
    /// The elapsed time is not a finite number of seconds, or negative.
    Clock,
    /// A time constant is not a finite number of seconds or negative, or the minimum is above the maximum.
    Policy,
}

// A first-order lag has done 95 % of a change after three time constants; the rest is taken then.
const REST: f64 = 3.0;

// Thousandths of a millionth of a replica: a required count of 3.000000000001 is rounding noise of a
// quotient, not a need for a fourth.
const NOISE: f64 = 1e-9;

// === impl RateLaw ===

impl RateLaw {
    /// Takes one step of the law.
    ///
    /// The limits hold at once, whatever the rate: a count outside of `[min, max]` is brought to the nearest
    /// of the two. Input that cannot be used holds the count, and then an app is never shrunk: a count below
    /// `min` is raised to it, one above `max` stays until the demand is known again.
    pub fn step(&self, seen: &Observation) -> Step {
        match self.goal(seen) {
            Ok((required, goal)) => self.follow(seen, required, goal),
            Err(why) => self.hold(seen.current, why),
        }
    }

    // The required count in whole replicas, before and after the limits.
    fn goal(&self, seen: &Observation) -> Result<(u32, u32), Unusable> {
        let usable = |x: f64| x.is_finite() && x >= 0.0;
        if !usable(self.dt_up) || !usable(self.dt_down) || self.min > self.max {
            return Err(Unusable::Policy);
        }
        if !usable(seen.elapsed) {
            return Err(Unusable::Clock);
        }
        let required = seen.required.filter(|&n| usable(n)).ok_or(Unusable::Demand)?;
        let required = to_count((required - NOISE).ceil());
        Ok((required, required.clamp(self.min, self.max)))
    }

    fn follow(&self, seen: &Observation, required: u32, goal: u32) -> Step {
        let mut limits = Vec::new();
        push_limit(&mut limits, if goal < required { Limit::Max } else { Limit::Min }, required, goal);

        let pursued = match seen.state.goal {
            // At rest nothing is pursued; whatever moves the count away from here begins a new approach.
            _ if goal == seen.current => 0.0,
            Some(before) if before == goal => seen.state.pursued + seen.elapsed,
            Some(_) | None => seen.elapsed,
        };
        let (moved, carry) = self.lag(seen, goal, pursued);
        push_limit(
            &mut limits,
            if goal > seen.current { Limit::RateUp } else { Limit::RateDown },
            goal,
            moved,
        );

        let replicas = moved.clamp(self.min, self.max);
        push_limit(&mut limits, if replicas < moved { Limit::Max } else { Limit::Min }, moved, replicas);
        // A carry belongs to the count it was gathered at; a limit that moved the count by itself starts
        // afresh.
        let carry = if replicas == moved { carry } else { 0.0 };
        Step { replicas, state: State { carry, goal: Some(goal), pursued }, required: Some(required), limits }
    }

    // The count and the carry that the law alone gives.
    fn lag(&self, seen: &Observation, goal: u32, pursued: f64) -> (u32, f64) {
        let error = f64::from(goal) - f64::from(seen.current);
        let dt = if error > 0.0 { self.dt_up } else { self.dt_down };
        if error == 0.0 || dt == 0.0 || pursued + NOISE >= REST * dt {
            return (goal, 0.0);
        }
        let carry = seen.state.carry;
        // What was gathered towards the other side is void; so is a carry that no step can have left behind.
        let carried = if carry.abs() < 1.0 && carry * error > 0.0 { carry } else { 0.0 };
        // Capped at the error, so that a late evaluation (h > dt) arrives and does not overshoot.
        let due = (carried + error / dt * seen.elapsed).clamp(error.min(0.0), error.max(0.0));
        // The same noise again: 24 steps of 5 s make 120 s, although 24 times 5/120 adds up to a little less
        // than 1.
        let whole = (due + NOISE.copysign(error)).trunc();
        let left = due - whole;
        (to_count(f64::from(seen.current) + whole), if left * error > 0.0 { left } else { 0.0 })
    }

    fn hold(&self, current: u32, why: Unusable) -> Step {
        let limit = if why == Unusable::Demand { Limit::StaleSignal } else { Limit::Hold };
        let mut limits = vec![AppliedLimit { limit, before: current, after: current }];
        // A minimum above the maximum is no minimum to go by.
        let floor = if self.min > self.max { 0 } else { self.min };
        let replicas = current.max(floor);
        push_limit(&mut limits, Limit::Min, current, replicas);
        Step { replicas, state: State::default(), required: None, limits }
    }
}

// === impl Limit ===

impl Limit {
    /// Whether it is one of the two of the law.
    pub(super) fn is_rate(self) -> bool {
        matches!(self, Self::RateUp | Self::RateDown)
    }

    /// The name of this limit in `gantry.v1.LimitStep`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Min => "MIN",
            Self::Max => "MAX",
            Self::RateUp => "RATE_UP",
            Self::RateDown => "RATE_DOWN",
            Self::Hold => "HOLD",
            Self::StaleSignal => "STALE_SIGNAL",
            Self::PartialSignal => "PARTIAL_SIGNAL",
            Self::Rollout => "ROLLOUT",
            Self::Idle => "IDLE",
        }
    }
}

pub(super) fn push_limit(limits: &mut Vec<AppliedLimit>, limit: Limit, before: u32, after: u32) {
    if before != after {
        limits.push(AppliedLimit { limit, before, after });
    }
}

// Whole and not negative by construction, or larger than any count: `as` saturates then, which is what a
// limit wants to see.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn to_count(n: f64) -> u32 {
    n as u32
}
