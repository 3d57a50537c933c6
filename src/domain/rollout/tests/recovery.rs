//! The app after a failure that passed: its verdict stays, and its status is what is wrong now.

use super::*;
use crate::domain::app;

/// The app of a world in which rollout 1 has failed before.
fn mk_app(world: &World, failed: &Rollout, second: i64) -> App {
    let decided = failed.to_end().unwrap();
    let revision = mk_revision(1, RolloutPolicy::default());
    let rollout = world.at_time(&revision, Some(&decided), second);
    assert_eq!(rollout.state, State::Failed, "the verdict stays");
    App::new(&world.deployment, Some(&revision), Some(&rollout), &world.facts(), at(second))
}

fn ready_at(world: &mut World, second: i64) {
    for pod in &mut world.pods {
        *pod =
            Pod { ready: true, ready_changed: Some(at(second)), trouble: None, running: true, ..pod.clone() };
    }
}

const GONE: &str = "docker.io/library/shop:9: not found";

#[test]
fn an_app_whose_replicas_all_run_after_a_failure_is_active() {
    let world = mk_troubled(TroubleKind::Image, GONE);
    let failed = world.judged();
    let broken = mk_app(&world, &failed, 61);
    assert_eq!((broken.state, broken.problems[0].reason), (app::State::Degraded, Reason::ImagePullFailed));
    assert!(broken.message.contains("Rollout 1 failed; 1 of 2 replicas are ready: "), "{}", broken.message);

    let mut world = mk_done(2);
    ready_at(&mut world, 100);
    let early = mk_app(&world, &failed, 104);
    assert_eq!((early.state, early.problems.len()), (app::State::Degraded, 0), "it may end in a moment");
    assert!(early.may_recover() && early.message.contains("has passed"), "{}", early.message);
    let whole = mk_app(&world, &failed, 105);
    assert_eq!((whole.state, whole.problems.len(), whole.may_recover()), (app::State::Active, 0, false));
    let since = format!("2 of 2 replicas are ready. Rollout 1 failed, which has passed since {}: ", at(100));
    assert!(whole.message.starts_with(&since) && whole.message.contains(GONE), "{}", whole.message);

    // A replica too few, another image that is missing, or replicas of the version before.
    world.pods.pop();
    (world.deployment.ready, world.deployment.available) = (1, 1);
    assert_eq!(mk_app(&world, &failed, 200).state, app::State::Degraded);
    let mut other = mk_troubled(TroubleKind::Config, "secret \"db\" not found");
    let app = mk_app(&other, &failed, 200);
    let told: Vec<_> = app.problems.iter().map(|p| p.reason).collect();
    assert_eq!(told, [Reason::ConfigMissing], "what is wrong now");
    assert!(app.message.contains("secret \"db\" not found"), "{}", app.message);
    ready_at(&mut other, 100);
    (other.deployment.ready, other.deployment.available, other.deployment.revision) = (2, 2, None);
    assert_eq!(mk_app(&other, &failed, 200).state, app::State::Degraded, "it was never applied");
}

#[test]
fn a_failure_that_does_not_show_at_each_moment_stays_until_it_has_passed() {
    let mut crashing = mk_troubled(TroubleKind::Crash, "back-off");
    crashing.first().trouble.as_mut().unwrap().restarts = 9;
    let failed = crashing.judged();
    ready_at(&mut crashing, 70);
    crashing.first().restarts = 10;
    (crashing.deployment.ready, crashing.deployment.available) = (2, 2);
    let between = mk_app(&crashing, &failed, 84);
    assert_eq!((between.state, between.problems[0].reason), (app::State::Degraded, Reason::CrashLoop));
    assert_eq!(mk_app(&crashing, &failed, 85).state, app::State::Active, "it runs");
}

#[test]
fn an_app_that_is_scaled_to_zero_after_a_failure_is_stopped() {
    let failed = mk_troubled(TroubleKind::Image, GONE).judged();
    let app = mk_app(&mk_done(0), &failed, 200);
    assert_eq!((app.state, app.problems.len()), (app::State::Stopped, 0));
    assert!(app.message.contains("Rollout 1 failed") && app.message.contains(GONE), "{}", app.message);
}
