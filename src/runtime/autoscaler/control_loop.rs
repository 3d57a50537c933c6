//! The autoscaling loop. Every five seconds it collects the measurements of each app whose autoscaler is on,
//! lets `autoscale` decide, sets the replica count if the decision says so, and records every decision. A
//! load report that requires more replicas is evaluated within a second.
//!
//! Must not decide anything itself, nor talk to Kubernetes. Measurements come from [`Sources`], and a
//! [`Scaler`] sets counts.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{debug, info, warn};

use super::sources::{Answers, Sources};
use crate::{
    autoscale::{Evaluation, Memory, Mode, Outcome, Policy, ReplicaCount, Verdict},
    domain::{
        caller::Caller,
        commands::{ScaleOutcome, Scaler, SetReplicas},
        name,
    },
    index::{AutoscalerInput, AutoscalerState, Index, Leader, TimelineEvent},
    metrics::METRICS,
};

/// Time between two evaluations of all apps.
pub(super) const PERIOD: Duration = Duration::from_secs(5);

/// Minimum time between two evaluations that reports trigger.
const SOON: Duration = Duration::from_secs(1);

/// Concurrent calls to the API server.
const AT_ONCE: usize = 8;

/// Time that the writer of a hold gets to set its count.
const OWN_COUNT: SignedDuration = SignedDuration::from_secs(3);

/// Number of full evaluations between two clean-ups of state of deleted apps.
const CLEAN_EVERY: u64 = 12;

/// The loop, with its state between two evaluations.
pub(super) struct Autoscaler {
    index: Index,
    scaling: AutoscalerState,
    scaler: Arc<dyn Scaler>,
    sources: Sources,
    /// How long a count that was set outside Gantry is held.
    foreign_hold: Duration,
    memories: HashMap<name::App, Remembered>,
    looks: u64,
}

/// What one evaluation passes to the next one of the same app.
struct Remembered {
    memory: Memory,
    at: Instant,
    /// The policy of that evaluation. If it has changed, the state of the rate law is reset.
    policy: Arc<Policy>,
}

/// Which apps are evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// All of them.
    Whole,
    /// Those whose reported load requires more replicas at once.
    Reports,
}

// === impl Autoscaler ===

impl Autoscaler {
    pub(super) fn new(
        index: Index,
        scaling: AutoscalerState,
        scaler: Arc<dyn Scaler>,
        sources: Sources,
        foreign_hold: Duration,
    ) -> Self {
        Self { index, scaling, scaler, sources, foreign_hold, memories: HashMap::new(), looks: 0 }
    }

    /// Evaluates repeatedly while this daemon is the leader, until dropped.
    pub(super) async fn run(mut self) {
        let mut reports = self.scaling.watch_reports();
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut soonest = Instant::now();
        loop {
            let look = tokio::select! {
                _ = ticks.tick() => Look::Whole,
                news = async {
                    tokio::time::sleep_until(soonest).await;
                    reports.changed().await
                } => {
                    if news.is_err() {
                        return;
                    }
                    Look::Reports
                }
            };
            soonest = Instant::now() + SOON;
            if self.scaling.leader() != Leader::Local || !self.index.is_filled() {
                self.memories.clear();
                continue;
            }
            self.evaluate_all(look, Timestamp::now()).await;
        }
    }

    async fn evaluate_all(&mut self, look: Look, now: Timestamp) {
        let mut apps = self.index.autoscaler_inputs(now);
        let answers = if look == Look::Whole { self.sources.read(&apps).await } else { Answers::default() };
        if look == Look::Whole {
            // A rollout may have begun during the measurement.
            apps = self.index.autoscaler_inputs(now);
        }
        if let Some(metered) = answers.is_metered() {
            self.scaling.set_metered(metered);
        }
        self.create_holds(&mut apps, now).await;
        let mut due = Vec::new();
        for app in &apps {
            let seen = self.to_evaluation(app, &answers, now);
            let verdict = seen.decide();
            if look == Look::Reports {
                // The rate law counts the time between full evaluations. Between them, only steps that need
                // no time are taken.
                let at_once = seen.policy.up.is_zero() || seen.current == 0;
                if !at_once || verdict.to <= seen.current || verdict.outcome != Outcome::Scaled {
                    continue;
                }
            }
            self.remember(&seen, app, verdict.memory);
            due.push((app.clone(), seen, verdict));
        }
        let scaler = self.scaler.clone();
        let scaler = &*scaler;
        let carried_out = stream::iter(due).map(|(app, seen, verdict)| async move {
            complete_hold(scaler, &app, now).await;
            let verdict = carry_out(scaler, &app, &seen, verdict).await;
            (app, seen, verdict)
        });
        let mut carried_out = std::pin::pin!(carried_out.buffer_unordered(AT_ONCE));
        while let Some((app, seen, verdict)) = carried_out.next().await {
            if matches!(verdict.outcome, Outcome::Failed(_)) {
                // A change that failed must not affect the next evaluation.
                let idle = verdict.memory.idle;
                self.remember(&seen, &app, Memory { idle, ..Memory::default() });
            }
            METRICS.autoscaler_decided(outcome_label(&verdict.outcome));
            let told = !matches!(verdict.outcome, Outcome::Unchanged);
            let decision = self.scaling.record_decision(&app.app, seen, verdict);
            if told {
                self.index.record_event(&app.app, decision.seen.now, TimelineEvent::Scaling(decision));
            }
        }
        if look == Look::Whole {
            self.forget_gone(&apps, now);
            self.scaling.set_next_evaluation(Some(now + PERIOD));
        }
    }

