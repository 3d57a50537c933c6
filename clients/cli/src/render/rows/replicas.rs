//! Replicas as rows of a list and of a live view. Pure: must not know clocks nor terminals.

use std::collections::BTreeMap;

use gantry_client::v1;

use super::{number, word};
use crate::render::{
    table,
    text::{self, Paint},
};

/// Headings of the list.
pub(crate) const HEADINGS: [&str; 9] =
    ["POD", "STATE", "READY FOR", "RESTARTS", "NODE", "ZONE", "ROLLOUT", "AGE", "MESSAGE"];

/// Returns a row of the list.
pub(crate) fn row(replica: &v1::Replica, now: i64) -> Vec<String> {
    let ready = if replica.state() == v1::ReplicaState::Ready { replica.ready_time.as_ref() } else { None };
    vec![
        replica.pod.clone(),
        word(replica.state().as_str_name(), "REPLICA_STATE_"),
        text::age(ready, now),
        replica.restarts.to_string(),
        replica.node.clone(),
        replica.zone.clone(),
        number(&replica.rollout),
        text::age(replica.create_time.as_ref(), now),
        replica.message.clone(),
    ]
}

/// Colours the state.
pub(crate) fn painted(column: usize, cell: &str, paint: Paint) -> String {
    match (column, cell) {
        (1, "READY") => paint.good(cell),
        (1, "FAILING" | "UNREADY") => paint.bad(cell),
        (1, "PENDING" | "STARTING" | "DRAINING") => paint.warn(cell),
        _ => cell.to_owned(),
    }
}

/// Columns of [`HEADINGS`] in a live view, which is narrower.
const LIVE: [usize; 6] = [0, 1, 6, 4, 3, 8];

/// Returns a table of at most `most` replicas, those in trouble first, and a line that counts the rest.
pub(crate) fn live(replicas: &[v1::Replica], most: usize, now: i64, paint: Paint) -> Vec<String> {
    let rank = |replica: &v1::Replica| match replica.state() {
        v1::ReplicaState::Failing => 0,
        v1::ReplicaState::Unready => 1,
        v1::ReplicaState::Pending => 2,
        v1::ReplicaState::Starting => 3,
        v1::ReplicaState::Draining => 4,
        v1::ReplicaState::Ready | v1::ReplicaState::Unspecified => 5,
    };
    let mut sorted: Vec<_> = replicas.iter().collect();
    sorted.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.pod.cmp(&b.pod)));
    let (shown, rest) = sorted.split_at(most.min(sorted.len()));
    if shown.is_empty() {
        return Vec::new();
    }
    let short = |row: Vec<String>| LIVE.iter().map(|&column| row[column].clone()).collect();
    let rows: Vec<Vec<String>> = shown.iter().map(|replica| short(row(replica, now))).collect();
    let mut lines = table::render(&LIVE.map(|column| HEADINGS[column]), &rows, |column, cell| {
        painted(LIVE[column], cell, paint)
    });
    let mut states = BTreeMap::<_, usize>::new();
    for replica in rest {
        *states.entry((rank(replica), word(replica.state().as_str_name(), "REPLICA_STATE_"))).or_default() +=
            1;
    }
    let states: Vec<_> = states.iter().map(|((_, state), n)| format!("{n} {state}")).collect();
    if !states.is_empty() {
        lines.push(paint.dim(&format!("and {} more: {}", rest.len(), states.join(", "))));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_says_where_it_stands() {
        let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let mut replica = v1::Replica {
            pod: "shop-7d4-x2x".into(),
            state: v1::ReplicaState::Ready.into(),
            rollout: "namespaces/prod/apps/shop/rollouts/3".into(),
            node: "n1".into(),
            zone: "a".into(),
            restarts: 2,
            create_time: time(10),
            ready_time: time(40),
            ..Default::default()
        };
        assert_eq!(row(&replica, 100), ["shop-7d4-x2x", "READY", "60s", "2", "n1", "a", "3", "90s", ""]);
        // It was ready once, but `ready_time` does not say since when it is ready now.
        replica.state = v1::ReplicaState::Unready.into();
        assert_eq!(row(&replica, 100)[1..3], ["UNREADY", ""]);
        assert_eq!(row(&replica, 100).len(), HEADINGS.len());
    }

    #[test]
    fn a_picture_shows_what_deserves_a_look_first_and_counts_the_rest() {
        use v1::ReplicaState::{Failing, Ready, Starting};
        let replica = |pod: &str, state: v1::ReplicaState| v1::Replica {
            pod: pod.into(),
            state: state.into(),
            rollout: "namespaces/prod/apps/shop/rollouts/3".into(),
            message: if state == Failing { "crashed\n".into() } else { String::new() },
            ..Default::default()
        };
        let all: Vec<_> = [("a", Ready), ("b", Starting), ("c", Ready), ("d", Failing), ("e", Ready)]
            .map(|(pod, state)| replica(pod, state))
            .into();
        let lines = live(&all, 3, 0, Paint::default());
        assert_eq!(
            lines,
            [
                "POD   STATE      ROLLOUT   NODE   RESTARTS   MESSAGE",
                "d     FAILING    3                0          crashed",
                "b     STARTING   3                0",
                "a     READY      3                0",
                "and 2 more: 2 READY",
            ]
        );
        assert_eq!(live(&all, 9, 0, Paint::default()).len(), 6);
        assert!(live(&[], 9, 0, Paint::default()).is_empty());
    }
}
