//! Tests of which pods count for the autoscaler, and whose use is that of a start.

use super::*;
use crate::autoscale::{Replica, Start};

fn starts(pods: &[Pod]) -> Vec<(String, Start)> {
    let index = mk_index();
    tell(&index, mk_deployment("x", 1), true);
    tell(&index, mk_set("x", "s"), true);
    for pod in pods {
        tell(&index, pod.clone(), true);
    }
    let scaled = index.autoscaler_input(&name::App::new("a", "x"), at(2000)).unwrap();
    scaled.pods.into_iter().map(|Replica { pod, start }| (pod.to_string(), start)).collect()
}

#[test]
fn a_replica_that_was_never_ready_is_told_from_one_that_is_not_any_more() {
    let changed = |second, pod: Pod| Pod { ready_changed: Some(at(second)), ..pod };
    let ready = |second| changed(second, mk_pod("s", "p"));
    let unready = |second| changed(second, Pod { ready: false, ..mk_pod("s", "p") });
    for (case, pod, expected) in [
        ("never ready", unready(1), Start::Open),
        ("never ready, for as long as may be", unready(1900), Start::Open),
        ("nothing is said", Pod { ready: false, ready_changed: None, ..mk_pod("s", "p") }, Start::Open),
        ("ready", ready(30), Start::Ended(at(30))),
        ("ready after a slow start", ready(600), Start::Ended(at(600))),
        ("ready so late that it failed under load before", ready(601), Start::Past),
        ("ready, without a time", Pod { ready_changed: None, ..ready(0) }, Start::Past),
        ("not any more", Pod { was_ready: true, once_ready: true, ..unready(40) }, Start::Past),
        ("not any more, and restarted", Pod { once_ready: true, restarts: 1, ..unready(40) }, Start::Past),
    ] {
        assert_eq!(starts(&[pod]), [("p".to_owned(), expected)], "{case}");
    }
}

#[test]
fn what_does_not_run_or_goes_is_not_measured() {
    let pods = [
        Pod { running: false, ready: false, ..mk_pod("s", "waits") },
        Pod { deleting: true, ..mk_pod("s", "goes") },
        mk_pod("other", "strange"),
        mk_pod("s", "runs"),
    ];
    assert_eq!(starts(&pods), [("runs".to_owned(), Start::Past)]);
}
