//! Each rule by an example whose result can be computed by hand, and the properties of every forecast. That
//! the rules match the scheduler is tested against a real one in `tests/cluster/placing.rs`.

use proptest::prelude::*;

use super::{
    Affinity, Amounts, Change, Constraint, Container, Exclusion, Forecast, HOSTNAME_LABEL, HostPort, Node,
    NodeTerm, Pod, PodRequests, PodTemplate, PodTerm, Requirement, Taint, Toleration, Volume, ZONE_LABEL,
    compute_pod_requests, forecast_placement,
};
use crate::domain::{check::Finding, selector::Selector};

const MI: i64 = 1 << 20;

fn mk_map(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn mk_requests(cpu: i64, memory: i64) -> PodRequests {
    let exact = Amounts { cpu, memory, ..Amounts::default() };
    PodRequests { weighed: exact.clone(), exact }
}

fn mk_node(name: &str, cpu: i64, memory: i64) -> Node {
    Node {
        name: name.into(),
        labels: mk_map(&[(HOSTNAME_LABEL, name), (ZONE_LABEL, &name[..1])]),
        allocatable: Amounts { cpu, memory: memory * MI, ..Amounts::default() },
        pods: 110,
        ..Node::default()
    }
}

fn mk_template(cpu: i64, memory: i64) -> PodTemplate {
    let pod = Pod {
        namespace: "prod".into(),
        labels: mk_map(&[("app", "shop")]),
        requests: mk_requests(cpu, memory * MI),
        ..Pod::default()
    };
    PodTemplate { pod, ..PodTemplate::default() }
}

fn mk_on(template: &PodTemplate, node: &str) -> Pod {
    Pod { node: node.into(), ..template.pod.clone() }
}

fn mk_constraint(topology: &str, max_skew: i64, required: bool) -> Constraint {
    Constraint {
        topology: topology.into(),
        max_skew,
        required,
        selector: Some(Selector::parse("app=shop").unwrap()),
        min_domains: 1,
        honors_affinity: true,
        honors_taints: false,
    }
}

fn grow(replicas: usize) -> Change {
    Change { replicas, ..Change::default() }
}

fn roll(replicas: usize, surge: usize, unavailable: usize) -> Change {
    Change { replicas, surge, unavailable, recreate: false, replaces: true }
}

fn placed(forecast: &Forecast) -> Vec<(&str, usize)> {
    let mut all: Vec<_> =
        forecast.nodes.iter().filter(|n| n.placed > 0).map(|n| (n.node.as_str(), n.placed)).collect();
    all.sort_unstable();
    all
}

fn part(forecast: &Forecast, node: &str, part: &str) -> i64 {
    let node = forecast.nodes.iter().find(|n| n.node == node).unwrap();
    node.parts.iter().find(|(name, _)| *name == part).unwrap().1
}

fn excluded(nodes: &[Node], pods: &[Pod], template: &PodTemplate) -> Option<Exclusion> {
    forecast_placement(nodes, pods, template, &grow(1))
        .nodes
        .iter()
        .find(|n| n.node == "a")
        .unwrap()
        .excluded
        .clone()
}

#[test]
fn a_pod_needs_what_runs_at_a_time_at_most() {
    let of = |cpu: &str, sidecar| Container { requests: mk_map(&[("cpu", cpu)]), sidecar };
    let none = mk_map(&[]);
    let cpu = |init: &[Container], all: &[Container]| compute_pod_requests(init, all, &none, &none).exact.cpu;
    assert_eq!(cpu(&[], &[of("1", false), of("500m", false)]), 1500);
    assert_eq!(cpu(&[of("2", false), of("3", false)], &[of("1", false)]), 3000, "one after the other");
    assert_eq!(cpu(&[of("1", true), of("3", false)], &[of("1", false)]), 4000, "beside the sidecar");
    assert_eq!(cpu(&[of("3", false), of("1", true)], &[of("1", false)]), 3000, "before the sidecar");
    assert_eq!(cpu(&[of("1", true)], &[of("1", false)]), 2000);
    let over = mk_map(&[("cpu", "250m"), ("memory", "1Mi")]);
    let whole = mk_map(&[("cpu", "5")]);
    let requests = compute_pod_requests(&[], &[of("1", false)], &whole, &over);
    assert_eq!((requests.exact.cpu, requests.exact.memory), (5250, MI));
    let unasked = compute_pod_requests(&[], &[Container::default(), of("1", false)], &none, &none);
    assert_eq!((unasked.exact.cpu, unasked.exact.memory), (1000, 0));
    assert_eq!((unasked.weighed.cpu, unasked.weighed.memory), (1100, 400 * MI));
}

#[test]
fn a_node_is_excluded_for_the_reason_that_there_is() {
    let node = || mk_node("a", 1000, 1000);
    let template = || mk_template(500, 100);
    assert_eq!(excluded(&[node()], &[], &template()), None);
    let cordoned = Node { unschedulable: true, ..node() };
    assert_eq!(excluded(std::slice::from_ref(&cordoned), &[], &template()), Some(Exclusion::Unschedulable));
    let any = Toleration::default();
    let tolerant = PodTemplate { tolerations: vec![any], ..template() };
    assert_eq!(excluded(&[cordoned], &[], &tolerant), None);
    for (effect, repels) in [("NoSchedule", true), ("NoExecute", true), ("PreferNoSchedule", false)] {
        let taint = Taint { key: "gpu".into(), value: "yes".into(), effect: effect.into() };
        let tainted = Node { taints: vec![taint], ..node() };
        let word = Exclusion::Taint(format!("gpu=yes:{effect}"));
        assert_eq!(excluded(std::slice::from_ref(&tainted), &[], &template()), repels.then_some(word));
        for (value, tolerates) in [(None, true), (Some("yes"), true), (Some("no"), false)] {
            let toleration =
                Toleration { key: "gpu".into(), value: value.map(Into::into), effect: String::new() };
            let template = PodTemplate { tolerations: vec![toleration], ..template() };
            assert_eq!(
                excluded(std::slice::from_ref(&tainted), &[], &template).is_none(),
                tolerates || !repels
            );
        }
    }
    let selective = PodTemplate { selector: mk_map(&[("disk", "ssd")]), ..template() };
    assert_eq!(excluded(&[node()], &[], &selective), Some(Exclusion::Selector("disk=ssd".into())));
    let port = HostPort { number: 80, protocol: "TCP".into(), address: "0.0.0.0".into() };
    let mut ported = template();
    ported.pod.ports.insert(port.clone());
    let other = |address: &str, protocol: &str| {
        let port = HostPort { address: address.into(), protocol: protocol.into(), ..port.clone() };
        Pod { ports: [port].into(), requests: PodRequests::default(), ..mk_on(&template(), "a") }
    };
    assert_eq!(excluded(&[node()], &[other("10.0.0.1", "TCP")], &ported), Some(Exclusion::Port(80)));
    assert_eq!(excluded(&[node()], &[other("0.0.0.0", "UDP")], &ported), None);
    let full = Node { pods: 0, ..node() };
    assert_eq!(excluded(&[full], &[], &template()), Some(Exclusion::Pods(0)));
    let Some(Exclusion::Short(short)) =
        excluded(&[node()], &[mk_on(&template(), "a"), mk_on(&template(), "a")], &template())
    else {
        panic!()
    };
    assert_eq!((short[0].resource.as_str(), short[0].asked, short[0].free), ("cpu", 500, 0));
    let zones = [(ZONE_LABEL.to_owned(), ["b".to_owned()].into())].into();
    let volume = Volume { claim: "data".into(), zones, ..Volume::default() };
    let mounting = PodTemplate { volumes: vec![volume], ..template() };
    assert_eq!(excluded(&[node()], &[], &mounting), Some(Exclusion::Volume("data".into())));
}

#[test]
fn a_rule_about_nodes_is_read_as_kubernetes_reads_it() {
    let mut node = mk_node("a", 1000, 1000);
    node.labels.insert("size".into(), "7".into());
    for (key, operator, values, holds) in [
        ("size", "In", vec!["7", "8"], true),
        ("size", "NotIn", vec!["7"], false),
        ("none", "NotIn", vec!["7"], true),
        ("size", "Exists", vec![], true),
        ("size", "DoesNotExist", vec![], false),
        ("size", "Gt", vec!["6"], true),
        ("size", "Gt", vec!["7"], false),
        ("size", "Lt", vec!["8"], true),
        ("none", "Lt", vec!["8"], false),
    ] {
        let values = values.into_iter().map(Into::into).collect();
        let requirement = Requirement { key: key.into(), operator: operator.into(), values };
        let term = NodeTerm { labels: vec![requirement.clone()], ..NodeTerm::default() };
        let template = PodTemplate { required: Some(vec![NodeTerm::default(), term]), ..mk_template(1, 1) };
        assert_eq!(excluded(std::slice::from_ref(&node), &[], &template).is_none(), holds, "{requirement:?}");
    }
}

#[test]
fn scores_are_what_the_formulas_say() {
    let template = mk_template(1000, 2048);
    let half = Pod { requests: mk_requests(2000, 2048 * MI), ..mk_on(&template, "b") };
    let seen = forecast_placement(
        &[mk_node("a", 4000, 8192), mk_node("b", 4000, 8192)],
        &[half],
        &template,
        &grow(1),
    );
    assert_eq!(part(&seen, "a", "least_allocated"), 75);
    // A quarter of the CPU and half of the memory would be free, which is 37.5 % on average.
    assert_eq!(part(&seen, "b", "least_allocated"), 37);
    // As even after the placement as before.
    assert_eq!(part(&seen, "a", "balanced_allocation"), 75);
    // Shares of 1/2 and 1/4 become 3/4 and 1/2. The deviation stays 1/8, and the score is cut to 87 both
    // times.
    assert_eq!(part(&seen, "b", "balanced_allocation"), 75);
    assert_eq!(placed(&seen), [("a", 1)]);
    let unasking = mk_template(0, 0);
    let seen = forecast_placement(&[mk_node("a", 4000, 8192)], &[], &unasking, &grow(1));
    assert_eq!(part(&seen, "a", "balanced_allocation"), 0);
}

#[test]
fn an_image_that_is_there_and_a_taint_that_would_rather_not_count() {
    let mut template = PodTemplate { images: vec!["web".into()], ..mk_template(100, 100) };
    let mut having = mk_node("a", 1000, 1000);
    having.images.insert("web:latest".into(), 1000 * MI);
    let mut tainted = mk_node("b", 1000, 1000);
    tainted.taints.push(Taint { key: "old".into(), value: String::new(), effect: "PreferNoSchedule".into() });
    let nodes = [having, tainted];
    let seen = forecast_placement(&nodes, &[], &template, &grow(1));
    // One of two nodes has the image, so it counts half: 100 * (500 - 23) / (1000 - 23).
    assert_eq!((part(&seen, "a", "image_locality"), part(&seen, "b", "image_locality")), (48, 0));
    assert_eq!((part(&seen, "a", "taint_toleration"), part(&seen, "b", "taint_toleration")), (100, 0));
    template.images = vec!["web:2".into()];
    assert_eq!(part(&forecast_placement(&nodes, &[], &template, &grow(1)), "a", "image_locality"), 0);
    let likes = |weight, zone: &str| {
        let labels =
            vec![Requirement { key: ZONE_LABEL.into(), operator: "In".into(), values: vec![zone.into()] }];
        (weight, NodeTerm { labels, ..NodeTerm::default() })
    };
    template.preferred = vec![likes(10, "a"), likes(5, "b")];
    let seen = forecast_placement(&nodes, &[], &template, &grow(1));
    assert_eq!((part(&seen, "a", "node_affinity"), part(&seen, "b", "node_affinity")), (100, 50));
}

#[test]
fn a_spread_that_must_hold_does() {
    let nodes = [mk_node("a1", 9000, 9000), mk_node("a2", 9000, 9000), mk_node("b1", 1000, 1000)];
    let template = PodTemplate { spread: vec![mk_constraint(ZONE_LABEL, 1, true)], ..mk_template(1000, 100) };
    let seen = forecast_placement(&nodes, &[], &template, &grow(4));
    assert_eq!((seen.fits, seen.completes), (3, false), "{seen:?}");
    assert!(seen.short_of.iter().any(|s| s.contains("spread over topology")), "{:?}", seen.short_of);
    // Terminating pods and pods of other namespaces are not counted.
    let leaving = Pod { deleting: true, requests: PodRequests::default(), ..mk_on(&template, "b1") };
    let foreign =
        Pod { namespace: "other".into(), requests: PodRequests::default(), ..mk_on(&template, "b1") };
    assert_eq!(forecast_placement(&nodes, &[leaving, foreign], &template, &grow(4)).fits, 3);
    // With two domains of the required three, the smallest count is taken as 0.
    let wide = Constraint { min_domains: 3, ..mk_constraint(ZONE_LABEL, 1, true) };
    let template = PodTemplate { spread: vec![wide], ..template };
    assert_eq!(forecast_placement(&nodes, &[], &template, &grow(9)).fits, 2);
}

#[test]
fn a_spread_that_is_wished_for_moves_replicas_apart() {
    let nodes = [mk_node("a1", 9000, 9000), mk_node("a2", 9000, 9000), mk_node("b1", 9000, 9000)];
    let selector = Selector::parse("app=shop").unwrap();
    let template = PodTemplate {
        spread: Constraint::defaults(&selector),
        spread_is_default: true,
        ..mk_template(100, 100)
    };
    assert_eq!(
        placed(&forecast_placement(&nodes, &[], &template, &grow(3))),
        [("a1", 1), ("a2", 1), ("b1", 1)]
    );
    let there = [mk_on(&template, "a1")];
    assert_eq!(
        placed(&forecast_placement(&nodes, &there, &template, &grow(1))),
        [("b1", 1)],
        "another zone first"
    );
}

#[test]
fn pods_are_near_to_and_away_from_each_other() {
    let nodes = [mk_node("a1", 9000, 9000), mk_node("a2", 9000, 9000), mk_node("b1", 9000, 9000)];
    let term = |topology: &str, selector: &str| PodTerm {
        topology: topology.into(),
        selector: Some(Selector::parse(selector).unwrap()),
        namespaces: Some(vec!["prod".into()]),
    };
    let mut apart = mk_template(100, 100);
    apart.pod.affinity.away = vec![term(HOSTNAME_LABEL, "app=shop")];
    let seen = forecast_placement(&nodes, &[], &apart, &grow(4));
    assert_eq!((seen.fits, placed(&seen).len()), (3, 3));
    let mut together = mk_template(100, 100);
    together.pod.affinity.near = vec![term(ZONE_LABEL, "app=shop")];
    let seen = forecast_placement(&nodes, &[], &together, &grow(4));
    assert_eq!(seen.fits, 4, "the first may go anywhere");
    let zones: std::collections::BTreeSet<_> =
        placed(&seen).iter().map(|(node, _)| node[..1].to_owned()).collect();
    assert_eq!(zones.len(), 1);
    let mut lonely = mk_template(100, 100);
    lonely.pod.affinity.near = vec![term(ZONE_LABEL, "app=db")];
    assert_eq!(forecast_placement(&nodes, &[], &lonely, &grow(1)).fits, 0);
    let mut db = mk_on(&mk_template(100, 100), "b1");
    db.labels = mk_map(&[("app", "db")]);
    assert_eq!(
        placed(&forecast_placement(&nodes, std::slice::from_ref(&db), &lonely, &grow(1))),
        [("b1", 1)]
    );
    db.affinity = Affinity { away: vec![term(ZONE_LABEL, "app=shop")], ..Affinity::default() };
    let plain = mk_template(100, 100);
    let seen = forecast_placement(&nodes, &[db], &plain, &grow(9));
    assert!(placed(&seen).iter().all(|(node, _)| node.starts_with('a')), "it must be away from us: {seen:?}");
}

#[test]
fn a_rollout_needs_room_for_its_surge() {
    let nodes = [mk_node("a", 3000, 9000)];
    let template = mk_template(1000, 100);
    let own = |n: usize| vec![Pod { own: true, ..mk_on(&template, "a") }; n];
    let seen = forecast_placement(&nodes, &own(2), &template, &roll(2, 1, 0));
    assert_eq!((seen.wanted, seen.fits, seen.completes, seen.headroom), (3, 3, true, 1));
    assert_eq!(seen.check().result, Finding::Pass);
    let seen = forecast_placement(&nodes, &own(3), &template, &roll(3, 1, 0));
    assert_eq!((seen.wanted, seen.fits, seen.completes, seen.headroom), (4, 3, false, 0));
    assert_eq!(seen.check().result, Finding::Fail);
    assert_eq!(
        seen.short_of,
        [
            "cpu: 1 core short on 1 node that would otherwise fit; a replica requests 1 core, the largest free amount is 0 cores"
        ]
    );
    let seen = forecast_placement(&nodes, &own(3), &template, &roll(3, 1, 1));
    assert_eq!((seen.fits, seen.completes), (3, true), "an old one goes first");
    assert_eq!(seen.check().result, Finding::Warn);
    let seen = forecast_placement(&nodes, &own(2), &template, &roll(2, 2, 0));
    assert_eq!((seen.wanted, seen.fits, seen.completes), (4, 3, true), "one at a time");
    let seen = forecast_placement(&nodes, &own(2), &template, &roll(3, 2, 0));
    assert_eq!(
        (seen.wanted, seen.fits, seen.completes),
        (5, 3, false),
        "no old one may go before a third new one is there"
    );
    let small = |own| vec![Pod { own, requests: mk_requests(100, MI), ..mk_on(&template, "a") }; 2];
    let larger = mk_template(1200, 100);
    let seen = forecast_placement(&nodes, &small(true), &larger, &roll(3, 0, 1));
    assert_eq!((seen.wanted, seen.fits, seen.completes), (3, 3, false), "the new ones ask for more");
    assert!(seen.check().message.starts_with("The change would begin"), "{:?}", seen.check());
    let seen = forecast_placement(&nodes, &own(3), &template, &Change { recreate: true, ..roll(3, 0, 0) });
    assert_eq!((seen.wanted, seen.fits, seen.completes), (3, 3, true));
    let seen = forecast_placement(&nodes, &own(3), &template, &roll(1, 1, 0));
    assert!(seen.completes, "scaled down on the way: {seen:?}");
    let seen = forecast_placement(&nodes, &own(2), &template, &grow(5));
    assert_eq!((seen.wanted, seen.fits, seen.completes), (5, 3, false));
    let seen = forecast_placement(&[], &[], &template, &grow(1));
    assert_eq!((seen.fits, seen.short_of), (0, vec!["there are no nodes".to_owned()]));
}

prop_compose! {
    fn mk_any()(
        nodes in proptest::collection::vec((1_i64..8, 1_i64..8, 0_usize..3, any::<bool>()), 0..8),
        pods in proptest::collection::vec((0_usize..8, 0_i64..2000, 0_i64..2000, any::<bool>()), 0..20),
        asked in (0_i64..3000, 0_i64..3000),
        spread in proptest::option::of((1_i64..3, any::<bool>())),
    ) -> (Vec<Node>, Vec<Pod>, PodTemplate) {
        let zone = |z: usize| ["a", "b", "c"][z];
        let nodes: Vec<_> = nodes.iter().enumerate().map(|(i, (cpu, memory, z, cordoned))| Node {
            unschedulable: *cordoned && i % 2 == 0,
            ..mk_node(&format!("{}{i}", zone(*z)), cpu * 1000, memory * 1000)
        }).collect();
        let mut template = mk_template(asked.0, asked.1);
        template.spread = spread.iter().map(|(skew, required)| mk_constraint(ZONE_LABEL, *skew, *required)).collect();
        let mut left: Vec<(i64, i64)> = nodes.iter().map(|n| (n.allocatable.cpu, n.allocatable.memory)).collect();
        let pods = pods.iter().filter_map(|(i, cpu, memory, own)| {
            let node = nodes.get(*i)?;
            let (cpu, memory) = ((*cpu).min(left[*i].0), (memory * MI).min(left[*i].1));
            left[*i].0 -= cpu;
            left[*i].1 -= memory;
            Some(Pod { own: *own, requests: mk_requests(cpu, memory), ..mk_on(&template, &node.name) })
        }).collect();
        (nodes, pods, template)
    }
}

proptest! {
    #[test]
    fn no_node_is_given_more_than_it_has((nodes, pods, template) in mk_any(), replicas in 0_usize..20) {
        let seen = forecast_placement(&nodes, &pods, &template, &grow(replicas));
        prop_assert!(seen.fits <= seen.wanted);
        prop_assert_eq!(seen.completes, seen.fits == seen.wanted);
        prop_assert_eq!(seen.short_of.is_empty(), seen.completes, "{:?}", seen.short_of);
        for node in &seen.nodes {
            let of = nodes.iter().find(|n| n.name == node.node).unwrap();
            let on: Vec<_> = pods.iter().filter(|p| p.node == of.name).collect();
            let sum = |amount: fn(&Amounts) -> i64| {
                let more = i64::try_from(node.placed).unwrap() * amount(&template.pod.requests.exact);
                on.iter().map(|p| amount(&p.requests.exact)).sum::<i64>() + more
            };
            prop_assert!(sum(|a| a.cpu) <= of.allocatable.cpu && sum(|a| a.memory) <= of.allocatable.memory);
            prop_assert!(node.placed == 0 || !of.unschedulable);
            prop_assert!((0.0..=100.0).contains(&node.score), "{}", node.score);
            prop_assert!(node.parts.iter().all(|(_, part)| (0..=100).contains(part)), "{:?}", node.parts);
        }
    }

    // Exactly `headroom` more replicas fit.
    #[test]
    fn the_headroom_is_the_room_that_there_is((nodes, pods, template) in mk_any(), replicas in 0_usize..6) {
        let pods: Vec<_> = pods.into_iter().map(|pod| Pod { own: false, ..pod }).collect();
        let seen = forecast_placement(&nodes, &pods, &template, &grow(replicas));
        if seen.completes && seen.headroom < 1000 {
            let all = forecast_placement(&nodes, &pods, &template, &grow(replicas + seen.headroom));
            prop_assert!(all.completes && all.headroom == 0);
            prop_assert!(!forecast_placement(&nodes, &pods, &template, &grow(replicas + seen.headroom + 1)).completes);
        }
    }

    // After all old replicas are removed, the forecast equals one that never had any.
    #[test]
    fn a_rollout_that_stops_all_first_is_a_first_one((nodes, pods, template) in mk_any(), replicas in 1_usize..6) {
        let recreate = Change { recreate: true, ..roll(replicas, 0, 0) };
        let others: Vec<_> = pods.iter().filter(|pod| !pod.own).cloned().collect();
        let first = forecast_placement(&nodes, &others, &template, &grow(replicas));
        prop_assert_eq!(forecast_placement(&nodes, &pods, &template, &recreate), first);
    }

    #[test]
    fn a_rollout_that_comes_to_its_end_placed_every_replica((nodes, pods, template) in mk_any(), replicas in 0_usize..6, surge in 0_usize..3, unavailable in 0_usize..2) {
        let seen = forecast_placement(&nodes, &pods, &template, &roll(replicas, surge, unavailable));
        let placed: usize = seen.nodes.iter().map(|n| n.placed).sum();
        prop_assert_eq!(seen.completes, placed == replicas);
        prop_assert!(seen.fits <= seen.wanted);
        let worst = seen.check().result;
        prop_assert_eq!(worst == Finding::Fail, !seen.completes);
    }
}
