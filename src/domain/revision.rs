//! The record of a deploy: what is kept in the cluster about it, and how it is named. Knows no object store.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{name, problem::Problem, spec::Content};

/// What is written once, before anything is applied; never changed afterwards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Version of [`super::manifest`] that renders the content, so that a newer daemon renders it alike.
    pub renderer: u32,
    /// What was asked for.
    pub content: Content,
    /// Digest of the content.
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
}

/// What started a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// DeployApp.
    Deploy,
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

/// When a rollout began: Kubernetes' time, which counts whole seconds, made finer by the writer's clock if the two agree.
pub fn began(created: Timestamp, written: Timestamp) -> Timestamp {
    if written.as_second() == created.as_second() { written } else { created }
}

/// Name of the object that holds a revision. Two deploys at once want the same one, and one of them loses: that is the lock.
pub fn object_name(app: &name::App, number: u64) -> String {
    format!("gantry-{}-{number}", app.app)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_storage() {
        let content = Content::default();
        let record = Record {
            renderer: 1,
            digest: content.digest(),
            content,
            cause: Cause::Deploy,
            actor: "ann".into(),
            reason: String::new(),
            time: Timestamp::UNIX_EPOCH,
        };
        let json = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&json).unwrap(), record);
    }
}
