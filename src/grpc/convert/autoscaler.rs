//! Converts policies and decisions of the autoscaler to messages.

use std::time::Duration;

use jiff::Timestamp;

use super::time::{to_duration, to_timestamp};
use crate::{
    autoscale::{Forecast, Mode, Outcome, Policy, Signal},
    domain::name,
    index::{AutoscalerInput, Decision, Leader},
    pb::{self, scaling_target::Signal as Target},
};

/// Converts the autoscaler of an app, with its status.
pub(in crate::grpc) fn autoscaler(
    scaled: &AutoscalerInput,
    last: Option<&Decision>,
    leader: &Leader,
    next: Option<Timestamp>,
    now: Timestamp,
) -> pb::Autoscaler {
    let on = scaled.policy.mode != Mode::Off;
    let status = pb::AutoscalerStatus {
        message: message(scaled, last, leader, now),
        last_decision: last.map(decision),
        next_decide_time: next.filter(|_| on).map(to_timestamp),
        measured_startup_duration: scaled.startup.and_then(to_duration),
        acts_for: scaled.policy.acts_for.clone(),
    };
    pb::Autoscaler { status: Some(status), ..policy(&scaled.app, &scaled.policy, now) }
}

/// Returns the status of a policy that has not decided anything yet.
pub(in crate::grpc) fn status_of(policy: &Policy, now: Timestamp) -> pb::AutoscalerStatus {
    pb::AutoscalerStatus {
        message: intent(policy, now),
        acts_for: policy.acts_for.clone(),
        ..Default::default()
    }
}

fn message(scaled: &AutoscalerInput, last: Option<&Decision>, leader: &Leader, now: Timestamp) -> String {
    if scaled.policy.mode_at(now) == Mode::Off {
        return intent(&scaled.policy, now);
    }
    match leader {
        Leader::Off => {
            "No autoscaler is running: this gantryd does not run it and knows of no other that does. Start one without \
             --autoscaler off."
                .to_owned()
        }
        Leader::Unknown(why) if !why.is_empty() => {
            format!("No decisions are made, because it is not known which gantryd runs the autoscaler ({why}).")
        }
        Leader::Remote { holder, .. } => {
            format!("The autoscaler runs in another gantryd, {holder}, which does not answer this one.")
        }
        Leader::Unknown(_) | Leader::Local => match last.filter(|last| *last.seen.policy == *scaled.policy) {
            Some(last) => last.seen.explain(&last.verdict),
            None => intent(&scaled.policy, now),
        },
    }
}

fn intent(policy: &Policy, now: Timestamp) -> String {
    match policy.mode_at(now) {
        Mode::Off => "Off: this autoscaler does not change the replica count.".to_owned(),
        Mode::Shadow => "The next decision comes within 5 s. It is recorded but not carried out.".to_owned(),
        Mode::Active => "The next decision comes within 5 s.".to_owned(),
        Mode::Frozen => match policy.freeze_end {
            Some(end) => format!("Frozen until {end}: the replica count does not change."),
            None => "Frozen until the mode is changed: the replica count does not change.".to_owned(),
        },
    }
}

/// Converts a policy as it is in force at `now`, with its defaults filled in.
pub(in crate::grpc) fn policy(app: &name::App, policy: &Policy, now: Timestamp) -> pb::Autoscaler {
    let count = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    let mode = policy.mode_at(now);
    pb::Autoscaler {
        name: format!("{app}/autoscaler"),
        mode: match mode {
            Mode::Off => pb::AutoscalerMode::Off,
            Mode::Shadow => pb::AutoscalerMode::Shadow,
            Mode::Active => pb::AutoscalerMode::Active,
            Mode::Frozen => pb::AutoscalerMode::Frozen,
        }
        .into(),
        min_replicas: Some(count(policy.min)),
        max_replicas: count(policy.max),
        targets: policy.targets.iter().map(target).collect(),
        scale_up_duration: to_duration(policy.up),
        scale_down_duration: to_duration(policy.down),
        violation_objective: Some(policy.violation),
        forecast: match policy.forecast {
            Forecast::Auto => pb::Forecast::Auto,
            Forecast::None => pb::Forecast::None,
        }
        .into(),
        idle_timeout: to_duration(policy.idle),
        startup_duration: policy.startup.and_then(to_duration),
        etag: policy.digest(),
        status: None,
        freeze_end_time: policy.freeze_end.filter(|_| mode == Mode::Frozen).map(to_timestamp),
    }
}

fn target(signal: &Signal) -> pb::ScalingTarget {
    let percent = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    let target = match signal {
        Signal::CpuPercent(n) => Target::CpuPercent(percent(*n)),
        Signal::MemoryPercent(n) => Target::MemoryPercent(percent(*n)),
        Signal::RequestsPerSecond(n) => Target::RequestsPerSecond(*n),
        Signal::Concurrency(n) => Target::Concurrency(*n),
        Signal::Reported { metric, per_replica } => {
            Target::Reported(pb::ReportedTarget { metric: metric.clone(), per_replica: *per_replica })
        }
    };
    pb::ScalingTarget { signal: Some(target) }
}

/// Converts one decision.
pub(in crate::grpc) fn decision(decision: &Decision) -> pb::ScalingDecision {
    let (seen, verdict) = (&decision.seen, &decision.verdict);
    let count = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    let pairs = || seen.policy.targets.iter().zip(&seen.readings);
    let signals = pairs().map(|(signal, reading)| pb::SignalReading {
        signal: signal.name().to_owned(),
        value: reading.value,
        per_replica: signal.per_replica(),
        age: to_duration(Duration::try_from_secs_f64(reading.age).unwrap_or_default()),
        source: reading.source.as_str().to_owned(),
        covered_replicas: count(reading.covered),
    });
    // There is one predictor so far. It expects the demand to stay the same.
    let predictors = pairs().filter_map(|(signal, reading)| {
        Some(pb::PredictorQuote {
            signal: signal.name().to_owned(),
            predictor: "reactive".to_owned(),
            forecast: reading.value?,
            margin: 1.0,
            cost: 1.0,
            chosen: true,
        })
    });
    pb::ScalingDecision {
        name: format!("{}/autoscaler/decisions/{}", decision.app, decision.id),
        decide_time: Some(to_timestamp(seen.now)),
        outcome: outcome(&verdict.outcome).into(),
        from_replicas: count(seen.current),
        to_replicas: count(verdict.to),
        required_replicas: verdict.required.map(count).unwrap_or_default(),
        message: seen.explain(verdict),
        signals: signals.collect(),
        predictors: predictors.collect(),
        limits: verdict
            .limits
            .iter()
            .map(|limited| pb::LimitStep {
                limit: limited.limit.as_str().to_owned(),
                before: count(limited.before),
                after: count(limited.after),
            })
            .collect(),
        policy_digest: seen.policy.digest(),
    }
}

/// Converts the outcome of a decision.
pub(in crate::grpc) const fn outcome(outcome: &Outcome) -> pb::ScalingOutcome {
    match outcome {
        Outcome::Unchanged => pb::ScalingOutcome::Unchanged,
        Outcome::Scaled => pb::ScalingOutcome::Scaled,
        Outcome::Held => pb::ScalingOutcome::Held,
        Outcome::Advised => pb::ScalingOutcome::Advised,
        Outcome::Failed(_) => pb::ScalingOutcome::Failed,
    }
}
