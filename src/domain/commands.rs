//! The commands of callers and of the autoscaler, as data and as traits. `grpc` and the autoscaling loop call
//! the traits, and the writer in `cluster` implements them, so that neither side depends on the other.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use jiff::Timestamp;

use super::{
    Error, caller::Caller, change::Change, check::Check, mask::Mask, name, revision::Request, scheduling,
    spec::Content,
};
use crate::autoscale;

/// The commands of callers. Each is carried out on behalf of the caller that its `meta` names.
pub trait Commands: Send + Sync + 'static {
    /// Creates or changes an app.
    fn deploy(&self, request: Deploy) -> BoxFuture<'_, Result<CommandResult, Error>>;
    /// Replaces every replica.
    fn restart(&self, request: Restart) -> BoxFuture<'_, Result<CommandResult, Error>>;
    /// Restores the content of an earlier rollout.
    fn rollback(&self, request: Rollback) -> BoxFuture<'_, Result<CommandResult, Error>>;
    /// Sets the replica count.
    fn scale(&self, request: Scale) -> BoxFuture<'_, Result<CommandResult, Error>>;
    /// Pauses or resumes a rollout.
    fn set_paused(&self, request: SetPaused) -> BoxFuture<'_, Result<CommandResult, Error>>;
    /// Deletes an app and everything that was created for it.
    fn delete(&self, request: Delete) -> BoxFuture<'_, Result<CommandResult, Error>>;
    /// Changes the autoscaler of an app.
    fn update_autoscaler(&self, request: UpdateAutoscaler) -> BoxFuture<'_, Result<CommandResult, Error>>;
    /// Returns whether a namespace exists. `None` if that cannot be found out.
    fn has_namespace(&self, _namespace: String) -> BoxFuture<'_, Option<bool>> {
        Box::pin(async { None })
    }
    /// Returns the current problems between `gantryd` and the cluster, one sentence each.
    fn health_warnings(&self, _now: Timestamp) -> Vec<String> {
        Vec::new()
    }
}

/// Carries out the decisions of the autoscaler.
pub trait Scaler: Send + Sync + 'static {
    /// Sets the replica count that the autoscaler decided on, if the autoscaler still controls the count and
    /// the count is still the one that it decided from.
    fn set_replicas(&self, request: SetReplicas) -> BoxFuture<'_, Result<ScaleOutcome, Error>>;
    /// Creates a hold of this length for a count that was set outside Gantry, if the autoscaler would revert
    /// that count.
    fn create_hold(&self, app: name::App, length: Duration) -> BoxFuture<'_, Result<ScaleOutcome, Error>>;
    /// Sets the count of a hold whose writer stopped before setting it.
    fn complete_hold(&self, app: name::App) -> BoxFuture<'_, Result<ScaleOutcome, Error>>;
}

/// Measures what replicas use.
pub trait UsageSource: Send + Sync + 'static {
    /// Returns the CPU and memory that each pod of a namespace uses.
    fn usage(&self, namespace: String) -> BoxFuture<'_, Result<Vec<autoscale::PodUsage>, Error>>;
}

/// The caller of a change, and the options of the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestMeta {
    /// The caller.
    pub caller: Caller,
    /// The reason that the caller gave.
    pub reason: String,
    /// The time of the call.
    pub time: Timestamp,
    /// Identifies a repetition of the same request.
    pub request: Option<Request>,
    /// Whether to only check, and change nothing.
    pub validate_only: bool,
    /// The etag that the app must have, if given.
    pub etag: Option<String>,
}

/// A request to deploy.
#[derive(Clone, Debug, PartialEq)]
pub struct Deploy {
    /// The app.
    pub name: name::App,
    /// The new content, as far as the caller set it.
    pub content: Content,
    /// Selects the fields of `content` that apply.
    pub mask: Mask,
    /// Whether to take over fields that another field manager owns.
    pub force: bool,
    /// Whether to take over a Deployment that Gantry does not manage.
    pub adopt: bool,
    /// Whether to fail instead of superseding a rollout that still runs.
    pub reject_concurrent: bool,
    /// The caller and the options of the call.
    pub meta: RequestMeta,
}

/// A request to restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// The app.
    pub name: name::App,
    /// The caller and the options of the call.
    pub meta: RequestMeta,
}

/// A request to roll back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollback {
    /// The app.
    pub name: name::App,
    /// The rollout to go back to; `None` means the newest that succeeded and differs from what runs.
    pub to: Option<u64>,
    /// Whether to take over fields that another field manager owns.
    pub force: bool,
    /// Whether to leave the autoscaler's policy unchanged.
    pub keep_autoscaler: bool,
    /// Set for an automatic rollback: the rollout that failed, whose policy demands it.
    pub failed: Option<u64>,
    /// The caller and the options of the call.
    pub meta: RequestMeta,
}

