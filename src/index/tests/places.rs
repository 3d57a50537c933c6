//! Tests of endpoints and replicas in the index: which watcher each change wakes, what holds before
//! everything is read, and pages.

use super::{at, mk_deployment, mk_index, mk_pod, mk_set, tell};
use crate::{
    domain::{
        Error,
        name::{self, Scope},
        observed::{Deployment, EndpointSlice, Event, Node, Pod, ReplicaSet, Revision, SlicePod, SlicePort},
        spec::{Port, Protocol},
    },
    index::{Index, Kind},
};

pub(super) fn mk_slice(name: &str, pods: &[(&str, bool)]) -> EndpointSlice {
    let pod = |(name, ready): &(&str, bool)| SlicePod {
        name: (*name).into(),
        zone: None,
        ready: *ready,
        serving: *ready,
        terminating: false,
    };
    EndpointSlice {
        namespace: "a".into(),
        name: name.into(),
        ports: vec![SlicePort { name: "web".into(), number: 80 }],
        pods: pods.iter().map(pod).collect(),
    }
}

pub(super) fn mk_node(name: &str, zone: Option<&str>) -> Node {
    Node { name: name.into(), zone: zone.map(Into::into), ready: true, unschedulable: false }
}

fn mk_placed(set: &str, name: &str) -> Pod {
    Pod { node: Some("n".into()), address: Some([10, 0, 0, 1].into()), ..mk_pod(set, name) }
}

/// Two apps with a replica each.
fn mk_apps() -> Index {
    let index = mk_index();
    for (app, set, pod) in [("x", "s1", "p1"), ("y", "s2", "p2")] {
        tell(&index, mk_deployment(app, 1), true);
        let ports = vec![Port { name: "http".into(), number: 80, protocol: Protocol::Tcp }];
        tell(&index, ReplicaSet { ports, ..mk_set(app, set) }, true);
        tell(&index, mk_placed(set, pod), true);
    }
    index
}

fn app(name: &str) -> name::App {
    name::App::new("a", name)
}

#[test]
fn a_change_of_one_app_s_endpoints_wakes_only_those_who_follow_them() {
    let index = mk_apps();
    let (mut x, y, apps) = (
        index.watch_endpoints(&app("x")),
        index.watch_endpoints(&app("y")),
        index.watch_changes(&Scope::All),
    );
    let mut woken = |why: &str| {
        let changed = x.has_changed().unwrap();
        x.mark_unchanged();
        assert!(!y.has_changed().unwrap(), "{why}");
        changed
    };
    for (why, ready, expected) in [("listed", false, true), ("the same", false, false), ("ready", true, true)]
    {
        tell(&index, mk_slice("v", &[("p1", ready)]), true);
        assert_eq!(woken(why), expected, "{why}");
    }
    tell(&index, mk_slice("w", &[("p1", true)]), true);
    assert!(!woken("a second Service over the same pods"));
    tell(&index, mk_slice("v", &[("other", true)]), true);
    assert!(!woken("a pod of another app"));
    tell(&index, Node { ready: false, ..mk_node("elsewhere", Some("z")) }, true);
    assert!(!woken("a node without replicas"));
    assert!(!apps.has_changed().unwrap(), "endpoints are no news of the app");

    tell(&index, Pod { deleting: true, ..mk_placed("s1", "p1") }, true);
    assert!(woken("being deleted"));
    tell(&index, mk_placed("s1", "p1"), false);
    assert!(woken("gone"));
    tell(&index, mk_deployment("x", 1), false);
    assert!(woken("no app"));
    assert_eq!(*x.borrow(), None);
}

