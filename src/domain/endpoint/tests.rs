//! Sets of endpoints: however many EndpointSlices contain a replica, how often and in which order, the set
//! contains it once and with the same state.

use proptest::{collection::vec, prelude::*, sample::subsequence};

use super::*;
use crate::domain::{
    observed::{SlicePort, testing},
    spec::Protocol,
};

fn mk_pod(name: &str) -> Pod {
    Pod { node: Some("n".into()), address: Some([10, 0, 0, 1].into()), ..testing::pod("a", "s", name) }
}

fn mk_slice(name: &str, ports: &[(&str, u16)], pods: &[SlicePod]) -> EndpointSlice {
    let port = |(name, number): &(&str, u16)| SlicePort { name: (*name).into(), number: *number };
    EndpointSlice {
        namespace: "a".into(),
        name: name.into(),
        ports: ports.iter().map(port).collect(),
        pods: pods.to_vec(),
    }
}

fn mk_at(ready: bool, serving: bool, terminating: bool) -> SlicePod {
    SlicePod { name: "p".into(), zone: Some("z".into()), ready, serving, terminating }
}

fn mk_ports(ports: &[(&str, u16)]) -> Vec<spec::Port> {
    let port = |(name, number): &(&str, u16)| spec::Port {
        name: (*name).into(),
        number: *number,
        protocol: Protocol::Tcp,
    };
    ports.iter().map(port).collect()
}

/// The set of an app with one pod.
fn mk_set(pod: &Pod, own: &[(&str, u16)], slices: &[&EndpointSlice]) -> Set {
    let own = mk_ports(own);
    let slices = slices.iter().flat_map(|s| s.pods.iter().map(|at| (*s, at))).collect();
    let placed = PodContext { pod, slices, zone: None, rollout: Some(3), ports: &own };
    Set::new(name::App::new("a", "x"), &own, false, [placed])
}

fn numbers(set: &Set, port: &str) -> Vec<u16> {
    set.at(port, true).map(|(_, number)| number).collect()
}

#[test]
fn the_default_port_is_that_of_the_app_in_replicas_of_every_template() {
    let (old, new) = (mk_ports(&[("http", 8080), ("metrics", 9090)]), mk_ports(&[("http", 8081)]));
    let (first, second) = (mk_pod("p"), mk_pod("q"));
    let placed = [(&first, &old), (&second, &new)].map(|(pod, ports)| PodContext {
        pod,
        slices: Vec::new(),
        zone: None,
        rollout: None,
        ports,
    });
    let set = Set::new(name::App::new("a", "x"), &new, true, placed);
    assert_eq!(numbers(&set, ""), [8080, 8081]);
    assert_eq!(numbers(&set, "http"), [8080, 8081]);
    assert_eq!(numbers(&set, "metrics"), [9090]);
}

#[test]
fn a_replica_stands_where_its_pod_and_all_slices_say() {
    let stands = |pod: &Pod, slices: &[SlicePod]| {
        let slices: Vec<EndpointSlice> =
            slices.iter().map(|at| mk_slice("s", &[], std::slice::from_ref(at))).collect();
        let set = mk_set(pod, &[("http", 80)], &slices.iter().collect::<Vec<_>>());
        set.at("", true).next().map(|(e, _)| e.state)
    };
    let (ready, unready) = (mk_pod("p"), Pod { ready: false, ..mk_pod("p") });
    let deleting = Pod { deleting: true, ..mk_pod("p") };
    let (yes, no) = (mk_at(true, true, false), mk_at(false, false, false));
    let (leaving, published) = (mk_at(false, true, true), mk_at(true, false, false));
    for (pod, slices, expected) in [
        (&ready, vec![], State::Ready),
        (&ready, vec![yes.clone()], State::Ready),
        (&ready, vec![yes.clone(), no.clone()], State::Unready),
        (&ready, vec![leaving.clone()], State::Draining),
        (&unready, vec![], State::Unready),
        // The EndpointSlice lags behind the pod.
        (&unready, vec![yes.clone()], State::Unready),
        // The Service publishes the pod although it is not ready.
        (&unready, vec![published.clone()], State::Ready),
        (&unready, vec![published, no], State::Unready),
        // The pod is terminating, and the EndpointSlice does not show it yet.
        (&deleting, vec![yes], State::Draining),
        (&deleting, vec![], State::Draining),
    ] {
        assert_eq!(stands(pod, &slices), Some(expected), "{slices:?}");
    }
    assert_eq!(stands(&Pod { address: None, ..ready }, &[]), None, "without an address it is nowhere");
}

