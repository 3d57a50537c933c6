//! A change of replicas played through on the nodes: how many fit, where they go, what keeps the others away.

use std::collections::HashMap;

use super::{
    Exclusion, Node, Pod, PodTemplate,
    explain::explain_exclusions,
    model::{Model, Scores, total_score},
    score::WEIGHTS,
};
use crate::domain::check::{Check, Finding, Kind};

/// Replicas beyond those wanted that are looked for.
const MOST_HEADROOM: usize = 1000;

/// Nodes looked at, over all replicas placed: a bound of the work, well below a second.
const MOST_WORK: usize = 5_000_000;

/// Nodes told about.
const MOST_NODES: usize = 100;

/// What becomes of the replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Replicas wanted in the end.
    pub replicas: usize,
    /// How many more there may be meanwhile.
    pub surge: usize,
    /// How many fewer there may be meanwhile.
    pub unavailable: usize,
    /// All old ones go before the first new one comes.
    pub recreate: bool,
    /// Those that are there are replaced; else they stay.
    pub replaces: bool,
}

/// How it would go.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forecast {
    /// Replicas there are at most while it goes on.
    pub wanted: usize,
    /// How many of them fit now.
    pub fits: usize,
    /// It comes to its end, also if it has to wait for old replicas to make room.
    pub completes: bool,
    /// Replicas that would fit beyond its end; at most 1000.
    pub headroom: usize,
    /// What keeps replicas away, if not all fit; names no node.
    pub short_of: Vec<String>,
    /// Nodes, best first, those that take no replica last; at most 100.
    pub nodes: Vec<ScoredNode>,
    /// There were too many nodes and replicas to play it to its end.
    pub cut_off: bool,
}

/// A node as a place for the next replica.
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
    /// Replicas put here.
    pub placed: usize,
    /// Why it takes none.
    pub excluded: Option<Exclusion>,
}

/// Plays a change through. `pods` are all that are on nodes; those that are the app's own are marked.
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
    /// What the forecast says about the change.
    pub fn check(&self) -> Check {
        let Self { wanted, fits, headroom, .. } = self;
        let says = |result, message: String| Check::new(Kind::Fit, result, message);
        if self.cut_off {
            let message = "Not foreseen: too many replicas and nodes to play it through.";
            return says(Finding::Skipped, message.to_owned());
        }
        let short = self.short_of.join("; ");
        let remedy = "Ask for less in resources.requests, allow more nodes in placement, or add nodes.";
        if !self.completes {
            let begins = if fits < wanted {
                format!("Only {fits} of {wanted} replicas fit now, and it")
            } else {
                "It would begin, and".to_owned()
            };
            let message = format!("{begins} would not come to its end: {short}. {remedy}");
            return says(Finding::Fail, message);
        }
        if fits < wanted {
            let message = format!(
                "{fits} of {wanted} replicas fit now, those of the surge included; the others wait until old ones make room: {short}. {remedy}"
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
    /// The app's replicas that were there before, by node.
    old: Vec<Vec<&'a Pod>>,
    placed: Vec<usize>,
    /// Replicas that may still be placed before the work gets too much.
    work: usize,
    /// Why each node took none, when a replica was first refused by all.
    blocked: Option<Vec<Exclusion>>,
}

impl Simulation<'_> {
    /// Places as many as fit of these.
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

    /// Old replicas that are there.
    fn before(&self) -> usize {
        self.old.iter().map(Vec::len).sum()
    }

    /// Takes old replicas away, first from where most of them are, as Kubernetes prefers to.
    fn remove(&mut self, count: usize) {
        for _ in 0..count {
            let fullest = (0..self.old.len()).max_by_key(|node| self.old[*node].len());
            let taken = fullest.and_then(|node| Some((self.old[node].pop()?, node)));
            let Some((pod, node)) = taken else { return };
            self.model.add(pod, node, -1);
        }
    }

    /// Those that are there stay.
    fn grow(&mut self, wanted: usize) -> Forecast {
        let kept = self.before().min(wanted);
        let fits = kept + self.place(wanted - kept);
        Forecast { wanted, fits, completes: fits == wanted, ..Forecast::default() }
    }

    /// New ones take the places of old ones, as a Deployment's controller does it.
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
