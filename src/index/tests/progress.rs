//! Tests of a rollout without progress, as readers see it: while replicas come and go, while the cluster is
//! silent, and after a start of the daemon.

use std::sync::Arc;

use super::*;
use crate::domain::spec::RolloutPolicy;

/// An index that follows the rollout of `x`, of one replica, with this timeout in seconds.
struct Followed {
    index: Index,
    revision: Revision,
}

impl Followed {
    fn new(timeout: u64) -> Self {
        let mut revision = mk_revision("x", 1, None);
        let progress_timeout = Some(std::time::Duration::from_secs(timeout));
        let policy = RolloutPolicy { progress_timeout, ..RolloutPolicy::default() };
        Arc::make_mut(&mut revision.content).spec.rollout_policy = Some(policy);
        Self { index: mk_index(), revision }
    }

    /// Sends the rows of this second.
    fn tell(&self, ready: bool, second: i64) {
        let ready_count = i32::from(ready);
        let deployment =
            Deployment { revision: Some(1), labels: ours("x"), ..mk_deployment("x", ready_count) };
        let pod = Pod { ready, ready_changed: Some(at(second)), ..mk_pod("s", "p") };
        self.index.update_rows(vec![self.revision.clone()], vec![], at(second));
        self.index.update_rows(vec![mk_set("x", "s")], vec![], at(second));
        self.index.update_rows(vec![deployment], vec![], at(second));
        self.index.update_rows(vec![pod], vec![], at(second));
    }

    fn heard(&self, second: i64) {
        self.index.note_heard(Kind::Deployments, at(second));
        self.index.note_heard(Kind::Pods, at(second));
    }

    fn state(&self) -> Stands {
        let latest = name::Rollout { app: self.revision.app.clone(), revision: Which::Latest };
        self.index.get_rollout(&latest).unwrap().state
    }

    /// Returns the first of these seconds at which the rollout has failed, if time goes on and the cluster
    /// sends something.
    fn fails_in(&self, mut seconds: std::ops::Range<i64>) -> Option<i64> {
        seconds.find(|second| {
            self.heard(*second);
            self.index.tick(at(*second));
            self.state() == Stands::Failed
        })
    }
}

#[test]
fn replicas_that_come_and_go_fail_the_rollout_in_time() {
    let followed = Followed::new(60);
    followed.tell(false, 10);
    let failed = (10..600).find(|second| {
        // Never ready long enough to count as running.
        followed.tell(second % 10 == 5, *second);
        followed.fails_in(*second..second + 1).is_some()
    });
    // It was first ready at 15, and happens to be ready when its time is up.
    assert_eq!(failed, Some(76));
}

#[test]
fn what_was_not_heard_of_is_not_held_against_a_rollout() {
    let followed = Followed::new(60);
    followed.tell(false, 10);
    assert_eq!(followed.fails_in(10..40), None);
    assert!((40..4000).all(|second| {
        followed.index.tick(at(second));
        // The watch of one kind alone may go on.
        followed.index.note_heard(Kind::Pods, at(second));
        followed.state() == Stands::Running
    }));
    let failed = followed.fails_in(4000..4100);
    assert_eq!(failed, Some(4020), "39 s before, one for the silence, 20 s after it");
}

// Without a readiness probe, its replica must have run for 5 s. In a quiet cluster nothing says that it did.
#[test]
fn a_rollout_that_only_has_to_run_for_a_moment_asks_for_news_when_it_is_over() {
    let followed = Followed::new(60);
    followed.tell(true, 10);
    followed.heard(10);
    let waits = |second| followed.index.waits_for_news(at(second));
    assert_eq!([14, 15, 16].map(waits), [false, true, true]);
    followed.index.tick(at(16));
    assert_eq!(followed.state(), Stands::Running, "it may have ended since");
    assert_eq!(followed.fails_in(16..17), None);
    assert_eq!((followed.state(), waits(17)), (Stands::Succeeded, false));
}

#[test]
fn a_server_that_starts_neither_fails_what_moves_nor_forgets_what_is_stuck() {
    for (made, expected) in [(0, 2010), (1980, 2040)] {
        let followed = Followed::new(60);
        followed.index.update_rows(
            vec![ReplicaSet { created: at(made), ..mk_set("x", "s") }],
            vec![],
            at(2000),
        );
        let deployment = Deployment { revision: Some(1), labels: ours("x"), ..mk_deployment("x", 0) };
        followed.heard(2000);
        followed.index.update_rows(vec![followed.revision.clone()], vec![], at(2000));
        followed.index.update_rows(vec![deployment], vec![], at(2000));
        assert_eq!(followed.fails_in(2000..2100), Some(expected), "{made}");
    }
}

#[test]
fn a_change_that_nobody_could_apply_in_time_is_not_applied_later() {
    let followed = Followed::new(60);
    let unapplied = Revision { applied: false, ..followed.revision.clone() };
    tell(&followed.index, mk_deployment("x", 1), true);
    tell(&followed.index, unapplied.clone(), true);
    assert_eq!(followed.index.incomplete_changes(at(50)), std::slice::from_ref(&unapplied.app));
    assert_eq!(followed.fails_in(10..200), Some(69), "first seen at 9");
    let end = followed.index.unrecorded_verdicts().remove(0).end;
    let failed = Revision { end: Some(end), ..unapplied };
    tell(&followed.index, failed.clone(), true);
    assert_eq!(followed.index.incomplete_changes(at(90)), []);
    // A change that is applied in part is completed, whatever became of its replicas meanwhile.
    tell(&followed.index, Deployment { revision: Some(1), labels: ours("x"), ..mk_deployment("x", 1) }, true);
    for outcome in [Outcome::Failed, Outcome::Succeeded, Outcome::Superseded] {
        let end = End { outcome, ..failed.end.clone().unwrap() };
        tell(&followed.index, Revision { end: Some(end), ..failed.clone() }, true);
        assert_eq!(
            followed.index.incomplete_changes(at(90)),
            std::slice::from_ref(&failed.app),
            "{outcome:?}"
        );
    }
}
