//! The ports of an app's Service over the time of a rollout: which ports of earlier replicas a change keeps,
//! and the step that removes them after the rollout succeeded.

use std::collections::BTreeMap;

use super::{AppState, Intent, StoredRevision};
use crate::domain::{
    name,
    revision::{Outcome, Record},
    service_ports::{earlier_ports, find_takeovers},
    spec::Port,
};

/// The step that removes from the Service what only earlier replicas needed.
#[derive(Clone, Debug, PartialEq)]
pub struct PortRemoval {
    /// The intent of the newest revision, for its Service.
    pub intent: Intent,
    /// The revisions whose step it is.
    pub numbers: Vec<u64>,
}

/// Returns the record with what it has to do about ports: those of earlier replicas that the Service keeps,
/// and those that other field managers made and that it takes over.
pub(super) fn with_ports(record: Record, live: &AppState) -> Record {
    let new = &record.content.spec.ports;
    let deployment = live.deployment.as_ref();
    let adopted = deployment.filter(|d| !d.is_ours()).map(|d| &d.content.spec.ports);
    let earlier = match (deployment, adopted) {
        (None, _) => Vec::new(),
        (_, Some(ports)) => earlier_ports([ports.as_slice()], new),
        (Some(_), None) => earlier_ports(serving(live).iter().map(|ports| ports.as_slice()), new),
    };
    let before = adopted.or_else(|| live.last_requested().map(|past| &past.record.content.spec.ports));
    let found = find_takeovers(before.map_or(&[], Vec::as_slice), new, live_ports(live));
    Record { takeovers: with_pending(live, new, found), earlier_ports: earlier, ..record }
}

/// Returns the ports of every template that may have replicas, oldest first: from the newest revision back to
/// the newest one that succeeded.
fn serving(live: &AppState) -> Vec<&Vec<Port>> {
    let is_good = |past: &StoredRevision| past.outcome == Some(Outcome::Succeeded);
    let first = live.revisions.iter().rposition(is_good).unwrap_or(0);
    let of = |past: &'_ StoredRevision| !is_good(past);
    let since = live.revisions.iter().skip(first);
    since
        .flat_map(|past| {
            let earlier = past.record.earlier_ports.iter().filter(move |_| of(past));
            earlier.chain([&past.record.content.spec.ports])
        })
        .collect()
}

/// Adds the takeovers of rollouts that did not succeed, because a takeover may wait for the success. Those
/// that the new ports make needless are left out.
fn with_pending(
    live: &AppState,
    new: &[Port],
    mut takeovers: BTreeMap<u16, String>,
) -> BTreeMap<u16, String> {
    let since = live.revisions.iter().rev().take_while(|past| past.outcome != Some(Outcome::Succeeded));
    for (number, name) in since.flat_map(|past| &past.record.takeovers) {
        let needed = live_ports(live)
            .iter()
            .any(|port| port.number == *number && !new.iter().any(|new| port.target.is(new)));
        if needed && new.iter().any(|port| port.name == *name) {
            takeovers.entry(*number).or_insert_with(|| name.clone());
        }
    }
    takeovers
}

/// Returns the ports of the live Service.
pub(super) fn live_ports(live: &AppState) -> &[super::ServicePort] {
    live.service.as_ref().map_or(&[], |service| service.ports.as_slice())
}

/// Returns the ports of earlier replicas that the Service needs now. None once the rollout succeeded.
pub(super) fn needed_ports<'a>(intent: &'a Intent, live: &AppState) -> &'a [Vec<Port>] {
    let past = live.revisions.iter().find(|past| past.number == intent.number);
    match past.and_then(|past| past.outcome) {
        Some(Outcome::Succeeded) => &[],
        Some(Outcome::Failed | Outcome::Superseded) | None => &intent.record.earlier_ports,
    }
}

/// Returns the step that removes what only earlier replicas needed, if the newest rollout succeeded and it
/// was not done yet.
pub fn find_port_removal(name: &name::App, live: &AppState) -> Option<PortRemoval> {
    let newest = live.newest().filter(|newest| newest.applied)?;
    let there = live.deployment.as_ref().is_some_and(|d| d.is_ours() && !d.deleting);
    if !there || newest.outcome != Some(Outcome::Succeeded) {
        return None;
    }
    let is_open = |past: &&StoredRevision| !past.ports_removed && !past.record.earlier_ports.is_empty();
    let open: Vec<_> = live.revisions.iter().filter(is_open).collect();
    if open.is_empty() {
        return None;
    }
    let mut record = newest.record.clone();
    // The newest revision may be a change made outside Gantry, which takes nothing over.
    for (number, name) in open.iter().rev().flat_map(|past| &past.record.takeovers) {
        record.takeovers.entry(*number).or_insert_with(|| name.clone());
    }
    let intent =
        Intent { name: name.clone(), number: newest.number, record, notes: Vec::new(), is_new: false };
    Some(PortRemoval { numbers: open.iter().map(|past| past.number).collect(), intent })
}
