//! The verdict on a rollout: where it stands, from rows alone. Pure; the time is an argument.

mod counts;
mod external;
mod progress;

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};

use self::counts::Counts;

use super::{
    change::Change,
    diagnosis::{self, Surroundings},
    evidence::Evidence,
    name,
    observed::{Deployment, Kind, Pod, ReplicaSet, Revision},
    plan::FIELD_MANAGER,
    problem::{Problem, Reason},
    revision::{Cause, End, Outcome},
    spec::{Content, Verdict},
};
use crate::autoscale::Policy;

pub use self::{
    external::{Origin, find_origin, is_gone, with_template_changes},
    progress::{Moment, Tracker},
};

/// One attempt to bring an app to some content.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollout {
    /// The app.
    pub app: name::App,
    /// Its revision's number.
    pub number: u64,
    /// Where it stands.
    pub state: State,
    /// What is rolled out.
    pub content: Arc<Content>,
    /// Digest of the content.
    pub digest: String,
    /// Counts at this moment.
    pub progress: Progress,
    /// One sentence that says where it stands and why.
    pub message: String,
    /// Everything that is wrong with its replicas right now, most urgent first.
    pub problems: Vec<Problem>,
    /// What decided a failure.
    pub error: Option<Problem>,
    /// What was seen when it failed.
    pub evidence: Option<Arc<Evidence>>,
    /// Its verdict is about to be kept with its revision, and with it the last lines of logs. Only of the newest.
    pub unkept: bool,
    /// The last policy of the app's autoscaler in its time, if it had one and somebody kept it.
    pub autoscaler: Option<Arc<Policy>>,
    /// What started it.
    pub cause: Cause,
    /// The Kubernetes user who asked for it.
    pub actor: String,
    /// Why, as the caller said.
    pub reason: String,
    /// The rollout that a rollback returns to.
    pub source: Option<u64>,
    /// What it changes, object by object.
    pub changes: Arc<[Change]>,
    /// For a change made past this server: the ReplicaSet that it led to, and Kubernetes' number of its template.
    pub set: Option<(Arc<str>, u64)>,
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Option<Timestamp>,
}

/// Where a rollout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Recorded, not yet applied.
    Pending,
    /// Replicas are being replaced.
    Running,
    /// Held.
    Paused,
    /// Every replica is current and ready, and no old one takes traffic.
    Succeeded,
    /// Gave up.
    Failed,
    /// A later rollout took its place.
    Superseded,
}

/// Counts of a rollout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Replicas wanted.
    pub desired: i32,
    /// Replicas of the new content.
    pub updated: i32,
    /// Of those, ready.
    pub ready: i32,
    /// Replicas of older content that still take traffic.
    pub old: i32,
    /// Replicas that finish their work.
    pub draining: i32,
}

/// What a rollout needs to know of the one that took its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next<'a> {
    /// Its number.
    pub number: u64,
    /// When it began.
    pub start: Timestamp,
    /// Who changed the app past this server, if that is what it was; empty if nobody knows.
    pub changed_by: Option<&'a str>,
}

/// What is known of one app.
pub struct AppRows<'a> {
    /// Its Deployment, if there is one.
    pub deployment: Option<&'a Deployment>,
    /// This server manages it.
    pub managed: bool,
    /// The Deployment's ReplicaSets.
    pub replica_sets: Vec<&'a ReplicaSet>,
    /// Their pods.
    pub pods: Vec<&'a Pod>,
    /// Events, and which nodes are lost.
    pub around: Surroundings<'a>,
    /// The autoscaler, not of this server, that owns the replica count, for example `horizontalpodautoscaler.autoscaling/shop`.
    pub autoscaler: Option<String>,
}

// === impl Facts ===

impl<'a> AppRows<'a> {
    /// The ReplicaSet of the Deployment's newest template, once Kubernetes has taken that up. One that is used again gets its
    /// new number before the Deployment does; until then that number is of the template before.
    pub fn current(&self, deployment: &Deployment) -> Option<&'a ReplicaSet> {
        let carries = |rs: &&ReplicaSet| deployment.revision.is_none() || deployment.revision == rs.revision;
        self.numbered(deployment).filter(carries)
    }
}

/// Whether Kubernetes has taken up the newest desired state.
const fn observed(deployment: &Deployment) -> bool {
    deployment.observed_generation >= deployment.generation
}

// === impl State ===

impl State {
    /// Whether nothing follows.
    pub const fn ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Superseded)
    }
}

impl From<Outcome> for State {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Succeeded => Self::Succeeded,
            Outcome::Failed => Self::Failed,
            Outcome::Superseded => Self::Superseded,
        }
    }
}

// === impl Rollout ===

