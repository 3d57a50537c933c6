//! Tests that the evidence of a failure outlives the pods that it is about.

use std::sync::Arc;

use super::*;
use crate::domain::{
    problem::Reason,
    spec::{OnFailure, RolloutPolicy},
};

#[test]
fn what_was_seen_of_a_failure_is_kept_before_anything_is_undone() {
    let index = mk_index();
    tell(&index, Deployment { revision: Some(1), labels: ours("x"), ..mk_deployment("x", 1) }, true);
    tell(&index, mk_set("x", "s"), true);
    let mut revision = mk_revision("x", 1, None);
    let policy = RolloutPolicy { on_failure: OnFailure::RollBack, ..RolloutPolicy::default() };
    Arc::make_mut(&mut revision.content).spec.rollout_policy = Some(policy);
    tell(&index, revision.clone(), true);
    let name = revision.app.clone();
    let newest = name::Rollout { app: name.clone(), revision: Which::Latest };
    assert!(!index.has_unrecorded_verdict(&name));
    let trouble = Trouble {
        container: "app".into(),
        kind: TroubleKind::Config,
        reason: "CreateContainerConfigError".into(),
        message: "secret \"db\" not found".into(),
        since: None,
        exit: None,
        restarts: 0,
    };
    let doomed = Pod { ready: false, running: false, trouble: Some(Box::new(trouble)), ..mk_pod("s", "p") };
    tell(&index, doomed, true);

    let due = index.unrecorded_verdicts().remove(0);
    let evidence = due.evidence.clone().unwrap();
    assert_eq!((evidence.problems[0].reason, &*evidence.replicas[0].pod), (Reason::ConfigMissing, "p"));
    assert!(
        index.has_unrecorded_verdict(&name) && index.due_rollbacks(at(1)).is_empty(),
        "not before it is stored"
    );
    index.update_rows::<Pod>(vec![], vec![("a".into(), "p".into())], at(1));
    assert_eq!(index.unrecorded_verdicts(), std::slice::from_ref(&due), "the pod may go");
    assert_eq!(index.get_rollout(&newest).unwrap().evidence, Some(evidence.clone()));

    let kept = Revision { end: Some(due.end), evidence: Some(evidence.clone()), ..revision };
    tell(&index, kept, true);
    assert!(!index.has_unrecorded_verdict(&name) && index.unrecorded_verdicts().is_empty());
    assert_eq!(index.due_rollbacks(at(1)), [(name.clone(), 1)]);
    tell(&index, mk_revision("x", 2, None), true);
    let first = name::Rollout { app: name, revision: Which::Number(1) };
    assert_eq!(
        index.get_rollout(&first).unwrap().evidence,
        Some(evidence),
        "later rollouts leave it unchanged"
    );
}
