//! Explains a decision in one or two sentences: the result, which target requires how many replicas, and
//! which limits applied.
//!
//! A pure function of the record, so the text need not be stored. Must not decide anything.

#[cfg(test)]
mod tests;

use super::{
    decision::{Evaluation, Outcome, Verdict},
    measurement::{Measurement, Missing, Source},
    policy::{Mode, Signal},
    rate_law::{AppliedLimit, Limit},
};

impl Evaluation {
    /// Returns one or two English sentences about the result of this evaluation.
    pub fn explain(&self, verdict: &Verdict) -> String {
        let mut text = self.result(verdict);
        if let Some(i) = verdict.decisive
            && let (Some(signal), Some(reading)) = (self.policy.targets.get(i), self.readings.get(i))
        {
            text.push_str(": ");
            let absent = absent_in_words(self.unmeasured(signal, reading), reading.starting);
            text.push_str(&demand_in_words(signal, reading, &absent, verdict));
        }
        for limited in &verdict.limits {
            text.push_str("; ");
            text.push_str(&self.limit_in_words(limited));
        }
        if let Outcome::Failed(why) = &verdict.outcome {
            text.push_str("; ");
            text.push_str(why);
        }
        text.push('.');
        text
    }

    fn result(&self, verdict: &Verdict) -> String {
        let (from, to) = (self.current, verdict.to);
        match &verdict.outcome {
            Outcome::Unchanged if self.policy.mode_at(self.now) == Mode::Frozen => {
                format!("Frozen, stays at {from}")
            }
            Outcome::Unchanged => format!("Stays at {from}"),
            Outcome::Scaled => format!("Scaled from {from} to {to}"),
            Outcome::Held => format!("Held at {from}"),
            Outcome::Advised => format!("Would scale from {from} to {to} if the mode were ACTIVE"),
            Outcome::Failed(_) => format!("Could not be scaled, stays at {from}"),
        }
    }

    fn limit_in_words(&self, limited: &AppliedLimit) -> String {
        let policy = &self.policy;
        match limited.limit {
            Limit::Min => format!("the minimum is {}", limited.after),
            Limit::Max => format!("the maximum is {}", policy.max),
            Limit::RateUp => format!(
                "the count rises gradually because scale_up_duration is {} s",
                number(policy.up.as_secs_f64())
            ),
            Limit::RateDown => format!(
                "the count falls gradually because scale_down_duration is {} s",
                number(policy.down.as_secs_f64())
            ),
            Limit::Rollout => "the count does not fall while a rollout runs".to_owned(),
            Limit::Idle => format!(
                "the last replica stays until there has been no demand for {} s ({} s so far)",
                number(policy.idle.as_secs_f64()),
                self.memory.idle.round()
            ),
            Limit::StaleSignal | Limit::PartialSignal => {
                let gaps: Vec<_> =
                    self.missing().map(|(signal, reading, gap)| gap_in_words(signal, reading, gap)).collect();
                if gaps.is_empty() {
                    return "the demand is unknown, so the count is not lowered".to_owned();
                }
                format!("{}, so the count is not lowered", gaps.join("; "))
            }
            Limit::Hold => self.hold_in_words(limited),
        }
    }

    fn hold_in_words(&self, limited: &AppliedLimit) -> String {
        let otherwise = if limited.before == limited.after {
            String::new()
        } else {
            format!("; otherwise it would be {}", limited.before)
        };
        if self.policy.mode_at(self.now) == Mode::Frozen {
            let until = self
                .policy
                .freeze_end
                .map_or_else(|| "the mode is changed".to_owned(), |end| end.to_string());
            return format!("the count is frozen until {until}{otherwise}");
        }
        if let Some(autoscaler) = &self.other_autoscaler {
            return format!("{autoscaler} decides the count{otherwise}");
        }
        match self.held() {
            Some(hold) => {
                let why = if hold.reason.is_empty() { String::new() } else { format!(" ({})", hold.reason) };
                format!("{} holds the count until {}{why}{otherwise}", hold.actor, hold.until)
            }
            None => format!("the policy or the clock is invalid{otherwise}"),
        }
    }
}

/// Describes the replicas that are not measured. `absent` is the number of requested replicas that do not
/// run, and `starting` the number of those that run but are left out.
fn absent_in_words(absent: u32, starting: u32) -> String {
    let away = match absent {
        0 => String::new(),
        1 => ", 1 replica that does not run counts as at its target".to_owned(),
        n => format!(", {n} replicas that do not run count as at their target"),
    };
    let left_out = match starting {
        0 => String::new(),
        1 => ", 1 replica that is still starting is left out".to_owned(),
        n => format!(", {n} replicas that are still starting are left out"),
    };
    away + &left_out
}

fn demand_in_words(signal: &Signal, reading: &Measurement, absent: &str, verdict: &Verdict) -> String {
    let value = reading.value.unwrap_or_default();
    let measured = match signal {
        Signal::CpuPercent(target) => percent("CPU", *target, value, reading),
        Signal::MemoryPercent(target) => percent("memory", *target, value, reading),
        Signal::RequestsPerSecond(_) | Signal::Concurrency(_) | Signal::Reported { .. } => format!(
            "{} is {}, the target is {} per replica",
            signal.name(),
            number(value),
            number(signal.per_replica())
        ),
    };
    let required = verdict.required.unwrap_or_default();
    let noun = if required == 1 { "replica is" } else { "replicas are" };
    format!("{measured}{absent}, so {required} {noun} required")
}

fn percent(what: &str, target: u32, value: f64, reading: &Measurement) -> String {
    let average = value / f64::from(reading.covered.max(1));
    format!("{what} use is {} % of the request, the target is {target} %", number(average))
}

fn gap_in_words(signal: &Signal, reading: &Measurement, gap: &Missing) -> String {
    let name = signal.name();
    let who = if reading.source == Source::Reported { "sources" } else { "replicas" };
    match gap {
        Missing::NoRequest => {
            let what = if matches!(signal, Signal::MemoryPercent(_)) { "memory" } else { "CPU" };
            format!("{name} is unknown because not every container has a {what} request (set it)")
        }
        Missing::Silent(why) => format!("{name} is unknown because the metrics API does not answer ({why})"),
        Missing::Nothing if reading.source == Source::Reported => {
            format!("no report of {name} was received in the last 3 minutes")
        }
        Missing::Nothing => format!("the metrics API has no {name} for these replicas yet"),
        Missing::Starting => {
            let who = match reading.starting {
                1 => "the only replica that runs is still starting".to_owned(),
                2 => "both replicas that run are still starting".to_owned(),
                n => format!("all {n} replicas that run are still starting"),
            };
            format!("{name} is not known yet because {who}")
        }
        Missing::Old => format!("all figures for {name} are too old"),
        Missing::Partial => {
            format!("{name} is known for only {} of {} {who}", reading.covered, reading.expected)
        }
        Missing::Fresh => format!("{name} is not known yet for replicas that have just become ready"),
        Missing::Young => format!("gantryd began to listen for {name} less than 30 s ago"),
    }
}

/// Formats a number with three significant digits.
fn number(value: f64) -> String {
    let magnitude = value.abs();
    let text = if magnitude >= 100.0 || magnitude == 0.0 {
        format!("{value:.0}")
    } else if magnitude >= 10.0 {
        format!("{value:.1}")
    } else if magnitude >= 0.01 {
        format!("{value:.2}")
    } else {
        format!("{value:e}")
    };
    if text.contains('.') && !text.contains('e') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}
