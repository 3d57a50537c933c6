//! Rollouts that wait for replicas that were told to stop: they are named, with what holds them.

use super::{World, at, mk_done, mk_pod, mk_revision, mk_trouble};
use crate::domain::{
    app::App,
    diagnosis::{NodeState, Surroundings},
    observed::{Pod, Stop, TroubleKind},
    problem::Reason,
    rollout::{AppRows, Rollout, State, Tracker},
    spec::RolloutPolicy,
};

fn mk_leaving(told: i64, grace: i64, finalizers: &[&str]) -> Pod {
    let finalizers = finalizers.iter().map(|&name| name.into()).collect();
    let stop = Stop { told: at(told), by: at(told + grace), finalizers };
    let node = Some("node-1".into());
    Pod { deleting: true, ready: false, node, stop: Some(Box::new(stop)), ..mk_pod("old", 7) }
}

/// Recreate: the old replica was told to stop, and the new ReplicaSet does not exist before it has ended.
fn mk_recreate(leaving: Pod) -> World {
    let mut world = mk_done(1);
    let d = &mut world.deployment;
    (d.template, d.template_revision) = (7, 1);
    (d.current, d.updated, d.ready, d.available) = (0, 0, 0, 0);
    world.sets.retain(|set| set.template_revision == 1);
    world.pods = vec![leaving];
    world
}

fn minute() -> RolloutPolicy {
    let progress_timeout = Some(std::time::Duration::from_mins(1));
    RolloutPolicy { progress_timeout, ..RolloutPolicy::default() }
}

fn facts<'a>(world: &'a World, node: &'a dyn Fn(&str) -> NodeState) -> AppRows<'a> {
    AppRows { around: Surroundings { node, ..Surroundings::nothing() }, ..world.facts() }
}

/// Judges once a second until the rollout ends; returns it, and how it stood in this second.
fn play(world: &World, look: i64, node: NodeState) -> (Rollout, Option<Rollout>) {
    let answers = |_: &str| node;
    let (facts, mut tracker, mut seen) = (facts(world, &answers), Tracker::default(), None);
    for second in 1..2000 {
        let rollout = Rollout::latest(Some(&mk_revision(1, minute())), &facts).unwrap();
        let rollout = rollout.judged(&facts, None, &mut tracker, at(second).into());
        if rollout.state.ended() {
            return (rollout, seen);
        }
        if second == look {
            seen = Some(rollout);
        }
    }
    panic!("it runs for ever");
}

#[test]
fn a_replica_that_ends_slowly_is_named_while_the_others_wait_and_when_time_is_up() {
    for (finalizers, cause) in [
        (&[][..], "it has not ended yet"),
        (&["acme.io/drain"][..], "finalizer \"acme.io/drain\" must be removed first"),
    ] {
        let world = mk_recreate(mk_leaving(1, 30, finalizers));
        let (failed, early) = play(&world, 20, NodeState::Answers);
        let early = early.unwrap();
        assert_eq!((early.state, early.problems.len()), (State::Running, 0), "it has its time");
        let told = format!("Replica old-7 was told to stop at {} with 30 s to end; {cause}.", at(1));
        assert!(early.message.contains(&told), "{}", early.message);
        assert_eq!(failed.end, Some(at(90)), "the deadline begins after its grace period");
        let error = failed.error.unwrap();
        assert_eq!((error.reason, error.object.as_str()), (Reason::ProgressTimeout, "pod/old-7"));
        assert!(error.message.contains(&told), "{}", error.message);

        let (_, late) = play(&world, 60, NodeState::Answers);
        let late = late.unwrap();
        let app = App::new(&world.deployment, None, Some(&late), &world.facts(), at(60));
        for problems in [late.problems, app.problems] {
            let [problem] = problems.as_slice() else { panic!("{problems:?}") };
            assert_eq!((problem.fatal, problem.start), (false, Some(at(1))));
        }
    }
}

#[test]
fn a_replica_on_a_node_that_is_lost_keeps_the_others_waiting() {
    for (node, words) in [
        (NodeState::Silent, "Node node-1 does not answer, so it cannot end"),
        (NodeState::Gone, "Node node-1 does not exist any more, so it cannot end"),
    ] {
        let (failed, early) = play(&mk_recreate(mk_leaving(1, 30, &[])), 3, node);
        let early = early.unwrap();
        assert_eq!((early.state, early.problems[0].reason), (State::Running, Reason::NodeLost));
        let error = failed.error.unwrap();
        assert_eq!((error.reason, error.object.as_str()), (Reason::NodeLost, "pod/old-7"));
        assert!(error.message.contains(words) && error.remedy.contains("--force"), "{error:?}");
    }
}

// The grace of what may pass begins when the room may be free.
#[test]
fn room_that_a_stopping_replica_holds_is_waited_for() {
    for kind in [TroubleKind::Unschedulable, TroubleKind::Config] {
        let mut world = mk_done(1);
        (world.deployment.ready, world.deployment.available) = (0, 0);
        let trouble = Some(mk_trouble(kind, "0/1 nodes are available: 1 Insufficient cpu."));
        *world.first() = Pod { ready: false, running: false, trouble, ..mk_pod("new", 0) };
        world.pods.push(mk_leaving(1, 300, &[]));
        let state = |second| world.at_time(&mk_revision(1, RolloutPolicy::default()), None, second);
        if kind == TroubleKind::Config {
            assert_eq!(state(2).state, State::Failed, "no room brings a Secret");
            continue;
        }
        let waiting = state(400);
        assert_eq!(waiting.state, State::Running);
        assert!(waiting.message.contains("Insufficient cpu. Replica old-7 was told to stop"), "{waiting:?}");
        assert_eq!(state(421).error.unwrap().reason, Reason::Unschedulable);
    }
}
