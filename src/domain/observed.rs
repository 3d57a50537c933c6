//! Objects of the cluster as slim rows: of each object only what an answer or a verdict needs.
//!
//! `cluster::decode` makes the rows and `index` stores them. Must not know where they come from.

#[cfg(test)]
pub(crate) mod testing;
mod trouble;

use std::{net::IpAddr, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use super::{
    change::Change,
    evidence::Evidence,
    managed::{self, Claim},
    name,
    revision::{Cause, End, Record, form::Form},
    scaling::Scaling,
    spec::{Content, Port, Spec},
};
use crate::autoscale::Policy;

pub use self::trouble::{Ended, Exit, Trouble, TroubleKind, Wait};

/// A Deployment, which is an app.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployment {
    /// Its name as an app.
    pub name: name::App,
    /// Distinguishes it from an earlier Deployment of the same name.
    pub uid: String,
    /// Its resourceVersion, which grows with each change.
    pub resource_version: u64,
    /// All its labels, for selectors.
    pub labels: std::collections::BTreeMap<String, String>,
    /// Number of the revision that Gantry applied last; `None` if Gantry applied none.
    pub revision: Option<u64>,
    /// Kubernetes' own number of the current pod template. It identifies the current ReplicaSet.
    pub template_revision: u64,
    /// Hash of the pod template. Within this process, equal hashes mean equal templates.
    pub template: u64,
    /// `metadata.generation`, which grows with each change of the desired state.
    pub generation: i64,
    /// The generation that the counts below belong to.
    pub observed_generation: i64,
    /// The replica count.
    pub desired: i32,
    /// Replicas that exist and are not terminating.
    pub current: i32,
    /// Of those that exist: replicas of the current template.
    pub updated: i32,
    /// Of those that exist: replicas that are ready.
    pub ready: i32,
    /// Of those that exist: replicas that have been ready for `minReadySeconds`.
    pub available: i32,
    /// When Kubernetes last reported that the rollout exceeded its progress deadline.
    pub stalled: Option<Timestamp>,
    /// When Kubernetes reported that the rollout is complete. It does not take that back when replicas fail
    /// later.
    pub completed: Option<Timestamp>,
    /// When the Deployment controller last reported that the rollout progresses, is paused or resumes.
    pub progressed: Option<Timestamp>,
    /// Why the Deployment controller could not create the ReplicaSet of the newest template when it last
    /// tried. The condition is replaced only by another one, so it may be about an earlier template.
    pub create_failure: Option<CreateFailure>,
    /// Seconds without progress after which Kubernetes reports it. `None` if Kubernetes never does; then it
    /// never reports a complete rollout either.
    pub deadline: Option<u64>,
    /// The field manager, other than Gantry's, that changed the pod template last.
    pub template_by: Option<FieldUpdate>,
    /// The field manager that set the replica count last.
    pub count_by: Option<FieldUpdate>,
    /// What its annotations say about its autoscaler.
    pub scaling: Scaling,
    /// Whether `spec.paused` is set.
    pub paused: bool,
    /// When it was created.
    pub created: Timestamp,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether it is being deleted and the objects that it owns are to stay.
    pub orphans: bool,
    /// Its spec, as far as `AppSpec` can express it.
    pub spec: Spec,
    /// If Gantry did not make it: paths of the fields that `AppSpec` cannot express.
    pub unmodelled: Vec<String>,
}

/// The last update of a part of an object by a field manager, from `metadata.managedFields`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldUpdate {
    /// The field manager, for example `kubectl-set`.
    pub manager: Arc<str>,
    /// When the field manager last changed anything, in whole seconds.
    pub time: Timestamp,
}

/// Why Kubernetes cannot create replicas, or the ReplicaSet that would create them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateFailure {
    /// The message of Kubernetes.
    pub message: String,
    /// When it began, if Kubernetes says so.
    pub since: Option<Timestamp>,
}

/// A ReplicaSet of a Deployment, which is one pod template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaSet {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// Name of the Deployment that owns it.
    pub deployment: Arc<str>,
    /// Kubernetes' number of the template; compare [`Deployment::template_revision`].
    pub template_revision: u64,
    /// Hash of the template; compare [`Deployment::template`].
    pub template: u64,
    /// The newest Gantry revision that used the template.
    pub revision: Option<u64>,
    /// When it was created.
    pub created: Timestamp,
    /// Why Kubernetes cannot create its replicas, for example quota or admission. The condition of the
    /// Deployment may be about any of its ReplicaSets, also about one whose template was given up.
    pub create_failure: Option<CreateFailure>,
    /// Ports that the container of its template declares. During a rollout, those of the Deployment are
    /// already the new ones.
    pub ports: Vec<Port>,
}

