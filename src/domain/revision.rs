//! The record of a deploy: what is kept in the cluster about it, and how it is named. Knows no object store.

pub mod form;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{change::Change, digest, name, problem::Problem, spec::Content};
use crate::autoscale::Policy;

/// Version of the rendering. A change that would alter the pod template of unchanged content needs a new
/// version beside the old one, kept in each revision.
pub const RENDERER: u32 = 1;

/// Age by its writer's clock, when Kubernetes made the object, from which a revision is a copy of an earlier
/// one: a writer has its object made within a second, and clocks do not differ by minutes.
const COPIED: SignedDuration = SignedDuration::from_mins(10);

/// What is written once, before anything is applied; never changed afterwards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Version of `domain::manifest` that renders the content, so that a newer daemon renders it alike.
    pub renderer: u32,
    /// What was asked for.
    pub content: Content,
    /// Digest of the content and of the autoscaler's policy.
    pub digest: String,
    /// What started it.
    pub cause: Cause,
    /// The Kubernetes user who asked for it.
    pub actor: String,
    /// Why, as the caller said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When, by the clock of the server that wrote it.
    pub time: Timestamp,
    /// Number of the rollout that a rollback returns to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<u64>,
    /// When the replicas were last told to restart; rendered into the pod template, so later revisions carry
    /// it on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarted: Option<Timestamp>,
    /// The request that asked for it, to know a repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
    /// For a change made outside Gantry: the ReplicaSet that it led to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica_set: Option<String>,
    /// And Kubernetes' number of its template at that time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_revision: Option<u64>,
    /// It takes over fields that another field manager owns.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// It takes over objects of the app's name that Gantry does not manage.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopt: bool,
    /// It sets the replica count over the field manager that set it before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub takes_count: bool,
    /// What it changes, object by object.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// The policy of the app's autoscaler when this began, and so the last one of the revision before. `None`
    /// if it was not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaler: Option<Policy>,
    /// The policy that it sets instead, for a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brings: Option<Policy>,
}

/// A request that may be repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// UUID that the caller gave it.
    pub id: String,
    /// Digest of what it asked for: the same id with another digest is a mistake.
    pub digest: String,
}

/// What started a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// DeployApp.
    Deploy,
    /// RollbackApp.
    Rollback,
    /// The server, after a failed rollout whose policy asks for it.
    AutoRollback,
    /// RestartApp.
    Restart,
    /// A change of the Deployment outside Gantry.
    External,
}

/// How a rollout ended. Written once, as an annotation, since the record itself cannot change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The verdict.
    pub outcome: Outcome,
    /// One sentence for people.
    pub message: String,
    /// When it was reached.
    pub time: Timestamp,
    /// What decided a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// Verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every replica is current and ready.
    Succeeded,
    /// Gave up.
    Failed,
    /// A later rollout took its place.
    Superseded,
}

// === impl Record ===

impl Record {
    /// A record by this version of the server, of a change that a caller asked for.
    pub fn new(cause: Cause, content: Content, actor: String, reason: String, time: Timestamp) -> Self {
        Self {
            renderer: RENDERER,
            digest: content.digest(),
            content,
            cause,
            actor,
            reason,
            time,
            source: None,
            restarted: None,
            request: None,
            replica_set: None,
            template_revision: None,
            force: false,
            adopt: false,
            takes_count: false,
            changes: Vec::new(),
            autoscaler: None,
            brings: None,
        }
    }

    /// The record of a change that begins under this policy, and sets another one if it `brings` one.
    #[must_use]
    pub fn under(self, policy: Policy, brings: Option<Policy>) -> Self {
        let then = brings.as_ref().unwrap_or(&policy);
        // The default one is as good as none.
        let digest = if *then == Policy::default() {
            self.content.digest()
        } else {
            digest::sha256_hex(format!("{} {}", self.content.digest(), then.digest()))
        };
        Self { digest, autoscaler: Some(policy), brings, ..self }
    }
}

/// Whether a revision that does not say that it was carried out is still to be. A change made outside Gantry
/// never is, and what a backup brought back was wanted at another time, perhaps in another cluster.
pub fn is_to_be_applied(record: &Record, created: Timestamp) -> bool {
    record.cause != Cause::External && created.duration_since(record.time) < COPIED
}

/// When a rollout began: Kubernetes' time, which counts whole seconds, made finer by the writer's clock if
/// the two agree. Of a copy, which is old or ended before it was made, it is the writer's time: Kubernetes
/// knows only when the copy was made.
pub fn began_at(created: Timestamp, written: Timestamp, end: Option<Timestamp>) -> Timestamp {
    let same = written.as_second() == created.as_second();
    let is_copy = created.duration_since(written) >= COPIED || end.is_some_and(|end| end < created);
    if same || is_copy { written } else { created }
}

/// Name of the object that holds a revision. Two deploys at once want the same one, and one of them loses:
/// that is the lock.
pub fn object_name(app: &name::App, number: u64) -> String {
    format!("gantry-{}-{number}", app.app)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_storage() {
        let record = Record {
            source: Some(3),
            restarted: Some(Timestamp::UNIX_EPOCH),
            request: Some(Request { id: "a".into(), digest: "b".into() }),
            ..Record::new(
                Cause::Rollback,
                Content::default(),
                "ann".into(),
                String::new(),
                Timestamp::UNIX_EPOCH,
            )
        };
        let json = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&json).unwrap(), record);
    }
}
