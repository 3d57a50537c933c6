//! Forecasts where replicas would go, with the filters and scores of the default Kubernetes scheduler. Pure:
//! nodes and pods come in as data. It is a forecast, because the scheduler decides later, on what it sees
//! then.
//!
//! Filters, formulas, integer arithmetic and weights are those of the default profile of kube-scheduler 1.36,
//! in `pkg/scheduler/framework/plugins` of <https://github.com/kubernetes/kubernetes/tree/v1.36.3>, with the
//! weights in `pkg/scheduler/apis/config/v1/default_plugins.go`. The code is a new implementation.
//! `tests/cluster/placing.rs` compares the two.
//!
//! Not covered:
//! - preemption, dynamic resources, volume limits per node, requests that are being resized, and third-party
//!   plugins;
//! - that the scheduler looks at only a part of the nodes if there are 100 or more;
//! - that the scheduler counts the nodes that have an image as they were when the scored node last changed.

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

/// The label with a node's name. Spread constraints treat it specially.
pub const HOSTNAME_LABEL: &str = "kubernetes.io/hostname";
/// The label of a node's zone.
pub const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
/// The label that distinguishes the pods of one template from those of another.
pub const TEMPLATE_HASH: &str = "pod-template-hash";
/// Stands for the hash of a template that does not exist yet. No label has this value.
pub const NEW_TEMPLATE: &str = "-";

/// A node with its capacity for pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its taints.
    pub taints: Vec<Taint>,
    /// Whether it is cordoned.
    pub unschedulable: bool,
    /// The sum that the pods may request.
    pub allocatable: Amounts,
    /// How many pods it accepts.
    pub pods: i64,
    /// Images on the node, by each of their names, with their size in bytes.
    pub images: BTreeMap<String, i64>,
    /// Number of images that it lists. Each image may have several names.
    pub listed: usize,
}

/// A taint, which excludes pods that do not tolerate it.
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

/// A pod, on a node or still to be placed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Namespace.
    pub namespace: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Name of the node that it is bound to; empty if it is not bound.
    pub node: String,
    /// Whether it is terminating. It still uses its resources, but spread constraints do not count it.
    pub deleting: bool,
    /// Its resource requests.
    pub requests: PodRequests,
    /// Host ports that it uses.
    pub ports: BTreeSet<HostPort>,
    /// Its affinity and anti-affinity to other pods.
    pub affinity: Affinity,
    /// Whether it is a replica of the app of the forecast.
    pub own: bool,
}

/// A port of a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// Number.
    pub number: u16,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Address; `0.0.0.0` means all.
    pub address: String,
}

/// The affinity and anti-affinity of a pod to other pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affinity {
    /// Required affinity.
    pub near: Vec<PodTerm>,
    /// Required anti-affinity.
    pub away: Vec<PodTerm>,
    /// Preferred affinity, with weights; a negative weight is anti-affinity.
    pub preferred: Vec<(i64, PodTerm)>,
}

/// An affinity term: which pods, and in which topology.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodTerm {
    /// A node label. Nodes with the same value are one domain.
    pub topology: String,
    /// Selects pods; `None` selects none.
    pub selector: Option<Selector>,
    /// The namespaces of the pods; `None` means all.
    pub namespaces: Option<Vec<String>>,
}

/// A node selector term, of which every requirement must hold. An empty term matches no node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeTerm {
    /// Requirements on labels.
    pub labels: Vec<Requirement>,
    /// Requirements on the node's name.
    pub names: Vec<Requirement>,
}

/// One requirement on a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt` or `Lt`.
    pub operator: String,
    /// Values to compare with.
    pub values: Vec<String>,
}

/// A topology spread constraint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constraint {
    /// The node label of the topology.
    pub topology: String,
    /// How many pods a domain may have more than the domain with the fewest.
    pub max_skew: i64,
    /// Whether it must hold; otherwise it is a preference.
    pub required: bool,
    /// Selects the pods to count; `None` selects none.
    pub selector: Option<Selector>,
    /// With fewer domains than this, the smallest count is taken as 0.
    pub min_domains: usize,
    /// Whether nodes that do not match the pod's node selector and affinity are ignored.
    pub honors_affinity: bool,
    /// Whether nodes with taints that the pod does not tolerate are ignored.
    pub honors_taints: bool,
}

/// A volume that only some nodes can mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Name of its claim.
    pub claim: String,
    /// Node affinity of the volume. One of these terms must match.
    pub nodes: Vec<NodeTerm>,
    /// Zone or region labels, with the values that a node may have. A node that has none of these labels is
    /// accepted.
    pub zones: BTreeMap<String, BTreeSet<String>>,
}

/// A pod that is to be placed any number of times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodTemplate {
    /// The pod.
    pub pod: Pod,
    /// Labels that a node must have.
    pub selector: BTreeMap<String, String>,
    /// Required node affinity, of which one term must match; `None` if there is none.
    pub required: Option<Vec<NodeTerm>>,
    /// Preferred node affinity, with weights.
    pub preferred: Vec<(i64, NodeTerm)>,
    /// Taints that it tolerates.
    pub tolerations: Vec<Toleration>,
    /// Its spread constraints.
    pub spread: Vec<Constraint>,
    /// Whether the spread constraints are the scheduler's defaults, because the pod has none.
    pub spread_is_default: bool,
    /// Images, one for each container.
    pub images: Vec<String>,
    /// Volumes that only some nodes can mount.
    pub volumes: Vec<Volume>,
}

/// Why a node cannot accept the pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exclusion {
    /// It is cordoned.
    Unschedulable,
    /// The pod does not tolerate this taint.
    Taint(String),
    /// The node does not have the labels that the pod requires.
    Selector(String),
    /// The host port is in use.
    Port(u16),
    /// It already has its maximum number of pods.
    Pods(i64),
    /// Not enough of these resources is free.
    Short(Vec<Shortage>),
    /// The node cannot mount the volume of this claim.
    Volume(String),
    /// The spread constraint over this label would be violated, or the node lacks the label.
    Spread(String),
    /// A required affinity or anti-affinity is violated.
    Affinity(String),
}

/// A resource of which not enough is free.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shortage {
    /// Name of the resource.
    pub resource: String,
    /// What a replica requests.
    pub asked: i64,
    /// What is free.
    pub free: i64,
}

// === impl Taint ===

impl Taint {
    /// Returns whether the scheduler keeps pods that do not tolerate it away.
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
    /// Returns the scheduler's defaults for pods without constraints: a preferred spread over nodes and
    /// zones.
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
