//! What was seen in the cluster, as slim rows: of each object only what an answer or a verdict needs.
//!
//! Rows are made by `cluster::decode` and kept by `index`; nothing here knows how they travel.

use std::{net::IpAddr, num::NonZeroU32, sync::Arc};

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

/// A Deployment: an app.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployment {
    /// Its name as an app.
    pub name: name::App,
    /// Tells it from an earlier one of the same name.
    pub uid: String,
    /// Version of the object; grows with each change.
    pub resource_version: u64,
    /// All its labels, for selectors.
    pub labels: std::collections::BTreeMap<String, String>,
    /// Number of the revision that was applied last, if Gantry did.
    pub revision: Option<u64>,
    /// Kubernetes' own number of the current pod template; says which ReplicaSet is current.
    pub template_revision: u64,
    /// Hash of the pod template, the same in every row of this process that has the same template.
    pub template: u64,
    /// Grows with each change of the desired state.
    pub generation: i64,
    /// The generation that the counts below are about.
    pub observed_generation: i64,
    /// Replicas asked for.
    pub desired: i32,
    /// Replicas that exist and are not terminating.
    pub current: i32,
    /// Of those, replicas of the current template.
    pub updated: i32,
    /// Of the existing, those that are ready.
    pub ready: i32,
    /// Of the existing, those that have been ready long enough.
    pub available: i32,
    /// When Kubernetes last said that the rollout had made no progress for too long.
    pub stalled: Option<Timestamp>,
    /// When Kubernetes said that the rollout is complete; it does not take that back when replicas get sick
    /// later.
    pub completed: Option<Timestamp>,
    /// When the Deployment controller last said that the rollout moves, is held or goes on.
    pub progressed: Option<Timestamp>,
    /// Why the Deployment controller could not create the ReplicaSet of the newest template when it last
    /// tried. It says so again only after it has said something else, so this may be about an earlier
    /// template.
    pub create_failure: Option<CreateFailure>,
    /// Seconds without progress after which Kubernetes says so. `None` if it never does, nor that a rollout
    /// is complete.
    pub deadline: Option<u64>,
    /// Who changed the pod template last, other than this server.
    pub template_by: Option<FieldUpdate>,
    /// Who set the replica count last.
    pub count_by: Option<FieldUpdate>,
    /// What it says about its autoscaler.
    pub scaling: Scaling,
    /// Held by `spec.paused`.
    pub paused: bool,
    /// When it was created.
    pub created: Timestamp,
    /// It is being deleted.
    pub deleting: bool,
    /// It is being deleted, and what it owns is to stay.
    pub orphans: bool,
    /// What it says, as far as the API has words for it.
    pub spec: Spec,
    /// Paths of the fields that the API has no words for, of one that Gantry did not make.
    pub unmodelled: Vec<String>,
}

/// That a field manager set a part of an object, as its managed fields say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldUpdate {
    /// The field manager, for example `kubectl-set`.
    pub manager: Arc<str>,
    /// When it last changed anything; Kubernetes counts whole seconds.
    pub time: Timestamp,
}

/// What keeps Kubernetes from creating replicas, or the ReplicaSet that is to create them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateFailure {
    /// Kubernetes' sentence about it.
    pub message: String,
    /// Since when, if Kubernetes says so.
    pub since: Option<Timestamp>,
}

/// A ReplicaSet of a Deployment: one pod template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaSet {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// Name of the Deployment that owns it.
    pub deployment: Arc<str>,
    /// Kubernetes' number of the template, compare [`Deployment::template_revision`].
    pub template_revision: u64,
    /// Hash of the template, compare [`Deployment::template`].
    pub template: u64,
    /// The newest Gantry revision that used the template.
    pub revision: Option<u64>,
    /// When it was created.
    pub created: Timestamp,
    /// Why Kubernetes cannot create its replicas: quota, admission. A Deployment's own word for it may be
    /// about any of its ReplicaSets, also one whose template was given up.
    pub create_failure: Option<CreateFailure>,
    /// Ports that its template's container declares; those of the Deployment are already the next ones while
    /// it rolls.
    pub ports: Vec<Port>,
}

