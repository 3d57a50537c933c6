//! A rollout, where it stands, and the rows of an app that say so. Pure; the time is an argument.

mod counts;
mod external;
mod judge;
mod progress;

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
    /// Its verdict is about to be kept with its revision, and with it the last lines of logs. Only of the
    /// newest.
    pub unkept: bool,
    /// The last policy of the app's autoscaler in its time, if it had one and it was kept.
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
    /// For a change made outside Gantry: the ReplicaSet that it led to, and Kubernetes' number of its
    /// template.
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
pub struct Successor<'a> {
    /// Its number.
    pub number: u64,
    /// When it began.
    pub start: Timestamp,
    /// The field manager that changed the app outside Gantry, if one did; empty if it is not known.
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
    /// The autoscaler, not of this server, that owns the replica count, for example
    /// `horizontalpodautoscaler.autoscaling/shop`.
    pub autoscaler: Option<String>,
}

// === impl AppRows ===

impl<'a> AppRows<'a> {
    /// The ReplicaSet of the Deployment's newest template, once Kubernetes has taken that up. One that is
    /// used again gets its new number before the Deployment does; until then that number is of the template
    /// before.
    pub fn current(&self, deployment: &Deployment) -> Option<&'a ReplicaSet> {
        let carries = |rs: &&ReplicaSet| deployment.revision.is_none() || deployment.revision == rs.revision;
        self.numbered(deployment).filter(carries)
    }

    /// The ReplicaSet that has the number of the Deployment's newest template, once Kubernetes has taken that
    /// up.
    fn numbered(&self, deployment: &Deployment) -> Option<&'a ReplicaSet> {
        let is_current = |rs: &&ReplicaSet| rs.template_revision == deployment.template_revision;
        self.replica_sets.iter().copied().find(is_current).filter(|_| deployment.is_observed())
    }
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
    /// Of a revision, the rollout as far as the revision tells.
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
    pub fn before(self, decided: Option<&End>, next: &Successor<'_>) -> Self {
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
}

#[cfg(test)]
mod tests;
