//! Which other pods a pod must, or would rather, be near to or away from, and they from it. The scheduler's
//! plugin `InterPodAffinity`.

use std::collections::HashMap;

use super::{Exclusion, Node, Pod, PodTerm, score::MOST, spread::Topology};

/// What another pod's demand to be near to this one counts in the score of where that is.
const DEMANDED: i64 = 1;

/// Counts for each value of one label.
type Counts = Vec<i64>;

/// All that pods on nodes mean for the pod to come.
#[derive(Debug)]
pub(super) struct Affinities<'a> {
    pod: &'a Pod,
    nodes: &'a [Node],
    topologies: HashMap<String, Topology>,
    /// Pods that are all that the pod must be near to, for each of its terms.
    near: Vec<Counts>,
    /// Pods that it must be away from, for each of its terms.
    away: Vec<Counts>,
    /// Pods that must be away from it, by label.
    shunned: HashMap<String, Counts>,
    /// How welcome it is, by label.
    welcome: HashMap<String, Counts>,
}

impl<'a> Affinities<'a> {
    pub(super) fn new(pod: &'a Pod, nodes: &'a [Node]) -> Self {
        let mut all = Self {
            pod,
            nodes,
            topologies: HashMap::new(),
            near: Vec::new(),
            away: Vec::new(),
            shunned: HashMap::new(),
            welcome: HashMap::new(),
        };
        let empty = |all: &mut Self, terms: &[PodTerm]| -> Vec<Counts> {
            terms.iter().map(|term| vec![0; all.topology(&term.topology).size]).collect()
        };
        all.near = empty(&mut all, &pod.affinity.near);
        all.away = empty(&mut all, &pod.affinity.away);
        all
    }

    fn topology(&mut self, key: &str) -> &Topology {
        if !self.topologies.contains_key(key) {
            self.topologies.insert(key.to_owned(), Topology::new(self.nodes, key));
        }
        &self.topologies[key]
    }

    fn domain(&self, key: &str, node: usize) -> Option<usize> {
        self.topologies.get(key).and_then(|topology| topology.of[node])
    }

    /// Takes in that a pod is on a node, or, with -1, that it is not any more.
    pub(super) fn add(&mut self, other: &Pod, node: usize, times: i64) {
        let own = &self.pod.affinity;
        if !own.near.is_empty() && own.near.iter().all(|term| term.matches(other)) {
            for (i, term) in own.near.iter().enumerate() {
                if let Some(domain) = self.domain(&term.topology, node) {
                    self.near[i][domain] += times;
                }
            }
        }
        for (i, term) in own.away.iter().enumerate().filter(|(_, term)| term.matches(other)) {
            if let Some(domain) = self.domain(&term.topology, node) {
                self.away[i][domain] += times;
            }
        }
        for (weight, term) in own.preferred.iter().filter(|(_, term)| term.matches(other)) {
            self.welcome(&term.topology, node, times * weight);
        }
        for term in other.affinity.away.iter().filter(|term| term.matches(self.pod)) {
            let size = self.topology(&term.topology).size;
            if let Some(domain) = self.domain(&term.topology, node) {
                self.shunned.entry(term.topology.clone()).or_insert_with(|| vec![0; size])[domain] += times;
            }
        }
        for term in other.affinity.near.iter().filter(|term| term.matches(self.pod)) {
            self.welcome(&term.topology, node, times * DEMANDED);
        }
        for (weight, term) in other.affinity.preferred.iter().filter(|(_, term)| term.matches(self.pod)) {
            self.welcome(&term.topology, node, times * weight);
        }
    }

    fn welcome(&mut self, key: &str, node: usize, weight: i64) {
        let size = self.topology(key).size;
        if let Some(domain) = self.domain(key, node) {
            self.welcome.entry(key.to_owned()).or_insert_with(|| vec![0; size])[domain] += weight;
        }
    }

    /// Why the node cannot take the pod, if so.
    pub(super) fn exclusion(&self, node: usize) -> Option<Exclusion> {
        let count = |key: &str, counts: &Counts| self.domain(key, node).map(|domain| counts[domain]);
        let near = || self.pod.affinity.near.iter().zip(&self.near);
        if near().any(|(term, counts)| count(&term.topology, counts).is_none_or(|n| n <= 0)) {
            // The first of a group that wants to be near to itself must be put somewhere.
            let none_near = self.near.iter().flatten().all(|n| *n <= 0);
            let has_labels = near().all(|(term, counts)| count(&term.topology, counts).is_some());
            let is_first = none_near && has_labels && near().all(|(term, _)| term.matches(self.pod));
            if !is_first {
                return Some(Exclusion::Affinity("pods that it must be near to are elsewhere".to_owned()));
            }
        }
        let away = self.pod.affinity.away.iter().zip(&self.away);
        if away.into_iter().any(|(term, counts)| count(&term.topology, counts) > Some(0)) {
            return Some(Exclusion::Affinity("pods that it must be away from are near".to_owned()));
        }
        if self.shunned.iter().any(|(key, counts)| count(key, counts) > Some(0)) {
            return Some(Exclusion::Affinity("pods that must be away from it are near".to_owned()));
        }
        None
    }

    /// The scores of these nodes.
    pub(super) fn scores(&self, nodes: &[usize]) -> Vec<i64> {
        let sum = |node: &usize| -> i64 {
            let counts = self.welcome.iter();
            counts.filter_map(|(key, counts)| Some(counts[self.domain(key, *node)?])).sum()
        };
        let sums: Vec<i64> = nodes.iter().map(sum).collect();
        let (least, most) =
            (sums.iter().copied().min().unwrap_or_default(), sums.iter().copied().max().unwrap_or_default());
        #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
        // as the scheduler computes it
        let score = |sum: i64| {
            if most == least {
                0
            } else {
                (MOST as f64 * ((sum - least) as f64 / (most - least) as f64)) as i64
            }
        };
        sums.into_iter().map(score).collect()
    }
}
