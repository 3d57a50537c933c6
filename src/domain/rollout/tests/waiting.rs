//! Replicas that wait for something without a problem: it is named while they do, and when time is up.

use super::*;
use crate::domain::{observed::Wait, rollout::Moment};

fn mk_waiting(waits: Wait, running: bool) -> World {
    let mut world = mk_done(1);
    (world.deployment.ready, world.deployment.available) = (0, 0);
    *world.first() = Pod { ready: false, running, waits: Some(Box::new(waits)), ..mk_pod("new", 0) };
    world
}

#[test]
fn what_the_replicas_wait_for_is_blamed_when_no_progress_is_made() {
    let container = || "proxy".to_owned();
    for (waits, running, reason, words) in [
        (
            Wait::Init { container: container(), since: None },
            false,
            Reason::ProgressTimeout,
            "Init container \"proxy\"",
        ),
        (
            Wait::Sidecar { container: container(), since: None },
            false,
            Reason::ProbeFailing,
            "its startup probe",
        ),
        (Wait::Containers(vec![container()]), true, Reason::ProbeFailing, "Container \"proxy\" runs but"),
    ] {
        let world = mk_waiting(waits.clone(), running);
        let (revision, facts) = (mk_revision(1, RolloutPolicy::default()), world.facts());
        let mut tracker = Tracker::default();
        let mut judged = |second| {
            let moment = Moment::from(at(second));
            Rollout::latest(Some(&revision), &facts).unwrap().judged(&facts, None, &mut tracker, moment)
        };
        let early = judged(2);
        assert_eq!(early.state, State::Running);
        assert_eq!(early.message.contains("\"proxy\""), !running, "{}", early.message);
        let error = (1..200).find_map(|n| judged(2 + n * 10).error).unwrap();
        let told = (error.reason, error.object.as_str(), error.container.as_str());
        assert_eq!(told, (reason, "pod/new-0", "proxy"), "{waits:?}");
        assert!(error.message.contains(words) && error.logging_pod().is_some(), "{}", error.message);
    }
}