/// A pod of a ReplicaSet: a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // five facts that hold or do not, each by itself
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
    /// It was told to stop.
    pub deleting: bool,
    /// The second, since 1970, at which its time to stop is over, if it was told to. Small, as there are many
    /// pods.
    pub stop_by: Option<NonZeroU32>,
    /// It passes its readiness probes.
    pub ready: bool,
    /// When it last began, or ceased, to pass them.
    pub ready_changed: Option<Timestamp>,
    /// It fails its readiness probes after having passed them, with the same containers running all along.
    pub was_ready: bool,
    /// It fails its readiness probes after having passed them at any time, also with containers that have
    /// ended since.
    pub once_ready: bool,
    /// All its containers run.
    pub running: bool,
    /// Restarts of the container that restarted most.
    pub restarts: i32,
    /// Restarts of the app's container.
    pub own_restarts: i32,
    /// What is wrong; healthy pods, the many, pay one pointer for it.
    pub trouble: Option<Box<Trouble>>,
}

/// What keeps a pod from running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Container that it is about; empty for the pod itself.
    pub container: String,
    /// What it is.
    pub kind: TroubleKind,
    /// Kubernetes' word for it, for example `ImagePullBackOff`.
    pub reason: String,
    /// Kubernetes' sentence about it.
    pub message: String,
    /// Since when, if Kubernetes says so.
    pub since: Option<Timestamp>,
    /// How the container last ended.
    pub exit: Option<Exit>,
}

/// Kinds of [`Trouble`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TroubleKind {
    /// No node takes the pod.
    Unschedulable,
    /// The image does not come.
    Image,
    /// The container's configuration is missing or wrong.
    Config,
    /// The container ended and waits for its next start.
    Crash,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Exit status.
    pub code: i32,
    /// Signal, if one ended it.
    pub signal: i32,
    /// Kubernetes' word for it: `Error`, `Completed`, `OOMKilled`.
    pub reason: String,
    /// When.
    pub finished: Option<Timestamp>,
}

/// An EndpointSlice: some replicas that a Service stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// The Service's ports, each with the number that these replicas listen on.
    pub ports: Vec<SlicePort>,
    /// The pods in it, in the order of their names.
    pub pods: Vec<SlicePod>,
}

/// A port of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlicePort {
    /// Name of the Service's port; may be empty if it has only one.
    pub name: String,
    /// Number that the pods listen on.
    pub number: u16,
}

/// A pod as an EndpointSlice has it. Its address is the pod's own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlicePod {
    /// Name of the pod.
    pub name: Arc<str>,
    /// Zone of its node.
    pub zone: Option<Arc<str>>,
    /// Takes traffic; for a Service that publishes pods that are not ready, always.
    pub ready: bool,
    /// Passes its readiness probes, whether told to stop or not.
    pub serving: bool,
    /// Was told to stop.
    pub terminating: bool,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Name.
    pub name: Arc<str>,
    /// Its zone, by its label.
    pub zone: Option<Arc<str>>,
    /// It answers.
    pub ready: bool,
    /// It takes no new pods.
    pub unschedulable: bool,
}

/// A Kubernetes event about one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Name of the event object.
    pub id: Arc<str>,
    /// Which object it is about.
    pub about: About,
    /// True for `Warning`.
    pub warning: bool,
    /// Kubernetes' word, for example `FailedScheduling`.
    pub reason: Arc<str>,
    /// Kubernetes' sentence.
    pub note: Box<str>,
    /// How often it was seen.
    pub count: i32,
    /// When it was seen last.
    pub time: Timestamp,
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

/// Kinds of objects that events are kept for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A Deployment.
    Deployment,
    /// A ReplicaSet.
    ReplicaSet,
    /// A Pod.
    Pod,
}

