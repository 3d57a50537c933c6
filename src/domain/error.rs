//! The one error type of all answers. Only `grpc::status` maps it to status codes and reasons.

use std::time::Duration;

use super::labels::{MANAGER, is_reserved};

/// Why a call could not be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Fields of the request break their rules.
    #[error("{}", describe(.0))]
    Invalid(Vec<Violation>),
    /// The API server refused fields of an object. Where the request is known, this becomes
    /// [`Self::Invalid`].
    #[error("{}", describe(&to_violations(.object, .fields)))]
    Refused {
        /// The object, for example `deployment.apps/shop`.
        object: String,
        /// The fields.
        fields: Vec<RefusedField>,
    },
    /// A `request_id` that was already used for a different request.
    #[error("request_id {id} was used before for another request; take a new UUID for each change")]
    RequestIdReused {
        /// The id.
        id: String,
    },
    /// A page token that does not belong to this list.
    #[error("the page token does not belong to this list; start again without one")]
    PageToken,
    /// Entries of a list name apps that do not exist.
    #[error("{}", describe(.0))]
    NoSuchApps(Vec<Violation>),
    /// A resource does not exist.
    #[error("{name} does not exist{}", .kind.hint(.did_you_mean.as_deref()))]
    NotFound {
        /// The kind of resource.
        kind: Missing,
        /// Its resource name.
        name: String,
        /// An existing name that is similar.
        did_you_mean: Option<String>,
    },
    /// An object of this name exists and is not managed by Gantry.
    #[error("{object} in namespace {namespace} exists and is not managed by Gantry{}; choose another name, or take it over with adopt",
        maker(.by))]
    NameTaken {
        /// The object, for example `service/shop`.
        object: String,
        /// Its namespace.
        namespace: String,
        /// The tool that made it, from its label; empty if it has none.
        by: String,
    },
    /// The app changed since the etag was read.
    #[error("the app has changed since this etag was read; read it again, then retry with the new etag")]
    EtagMismatch {
        /// The current etag.
        etag: String,
    },
    /// Every attempt to write an object lost to another client, which changed it between the read and the
    /// write.
    #[error("another client changed {object} during every attempt to write it; try again in a moment")]
    WriteConflict {
        /// The object, for example `deployment.apps/shop`.
        object: String,
    },
    /// An object disappeared, or an expected kind of object does not exist.
    #[error("{object} does not exist any more; try again in a moment")]
    ObjectMissing {
        /// The object, for example `controllerrevision.apps/gantry-shop-3`.
        object: String,
    },
    /// Another field manager owns fields that would change.
    #[error("{}; leave these fields out, or take them over with force", conflicts(.0))]
    Conflict(Vec<Conflict>),
    /// An earlier rollout still runs, and the caller does not want to supersede it.
    #[error("{rollout} is still running; wait for it, or deploy with CONCURRENCY_SUPERSEDE")]
    RolloutInProgress {
        /// Its resource name.
        rollout: String,
    },
    /// Pausing or resuming a rollout that has ended.
    #[error("{rollout} has ended; only a running rollout can be paused or resumed")]
    RolloutEnded {
        /// Its resource name.
        rollout: String,
    },
    /// Restarting replicas while the rollout is paused.
    #[error("the rollout of {app} is paused by PauseRollout; resume it first")]
    RolloutPaused {
        /// The app's resource name.
        app: String,
    },
    /// No rollout to roll back to.
    #[error(
        "{app} has no earlier rollout that succeeded and differs from what runs now; name one, or deploy what you want"
    )]
    NoEarlierRollout {
        /// The app's resource name.
        app: String,
    },
    /// An external autoscaler controls the replica count.
    #[error("{object} decides the replica count of {app}; change that object, or delete it first")]
    ForeignAutoscaler {
        /// The app's resource name.
        app: String,
        /// The autoscaler, for example `horizontalpodautoscaler.autoscaling/shop`.
        object: String,
    },
    /// Gantry's autoscaler controls the replica count.
    #[error(
        "the autoscaler of {app} decides its replica count; set hold_for to override the autoscaler for a time, or set the autoscaler's mode to OFF first"
    )]
    AutoscalerActive {
        /// The app's resource name.
        app: String,
    },
    /// The autoscaling loop runs in another gantryd, which does not answer.
    #[error(
        "the autoscaler runs in another gantryd, {holder}, which does not answer: {why}; try again in a moment, or call that gantryd"
    )]
    AutoscalerElsewhere {
        /// Its resource name.
        holder: String,
        /// The error that was observed.
        why: String,
    },
    /// The daemon has not read the Lease yet, or cannot read it, or the Lease changes hands.
    #[error("it is not known which gantryd runs the autoscaler{}; try again in a moment", because(.why))]
    AutoscalerUnknown {
        /// The error of the Lease; empty if there was none.
        why: String,
    },
    /// No gantryd runs the autoscaling loop.
    #[error(
        "no gantryd runs the autoscaler, and this one was started with --autoscaler off; start one without that option"
    )]
    NoAutoscaler,
    /// Changing an app that Gantry does not manage.
    #[error("{name} is not managed by Gantry{}; change it with the tool that made it, or adopt it with DeployApp", maker(.by))]
    NotManaged {
        /// The app's resource name.
        name: String,
        /// The tool that made it, from its label; empty if it has none.
        by: String,
    },
    /// Admission refused an object.
    #[error("Kubernetes' admission refused {object}: {message}")]
    Admission {
        /// The object.
        object: String,
        /// The message of the webhook or policy.
        message: String,
    },
    /// The namespace or the app is being deleted.
    #[error("{what} is being deleted; wait until it is gone")]
    BeingDeleted {
        /// The resource name.
        what: String,
    },
    /// A quota of the namespace refused an object.
    #[error("a quota refused {object}: {message}")]
    Quota {
        /// The object.
        object: String,
        /// The message of Kubernetes.
        message: String,
    },
    /// The caller lacks a right.
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
    /// The account of `gantryd` lacks a right.
    #[error("gantryd has no permission to {verb} {object}: {message}")]
    DaemonForbidden {
        /// What `gantryd` tried to do.
        verb: &'static str,
        /// The object.
        object: String,
        /// The message of Kubernetes.
        message: String,
    },
    /// The API server sheds load.
    #[error("the Kubernetes API server is overloaded; try again in {} s", retry_after.as_secs().max(1))]
    Throttled {
        /// How long to wait before trying again.
        retry_after: Duration,
    },
    /// Too many changes of one app at once.
    #[error("{waiting} changes of {app} are being made or wait already; try again in a moment")]
    TooManyChanges {
        /// The app's resource name.
        app: String,
        /// How many.
        waiting: usize,
    },
    /// The API server does not answer.
    #[error("the Kubernetes API server does not answer: {message}")]
    Unreachable {
        /// The error that was observed.
        message: String,
    },
    /// The index is not filled yet.
    #[error("gantryd has not read the whole cluster yet; try again in a second")]
    WarmingUp,
    /// The daemon is shutting down.
    #[error("gantryd is shutting down; try again, and another replica or the restarted gantryd will answer")]
    ShuttingDown,
    /// The deadline of the call passed.
    #[error("the deadline passed while waiting for {waiting_for}{}", if *.may_have_happened { "; the change may have been made" } else { "" })]
    Deadline {
        /// What the call waited for.
        waiting_for: String,
        /// Whether the change may have been written.
        may_have_happened: bool,
    },
    /// Not implemented yet.
    #[error("{what} is not implemented yet in this version of gantryd")]
    NotImplemented {
        /// A method or a field.
        what: String,
    },
    /// A bug in `gantryd`. The message goes to the log, not to the caller.
    #[error("internal error: {0}")]
    Bug(String),
    /// The call failed after some objects were written.
    #[error("{source}; already applied: {}; not applied: {}. Repeat the call to complete the change", list(.applied), list(.not_applied))]
    Partial {
        /// Why it failed.
        source: Box<Self>,
        /// The resource name of the rollout that was begun.
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
    /// What is wrong, and what would be valid.
    pub description: String,
}

