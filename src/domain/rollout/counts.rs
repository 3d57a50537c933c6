//! The pods of an app, counted for a rollout, and whether they show that it is complete. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{
    AppRows, Progress, Rollout, State,
    progress::{Moment, Observation},
};
use crate::domain::{
    diagnosis,
    observed::{Deployment, Pod, ReplicaSet},
    problem::Problem,
    spec::Content,
};

/// Time that a replica without a readiness probe must have run. A kubelet looks at its containers once a
/// second and tells what it saw some seconds later if it is busy; times are rounded down to whole ones.
const UNPROBED: SignedDuration = SignedDuration::from_secs(5);
/// The same of one that was started anew: the first new start comes at once and hides the end, the second ten
/// seconds later.
const UNPROBED_AGAIN: SignedDuration = SignedDuration::from_secs(15);

/// Age of a rollout from which a refusal that Kubernetes does not renew is about it, if it still is not taken
/// up: that takes less than a second, or some if the controllers of the cluster start again.
const STANDING: SignedDuration = SignedDuration::from_secs(10);

/// The pods of an app, told apart by whether they run the current template.
pub(super) struct Counts<'a> {
    pub(super) progress: Progress,
    /// Kubernetes has taken up the newest desired state.
    pub(super) observed: bool,
    pub(super) current: Option<&'a ReplicaSet>,
    pub(super) updated: Vec<&'a Pod>,
    /// All pods of older templates, those that finish their work included.
    older: i32,
}

impl<'a> Counts<'a> {
    pub(super) fn new(deployment: &Deployment, facts: &AppRows<'a>) -> Self {
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
        Self { progress, observed: deployment.is_observed(), current, updated, older }
    }

    /// Two witnesses must agree: the Deployment's own counts and the pods. They come by different watches,
    /// either may be late.
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

    /// Without a readiness probe Kubernetes calls a container ready as soon as it is started, also one that
    /// ends a moment later: then it must have run for a moment.
    pub(super) fn proved(&self, content: &Content, now: Timestamp) -> bool {
        let ran = |pod: &&Pod| {
            let least = if pod.restarts == 0 { UNPROBED } else { UNPROBED_AGAIN };
            pod.ready_since().is_none_or(|since| now.duration_since(since) >= least)
        };
        content.spec.is_probed() || self.updated.iter().all(ran)
    }

    /// How much more time one gets that has everything and only has to go on for a moment.
    pub(super) fn patience(&self, deployment: &Deployment) -> Duration {
        if self.complete(deployment) { UNPROBED_AGAIN.unsigned_abs() } else { Duration::ZERO }
    }

    /// What is seen of the rollout, for its tracker.
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
        // Kubernetes took note of the last change of the counts, and pods of their own.
        let made = self.updated.iter().flat_map(|pod| [Some(pod.created), pod.ready_since()]);
        let moved =
            [deployment.progressed, self.current.map(|rs| rs.created)].into_iter().chain(made).flatten();
        // A ReplicaSet that exists is not what the Deployment controller was refused: a later change outside
        // Gantry waits, and this rollout ended or never will.
        let overtaken = rollout.set.is_some() && deployment.create_failure.is_some();
        Observation {
            applied,
            taken_up: applied && self.current.is_some(),
            paused: deployment.paused || overtaken,
            desired: p.desired,
            ready: if applied { p.ready } else { 0 },
            lost: if applied { i32::try_from(lost).unwrap_or(i32::MAX) } else { 0 },
            // Until then the replicas are those of the rollout before.
            serving: if applied { p.old } else { i32::MAX },
            old: if applied { self.older } else { i32::MAX },
            grace: stopping.max().unwrap_or_default(),
            start: rollout.start,
            moved: moved.max().unwrap_or(rollout.start),
        }
    }

    pub(super) fn problems(
        &self,
        deployment: &Deployment,
        facts: &AppRows<'_>,
        content: &Content,
    ) -> Vec<Problem> {
        if !self.observed {
            return Vec::new();
        }
        let policy = content.spec.policy();
        diagnosis::diagnose_replicas(
            deployment,
            self.current,
            self.updated.iter().copied(),
            facts.around,
            &policy,
        )
    }

    /// What keeps the Deployment controller from taking a rollout up, if that is about this rollout and none
    /// before.
    pub(super) fn refusal(
        &self,
        rollout: &Rollout,
        deployment: &Deployment,
        facts: &AppRows<'_>,
        applied: SignedDuration,
    ) -> Option<Problem> {
        // A change outside Gantry that has a ReplicaSet was not refused one.
        if self.current.is_some() || rollout.set.is_some() {
            return None;
        }
        let refusal = diagnosis::find_refusal(deployment, &facts.replica_sets, facts.around)?;
        // Kubernetes counts whole seconds, so what it said in the second of the start may be older.
        let later = refusal.time.is_some_and(|time| time.as_second() > rollout.start.as_second());
        (later || applied >= STANDING).then_some(refusal.problem)
    }
}