    /// Creates a hold for each count that was set outside Gantry. These apps are skipped now and evaluated in
    /// the next round, which sees the hold.
    async fn create_holds(&self, apps: &mut Vec<AutoscalerInput>, now: Timestamp) {
        let length = self.foreign_hold;
        let is_set_outside = |app: &mut AutoscalerInput| {
            app.other_autoscaler.is_none()
                && app.scaling.hold_for_outside_count(app.desired, length, now).is_some()
        };
        let set_outside: Vec<_> = apps.extract_if(.., is_set_outside).map(|app| app.app).collect();
        let create = |app: name::App| async move {
            match self.scaler.create_hold(app.clone(), length).await {
                Ok(ScaleOutcome::Done) => {
                    info!(%app, "created a hold for a count that was set outside Gantry");
                }
                Ok(ScaleOutcome::Outdated) => {}
                Err(error) => {
                    warn!(%app, %error, "cannot create a hold for a count that was set outside Gantry");
                }
            }
        };
        stream::iter(set_outside).map(create).buffer_unordered(AT_ONCE).collect::<()>().await;
    }

    fn remember(&mut self, seen: &Evaluation, app: &AutoscalerInput, memory: Memory) {
        let remembered = Remembered { memory, at: Instant::now(), policy: seen.policy.clone() };
        self.memories.insert(app.app.clone(), remembered);
    }

    fn to_evaluation(&self, app: &AutoscalerInput, answers: &Answers, now: Timestamp) -> Evaluation {
        let known = self.memories.get(&app.app);
        let (memory, elapsed) = known.map_or_else(
            || (Memory::default(), 0.0),
            |known| {
                let same = *known.policy == *app.policy;
                let law = if same { known.memory.law } else { Memory::default().law };
                (Memory { law, ..known.memory }, known.at.elapsed().as_secs_f64())
            },
        );
        let readings =
            app.policy.targets.iter().map(|target| self.sources.measure(app, target, answers, now));
        Evaluation {
            now,
            policy: app.policy.clone(),
            current: u32::try_from(app.desired).unwrap_or_default(),
            readings: readings.collect(),
            rollout: app.rollout,
            other_autoscaler: app.other_autoscaler.clone(),
            hold: app.hold.clone(),
            elapsed,
            memory,
        }
    }

    fn forget_gone(&mut self, apps: &[AutoscalerInput], now: Timestamp) {
        let on: BTreeSet<_> = apps.iter().map(|app| &app.app).collect();
        // An app whose autoscaler is switched off for a while starts again without state.
        self.memories.retain(|app, _| on.contains(app));
        self.looks += 1;
        if self.looks.is_multiple_of(CLEAN_EVERY) {
            self.scaling.retain_apps(|app| self.index.get_app(app).is_ok());
            self.scaling.drop_old_reports(now);
        }
    }
}

/// Sets the count of a hold whose writer ended before it set the count.
async fn complete_hold(scaler: &dyn Scaler, app: &AutoscalerInput, now: Timestamp) {
    let Some(hold) = &app.hold else { return };
    let young = now.duration_since(hold.since) < OWN_COUNT;
    let set_outside = app.scaling.set_outside.is_some();
    let count =
        ReplicaCount { replicas: app.desired, set: app.count_set, set_outside, generation: app.generation };
    if young || !hold.needs_apply(count, now) {
        return;
    }
    match scaler.complete_hold(app.app.clone()).await {
        Ok(ScaleOutcome::Done) => {
            info!(app = %app.app, replicas = hold.replicas, actor = %hold.actor, "set the count of a hold that was cut off");
        }
        Ok(ScaleOutcome::Outdated) => {}
        Err(error) => {
            warn!(app = %app.app, %error, "cannot set the count of a hold that was cut off; trying again");
        }
    }
}

/// Sets the replica count if the decision says so.
async fn carry_out(
    scaler: &dyn Scaler,
    app: &AutoscalerInput,
    seen: &Evaluation,
    verdict: Verdict,
) -> Verdict {
    let acts = seen.policy.mode_at(seen.now) == Mode::Active && verdict.outcome == Outcome::Scaled;
    if !acts {
        return verdict;
    }
    // The API accepts no larger count. One that was written without the API may be more than Kubernetes can
    // store.
    let to = i32::try_from(verdict.to).unwrap_or(i32::MAX);
    let resize = SetReplicas {
        name: app.app.clone(),
        caller: Caller::named(seen.policy.acts_for.clone()),
        policy: seen.policy.digest(),
        from: app.desired,
        to,
    };
    let failed = |why: String| Verdict { outcome: Outcome::Failed(why), to: seen.current, ..verdict.clone() };
    match scaler.set_replicas(resize).await {
        Ok(ScaleOutcome::Done) => {
            info!(app = %app.app, "{}", seen.explain(&verdict));
            verdict
        }
        Ok(ScaleOutcome::Outdated) => {
            debug!(app = %app.app, "changed while it was decided on");
            failed(
                "the policy, a hold or the count changed at the same moment, so the autoscaler will decide again"
                    .to_owned(),
            )
        }
        Err(error) => {
            warn!(app = %app.app, %error, "cannot set the count that the autoscaler decided on; trying again");
            failed(error.to_string())
        }
    }
}

/// Returns the outcome as a metric label.
fn outcome_label(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Unchanged => "unchanged",
        Outcome::Scaled => "scaled",
        Outcome::Held => "held",
        Outcome::Advised => "advised",
        Outcome::Failed(_) => "failed",
    }
}
