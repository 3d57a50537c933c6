//! From rows to problems: what is wrong with these replicas, told apart by cause. Pure; the clock is not
//! asked.

mod creation;
mod pod;
mod surroundings;

use std::collections::BTreeMap;

use jiff::Timestamp;

pub use self::{
    creation::{Refusal, find_refusal},
    pod::diagnose_pod,
    surroundings::Surroundings,
};
use super::{
    observed::{Deployment, Pod, ReplicaSet},
    problem::{Problem, Reason},
    spec::Policy,
};

/// Everything that is wrong with these pods and with the making of new ones, most urgent first. New ones are
/// made by the `current` ReplicaSet alone.
pub fn diagnose_replicas<'a>(
    deployment: &Deployment,
    current: Option<&ReplicaSet>,
    pods: impl IntoIterator<Item = &'a Pod>,
    around: Surroundings<'_>,
    policy: &Policy,
) -> Vec<Problem> {
    let mut found: BTreeMap<(Reason, String), Problem> = BTreeMap::new();
    for pod in pods.into_iter().filter(|p| !p.deleting) {
        let Some(problem) = diagnose_pod(pod, around, policy) else { continue };
        // Pods of one template share the cause; what differs between them (names, addresses) stays in the
        // first one's words.
        let cause = pod.trouble.as_ref().map(|t| t.container.clone()).unwrap_or_default();
        found.entry((problem.reason, cause)).and_modify(|known| merge(known, &problem)).or_insert(problem);
    }
    let mut problems: Vec<_> = found.into_values().collect();
    problems.extend(current.and_then(|rs| creation::diagnose_creation(deployment, rs)));
    sort_by_urgency(&mut problems);
    problems
}

/// Orders problems as callers see them.
pub fn sort_by_urgency(problems: &mut [Problem]) {
    problems.sort_by_key(|p| (!p.fatal, p.reason));
}

fn merge(known: &mut Problem, other: &Problem) {
    known.affected += other.affected;
    known.start = known.start.into_iter().chain(other.start).min();
    if other.fatal && !known.fatal {
        let affected = known.affected;
        let start = known.start;
        *known = Problem { affected, start, ..other.clone() };
    }
}

/// Whether a problem that may pass by itself has lasted too long for a rollout that began at `begin`. Crashes
/// are counted, not timed: the waits between them grow beyond any grace. A health check that does not pass
/// yet is what a slow start looks like. And a replica of a lost node is replaced, later than most graces.
pub fn is_past_grace(problem: &Problem, policy: &Policy, begin: Timestamp, now: Timestamp) -> bool {
    if matches!(
        problem.reason,
        Reason::CrashLoop | Reason::OutOfMemory | Reason::ProbeFailing | Reason::NodeLost
    ) {
        return false;
    }
    let grace = i64::try_from(policy.transient_grace.as_secs()).unwrap_or(i64::MAX);
    // What was there before the rollout, when it begins, gets the whole grace too.
    let since = |start: Timestamp| start.max(begin).as_second();
    problem.start.is_some_and(|start| now.as_second().saturating_sub(since(start)) >= grace)
}

#[cfg(test)]
mod tests;
