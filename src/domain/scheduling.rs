//! Where replicas would go: the filters and scores of the default Kubernetes scheduler, computed ahead of it.
//! Pure: nodes and pods come in as data. A forecast; the scheduler decides, later, on what it then sees.
//!
//! Filters, formulas, their integer arithmetic and the weights are those of the default profile of
//! kube-scheduler 1.36: `pkg/scheduler/framework/plugins` of
//! <https://github.com/kubernetes/kubernetes/tree/v1.36.3>, weights in
//! `pkg/scheduler/apis/config/v1/default_plugins.go`; written anew from what they compute.
//! `tests/cluster/placing.rs` holds both against each other. Not foreseen: preemption, dynamic resources,
//! limits of volumes per node, requests that are being resized, plugins of other makers, that from 100 nodes
//! on the scheduler looks at a part of them only, and that it counts the nodes that have an image as they
//! were when the scored node last changed.

mod affinity;
mod amounts;
mod explain;
mod filter;
mod forecast;
mod model;
mod requests;
mod score;
mod spread;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

pub(crate) use self::explain::format_amount;
pub use self::{
    amounts::Amounts,
    forecast::{Change, Forecast, ScoredNode, forecast_placement},
    requests::{Container, PodRequests, compute_pod_requests},
};
use super::selector::Selector;

/// The label of a node's name, which spreads and ties are counted by in ways of its own.
pub const HOSTNAME_LABEL: &str = "kubernetes.io/hostname";
/// The label of a node's zone.
pub const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
/// The label that tells the pods of one template from those of another.
pub const TEMPLATE_HASH: &str = "pod-template-hash";
/// Stands for the hash of a template that does not exist yet; no label has this value.
pub const NEW_TEMPLATE: &str = "-";

/// A node as a place for pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its taints.
    pub taints: Vec<Taint>,
    /// It was told to take no new pods.
    pub unschedulable: bool,
    /// What pods may ask for in all.
    pub allocatable: Amounts,
    /// How many pods it takes.
    pub pods: i64,
    /// Images that are there, by each of their names, with their size in bytes.
    pub images: BTreeMap<String, i64>,
    /// How many images it lists; each has several names.
    pub listed: usize,
}

/// What keeps pods from a node unless they tolerate it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

/// A tolerated taint. An empty key tolerates all keys, an empty effect all effects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Toleration {
    /// Key of the taint.
    pub key: String,
    /// The value that is tolerated; `None` tolerates any.
    pub value: Option<String>,
    /// Effect of the taint.
    pub effect: String,
}

/// A pod, on a node or to come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Namespace.
    pub namespace: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Name of the node that it is bound to; empty if to none.
    pub node: String,
    /// It was told to stop: it takes room, but is not counted in spreads.
    pub deleting: bool,
    /// What it asks for.
    pub requests: PodRequests,
    /// Ports of the node that it takes.
    pub ports: BTreeSet<HostPort>,
    /// What it wants to be near to, and away from.
    pub affinity: Affinity,
    /// It is a replica of the app that the forecast is about.
    pub own: bool,
}

/// A port of a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// Number.
    pub number: u16,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Address; `0.0.0.0` is all of them.
    pub address: String,
}

/// Which other pods a pod wants to be near to, and away from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affinity {
    /// Must be near to.
    pub near: Vec<PodTerm>,
    /// Must be away from.
    pub away: Vec<PodTerm>,
    /// Would rather be near to, with weights; negative ones would rather be away.
    pub preferred: Vec<(i64, PodTerm)>,
}

/// Pods, and what "near" means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodTerm {
    /// Label of nodes; nodes of one value are near to each other.
    pub topology: String,
    /// Which pods; `None` are none.
    pub selector: Option<Selector>,
    /// Of which namespaces; `None` are all.
    pub namespaces: Option<Vec<String>>,
}

/// A rule about nodes: all of it must hold. An empty one holds nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeTerm {
    /// About labels.
    pub labels: Vec<Requirement>,
    /// About the name.
    pub names: Vec<Requirement>,
}

/// One demand on a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt` or `Lt`.
    pub operator: String,
    /// Values to compare with.
    pub values: Vec<String>,
}

