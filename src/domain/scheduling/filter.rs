//! The filters that do not depend on other pods: cordon, taints, labels and volumes. Implements the
//! scheduler's plugins `NodeUnschedulable`, `TaintToleration`, `NodeAffinity`, `VolumeBinding` and
//! `VolumeZone`.

use std::collections::BTreeMap;

use super::{Exclusion, Node, NodeTerm, PodTemplate, Requirement, Taint, Volume};

/// The taint that stands for a cordon. A pod that tolerates it is placed on a cordoned node.
const UNSCHEDULABLE_TAINT: &str = "node.kubernetes.io/unschedulable";

/// Returns why the node cannot accept the pod, if it cannot.
pub(super) fn find_exclusion(template: &PodTemplate, node: &Node) -> Option<Exclusion> {
    let cordon =
        Taint { key: UNSCHEDULABLE_TAINT.to_owned(), value: String::new(), effect: "NoSchedule".to_owned() };
    if node.unschedulable && !tolerates_taint(template, &cordon) {
        return Some(Exclusion::Unschedulable);
    }
    if let Some(taint) = find_untolerated_taint(template, node) {
        return Some(Exclusion::Taint(taint.to_string()));
    }
    if let Some(demand) = find_unmatched_term(template, node) {
        return Some(Exclusion::Selector(demand));
    }
    let away = template.volumes.iter().find(|volume| !volume.is_at(node));
    away.map(|volume| Exclusion::Volume(volume.claim.clone()))
}

pub(super) fn tolerates_taint(template: &PodTemplate, taint: &Taint) -> bool {
    template.tolerations.iter().any(|toleration| toleration.tolerates(taint))
}

/// Returns the first taint that excludes the pod.
pub(super) fn find_untolerated_taint<'a>(template: &PodTemplate, node: &'a Node) -> Option<&'a Taint> {
    node.taints.iter().find(|taint| taint.repels() && !tolerates_taint(template, taint))
}

/// Returns a requirement of the pod that the node does not meet.
pub(super) fn find_unmatched_term(template: &PodTemplate, node: &Node) -> Option<String> {
    let missing = template.selector.iter().find(|(key, value)| node.labels.get(*key) != Some(value));
    if let Some((key, value)) = missing {
        return Some(format!("{key}={value}"));
    }
    let terms = template.required.as_ref()?;
    (!terms.iter().any(|term| term.matches(node))).then(|| "the node affinity".to_owned())
}

// === impl NodeTerm ===

impl NodeTerm {
    pub(super) fn matches(&self, node: &Node) -> bool {
        let named = BTreeMap::from([("metadata.name".to_owned(), node.name.clone())]);
        !(self.labels.is_empty() && self.names.is_empty())
            && self.labels.iter().all(|demand| demand.holds(&node.labels))
            && self.names.iter().all(|demand| demand.holds(&named))
    }
}

// === impl Requirement ===

impl Requirement {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        let compared = |holds: fn(&i64, &i64) -> bool| {
            let bound = self.values.first().and_then(|v| v.parse().ok());
            let found = value.and_then(|v| v.parse().ok());
            found.zip(bound).is_some_and(|(found, bound)| holds(&found, &bound))
        };
        match self.operator.as_str() {
            "In" => value.is_some_and(|v| self.values.contains(v)),
            // As in Kubernetes, an absent label satisfies `NotIn`.
            "NotIn" => value.is_none_or(|v| !self.values.contains(v)),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            "Gt" => compared(i64::gt),
            "Lt" => compared(i64::lt),
            _ => false,
        }
    }
}

// === impl Volume ===

impl Volume {
    fn is_at(&self, node: &Node) -> bool {
        let zoned = self.zones.keys().any(|key| node.labels.contains_key(key));
        let in_zone = |(key, allowed): (&String, &std::collections::BTreeSet<String>)| {
            node.labels.get(key).is_some_and(|value| allowed.contains(value))
        };
        (self.nodes.is_empty() || self.nodes.iter().any(|term| term.matches(node)))
            && (!zoned || self.zones.iter().all(in_zone))
    }
}
