//! The order of the entries of a timeline. Kubernetes stores most times in whole seconds, and a busy second
//! has dozens of entries. Within a second, the order is that of causes and effects as far as the entries show
//! it: the order in which the API server stored events, what an event says about its cause, the numbers of
//! rollouts, and the order in which this process learned of the rest. Must not know where entries are stored.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use crate::domain::observed::{About, Event, Kind};

/// An entry, as far as its place in the order depends on it.
#[derive(Clone, Debug)]
pub struct Item<'a> {
    /// When it happened.
    pub time: Timestamp,
    /// The digest of its key, which decides where nothing else does.
    pub id: u64,
    /// The order in which it became known: a number that grows, or 0 for what happened before this process
    /// began.
    pub sequence: u64,
    /// What it is.
    pub what: What<'a>,
}

/// The kinds of entries that an order distinguishes.
#[derive(Clone, Copy, Debug)]
pub enum What<'a> {
    /// A rollout began.
    Begin(Change<'a>),
    /// A rollout ended.
    End(Change<'a>),
    /// A Kubernetes event.
    Event(&'a Event),
    /// Something that this process noticed.
    Other,
}

/// A rollout.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// Its number.
    pub number: u64,
    /// The ReplicaSet that it led to, if it is known.
    pub set: Option<&'a str>,
}

/// Returns the indices of the entries in their order. It depends on the entries alone, and not on the order
/// in which they are given. Entries of different seconds are in the order of their time.
pub fn order(items: &[Item<'_>]) -> Vec<usize> {
    let mut seconds: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (index, item) in items.iter().enumerate() {
        seconds.entry(item.time.as_second()).or_default().push(index);
    }
    seconds.into_values().flat_map(|second| order_second(items, &second)).collect()
}

/// A rollout that began or ended in the second.
#[derive(Clone, Copy)]
struct Turn<'a> {
    index: usize,
    change: Change<'a>,
    ends: bool,
}

/// An event of the second.
struct Step<'a> {
    index: usize,
    sequence: u64,
    does: Does<'a>,
}

