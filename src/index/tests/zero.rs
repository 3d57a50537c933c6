//! Tests that a rollout which succeeded at zero replicas counts as good once its replicas run.

use super::*;

fn at_zero() -> Deployment {
    let zero = mk_deployment("x", 0);
    let zero = Deployment { desired: 0, current: 0, updated: 0, ..zero };
    Deployment { revision: Some(1), labels: ours("x"), ..zero }
}

#[test]
fn what_ran_after_a_success_at_zero_replicas_is_stored_with_it_once() {
    let index = mk_index();
    tell(&index, at_zero(), true);
    tell(&index, mk_set("x", "s"), true);
    tell(&index, mk_revision("x", 1, None), true);
    let first = index.unrecorded_verdicts().remove(0).end;
    assert!(first.is_untried() && first.message.contains("nothing has run it"), "{}", first.message);
    tell(&index, mk_revision("x", 1, Some(first.clone())), true);
    assert_eq!(index.unrecorded_verdicts(), []);

    let up = Deployment { revision: Some(1), labels: ours("x"), ..mk_deployment("x", 1) };
    tell(&index, Deployment { ready: 0, available: 0, ..up.clone() }, true);
    let pod = |ready, second| Pod { ready, ready_changed: Some(at(second)), ..mk_pod("s", "p") };
    tell(&index, pod(false, 8), true);
    assert_eq!(index.unrecorded_verdicts(), [], "it has not run yet");
    tell(&index, up, true);
    tell(&index, pod(true, 9), true);
    let heard = |second| {
        index.note_heard(Kind::Deployments, at(second));
        index.note_heard(Kind::Pods, at(second));
        index.tick(at(second));
        index.unrecorded_verdicts()
    };
    assert_eq!(heard(13), [], "not long enough to count as running");
    let due = heard(14);
    let [UnrecordedVerdict { number: 1, end, evidence: None, .. }] = due.as_slice() else {
        panic!("{due:?}")
    };
    assert_eq!((end.outcome, end.time, end.is_untried()), (Outcome::Succeeded, first.time, false));
    assert_eq!(end.message, format!("Applied at 0 replicas; at {} 1 replica was ready.", at(14)));
    assert_eq!(heard(20), due, "the same until it is stored");

    tell(&index, mk_revision("x", 1, Some(end.clone())), true);
    assert_eq!(heard(21), []);
    let latest = name::Rollout { app: name::App::new("a", "x"), revision: Which::Latest };
    assert_eq!(index.get_rollout(&latest).unwrap().message, end.message);
    tell(&index, at_zero(), true);
    assert_eq!(heard(22), [], "it ran once");
}
