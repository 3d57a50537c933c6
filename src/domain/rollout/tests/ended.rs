//! Replicas that complete or are evicted: seen by their number, and a loop fails the rollout.

use super::*;
use crate::domain::{app, observed::Ended};

fn mk_ended(set: &str, n: usize) -> Pod {
    let created = i64::try_from(n).unwrap() * 2;
    let ended =
        Ended { reason: "Evicted".into(), message: "memory".into(), time: at(created + 2), exit: None };
    Pod { ready: false, created: at(created), ended: Some(Box::new(ended)), ..mk_pod(set, 100 + n) }
}

#[test]
fn a_rollout_whose_replicas_end_again_and_again_fails_after_its_grace() {
    let grace = RolloutPolicy { transient_grace: Some(Duration::from_secs(30)), ..RolloutPolicy::default() };
    let revision = mk_revision(1, grace.clone());
    let mut world = mk_done(1);
    world.first().ready_changed = Some(at(9));
    world.pods.extend((0..4).map(|n| mk_ended("new", n)));
    let early = world.at_time(&revision, None, 10);
    assert_eq!((early.state, early.problems[0].affected, early.progress.updated), (State::Running, 4, 1));
    assert!(early.message.contains("4 replicas have ended"), "{}", early.message);
    let app = App::new(&world.deployment, Some(&revision), Some(&early), &world.facts(), at(10));
    assert_eq!((app.problems.len(), app.problems_until), (1, Some(at(68))));
    let calm = App::new(&world.deployment, Some(&revision), Some(&early), &world.facts(), at(68));
    assert_eq!((calm.problems.len(), calm.problems_until), (0, None));
    world.first().trouble = Some(mk_trouble(TroubleKind::Unschedulable, "0/3 nodes are available"));
    let told: Vec<_> = world.at_time(&revision, None, 10).problems.iter().map(|p| p.reason).collect();
    assert_eq!(told, [Reason::Unschedulable, Reason::CrashLoop], "what may have passed comes last");
    world.first().trouble = None;
    assert_eq!(
        world.at_time(&revision, None, 23).state,
        State::Running,
        "longer than for a replica of the first try"
    );
    assert_eq!(world.at_time(&revision, None, 24).state, State::Succeeded);

    world.pods.extend((4..16).map(|n| mk_ended("new", n)));
    world.first().ready_changed = Some(at(33));
    let failed = world.at_time(&revision, None, 34);
    let error = failed.error.clone().unwrap();
    assert_eq!((failed.state, error.reason, error.affected), (State::Failed, Reason::CrashLoop, 16));
    let waits = RolloutPolicy { verdict: Verdict::Wait, ..grace };
    assert_eq!(world.at_time(&mk_revision(1, waits), None, 34).state, State::Running);

    // Between two ends all replicas are ready. After a minute without one it has passed.
    let app = |second| {
        let rollout = world.at_time(&revision, failed.to_end().as_ref(), second);
        App::new(&world.deployment, Some(&revision), Some(&rollout), &world.facts(), at(second)).state
    };
    assert_eq!((app(50), app(91), app(92)), (app::State::Degraded, app::State::Degraded, app::State::Active));

    let mut none = world.clone();
    let d = &mut none.deployment;
    (d.desired, d.current, d.updated, d.ready, d.available) = (0, 0, 0, 0, 0);
    none.pods.remove(0);
    let rollout = none.at_time(&revision, failed.to_end().as_ref(), 50);
    let stopped = App::new(&none.deployment, Some(&revision), Some(&rollout), &none.facts(), at(50));
    assert_eq!(stopped.state, app::State::Stopped, "nothing has to keep running");

    // Those of the version before, or from before this rollout began, are not its own.
    for pod in &mut world.pods[1..] {
        pod.replica_set = "old".into();
    }
    assert_eq!(world.at_time(&revision, None, 34).problems, []);
    for pod in &mut world.pods[1..] {
        (pod.replica_set, pod.created) = ("new".into(), at(-5));
    }
    assert_eq!(world.at_time(&revision, None, 34).problems.len(), 1, "they ended after it began");
    for pod in &mut world.pods[1..] {
        pod.ended.as_mut().unwrap().time = at(0);
    }
    assert_eq!(world.at_time(&revision, None, 34).problems, []);
}
