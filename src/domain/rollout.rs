//! A rollout, its state, and the rows of an app from which the state is derived. Pure: the time is an
//! argument.

mod counts;
mod enough;
mod external;
mod judge;
mod progress;
mod recovery;

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    change::Change,
    diagnosis::Surroundings,
    evidence::Evidence,
    name,
    observed::{Deployment, Pod, ReplicaSet, Revision},
    problem::Problem,
    revision::{Cause, End, Outcome},
    spec::Content,
};
use crate::autoscale::Policy;

pub use self::{
    external::{Origin, find_origin, is_gone, with_template_changes},
    progress::{Moment, Tracker},
};

/// One attempt to bring an app to a desired content.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollout {
    /// The app.
    pub app: name::App,
    /// The number of its revision.
    pub number: u64,
    /// Its state.
    pub state: State,
    /// The content that is rolled out.
    pub content: Arc<Content>,
    /// Digest of the content.
    pub digest: String,
    /// The current replica counts.
    pub progress: Progress,
    /// One sentence that gives the state and its reason.
    pub message: String,
    /// All current problems of its replicas, most urgent first.
    pub problems: Vec<Problem>,
    /// The problem that caused the failure.
    pub error: Option<Problem>,
    /// Evidence gathered when it failed.
    pub evidence: Option<Arc<Evidence>>,
    /// Whether its verdict, with the last lines of logs, has yet to be stored with its revision. Only the
    /// newest rollout can have this set.
    pub unkept: bool,
    /// The last policy of the app's autoscaler while this rollout was the newest, if there was one and it was
    /// stored.
    pub autoscaler: Option<Arc<Policy>>,
    /// The replica count when it began; `None` if it was not stored.
    pub count: Option<i32>,
    /// Whether it succeeded at zero replicas and none of its replicas has run since.
    pub untried: bool,
    /// When it succeeds if nothing changes: its replicas only have to keep running until then.
    pub proved_at: Option<Timestamp>,
    /// What started it.
    pub cause: Cause,
    /// The Kubernetes user who asked for it.
    pub actor: String,
    /// The reason that the caller gave.
    pub reason: String,
    /// The rollout that a rollback returns to.
    pub source: Option<u64>,
    /// Its changes, object by object.
    pub changes: Arc<[Change]>,
    /// For a change made outside Gantry: the ReplicaSet that the change led to, and the number that
    /// Kubernetes gave its template.
    pub set: Option<(Arc<str>, u64)>,
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Option<Timestamp>,
}

/// The state of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Recorded, not yet applied.
    Pending,
    /// Replicas are being replaced.
    Running,
    /// Paused by a caller.
    Paused,
    /// Every replica is current and ready, and no old replica takes traffic.
    Succeeded,
    /// Ended without success.
    Failed,
    /// A later rollout superseded it.
    Superseded,
}

/// Replica counts of a rollout.
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
    /// Replicas that are terminating.
    pub draining: i32,
}

/// The facts about the next rollout that a superseded rollout shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Successor<'a> {
    /// Its number.
    pub number: u64,
    /// When it began.
    pub start: Timestamp,
    /// The field manager that changed the app outside Gantry, if the successor is such a change; empty if
    /// unknown.
    pub changed_by: Option<&'a str>,
}

/// The rows of one app.
pub struct AppRows<'a> {
    /// Its Deployment, if there is one.
    pub deployment: Option<&'a Deployment>,
    /// Whether Gantry manages the app.
    pub managed: bool,
    /// The Deployment's ReplicaSets.
    pub replica_sets: Vec<&'a ReplicaSet>,
    /// Their pods, except those that have ended.
    pub pods: Vec<&'a Pod>,
    /// Their pods that have ended, and that Kubernetes still keeps.
    pub ended: Vec<&'a Pod>,
    /// Events, and which nodes do not answer.
    pub around: Surroundings<'a>,
    /// The external autoscaler that owns the replica count, for example
    /// `horizontalpodautoscaler.autoscaling/shop`.
    pub autoscaler: Option<String>,
}

// === impl AppRows ===

impl<'a> AppRows<'a> {
    /// Returns the ReplicaSet of the Deployment's newest template, once Kubernetes has taken the template up.
    ///
    /// A ReplicaSet that is reused gets its new number before the Deployment does. Until then the
    /// Deployment's number belongs to the previous template.
    pub fn current(&self, deployment: &Deployment) -> Option<&'a ReplicaSet> {
        let carries = |rs: &&ReplicaSet| deployment.revision.is_none() || deployment.revision == rs.revision;
        self.numbered(deployment).filter(carries)
    }

    /// Returns the pods of the current ReplicaSet that have ended without being told to.
    pub fn current_ended(&self, deployment: &Deployment) -> Vec<&'a Pod> {
        let current = self.current(deployment);
        let is_current = |pod: &&Pod| !pod.deleting && current.is_some_and(|rs| rs.name == pod.replica_set);
        self.ended.iter().copied().filter(is_current).collect()
    }

    /// Returns the ReplicaSet with the same template number as the Deployment, once Kubernetes has taken the
    /// newest template up.
    fn numbered(&self, deployment: &Deployment) -> Option<&'a ReplicaSet> {
        let is_current = |rs: &&ReplicaSet| rs.template_revision == deployment.template_revision;
        self.replica_sets.iter().copied().find(is_current).filter(|_| deployment.is_observed())
    }
}

// === impl State ===

impl State {
    /// Returns whether the state is final.
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
    /// Returns the rollout of a revision, as far as the revision alone describes it.
    pub fn recorded(revision: &Revision) -> Self {
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
            count: revision.count,
            untried: false,
            proved_at: None,
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
        self.untried = end.is_untried();
        self.proved_at = None;
        self.end = Some(end.time);
        self
    }

    /// Returns a rollout that is not the newest of its app: it ended, or a later one superseded it.
    #[must_use]
    pub fn before(self, decided: Option<&End>, next: &Successor<'_>) -> Self {
        if let Some(end) = decided {
            return self.ended(end);
        }
        let message = match next.changed_by {
            Some("") => "Changed outside Gantry.".to_owned(),
            Some(by) => format!("Changed outside Gantry by {by}."),
            None => format!("Superseded by rollout {}.", next.number),
        };
        let time = next.start.max(self.start);
        self.ended(&End { outcome: Outcome::Superseded, message, time, problem: None, untried: false })
    }

    /// Returns the verdict to record, once there is one.
    pub fn to_end(&self) -> Option<End> {
        let outcome = match self.state {
            State::Succeeded => Outcome::Succeeded,
            State::Failed => Outcome::Failed,
            State::Superseded => Outcome::Superseded,
            State::Pending | State::Running | State::Paused => return None,
        };
        let (message, time, problem) = (self.message.clone(), self.end?, self.error.clone());
        Some(End { outcome, message, time, problem, untried: self.untried })
    }
}

#[cfg(test)]
mod tests;
