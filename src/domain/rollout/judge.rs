//! The verdict on a rollout: whether it succeeded or failed, and what is said about it. Pure; the time is an
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
    observed::{Deployment, Kind},
    plan::FIELD_MANAGER,
    problem::{Problem, Reason},
    revision::{Cause, End},
    spec::Verdict,
};

impl Rollout {
    /// How it stands, for the newest one of an app. `decided` is a verdict that was reached earlier: it
    /// stays. The tracker is this rollout's own, and takes in what is seen now.
    #[must_use]
    pub fn judged(
        mut self,
        facts: &AppRows<'_>,
        decided: Option<&End>,
        tracker: &mut Tracker,
        at: Moment,
    ) -> Self {
        if let Some(deployment) = facts.deployment {
            let counts = Counts::new(deployment, facts);
            tracker.observe(&counts.observe(&self, deployment, facts, at), at);
            if self.state == State::Pending {
                self.judge_pending(tracker, at.now);
            } else {
                self.progress = counts.progress;
                self.problems = counts.problems(deployment, facts, &self.content);
                let applied = tracker.since_applied(at.heard);
                self.problems.extend(counts.refusal(&self, deployment, facts, applied));
                diagnosis::sort_by_urgency(&mut self.problems);
                self.autoscaler.clone_from(&deployment.scaling.policy);
                self.judge(deployment, &counts, tracker, at.now);
            }
            if self.cause == Cause::External && facts.managed && self.state != State::Pending {
                let by = if self.actor.is_empty() { String::new() } else { format!(" by {}", self.actor) };
                self.message = format!("Changed past this server{by}: {}", self.message);
            }
        }
        match decided {
            Some(end) => self.ended(end),
            None => self,
        }
    }

    /// Of one that is recorded and not applied: it is tried again and again, but not for ever.
    fn judge_pending(&mut self, tracker: &Tracker, now: Timestamp) {
        let timeout = self.content.spec.policy().progress_timeout;
        if tracker.is_overdue(timeout) {
            let said = "it is recorded and not applied";
            let remedy = "See why the Deployment cannot be changed, and deploy again.";
            self.fail(self.late(timeout, said, remedy), now);
        }
    }

    fn fail(&mut self, problem: Problem, now: Timestamp) {
        self.state = State::Failed;
        self.message.clone_from(&problem.message);
        self.error = Some(problem);
        self.end = Some(now.max(self.start));
    }

