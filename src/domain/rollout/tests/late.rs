//! Rollouts without progress, whatever the Deployment's condition says.

use super::{World, at, mk_done, mk_pod, mk_revision, wait};
use crate::domain::{
    observed::{Pod, Revision, Stop},
    problem::{Problem, Reason},
    rollout::{Rollout, State, Tracker},
    spec::RolloutPolicy,
};

/// Judges once a second until the rollout ends, and returns when and why. `at_second` changes the world.
fn end(
    world: &mut World,
    revision: &Revision,
    until: i64,
    at_second: impl Fn(&mut World, i64),
) -> Option<(i64, Option<Problem>)> {
    let mut tracker = Tracker::default();
    (0..until).find_map(|second| {
        at_second(world, second);
        let facts = world.facts();
        let rollout = Rollout::latest(Some(revision), &facts).unwrap();
        let rollout = rollout.judged(&facts, None, &mut tracker, at(second).into());
        rollout.state.ended().then_some((second, rollout.error))
    })
}

fn minute() -> Revision {
    let progress_timeout = Some(std::time::Duration::from_mins(1));
    mk_revision(1, RolloutPolicy { progress_timeout, ..RolloutPolicy::default() })
}

fn mk_unready() -> World {
    let mut world = mk_done(2);
    world.pods.iter_mut().for_each(|pod| pod.ready = false);
    world
}

fn set_ready(world: &mut World, ready: bool, second: i64) {
    let d = &mut world.deployment;
    (d.ready, d.available) = if ready { (d.desired, d.desired) } else { (0, 0) };
    for pod in &mut world.pods {
        let was_ready = !ready && (pod.ready || pod.was_ready);
        (pod.ready, pod.was_ready, pod.ready_changed) = (ready, was_ready, Some(at(second)));
    }
}

// Kubernetes reports it as complete once, and then stops checking.
#[test]
fn one_that_was_complete_for_an_instant_fails_when_its_time_is_up() {
    let mut world = mk_unready();
    world.deployment.completed = Some(at(12));
    let course = |world: &mut World, second: i64| set_ready(world, second == 12, second);
    let (second, error) = end(&mut world, &minute(), 400, course).unwrap();
    assert_eq!(second, 72);
    let error = error.unwrap();
    assert_eq!((error.reason, error.affected), (Reason::ProbeFailing, 2));
    assert_eq!(
        error.message,
        "No progress for 60 s: 0 of 2 replicas are ready, 2 have become unready. The containers run but do not pass their readiness probe."
    );

    let mut world = mk_unready();
    // Replicas come and go, and only the deadline can decide.
    let waiting = Revision {
        content: mk_revision(
            1,
            RolloutPolicy { progress_timeout: Some(std::time::Duration::from_mins(1)), ..wait() },
        )
        .content,
        ..minute()
    };
    let course = |world: &mut World, second: i64| set_ready(world, second >= 10 && second % 6 < 3, second);
    let (second, error) = end(&mut world, &waiting, 400, course).unwrap();
    assert!((72..76).contains(&second), "{second}");
    assert!(error.unwrap().message.starts_with("No progress for 60 s"));
}

#[test]
fn what_stands_in_the_way_is_told_as_it_is() {
    let message = |world: &mut World| end(world, &minute(), 100, |_, _| ()).unwrap().1.unwrap();
    let mut never = mk_done(1);
    never.deployment.observed_generation -= 1;
    let error = message(&mut never);
    assert_eq!(error.message, "No progress for 60 s: Kubernetes has not taken it up.");
    assert!(error.remedy.contains("controllers"), "{}", error.remedy);

    let mut serving = mk_done(1);
    serving.pods.push(mk_pod("old", 9));
    let error = message(&mut serving);
    assert_eq!(error.reason, Reason::ProgressTimeout);
    assert_eq!(
        error.message,
        "No progress for 60 s: 1 of 1 replica is ready, 1 of older rollouts still serving."
    );

    let mut pending = mk_done(1);
    // The row is older than the last write of the revision.
    (pending.deployment.revision, pending.deployment.resource_version) = (None, 0);
    pending.sets[1].revision = None;
    let error = message(&mut pending);
    assert_eq!(error.message, "No progress for 60 s: it is recorded but not applied.");
}

#[test]
fn one_that_is_held_or_waits_for_others_has_the_time() {
    let when = |world: &mut World, course: &dyn Fn(&mut World, i64)| {
        end(world, &minute(), 2000, course).map(|(second, _)| second)
    };
    assert_eq!(when(&mut mk_unready(), &|_, _| ()), Some(60));
    let held = |world: &mut World, second: i64| world.deployment.paused = (20..520).contains(&second);
    assert_eq!(when(&mut mk_unready(), &held), Some(560));
    // The same while a condition about the previous rollout stands.
    let mut stalled = mk_unready();
    stalled.deployment.stalled = Some(at(-500));
    assert_eq!(when(&mut stalled, &held), Some(560));

    let count = |n: i32, from: i64| {
        move |world: &mut World, second: i64| {
            world.deployment.desired = if second >= from { n } else { 2 };
        }
    };
    assert_eq!(when(&mut mk_unready(), &count(3, 30)), Some(90), "raised");
    assert_eq!(when(&mut mk_unready(), &count(1, 30)), Some(60), "lowered");

    // An old replica is asked to stop at 5 and has 100 s. Another one stays although its time is over.
    let stop = |second: i64| {
        let (told, by) = (at(second.min(0)), at(second));
        Some(Box::new(Stop { told, by, finalizers: Vec::new() }))
    };
    let mut draining = mk_unready();
    let leaving = |id, second| Pod { deleting: true, ready: false, stop: stop(second), ..mk_pod("old", id) };
    draining.pods.push(leaving(8, 2));
    let told = |world: &mut World, second: i64| {
        if second == 5 {
            world.pods.push(leaving(9, 105));
        }
    };
    assert_eq!(when(&mut draining, &told), Some(162), "2 s, and then the 100 s");
}

#[test]
fn an_app_of_others_has_the_time_that_it_says() {
    let judged = |deadline: Option<u64>| {
        let mut world = mk_unready();
        world.deployment.revision = None;
        world.deployment.deadline = deadline;
        world.sets.iter_mut().for_each(|set| set.revision = None);
        let (facts, mut tracker) = (world.facts(), Tracker::default());
        (0..5000).find(|second| {
            let rollout = Rollout::latest(None, &facts).unwrap();
            rollout.judged(&facts, None, &mut tracker, at(*second).into()).state == State::Failed
        })
    };
    assert_eq!(judged(Some(30)), Some(30));
    assert_eq!(judged(None), None, "it asks for no deadline");
}
