//! Decodes nodes and pods for the forecast of placement. It needs other fields of these objects than the rows
//! have. They are read on request and not stored.

mod volume;

use std::{borrow::Cow, collections::BTreeMap};

use k8s_openapi::{ClusterResourceScope, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde::Deserialize;
use serde_json::Value;

pub use self::volume::PlacingVolume;
use super::{decode_meta, or_default, resource, slim};
use crate::domain::{
    scheduling::{
        self, Affinity, Amounts, Constraint, HostPort, NodeTerm, PodTemplate, PodTerm, Requirement, Taint,
        Toleration,
    },
    selector::Selector,
};

type Map = BTreeMap<String, String>;

/// A node as a place for pods.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PlacingNode {
    #[serde(deserialize_with = "decode_meta")]
    metadata: ObjectMeta,
    #[serde(deserialize_with = "or_default")]
    spec: NodeSpec,
    #[serde(deserialize_with = "or_default")]
    status: NodeStatus,
}

slim! {
    struct NodeSpec {
        unschedulable: bool,
        taints: Vec<NodeTaint>,
    }

    struct NodeTaint {
        key: String,
        value: String,
        effect: String,
    }

    struct NodeStatus {
        allocatable: Map,
        images: Vec<Image>,
    }

    struct Image {
        names: Vec<String>,
        size_bytes: i64,
    }
}

/// A pod that uses resources of a node, or the template of one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PlacingPod {
    #[serde(deserialize_with = "decode_meta")]
    metadata: ObjectMeta,
    #[serde(deserialize_with = "or_default")]
    spec: PodSpec,
}

slim! {
    struct PodSpec {
        node_name: String,
        containers: Vec<Container>,
        init_containers: Vec<Container>,
        resources: Resources,
        overhead: Map,
        host_network: bool,
        node_selector: Map,
        affinity: AllAffinity,
        tolerations: Vec<PodToleration>,
        topology_spread_constraints: Vec<SpreadConstraint>,
        volumes: Vec<Volume>,
    }

    struct Container {
        image: String,
        resources: Resources,
        restart_policy: String,
        ports: Vec<Port>,
    }

    struct Resources {
        requests: Map,
        limits: Map,
    }

    struct Port {
        container_port: u16,
        host_port: u16,
        #[serde(rename = "hostIP")]
        host_ip: String,
        protocol: String,
    }

    struct AllAffinity {
        node_affinity: NodeAffinity,
        pod_affinity: PodAffinity,
        pod_anti_affinity: PodAffinity,
    }

    struct NodeAffinity {
        #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
        required: Option<NodeSelector>,
        #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution")]
        preferred: Vec<Preference>,
    }

    struct NodeSelector {
        node_selector_terms: Vec<Term>,
    }

    struct Preference {
        weight: i64,
        preference: Term,
    }

    struct Term {
        match_expressions: Vec<Expression>,
        match_fields: Vec<Expression>,
    }

    struct Expression {
        key: String,
        operator: String,
        values: Vec<String>,
    }

    struct PodAffinity {
        #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
        required: Vec<AffinityTerm>,
        #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution")]
        preferred: Vec<WeightedTerm>,
    }

    struct WeightedTerm {
        weight: i64,
        pod_affinity_term: AffinityTerm,
    }

    struct AffinityTerm {
        topology_key: String,
        label_selector: Option<Value>,
        namespaces: Vec<String>,
        namespace_selector: Option<Value>,
    }

    struct PodToleration {
        key: String,
        operator: String,
        value: String,
        effect: String,
    }

    struct SpreadConstraint {
        topology_key: String,
        max_skew: i64,
        when_unsatisfiable: String,
        label_selector: Option<Value>,
        match_label_keys: Vec<String>,
        min_domains: Option<usize>,
        node_affinity_policy: String,
        node_taints_policy: String,
    }

    struct Volume {
        persistent_volume_claim: Option<Claim>,
    }

    struct Claim {
        claim_name: String,
    }
}

resource!(PlacingNode, "Node", "", "nodes", ClusterResourceScope);
resource!(PlacingPod, "Pod", "", "pods");

