//! The verdict on a rollout: where it stands, from rows alone. Pure; the time is an argument.

mod external;

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::{
    change::Change,
    diagnosis::{self, Around},
    evidence::Evidence,
    name,
    observed::{Deployment, Pod, ReplicaSet, Revision},
    plan::FIELD_MANAGER,
    problem::{Problem, Reason},
    revision::{Cause, End, Outcome},
    spec::{Content, Verdict},
};
use crate::autoscale::Policy;

pub use self::external::{Origin, is_gone, origin};

/// Time that a replica without a readiness probe must have run. A kubelet looks at its containers once a second and tells what it saw some
/// seconds later if it is busy; times are rounded down to whole ones.
const UNPROBED: SignedDuration = SignedDuration::from_secs(5);
/// The same of one that was started anew: the first new start comes at once and hides the end, the second ten seconds later.
const UNPROBED_AGAIN: SignedDuration = SignedDuration::from_secs(15);

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
pub struct Facts<'a> {
    /// Its Deployment, if there is one.
    pub deployment: Option<&'a Deployment>,
    /// This server manages it.
    pub managed: bool,
    /// The Deployment's ReplicaSets.
    pub replica_sets: Vec<&'a ReplicaSet>,
    /// Their pods.
    pub pods: Vec<&'a Pod>,
    /// Events, and which nodes are lost.
    pub around: Around<'a>,
    /// The autoscaler, not of this server, that owns the replica count, for example `horizontalpodautoscaler.autoscaling/shop`.
    pub autoscaler: Option<String>,
}

// === impl Facts ===

impl<'a> Facts<'a> {
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

    /// How it stands, for the newest one of an app. `decided` is a verdict that was reached earlier: it stays.
    #[must_use]
    pub fn judged(mut self, facts: &Facts<'_>, decided: Option<&End>, now: Timestamp) -> Self {
        if let Some(deployment) = facts.deployment.filter(|_| self.state != State::Pending) {
            let counts = Counts::new(deployment, facts);
            self.progress = counts.progress;
            self.problems = counts.problems(deployment, facts, &self.content);
            self.autoscaler.clone_from(&deployment.scaling.policy);
            self.judge(deployment, &counts, now);
            if self.cause == Cause::External && facts.managed {
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

    fn judge(&mut self, deployment: &Deployment, counts: &Counts<'_>, now: Timestamp) {
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
        // A ReplicaSet that is used again does not clear the condition, so one may be about the rollout before: within
        // the timeout this one cannot have run into it. Kubernetes' times are whole seconds, rounded down.
        let timeout = i64::try_from(policy.progress_timeout.as_secs()).unwrap_or(i64::MAX);
        let soonest = SignedDuration::from_secs(timeout.saturating_sub(1));
        // A standing condition is not renewed: once this rollout has had the time itself, an old one is about it too.
        let late = now.duration_since(self.start) >= SignedDuration::from_secs(timeout);
        let stalled = deployment
            .stalled
            .filter(|s| counts.observed && (late || s.duration_since(self.start) >= soonest));
        let doomed = self.problems.iter().find(|problem| match policy.verdict {
            Verdict::FailFast => problem.fatal || diagnosis::outlasted(problem, &policy, self.start, now),
            Verdict::Wait => false,
        });
        let error = match (doomed, stalled) {
            (Some(problem), _) => Some(problem.clone()),
            (None, Some(_)) => Some(self.timeout(deployment, counts, policy.progress_timeout.as_secs())),
            (None, None) => None,
        };
        if let Some(problem) = error {
            self.state = State::Failed;
            self.message.clone_from(&problem.message);
            self.error = Some(problem);
            self.end = Some(now.max(self.start));
            return;
        }
        self.state = if deployment.paused { State::Paused } else { State::Running };
        self.message = if !counts.observed {
            "Applied; Kubernetes has not taken it up yet.".to_owned()
        } else if let Some(problem) = self.problems.first() {
            problem.message.clone()
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

    fn timeout(&self, deployment: &Deployment, counts: &Counts<'_>, seconds: u64) -> Problem {
        let cause = self.problems.first();
        let unready = counts.updated.iter().any(|pod| pod.running && !pod.ready);
        let probe = cause.map_or(unready, |c| c.reason == Reason::ProbeFailing);
        let why = match cause {
            Some(cause) => format!(" {}", cause.message),
            None if unready => " The containers run and do not pass their readiness probe.".to_owned(),
            None => String::new(),
        };
        let remedy = match cause {
            Some(cause) => cause.remedy.clone(),
            None if unready => "Look at the readiness probe, and at the log of the replicas.".to_owned(),
            None => "Look at the replicas, and at the events of the Deployment.".to_owned(),
        };
        Problem {
            reason: if probe { Reason::ProbeFailing } else { Reason::ProgressTimeout },
            message: format!(
                "No progress for {seconds} s: {} ready.{why}",
                replicas(self.progress.ready, self.progress.desired)
            ),
            remedy,
            object: cause
                .map_or_else(|| format!("deployment.apps/{}", deployment.name.app), |c| c.object.clone()),
            container: cause.map(|c| c.container.clone()).unwrap_or_default(),
            affected: (self.progress.desired - self.progress.ready).max(1),
            log_tail: Vec::new(),
            events: cause.map(|c| c.events.clone()).unwrap_or_default(),
            start: Some(self.start),
            fatal: true,
        }
    }
}

fn replicas(n: i32, of: i32) -> String {
    let noun = if of == 1 { "replica is" } else { "replicas are" };
    format!("{n} of {of} {noun}")
}

/// The pods of an app, told apart by whether they run the current template.
struct Counts<'a> {
    progress: Progress,
    /// Kubernetes has taken up the newest desired state.
    observed: bool,
    current: Option<&'a ReplicaSet>,
    updated: Vec<&'a Pod>,
}

impl<'a> Counts<'a> {
    fn new(deployment: &Deployment, facts: &Facts<'a>) -> Self {
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
        Self { progress, observed: observed(deployment), current, updated }
    }

    /// Two witnesses must agree: the Deployment's own counts and the pods. They come by different watches, either may be late.
    fn complete(&self, deployment: &Deployment) -> bool {
        let d = deployment;
        self.observed
            && d.updated == d.desired
            && d.available == d.desired
            && d.current == d.desired
            && self.progress.ready == d.desired
            && self.progress.updated == d.desired
            && self.progress.old == 0
    }

    /// Without a readiness probe Kubernetes calls a container ready as soon as it is started, also one that ends a moment later: then it
    /// must have run for a moment.
    fn proved(&self, content: &Content, now: Timestamp) -> bool {
        let ran = |pod: &&Pod| {
            let least = if pod.restarts == 0 { UNPROBED } else { UNPROBED_AGAIN };
            pod.ready_since().is_none_or(|since| now.duration_since(since) >= least)
        };
        content.spec.is_probed() || self.updated.iter().all(ran)
    }

    fn problems(&self, deployment: &Deployment, facts: &Facts<'_>, content: &Content) -> Vec<Problem> {
        if !self.observed {
            return Vec::new();
        }
        let policy = content.spec.policy();
        diagnosis::diagnose(deployment, self.current, self.updated.iter().copied(), facts.around, &policy)
    }
}

#[cfg(test)]
mod tests;