/// What an event says about causes and effects.
#[derive(Clone, Copy)]
enum Does<'a> {
    /// This ReplicaSet is to have its first replicas.
    ScaleFromZero(&'a str),
    /// This ReplicaSet is to have more replicas.
    ScaleUp(&'a str),
    /// This ReplicaSet is to have fewer replicas.
    ScaleDown(&'a str),
    /// A pod was created.
    Create(&'a str),
    /// A pod was deleted.
    Delete(&'a str),
    /// A pod was given a node.
    Schedule(&'a str),
    /// A pod is stopped on its node.
    Kill(&'a str),
    /// Something else happened to a pod on its node.
    Run(&'a str),
    Nothing,
}

/// An event that other events cannot precede.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Cause<'a> {
    ScaledFromZero(&'a str),
    Created(&'a str),
    Deleted(&'a str),
    Scheduled(&'a str),
}

fn order_second(items: &[Item<'_>], second: &[usize]) -> Vec<usize> {
    let (mut turns, mut events, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for &index in second {
        match items[index].what {
            What::Begin(change) => turns.push(Turn { index, change, ends: false }),
            What::End(change) => turns.push(Turn { index, change, ends: true }),
            What::Event(event) => events.push((index, event)),
            What::Other => others.push(index),
        }
    }
    turns.sort_by_key(|turn| (turn.change.number, turn.ends, items[turn.index].id));
    others.sort_by_key(|&index| (items[index].sequence, items[index].time, items[index].id));
    let steps = order_events(items, events);
    insert_others(items, &merge(items, &turns, &steps), others)
}

/// Returns the events in the order in which the API server stored them. Each component sends its events on
/// its own, so an event may be stored before the event of its cause. That cause is moved forward.
fn order_events<'a>(items: &[Item<'_>], events: Vec<(usize, &'a Event)>) -> Vec<Step<'a>> {
    let mut first_effects: HashMap<Cause<'_>, u64> = HashMap::new();
    let mut placed = Vec::with_capacity(events.len());
    let mut events: Vec<_> =
        events.into_iter().map(|(index, event)| (index, event, Does::of(event))).collect();
    // Effects come before their causes here.
    events.sort_by_key(|(_, _, does)| std::cmp::Reverse(does.depth()));
    for (index, event, does) in events {
        let effect = does.cause().and_then(|cause| first_effects.get(&cause));
        let version = effect.map_or(event.version, |effect| event.version.min(*effect));
        for cause in does.caused_by() {
            first_effects.entry(cause).and_modify(|first| *first = version.min(*first)).or_insert(version);
        }
        placed.push((version, index, event, does));
    }
    placed.sort_by(|(version, index, event, does), (other_version, other_index, other, other_does)| {
        let rest = |index: usize, event: &'a Event| (event.time, &event.about, &event.id, items[index].id);
        (version, does.depth())
            .cmp(&(other_version, other_does.depth()))
            .then_with(|| rest(*index, event).cmp(&rest(*other_index, other)))
    });
    let step = |(_, index, _, does)| Step { index, sequence: items[index].sequence, does };
    placed.into_iter().map(step).collect()
}

/// Puts the beginnings and ends of rollouts, which are in their order, between the events.
///
/// A rollout begins before everything else in its second. If an earlier one ended in the same second, it
/// begins with the first event that it causes. A rollout ends after the events that were known then, and
/// after later news of its own pods, but before the next one begins.
fn merge(items: &[Item<'_>], turns: &[Turn<'_>], steps: &[Step<'_>]) -> Vec<usize> {
    let known_until = |turn: &Turn<'_>| {
        let sequence = items[turn.index].sequence;
        steps.iter().rposition(|step| step.sequence <= sequence).map_or(0, |at| at + 1)
    };
    let (mut places, mut earliest) = (Vec::with_capacity(turns.len()), 0);
    for (n, turn) in turns.iter().enumerate() {
        let before = turns[..n].iter().rev().find(|earlier| earlier.ends);
        if let (false, Some(before)) = (turn.ends, before) {
            let sequence = items[turn.index].sequence;
            let caused = |step: &Step<'_>| {
                let takes_away = step.does.removes(before.change.set);
                step.does.builds(turn.change.set) || takes_away && step.is_after(sequence)
            };
            let rest = steps.get(earliest..).unwrap_or_default();
            let first = rest.iter().position(caused).map_or_else(|| known_until(turn), |at| at + earliest);
            earliest = first.max(earliest);
        }
        places.push(earliest);
    }
    for n in (0..turns.len()).rev().filter(|n| turns[*n].ends) {
        let latest = places.get(n + 1).copied().unwrap_or(steps.len());
        let place = known_until(&turns[n]).max(news_until(items, &turns[n], steps));
        places[n] = place.clamp(places[n], latest);
    }
    let mut turns = turns.iter().zip(places).peekable();
    let mut merged = Vec::new();
    for at in 0..=steps.len() {
        while let Some((turn, _)) = turns.next_if(|(_, place)| *place <= at) {
            merged.push(turn.index);
        }
        merged.extend(steps.get(at).map(|step| step.index));
    }
    merged
}

/// Returns the place after the last event about a pod of a rollout that has ended. Such an event may arrive
/// late. Pods that are known to be created after the end do not count.
fn news_until(items: &[Item<'_>], end: &Turn<'_>, steps: &[Step<'_>]) -> usize {
    let sequence = items[end.index].sequence;
    let created = |step: &Step<'_>, pod: &str| {
        step.sequence > sequence && matches!(step.does, Does::Create(created) if created == pod)
    };
    let is_news = |step: &Step<'_>| {
        matches!(step.does, Does::Schedule(pod) | Does::Run(pod)
            if step.does.builds(end.change.set) && !steps.iter().any(|step| created(step, pod)))
    };
    steps.iter().rposition(is_news).map_or(0, |at| at + 1)
}

/// Puts what this process noticed after everything that was known before it.
fn insert_others(items: &[Item<'_>], kept: &[usize], others: Vec<usize>) -> Vec<usize> {
    let place = |other: usize| {
        let earlier = |index: &usize| items[*index].sequence < items[other].sequence;
        kept.iter().rposition(earlier).map_or(0, |at| at + 1)
    };
    // The places grow, because the others are in the order of their sequence.
    let places: Vec<usize> = others.iter().map(|other| place(*other)).collect();
    let mut others = others.into_iter().zip(places).peekable();
    let mut all = Vec::new();
    for at in 0..=kept.len() {
        while let Some((other, _)) = others.next_if(|(_, place)| *place <= at) {
            all.push(other);
        }
        all.extend(kept.get(at));
    }
    all
}

/// The name of a pod is the name of its ReplicaSet and a suffix. Names of more than 58 characters are cut, so
/// the ReplicaSet of such a pod stays unknown.
fn set_of(pod: &str) -> Option<&str> {
    pod.rsplit_once('-').map(|(set, _)| set)
}

// === impl Step ===

impl Step<'_> {
    /// Whether it may have become known after an entry with this sequence.
    const fn is_after(&self, sequence: u64) -> bool {
        sequence == 0 || self.sequence > sequence
    }
}

// === impl Does ===

impl<'a> Does<'a> {
    fn of(event: &'a Event) -> Self {
        let About { kind, name, .. } = &event.about;
        // Kubernetes may put "(combined from similar events): " before it.
        let named = |before: &str| {
            let (_, rest) = event.note.split_once(before)?;
            rest.split(' ').next()
        };
        let does = match (kind, &*event.reason) {
            (Kind::Deployment, "ScalingReplicaSet") if event.note.contains(" from 0 to ") => {
                named("Scaled up replica set ").map(Self::ScaleFromZero)
            }
            (Kind::Deployment, "ScalingReplicaSet") => named("Scaled up replica set ")
                .map(Self::ScaleUp)
                .or_else(|| named("Scaled down replica set ").map(Self::ScaleDown)),
            (Kind::ReplicaSet, "SuccessfulCreate") => named("Created pod: ").map(Self::Create),
            (Kind::ReplicaSet, "SuccessfulDelete") => named("Deleted pod: ").map(Self::Delete),
            (Kind::Pod, "Scheduled") => Some(Self::Schedule(name)),
            (Kind::Pod, "Killing") => Some(Self::Kill(name)),
            (
                Kind::Pod,
                "Pulling" | "Pulled" | "Created" | "Started" | "Failed" | "BackOff" | "Unhealthy",
            ) => Some(Self::Run(name)),
            _ => None,
        };
        does.unwrap_or(Self::Nothing)
    }

    /// The number of components through which its cause went. Decides between events whose order is unknown.
    const fn depth(self) -> u8 {
        match self {
            Self::ScaleFromZero(_) | Self::ScaleUp(_) | Self::ScaleDown(_) => 0,
            Self::Create(_) | Self::Delete(_) => 1,
            Self::Schedule(_) => 2,
            Self::Kill(_) | Self::Run(_) | Self::Nothing => 3,
        }
    }

    /// What it is to others.
    const fn cause(self) -> Option<Cause<'a>> {
        match self {
            Self::ScaleFromZero(set) => Some(Cause::ScaledFromZero(set)),
            Self::Create(pod) => Some(Cause::Created(pod)),
            Self::Delete(pod) => Some(Cause::Deleted(pod)),
            Self::Schedule(pod) => Some(Cause::Scheduled(pod)),
            Self::ScaleUp(_) | Self::ScaleDown(_) | Self::Kill(_) | Self::Run(_) | Self::Nothing => None,
        }
    }

    /// What came before it for certain, if it was in the same second.
    fn caused_by(self) -> Vec<Cause<'a>> {
        match self {
            Self::Create(pod) => set_of(pod).map(Cause::ScaledFromZero).into_iter().collect(),
            Self::Schedule(pod) => vec![Cause::Created(pod)],
            Self::Run(pod) => vec![Cause::Created(pod), Cause::Scheduled(pod)],
            Self::Kill(pod) => vec![Cause::Created(pod), Cause::Scheduled(pod), Cause::Deleted(pod)],
            Self::ScaleFromZero(_)
            | Self::ScaleUp(_)
            | Self::ScaleDown(_)
            | Self::Delete(_)
            | Self::Nothing => Vec::new(),
        }
    }

    /// Whether it is on the way to replicas of this ReplicaSet.
    fn builds(self, set: Option<&str>) -> bool {
        let Some(set) = set else { return false };
        match self {
            Self::ScaleFromZero(name) | Self::ScaleUp(name) => name == set,
            Self::Create(pod) | Self::Schedule(pod) | Self::Run(pod) => set_of(pod) == Some(set),
            Self::ScaleDown(_) | Self::Delete(_) | Self::Kill(_) | Self::Nothing => false,
        }
    }

    /// Whether it takes replicas of this ReplicaSet away.
    fn removes(self, set: Option<&str>) -> bool {
        let Some(set) = set else { return false };
        match self {
            Self::ScaleDown(name) => name == set,
            Self::Delete(pod) | Self::Kill(pod) => set_of(pod) == Some(set),
            Self::ScaleFromZero(_)
            | Self::ScaleUp(_)
            | Self::Create(_)
            | Self::Schedule(_)
            | Self::Run(_)
            | Self::Nothing => false,
        }
    }
}

#[cfg(test)]
mod tests;