#[test]
fn a_zone_is_known_when_the_node_is() {
    let index = mk_apps();
    let mut follower = index.watch_endpoints(&app("x"));
    let zones = || {
        let zone =
            |name: &str| index.get_endpoints(&app(name)).unwrap().at("", true).next().unwrap().0.zone.clone();
        let replica = index.list_replicas(&app("x"), None, 1).unwrap().0.remove(0);
        assert_eq!(replica.zone, zone("x"));
        (zone("x"), zone("y"))
    };
    assert_eq!(zones(), (None, None));
    tell(&index, mk_node("n", Some("z")), true);
    assert_eq!(zones(), (Some("z".into()), Some("z".into())));
    assert!(follower.has_changed().unwrap());
    follower.mark_unchanged();
    tell(&index, Node { ready: false, unschedulable: true, ..mk_node("n", Some("z")) }, true);
    assert!(!follower.has_changed().unwrap(), "its health does not change endpoints");
    tell(&index, mk_node("n", None), false);
    assert_eq!(zones(), (None, None));
}

#[test]
fn an_app_may_come_after_those_who_follow_it() {
    let index = mk_index();
    let follower = index.watch_endpoints(&app("x"));
    assert!(follower.borrow().is_none());
    tell(&index, mk_deployment("x", 0), true);
    assert!(follower.has_changed().unwrap());
    assert_eq!(follower.borrow().as_ref().unwrap().at("", true).count(), 0, "there, with none");
    drop(follower);
    // There was no receiver meanwhile. A new one gets the current state.
    tell(&index, mk_deployment("x", 0), false);
    assert!(index.watch_endpoints(&app("x")).borrow().is_none());
    assert!(matches!(index.get_endpoints(&app("x")), Err(Error::NotFound { .. })));
}

#[test]
fn kinds_that_this_server_may_not_read_are_done_without_and_the_others_are_not() {
    let index = Index::new(7);
    index.reset_rows::<Event>(Kind::Events, vec![], at(9));
    index.reset_rows::<Pod>(Kind::Pods, vec![mk_placed("s1", "p1")], at(9));
    index.reset_rows::<Revision>(Kind::Revisions, vec![], at(9));
    index.reset_rows::<ReplicaSet>(Kind::ReplicaSets, vec![mk_set("x", "s1")], at(9));
    for kind in Kind::ALL {
        index.refuse_kind(kind, at(9));
    }
    let optional: Vec<_> = Kind::ALL.into_iter().filter(|kind| kind.is_optional()).collect();
    assert_eq!((index.is_filled(), index.refused_kinds()), (false, optional.clone()));
    index.reset_rows::<Deployment>(Kind::Deployments, vec![mk_deployment("x", 1)], at(9));
    assert!(index.is_filled() && index.get_endpoints(&app("x")).is_ok());
    index.reset_rows::<Node>(Kind::Nodes, vec![mk_node("n", Some("z"))], at(9));
    let but_nodes: Vec<_> = optional.into_iter().filter(|kind| *kind != Kind::Nodes).collect();
    assert_eq!(index.refused_kinds(), but_nodes, "the right was given");
    index.refuse_kind(Kind::Nodes, at(9));
    assert_eq!(index.refused_kinds(), but_nodes, "taken away later, what was read stays");
}

#[test]
fn pages_of_replicas_hold_each_once_in_order() {
    let index = mk_index();
    tell(&index, mk_deployment("x", 1), true);
    let mut expected = Vec::new();
    for i in 0..7 {
        let (set, name) = (format!("s{}", i % 2), format!("p{i}"));
        tell(&index, mk_set("x", &set), true);
        tell(&index, Pod { deleting: i == 3, ..mk_pod(&set, &name) }, true);
        expected.push(name);
    }
    let (mut names, mut after) = (Vec::new(), None);
    loop {
        let (page, more) = index.list_replicas(&app("x"), after.as_deref(), 3).unwrap();
        names.extend(page.iter().map(|replica| replica.pod.to_string()));
        after = names.last().cloned();
        if !more {
            break;
        }
    }
    assert_eq!(names, expected);
    assert!(matches!(index.list_replicas(&app("y"), None, 3), Err(Error::NotFound { .. })));
}
