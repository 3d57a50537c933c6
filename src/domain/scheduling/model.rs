//! Nodes with what is on them, and one pod after the other put where it suits best.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    Amounts, Exclusion, HostPort, Node, Pod, Shape, Shortage,
    affinity::Affinities,
    filter,
    score::{self, CRITERIA, WEIGHTS},
    spread::Spreads,
};

/// What is taken of a node.
#[derive(Clone, Debug, Default)]
struct Taken {
    exact: Amounts,
    /// CPU and memory as scores count them.
    weighed: [i64; 2],
    pods: i64,
    ports: BTreeMap<HostPort, i64>,
}

/// What a node is to the pod, whoever is on it.
#[derive(Debug)]
struct Fixed {
    exclusion: Option<Exclusion>,
    unwelcome: i64,
    preference: i64,
    images: i64,
}

/// Scores of a node by criterion, in the order of [`WEIGHTS`].
pub(super) type Parts = [i64; CRITERIA];

#[derive(Debug)]
pub(super) struct Model<'a> {
    pub(super) shape: &'a Shape,
    pub(super) nodes: &'a [Node],
    taken: Vec<Taken>,
    fixed: Vec<Fixed>,
    spreads: Spreads<'a>,
    affinities: Affinities<'a>,
}

impl<'a> Model<'a> {
    pub(super) fn new(shape: &'a Shape, nodes: &'a [Node]) -> Self {
        let wanted: BTreeSet<String> =
            shape.images.iter().map(|image| score::normalize_scores(image)).collect();
        let having: HashMap<&str, usize> = wanted
            .iter()
            .map(|name| (name.as_str(), nodes.iter().filter(|n| n.images.contains_key(name)).count()))
            .collect();
        let fixed = nodes.iter().map(|node| Fixed {
            exclusion: filter::find_exclusion(shape, node),
            unwelcome: score::count_soft_taints(shape, node),
            preference: score::node_preference(shape, node),
            images: score::image_locality(shape, node, nodes.len(), |name| {
                having.get(name).copied().unwrap_or_default()
            }),
        });
        Self {
            shape,
            nodes,
            taken: vec![Taken::default(); nodes.len()],
            fixed: fixed.collect(),
            spreads: Spreads::new(shape, nodes),
            affinities: Affinities::new(&shape.pod, nodes),
        }
    }

    /// Takes in that a pod is on a node, or, with -1, that it is not any more.
    pub(super) fn add(&mut self, pod: &Pod, node: usize, times: i64) {
        let taken = &mut self.taken[node];
        taken.exact.add(&pod.asks.exact, times);
        taken.weighed[0] += times * pod.asks.weighed.cpu;
        taken.weighed[1] += times * pod.asks.weighed.memory;
        taken.pods += times;
        for port in &pod.ports {
            *taken.ports.entry(port.clone()).or_default() += times;
        }
        self.spreads.add(pod, node, times);
        self.affinities.add(pod, node, times);
    }

    /// Puts one pod where it suits best, of equals on the first. `None` if it fits nowhere.
    pub(super) fn place(&mut self) -> Option<usize> {
        let scores = self.scores();
        let best = scores.iter().map(|(_, parts)| total_requests(parts)).max()?;
        let node = scores.iter().find(|(_, parts)| total_requests(parts) == best)?.0;
        let shape = self.shape;
        self.add(&shape.pod, node, 1);
        Some(node)
    }

    /// Every node that takes the pod, with its scores.
    pub(super) fn scores(&self) -> Vec<(usize, Parts)> {
        let fitting: Vec<usize> = (0..self.nodes.len()).filter(|node| self.takes(*node)).collect();
        let of = |part: fn(&Fixed) -> i64| fitting.iter().map(|n| part(&self.fixed[*n])).collect::<Vec<_>>();
        let mut taints = of(|fixed| fixed.unwelcome);
        score::stretch_scores(&mut taints, true);
        let mut preferences = of(|fixed| fixed.preference);
        score::stretch_scores(&mut preferences, false);
        let spread = self.spreads.scores(&fitting);
        let affinity = self.affinities.scores(&fitting);
        let asks = &self.shape.pod.asks;
        let parts = |(i, node): (usize, &usize)| {
            let (of, taken) = (&self.nodes[*node], &self.taken[*node]);
            let parts = [
                score::least_allocated(of, taken.weighed, &asks.weighed),
                score::balanced_allocation(of, &taken.exact, &asks.exact),
                self.fixed[*node].images,
                taints[i],
                preferences[i],
                spread[i],
                affinity[i],
            ];
            (*node, parts)
        };
        fitting.iter().enumerate().map(parts).collect()
    }

    /// Whether the node takes the pod; what [`Self::exclusion`] says why, without the words.
    fn takes(&self, node: usize) -> bool {
        let (of, taken) = (&self.nodes[node], &self.taken[node]);
        self.fixed[node].exclusion.is_none()
            && taken.pods < of.pods
            && self
                .shape
                .pod
                .asks
                .exact
                .entries()
                .all(|(name, asked)| asked <= 0 || asked <= of.allocatable.of(name) - taken.exact.of(name))
            && self.port_taken(node).is_none()
            && self.spreads.holds(node)
            && self.affinities.exclusion(node).is_none()
    }

    fn port_taken(&self, node: usize) -> Option<u16> {
        let clash = |port: &&HostPort| {
            let any = |address: &str| address == "0.0.0.0";
            self.taken[node].ports.iter().any(|(taken, times)| {
                *times > 0
                    && (taken.number, &taken.protocol) == (port.number, &port.protocol)
                    && (any(&taken.address) || any(&port.address) || taken.address == port.address)
            })
        };
        self.shape.pod.ports.iter().find(clash).map(|port| port.number)
    }

    /// Why the node does not take the pod; in the order in which the scheduler asks.
    pub(super) fn exclusion(&self, node: usize) -> Option<Exclusion> {
        let (of, taken) = (&self.nodes[node], &self.taken[node]);
        if let Some(exclusion) = &self.fixed[node].exclusion {
            return Some(exclusion.clone());
        }
        if let Some(port) = self.port_taken(node) {
            return Some(Exclusion::Port(port));
        }
        if taken.pods >= of.pods {
            return Some(Exclusion::Pods(of.pods));
        }
        let asks = self.shape.pod.asks.exact.entries();
        let short = asks.filter_map(|(name, asked)| {
            let free = of.allocatable.of(name) - taken.exact.of(name);
            (asked > 0 && asked > free).then(|| Shortage { resource: name.to_owned(), asked, free })
        });
        let short: Vec<_> = short.collect();
        if !short.is_empty() {
            return Some(Exclusion::Short(short));
        }
        self.spreads.exclusion(node).or_else(|| self.affinities.exclusion(node))
    }
}

/// The weighted sum of the scores.
pub(super) fn total_requests(parts: &Parts) -> i64 {
    parts.iter().zip(WEIGHTS).map(|(part, (_, weight))| part * weight).sum()
}
