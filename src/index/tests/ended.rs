//! Tests that a pod that ended is no replica, and that the app tells of it for a while.

use super::*;
use crate::domain::{observed::Ended, problem::Reason};

#[test]
fn a_pod_that_ended_is_told_and_is_no_replica() {
    let index = mk_index();
    tell(&index, mk_deployment("x", 1), true);
    tell(&index, mk_set("x", "s"), true);
    tell(&index, mk_pod("s", "p2"), true);
    tell(&index, mk_pod("s", "p1"), true);
    let name = name::App::new("a", "x");
    let pods = |index: &Index| index.log_sources(&name, None).len();
    assert_eq!((pods(&index), index.get_app(&name).unwrap().problems.len()), (2, 0));

    let ended = Ended { reason: "Evicted".into(), message: "low on memory".into(), time: at(1), exit: None };
    let evicted = Pod { ready: false, running: false, ended: Some(Box::new(ended)), ..mk_pod("s", "p1") };
    index.update_rows(vec![evicted], vec![], at(2));
    let app = index.get_app(&name).unwrap();
    assert_eq!((pods(&index), app.state, app.problems[0].reason), (1, State::Active, Reason::CrashLoop));
    assert!(app.problems[0].message.contains("Evicted: low on memory"), "{}", app.problems[0].message);
    index.note_heard(Kind::Deployments, at(61));
    index.note_heard(Kind::Pods, at(61));
    index.tick(at(61));
    assert_eq!(index.get_app(&name).unwrap().problems, []);
}
