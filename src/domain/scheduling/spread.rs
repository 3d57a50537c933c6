//! Topology spread constraints, required and preferred. Implements the scheduler's plugin
//! `PodTopologySpread`.

use super::{Constraint, Exclusion, HOSTNAME_LABEL, Node, Pod, PodTemplate, filter, score::MOST};

/// The domains of one node label.
#[derive(Debug)]
pub(super) struct Topology {
    /// For each node that has the label: the number of its domain.
    pub(super) of: Vec<Option<usize>>,
    /// Number of domains.
    pub(super) size: usize,
}

#[derive(Debug)]
struct Rule<'a> {
    constraint: &'a Constraint,
    topology: Topology,
    /// Nodes that are counted.
    eligible: Vec<bool>,
    /// Pods that are counted, by node.
    on_node: Vec<i64>,
    /// Pods that are counted, by domain, on eligible nodes only.
    in_domain: Vec<i64>,
    /// Whether the domain has an eligible node.
    present: Vec<bool>,
    /// Whether the pod to be placed is counted itself.
    counts_self: bool,
}

/// All constraints of a pod, with the current counts.
#[derive(Debug)]
pub(super) struct Spreads<'a> {
    template: &'a PodTemplate,
    hard: Vec<Rule<'a>>,
    soft: Vec<Rule<'a>>,
    /// For each node, whether it has every label of the preferred constraints. A node without them gets no
    /// score.
    complete: Vec<bool>,
}

// === impl Topology ===

impl Topology {
    pub(super) fn new(nodes: &[Node], key: &str) -> Self {
        let mut values = std::collections::HashMap::new();
        let number = |node: &Node| {
            let value = node.labels.get(key)?;
            let next = values.len();
            Some(*values.entry(value.clone()).or_insert(next))
        };
        let of = nodes.iter().map(number).collect();
        Self { of, size: values.len() }
    }
}

// === impl Spreads ===

impl<'a> Spreads<'a> {
    pub(super) fn new(template: &'a PodTemplate, nodes: &[Node]) -> Self {
        let of = |required| template.spread.iter().filter(move |c| c.required == required);
        let complete = |required: bool| {
            let has_all = move |node: &Node| of(required).all(|c| node.labels.contains_key(&c.topology));
            nodes.iter().map(has_all).collect::<Vec<_>>()
        };
        let rules = |required: bool, complete: &[bool]| {
            of(required).map(|constraint| Rule::new(template, constraint, nodes, complete)).collect()
        };
        let mut wished = complete(false);
        if template.spread_is_default {
            wished.fill(true);
        }
        Self { template, hard: rules(true, &complete(true)), soft: rules(false, &wished), complete: wished }
    }

    /// Counts a pod on a node; with -1, removes it.
    pub(super) fn add(&mut self, pod: &Pod, node: usize, times: i64) {
        if pod.deleting || pod.namespace != self.template.pod.namespace {
            return;
        }
        for rule in self.hard.iter_mut().chain(&mut self.soft) {
            let counted = rule.constraint.selector.as_ref().filter(|s| !s.is_empty());
            if counted.is_some_and(|selector| selector.matches(&pod.labels)) {
                rule.on_node[node] += times;
                if let Some(domain) = rule.topology.of[node].filter(|_| rule.eligible[node]) {
                    rule.in_domain[domain] += times;
                }
            }
        }
    }

    /// Returns whether the required constraints hold if the pod is placed on the node.
    pub(super) fn holds(&self, node: usize) -> bool {
        self.hard.iter().all(|rule| rule.holds(node))
    }

    pub(super) fn exclusion(&self, node: usize) -> Option<Exclusion> {
        let broken = self.hard.iter().find(|rule| !rule.holds(node))?;
        Some(Exclusion::Spread(broken.constraint.topology.clone()))
    }

