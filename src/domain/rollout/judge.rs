//! The verdict on a rollout: whether it succeeded or failed, and the sentence about it. Pure: the time is an
//! argument.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{
    AppRows, Rollout, State,
    counts::Counts,
    progress::{Moment, Tracker},
};
use crate::domain::{
    diagnosis,
    observed::{Deployment, Kind, Pod},
    plan::FIELD_MANAGER,
    problem::{Problem, Reason},
    revision::{Cause, End},
    spec::Verdict,
};

impl Rollout {
    /// Returns the newest rollout of an app with its current state. `decided` is a verdict that was reached
    /// earlier, which never changes. `tracker` belongs to this rollout and takes in the current observation.
    #[must_use]
    pub fn judged(
        mut self,
        facts: &AppRows<'_>,
        decided: Option<&End>,
        tracker: &mut Tracker,
        at: Moment,
    ) -> Self {
        if let Some(deployment) = facts.deployment {
            let counts = Counts::new(deployment, facts, at.now);
            tracker.observe(&counts.observe(&self, deployment, facts, at), at);
            if self.state == State::Pending {
                self.judge_pending(tracker, at.now);
            } else {
                self.progress = counts.progress;
                let applied = tracker.since_applied(at.heard);
                self.problems = counts.problems(&self, deployment, facts, applied);
                self.problems.extend(counts.refusal(&self, deployment, facts, applied));
                diagnosis::sort_by_urgency(&mut self.problems);
                let ended = counts.ends(&self, facts, at.now);
                diagnosis::add_ended(&mut self.problems, ended);
                self.autoscaler.clone_from(&deployment.scaling.policy);
                self.judge(deployment, &counts, facts, tracker, at.now);
            }
            if self.cause == Cause::External && facts.managed && self.state != State::Pending {
                let by = if self.actor.is_empty() { String::new() } else { format!(" by {}", self.actor) };
                self.message = format!("Changed outside Gantry{by}: {}", self.message);
            }
        }
        match decided {
            Some(end) => self.ended(end),
            None => self,
        }
    }

    /// Judges a rollout that is recorded but not applied. Gantry retries the apply, and the rollout fails at
    /// the progress timeout.
    fn judge_pending(&mut self, tracker: &Tracker, now: Timestamp) {
        let timeout = self.content.spec.policy().progress_timeout;
        if tracker.is_overdue(timeout) {
            let said = "it is recorded but not applied";
            let remedy = "Find out why the Deployment cannot be changed, then deploy again.";
            self.fail(self.late(timeout, said, remedy), now);
        }
    }

    fn fail(&mut self, problem: Problem, now: Timestamp) {
        self.proved_at = None;
        self.state = State::Failed;
        self.message.clone_from(&problem.message);
        self.error = Some(problem);
        self.end = Some(now.max(self.start));
    }

