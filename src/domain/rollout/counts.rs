//! Counts the pods of an app for a rollout, and decides whether they show that it is complete. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{
    AppRows, Progress, Rollout, State,
    progress::{Moment, Observation},
};
use crate::domain::{
    diagnosis::{self, Stopping},
    observed::{Deployment, Kind, Pod, ReplicaSet},
    problem::{Problem, Reason},
    spec::Content,
};

/// How long a replica without a readiness probe must have run. A kubelet checks its containers once a second
/// and reports some seconds later if it is busy, and times are rounded down to whole seconds.
const UNPROBED: SignedDuration = SignedDuration::from_secs(5);
/// The same for a replica whose container restarted. The first restart follows at once and hides the exit;
/// the second comes ten seconds later.
const UNPROBED_AGAIN: SignedDuration = SignedDuration::from_secs(15);

/// The age of a rollout from which a standing refusal is about this rollout, if the controller still has not
/// taken it up. Taking up takes less than a second, or some seconds if the controllers of the cluster
/// restart.
const STANDING: SignedDuration = SignedDuration::from_secs(10);

/// The pods of an app, split by whether they run the current template.
pub(super) struct Counts<'a> {
    pub(super) progress: Progress,
    /// Whether Kubernetes has observed the newest desired state.
    pub(super) observed: bool,
    pub(super) current: Option<&'a ReplicaSet>,
    pub(super) updated: Vec<&'a Pod>,
    /// Pods of the current template that have ended.
    ended: Vec<&'a Pod>,
    /// All pods of older templates, including those that are terminating.
    older: i32,
    /// What the rollout waits for before new replicas can be created or placed.
    pub(super) stopping: Option<Stopping>,
    /// The end of the grace periods of all terminating pods.
    released: Option<Timestamp>,
}

impl<'a> Counts<'a> {
    pub(super) fn new(deployment: &Deployment, facts: &AppRows<'a>, now: Timestamp) -> Self {
        let current = facts.current(deployment);
        let (mut updated, mut old, mut draining) = (Vec::new(), 0, 0);
        for pod in &facts.pods {
            if pod.deleting {
                draining += 1;
            } else if current.is_some_and(|rs| rs.name == pod.replica_set) {
                updated.push(*pod);
            } else if pod.ready {
                old += 1;
            }
        }
        let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        let progress = Progress {
            desired: deployment.desired,
            updated: count(updated.len()),
            ready: count(updated.iter().filter(|p| p.ready).count()),
            old,
            draining,
        };
        let is_old = |pod: &&&Pod| current.is_none_or(|rs| rs.name != pod.replica_set);
        let older = count(facts.pods.iter().filter(is_old).count());
        let ended = facts.current_ended(deployment);
        let leaving = || facts.pods.iter().copied().filter(|pod| pod.deleting);
        let released = leaving().filter_map(|pod| Some(pod.stop.as_ref()?.by)).max();
        let stopping = diagnosis::diagnose_stopping(leaving(), facts.around, now);
        let observed = deployment.is_observed();
        Self { progress, observed, current, updated, ended, older, stopping, released }
    }

    /// Returns whether the rollout is complete. The Deployment's own counts and the pods must agree, because
    /// they come by different watches and either may be late.
    pub(super) fn complete(&self, deployment: &Deployment) -> bool {
        let d = deployment;
        self.observed
            && d.updated == d.desired
            && d.available == d.desired
            && d.current == d.desired
            && self.progress.ready == d.desired
            && self.progress.updated == d.desired
            && self.progress.old == 0
    }

    /// Returns whether its replicas have run long enough to count as working. Without a readiness probe
    /// Kubernetes reports a container as ready as soon as it has started, even if it exits a moment later.
    pub(super) fn proved(&self, content: &Content, now: Timestamp) -> bool {
        content.spec.is_probed() || self.ran(now)
    }

    /// Returns whether its replicas have run for long enough, whatever their probes say.
    fn ran(&self, now: Timestamp) -> bool {
        self.proved_at(now).is_none_or(|time| time <= now)
    }

    /// Returns when its replicas that are ready now have run for long enough, whatever their probes say.
    pub(super) fn proved_at(&self, now: Timestamp) -> Option<Timestamp> {
        let replaced = diagnosis::ended_until(&self.ended, now).is_some();
        let times = self.updated.iter().filter_map(|pod| {
            let least = if pod.restarts == 0 && !replaced { UNPROBED } else { UNPROBED_AGAIN };
            pod.ready_since()?.checked_add(least).ok()
        });
        times.max()
    }

    /// Returns whether its replicas keep running after a rollout that failed because they did not. A replica
    /// that ended for good was replaced by a new one, so the time since then counts.
    pub(super) fn keeps_running(&self, now: Timestamp) -> bool {
        self.ran(now) && diagnosis::ended_until(&self.ended, now).is_none()
    }

    /// Returns the extra time for a rollout that is complete and whose replicas only have to keep running for
    /// a moment.
    pub(super) fn patience(&self, deployment: &Deployment) -> Duration {
        if self.complete(deployment) { UNPROBED_AGAIN.unsigned_abs() } else { Duration::ZERO }
    }

