//! The rate law `dN = (N_req - N_cur) / dt`: how fast the replica count follows the count that the demand
//! requires.
//!
//! Owns one step of the law: accumulated fractions, a time constant for each direction, the limits, and the
//! handling of invalid input. Must not know where the required count comes from, nor what happens to the
//! result.
//!
//! Evaluated every `h` seconds, the law is a first-order lag, `N[k+1] = N[k] + (N_req - N[k]) * h / dt`: 63 %
//! of a change is done after `dt`, and 95 % after `3 dt`. Replicas are whole, so the fraction of a step that
//! cannot be taken is carried into the next step. Without that, an error smaller than `dt / h` replicas would
//! never be corrected. A constant error of `n` replicas is corrected after `dt * (1 + 1/2 + ... + 1/n)`, and
//! after `3 dt` at the latest. What remains then, a twentieth, is corrected at once, so that constant load
//! means a constant count.
//!
//! Only IEEE 754 addition, multiplication, division, ceiling and truncation are used. They are exact or
//! correctly rounded on every platform, so equal input gives equal output bit for bit. A logarithm or an
//! exponential would not.

#[cfg(test)]
mod tests;

/// The settings of the law for one app: how fast the count follows in each direction, and its bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateLaw {
    /// Time constant for rising, in seconds. With 0, the count rises to the required count at once.
    pub dt_up: f64,
    /// Time constant for falling, in seconds. With 0, the count falls to the required count at once.
    pub dt_down: f64,
    /// Minimum of the count.
    pub min: u32,
    /// Maximum of the count.
    pub max: u32,
}

/// The input of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// `N_req`, the replicas that the demand requires, before limits. A fraction is rounded up. `None` if it
    /// is unknown.
    pub required: Option<f64>,
    /// `N_cur`, the current `spec.replicas`. Replicas that are still starting count, so that they are not
    /// ordered twice.
    pub current: u32,
    /// `h`, the seconds since the last step.
    pub elapsed: f64,
    /// The state after the last step.
    pub state: State,
}

/// What one step passes to the next.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct State {
    /// Fraction of a replica that is still to be taken: in (-1, 1), with the sign of the error.
    pub carry: f64,
    /// The count to which the steps lead; `None` before the first step, and after a step that held the count.
    pub goal: Option<u32>,
    /// Seconds for which the steps have led to this goal.
    pub pursued: f64,
}

/// The result of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The new replica count.
    pub replicas: u32,
    /// The state for the next step.
    pub state: State,
    /// `N_req` in whole replicas, before limits. `None` if it is unknown.
    pub required: Option<u32>,
    /// The limits that changed the count, in the order in which they applied.
    pub limits: Vec<AppliedLimit>,
}

/// One limit and its effect on the count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppliedLimit {
    /// The limit.
    pub limit: Limit,
    /// Replicas before the limit.
    pub before: u32,
    /// Replicas after the limit.
    pub after: u32,
}

/// What can make the count differ from the required one.
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
    /// The count is controlled by something else for now (a caller's hold, a freeze or an external
    /// autoscaler), or the input is invalid.
    Hold,
    /// No figure is recent enough.
    StaleSignal,
    /// Some figures are missing. What they stand for is not zero, so the count may rise but must not fall.
    PartialSignal,
    /// A rollout is running.
    Rollout,
    /// The app has no load, but not for long enough to be stopped.
    Idle,
}

/// Why the input is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Unusable {
    /// The required count is not known: absent, not a finite number, or negative.
    Demand,
    /// The elapsed time is not a finite number of seconds, or negative.
    Clock,
    /// A time constant is not a finite number of seconds or negative, or the minimum is above the maximum.
    Policy,
}

// A first-order lag has done 95 % of a change after three time constants. The rest is done then at once.
const REST: f64 = 3.0;

// In replicas. A required count of 3.000000000001 is the rounding error of a division and does not need a
// fourth replica.
const NOISE: f64 = 1e-9;

// === impl RateLaw ===

impl RateLaw {
    /// Takes one step of the law.
    ///
    /// The bounds apply at once, whatever the rate: a count outside `[min, max]` is set to the nearer bound.
    /// Invalid input holds the count and never lowers it: a count below `min` is raised to it, and one above
    /// `max` stays until the demand is known again.
    pub fn step(&self, seen: &Observation) -> Step {
        match self.goal(seen) {
            Ok((required, goal)) => self.follow(seen, required, goal),
            Err(why) => self.hold(seen.current, why),
        }
    }

    // Returns the required count in whole replicas, before and after the bounds.
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
            // At the goal, nothing is pursued. A later change starts a new approach.
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
        // A carry belongs to the count at which it accumulated. If a bound changed the count, the carry
        // starts at 0.
        let carry = if replicas == moved { carry } else { 0.0 };
        Step { replicas, state: State { carry, goal: Some(goal), pursued }, required: Some(required), limits }
    }

    // Returns the count and the carry according to the law alone.
    fn lag(&self, seen: &Observation, goal: u32, pursued: f64) -> (u32, f64) {
        let error = f64::from(goal) - f64::from(seen.current);
        let dt = if error > 0.0 { self.dt_up } else { self.dt_down };
        if error == 0.0 || dt == 0.0 || pursued + NOISE >= REST * dt {
            return (goal, 0.0);
        }
        let carry = seen.state.carry;
        // A carry in the other direction is dropped, and so is one that no step can have produced.
        let carried = if carry.abs() < 1.0 && carry * error > 0.0 { carry } else { 0.0 };
        // Limited by the error, so that a late evaluation (h > dt) reaches the goal and does not overshoot.
        let due = (carried + error / dt * seen.elapsed).clamp(error.min(0.0), error.max(0.0));
        // Tolerates rounding errors: 24 steps of 5 s make 120 s, although 24 times 5/120 adds up to a little
        // less than 1.
        let whole = (due + NOISE.copysign(error)).trunc();
        let left = due - whole;
        (to_count(f64::from(seen.current) + whole), if left * error > 0.0 { left } else { 0.0 })
    }

    fn hold(&self, current: u32, why: Unusable) -> Step {
        let limit = if why == Unusable::Demand { Limit::StaleSignal } else { Limit::Hold };
        let mut limits = vec![AppliedLimit { limit, before: current, after: current }];
        // A minimum above the maximum is not usable.
        let floor = if self.min > self.max { 0 } else { self.min };
        let replicas = current.max(floor);
        push_limit(&mut limits, Limit::Min, current, replicas);
        Step { replicas, state: State::default(), required: None, limits }
    }
}

// === impl Limit ===

impl Limit {
    /// Returns whether it is one of the two rates of the law.
    pub(super) fn is_rate(self) -> bool {
        matches!(self, Self::RateUp | Self::RateDown)
    }

    /// Returns the name of this limit in `gantry.v1.LimitStep`.
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

// The number is whole and not negative, or larger than any count. In the latter case `as` saturates, and a
// bound then limits the count.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn to_count(n: f64) -> u32 {
    n as u32
}
