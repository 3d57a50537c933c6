//! Simulates a change of replicas on the nodes: how many fit, where they go, and why the rest does not fit.

use std::collections::HashMap;

use super::{
    Exclusion, Node, Pod, PodTemplate,
    explain::explain_exclusions,
    model::{Model, Scores, total_score},
    score::WEIGHTS,
};
use crate::domain::check::{Check, Finding, Kind};

/// Most replicas beyond the wanted ones that are tried.
const MOST_HEADROOM: usize = 1000;

/// Bound for the work, in nodes times placed replicas. It takes well below a second.
const MOST_WORK: usize = 5_000_000;

/// Most nodes in the result.
const MOST_NODES: usize = 100;

/// What happens to the replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Replicas wanted in the end.
    pub replicas: usize,
    /// How many more there may be during the change.
    pub surge: usize,
    /// How many fewer there may be during the change.
    pub unavailable: usize,
    /// Whether all old replicas are removed before the first new one is created.
    pub recreate: bool,
    /// Whether the existing replicas are replaced; otherwise they stay.
    pub replaces: bool,
}

/// The result of the simulation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forecast {
    /// Most replicas that exist at one time during the change.
    pub wanted: usize,
    /// How many of them fit now.
    pub fits: usize,
    /// Whether the change completes, possibly after waiting for old replicas to be removed.
    pub completes: bool,
    /// Replicas that would fit in addition after the change; at most 1000.
    pub headroom: usize,
    /// Why not all replicas fit, if so. Names no node.
    pub short_of: Vec<String>,
    /// Nodes, best first; nodes that accept no replica come last. At most 100.
    pub nodes: Vec<ScoredNode>,
    /// Whether the simulation was stopped because there are too many nodes and replicas.
    pub cut_off: bool,
}

/// A node with its scores for the next replica.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScoredNode {
    /// Name.
    pub node: String,
    /// Zone.
    pub zone: String,
    /// Weighted mean of the parts, 0 to 100.
    pub score: f64,
    /// Scores by criterion, 0 to 100 each.
    pub parts: Vec<(&'static str, i64)>,
    /// Replicas that the simulation placed on it.
    pub placed: usize,
    /// Why it accepts no replica.
    pub excluded: Option<Exclusion>,
}

/// Simulates a change. `pods` are all pods on the nodes, with the app's own pods marked.
pub fn forecast_placement(nodes: &[Node], pods: &[Pod], template: &PodTemplate, change: &Change) -> Forecast {
    let index: HashMap<&str, usize> = nodes.iter().enumerate().map(|(i, n)| (n.name.as_str(), i)).collect();
    let mut simulation = Simulation {
        model: Model::new(template, nodes),
        old: vec![Vec::new(); nodes.len()],
        placed: vec![0; nodes.len()],
        work: MOST_WORK / nodes.len().max(1),
        blocked: None,
    };
    for pod in pods {
        let Some(node) = index.get(pod.node.as_str()).copied() else { continue };
        simulation.model.add(pod, node, 1);
        if pod.own && !pod.deleting {
            simulation.old[node].push(pod);
        }
    }
    if change.replaces && change.recreate {
        simulation.remove(simulation.before());
    }
    let first = simulation.model.scores();
    let excluded: Vec<_> = (0..nodes.len()).map(|node| simulation.model.exclusion(node)).collect();
    let outcome = if change.replaces { simulation.replace(change) } else { simulation.grow(change.replicas) };
    let short_of = match &simulation.blocked {
        Some(exclusions) if outcome.fits < outcome.wanted || !outcome.completes => {
            explain_exclusions(exclusions)
        }
        _ => Vec::new(),
    };
    let placed = simulation.placed.clone();
    let cut_off = simulation.work == 0;
    let headroom = if outcome.completes { simulation.headroom() } else { 0 };
    Forecast { headroom, short_of, cut_off, nodes: ranked(nodes, &first, excluded, &placed), ..outcome }
}

// === impl Forecast ===

impl Forecast {
    /// Returns the check of a plan that summarizes the forecast.
    pub fn check(&self) -> Check {
        let Self { wanted, fits, headroom, .. } = self;
        let says = |result, message: String| Check::new(Kind::Fit, result, message);
        if self.cut_off {
            let message = "Not simulated: there are too many replicas and nodes.";
            return says(Finding::Skipped, message.to_owned());
        }
        let short = self.short_of.join("; ");
        let remedy = "Ask for less in resources.requests, allow more nodes in placement, or add nodes.";
        if !self.completes {
            let begins = if fits < wanted {
                format!("Only {fits} of {wanted} replicas fit now, and the change")
            } else {
                "The change would begin, but it".to_owned()
            };
            let message = format!("{begins} would not complete: {short}. {remedy}");
            return says(Finding::Fail, message);
        }
        if fits < wanted {
            let message = format!(
                "{fits} of {wanted} replicas fit now, surge included; the rest must wait until old replicas are removed: {short}. {remedy}"
            );
            return says(Finding::Warn, message);
        }
        let more = if *headroom == 1000 { "at least 1000".to_owned() } else { headroom.to_string() };
        match wanted {
            0 => says(Finding::Pass, format!("No replica is to be placed; {more} would fit.")),
            1 => says(Finding::Pass, format!("The replica fits now, and {more} more would.")),
            _ => says(Finding::Pass, format!("All {wanted} replicas fit now, and {more} more would.")),
        }
    }
}