// === impl PlacingNode ===

impl PlacingNode {
    /// Converts to the domain's node.
    pub fn into_node(self) -> scheduling::Node {
        let Self { metadata, spec, status } = self;
        let mut allocatable = Amounts::read(&status.allocatable);
        let pods = allocatable.others.remove("pods").unwrap_or_default();
        let taint = |t: NodeTaint| Taint { key: t.key, value: t.value, effect: t.effect };
        let names = |image: Image| image.names.into_iter().map(move |name| (name, image.size_bytes));
        scheduling::Node {
            name: metadata.name.unwrap_or_default(),
            labels: metadata.labels.unwrap_or_default(),
            taints: spec.taints.into_iter().map(taint).collect(),
            unschedulable: spec.unschedulable,
            allocatable,
            pods,
            listed: status.images.len(),
            images: status.images.into_iter().flat_map(names).collect(),
        }
    }
}

// === impl PlacingPod ===

impl PlacingPod {
    /// Converts to the domain's pod. `namespace` is used if the pod has none.
    pub fn to_pod(&self, namespace: &str) -> scheduling::Pod {
        let Self { metadata, spec } = self;
        let namespace = metadata.namespace.clone().unwrap_or_else(|| namespace.to_owned());
        let of = |c: &Container| scheduling::Container {
            requests: c.resources.asked(),
            sidecar: c.restart_policy == "Always",
        };
        let init: Vec<_> = spec.init_containers.iter().map(of).collect();
        let containers: Vec<_> = spec.containers.iter().map(of).collect();
        let whole = spec.resources.asked();
        let terms = |all: &[AffinityTerm]| all.iter().map(|t| t.term(&namespace)).collect();
        let weighted = |all: &PodAffinity, sign: i64| -> Vec<_> {
            let one = |t: &WeightedTerm| (sign * t.weight, t.pod_affinity_term.term(&namespace));
            all.preferred.iter().map(one).collect()
        };
        let AllAffinity { pod_affinity, pod_anti_affinity, .. } = &spec.affinity;
        let mut preferred = weighted(pod_affinity, 1);
        preferred.extend(weighted(pod_anti_affinity, -1));
        scheduling::Pod {
            requests: scheduling::compute_pod_requests(&init, &containers, &whole, &spec.overhead),
            ports: spec.host_ports(),
            affinity: Affinity {
                near: terms(&pod_affinity.required),
                away: terms(&pod_anti_affinity.required),
                preferred,
            },
            labels: metadata.labels.clone().unwrap_or_default(),
            node: spec.node_name.clone(),
            deleting: metadata.deletion_timestamp.is_some(),
            own: false,
            namespace,
        }
    }

    /// Returns the sum of the limits, as far as the containers have limits.
    pub fn limits(&self) -> Amounts {
        let of = |c: &Container| scheduling::Container {
            requests: c.resources.limits.clone(),
            sidecar: c.restart_policy == "Always",
        };
        let init: Vec<_> = self.spec.init_containers.iter().map(of).collect();
        let containers: Vec<_> = self.spec.containers.iter().map(of).collect();
        scheduling::compute_pod_requests(&init, &containers, &self.spec.resources.limits, &Map::new()).exact
    }

    /// Returns the name of the ReplicaSet that owns it.
    pub fn replica_set(&self) -> Option<&str> {
        super::controller(&self.metadata, "ReplicaSet")
    }

