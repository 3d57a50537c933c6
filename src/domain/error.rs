//! The only error that an answer can carry. What it is called on the wire is decided in `grpc::status`, in
//! one place.

use std::time::Duration;

use super::labels::{MANAGER, is_reserved};

/// Why a call could not be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Fields of the request break their rules.
    #[error("{}", describe(.0))]
    Invalid(Vec<Violation>),
    /// A `request_id` that was used before for something else.
    #[error("request_id {id} was used before for another request; take a new UUID for each change")]
    RequestIdReused {
        /// The id.
        id: String,
    },
    /// A page token that this list did not give.
    #[error("the page token is not one of this list; begin again without one")]
    PageToken,
    /// Entries of a list are about apps that are not there.
    #[error("{}", describe(.0))]
    NoSuchApps(Vec<Violation>),
    /// There is no such thing.
    #[error("{name} does not exist{}", .did_you_mean.as_ref().map_or_else(String::new, |n| format!("; did you mean {n}?")))]
    NotFound {
        /// What kind of thing.
        kind: Missing,
        /// Its resource name.
        name: String,
        /// A name close to it.
        did_you_mean: Option<String>,
    },
    /// An object of this name that Gantry did not make.
    #[error("{object} in namespace {namespace} exists and was not made by this server{}; choose another name, or take it over with adopt",
        maker(.by))]
    NameTaken {
        /// The object, for example `service/shop`.
        object: String,
        /// Its namespace.
        namespace: String,
        /// Who made it, as its label says.
        by: String,
    },
    /// The app changed since the etag was read.
    #[error("the app has changed since this etag was read; read it again and decide anew")]
    EtagMismatch {
        /// The etag as it is now; empty if there is no such app.
        etag: String,
    },
    /// Others changed an object between each read of it and the write over it.
    #[error("{object} was changed by others at every attempt to write it; call again in a moment")]
    WriteConflict {
        /// The object, for example `deployment.apps/shop`.
        object: String,
    },
    /// An object that was there, or a kind of objects that was expected, is not.
    #[error("{object} is not there any more; call again in a moment")]
    ObjectMissing {
        /// The object, for example `controllerrevision.apps/gantry-shop-3`.
        object: String,
    },
    /// Another field manager owns fields that would change.
    #[error("{}; leave these fields out, or take them with force", conflicts(.0))]
    Conflict(Vec<Conflict>),
    /// An earlier rollout still runs, and the caller does not want to supersede it.
    #[error("{rollout} is still running; wait for it, or deploy with CONCURRENCY_SUPERSEDE")]
    RolloutInProgress {
        /// Its resource name.
        rollout: String,
    },
    /// Pausing or resuming what is over.
    #[error("{rollout} has ended; only one that runs can be paused or resumed")]
    RolloutEnded {
        /// Its resource name.
        rollout: String,
    },
    /// Restarting replicas while the rollout is held.
    #[error("the rollout of {app} is held by PauseRollout; resume it first")]
    RolloutPaused {
        /// The app's resource name.
        app: String,
    },
    /// Nothing to roll back to.
    #[error(
        "{app} has no earlier rollout that succeeded and differs from what runs now; name one, or deploy what you want"
    )]
    NoEarlierRollout {
        /// The app's resource name.
        app: String,
    },
    /// An autoscaler that is not ours owns the count.
    #[error("{object} decides the replica count of {app}; change that, or delete it first")]
    ForeignAutoscaler {
        /// The app's resource name.
        app: String,
        /// The autoscaler, for example `horizontalpodautoscaler.autoscaling/shop`.
        object: String,
    },
    /// The autoscaler of this server owns the count.
    #[error(
        "the autoscaler of {app} decides its replica count; give hold_for to set it over the autoscaler for a time, or set the autoscaler's mode to OFF first"
    )]
    AutoscalerActive {
        /// The app's resource name.
        app: String,
    },
    /// The autoscaling loop runs in another server, which cannot be asked.
    #[error(
        "the autoscaler runs in another server, {holder}, which does not answer this one: {why}; try again in a moment, or ask that server"
    )]
    AutoscalerElsewhere {
        /// Its name.
        holder: String,
        /// What was seen.
        why: String,
    },
    /// The autoscaling loop runs nowhere.
    #[error(
        "no server runs the autoscaler: this one was started with --autoscaler off, and knows of no other; start one without that"
    )]
    NoAutoscaler,
    /// Deleting or rolling back what Gantry did not make.
    #[error("{name} was not made by this server{}; change it with the tool that made it, or adopt it with DeployApp", maker(.by))]
    NotManaged {
        /// The app's resource name.
        name: String,
        /// Who made it, as its label says.
        by: String,
    },
    /// Admission refused an object.
    #[error("Kubernetes' admission refused {object}: {message}")]
    Admission {
        /// The object.
        object: String,
        /// What it said.
        message: String,
    },
    /// The namespace or the app is being deleted.
    #[error("{what} is being deleted; wait until it is gone")]
    BeingDeleted {
        /// Which.
        what: String,
    },
    /// A quota of the namespace.
    #[error("a quota refused {object}: {message}")]
    Quota {
        /// The object.
        object: String,
        /// What Kubernetes said.
        message: String,
    },
    /// The caller may not.
    #[error("{user} may not {verb} {resource} in namespace {namespace}; ask for a role that allows it")]
    NotAllowed {
        /// The Kubernetes user that the caller is.
        user: String,
        /// Kubernetes' verb.
        verb: String,
        /// The resource, for example `deployments.apps`.
        resource: String,
        /// Namespace.
        namespace: String,
    },
    /// This server's own account lacks a right.
    #[error("this server may not {verb} {object}: {message}")]
    DaemonForbidden {
        /// What it wanted to do.
        verb: &'static str,
        /// To what.
        object: String,
        /// What Kubernetes said.
        message: String,
    },
    /// The API server sheds load.
    #[error("the Kubernetes API server is overloaded; try again in {} s", retry_after.as_secs().max(1))]
    Throttled {
        /// When to try again.
        retry_after: Duration,
    },
    /// The API server does not answer.
    #[error("the Kubernetes API server does not answer: {message}")]
    Unreachable {
        /// What was seen.
        message: String,
    },
    /// The index is not filled yet.
    #[error("this server has not read the whole cluster yet; try again in a second")]
    WarmingUp,
    /// This server is going.
    #[error("this server is shutting down; call again, another replica or the next start answers")]
    ShuttingDown,
    /// Time ran out.
    #[error("the deadline passed while waiting for {waiting_for}{}", if *.may_have_happened { "; the change may have been made" } else { "" })]
    Deadline {
        /// For what.
        waiting_for: String,
        /// Whether something may have been written.
        may_have_happened: bool,
    },
    /// Not there yet.
    #[error("{what} is not there yet in this version of the server")]
    NotImplemented {
        /// A method or a field.
        what: String,
    },
    /// A mistake of ours. The message goes to the log, not to the caller.
    #[error("internal error: {0}")]
    Bug(String),
    /// Something was written before it failed.
    #[error("{source}; already applied: {}; not applied: {}. Repeating the call completes it", list(.applied), list(.not_applied))]
    Partial {
        /// Why it failed.
        source: Box<Self>,
        /// Resource name of the rollout that was begun.
        rollout: String,
        /// Objects that were applied.
        applied: Vec<String>,
        /// Objects that were not.
        not_applied: Vec<String>,
    },
}