    fn judge(
        &mut self,
        deployment: &Deployment,
        counts: &Counts<'_>,
        facts: &AppRows<'_>,
        tracker: &Tracker,
        now: Timestamp,
    ) {
        let mut policy = self.content.spec.policy();
        let p = self.progress;
        let external = self.cause == Cause::External;
        if let Some(seconds) = deployment.deadline.filter(|_| external) {
            policy.progress_timeout = Duration::from_secs(seconds);
        }
        // A change that was made while Gantry did not run may have completed long before its replicas failed.
        // The condition of the Deployment still shows when.
        let complete = match deployment.deadline.filter(|_| external) {
            Some(_) => deployment.completed.filter(|_| counts.current.is_some()),
            None => (counts.complete(deployment) && counts.proved(&self.content, now)).then_some(now),
        };
        if let Some(time) = complete {
            if p.desired == 0 && self.cut_short(deployment) {
                let said =
                    "Scaled to zero before the rollout was complete; it continues when a replica is added.";
                said.clone_into(&mut self.message);
                return;
            }
            self.state = State::Succeeded;
            self.untried = p.desired == 0 && tracker.most_ready() == 0;
            self.message = match p.desired {
                0 => self.at_zero(counts),
                // The rollout may have completed long ago, so the replicas that are ready now say nothing
                // about it.
                _ if external && deployment.deadline.is_some() => {
                    "Kubernetes reports the rollout as complete.".to_owned()
                }
                n => format!("{} ready.", replicas(n, n)),
            };
            self.end = Some(time.max(self.start));
            return;
        }
        if counts.complete(deployment) {
            self.proved_at = counts.proved_at(now);
        }
        // For a change outside Gantry, the Deployment's own condition decides. For Gantry's rollouts it does
        // not, because Kubernetes also counts time in which the cluster could not be observed.
        //
        // A reused ReplicaSet does not clear the condition, so the condition may be about the previous
        // rollout. It is, if it was set before this rollout's timeout can have passed. Kubernetes rounds
        // times down to whole seconds.
        let timeout = i64::try_from(policy.progress_timeout.as_secs()).unwrap_or(i64::MAX);
        let soonest = SignedDuration::from_secs(timeout.saturating_sub(1));
        // Kubernetes does not renew a condition that stands. Once this rollout itself has had the whole
        // timeout, an old condition is about it too.
        let late = tracker.had(Duration::from_secs(policy.progress_timeout.as_secs()));
        let stalled = deployment
            .stalled
            .filter(|s| external && counts.observed && (late || s.duration_since(self.start) >= soonest));
        // Kubernetes stops checking its deadline once a rollout was complete for an instant, and never checks
        // it for a template that it does not take up.
        let own = if external {
            deployment.deadline.map(Duration::from_secs)
        } else {
            Some(policy.progress_timeout)
        };
        let patience = counts.patience(deployment);
        let overdue =
            own.filter(|own| !deployment.paused && tracker.is_overdue(own.saturating_add(patience)));
        let doomed = self.problems.iter().find(|problem| match policy.verdict {
            Verdict::FailFast => {
                let begin = counts.counts_from(problem, self.start);
                problem.fatal || diagnosis::is_past_grace(problem, &policy, begin, now)
            }
            Verdict::Wait => false,
        });
        let late = overdue.or_else(|| stalled.map(|_| policy.progress_timeout));
        let error = doomed.cloned().or_else(|| late.map(|time| self.timeout(counts, facts, tracker, time)));
        // Older replicas are replaced as long as there is hope for room.
        if (error.is_some() || p.old == 0)
            && let Some(message) = self.brought_enough(deployment, counts, now)
        {
            (self.state, self.message, self.proved_at) = (State::Succeeded, message, None);
            self.end = Some(now.max(self.start));
            return;
        }
        if let Some(problem) = error {
            self.fail(problem, now);
            return;
        }
        self.state = if deployment.paused { State::Paused } else { State::Running };
        self.message = if let Some(problem) = self.problems.first() {
            problem.message.clone()
        } else if !counts.observed {
            "Applied; Kubernetes has not taken it up yet.".to_owned()
        } else {
            let old = if p.old > 0 {
                format!(", {} of older rollouts still serving", p.old)
            } else {
                String::new()
            };
            let starts = counts.updated.iter().find_map(|pod| diagnosis::describe_start(pod));
            let waits = match starts
                .as_deref()
                .or_else(|| counts.waits_for_old().map(|stopping| stopping.message.as_str()))
            {
                Some(waits) => format!(" {waits}"),
                None => String::new(),
            };
            format!("{} ready{old}.{waits}", replicas(p.ready, p.desired))
        };
    }

    /// Returns the sentence about a success at zero replicas.
    fn at_zero(&self, counts: &Counts<'_>) -> String {
        // Replicas of the same template may have run in an earlier rollout.
        let is_new = counts.current.is_none_or(|rs| rs.created.as_second() >= self.start.as_second());
        let said = match (self.content.spec.replicas, self.untried) {
            (Some(0), true) if is_new => "Scaled to zero as asked; at 0 replicas nothing has run it.",
            (Some(0), true) => "Scaled to zero as asked.",
            (Some(0), false) => "Scaled to zero as asked; its replicas ran before.",
            (_, true) if is_new => "Applied, but at 0 replicas nothing has run it.",
            (_, true) => "Applied; the count is zero, so nothing runs.",
            (_, false) => "Applied; its replicas ran until the count became zero.",
        };
        said.to_owned()
    }

    /// Returns whether another field manager scaled it to zero before it was complete.
    fn cut_short(&self, deployment: &Deployment) -> bool {
        let by_other = deployment.count_by.as_ref().filter(|touch| &*touch.manager != FIELD_MANAGER);
        self.content.spec.replicas != Some(0)
            && by_other.is_some_and(|touch| {
                let second = touch.time.as_second();
                second > self.start.as_second()
                    && deployment.completed.is_none_or(|completed| second <= completed.as_second())
            })
    }

