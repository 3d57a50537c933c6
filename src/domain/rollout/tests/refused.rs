//! Rollouts that the Deployment controller cannot take up, because the creation of the ReplicaSet is refused.

use super::{World, at, mk_done, mk_failure, mk_revision};
use crate::domain::{
    app::App,
    observed::Revision,
    problem::Reason,
    rollout::{Rollout, State, Tracker},
    spec::RolloutPolicy,
};

const QUOTA: &str = "Failed to create new replica set \"shop-2\": replicasets.apps \"shop-2\" is forbidden: exceeded quota: sets";
const DENIED: &str =
    "Failed to create new replica set \"shop-2\": admission webhook \"sets\" denied the request: no";

/// Two replicas of the previous template serve. The ReplicaSet of revision 1 was refused in second `since`.
fn mk_refused(words: &str, since: i64) -> World {
    let mut world = mk_done(2);
    world.deployment.template = 7;
    world.deployment.observed_generation -= 1;
    world.deployment.create_failure = Some(mk_failure(words, since));
    // Until the controller takes the new template up, the number belongs to the previous one.
    world.sets.retain(|set| set.template_revision == 1);
    world.deployment.template_revision = 1;
    world.pods.iter_mut().for_each(|pod| pod.replica_set = "old".into());
    world
}

fn short() -> Revision {
    let transient_grace = Some(std::time::Duration::from_secs(20));
    mk_revision(1, RolloutPolicy { transient_grace, ..RolloutPolicy::default() })
}

#[test]
fn a_replica_set_that_is_refused_is_a_problem_before_the_rollout_is_taken_up() {
    let world = mk_refused(QUOTA, 3);
    let running = world.at_time(&short(), None, 22);
    assert_eq!((running.state, running.problems.len()), (State::Running, 1));
    assert!(
        running.message.starts_with("A quota refuses the new ReplicaSet: replicasets.apps"),
        "{}",
        running.message
    );
    let failed = world.at_time(&short(), None, 23);
    let error = failed.error.clone().unwrap();
    assert_eq!((failed.state, error.reason), (State::Failed, Reason::QuotaExceeded));
    assert_eq!(error.object, "deployment.apps/shop");
    let denied = mk_refused(DENIED, 3).at_time(&short(), None, 3);
    assert_eq!((denied.state, denied.error.unwrap().reason), (State::Failed, Reason::AdmissionDenied));

    // Scaling and pausing raise the observed generation and create no ReplicaSet.
    let mut scaled = mk_refused(QUOTA, 3);
    scaled.deployment.observed_generation += 1;
    assert_eq!(scaled.at_time(&short(), None, 23).state, State::Failed);

    let app = |rollout: &Rollout| App::new(&world.deployment, None, Some(rollout), &world.facts(), at(22));
    for rollout in [&running, &failed] {
        let told: Vec<_> = app(rollout).problems.iter().map(|p| p.reason).collect();
        assert_eq!(told, [Reason::QuotaExceeded]);
    }
    assert!(app(&running).message.contains("A quota refuses"), "{}", app(&running).message);
    // The problem is gone once the ReplicaSet exists.
    let mut over = mk_refused(QUOTA, 3);
    over.sets[0].template = 7;
    assert_eq!((over.as_app().problems.len(), over.at_time(&short(), None, 60).problems.len()), (0, 0));
    assert_eq!(mk_refused(QUOTA, 3).as_app().problems.len(), 1, "also without a rollout");
}

// The condition does not change when the next template is refused as well.
#[test]
fn a_refusal_of_an_earlier_rollout_fails_this_one_only_if_it_stands() {
    for since in [-300, 0] {
        let world = mk_refused(DENIED, since);
        let early = world.at_time(&short(), None, 9);
        assert_eq!((early.state, early.problems.len()), (State::Running, 0), "{since}");
        assert!(early.message.contains("not taken it up"), "{}", early.message);
        let app = App::new(&world.deployment, None, Some(&early), &world.facts(), at(9));
        assert_eq!(app.problems, [], "nor does the app show it");
        assert_eq!(world.at_time(&short(), None, 10).state, State::Failed, "{since}");
    }
    // A rollout that was recorded long ago and is applied only now.
    let mut world = mk_refused(DENIED, -300);
    let mut tracker = Tracker::default();
    let mut judged = |world: &World, second: i64| {
        let facts = world.facts();
        let rollout = Rollout::latest(Some(&short()), &facts).unwrap();
        rollout.judged(&facts, None, &mut tracker, at(second).into()).state
    };
    (world.deployment.revision, world.deployment.resource_version) = (None, 0);
    assert_eq!(judged(&world, 500), State::Pending);
    (world.deployment.revision, world.deployment.resource_version) = (Some(1), 1);
    assert_eq!(
        [501, 510, 511].map(|second| judged(&world, second)),
        [State::Running, State::Running, State::Failed]
    );
}

// A change outside Gantry whose ReplicaSet exists was taken up, so the refusal is about a later change.
#[test]
fn a_refusal_of_what_others_changed_later_fails_none_of_their_rollouts() {
    let mut world = mk_refused(DENIED, 3);
    world.deployment.revision = None;
    world.deployment.deadline = Some(30);
    world.sets.iter_mut().for_each(|set| set.revision = None);
    let facts = world.facts();
    let mut tracker = Tracker::default();
    for second in 0..300 {
        let rollout = Rollout::latest(None, &facts).unwrap();
        let rollout = rollout.judged(&facts, None, &mut tracker, at(second).into());
        assert_eq!((rollout.state, rollout.problems.len()), (State::Running, 0), "{second}");
        let app = App::new(&world.deployment, None, Some(&rollout), &facts, at(second));
        assert_eq!(app.problems[0].reason, Reason::AdmissionDenied);
    }
}