#[test]
fn unless_asked_for_only_those_that_take_traffic_are_given() {
    let pod = Pod { ready: false, ..mk_pod("p") };
    let set = mk_set(&pod, &[("http", 80)], &[]);
    assert_eq!((set.at("", false).count(), set.at("", true).count()), (0, 1));
}

#[test]
fn a_port_is_the_one_that_is_named_or_the_only_one_or_grpc() {
    type Case<'a> = (&'a [(&'a str, u16)], Vec<&'a EndpointSlice>, &'a str, Result<u16, &'a str>);
    let at = || [mk_at(true, true, false)];
    let (none, service) = (vec![], mk_slice("s", &[("web", 8080), ("admin", 9000)], &at()));
    let alone = mk_slice("s", &[("", 7000)], &at());
    // The container's ports, the EndpointSlices, the port that is asked for, and the result: its number, or
    // the ports that the error lists.
    let cases: [Case<'_>; 16] = [
        (&[("http", 80)], none.clone(), "", Ok(80)),
        (&[("http", 80)], none.clone(), "http", Ok(80)),
        (&[("http", 80)], none.clone(), "grpc", Err("http")),
        (&[("http", 80), ("grpc", 90)], none.clone(), "", Ok(90)),
        (&[("http", 80), ("metrics", 90)], none.clone(), "", Err("http, metrics")),
        (&[("", 80), ("metrics", 90)], none.clone(), "80", Ok(80)),
        (&[("", 80)], none.clone(), "", Ok(80)),
        // Names that a Service gives to the same number do not make it two ports.
        (&[("http", 8080)], vec![&service], "", Ok(8080)),
        (&[("http", 8080)], vec![&service], "web", Ok(8080)),
        (&[("http", 8080)], vec![&service], "admin", Ok(9000)),
        (&[("http", 8080)], vec![&service], "wbe", Err("admin, http, web")),
        // The container's own name takes precedence over a Service's.
        (&[("web", 80)], vec![&service], "web", Ok(80)),
        // A container that declares no ports.
        (&[], vec![&service], "web", Ok(8080)),
        (&[], vec![&service], "", Err("admin, web")),
        (&[], vec![&alone], "", Ok(7000)),
        (&[], vec![&alone], "http", Err("7000")),
    ];
    for (own, slices, asked, expected) in cases {
        let set = mk_set(&mk_pod("p"), own, &slices);
        match expected {
            Ok(number) => {
                assert_eq!((set.check(asked), numbers(&set, asked)), (Ok(()), vec![number]), "{asked}");
            }
            Err(known) => {
                let error = set.check(asked).unwrap_err().to_string();
                assert!(
                    error.starts_with("port: ") && error.ends_with(&format!("its ports are {known}")),
                    "{error}"
                );
            }
        }
    }
}

#[test]
fn an_app_without_ports_has_no_endpoints() {
    let set = mk_set(&mk_pod("p"), &[], &[]);
    assert_eq!((set.check(""), numbers(&set, "")), (Ok(()), vec![]));
    assert!(set.check("http").unwrap_err().to_string().ends_with("it has no ports"));
}

#[test]
fn while_no_slice_can_show_it_any_name_may_be_that_of_a_service() {
    let set = |ours| Set::new(name::App::new("a", "x"), &mk_ports(&[("http", 80)]), ours, []);
    assert_eq!((set(false).check("web"), set(false).at("web", true).count()), (Ok(()), 0));
    assert!(set(true).check("web").is_err(), "a Service of Gantry has the container's names");
}

#[test]
fn replicas_of_two_templates_are_each_reached_at_their_own_number() {
    let (old, new) = (mk_ports(&[("http", 80)]), mk_ports(&[("http", 8080), ("grpc", 9090)]));
    let (one, two) = (mk_pod("p1"), mk_pod("p2"));
    let placed = |pod, ports| PodContext { pod, slices: vec![], zone: None, rollout: None, ports };
    let set = Set::new(name::App::new("a", "x"), &new, true, [placed(&two, &new), placed(&one, &old)]);
    assert_eq!(numbers(&set, "http"), [80, 8080]);
    assert_eq!(numbers(&set, ""), [80, 9090]);
    let back = Set::new(name::App::new("a", "x"), &old, true, [placed(&two, &new), placed(&one, &old)]);
    assert_eq!(
        (back.check("grpc"), numbers(&back, "grpc")),
        (Ok(()), vec![9090]),
        "not gone before its replicas are"
    );
}

#[test]
fn the_zone_is_the_node_s_or_else_what_slices_say() {
    let (pod, slice) = (mk_pod("p"), mk_slice("s", &[("http", 80)], &[mk_at(true, true, false)]));
    let zone = |zone: Option<&str>, slices: Vec<_>| {
        let zone = zone.map(Into::into);
        let placed = PodContext { pod: &pod, slices, zone, rollout: None, ports: &[] };
        Endpoint::new(&placed).unwrap().zone
    };
    assert_eq!(zone(Some("n"), vec![(&slice, &slice.pods[0])]).as_deref(), Some("n"));
    assert_eq!(zone(None, vec![(&slice, &slice.pods[0])]).as_deref(), Some("z"));
    assert_eq!(zone(None, vec![]), None);
}

proptest! {
    #[test]
    fn slices_in_any_order_and_any_number_of_times_make_the_same_set(
        slices in vec((vec(("[ab]|", 1u16..4), 0..3), any::<[bool; 3]>(), proptest::option::of("[yz]")), 0..4),
        again in vec(any::<proptest::sample::Index>(), 0..6),
        own in subsequence(vec![("a", 1u16), ("b", 9), ("grpc", 2)], 0..=3),
        flags in any::<[bool; 2]>(), order in any::<u64>(),
    ) {
        let slices: Vec<EndpointSlice> = slices.into_iter().map(|(ports, [ready, serving, terminating], zone)| {
            let ports: Vec<_> = ports.iter().map(|(name, number)| (name.as_str(), *number)).collect();
            mk_slice("s", &ports, &[SlicePod { zone: zone.map(Into::into), ..mk_at(ready, serving, terminating) }])
        }).collect();
        let pod = Pod { ready: flags[0], deleting: flags[1], ..mk_pod("p") };
        let mut told: Vec<&EndpointSlice> = slices.iter().collect();
        if !slices.is_empty() {
            told.extend(again.iter().map(|i| i.get(&slices)));
        }
        let len = told.len().max(1);
        told.rotate_left(usize::try_from(order % 97).unwrap() % len);
        if order % 2 == 0 {
            told.reverse();
        }
        let (set, other) = (mk_set(&pod, &own, &slices.iter().collect::<Vec<_>>()), mk_set(&pod, &own, &told));
        prop_assert_eq!(&set, &other);
        for port in ["", "a", "b", "grpc", "1"] {
            prop_assert!(set.at(port, true).count() <= 1, "one replica, one endpoint");
            prop_assert_eq!(set.fingerprint(port, true), other.fingerprint(port, true));
            prop_assert!(set.check(port).is_err() || port.is_empty() || !set.complete || numbers(&set, port).len() == 1);
        }
    }
}