/// A recorded attempt to bring an app to some content: a ControllerRevision of ours.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    /// The app.
    pub app: name::App,
    /// Its number; grows by one with each.
    pub number: u64,
    /// What was asked for.
    pub content: Arc<Content>,
    /// Digest of the content.
    pub digest: String,
    /// What started it.
    pub cause: Cause,
    /// The Kubernetes user who asked for it.
    pub actor: String,
    /// Why, as the caller said.
    pub reason: String,
    /// When it was written.
    pub created: Timestamp,
    /// How it ended, once it has.
    pub end: Option<End>,
    /// What was seen if it failed.
    pub evidence: Option<Arc<Evidence>>,
    /// Everything that it wants was applied, or a later revision took its place; until then it is an intent
    /// that any daemon may finish.
    pub applied: bool,
    /// uid of the Deployment that owns it; `None` if it never had an owner, or lost it.
    pub owner: Option<Box<str>>,
    /// How its record is stored.
    pub form: Form,
    /// Number of the rollout that a rollback returns to.
    pub source: Option<u64>,
    /// For a change made outside Gantry: the ReplicaSet that it led to.
    pub replica_set: Option<Arc<str>>,
    /// And Kubernetes' number of the template at that time: a ReplicaSet that is used again gets another one.
    pub template_revision: Option<u64>,
    /// The policy of the app's autoscaler when it began; `None` if it was not kept.
    pub autoscaler: Option<Arc<Policy>>,
    /// What it changes, object by object.
    pub changes: Arc<[Change]>,
    /// Version of the object; a Deployment of a later version has all that this revision says was applied.
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
    /// Whether Kubernetes has taken up its newest desired state.
    pub const fn is_observed(&self) -> bool {
        self.observed_generation >= self.generation
    }

    /// Whether its labels say that this server made it, for its own name.
    pub fn is_labelled(&self) -> bool {
        managed::is_labelled(&self.name.app, &self.labels)
    }

    /// It, as the rule asks about it that says whether this server manages it.
    pub fn subject(&self) -> managed::Subject<'_> {
        let Self { name, uid, labels, revision, deleting, .. } = self;
        managed::Subject { name: &name.app, uid, labels, revision: *revision, deleting: *deleting }
    }
}

// === impl Revision ===

impl Revision {
    /// What it says about the Deployment of its app's name.
    pub fn claim(&self) -> Claim<'_> {
        Claim { number: self.number, owner: self.owner.as_deref(), applied: self.applied }
    }

    /// The row of a record that was carried out and has no verdict yet.
    pub fn new(app: name::App, number: u64, record: Record) -> Self {
        Self {
            app,
            number,
            content: Arc::new(record.content),
            digest: record.digest,
            cause: record.cause,
            actor: record.actor,
            reason: record.reason,
            created: record.time,
            end: None,
            evidence: None,
            applied: true,
            owner: None,
            form: Form::Text,
            source: record.source,
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
    /// How the API writes it in front of an object's name.
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
    /// As the API writes an object, for example `pod/shop-6f7c-x2x`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind.prefix(), self.name)
    }
}

// === impl Pod ===

impl Pod {
    /// Times that a container of it ended by itself: a restart follows a crash, and the last crash may still
    /// wait for its own.
    pub fn crashes(&self) -> i32 {
        let waiting = self.trouble.as_ref().is_some_and(|t| t.kind == TroubleKind::Crash);
        self.restarts + i32::from(waiting)
    }

    /// Since when it passes its readiness probes.
    pub fn ready_since(&self) -> Option<Timestamp> {
        self.ready_changed.filter(|_| self.ready)
    }

    /// How much longer it may take to stop, if it was told to.
    pub fn time_to_stop(&self, now: Timestamp) -> SignedDuration {
        let end = self.stop_by.map_or(0, |second| i64::from(second.get()));
        SignedDuration::from_secs(end.saturating_sub(now.as_second()).max(0))
    }

    /// Since when it does not pass its readiness probes; from its start, if it never has.
    pub fn unready_since(&self) -> Option<Timestamp> {
        self.ready_changed.filter(|_| !self.ready)
    }
}
