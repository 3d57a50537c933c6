//! Derives problems from rows: what is wrong with these replicas, by cause. Pure: the time is an argument.

mod creation;
mod ended;
mod pod;
mod stopping;
mod surroundings;

use std::collections::BTreeMap;

use jiff::Timestamp;

pub use self::{
    creation::{Refusal, describe_attempt, find_refusal, is_retried_since},
    ended::{diagnose_ended, ended_until},
    pod::{describe_pending, describe_start, describe_wait, diagnose_pod},
    stopping::{Stopping, diagnose_stopping},
    surroundings::{NodeState, Surroundings},
};
use super::{
    observed::{Deployment, Pod, ReplicaSet},
    problem::{Problem, Reason},
    spec::Policy,
};

/// Returns all problems of these pods and of creating new ones, most urgent first. Only the `current`
/// ReplicaSet creates new pods.
///
/// With `begin`, problems are judged for a rollout that began then: what a pod shows only from the time
/// before may have passed, so it is not fatal.
pub fn diagnose_replicas<'a>(
    deployment: &Deployment,
    current: Option<&ReplicaSet>,
    pods: impl IntoIterator<Item = &'a Pod>,
    around: Surroundings<'_>,
    policy: &Policy,
    begin: Option<Timestamp>,
) -> Vec<Problem> {
    let mut found: BTreeMap<(Reason, String), Problem> = BTreeMap::new();
    for pod in pods.into_iter().filter(|p| !p.deleting) {
        let Some(mut problem) = diagnose_pod(pod, around, policy) else { continue };
        problem.fatal &= begin.is_none_or(|begin| pod::is_shown_since(pod, &problem, around, begin));
        // Pods of one template share the cause. Details that differ between them, such as names and
        // addresses, are those of the first pod.
        let cause = problem.container.clone();
        found.entry((problem.reason, cause)).and_modify(|known| merge(known, &problem)).or_insert(problem);
    }
    let mut problems: Vec<_> = found.into_values().collect();
    problems.extend(current.and_then(|rs| creation::diagnose_creation(deployment, rs)));
    sort_by_urgency(&mut problems);
    problems
}

/// Sorts problems into the order that callers see.
pub fn sort_by_urgency(problems: &mut [Problem]) {
    problems.sort_by_key(|p| (!p.fatal, p.reason));
}

/// Adds the problem that replicas ended. Unless it is fatal, it comes last, because it may have passed.
pub fn add_ended(problems: &mut Vec<Problem>, ended: Option<Problem>) {
    problems.extend(ended);
    problems.sort_by_key(|p| !p.fatal);
}

/// Returns whether a problem is the want of room, so that another replica that ends may solve it.
pub const fn is_want_of_room(problem: &Problem) -> bool {
    matches!(problem.reason, Reason::Unschedulable | Reason::QuotaExceeded | Reason::VolumeFailed)
        && !problem.fatal
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

/// Returns whether a problem that may be temporary has lasted too long for a rollout that began at `begin`.
///
/// Five reasons have no grace period. Crashes and memory kills are counted, because the waits between
/// restarts grow beyond any grace period. A failing probe is what a slow start looks like. A replica on a
/// lost node is replaced, but later than most grace periods end. The deadline has its own time.
pub fn is_past_grace(problem: &Problem, policy: &Policy, begin: Timestamp, now: Timestamp) -> bool {
    if matches!(
        problem.reason,
        Reason::CrashLoop
            | Reason::OutOfMemory
            | Reason::ProbeFailing
            | Reason::NodeLost
            | Reason::ProgressTimeout
    ) {
        return false;
    }
    let grace = i64::try_from(policy.transient_grace.as_secs()).unwrap_or(i64::MAX);
    // A problem older than the rollout gets the whole grace period too.
    let since = |start: Timestamp| start.max(begin).as_second();
    problem.start.is_some_and(|start| now.as_second().saturating_sub(since(start)) >= grace)
}

#[cfg(test)]
mod tests;
