//! Draws states of one app at random: any, and those in which nothing is wrong.

use proptest::{prelude::*, sample::select};

use super::{
    texts::{ENDED, ENDS, EVENTS, REFUSALS, WAITING},
    world::{At, Container, Phase, Pod, World},
};

fn any_container() -> impl Strategy<Value = Container> {
    let at = prop_oneof![
        2 => (0..WAITING.len()).prop_map(At::Waiting),
        4 => (any::<bool>(), any::<bool>(), 0i64..20)
            .prop_map(|(ready, started, since)| At::Running { ready: ready && started, started, since }),
        1 => (0..ENDS.len(), 1i64..20).prop_map(|(end, second)| At::Ended(end, second)),
    ];
    let last = proptest::option::of((0..ENDS.len(), -20i64..20));
    (at, 0i32..6, last).prop_map(|(at, restarts, last)| {
        // What was never started again has no earlier end, except that the kubelet waits to start it again.
        let is_loop = matches!(at, At::Waiting(n) if WAITING[n].0 == "CrashLoopBackOff");
        let last = if is_loop { last.or(Some((1, 3))) } else { last.filter(|_| restarts > 0) };
        Container { at, restarts, last }
    })
}

fn healthy_container() -> impl Strategy<Value = Container> {
    (0i64..5).prop_map(|since| Container {
        at: At::Running { ready: true, started: true, since },
        restarts: 0,
        last: None,
    })
}

/// A pod of which nothing is wrong.
fn healthy_pod() -> impl Strategy<Value = Pod> {
    let parts = (
        healthy_container(),
        proptest::option::of(healthy_container()),
        any::<bool>(),
        proptest::option::of(healthy_container()),
        proptest::option::of(Just(true)),
        proptest::collection::vec((0..EVENTS.len(), -30i64..30, any::<bool>()), 0..3),
    );
    parts.prop_map(|(app, proxy, migrates, mesh, gate, events)| Pod {
        set: 2,
        created: 0,
        phase: Phase::Started,
        node: 0,
        app,
        proxy,
        migrate: migrates.then_some(Container { at: At::Ended(0, 1), restarts: 0, last: None }),
        mesh,
        gate,
        stop: None,
        events,
    })
}

fn any_pod() -> impl Strategy<Value = Pod> {
    let unplaced = select(vec![
        None,
        Some("0/3 nodes are available: 3 Insufficient cpu."),
        Some("0/3 nodes are available: persistentvolumeclaim \"data\" not found. not found"),
    ]);
    let phase = prop_oneof![
        2 => unplaced.prop_map(Phase::Unplaced),
        1 => Just(Phase::Gated),
        1 => Just(Phase::Bound),
        2 => Just(Phase::Initializing),
        6 => Just(Phase::Started),
        2 => (0..ENDED.len(), 1i64..30).prop_map(|(why, second)| Phase::Ended(why, second)),
    ];
    let containers = (
        any_container(),
        proptest::option::of(any_container()),
        proptest::option::of(any_container()),
        proptest::option::of(any_container()),
    );
    let stop = (-20i64..10, select(vec![0i64, 1, 30, 200]), any::<bool>());
    let rest = (
        select(vec![2u8, 2, 2, 2, 1, 0]),
        select(vec![-500i64, 0, 1, 5]),
        0u8..3,
        proptest::option::of(any::<bool>()),
        proptest::option::weighted(0.2, stop),
        proptest::collection::vec((0..EVENTS.len(), -30i64..30, any::<bool>()), 0..5),
    );
    let any = (phase, containers, rest).prop_map(
        |(phase, (app, proxy, migrate, mesh), (set, created, node, gate, stop, events))| Pod {
            set,
            created,
            phase,
            node,
            app,
            proxy,
            migrate,
            mesh,
            gate,
            stop,
            events,
        },
    );
    prop_oneof![3 => any, 2 => healthy_pod()]
}

pub fn any_world() -> impl Strategy<Value = World> {
    // Mostly as many are wanted as there are.
    let desired = prop_oneof![5 => Just(None), 1 => (0i32..4).prop_map(Some)];
    let spec = (
        desired,
        proptest::option::of(1i32..4),
        any::<bool>(),
        any::<bool>(),
        proptest::bool::weighted(0.05),
        any::<bool>(),
    );
    let controllers = (
        proptest::bool::weighted(0.95),
        proptest::bool::weighted(0.95),
        proptest::option::weighted(0.2, (0..REFUSALS.len(), select(vec![-300i64, 0, 3]))),
        select(vec![
            ("True", "ReplicaSetUpdated"),
            ("True", "NewReplicaSetAvailable"),
            ("False", "ProgressDeadlineExceeded"),
            ("False", "ReplicaSetCreateError"),
            ("Unknown", "DeploymentPaused"),
        ]),
    );
    let nodes = [(); 3]
        .map(|()| prop_oneof![12 => Just(Some(true)), 1 => Just(Some(false)), 1 => Just(None::<bool>)]);
    let pods = proptest::collection::vec(any_pod(), 0..5);
    let any = (spec, controllers, nodes, pods).prop_map(
        |(
            (desired, began_with, probed, waits, paused, recreate),
            (observed, has_set, refused, progressing),
            nodes,
            pods,
        )| {
            let world = World {
                desired: desired.unwrap_or_default(),
                began_with,
                probed,
                waits,
                paused,
                recreate,
                observed,
                has_set,
                refused,
                progressing,
                nodes,
                pods,
            }
            .valid();
            let there = i32::try_from(world.current().count()).unwrap();
            World { desired: desired.unwrap_or_else(|| there.max(1)), ..world }
        },
    );
    let healthy = (any_spec_of_healthy(), proptest::collection::vec(healthy_pod(), 1..4)).prop_map(
        |((probed, waits, progressing), pods)| World {
            desired: i32::try_from(pods.len()).unwrap(),
            began_with: None,
            probed,
            waits,
            paused: false,
            recreate: false,
            observed: true,
            has_set: true,
            refused: None,
            progressing,
            nodes: [Some(true); 3],
            pods,
        },
    );
    prop_oneof![4 => any, 1 => healthy]
}

fn any_spec_of_healthy() -> impl Strategy<Value = (bool, bool, (&'static str, &'static str))> {
    let progressing = select(vec![
        ("True", "NewReplicaSetAvailable"),
        ("True", "ReplicaSetUpdated"),
        ("False", "ProgressDeadlineExceeded"),
    ]);
    (any::<bool>(), any::<bool>(), progressing)
}