/// A field of an object that the API server refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedField {
    /// The field of the request that most probably led to it.
    pub field: String,
    /// Path within the object; empty if the API server did not say.
    pub path: String,
    /// Why.
    pub message: String,
}

/// A field that another manager owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The object, for example `deployment.apps/shop`.
    pub object: String,
    /// Path within the object.
    pub field: String,
    /// The field manager that owns it.
    pub manager: String,
}

/// Kinds of resources that can be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// An app.
    App,
    /// An app that is to be created, although the request has an etag of it.
    AppOfEtag,
    /// A rollout.
    Rollout,
    /// A namespace.
    Namespace,
}

// === impl Error ===

impl Error {
    /// Creates the error for one invalid field.
    pub fn invalid(field: impl Into<String>, description: impl std::fmt::Display) -> Self {
        Self::Invalid(vec![Violation { field: field.into(), description: description.to_string() }])
    }

    /// Creates the error for an object of an app's name that Gantry does not manage.
    pub fn taken(kind: super::object::Kind, name: &super::name::App, by: &str) -> Self {
        Self::NameTaken { object: kind.object_of(name), namespace: name.namespace.clone(), by: by.to_owned() }
    }

    /// Returns whether a retry would give the same answer, so that the change can never be carried out.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Invalid(_)
                | Self::Refused { .. }
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

