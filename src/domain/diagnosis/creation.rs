//! Problems of making replicas at all: the ReplicaSet's with its pods, and the Deployment controller's with
//! the ReplicaSet. These never show in a pod's status, since there is no pod. Pure.

use jiff::Timestamp;

use super::surroundings::{Surroundings, pick_events, quote_text};
use crate::domain::{
    observed::{About, Deployment, Event, Kind, ReplicaSet},
    problem::{Problem, Reason},
};

/// The Deployment controller's word for it, in the condition of the Deployment and in events about it.
const REFUSED: &str = "ReplicaSetCreateError";

/// What was to be created.
#[derive(Clone, Copy)]
enum What {
    Replicas,
    ReplicaSet,
}

/// That the Deployment controller cannot create the ReplicaSet of the newest template.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// What is wrong.
    pub problem: Problem,
    /// When Kubernetes last said so, as far as it tells: what was said before a rollout began may be about
    /// the one before.
    pub time: Option<Timestamp>,
}

/// What keeps a ReplicaSet from creating its pods.
pub(super) fn diagnose_creation(deployment: &Deployment, current: &ReplicaSet) -> Option<Problem> {
    let failure = current.create_failure.as_ref()?;
    let (reason, message, remedy, fatal) = cause(&failure.message, What::Replicas)?;
    let object = format!("{}/{}", Kind::ReplicaSet.prefix(), current.name);
    let affected = (deployment.desired - deployment.updated).max(1);
    Some(Problem { affected, start: failure.since, ..Problem::new(reason, message, remedy, object, fatal) })
}

/// What keeps the Deployment controller from creating the ReplicaSet of the newest template; nothing once
/// there is one, whatever was said before.
///
/// The condition is said once and not renewed, nor are its words, while event after event tells each attempt.
/// But of many events in a row Kubernetes drops some, and after an hour all. So both are read, and the later
/// one counts.
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
    // One of the name that was deleted had its own.
    let is_told = |event: &&Event| &*event.reason == REFUSED && event.time >= deployment.created;
    let events: Vec<&Event> = (around.events)(&about).into_iter().filter(is_told).collect();
    let latest = events.iter().max_by_key(|event| event.time);
    let said = deployment.create_failure.as_ref();
    let since = said.and_then(|failure| failure.since);
    let (words, time) = match (latest, said) {
        (Some(event), Some(_)) if Some(event.time) >= since => (&*event.note, Some(event.time)),
        (_, Some(failure)) => (failure.message.as_str(), since),
        // Without a deadline Kubernetes writes no condition.
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

/// The API server's words: `Failed to create new replica set "shop-6f7c": replicasets.apps "shop-6f7c" is
/// forbidden: ...`.
fn unwrapped(words: &str) -> &str {
    let rest = words.strip_prefix("Failed to create new replica set \"");
    rest.and_then(|rest| rest.split_once("\": ")).map_or(words, |(_, cause)| cause)
}

/// Told apart by what has to happen. `None` for what the control plane gets over by itself: conflicts, errors
/// of its own, too much to do.
fn cause(words: &str, what: What) -> Option<(Reason, String, &'static str, bool)> {
    let lower = words.to_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
    let quota = has(&["exceeded quota", "insufficient quota", "status unknown for quota"]);
    let (reason, said, remedy, fatal) = if quota {
        // It frees itself when other replicas leave.
        let (said, remedy) = match what {
            What::Replicas => {
                ("A quota refuses more replicas", "Ask for less, or raise the quota of the namespace.")
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
        // Whatever else its words are: an admission rule does not change its mind.
        return Some(denied(words, what));
    } else if has(PASSING) {
        return None;
    } else if has(&["cannot create resource"]) {
        (
            Reason::AdmissionDenied,
            "Kubernetes' own controller may not create it",
            "Give the controller that right again; Kubernetes makes its own roles anew when it starts.",
            true,
        )
    } else {
        return Some(denied(words, what));
    };
    Some((reason, format!("{said}: {}", quote_text(words)), remedy, fatal))
}

/// What the control plane says when it has trouble of its own, or is about to do what it was asked.
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
        "Change what admission objects to, or the policy."
    };
    (Reason::AdmissionDenied, format!("{said}: {}", quote_text(words)), remedy, true)
}

#[cfg(test)]
mod tests;
