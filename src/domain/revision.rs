//! The record of a deploy: what is stored about it in the cluster, and the name of its object. Knows no
//! object store.

pub mod form;
pub mod spelling;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    change::Change,
    digest, name,
    problem::Problem,
    spec::{Content, Port},
};
use crate::autoscale::Policy;

/// Newest version of the rendering, stored in each revision. A change that alters the pod template of
/// unchanged content needs a new version, and the old version must stay. An app moves to the newest version
/// with a change that replaces its replicas anyway.
pub const RENDERER: u32 = 2;

/// The first version of the rendering. It sorted variables by name, also where one refers to another that
/// comes later, and named an empty directory after the spelling of its size.
pub const FIRST_RENDERER: u32 = 1;

/// Minimum age that makes a revision a copy of an earlier one, for example one restored from a backup. The
/// age is the creation time of the object minus the time in the record. A new object is created within a
/// second, and clocks do not differ by minutes.
const COPIED: SignedDuration = SignedDuration::from_mins(10);

/// What is written before anything is applied. It never changes afterwards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Version of `domain::manifest` that renders the content, so that a newer daemon renders it to the same
    /// bytes.
    pub renderer: u32,
    /// The desired state.
    pub content: Content,
    /// Digest of the content and of the autoscaler's policy. Only earlier versions read it; see
    /// [`Self::current_digest`].
    pub digest: String,
    /// What started it.
    pub cause: Cause,
    /// The Kubernetes user who asked for it.
    pub actor: String,
    /// The reason that the caller gave.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When it was written, by the clock of the daemon that wrote it.
    pub time: Timestamp,
    /// Number of the rollout that a rollback returns to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<u64>,
    /// The replica count when it began, as far as known. Replicas beyond it do not decide on the rollout.
    /// Earlier versions did not store it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<i32>,
    /// Time of the last restart that a caller asked for. It is rendered into the pod template, so later
    /// revisions repeat it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarted: Option<Timestamp>,
    /// The request that asked for it, to recognize a repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
    /// For a change made outside Gantry: the ReplicaSet that it led to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica_set: Option<String>,
    /// For a change made outside Gantry: Kubernetes' number of the ReplicaSet's template at that time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_revision: Option<u64>,
    /// Whether it takes over fields that another field manager owns.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// Whether it takes over objects with the app's name that Gantry does not manage.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopt: bool,
    /// Whether it takes the replica count over from the field manager that set it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub takes_count: bool,
    /// What it changes, by object.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// The policy of the app's autoscaler when this revision began, which is the last policy of the revision
    /// before. `None` if it was not stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaler: Option<Policy>,
    /// For a rollback: the policy that it restores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brings: Option<Policy>,
    /// Ports of the earlier templates that may have replicas while it is rolled out, oldest first. If there
    /// are any, the Service keeps them until the rollout succeeded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier_ports: Vec<Vec<Port>>,
    /// Ports of the Service, by number, that other field managers made and that it makes send to a port of
    /// the app, each with the name of that port.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub takeovers: BTreeMap<u16, String>,
}

/// A request that may be repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// UUID that the caller chose.
    pub id: String,
    /// Digest of the request. A repeated id with another digest is an error.
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
    /// A rollback by gantryd, after a failed rollout whose policy asks for it.
    AutoRollback,
    /// RestartApp.
    Restart,
    /// A change made outside Gantry.
    External,
}

/// How a rollout ended. Written once, as an annotation, because the record itself cannot change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The verdict.
    pub outcome: Outcome,
    /// One sentence for people.
    pub message: String,
    /// When the verdict was reached.
    pub time: Timestamp,
    /// The problem that decided a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// Whether it succeeded at zero replicas and none of its replicas has run since. Read with
    /// [`End::is_untried`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untried: bool,
}

/// Verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every replica is updated and ready.
    Succeeded,
    /// The rollout did not reach its goal.
    Failed,
    /// A later rollout took its place.
    Superseded,
}

// === impl End ===

impl End {
    /// Messages of successes at zero replicas of versions that did not store `untried`.
    const UNTRIED: [&str; 2] = ["Scaled to zero as asked.", "Applied; the count is zero, so nothing runs."];

    /// Returns whether it succeeded without a replica that ran, so that nothing is known about its content.
    pub fn is_untried(&self) -> bool {
        self.outcome == Outcome::Succeeded && (self.untried || Self::UNTRIED.contains(&self.message.as_str()))
    }

    /// Returns the verdict of an untried rollout whose replicas were seen to run at this time.
    #[must_use]
    pub fn tried(&self, ready: i32, time: Timestamp) -> Self {
        let noun = if ready == 1 { "replica was" } else { "replicas were" };
        let message = format!("Applied at 0 replicas; at {time} {ready} {noun} ready.");
        Self { message, untried: false, ..self.clone() }
    }
}

// === impl Record ===

impl Record {
    /// Builds the record of a change that a caller asked for, with the current renderer version.
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
            count: None,
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
            earlier_ports: Vec::new(),
            takeovers: BTreeMap::new(),
        }
    }

    /// Adds the autoscaler's policy: `policy` is in force when the change begins, and `brings` replaces it,
    /// if set.
    #[must_use]
    pub fn under(self, policy: Policy, brings: Option<Policy>) -> Self {
        let record = Self { autoscaler: Some(policy), brings, ..self };
        Self { digest: record.current_digest(), ..record }
    }

    /// Returns the digest of the content and of the autoscaler's policy, as this version computes it. The one
    /// that is stored may be of a version that compared content otherwise.
    pub fn current_digest(&self) -> String {
        let content = self.content.digest();
        match self.brings.as_ref().or(self.autoscaler.as_ref()) {
            Some(policy) if *policy != Policy::default() => {
                digest::sha256_hex(format!("{content} {}", policy.digest()))
            }
            // The default policy is the same as no policy.
            Some(_) | None => content,
        }
    }
}

/// Returns whether a revision that is not marked as applied must still be carried out. A change made outside
/// Gantry never must. A copy restored from a backup must not, because it was wanted at another time, perhaps
/// in another cluster.
pub fn is_to_be_applied(record: &Record, created: Timestamp) -> bool {
    record.cause != Cause::External && created.duration_since(record.time) < COPIED
}

/// Returns when a rollout began. This is the creation time of the object, which Kubernetes stores in whole
/// seconds. If the writer's time is in the same second, it is used, because it is finer. For a copy the
/// writer's time is used, because Kubernetes knows only when the copy was made. A revision is a copy if it is
/// old, or if it ended before its object was created.
pub fn began_at(created: Timestamp, written: Timestamp, end: Option<Timestamp>) -> Timestamp {
    let same = written.as_second() == created.as_second();
    let is_copy = created.duration_since(written) >= COPIED || end.is_some_and(|end| end < created);
    if same || is_copy { written } else { created }
}

/// Returns the name of the object that stores a revision. The name is the lock: of two concurrent deploys
/// that create the same name, one fails.
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
