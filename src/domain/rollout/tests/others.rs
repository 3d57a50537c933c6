//! Changes outside Gantry of an app that Gantry manages, and apps that Gantry does not manage.

use super::{World, at, mk_done, mk_revision, mk_set, mk_troubled};
use crate::domain::{
    app::{self, App},
    labels,
    observed::{FieldUpdate, ReplicaSet, TroubleKind},
    problem::Reason,
    revision::Cause,
    rollout::{Rollout, State, Tracker},
    spec::RolloutPolicy,
};

#[test]
fn a_rollout_whose_replicas_others_take_away_has_not_shown_that_it_works() {
    let asked = |replicas| {
        let mut revision = mk_revision(1, RolloutPolicy::default());
        let mut content = (*revision.content).clone();
        content.spec.replicas = replicas;
        revision.content = content.into();
        revision
    };
    let by = |manager: &str, second| Some(FieldUpdate { manager: manager.into(), time: at(second) });
    let (running, done) = (State::Running, State::Succeeded);
    for (replicas, count_by, completed, expected) in [
        (Some(0), by("kubectl-scale", 20), None, done),
        (Some(3), None, None, done),
        (Some(3), by("gantry", 20), None, done),
        (Some(3), by("kubectl-scale", -20), None, done),
        (Some(3), by("kubectl-scale", 20), None, running),
        (None, by("keda", 20), None, running),
        (Some(3), by("kubectl-scale", 20), Some(at(20)), running),
        (Some(3), by("kubectl-scale", 20), Some(at(10)), done),
    ] {
        let mut world = mk_done(0);
        (world.deployment.count_by, world.deployment.completed) = (count_by.clone(), completed);
        let rollout = world.at_time(&asked(replicas), None, 60);
        assert_eq!(rollout.state, expected, "{replicas:?} {count_by:?} {completed:?}");
        assert_eq!(rollout.message.contains("as asked"), replicas == Some(0), "{}", rollout.message);
        assert_eq!(rollout.untried, rollout.state == done, "nothing has run it");
        assert_eq!(rollout.to_end().is_some_and(|end| end.is_untried()), rollout.untried);
        let app =
            App::new(&world.deployment, None, Some(&rollout), &world.facts(), jiff::Timestamp::UNIX_EPOCH);
        assert_eq!((app.state, app.reconciling), (app::State::Stopped, false));
    }
}

#[test]
fn a_success_at_zero_replicas_says_whether_anything_ran() {
    let told = |replicas, made, ready: bool| {
        let mut revision = mk_revision(1, RolloutPolicy::default());
        let mut content = (*revision.content).clone();
        content.spec.replicas = replicas;
        revision.content = content.into();
        let (mut world, mut tracker) = (mk_done(0), Tracker::default());
        world.sets[1].created = at(made);
        if ready {
            let mut before = mk_done(1);
            before.deployment.available = 0;
            let facts = before.facts();
            let rollout = Rollout::latest(Some(&revision), &facts).unwrap();
            assert_eq!(rollout.judged(&facts, None, &mut tracker, at(1).into()).state, State::Running);
        }
        let facts = world.facts();
        let rollout = Rollout::latest(Some(&revision), &facts).unwrap();
        let end = rollout.judged(&facts, None, &mut tracker, at(9).into()).to_end().unwrap();
        (end.is_untried(), end.message)
    };
    for (replicas, made, ready, untried, words) in [
        (Some(0), 1, false, true, "Scaled to zero as asked; at 0 replicas nothing has run it."),
        (Some(3), 1, false, true, "Applied, but at 0 replicas nothing has run it."),
        (Some(0), -99, false, true, "Scaled to zero as asked."),
        (None, -99, false, true, "Applied; the count is zero, so nothing runs."),
        (Some(0), 1, true, false, "Scaled to zero as asked; its replicas ran before."),
        (None, 1, true, false, "Applied; its replicas ran until the count became zero."),
    ] {
        assert_eq!(told(replicas, made, ready), (untried, words.to_owned()));
    }
}

// A reused ReplicaSet gets its new number before the Deployment does.
#[test]
fn trouble_of_the_template_before_is_none_of_a_rollback() {
    let mut world = mk_troubled(TroubleKind::Config, "secret \"db\" not found");
    world.deployment.revision = Some(2);
    world.sets[0] = ReplicaSet { revision: Some(2), ..mk_set("old", 3) };
    let rollout = world.at_time(&mk_revision(2, RolloutPolicy::default()), None, 60);
    assert_eq!((rollout.state, rollout.problems), (State::Running, vec![]));
}

/// Rows of an app that was deployed with Helm.
fn mk_foreign(n: usize) -> World {
    let mut world = mk_done(n);
    let touch = FieldUpdate { manager: "helm".into(), time: at(40) };
    let d = &mut world.deployment;
    (d.revision, d.deadline, d.template_by) = (None, Some(30), Some(touch));
    world.sets.iter_mut().for_each(|set| set.revision = None);
    world
}

#[test]
fn what_others_deployed_is_judged_with_kubernetes_as_the_witness() {
    let judged = |world: &World, second| {
        let facts = world.facts();
        Rollout::latest(None, &facts).unwrap().judged(
            &facts,
            None,
            &mut Tracker::default(),
            at(second).into(),
        )
    };
    let mut world = mk_foreign(2);
    let running = judged(&world, 60);
    assert_eq!((running.number, running.cause, running.actor.as_str()), (2, Cause::External, "helm"));
    assert_eq!((running.state, running.start), (State::Running, at(40)), "its counts alone are no witness");
    world.deployment.completed = Some(at(50));
    let done = judged(&world, 60);
    assert_eq!(
        (done.state, done.end, done.message.as_str()),
        (State::Succeeded, Some(at(50)), "Kubernetes reports the rollout as complete.")
    );

    // A replica that fails long after does not reopen the rollout, and neither does a later scaling.
    world.first().ready = false;
    world.deployment.template_by.as_mut().unwrap().time = at(900);
    let done = judged(&world, 999);
    assert_eq!((done.state, done.start, done.end), (State::Succeeded, at(0), Some(at(50))));

    let mut failing = mk_foreign(2);
    failing.first().ready = false;
    failing.deployment.stalled = Some(at(69));
    assert_eq!(judged(&failing, 70).error.unwrap().reason, Reason::ProbeFailing, "after its own 30 s");
    failing.deployment.stalled = Some(at(50));
    assert_eq!(judged(&failing, 60).state, State::Running, "the condition is about the previous rollout");

    let mut ours = mk_foreign(1);
    ours.deployment.labels = [(labels::MANAGED_BY_LABEL.to_owned(), labels::MANAGER.to_owned())].into();
    assert_eq!(Rollout::latest(None, &ours.facts()), None, "its revision has not been seen yet");
    let mut new = mk_foreign(1);
    new.sets.clear();
    assert_eq!(Rollout::latest(None, &new.facts()), None);
}
