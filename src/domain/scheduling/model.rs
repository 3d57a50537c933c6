//! The nodes with their pods, to which pods are added one at a time on the best node.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    Amounts, Exclusion, HostPort, Node, Pod, PodTemplate, Shortage,
    affinity::Affinities,
    filter,
    score::{self, CRITERIA, WEIGHTS},
    spread::Spreads,
};

/// What the pods on a node use.
#[derive(Clone, Debug, Default)]
struct NodeUsage {
    exact: Amounts,
    /// CPU and memory as scores count them.
    weighed: [i64; 2],
    pods: i64,
    ports: BTreeMap<HostPort, i64>,
}

/// What a node means to the pod, independent of other pods.
#[derive(Debug)]
struct StaticFit {
    exclusion: Option<Exclusion>,
    unwelcome: i64,
    preference: i64,
    images: i64,
}

/// Scores of a node by criterion, in the order of [`WEIGHTS`].
pub(super) type Scores = [i64; CRITERIA];

#[derive(Debug)]
pub(super) struct Model<'a> {
    pub(super) template: &'a PodTemplate,
    pub(super) nodes: &'a [Node],
    taken: Vec<NodeUsage>,
    fixed: Vec<StaticFit>,
    spreads: Spreads<'a>,
    affinities: Affinities<'a>,
}

impl<'a> Model<'a> {
    pub(super) fn new(template: &'a PodTemplate, nodes: &'a [Node]) -> Self {
        let wanted: BTreeSet<String> =
            template.images.iter().map(|image| score::normalize_image_name(image)).collect();
        let having: HashMap<&str, usize> = wanted
            .iter()
            .map(|name| (name.as_str(), nodes.iter().filter(|n| n.images.contains_key(name)).count()))
            .collect();
        let fixed = nodes.iter().map(|node| StaticFit {
            exclusion: filter::find_exclusion(template, node),
            unwelcome: score::count_soft_taints(template, node),
            preference: score::score_node_affinity(template, node),
            images: score::score_image_locality(template, node, nodes.len(), |name| {
                having.get(name).copied().unwrap_or_default()
            }),
        });
        Self {
            template,
            nodes,
            taken: vec![NodeUsage::default(); nodes.len()],
            fixed: fixed.collect(),
            spreads: Spreads::new(template, nodes),
            affinities: Affinities::new(&template.pod, nodes),
        }
    }

    /// Counts a pod on a node; with -1, removes it.
    pub(super) fn add(&mut self, pod: &Pod, node: usize, times: i64) {
        let taken = &mut self.taken[node];
        taken.exact.add(&pod.requests.exact, times);
        taken.weighed[0] += times * pod.requests.weighed.cpu;
        taken.weighed[1] += times * pod.requests.weighed.memory;
        taken.pods += times;
        for port in &pod.ports {
            *taken.ports.entry(port.clone()).or_default() += times;
        }
        self.spreads.add(pod, node, times);
        self.affinities.add(pod, node, times);
    }

    /// Places one pod on the node with the best score, or on the first of several. `None` if no node accepts
    /// it.
    pub(super) fn place(&mut self) -> Option<usize> {
        let scores = self.scores();
        let best = scores.iter().map(|(_, parts)| total_score(parts)).max()?;
        let node = scores.iter().find(|(_, parts)| total_score(parts) == best)?.0;
        let template = self.template;
        self.add(&template.pod, node, 1);
        Some(node)
    }

    /// Returns every node that accepts the pod, with its scores.
    pub(super) fn scores(&self) -> Vec<(usize, Scores)> {
        let fitting: Vec<usize> = (0..self.nodes.len()).filter(|node| self.takes(*node)).collect();
        let of =
            |part: fn(&StaticFit) -> i64| fitting.iter().map(|n| part(&self.fixed[*n])).collect::<Vec<_>>();
        let mut taints = of(|fixed| fixed.unwelcome);
        score::normalize_scores(&mut taints, true);
        let mut preferences = of(|fixed| fixed.preference);
        score::normalize_scores(&mut preferences, false);
        let spread = self.spreads.scores(&fitting);
        let affinity = self.affinities.scores(&fitting);
        let requests = &self.template.pod.requests;
        let parts = |(i, node): (usize, &usize)| {
            let (of, taken) = (&self.nodes[*node], &self.taken[*node]);
            let parts = [
                score::score_least_allocated(of, taken.weighed, &requests.weighed),
                score::score_balanced_allocation(of, &taken.exact, &requests.exact),
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

    /// Returns whether the node accepts the pod. Same rule as [`Self::exclusion`], without the explanation.
    fn takes(&self, node: usize) -> bool {
        let (of, taken) = (&self.nodes[node], &self.taken[node]);
        self.fixed[node].exclusion.is_none()
            && taken.pods < of.pods
            && self
                .template
                .pod
                .requests
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
        self.template.pod.ports.iter().find(clash).map(|port| port.number)
    }

    /// Returns why the node does not accept the pod, in the order of the scheduler's filters.
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
        let requests = self.template.pod.requests.exact.entries();
        let short = requests.filter_map(|(name, asked)| {
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

/// Returns the weighted sum of the scores.
pub(super) fn total_score(parts: &Scores) -> i64 {
    parts.iter().zip(WEIGHTS).map(|(part, (_, weight))| part * weight).sum()
}