impl Rollout {
    /// The rollout of a revision, before anything else is known of it.
    fn of(revision: &Revision) -> Self {
        Self {
            app: revision.app.clone(),
            number: revision.number,
            state: State::Pending,
            content: revision.content.clone(),
            digest: revision.digest.clone(),
            progress: Progress {
                desired: revision.content.spec.replicas.unwrap_or(1),
                ..Progress::default()
            },
            message: "Recorded; not yet applied.".to_owned(),
            problems: Vec::new(),
            error: None,
            evidence: revision.evidence.clone(),
            unkept: false,
            autoscaler: None,
            cause: revision.cause,
            actor: revision.actor.clone(),
            reason: revision.reason.clone(),
            source: revision.source,
            changes: revision.changes.clone(),
            set: revision.replica_set.clone().zip(revision.template_revision),
            start: revision.created,
            end: None,
        }
    }

    fn ended(mut self, end: &End) -> Self {
        self.state = end.outcome.into();
        self.message.clone_from(&end.message);
        self.error.clone_from(&end.problem);
        self.end = Some(end.time);
        self
    }

    /// One that is not the newest of its app: it ended, or another one took its place.
    #[must_use]
    pub fn before(self, decided: Option<&End>, next: &Next<'_>) -> Self {
        if let Some(end) = decided {
            return self.ended(end);
        }
        let message = match next.changed_by {
            Some("") => "Changed past this server.".to_owned(),
            Some(by) => format!("Changed past this server by {by}."),
            None => format!("Rollout {} took its place.", next.number),
        };
        let time = next.start.max(self.start);
        self.ended(&End { outcome: Outcome::Superseded, message, time, problem: None })
    }

    /// Of a revision, the rollout as far as the revision tells.
    pub fn recorded(revision: &Revision) -> Self {
        Self::of(revision)
    }

    /// How it stands, for the newest one of an app. `decided` is a verdict that was reached earlier: it stays. The tracker is this rollout's
    /// own, and takes in what is seen now.
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
            tracker.look(&counts.look(&self, deployment, facts, at), at);
            if self.state == State::Pending {
                self.judge_pending(tracker, at.now);
            } else {
                self.progress = counts.progress;
                self.problems = counts.problems(deployment, facts, &self.content);
                let applied = tracker.since_applied(at.heard);
                self.problems.extend(counts.refusal(&self, deployment, facts, applied));
                diagnosis::most_urgent_first(&mut self.problems);
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

    /// The verdict as it is to be recorded, once there is one.
    pub fn to_end(&self) -> Option<End> {
        let outcome = match self.state {
            State::Succeeded => Outcome::Succeeded,
            State::Failed => Outcome::Failed,
            State::Superseded => Outcome::Superseded,
            State::Pending | State::Running | State::Paused => return None,
        };
        let (message, time, problem) = (self.message.clone(), self.end?, self.error.clone());
        Some(End { outcome, message, time, problem })
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
        // A change that was made while nobody looked may have completed long before replicas got sick: Kubernetes remembers.
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
        // Of a change of others it is Kubernetes' own word that counts; of ours it is not, since it counts the time in which the cluster was
        // out of sight. A ReplicaSet that is used again does not clear the condition, so one may be about the rollout before: within
        // the timeout this one cannot have run into it. Kubernetes' times are whole seconds, rounded down.
        let timeout = i64::try_from(policy.progress_timeout.as_secs()).unwrap_or(i64::MAX);
        let soonest = SignedDuration::from_secs(timeout.saturating_sub(1));
        // A standing condition is not renewed: once this rollout has had the time itself, an old one is about it too.
        let late = tracker.had(Duration::from_secs(policy.progress_timeout.as_secs()));
        let stalled = deployment
            .stalled
            .filter(|s| external && counts.observed && (late || s.duration_since(self.start) >= soonest));
        // Kubernetes stops asking once a rollout was complete for an instant, and never asks of what it does not take up.
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

    /// Whether others took away its replicas before it had shown that it works.
    fn cut_short(&self, deployment: &Deployment) -> bool {
        let by_others = deployment.count_by.as_ref().filter(|touch| &*touch.manager != FIELD_MANAGER);
        self.content.spec.replicas != Some(0)
            && by_others.is_some_and(|touch| {
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
        // Of those that are wanted: a count that went down took others away.
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
        Problem {
            reason: Reason::ProgressTimeout,
            message: format!("No progress for {} s: {stands}.", time.as_secs()),
            remedy: remedy.to_owned(),
            object: format!("{}/{}", Kind::Deployment.prefix(), self.app.app),
            container: String::new(),
            affected: (self.progress.desired - self.progress.ready).max(1),
            log_tail: Vec::new(),
            events: Vec::new(),
            start: Some(self.start),
            fatal: true,
        }
    }
}

fn replicas(n: i32, of: i32) -> String {
    let noun = if of == 1 { "replica is" } else { "replicas are" };
    format!("{n} of {of} {noun}")
}

#[cfg(test)]
mod tests;
