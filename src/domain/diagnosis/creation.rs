//! Problems of creating replicas: a ReplicaSet that cannot create its pods, and a Deployment controller that
//! cannot create the ReplicaSet. They never show in a pod's status, because there is no pod. Pure.

mod cause;

use jiff::Timestamp;

use self::cause::{Cause, What, find_cause};
use super::surroundings::{Surroundings, pick_events, quote_text};
use crate::domain::{
    observed::{About, Deployment, Event, Kind, ReplicaSet},
    problem::Problem,
};

/// The Deployment controller's reason for a refused ReplicaSet, in the Deployment's condition and in events.
const REFUSED: &str = "ReplicaSetCreateError";

/// The ReplicaSet controller's reason for a refused pod, in events.
const POD_REFUSED: &str = "FailedCreate";

/// A refusal to the Deployment controller to create the ReplicaSet of the newest template.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// The problem.
    pub problem: Problem,
    /// When Kubernetes last reported it, if known. A report from before a rollout began may be about the
    /// previous rollout.
    pub time: Option<Timestamp>,
}

/// Returns why a ReplicaSet cannot create its pods.
pub(super) fn diagnose_creation(deployment: &Deployment, current: &ReplicaSet) -> Option<Problem> {
    let failure = current.create_failure.as_ref()?;
    let cause = find_cause(&failure.message, What::Replicas, &deployment.name)?;
    let affected = (deployment.desired - deployment.updated).max(1);
    Some(Problem { affected, start: failure.since, ..to_problem(&cause, object_of(current)) })
}

fn object_of(set: &ReplicaSet) -> String {
    format!("{}/{}", Kind::ReplicaSet.prefix(), set.name)
}

fn to_problem(cause: &Cause, object: String) -> Problem {
    Problem::new(cause.reason, cause.message.clone(), &cause.remedy, object, cause.fatal)
}

/// Returns whether the refusal of pods was reported after this moment. The condition of the ReplicaSet keeps
/// the time of the first refusal, while each failed attempt emits an event. Kubernetes' times are whole
/// seconds.
pub fn is_retried_since(current: &ReplicaSet, around: Surroundings<'_>, begin: Timestamp) -> bool {
    let is_later = |time: Timestamp| time.as_second() > begin.as_second();
    let since = current.create_failure.as_ref().and_then(|failure| failure.since);
    let about =
        About { namespace: current.namespace.clone(), kind: Kind::ReplicaSet, name: current.name.clone() };
    let is_told = |event: &&Event| &*event.reason == POD_REFUSED && is_later(event.time);
    since.is_some_and(is_later) || (around.events)(&about).iter().any(is_told)
}

/// Returns the last attempt to create a replica, if it failed for a reason that usually passes by itself:
/// what Kubernetes says about it, in one sentence, and the object that says so.
pub fn describe_attempt(current: &ReplicaSet) -> Option<(String, String)> {
    let failure = current.create_failure.as_ref()?;
    Some((
        format!("The last attempt to create a replica failed: {}", quote_text(&failure.message)),
        object_of(current),
    ))
}

/// Returns why the Deployment controller cannot create the ReplicaSet of the newest template. `None` once
/// that ReplicaSet exists, whatever was reported before.
///
/// The condition is written once and never renewed, while each failed attempt emits an event. But Kubernetes
/// drops some of many events in a row, and deletes all after an hour. So both are read, and the later one
/// counts.
pub fn find_refusal(
    deployment: &Deployment,
    replica_sets: &[&ReplicaSet],
    around: Surroundings<'_>,
) -> Option<Refusal> {
    if replica_sets.iter().any(|rs| rs.template == deployment.template) {
        return None;
    }
    let name = &deployment.name;
    let about = About {
        namespace: name.namespace.as_str().into(),
        kind: Kind::Deployment,
        name: name.app.as_str().into(),
    };
    // A deleted Deployment of the same name had its own events.
    let is_told = |event: &&Event| &*event.reason == REFUSED && event.time >= deployment.created;
    let events: Vec<&Event> = (around.events)(&about).into_iter().filter(is_told).collect();
    let latest = events.iter().max_by_key(|event| event.time);
    let said = deployment.create_failure.as_ref();
    let since = said.and_then(|failure| failure.since);
    let (words, time) = match (latest, said) {
        (Some(event), Some(_)) if Some(event.time) >= since => (&*event.note, Some(event.time)),
        (_, Some(failure)) => (failure.message.as_str(), since),
        // Without a progress deadline Kubernetes writes no condition.
        (Some(event), None) if deployment.deadline.is_none() => (&*event.note, Some(event.time)),
        (_, None) => return None,
    };
    let cause = find_cause(unwrapped(words), What::ReplicaSet, name)?;
    let object = format!("{}/{}", Kind::Deployment.prefix(), name.app);
    let problem = Problem {
        affected: deployment.desired.max(1),
        events: pick_events(&events),
        start: since.or(time),
        ..to_problem(&cause, object)
    };
    Some(Refusal { problem, time })
}

/// Returns the API server's message without the controller's prefix: `Failed to create new replica set
/// "shop-6f7c": replicasets.apps "shop-6f7c" is forbidden: ...`.
fn unwrapped(words: &str) -> &str {
    let rest = words.strip_prefix("Failed to create new replica set \"");
    rest.and_then(|rest| rest.split_once("\": ")).map_or(words, |(_, cause)| cause)
}

#[cfg(test)]
mod tests;
