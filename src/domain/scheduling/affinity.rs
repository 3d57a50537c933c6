//! Affinity and anti-affinity between pods, in both directions. Implements the scheduler's plugin
//! `InterPodAffinity`.

use std::collections::HashMap;

use super::{Exclusion, Node, Pod, PodTerm, score::MOST, spread::Topology};

/// Weight in the score if another pod's required affinity matches this pod.
const DEMANDED: i64 = 1;

/// Counts by value of one label.
type Counts = Vec<i64>;

/// What the pods on nodes mean for the pod to be placed.
#[derive(Debug)]
pub(super) struct Affinities<'a> {
    pod: &'a Pod,
    nodes: &'a [Node],
    topologies: HashMap<String, Topology>,
    /// For each required affinity term: the number of pods that match all terms.
    near: Vec<Counts>,
    /// For each required anti-affinity term: the number of pods that match it.
    away: Vec<Counts>,
    /// By label: the number of pods whose required anti-affinity matches this pod.
    shunned: HashMap<String, Counts>,
    /// By label: the sum of the weights that affect the score.
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

    /// Counts a pod on a node; with -1, removes it.
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

    /// Returns why the node cannot accept the pod, if it cannot.
    pub(super) fn exclusion(&self, node: usize) -> Option<Exclusion> {
        let count = |key: &str, counts: &Counts| self.domain(key, node).map(|domain| counts[domain]);
        let near = || self.pod.affinity.near.iter().zip(&self.near);
        if near().any(|(term, counts)| count(&term.topology, counts).is_none_or(|n| n <= 0)) {
            // The first pod of a group with affinity to itself must be placed somewhere.
            let none_near = self.near.iter().flatten().all(|n| *n <= 0);
            let has_labels = near().all(|(term, counts)| count(&term.topology, counts).is_some());
            let is_first = none_near && has_labels && near().all(|(term, _)| term.matches(self.pod));
            if !is_first {
                return Some(Exclusion::Affinity("the required pod affinity is not met".to_owned()));
            }
        }
        let away = self.pod.affinity.away.iter().zip(&self.away);
        if away.into_iter().any(|(term, counts)| count(&term.topology, counts) > Some(0)) {
            return Some(Exclusion::Affinity("the required pod anti-affinity would be violated".to_owned()));
        }
        if self.shunned.iter().any(|(key, counts)| count(key, counts) > Some(0)) {
            return Some(Exclusion::Affinity(
                "the anti-affinity of a running pod would be violated".to_owned(),
            ));
        }
        None
    }

    /// Returns the scores of these nodes.
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
