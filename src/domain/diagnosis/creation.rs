//! Problems of creating replicas: a ReplicaSet that cannot create its pods, and a Deployment controller that
//! cannot create the ReplicaSet. They never show in a pod's status, because there is no pod. Pure.

use jiff::Timestamp;

use super::surroundings::{Surroundings, pick_events, quote_text};
use crate::domain::{
    observed::{About, Deployment, Event, Kind, ReplicaSet},
    problem::{Problem, Reason},
};

/// The Deployment controller's reason for a refused ReplicaSet, in the Deployment's condition and in events.
const REFUSED: &str = "ReplicaSetCreateError";

/// The kind of object that could not be created.
#[derive(Clone, Copy)]
enum What {
    Replicas,
    ReplicaSet,
}

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
    let (reason, message, remedy, fatal) = cause(&failure.message, What::Replicas)?;
    let object = format!("{}/{}", Kind::ReplicaSet.prefix(), current.name);
    let affected = (deployment.desired - deployment.updated).max(1);
    Some(Problem { affected, start: failure.since, ..Problem::new(reason, message, remedy, object, fatal) })
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
    let (reason, message, remedy, fatal) = cause(unwrapped(words), What::ReplicaSet)?;
    let object = format!("{}/{}", Kind::Deployment.prefix(), name.app);
    let problem = Problem {
        affected: deployment.desired.max(1),
        events: pick_events(&events),
        start: since.or(time),
        ..Problem::new(reason, message, remedy, object, fatal)
    };
    Some(Refusal { problem, time })
}

/// Returns the API server's message without the controller's prefix: `Failed to create new replica set
/// "shop-6f7c": replicasets.apps "shop-6f7c" is forbidden: ...`.
fn unwrapped(words: &str) -> &str {
    let rest = words.strip_prefix("Failed to create new replica set \"");
    rest.and_then(|rest| rest.split_once("\": ")).map_or(words, |(_, cause)| cause)
}

/// Classifies a message by what has to be done. `None` for failures that the control plane recovers from:
/// conflicts, its own errors, overload.
fn cause(words: &str, what: What) -> Option<(Reason, String, &'static str, bool)> {
    let lower = words.to_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
    let quota = has(&["exceeded quota", "insufficient quota", "status unknown for quota"]);
    let (reason, said, remedy, fatal) = if quota {
        // Not fatal, because room appears when other replicas end.
        let (said, remedy) = match what {
            What::Replicas => {
                ("A quota refuses more replicas", "Request less, or raise the quota of the namespace.")
            }
            What::ReplicaSet => (
                "A quota refuses the new ReplicaSet",
                "Raise the quota of the namespace, or delete ReplicaSets that have no replicas; Kubernetes tries again for some minutes.",
            ),
        };
        (Reason::QuotaExceeded, said, remedy, false)
    } else if has(&["failed calling webhook", "failed to call webhook"]) {
        (
            Reason::AdmissionDenied,
            "An admission webhook does not answer",
            "Look at the webhook's own replicas; Kubernetes keeps trying.",
            false,
        )
    } else if has(&["denied the request", "denied request", "violates podsecurity", " is invalid: "]) {
        // Checked before the temporary failures, because an admission rule gives the same answer each time.
        return Some(denied(words, what));
    } else if has(PASSING) {
        return None;
    } else if has(&["cannot create resource"]) {
        (
            Reason::AdmissionDenied,
            "Kubernetes' own controller lacks the right to create it",
            "Give the controller that right again; the API server restores its default roles when it starts.",
            true,
        )
    } else {
        return Some(denied(words, what));
    };
    Some((reason, format!("{said}: {}", quote_text(words)), remedy, fatal))
}

/// Parts of messages for temporary failures of the control plane, or for a request that is already being
/// carried out.
const PASSING: &[&str] = &[
    "already exists",
    "being deleted",
    "being terminated",
    "connection refused",
    "connection reset",
    "deadline exceeded",
    "etcdserver",
    "internal error occurred",
    "not yet ready",
    "object has been modified",
    "please try again",
    "timed out",
    "timeout",
    "too many requests",
    "unable to handle the request",
    "unexpected eof",
];

fn denied(words: &str, what: What) -> (Reason, String, &'static str, bool) {
    let said = match what {
        What::Replicas => "Kubernetes refuses to create the replicas",
        What::ReplicaSet => "Kubernetes refuses to create the new ReplicaSet",
    };
    let remedy = if words.contains(" is invalid: ") {
        "Correct what the message names."
    } else {
        "Change the rejected fields, or the admission policy."
    };
    (Reason::AdmissionDenied, format!("{said}: {}", quote_text(words)), remedy, true)
}

#[cfg(test)]
mod tests;