/// A pod of a ReplicaSet, which is a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // independent facts
pub struct Pod {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// Name of the ReplicaSet that owns it.
    pub replica_set: Arc<str>,
    /// Node that it is bound to.
    pub node: Option<Arc<str>>,
    /// Pod IP.
    pub address: Option<IpAddr>,
    /// When it was created.
    pub created: Timestamp,
    /// Whether it is terminating.
    pub deleting: bool,
    /// If it is terminating: how long it may take, and what holds it. Boxed, because few pods terminate.
    pub stop: Option<Box<Stop>>,
    /// Whether it is ready.
    pub ready: bool,
    /// When readiness last changed.
    pub ready_changed: Option<Timestamp>,
    /// Whether it is not ready now, but was ready earlier with the containers that run now.
    pub was_ready: bool,
    /// Whether it is not ready now, but was ready at any earlier time, also with containers that have ended
    /// since.
    pub once_ready: bool,
    /// Whether all its containers run.
    pub running: bool,
    /// Restarts of the container that restarted most often.
    pub restarts: i32,
    /// Restarts of the app's container.
    pub own_restarts: i32,
    /// What is wrong with it. Boxed, because most pods are healthy and then cost one pointer.
    pub trouble: Option<Box<Trouble>>,
    /// What it waits for, if it is not ready and nothing is wrong with it. Boxed for the same reason.
    pub waits: Option<Box<Wait>>,
    /// How it ended, if it has. Then it is no replica any more.
    pub ended: Option<Box<Ended>>,
}

/// The end that a terminating pod was told to come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// When it was told to stop.
    pub told: Timestamp,
    /// The end of its grace period.
    pub by: Timestamp,
    /// The finalizers that keep its object, also when its containers have ended.
    pub finalizers: Vec<String>,
}

/// An EndpointSlice: some of the replicas behind a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// The Service's ports, each with the number on which these replicas listen.
    pub ports: Vec<SlicePort>,
    /// The pods in it, sorted by name.
    pub pods: Vec<SlicePod>,
}

/// A port of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlicePort {
    /// Name of the Service's port; may be empty if the Service has only one.
    pub name: String,
    /// Number on which the pods listen.
    pub number: u16,
}

/// A pod in an EndpointSlice. Its address is that of the pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlicePod {
    /// Name of the pod.
    pub name: Arc<str>,
    /// Zone of its node.
    pub zone: Option<Arc<str>>,
    /// Whether it takes traffic. Always true if the Service publishes pods that are not ready.
    pub ready: bool,
    /// Whether it is ready, also while it is terminating.
    pub serving: bool,
    /// Whether it is terminating.
    pub terminating: bool,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Name.
    pub name: Arc<str>,
    /// Its zone, from its label.
    pub zone: Option<Arc<str>>,
    /// Whether its kubelet reports it as ready.
    pub ready: bool,
    /// Whether it is cordoned, so that it takes no new pods.
    pub unschedulable: bool,
}

/// A Kubernetes event about one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Name of the event object.
    pub id: Arc<str>,
    /// Which object it is about.
    pub about: About,
    /// The container of the pod that it is about; `None` if it is about the whole object.
    pub container: Option<Arc<str>>,
    /// Whether its type is `Warning`.
    pub warning: bool,
    /// The reason that Kubernetes gives, for example `FailedScheduling`.
    pub reason: Arc<str>,
    /// The message of Kubernetes.
    pub note: Box<str>,
    /// How often it was seen.
    pub count: i32,
    /// When it was seen last.
    pub time: Timestamp,
    /// Its resourceVersion: the order in which the API server stored events, whose times are whole seconds.
    pub version: u64,
}

/// The object that an event is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct About {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Kind.
    pub kind: Kind,
    /// Name.
    pub name: Arc<str>,
}

/// Kinds of objects whose events are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A Deployment.
    Deployment,
    /// A ReplicaSet.
    ReplicaSet,
    /// A Pod.
    Pod,
}