/// A request to scale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// The app.
    pub name: name::App,
    /// The replica count to set.
    pub replicas: i32,
    /// How long the count overrides Gantry's autoscaler.
    pub hold_for: Option<Duration>,
    /// The caller and the options of the call.
    pub meta: RequestMeta,
}

/// A request to change an autoscaler.
#[derive(Clone, Debug, PartialEq)]
pub struct UpdateAutoscaler {
    /// The app.
    pub name: name::App,
    /// The change of its policy.
    pub change: autoscale::PolicyChange,
    /// The caller and the options of the call. The etag is that of the autoscaler.
    pub meta: RequestMeta,
}

/// A decision of the autoscaler to carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetReplicas {
    /// The app.
    pub name: name::App,
    /// The caller that the policy acts for.
    pub caller: Caller,
    /// The digest of the policy that decided.
    pub policy: String,
    /// The count that the decision started from.
    pub from: i32,
    /// The count to set.
    pub to: i32,
}

/// The outcome of a decision of the autoscaler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScaleOutcome {
    /// The count is set.
    Done,
    /// The policy, hold or count changed since the decision, so the autoscaler must decide again.
    Outdated,
}

/// A request to pause or resume a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetPaused {
    /// The app.
    pub name: name::App,
    /// The rollout. It must still be the newest.
    pub number: u64,
    /// Whether to pause or resume it.
    pub pause: bool,
    /// Whether the rollout was seen as ended. Then only a repetition of an earlier, equal request succeeds,
    /// with the same answer.
    pub ended: bool,
    /// The caller and the options of the call.
    pub meta: RequestMeta,
}

/// The result of a change, or of its dry run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CommandResult {
    /// The number of the rollout that was begun. `None` if no rollout was needed, or in a dry run.
    pub rollout: Option<u64>,
    /// The content as stored, for an app that Gantry manages.
    pub content: Option<Content>,
    /// The changes, field by field.
    pub changes: Vec<Change>,
    /// The checks that were made.
    pub checks: Vec<Check>,
    /// Warnings of the API server, verbatim.
    pub warnings: Vec<String>,
    /// Where the replicas would run, if the caller asked for it and it can be predicted.
    pub fit: Option<scheduling::Forecast>,
    /// The policy as stored, after a change of an autoscaler.
    pub policy: Option<Arc<autoscale::Policy>>,
    /// The position that a read can wait for to see the change. `None` if nothing was written.
    pub position: Option<Position>,
}

/// A request to delete an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// The app.
    pub name: name::App,
    /// Whether to succeed if the app does not exist.
    pub allow_missing: bool,
    /// The caller and the options of the call.
    pub meta: RequestMeta,
}

/// The state of an app that a reader must have seen to see a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The app.
    pub app: name::App,
    /// The version that must have been seen.
    pub seen: ObservedVersion,
}

/// The version of an app that must have been seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObservedVersion {
    /// Its Deployment at this resourceVersion or later, and the revision of this number.
    Version {
        /// resourceVersion of the Deployment.
        deployment: u64,
        /// Number of the revision.
        revision: u64,
        /// resourceVersion of the revision since it was spelled as it is; 0 for any.
        spelled: u64,
    },
    /// The Deployment with this uid, being deleted or gone.
    Deleting {
        /// The uid.
        uid: String,
    },
}

// === impl Position ===

impl Position {
    /// The position of an app whose Deployment is at this resourceVersion, with this revision.
    pub fn of_version(app: &name::App, deployment: u64, revision: u64) -> Self {
        Self { app: app.clone(), seen: ObservedVersion::Version { deployment, revision, spelled: 0 } }
    }

    /// The same position, with the revision at this resourceVersion or later.
    #[must_use]
    pub fn spelled_at(mut self, version: u64) -> Self {
        if let ObservedVersion::Version { spelled, .. } = &mut self.seen {
            *spelled = version;
        }
        self
    }

    /// Parses the output of [`ToString`]. For callers it is opaque.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        let (app, seen) = rest.split_once('@')?;
        let app = name::App::parse(app).ok()?;
        let seen = match kind {
            "v1" => {
                let (deployment, rest) = seen.split_once('.')?;
                let (revision, spelled) = rest.split_once('.').unwrap_or((rest, "0"));
                ObservedVersion::Version {
                    deployment: deployment.parse().ok()?,
                    revision: revision.parse().ok()?,
                    spelled: spelled.parse().ok()?,
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
            ObservedVersion::Version { deployment, revision, spelled: 0 } => {
                write!(f, "v1:{}@{deployment}.{revision}", self.app)
            }
            ObservedVersion::Version { deployment, revision, spelled } => {
                write!(f, "v1:{}@{deployment}.{revision}.{spelled}", self.app)
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
            ObservedVersion::Version { deployment: 12, revision: 3, spelled: 0 },
            ObservedVersion::Version { deployment: 12, revision: 3, spelled: 14 },
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