/// A field that breaks its rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path in the request, for example `app.spec.ports[0].number`.
    pub field: String,
    /// What is wrong and what would be right.
    pub description: String,
}

/// A field that another manager owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The object, for example `deployment.apps/shop`.
    pub object: String,
    /// Path within the object.
    pub field: String,
    /// Who owns it, in Kubernetes' words.
    pub manager: String,
}

/// Kinds of things that can be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// An app.
    App,
    /// A rollout.
    Rollout,
    /// A namespace.
    Namespace,
}

// === impl Error ===

impl Error {
    /// One wrong field.
    pub fn invalid(field: impl Into<String>, description: impl std::fmt::Display) -> Self {
        Self::Invalid(vec![Violation { field: field.into(), description: description.to_string() }])
    }

    /// An object of an app's name that Gantry did not make.
    pub fn taken(kind: super::object::Kind, name: &super::name::App, by: &str) -> Self {
        Self::NameTaken { object: kind.object_of(name), namespace: name.namespace.clone(), by: by.to_owned() }
    }

    /// Whether asking again would give the same answer, so that what was asked for can never be done.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Invalid(_)
                | Self::Conflict(_)
                | Self::Admission { .. }
                | Self::Quota { .. }
                | Self::NotAllowed { .. }
                | Self::DaemonForbidden { .. }
                | Self::ForeignAutoscaler { .. }
                | Self::AutoscalerActive { .. }
                | Self::NameTaken { .. }
                | Self::BeingDeleted { .. }
        )
    }

    /// Whether it is a conflict, and the replica count is all that other field managers own of what would change, but for what this
    /// server writes for itself.
    pub fn is_conflict_about_replicas(&self) -> bool {
        let about = |conflict: &Conflict| conflict.field == ".spec.replicas" || conflict.is_bookkeeping();
        matches!(self, Self::Conflict(conflicts) if conflicts.iter().all(about))
    }

    /// No such app.
    pub fn no_app(name: &super::name::App) -> Self {
        Self::NotFound { kind: Missing::App, name: name.to_string(), did_you_mean: None }
    }
}

impl Conflict {
    /// Whether it is about what this server writes for itself and no caller can leave out: its labels and
    /// annotations. Who set one of them copied it, or changed it by hand.
    pub fn is_bookkeeping(&self) -> bool {
        let key = |parent: &str| self.field.rsplit_once(parent).map(|(_, key)| key);
        let key = key(".metadata.labels.").or_else(|| key(".metadata.annotations."));
        key.is_some_and(is_reserved)
    }
}

/// Who made an object, as the end of a sentence that says who did not.
fn maker(by: &str) -> String {
    match by {
        "" => String::new(),
        // Its labels name this server, and nothing here confirms it.
        MANAGER => " (its labels name Gantry, but its label gantry.dev/app is not its own name, or no revision in this \
                    namespace belongs to it: it is a copy, or its labels or its history were changed by hand)"
            .to_owned(),
        other => format!(" but by {other}"),
    }
}

fn describe(violations: &[Violation]) -> String {
    let part = |v: &Violation| match v.field.as_str() {
        "" => v.description.clone(), // the request as a whole
        field => format!("{field}: {}", v.description),
    };
    violations.iter().map(part).collect::<Vec<_>>().join("; ")
}

fn conflicts(conflicts: &[Conflict]) -> String {
    let parts: Vec<_> = conflicts
        .iter()
        .map(|c| format!("{} of {} is managed by {}", c.field, c.object, c.manager))
        .collect();
    parts.join("; ")
}

fn list(objects: &[String]) -> String {
    if objects.is_empty() { "nothing".to_owned() } else { objects.join(", ") }
}