    /// Returns the observation of the rollout for its tracker.
    pub(super) fn observe(
        &self,
        rollout: &Rollout,
        deployment: &Deployment,
        facts: &AppRows<'_>,
        at: Moment,
    ) -> Observation {
        let p = self.progress;
        let applied = rollout.state != State::Pending;
        let stopping = facts.pods.iter().filter(|pod| pod.deleting).map(|pod| pod.time_to_stop(at.heard));
        let lost = self.updated.iter().filter(|pod| pod.was_ready).count();
        // The Deployment's condition shows the last change of the counts, and pods show their own times.
        let made = self.updated.iter().flat_map(|pod| [Some(pod.created), pod.ready_since()]);
        let moved =
            [deployment.progressed, self.current.map(|rs| rs.created)].into_iter().chain(made).flatten();
        // This rollout has its ReplicaSet, so a refused creation is about a later change outside Gantry that
        // waits. Then this rollout has ended or never will.
        let overtaken = rollout.set.is_some() && deployment.create_failure.is_some();
        Observation {
            applied,
            taken_up: applied && self.current.is_some(),
            paused: deployment.paused || overtaken,
            desired: p.desired,
            ready: if applied { p.ready } else { 0 },
            lost: if applied { i32::try_from(lost).unwrap_or(i32::MAX) } else { 0 },
            // Before it is applied, all replicas are those of the previous rollout.
            serving: if applied { p.old } else { i32::MAX },
            old: if applied { self.older } else { i32::MAX },
            grace: stopping.max().unwrap_or_default(),
            start: rollout.start,
            moved: moved.max().unwrap_or(rollout.start),
        }
    }

    /// Returns the problems of its replicas, as far as they come from the time after it began. `applied` is
    /// the time since it was applied.
    pub(super) fn problems(
        &self,
        rollout: &Rollout,
        deployment: &Deployment,
        facts: &AppRows<'_>,
        applied: SignedDuration,
    ) -> Vec<Problem> {
        if !self.observed {
            return Vec::new();
        }
        let (policy, begin) = (rollout.content.spec.policy(), rollout.start);
        let updated = self.updated.iter().copied();
        let mut problems = diagnosis::diagnose_replicas(
            deployment,
            self.current,
            updated,
            facts.around,
            &policy,
            Some(begin),
        );
        if let Some(current) = self.current {
            let object = format!("{}/{}", Kind::ReplicaSet.prefix(), current.name);
            let stands = applied >= STANDING || diagnosis::is_retried_since(current, facts.around, begin);
            for problem in problems.iter_mut().filter(|problem| problem.object == object) {
                problem.fatal &= stands;
            }
        }
        self.blame_stopping(&mut problems);
        problems
    }

    /// Adds the replica that was told to stop and that the others wait for: they are created only after it,
    /// or find no room before it ends.
    fn blame_stopping(&self, problems: &mut Vec<Problem>) {
        let Some(stopping) = &self.stopping else { return };
        let mut wants = problems.iter_mut().filter(|problem| diagnosis::is_want_of_room(problem)).peekable();
        let is_crowded = wants.peek().is_some();
        for problem in wants {
            problem.message = format!("{} {}", problem.message, stopping.message);
        }
        let lost = stopping.problem.iter().filter(|problem| problem.reason == Reason::NodeLost);
        if self.current.is_none() {
            problems.extend(stopping.problem.clone());
        } else if is_crowded {
            problems.extend(lost.cloned());
        }
    }

    /// Returns when a problem can have begun to count for a rollout. Room that terminating replicas hold may
    /// be free at the end of their grace period.
    pub(super) fn counts_from(&self, problem: &Problem, begin: Timestamp) -> Timestamp {
        let released = self.released.filter(|_| diagnosis::is_want_of_room(problem));
        released.map_or(begin, |released| released.max(begin))
    }

    /// Returns what the rollout waits for before its first replica can be created.
    pub(super) fn waits_for_old(&self) -> Option<&Stopping> {
        self.stopping.as_ref().filter(|_| self.observed && self.current.is_none())
    }

    /// Returns the problem that its replicas ended lately, if they did.
    pub(super) fn ends(&self, rollout: &Rollout, facts: &AppRows<'_>, now: Timestamp) -> Option<Problem> {
        // A ReplicaSet that is used again has pods that ended before the rollout began.
        let mut ended = self.ended.clone();
        let start = rollout.start.as_second();
        ended.retain(|pod| {
            let time = pod.ended.as_ref().map_or(i64::MIN, |ended| ended.time.as_second());
            pod.created.as_second() >= start || time > start
        });
        diagnosis::diagnose_ended(&ended, facts.around, &rollout.content.spec.policy(), now)
    }

    /// Returns why the Deployment controller cannot take the rollout up, unless the refusal is about an
    /// earlier rollout.
    pub(super) fn refusal(
        &self,
        rollout: &Rollout,
        deployment: &Deployment,
        facts: &AppRows<'_>,
        applied: SignedDuration,
    ) -> Option<Problem> {
        // A change outside Gantry that has a ReplicaSet was not refused.
        if self.current.is_some() || rollout.set.is_some() {
            return None;
        }
        let refusal = diagnosis::find_refusal(deployment, &facts.replica_sets, facts.around)?;
        // Kubernetes' times are whole seconds, so a refusal in the second of the start may be older than the
        // rollout.
        let later = refusal.time.is_some_and(|time| time.as_second() > rollout.start.as_second());
        (later || applied >= STANDING).then_some(refusal.problem)
    }
}