    /// Returns whether it is a conflict about the replica count alone. Labels and annotations that Gantry
    /// maintains do not count.
    pub fn is_conflict_about_replicas(&self) -> bool {
        let about = |conflict: &Conflict| conflict.field == ".spec.replicas" || conflict.is_bookkeeping();
        matches!(self, Self::Conflict(conflicts) if conflicts.iter().all(about))
    }

    /// Creates the error for an app that does not exist.
    pub fn no_app(name: &super::name::App) -> Self {
        Self::NotFound { kind: Missing::App, name: name.to_string(), did_you_mean: None }
    }
}

impl Missing {
    fn hint(self, did_you_mean: Option<&str>) -> String {
        match (self, did_you_mean) {
            (Self::AppOfEtag, _) => {
                " any more: the app that the etag was read from is gone; leave out the etag to create it"
                    .to_owned()
            }
            (_, Some(close)) => format!("; did you mean {close}?"),
            (_, None) => String::new(),
        }
    }
}

impl RefusedField {
    /// Returns it as a violation of the request.
    pub fn to_violation(&self, object: &str) -> Violation {
        let path = if self.path.is_empty() { String::new() } else { format!("{}: ", self.path) };
        Violation { field: self.field.clone(), description: format!("{object}: {path}{}", self.message) }
    }
}

impl Conflict {
    /// Returns whether it is about labels and annotations that Gantry maintains and no caller can leave out.
    /// Another field manager that owns one of them copied it, or it was changed by hand.
    pub fn is_bookkeeping(&self) -> bool {
        let key = |parent: &str| self.field.rsplit_once(parent).map(|(_, key)| key);
        let key = key(".metadata.labels.").or_else(|| key(".metadata.annotations."));
        key.is_some_and(is_reserved)
    }
}

/// Names the tool that made an object, for a sentence that says that Gantry does not manage it.
fn because(why: &str) -> String {
    if why.is_empty() { String::new() } else { format!(" ({why})") }
}

fn maker(by: &str) -> String {
    match by {
        "" => String::new(),
        // Its labels name Gantry, but nothing in the namespace confirms it.
        MANAGER => " (its labels name Gantry, but its label gantry.dev/app differs from its name, or no revision in this \
                    namespace belongs to it: it is a copy, or its labels or its history were changed by hand)"
            .to_owned(),
        other => format!(" but by {other}"),
    }
}

/// Returns refused fields as violations of a request of which nothing else is known.
pub fn to_violations(object: &str, fields: &[RefusedField]) -> Vec<Violation> {
    fields.iter().map(|refused| refused.to_violation(object)).collect()
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