    /// Returns the scores of these nodes.
    pub(super) fn scores(&self, nodes: &[usize]) -> Vec<i64> {
        if self.soft.is_empty() {
            return vec![0; nodes.len()];
        }
        let scored: Vec<usize> = nodes.iter().copied().filter(|node| self.complete[*node]).collect();
        let weights: Vec<f64> = self.soft.iter().map(|rule| rule.weight(&scored)).collect();
        let sums: Vec<Option<i64>> = nodes
            .iter()
            .map(|node| {
                let parts = self.soft.iter().zip(&weights);
                #[allow(clippy::cast_possible_truncation)] // counts of pods
                let sum = || parts.fold(0.0, |sum, (rule, w)| sum + rule.cost(*node, *w)).round() as i64;
                self.complete[*node].then(sum)
            })
            .collect();
        let least = sums.iter().flatten().copied().min().unwrap_or_default();
        let most = sums.iter().flatten().copied().max().unwrap_or_default();
        let score = |sum: Option<i64>| match sum {
            None => 0,
            Some(_) if most == 0 => MOST,
            Some(sum) => MOST * (most + least - sum) / most,
        };
        sums.into_iter().map(score).collect()
    }
}

// === impl Rule ===

impl<'a> Rule<'a> {
    fn new(template: &PodTemplate, constraint: &'a Constraint, nodes: &[Node], complete: &[bool]) -> Self {
        let topology = Topology::new(nodes, &constraint.topology);
        let counted = |(i, node): (usize, &Node)| {
            complete[i]
                && !(constraint.honors_affinity && filter::find_unmatched_term(template, node).is_some())
                && !(constraint.honors_taints && filter::find_untolerated_taint(template, node).is_some())
        };
        let eligible: Vec<bool> = nodes.iter().enumerate().map(counted).collect();
        let mut present = vec![false; topology.size];
        for domain in topology.of.iter().zip(&eligible).filter(|(_, is)| **is).filter_map(|(of, _)| *of) {
            present[domain] = true;
        }
        let counts_self = constraint.selector.as_ref().is_some_and(|s| s.matches(&template.pod.labels));
        Self {
            constraint,
            eligible,
            on_node: vec![0; nodes.len()],
            in_domain: vec![0; topology.size],
            present,
            topology,
            counts_self,
        }
    }

    fn holds(&self, node: usize) -> bool {
        let Some(domain) = self.topology.of[node] else { return false };
        let counts = || self.in_domain.iter().zip(&self.present).filter(|(_, is)| **is).map(|(n, _)| *n);
        let domains = counts().count();
        let least = if domains < self.constraint.min_domains { Some(0) } else { counts().min() };
        // If no node counts, nothing can be uneven.
        let Some(least) = least else { return true };
        self.in_domain[domain] + i64::from(self.counts_self) - least <= self.constraint.max_skew
    }

    /// Returns the weight of a pod in a domain, which grows with the number of domains.
    fn weight(&self, scored: &[usize]) -> f64 {
        let size = if self.constraint.topology == HOSTNAME_LABEL {
            scored.len()
        } else {
            let mut seen = vec![false; self.topology.size + 1];
            for node in scored {
                // Nodes without the label are one more domain, as in the scheduler.
                seen[self.topology.of[*node].unwrap_or(self.topology.size)] = true;
            }
            seen.iter().filter(|is| **is).count()
        };
        #[allow(clippy::cast_precision_loss)] // a number of nodes
        let size = (size + 2) as f64;
        size.ln()
    }

    fn cost(&self, node: usize, weight: f64) -> f64 {
        let Some(domain) = self.topology.of[node] else { return 0.0 };
        let count = if self.constraint.topology == HOSTNAME_LABEL {
            self.on_node[node]
        } else {
            self.in_domain[domain]
        };
        #[allow(clippy::cast_precision_loss)] // counts of pods
        let cost = count as f64 * weight + (self.constraint.max_skew - 1) as f64;
        cost
    }
}
