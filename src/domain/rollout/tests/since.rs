//! A rollout is judged by what happened after it began. A ReplicaSet that is used again brings replicas whose
//! state is older.

use super::{World, at, mk_done, mk_failure, mk_revision, mk_troubled};
use crate::domain::{
    diagnosis::Surroundings,
    observed::{About, Event, Exit, Kind, TroubleKind},
    rollout::{AppRows, Rollout, State, Tracker},
    spec::RolloutPolicy,
};

/// A world whose first replica was created long before the rollout began at 0.
fn mk_reused(kind: TroubleKind, message: &str, finished: Option<i64>) -> World {
    let mut world = mk_troubled(kind, message);
    world.first().created = at(-500);
    let exit = |second| Exit { code: 1, signal: 0, reason: "Error".into(), finished: Some(at(second)) };
    let trouble = world.first().trouble.as_mut().unwrap();
    (trouble.restarts, trouble.exit) = (9, finished.map(exit));
    world
}

fn mk_event(second: i64, note: &str) -> Event {
    Event {
        id: "e".into(),
        about: About { namespace: "prod".into(), kind: Kind::Pod, name: "new-0".into() },
        container: None,
        warning: true,
        reason: "Failed".into(),
        note: note.into(),
        count: 1,
        time: at(second),
        version: 0,
    }
}

fn state(world: &World, events: &[Event], second: i64) -> State {
    let about = |about: &About| events.iter().filter(|event| event.about == *about).collect();
    let around = Surroundings { events: &about, ..Surroundings::nothing() };
    let facts = AppRows { around, ..world.facts() };
    let rollout = Rollout::latest(Some(&mk_revision(1, RolloutPolicy::default())), &facts).unwrap();
    rollout.judged(&facts, None, &mut Tracker::default(), at(second).into()).state
}

#[test]
fn what_a_replica_shows_from_before_fails_nothing_until_it_shows_it_again() {
    const GONE: &str = "docker.io/library/shop:9: not found";
    let pull = "Failed to pull image \"shop:9\": docker.io/library/shop:9: not found";
    let image = mk_reused(TroubleKind::Image, GONE, None);
    assert_eq!(state(&image, &[], 60), State::Running);
    assert_eq!(state(&image, &[mk_event(-20, pull), mk_event(0, pull)], 60), State::Running);
    let back_off = [mk_event(5, "Back-off pulling image \"shop:9\""), mk_event(5, "Error: ImagePullBackOff")];
    assert_eq!(state(&image, &back_off, 60), State::Running, "the kubelet has not tried again");
    assert_eq!(state(&image, &[mk_event(5, pull)], 60), State::Failed);
    assert_eq!(state(&image, &[], 120), State::Failed, "it had its grace");

    let config = mk_reused(TroubleKind::Config, "secret \"db\" not found", None);
    assert_eq!(state(&config, &[mk_event(-3, "Error: secret \"db\" not found")], 60), State::Running);
    assert_eq!(state(&config, &[mk_event(3, "Error: secret \"db\" not found")], 60), State::Failed);

    for (finished, expected) in [(-9, State::Running), (0, State::Running), (1, State::Failed)] {
        let crash = mk_reused(TroubleKind::Crash, "back-off", Some(finished));
        assert_eq!(state(&crash, &[], 60), expected, "{finished}");
    }
    let mut new = mk_reused(TroubleKind::Image, GONE, None);
    new.first().created = at(0);
    assert_eq!(state(&new, &[], 0), State::Failed, "a replica of this rollout needs no event");
}

#[test]
fn a_refusal_from_before_fails_the_rollout_only_if_it_stands() {
    let mut world = mk_done(2);
    world.pods.pop();
    (world.deployment.current, world.deployment.updated, world.deployment.available) = (1, 1, 1);
    world.sets[1].create_failure = Some(mk_failure("violates PodSecurity \"restricted\"", -300));
    assert_eq!(state(&world, &[], 9), State::Running);
    let about = About { namespace: "prod".into(), kind: Kind::ReplicaSet, name: "new".into() };
    let told = Event { about, reason: "FailedCreate".into(), ..mk_event(3, "Error creating: ...") };
    assert_eq!(state(&world, &[told], 9), State::Failed, "it was refused again");
    assert_eq!(state(&world, &[], 10), State::Failed, "nothing has changed since");
}
