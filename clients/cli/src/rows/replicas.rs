//! Replicas as rows. Pure: must not know clocks nor terminals.

use gantry_client::v1;

use super::{number, word};
use crate::text::{self, Paint};

/// Headings.
pub(crate) const HEADINGS: [&str; 9] =
    ["POD", "STATE", "READY FOR", "RESTARTS", "NODE", "ZONE", "ROLLOUT", "AGE", "MESSAGE"];

/// A row of the list.
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
        // It was ready once; that is not since when it is ready.
        replica.state = v1::ReplicaState::Unready.into();
        assert_eq!(row(&replica, 100)[1..3], ["UNREADY", ""]);
        assert_eq!(row(&replica, 100).len(), HEADINGS.len());
    }
}
