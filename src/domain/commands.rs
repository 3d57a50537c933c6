//! The commands of callers and of the autoscaler, as data, and as traits: `grpc` and the autoscaling loop ask, the writer of `cluster`
//! does it, and neither knows the other.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use jiff::Timestamp;

use super::{
    Error, caller::Caller, change::Change, check::Check, mask::Mask, name, revision::Request, scheduling,
    spec::Content,
};
use crate::autoscale;

/// What callers ask for. Each is done on behalf of the caller that its `meta` names.
pub trait Commands: Send + Sync + 'static {
    /// Creates or changes an app.
    fn deploy(&self, request: Deploy) -> BoxFuture<'_, Result<CommandResult, Error>>;
    /// Replaces every replica.
    fn restart(&self, request: Restart) -> BoxFuture<'_, Result<CommandResult, Error>>;
    /// Brings back what an earlier rollout wanted.
    fn rollback(&self, request: Rollback) -> BoxFuture<'_, Result<CommandResult, Error>>;
    /// Sets the replica count.
    fn scale(&self, request: Scale) -> BoxFuture<'_, Result<CommandResult, Error>>;
    /// Holds a rollout, or lets it go on.
    fn set_paused(&self, request: SetPaused) -> BoxFuture<'_, Result<CommandResult, Error>>;
    /// Deletes an app and everything that was created for it.
    fn delete(&self, request: Delete) -> BoxFuture<'_, Result<CommandResult, Error>>;
    /// Changes the autoscaler of an app.
    fn update_autoscaler(&self, request: UpdateAutoscaler) -> BoxFuture<'_, Result<CommandResult, Error>>;
    /// What is wrong between this server and the cluster at this time, in one sentence each.
    fn health_warnings(&self, _now: Timestamp) -> Vec<String> {
        Vec::new()
    }
}

/// What carries out what the autoscaler decided.
pub trait Scaler: Send + Sync + 'static {
    /// Sets the replica count that the autoscaler decided on, if it still is the autoscaler that decides, and of that count.
    fn set_replicas(&self, request: SetReplicas) -> BoxFuture<'_, Result<ScaleOutcome, Error>>;
    /// Creates a hold of this length for a count that was set outside Gantry, if the autoscaler would take it back.
    fn create_hold(&self, app: name::App, length: Duration) -> BoxFuture<'_, Result<ScaleOutcome, Error>>;
    /// Sets the count of a hold whose writer ended before it did.
    fn complete_hold(&self, app: name::App) -> BoxFuture<'_, Result<ScaleOutcome, Error>>;
}

/// Tells what replicas use.
pub trait UsageSource: Send + Sync + 'static {
    /// The CPU and memory that each pod of a namespace uses.
    fn usage(&self, namespace: String) -> BoxFuture<'_, Result<Vec<autoscale::PodUsage>, Error>>;
}

/// Who asks for a change, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestMeta {
    /// Who asks.
    pub caller: Caller,
    /// Why.
    pub reason: String,
    /// When.
    pub time: Timestamp,
    /// Tells a repeat from another request.
    pub request: Option<Request>,
    /// Check everything, change nothing.
    pub validate_only: bool,
    /// The app's etag must be this, if given.
    pub etag: Option<String>,
}

/// A deploy as asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Deploy {
    /// The app.
    pub name: name::App,
    /// The new content, as far as the caller set it.
    pub content: Content,
    /// Which of it counts.
    pub mask: Mask,
    /// Take over fields that another field manager owns.
    pub force: bool,
    /// Take over a Deployment that Gantry does not manage.
    pub adopt: bool,
    /// Fail instead of superseding a rollout that still runs.
    pub reject_concurrent: bool,
    /// By whom.
    pub meta: RequestMeta,
}

/// A restart as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// The app.
    pub name: name::App,
    /// By whom.
    pub meta: RequestMeta,
}

/// A rollback as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollback {
    /// The app.
    pub name: name::App,
    /// The rollout to go back to; `None` means the newest that succeeded and differs from what runs.
    pub to: Option<u64>,
    /// Take over fields that another field manager owns.
    pub force: bool,
    /// Leave the autoscaler's policy as it is.
    pub keep_autoscaler: bool,
    /// No caller asks: the policy of this rollout, which failed, says so.
    pub failed: Option<u64>,
    /// By whom.
    pub meta: RequestMeta,
}

/// A scaling as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// The app.
    pub name: name::App,
    /// Replicas wanted.
    pub replicas: i32,
    /// How long they hold over an autoscaler of this server.
    pub hold_for: Option<Duration>,
    /// By whom.
    pub meta: RequestMeta,
}