    fn judge(&mut self, deployment: &Deployment, counts: &Counts<'_>, tracker: &Tracker, now: Timestamp) {
        let mut policy = self.content.spec.policy();
        let p = self.progress;
        let external = self.cause == Cause::External;
        if let Some(seconds) = deployment.deadline.filter(|_| external) {
            policy.progress_timeout = Duration::from_secs(seconds);
        }
        // A change that was made while Gantry did not run may have completed long before replicas got sick:
        // Kubernetes remembers.
        let complete = match deployment.deadline.filter(|_| external) {
            Some(_) => deployment.completed.filter(|_| counts.current.is_some()),
            None => (counts.complete(deployment) && counts.proved(&self.content, now)).then_some(now),
        };
        if let Some(time) = complete {
            if p.desired == 0 && self.cut_short(deployment) {
                let said = "Scaled to zero before it was done; it goes on with the next replica.";
                said.clone_into(&mut self.message);
                return;
            }
            self.state = State::Succeeded;
            self.message = match p.desired {
                0 if self.content.spec.replicas == Some(0) => "Scaled to zero as asked.".to_owned(),
                0 => "Applied; the count is zero, so nothing runs.".to_owned(),
                // It may have been long ago; what is ready now says nothing about it.
                _ if external && deployment.deadline.is_some() => "Kubernetes completed it.".to_owned(),
                n => format!("{} ready.", replicas(n, n)),
            };
            self.end = Some(time.max(self.start));
            return;
        }
        // Of a change outside Gantry it is Kubernetes' own word that counts; of ours it is not, since it
        // counts the time in which the cluster was out of sight. A ReplicaSet that is used again does not
        // clear the condition, so one may be about the rollout before: within the timeout this one cannot
        // have run into it. Kubernetes' times are whole seconds, rounded down.
        let timeout = i64::try_from(policy.progress_timeout.as_secs()).unwrap_or(i64::MAX);
        let soonest = SignedDuration::from_secs(timeout.saturating_sub(1));
        // A standing condition is not renewed: once this rollout has had the time itself, an old one is about
        // it too.
        let late = tracker.had(Duration::from_secs(policy.progress_timeout.as_secs()));
        let stalled = deployment
            .stalled
            .filter(|s| external && counts.observed && (late || s.duration_since(self.start) >= soonest));
        // Kubernetes stops asking once a rollout was complete for an instant, and never asks of what it does
        // not take up.
        let own = if external {
            deployment.deadline.map(Duration::from_secs)
        } else {
            Some(policy.progress_timeout)
        };
        let patience = counts.patience(deployment);
        let overdue =
            own.filter(|own| !deployment.paused && tracker.is_overdue(own.saturating_add(patience)));
        let doomed = self.problems.iter().find(|problem| match policy.verdict {
            Verdict::FailFast => problem.fatal || diagnosis::is_past_grace(problem, &policy, self.start, now),
            Verdict::Wait => false,
        });
        let late = overdue.or_else(|| stalled.map(|_| policy.progress_timeout));
        let error = doomed.cloned().or_else(|| late.map(|time| self.timeout(counts, tracker, time)));
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
            format!("{} ready{old}.", replicas(p.ready, p.desired))
        };
    }

    /// Whether another field manager took away its replicas before it had shown that it works.
    fn cut_short(&self, deployment: &Deployment) -> bool {
        let by_other = deployment.count_by.as_ref().filter(|touch| &*touch.manager != FIELD_MANAGER);
        self.content.spec.replicas != Some(0)
            && by_other.is_some_and(|touch| {
                let second = touch.time.as_second();
                second > self.start.as_second()
                    && deployment.completed.is_none_or(|completed| second <= completed.as_second())
            })
    }

    /// That it made no progress for this time, and what is known of the cause.
    fn timeout(&self, counts: &Counts<'_>, tracker: &Tracker, time: Duration) -> Problem {
        let p = self.progress;
        let unready = counts.updated.iter().any(|pod| pod.running && !pod.ready);
        let mut stands = format!("{} ready", replicas(p.ready, p.desired));
        // Of those that are wanted: a count that went down took the rest away.
        let lost = tracker.most_ready().min(p.desired) - p.ready;
        if lost > 0 {
            let were = if lost == 1 { "1 was and is not" } else { &format!("{lost} were and are not") };
            stands = format!("{stands}, {were} any more");
        }
        if p.old > 0 {
            stands = format!("{stands}, {} of older rollouts still serving", p.old);
        }
        let remedy = if !counts.observed {
            "Kubernetes has not taken it up".clone_into(&mut stands);
            "Look at the events of the Deployment, and whether the controllers of the cluster run."
        } else if unready {
            "Look at the readiness probe, and at the log of the replicas."
        } else {
            "Look at the replicas, and at the events of the Deployment."
        };
        let late = self.late(time, &stands, remedy);
        match self.problems.first() {
            Some(cause) => Problem {
                reason: if cause.reason == Reason::ProbeFailing { cause.reason } else { late.reason },
                message: format!("{} {}", late.message, cause.message),
                remedy: cause.remedy.clone(),
                object: cause.object.clone(),
                container: cause.container.clone(),
                events: cause.events.clone(),
                ..late
            },
            None if unready => Problem {
                reason: Reason::ProbeFailing,
                message: format!(
                    "{} The containers run and do not pass their readiness probe.",
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

fn replicas(n: i32, of: i32) -> String {
    let noun = if of == 1 { "replica is" } else { "replicas are" };
    format!("{n} of {of} {noun}")
}
