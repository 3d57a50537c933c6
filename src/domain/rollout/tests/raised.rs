//! Rollouts whose count was raised meanwhile beyond what there is room for.

use super::{World, at, mk_done, mk_failure, mk_pod, mk_revision, mk_trouble, wait};
use crate::domain::{
    app::{self, App},
    observed::{Pod, Revision, TroubleKind},
    problem::Reason,
    rollout::{Rollout, State},
    spec::RolloutPolicy,
};

fn began_with(count: Option<i32>, policy: RolloutPolicy) -> Revision {
    Revision { count, ..mk_revision(1, policy) }
}

/// `ready` new replicas run, and `more` find no room.
fn mk_raised(ready: usize, more: usize) -> World {
    let mut world = mk_done(ready);
    let d = &mut world.deployment;
    let raised = i32::try_from(ready + more).unwrap();
    (d.desired, d.current, d.updated) = (raised, raised, raised);
    let trouble = || Some(mk_trouble(TroubleKind::Unschedulable, "0/3 nodes are available"));
    let waiting = |id| Pod { ready: false, running: false, trouble: trouble(), ..mk_pod("new", ready + id) };
    world.pods.extend((0..more).map(waiting));
    world
}

#[test]
fn a_version_that_runs_as_often_as_it_began_is_not_doomed_by_a_raised_count() {
    let judged = |world: &World, count, second| {
        world.at_time(&began_with(count, RolloutPolicy::default()), None, second)
    };
    let world = mk_raised(2, 3);
    let done: Rollout = judged(&world, Some(2), 60);
    assert_eq!(done.state, State::Succeeded, "{}", done.message);
    let said = "2 of 5 replicas are ready. The count was raised from 2 meanwhile, and there is no room for the others.";
    assert_eq!(done.message, said);
    let app = App::new(&world.deployment, None, Some(&done), &world.facts(), at(60));
    assert_eq!((app.state, app.problems[0].reason), (app::State::Degraded, Reason::Unschedulable));

    // Fewer than at the beginning, as many as at the beginning, and a record of an earlier version.
    for count in [Some(3), Some(5), None] {
        assert_eq!(judged(&world, count, 60).state, State::Running, "{count:?}");
        assert_eq!(judged(&world, count, 121).error.unwrap().reason, Reason::Unschedulable, "{count:?}");
    }
    // The count was lowered, so all that are wanted now must run.
    assert_eq!(judged(&mk_raised(1, 1), Some(5), 60).state, State::Running);

    let mut refused = mk_raised(2, 3);
    refused.pods.truncate(2);
    (refused.deployment.current, refused.deployment.updated) = (2, 2);
    refused.sets[1].create_failure = Some(mk_failure("exceeded quota: compute", 4));
    assert_eq!(judged(&refused, Some(2), 60).state, State::Succeeded);
    refused.sets[1].create_failure = Some(mk_failure("violates PodSecurity", 4));
    assert_eq!(judged(&refused, Some(2), 60).state, State::Failed, "no room mends that");

    // What is wrong beyond room, and what is only slow.
    let mut broken = mk_raised(2, 3);
    broken.pods[4].trouble = Some(mk_trouble(TroubleKind::Config, "secret \"db\" not found"));
    assert_eq!(judged(&broken, Some(2), 60).error.unwrap().reason, Reason::ConfigMissing);
    let mut slow = mk_raised(2, 3);
    slow.pods[4] = Pod { node: Some("node-1".into()), trouble: None, ..slow.pods[4].clone() };
    assert_eq!(judged(&slow, Some(2), 60).state, State::Running);
    let mut late = mk_raised(2, 3);
    late.deployment.available = 1;
    assert_eq!(judged(&late, Some(2), 60).state, State::Running, "the Deployment does not say so yet");
}

// Kubernetes keeps old replicas while too few of the raised count are available.
#[test]
fn old_replicas_are_replaced_as_long_as_there_is_hope_for_room() {
    let mut world = mk_raised(2, 6);
    world.pods.extend((0..2).map(|id| mk_pod("old", id)));
    world.deployment.current += 2;
    world.deployment.available = 4;
    let revision = began_with(Some(2), RolloutPolicy::default());
    let state = |second| world.at_time(&revision, None, second);
    assert_eq!(state(60).state, State::Running);
    let done = state(121);
    assert_eq!(done.state, State::Succeeded, "{}", done.message);
    assert!(done.message.contains("and 2 of older rollouts still serve"), "{}", done.message);
    let waiting = began_with(Some(2), wait());
    assert_eq!(world.at_time(&waiting, None, 121).state, State::Running, "it waits for the deadline");
    let mut few = mk_raised(1, 6);
    few.deployment.current += 5;
    few.deployment.available = 6;
    few.pods.extend((0..5).map(|id| mk_pod("old", id)));
    assert_eq!(few.at_time(&revision, None, 60).state, State::Running);
    assert_eq!(few.at_time(&revision, None, 121).state, State::Succeeded, "the old ones were raised too");
    few.pods.truncate(7 + 2);
    assert_eq!(few.at_time(&revision, None, 121).state, State::Failed, "its own room is wanting");
    let long = world.at_time(&waiting, None, 99_999);
    assert_eq!(long.state, State::Running, "which it has observed for a moment only: {}", long.message);
}