/// A change of an autoscaler as asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct UpdateAutoscaler {
    /// The app.
    pub name: name::App,
    /// What of its policy changes.
    pub change: autoscale::PolicyChange,
    /// By whom; the etag is that of the autoscaler.
    pub meta: RequestMeta,
}

/// A decision of the autoscaler to be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetReplicas {
    /// The app.
    pub name: name::App,
    /// Whom the policy acts for.
    pub caller: Caller,
    /// Digest of the policy that decided.
    pub policy: String,
    /// The count that was seen.
    pub from: i32,
    /// The count that is wanted.
    pub to: i32,
}

/// What became of a decision of the autoscaler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScaleOutcome {
    /// The count is set.
    Done,
    /// Policy, hold or count are not those that were decided on; it is to be decided anew.
    Outdated,
}

/// A hold, or its end, as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetPaused {
    /// The app.
    pub name: name::App,
    /// The rollout that it is about; it must still be the newest.
    pub number: u64,
    /// Hold it, or let it go on.
    pub pause: bool,
    /// It has ended, as far as was seen: only the answer to an earlier equal request is given again.
    pub ended: bool,
    /// By whom.
    pub meta: RequestMeta,
}

/// What a change did, or would do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CommandResult {
    /// Number of the rollout that was begun; `None` if none had to be, or nothing was to be changed.
    pub rollout: Option<u64>,
    /// The content as stored, for an app that this server made.
    pub content: Option<Content>,
    /// What changes, field by field.
    pub changes: Vec<Change>,
    /// What was checked.
    pub checks: Vec<Check>,
    /// Warnings of the API server, verbatim.
    pub warnings: Vec<String>,
    /// Where the replicas would go, if that was asked for and could be foreseen.
    pub fit: Option<scheduling::Forecast>,
    /// The policy as stored, after a change of an autoscaler.
    pub policy: Option<Arc<autoscale::Policy>>,
    /// Shows the change to a read that waits for it; `None` if nothing was written.
    pub position: Option<Position>,
}

/// A deletion as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// The app.
    pub name: name::App,
    /// An app that does not exist is fine.
    pub allow_missing: bool,
    /// By whom.
    pub meta: RequestMeta,
}

/// How far a reader must have seen an app to see a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The app.
    pub app: name::App,
    /// What must have been seen of it.
    pub seen: ObservedVersion,
}

/// What must have been seen of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObservedVersion {
    /// Its Deployment at this resourceVersion or later, and the revision of this number.
    Version {
        /// resourceVersion of the Deployment.
        deployment: u64,
        /// Number of the revision.
        revision: u64,
    },
    /// The deletion of the Deployment with this uid, or its end.
    Deleting {
        /// The uid.
        uid: String,
    },
}

// === impl Position ===

impl Position {
    /// An app whose Deployment is at this version, with this revision.
    pub fn of_version(app: &name::App, deployment: u64, revision: u64) -> Self {
        Self { app: app.clone(), seen: ObservedVersion::Version { deployment, revision } }
    }

    /// Parses what [`ToString`] gave; callers treat it as opaque.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        let (app, seen) = rest.split_once('@')?;
        let app = name::App::parse(app).ok()?;
        let seen = match kind {
            "v1" => {
                let (deployment, revision) = seen.split_once('.')?;
                ObservedVersion::Version {
                    deployment: deployment.parse().ok()?,
                    revision: revision.parse().ok()?,
                }
            }
            "d1" if !seen.is_empty() => ObservedVersion::Deleting { uid: seen.to_owned() },
            _ => return None,
        };
        Some(Self { app, seen })
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.seen {
            ObservedVersion::Version { deployment, revision } => {
                write!(f, "v1:{}@{deployment}.{revision}", self.app)
            }
            ObservedVersion::Deleting { uid } => write!(f, "d1:{}@{uid}", self.app),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_survive_the_way_through_a_caller() {
        let app = name::App::new("prod", "shop");
        for seen in [
            ObservedVersion::Version { deployment: 12, revision: 3 },
            ObservedVersion::Deleting { uid: "a-b".into() },
        ] {
            let position = Position { app: app.clone(), seen };
            assert_eq!(Position::parse(&position.to_string()), Some(position));
        }
        for text in
            ["", "v1:", "v1:namespaces/a/apps/b@1", "x:namespaces/a/apps/b@1.2", "d1:namespaces/a/apps/b@"]
        {
            assert_eq!(Position::parse(text), None, "{text}");
        }
    }
}