struct Simulation<'a> {
    model: Model<'a>,
    /// The app's replicas from before the change, by node.
    old: Vec<Vec<&'a Pod>>,
    placed: Vec<usize>,
    /// How many more replicas may be placed before the work becomes too much.
    work: usize,
    /// Why each node refused the first replica that fit nowhere.
    blocked: Option<Vec<Exclusion>>,
}

impl Simulation<'_> {
    /// Places as many of `count` replicas as fit, and returns how many did.
    fn place(&mut self, count: usize) -> usize {
        for done in 0..count {
            if self.work == 0 {
                return done;
            }
            self.work -= 1;
            let Some(node) = self.model.place() else {
                let all = (0..self.model.nodes.len()).filter_map(|node| self.model.exclusion(node)).collect();
                self.blocked.get_or_insert(all);
                return done;
            };
            self.placed[node] += 1;
        }
        count
    }

    /// Returns the number of old replicas that still exist.
    fn before(&self) -> usize {
        self.old.iter().map(Vec::len).sum()
    }

    /// Removes old replicas, each from the node with the most of them, as Kubernetes prefers.
    fn remove(&mut self, count: usize) {
        for _ in 0..count {
            let fullest = (0..self.old.len()).max_by_key(|node| self.old[*node].len());
            let taken = fullest.and_then(|node| Some((self.old[node].pop()?, node)));
            let Some((pod, node)) = taken else { return };
            self.model.add(pod, node, -1);
        }
    }

    /// Adds replicas; the existing ones stay.
    fn grow(&mut self, wanted: usize) -> Forecast {
        let kept = self.before().min(wanted);
        let fits = kept + self.place(wanted - kept);
        Forecast { wanted, fits, completes: fits == wanted, ..Forecast::default() }
    }

    /// Replaces old replicas by new ones, as the Deployment controller does.
    fn replace(&mut self, change: &Change) -> Forecast {
        let Change { replicas, surge, unavailable, recreate, .. } = *change;
        let before = self.before();
        let surge = if recreate || before == 0 { 0 } else { surge };
        let unavailable = if recreate { 0 } else { unavailable };
        let most = replicas + surge;
        let wanted = most.min(before + replicas);
        let mut new = self.place(replicas.min(most.saturating_sub(before)));
        let fits = wanted.min(before + new);
        loop {
            let old = self.before();
            let spare = (old + new).saturating_sub(replicas.saturating_sub(unavailable)).min(old);
            self.remove(spare);
            let room = (replicas - new).min(most.saturating_sub(old - spare + new));
            let placed = self.place(room);
            new += placed;
            if new == replicas || spare + placed == 0 {
                break;
            }
        }
        let completes = new == replicas;
        if completes {
            self.remove(self.before());
        }
        Forecast { wanted, fits, completes, ..Forecast::default() }
    }

    fn headroom(&mut self) -> usize {
        self.place(MOST_HEADROOM.min(self.work))
    }
}

fn ranked(
    nodes: &[Node],
    scores: &[(usize, Scores)],
    excluded: Vec<Option<Exclusion>>,
    placed: &[usize],
) -> Vec<ScoredNode> {
    let parts: HashMap<usize, Scores> = scores.iter().copied().collect();
    let weights: i64 = WEIGHTS.iter().map(|(_, weight)| weight).sum();
    let scored = |(i, (node, excluded)): (usize, (&Node, Option<Exclusion>))| {
        let parts = parts.get(&i);
        #[allow(clippy::cast_precision_loss)] // some hundreds
        let score = parts.map_or(0.0, |parts| total_score(parts) as f64 / weights as f64);
        let named =
            |parts: &Scores| WEIGHTS.iter().zip(parts).map(|((name, _), part)| (*name, *part)).collect();
        ScoredNode {
            node: node.name.clone(),
            zone: node.labels.get(super::ZONE_LABEL).cloned().unwrap_or_default(),
            score,
            parts: parts.map(named).unwrap_or_default(),
            placed: placed[i],
            excluded,
        }
    };
    let mut all: Vec<_> = nodes.iter().zip(excluded).enumerate().map(scored).collect();
    all.sort_by(|a, b| {
        let by = |s: &ScoredNode| (s.excluded.is_some(), s.placed == 0 && s.excluded.is_some());
        by(a).cmp(&by(b)).then(b.score.total_cmp(&a.score)).then_with(|| a.node.cmp(&b.node))
    });
    all.truncate(MOST_NODES);
    all
}
