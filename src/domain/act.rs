//! What can be done to the cluster, as a trait: the side that answers callers asks for it, the side that talks to Kubernetes
//! does it, and neither knows the other.

use futures::future::BoxFuture;
use jiff::Timestamp;

use super::{
    Error,
    change::Change,
    check::Check,
    mask::Mask,
    name,
    revision::{End, Record, Request},
    spec::Content,
};

/// Changes the cluster.
pub trait Act: Send + Sync + 'static {
    /// Creates or changes an app.
    fn deploy(&self, request: Deploy) -> BoxFuture<'_, Result<Done, Error>>;
    /// Replaces every replica.
    fn restart(&self, request: Restart) -> BoxFuture<'_, Result<Done, Error>>;
    /// Brings back what an earlier rollout wanted.
    fn rollback(&self, request: Rollback) -> BoxFuture<'_, Result<Done, Error>>;
    /// Sets the replica count.
    fn scale(&self, request: Scale) -> BoxFuture<'_, Result<Done, Error>>;
    /// Holds a rollout, or lets it go on.
    fn steer(&self, request: Steer) -> BoxFuture<'_, Result<Done, Error>>;
    /// Deletes an app and everything that was created for it.
    fn delete(&self, request: Delete) -> BoxFuture<'_, Result<Done, Error>>;
    /// Keeps a verdict with its revision.
    fn record(&self, app: name::App, number: u64, end: End) -> BoxFuture<'_, Result<(), Error>>;
    /// Carries out the newest revision of an app, if whoever wrote it did not come to that.
    fn finish(&self, app: name::App) -> BoxFuture<'_, Result<(), Error>>;
    /// Keeps a change that was made past this server as a revision of this number, unless there is one already.
    fn note(&self, app: name::App, number: u64, record: Record) -> BoxFuture<'_, Result<(), Error>>;
    /// What is wrong between this server and the cluster at this time, in one sentence each.
    fn troubles(&self, _now: Timestamp) -> Vec<String> {
        Vec::new()
    }
}

/// Who asks for a change, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The Kubernetes user who asks.
    pub actor: String,
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
    /// Take over a Deployment that others made.
    pub adopt: bool,
    /// Fail instead of superseding a rollout that still runs.
    pub reject_concurrent: bool,
    /// By whom.
    pub asked: Asked,
}

/// A restart as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// The app.
    pub name: name::App,
    /// By whom.
    pub asked: Asked,
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
    /// Nobody asks: the policy of this rollout, which failed, says so.
    pub failed: Option<u64>,
    /// By whom.
    pub asked: Asked,
}

/// A scaling as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// The app.
    pub name: name::App,
    /// Replicas wanted.
    pub replicas: i32,
    /// By whom.
    pub asked: Asked,
}

/// A hold, or its end, as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steer {
    /// The app.
    pub name: name::App,
    /// The rollout that it is about; it must still be the newest.
    pub number: u64,
    /// Hold it, or let it go on.
    pub pause: bool,
    /// It has ended, as far as was seen: only the answer to an earlier equal request is given again.
    pub ended: bool,
    /// By whom.
    pub asked: Asked,
}

/// What a change did, or would do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Done {
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
    pub asked: Asked,
}

/// How far a reader must have seen an app to see a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The app.
    pub app: name::App,
    /// What must have been seen of it.
    pub seen: Seen,
}

/// What must have been seen of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
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
    /// Parses what [`ToString`] gave; callers treat it as opaque.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        let (app, seen) = rest.split_once('@')?;
        let app = name::App::parse(app).ok()?;
        let seen = match kind {
            "v1" => {
                let (deployment, revision) = seen.split_once('.')?;
                Seen::Version { deployment: deployment.parse().ok()?, revision: revision.parse().ok()? }
            }
            "d1" if !seen.is_empty() => Seen::Deleting { uid: seen.to_owned() },
            _ => return None,
        };
        Some(Self { app, seen })
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.seen {
            Seen::Version { deployment, revision } => write!(f, "v1:{}@{deployment}.{revision}", self.app),
            Seen::Deleting { uid } => write!(f, "d1:{}@{uid}", self.app),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_survive_the_way_through_a_caller() {
        let app = name::App::new("prod", "shop");
        for seen in [Seen::Version { deployment: 12, revision: 3 }, Seen::Deleting { uid: "a-b".into() }] {
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
