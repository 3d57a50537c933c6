//! Finds replicas that end: completed, evicted, or refused by their node. Kubernetes replaces each at once,
//! and shows none of it in the status of the Deployment. Pure.

use jiff::{SignedDuration, Timestamp};

use super::{
    pod::ended,
    surroundings::{Surroundings, pick_events, quote_text},
};
use crate::domain::{
    observed::{About, Ended, Kind, Pod},
    problem::{Problem, Reason},
    spec::Policy,
};

/// How long an end is a problem. A replica that stays is ready by then, or has a problem of its own.
const RECENT: SignedDuration = SignedDuration::from_secs(60);

/// Returns the problem that replicas ended lately, if they did. `pods` are those of the current ReplicaSet
/// that ended since the rollout began.
///
/// Each replica may end once for a reason outside the app. It is a loop, and the rollout has failed, if what
/// replaced them ended too, more often than restarts are tolerated and for longer than the grace period.
pub fn diagnose_ended(
    pods: &[&Pod],
    around: Surroundings<'_>,
    policy: &Policy,
    now: Timestamp,
) -> Option<Problem> {
    let mut all: Vec<(&Pod, &Ended)> =
        pods.iter().filter_map(|pod| Some((*pod, pod.ended.as_deref()?))).collect();
    all.sort_by_key(|(pod, ended)| (ended.time, &pod.name));
    let ((_, first), (newest, end)) = (all.first()?, all.last()?);
    if now >= until(end) {
        return None;
    }
    let again = all.iter().filter(|(pod, _)| pod.created >= first.time).count();
    let lasted = end.time.duration_since(first.time);
    let grace = SignedDuration::try_from(policy.transient_grace).unwrap_or(SignedDuration::MAX);
    let fatal =
        lasted >= grace && i64::try_from(again).unwrap_or(i64::MAX) > i64::from(policy.tolerated_restarts);
    let (cause, remedy) = describe(end);
    let count = all.len();
    let many = if count == 1 { "1 replica has".to_owned() } else { format!("{count} replicas have") };
    let message = format!("{many} ended and been replaced since {}. The newest: {cause}", first.time);
    let about = About { namespace: newest.namespace.clone(), kind: Kind::Pod, name: newest.name.clone() };
    Some(Problem {
        container: end.exit.as_ref().map(|(container, _)| container.clone()).unwrap_or_default(),
        affected: i32::try_from(count).unwrap_or(i32::MAX),
        events: pick_events(&(around.events)(&about)),
        start: Some(first.time),
        ..Problem::new(
            Reason::CrashLoop,
            message,
            remedy,
            format!("{}/{}", Kind::Pod.prefix(), newest.name),
            fatal,
        )
    })
}

/// Returns when the ends of these pods are no problem any more, if they are one now.
pub fn ended_until(pods: &[&Pod], now: Timestamp) -> Option<Timestamp> {
    let newest = pods.iter().filter_map(|pod| pod.ended.as_deref()).max_by_key(|end| end.time)?;
    Some(until(newest)).filter(|until| *until > now)
}

fn until(end: &Ended) -> Timestamp {
    end.time.checked_add(RECENT).unwrap_or(Timestamp::MAX)
}

fn describe(end: &Ended) -> (String, &'static str) {
    let said = quote_text(&end.message);
    match (end.reason.as_str(), &end.exit) {
        ("", Some((container, exit))) => (
            format!("Container \"{container}\" ended, {}.", ended(Some(exit))),
            "Deploy a program that keeps running, and read its log.",
        ),
        ("", None) => (
            if said.is_empty() { "Kubernetes does not report why.".to_owned() } else { said },
            "Look at the events of the replica.",
        ),
        (reason, _) => {
            let remedy = match reason {
                "Evicted" => "Look at the node, and at what the replica requests and uses.",
                "NodeShutdown" | "Terminated" => "Look at the node, which was shut down.",
                _ => {
                    "Look at the node, which refused or ended the replica, and at what the replica asks for."
                }
            };
            (if said.is_empty() { format!("{reason}.") } else { format!("{reason}: {said}") }, remedy)
        }
    }
}
