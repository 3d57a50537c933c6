//! Changes to an app between a decision and its writes, and apps that existed before Gantry.

use super::*;
use crate::domain::plan;

#[test]
fn a_rollout_that_failed_is_undone_by_itself_only_while_nothing_came_after_it() {
    let mut live = mk_live(mk_content("shop:1"));
    live.revisions.push(mk_past(5, mk_content("shop:2"), Some(Outcome::Failed)));
    let of = |failed| Rollback {
        name: name::App::new("prod", "shop"),
        to: None,
        force: false,
        keep_autoscaler: true,
        failed: Some(failed),
        meta: mk_asked(),
    };
    let back = plan::decide_rollback(&of(5), &live).unwrap().unwrap();
    assert_eq!((back.number, back.record.cause, back.record.source), (6, Cause::AutoRollback, Some(4)));
    live.revisions.push(mk_past(6, mk_content("shop:3"), None));
    assert_eq!(plan::decide_rollback(&of(5), &live), Ok(None));
}

#[test]
fn what_others_made_since_is_not_taken_over_by_a_change_that_is_carried_on() {
    let name = name::App::new("prod", "shop");
    let taken = |live: &AppState, intent: &plan::Intent| match plan::render_objects(intent, live) {
        Err(Error::NameTaken { object, .. }) => Some(object),
        rendered => rendered.map(|_| None).unwrap(),
    };
    let mut intent = plan::decide_deploy(&mk_request(mk_content("shop:1")), &AppState::default()).unwrap();
    let theirs = || Some(Deployment { managed_by: "Helm".into(), ..Deployment::default() });
    let made_since = AppState { deployment: theirs(), ..AppState::default() };
    assert_eq!(taken(&made_since, &intent).as_deref(), Some("deployment.apps/shop"));
    intent.record.adopt = true;
    assert_eq!(taken(&made_since, &intent), None);

    // A rollback may need a Service again whose name another tool has taken meanwhile.
    let live = AppState { service: Some(mk_service("Helm")), ..mk_live(mk_content("shop:1")) };
    let back = plan::intent_of(&name, newest(&mut live.clone()));
    assert_eq!(taken(&live, &back).as_deref(), Some("service/shop"));
}

#[test]
fn a_restart_from_before_an_app_was_taken_over_becomes_this_servers() {
    let restarted = Some(jiff::Timestamp::UNIX_EPOCH);
    let mut live = AppState { revisions: vec![], service: None, ..mk_live(mk_content("shop:1")) };
    let deployment = live.deployment.as_mut().unwrap();
    (deployment.managed_by, deployment.managed, deployment.restarted) =
        ("Helm".into(), Managed::No, restarted);
    let plan = deploy(&Deploy { adopt: true, ..mk_request(mk_content("shop:1")) }, &live);
    assert_eq!(plan.unwrap_or_else(|e| panic!("{e}")).record.unwrap().restarted, restarted);
}

#[test]
fn the_same_again_over_what_others_changed_is_a_deploy_of_its_own() {
    let mut live = mk_live(mk_content("shop:1"));
    newest(&mut live).record.cause = Cause::Rollback;
    newest(&mut live).record.source = Some(2);
    let repeat = plan::decide_deploy(&mk_request(mk_content("shop:1")), &live).unwrap();
    let again = plan::as_new_rollout(&repeat, &live, &mk_asked());
    assert_eq!((again.number, again.is_new), (5, true));
    assert_eq!((again.record.cause, again.record.source), (Cause::Deploy, None));
    assert_eq!(again.record.content, repeat.record.content);
}

#[test]
fn a_deploy_of_the_same_ends_a_hold() {
    let mut live = mk_live(mk_content("shop:1"));
    let resume = |live: &AppState| {
        let intent = plan::decide_deploy(&mk_request(mk_content("shop:1")), live).unwrap();
        plan::render_objects(&intent, live).unwrap().resume.map(|change| (change.object, change.path))
    };
    assert_eq!(resume(&live), None);
    live.deployment.as_mut().unwrap().paused = true;
    assert_eq!(resume(&live), Some(("deployment.apps/shop".to_owned(), "spec.paused".to_owned())));
}

#[test]
fn an_app_that_was_deleted_is_not_made_anew_by_a_change_that_was_under_way() {
    let mut live = mk_live(mk_content("shop:1"));
    let intent = plan::decide_deploy(&mk_request(mk_content("shop:2")), &live).unwrap();
    let overtaken = |existed, live: &AppState| plan::is_superseded(&intent, existed, live);
    assert_eq!(overtaken(true, &live), Ok(false));
    live.deployment.as_mut().unwrap().revision = Some(6);
    assert_eq!(overtaken(true, &live), Ok(true));
    live.deployment.as_mut().unwrap().deleting = true;
    assert!(matches!(overtaken(true, &live), Err(Error::BeingDeleted { .. })));
    live.deployment = None;
    assert!(matches!(overtaken(true, &live), Err(Error::BeingDeleted { .. })));
    assert_eq!(overtaken(false, &live), Ok(false));
}

#[test]
fn an_adopted_app_keeps_its_container_whatever_the_mask_clears() {
    let spec = Spec { container: "web".into(), ..mk_content("shop:1").spec };
    let mut live = mk_live(Content { spec, ..Content::default() });
    let request = Deploy { mask: Mask::Everything, ..mk_request(mk_content("shop:2")) };
    let mut container_under = |label: &str| {
        live.deployment.as_mut().unwrap().selector = [(label.to_owned(), "shop".to_owned())].into();
        deploy(&request, &live).unwrap().content.spec.container
    };
    assert_eq!(container_under("app"), "web");
    assert_eq!(
        container_under("gantry.dev/app"),
        "",
        "the name is cleared for a Deployment that Gantry made"
    );
}

#[test]
fn a_count_that_is_not_applied_is_told_whatever_made_the_revision() {
    let content = mk_content("shop:1");
    for cause in [Cause::Deploy, Cause::Restart, Cause::Rollback] {
        let mut live = mk_scaled(content.clone(), 7, &["gantry-scale"]);
        newest(&mut live).record.cause = cause;
        let plan = deploy(&mk_request(content.clone()), &live).unwrap();
        assert_eq!(plan.record, None, "it is a repeat");
        assert!(
            plan.warnings[0].contains("spec.replicas 3 is not applied"),
            "{cause:?}: {:?}",
            plan.warnings
        );
    }
}