    /// Converts to a pod that is to be placed. `hash` distinguishes its template from others; `selector` is
    /// that of its Deployment.
    pub fn to_shape(&self, namespace: &str, hash: &str, selector: &Selector) -> PodTemplate {
        let mut pod = self.to_pod(namespace);
        pod.labels.insert(scheduling::TEMPLATE_HASH.to_owned(), hash.to_owned());
        let spec = &self.spec;
        let spread: Vec<_> =
            spec.topology_spread_constraints.iter().map(|c| c.constraint(&pod.labels)).collect();
        let spread_is_default = spread.is_empty();
        let template = [(scheduling::TEMPLATE_HASH.to_owned(), hash.to_owned())];
        let of_template = || selector.clone().and(template.iter().map(|(k, v)| (k, v)));
        let affinity = &spec.affinity.node_affinity;
        PodTemplate {
            selector: spec.node_selector.clone(),
            required: affinity.required.as_ref().map(NodeSelector::terms),
            preferred: affinity.preferred.iter().map(|p| (p.weight, p.preference.node_term())).collect(),
            tolerations: spec.tolerations.iter().map(PodToleration::toleration).collect(),
            spread: if spread_is_default { Constraint::defaults(&of_template()) } else { spread },
            spread_is_default,
            images: spec.init_containers.iter().chain(&spec.containers).map(|c| c.image.clone()).collect(),
            volumes: Vec::new(),
            pod,
        }
    }

    /// Returns the names of the claims that it mounts.
    pub fn claims(&self) -> impl Iterator<Item = &str> {
        let claims = self.spec.volumes.iter().filter_map(|v| v.persistent_volume_claim.as_ref());
        claims.map(|claim| claim.claim_name.as_str())
    }
}

impl PodSpec {
    fn host_ports(&self) -> std::collections::BTreeSet<HostPort> {
        let sidecars = self.init_containers.iter().filter(|c| c.restart_policy == "Always");
        let ports = self.containers.iter().chain(sidecars).flat_map(|c| &c.ports);
        let taken = ports.filter_map(|port| {
            // With host networking, a container's port is the node's port.
            let number =
                if self.host_network && port.host_port == 0 { port.container_port } else { port.host_port };
            let or = |text: &str, default: &str| if text.is_empty() { default } else { text }.to_owned();
            (number > 0).then(|| HostPort {
                number,
                protocol: or(&port.protocol, "TCP"),
                address: or(&port.host_ip, "0.0.0.0"),
            })
        });
        taken.collect()
    }
}

impl Resources {
    /// Returns the requests. Where only a limit is set, Kubernetes uses the limit.
    fn asked(&self) -> Map {
        let mut asked = self.limits.clone();
        asked.extend(self.requests.clone());
        asked
    }
}

impl PodToleration {
    fn toleration(&self) -> Toleration {
        Toleration {
            key: self.key.clone(),
            value: (self.operator != "Exists").then(|| self.value.clone()),
            effect: self.effect.clone(),
        }
    }
}

impl Term {
    fn node_term(&self) -> NodeTerm {
        let all = |expressions: &[Expression]| {
            let one = |e: &Expression| Requirement {
                key: e.key.clone(),
                operator: e.operator.clone(),
                values: e.values.clone(),
            };
            expressions.iter().map(one).collect()
        };
        NodeTerm { labels: all(&self.match_expressions), names: all(&self.match_fields) }
    }
}

impl NodeSelector {
    fn terms(&self) -> Vec<NodeTerm> {
        self.node_selector_terms.iter().map(Term::node_term).collect()
    }
}

impl AffinityTerm {
    fn term(&self, own: &str) -> PodTerm {
        let namespaces = match &self.namespace_selector {
            // Labels of namespaces are not read, so any namespace may match.
            Some(_) => None,
            None if self.namespaces.is_empty() => Some(vec![own.to_owned()]),
            None => Some(self.namespaces.clone()),
        };
        PodTerm {
            topology: self.topology_key.clone(),
            selector: self.label_selector.as_ref().map(Selector::from_structured),
            namespaces,
        }
    }
}

impl SpreadConstraint {
    fn constraint(&self, labels: &Map) -> Constraint {
        let keys = self.match_label_keys.iter().filter_map(|key| labels.get_key_value(key));
        Constraint {
            topology: self.topology_key.clone(),
            max_skew: self.max_skew,
            required: self.when_unsatisfiable == "DoNotSchedule",
            selector: self.label_selector.as_ref().map(|s| Selector::from_structured(s).and(keys)),
            min_domains: self.min_domains.unwrap_or(1),
            honors_affinity: self.node_affinity_policy != "Ignore",
            honors_taints: self.node_taints_policy == "Honor",
        }
    }
}