    /// Returns the problem that it made no progress for this time, with the cause as far as it is known.
    fn timeout(
        &self,
        counts: &Counts<'_>,
        facts: &AppRows<'_>,
        tracker: &Tracker,
        time: Duration,
    ) -> Problem {
        let p = self.progress;
        let unready = counts.updated.iter().any(|pod| pod.running && !pod.ready);
        let mut stands = format!("{} ready", replicas(p.ready, p.desired));
        // Limited to the desired count, because scaling down removes replicas too.
        let lost = tracker.most_ready().min(p.desired) - p.ready;
        if lost > 0 {
            let were = if lost == 1 { "1 has" } else { &format!("{lost} have") };
            stands = format!("{stands}, {were} become unready");
        }
        if p.old > 0 {
            stands = format!("{stands}, {} of older rollouts still serving", p.old);
        }
        let remedy = if !counts.observed {
            "Kubernetes has not taken it up".clone_into(&mut stands);
            "Look at the events of the Deployment, and check that the cluster's controllers run."
        } else if unready {
            "Look at the readiness probe, and at the log of the replicas."
        } else {
            "Look at the replicas, and at the events of the Deployment."
        };
        let late = self.late(time, &stands, remedy);
        let waiting = counts.updated.iter().find(|pod| !pod.ready && pod.waits.is_some());
        let pending = counts.updated.iter().find(|pod| !pod.ready);
        let of_pod = |pod: &Pod| format!("{}/{}", Kind::Pod.prefix(), pod.name);
        match self.problems.first() {
            Some(cause) => Problem {
                reason: if matches!(cause.reason, Reason::ProbeFailing | Reason::NodeLost) {
                    cause.reason
                } else {
                    late.reason
                },
                message: format!("{} {}", late.message, cause.message),
                remedy: cause.remedy.clone(),
                object: cause.object.clone(),
                container: cause.container.clone(),
                events: cause.events.clone(),
                ..late
            },
            None if let Some((pod, (message, container))) =
                waiting.and_then(|pod| Some((pod, diagnosis::describe_wait(pod)?))) =>
            {
                Problem {
                    // Of a sidecar, an init container, or a probe whose events have gone.
                    reason: if pod.is_checked() { Reason::ProbeFailing } else { late.reason },
                    message: format!("{} {message}", late.message),
                    remedy: "Read the log of the container, and look at the events of the replica."
                        .to_owned(),
                    object: of_pod(pod),
                    container,
                    ..late
                }
            }
            None if let Some(stopping) = counts.waits_for_old() => Problem {
                message: format!("{} {}", late.message, stopping.message),
                remedy: stopping.remedy.clone(),
                object: stopping.object.clone(),
                ..late
            },
            None if let Some((attempt, object)) = counts.current.and_then(diagnosis::describe_attempt) => {
                Problem { message: format!("{} {attempt}", late.message), object, ..late }
            }
            None if let Some(pod) = pending.filter(|_| !unready) => {
                let (stands, events) = diagnosis::describe_pending(pod, facts.around);
                Problem { message: format!("{} {stands}", late.message), object: of_pod(pod), events, ..late }
            }
            None if unready => Problem {
                reason: Reason::ProbeFailing,
                object: counts
                    .updated
                    .iter()
                    .find(|pod| pod.running && !pod.ready)
                    .map_or_else(|| late.object.clone(), |pod| of_pod(pod)),
                message: format!(
                    "{} The containers run but do not pass their readiness probe.",
                    late.message
                ),
                ..late
            },
            None => late,
        }
    }

    fn late(&self, time: Duration, stands: &str, remedy: &str) -> Problem {
        let message = format!("No progress for {} s: {stands}.", time.as_secs());
        let object = format!("{}/{}", Kind::Deployment.prefix(), self.app.app);
        Problem {
            affected: (self.progress.desired - self.progress.ready).max(1),
            start: Some(self.start),
            ..Problem::new(Reason::ProgressTimeout, message, remedy, object, true)
        }
    }
}

pub(super) fn replicas(n: i32, of: i32) -> String {
    let noun = if of == 1 { "replica is" } else { "replicas are" };
    format!("{n} of {of} {noun}")
}