/// The row of a ControllerRevision of Gantry: one desired state of an app, and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    /// The app.
    pub app: name::App,
    /// Its number; each new revision gets the next one.
    pub number: u64,
    /// The desired state.
    pub content: Arc<Content>,
    /// Digest of the content.
    pub digest: String,
    /// What started it.
    pub cause: Cause,
    /// The Kubernetes user who asked for it.
    pub actor: String,
    /// The reason that the caller gave.
    pub reason: String,
    /// When it began.
    pub created: Timestamp,
    /// The verdict, once there is one.
    pub end: Option<End>,
    /// Evidence, if it failed.
    pub evidence: Option<Arc<Evidence>>,
    /// Whether everything in it was applied, or a later revision took its place. Until then it is an intent
    /// that any daemon may finish.
    pub applied: bool,
    /// uid of the Deployment that owns it; `None` if it never had an owner, or lost it.
    pub owner: Option<Box<str>>,
    /// How its record is stored.
    pub form: Form,
    /// Whether the Service still has to keep ports that only replicas before it need. They are removed after
    /// a rollout succeeded.
    pub keeps_ports: bool,
    /// For a rollback: number of the rollout that it returns to.
    pub source: Option<u64>,
    /// The replica count when it began; `None` if it was not stored.
    pub count: Option<i32>,
    /// For a change made outside Gantry: the ReplicaSet that it led to.
    pub replica_set: Option<Arc<str>>,
    /// For a change made outside Gantry: Kubernetes' number of the template at that time. A ReplicaSet that
    /// is used again gets a new number.
    pub template_revision: Option<u64>,
    /// The policy of the app's autoscaler when it began; `None` if it was not stored.
    pub autoscaler: Option<Arc<Policy>>,
    /// What it changes, by object.
    pub changes: Arc<[Change]>,
    /// Its resourceVersion. A Deployment with a later one contains everything that this revision says was
    /// applied.
    pub version: u64,
}

/// A Kubernetes autoscaler that owns the replica count of a Deployment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExternalAutoscaler {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// Name of the Deployment that it scales.
    pub target: Arc<str>,
}

/// A HorizontalPodAutoscaler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HorizontalPodAutoscaler(pub ExternalAutoscaler);

/// A ScaledObject of KEDA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScaledObject(pub ExternalAutoscaler);

// === impl Deployment ===

impl Deployment {
    /// Returns whether the Deployment controller has observed the newest desired state.
    pub const fn is_observed(&self) -> bool {
        self.observed_generation >= self.generation
    }

    /// Returns whether its labels say that Gantry made it under this name.
    pub fn is_labelled(&self) -> bool {
        managed::is_labelled(&self.name.app, &self.labels)
    }

    /// Returns the facts that decide whether Gantry manages it.
    pub fn subject(&self) -> managed::Subject<'_> {
        let Self { name, uid, labels, revision, deleting, .. } = self;
        managed::Subject { name: &name.app, uid, labels, revision: *revision, deleting: *deleting }
    }
}

// === impl Revision ===

impl Revision {
    /// Returns what the revision says about the Deployment of its app's name.
    pub fn claim(&self) -> Claim<'_> {
        Claim { number: self.number, owner: self.owner.as_deref(), applied: self.applied }
    }

    /// Builds the row of a record that was carried out and has no verdict yet.
    pub fn new(app: name::App, number: u64, record: Record) -> Self {
        Self {
            app,
            number,
            digest: record.current_digest(),
            content: Arc::new(record.content),
            cause: record.cause,
            actor: record.actor,
            reason: record.reason,
            created: record.time,
            end: None,
            evidence: None,
            applied: true,
            owner: None,
            form: Form::Text,
            keeps_ports: !record.earlier_ports.is_empty(),
            source: record.source,
            count: record.count,
            replica_set: record.replica_set.map(Into::into),
            template_revision: record.template_revision,
            autoscaler: record.autoscaler.map(Arc::new),
            changes: record.changes.into(),
            version: 0,
        }
    }
}

// === impl Kind ===

impl Kind {
    /// Returns the prefix of an object's name in the API of Gantry.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Deployment => "deployment.apps",
            Self::ReplicaSet => "replicaset.apps",
            Self::Pod => "pod",
        }
    }
}

// === impl About ===

impl std::fmt::Display for About {
    /// Writes the object as the API of Gantry does, for example `pod/shop-6f7c-x2x`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind.prefix(), self.name)
    }
}

// === impl Pod ===

impl Pod {
    /// Returns whether a probe of a container that runs is all that it waits for.
    pub fn is_checked(&self) -> bool {
        matches!(self.waits.as_deref(), Some(Wait::Sidecar { .. } | Wait::Containers(_)))
    }

    /// When the pod last became ready; `None` if it is not ready.
    pub fn ready_since(&self) -> Option<Timestamp> {
        self.ready_changed.filter(|_| self.ready)
    }

    /// Time until the end of its grace period; zero if it is over or the pod is not terminating.
    pub fn time_to_stop(&self, now: Timestamp) -> SignedDuration {
        let rest = self.stop.as_ref().map_or(0, |stop| stop.by.as_second().saturating_sub(now.as_second()));
        SignedDuration::from_secs(rest.max(0))
    }

    /// When the pod last stopped being ready, or its start if it never was ready; `None` if it is ready.
    pub fn unready_since(&self) -> Option<Timestamp> {
        self.ready_changed.filter(|_| !self.ready)
    }
}