/// How pods spread over nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constraint {
    /// Label of nodes.
    pub topology: String,
    /// How many pods more than the emptiest value of the label any may have.
    pub max_skew: i64,
    /// It must hold; else it is a wish.
    pub required: bool,
    /// Which pods are counted; `None` are none.
    pub selector: Option<Selector>,
    /// With fewer values of the label than this, the emptiest counts as empty.
    pub min_domains: usize,
    /// Nodes that the pod's own node rules exclude are not counted.
    pub honors_affinity: bool,
    /// Nodes with taints that the pod does not tolerate are not counted.
    pub honors_taints: bool,
}

/// A volume that is not everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Name of its claim.
    pub claim: String,
    /// Where it is: one of these must hold.
    pub nodes: Vec<NodeTerm>,
    /// Labels of zone or region, with the values that a node may have; a node that has none of these labels
    /// is taken.
    pub zones: BTreeMap<String, BTreeSet<String>>,
}

/// A pod to be placed, again and again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodTemplate {
    /// The pod.
    pub pod: Pod,
    /// Labels that a node must have.
    pub selector: BTreeMap<String, String>,
    /// One of these must hold for the node; `None` if there is no such rule.
    pub required: Option<Vec<NodeTerm>>,
    /// Nodes that it would rather have, with weights.
    pub preferred: Vec<(i64, NodeTerm)>,
    /// Taints that it tolerates.
    pub tolerations: Vec<Toleration>,
    /// How it spreads.
    pub spread: Vec<Constraint>,
    /// The spread is the scheduler's own, for pods that say nothing about it.
    pub spread_is_default: bool,
    /// Images of all its containers, one for each.
    pub images: Vec<String>,
    /// Volumes that are not everywhere.
    pub volumes: Vec<Volume>,
}

/// Why a node cannot take the pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exclusion {
    /// It was told to take no new pods.
    Unschedulable,
    /// A taint that is not tolerated.
    Taint(String),
    /// Its labels are not those that the pod demands.
    Selector(String),
    /// A port of the node is taken.
    Port(u16),
    /// It takes no more pods.
    Pods(i64),
    /// Not enough of these is left.
    Short(Vec<Shortage>),
    /// The volume of this claim is elsewhere.
    Volume(String),
    /// The spread over this label would be broken; or the node lacks the label.
    Spread(String),
    /// Pods that the replica must be near to, or away from.
    Affinity(String),
}

/// A resource of which not enough is left.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shortage {
    /// Name of the resource.
    pub resource: String,
    /// What a replica asks for.
    pub asked: i64,
    /// What is left.
    pub free: i64,
}

// === impl Taint ===

impl Taint {
    /// Whether pods that do not tolerate it are not put here.
    fn repels(&self) -> bool {
        matches!(self.effect.as_str(), "NoSchedule" | "NoExecute")
    }
}

impl fmt::Display for Taint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let equals = if self.value.is_empty() { "" } else { "=" };
        write!(f, "{}{equals}{}:{}", self.key, self.value, self.effect)
    }
}

// === impl Toleration ===

impl Toleration {
    fn tolerates(&self, taint: &Taint) -> bool {
        (self.effect.is_empty() || self.effect == taint.effect)
            && (self.key.is_empty() || self.key == taint.key)
            && self.value.as_ref().is_none_or(|value| *value == taint.value)
    }
}

// === impl PodTerm ===

impl PodTerm {
    fn matches(&self, pod: &Pod) -> bool {
        self.namespaces.as_ref().is_none_or(|all| all.contains(&pod.namespace))
            && self.selector.as_ref().is_some_and(|selector| selector.matches(&pod.labels))
    }
}

// === impl Constraint ===

impl Constraint {
    /// The scheduler's own for pods that say nothing: over nodes and zones, as far as possible.
    pub fn defaults(selector: &Selector) -> Vec<Self> {
        let over = |(topology, max_skew): (&str, i64)| Self {
            topology: topology.to_owned(),
            max_skew,
            required: false,
            selector: Some(selector.clone()),
            min_domains: 1,
            honors_affinity: true,
            honors_taints: false,
        };
        [(HOSTNAME_LABEL, 3), (ZONE_LABEL, 5)].map(over).into()
    }
}

#[cfg(test)]
mod tests;
