//! Finds replicas that were told to stop and have not ended: how long they may take, and what holds them.
//! A rollout waits for them where new replicas are created only after them, or take their room. Pure.

use jiff::{SignedDuration, Timestamp};

use super::{
    pod::lost_node,
    surroundings::{Surroundings, pick_events, quote_text},
};
use crate::domain::{
    observed::{About, Kind, Pod},
    problem::{Problem, Reason},
};

/// The time after its grace period in which a replica normally disappears: its kubelet kills what is left of
/// it, and reports that.
const LATE: SignedDuration = SignedDuration::from_secs(5);

/// The replica that keeps others waiting.
#[derive(Clone, Debug, PartialEq)]
pub struct Stopping {
    /// What it was told, and what holds it, in one sentence.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
    /// The pod, as the API writes it.
    pub object: String,
    /// The problem, if it is one: its node is lost, or its time is over.
    pub problem: Option<Problem>,
}

/// Returns the one of the terminating pods that will end last, as far as anything shows: on a lost node, held
/// by a finalizer, or with the latest end of its grace period.
pub fn diagnose_stopping<'a>(
    pods: impl IntoIterator<Item = &'a Pod>,
    around: Surroundings<'_>,
    now: Timestamp,
) -> Option<Stopping> {
    let stopping = pods.into_iter().filter_map(|pod| Some((pod, pod.stop.as_deref()?)));
    let held: Vec<_> = stopping.map(|(pod, stop)| (pod, stop, lost_node(pod, around))).collect();
    let affected = i32::try_from(held.len()).unwrap_or(i32::MAX);
    let (pod, stop, lost) = held
        .into_iter()
        .max_by_key(|(pod, stop, lost)| (lost.is_some(), !stop.finalizers.is_empty(), stop.by, &pod.name))?;
    let grace = stop.by.duration_since(stop.told).as_secs();
    let told = format!("Replica {} was told to stop at {} with {grace} s to end", pod.name, stop.told);
    let is_over = now.duration_since(stop.by) > LATE;
    let (reason, cause, remedy) = if let Some(lost) = &lost {
        (
            Reason::NodeLost,
            format!("{lost}, so it cannot end"),
            format!(
                "Look at the node; if it does not come back, `kubectl delete pod {} --namespace {} --force` gives the replica up.",
                pod.name, pod.namespace
            ),
        )
    } else if !stop.finalizers.is_empty() {
        let all: Vec<_> = stop.finalizers.iter().map(|name| format!("\"{name}\"")).collect();
        let noun = if all.len() == 1 { "finalizer" } else { "finalizers" };
        (
            Reason::ProgressTimeout,
            format!("{noun} {} must be removed first", quote_text(&all.join(", "))),
            "Find out why the controller that set the finalizer does not remove it.".to_owned(),
        )
    } else {
        (
            Reason::ProgressTimeout,
            "it has not ended yet".to_owned(),
            format!(
                "Look at its preStop hook, its program and its node; `kubectl delete pod {} --namespace {} --force` does not wait for them.",
                pod.name, pod.namespace
            ),
        )
    };
    let message = format!("{told}; {cause}.");
    let about = About { namespace: pod.namespace.clone(), kind: Kind::Pod, name: pod.name.clone() };
    let object = about.to_string();
    let problem = (is_over || lost.is_some()).then(|| Problem {
        affected,
        events: pick_events(&(around.events)(&about)),
        start: Some(stop.told),
        ..Problem::new(reason, message.clone(), &remedy, object.clone(), false)
    });
    Some(Stopping { message, remedy, object, problem })
}
