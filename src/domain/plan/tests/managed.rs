//! Changes of an app whose history is stuck, deleted, left over, or of another Deployment.

use super::*;
use crate::domain::{
    commands::Restart,
    plan::{Intent, rewrite_stuck},
};

/// A deploy with the content of the newest revision.
fn again(live: &AppState) -> Intent {
    let content = live.newest().unwrap().record.content.clone();
    super::super::decide_deploy(&mk_request(content), live).unwrap()
}

fn mk_labelled(revisions: Vec<StoredRevision>) -> AppState {
    let mut live = mk_live(mk_content("shop:1"));
    live.deployment.as_mut().unwrap().managed = Managed::No;
    AppState { revisions, ..live }
}

#[test]
fn a_deployment_with_our_labels_and_without_history_is_adopted_or_left_alone() {
    for revisions in [vec![], vec![mk_past(4, mk_content("shop:1"), None)]] {
        let live = mk_labelled(revisions);
        let request = mk_request(mk_content("shop:2"));
        let Err(error @ Error::NameTaken { .. }) = deploy(&request, &live) else { panic!() };
        assert!(error.to_string().contains("labels name Gantry"), "{error}");
        let restart = Restart { name: request.name.clone(), meta: mk_asked() };
        assert!(matches!(super::super::decide_restart(&restart, &live), Err(Error::NotManaged { .. })));
        assert_eq!(live.content(), None);
        // The Deployment's annotation says 4, so the next number is higher.
        assert_eq!(deploy(&Deploy { adopt: true, ..request }, &live).unwrap().number, 5);
    }
}

#[test]
fn numbers_go_on_above_whatever_is_known() {
    let mut live = mk_live(mk_content("shop:1"));
    live.deployment.as_mut().unwrap().revision = Some(99);
    assert_eq!(deploy(&mk_request(mk_content("shop:2")), &live).unwrap().number, 100);
    // An unchanged content could not be applied under its present number.
    let intent = again(&live);
    assert_eq!((intent.number, intent.is_new), (100, true));
    for annotation in [None, Some(1), Some(4)] {
        live.deployment.as_mut().unwrap().revision = annotation;
        let intent = again(&live);
        assert_eq!((intent.number, intent.is_new), (4, false), "{annotation:?}");
    }
}

#[test]
fn a_revision_that_is_stuck_is_written_again_under_the_next_number() {
    let mut live = mk_live(mk_content("shop:1"));
    live.revisions.push(StoredRevision {
        applied: false,
        form: Form::Object,
        ..mk_past(5, mk_content("shop:2"), None)
    });
    live.deployment.as_mut().unwrap().revision = Some(5);
    let stuck = live.newest().unwrap();
    assert!(stuck.is_stuck());
    let now = jiff::Timestamp::from_second(9).unwrap();
    let renewed = rewrite_stuck(&mk_request(Content::default()).name, stuck, &live, now);
    let record = Record { time: now, ..stuck.record.clone() };
    assert_eq!((renewed.number, renewed.is_new, renewed.record), (6, true, record));
    let intent = again(&live);
    assert_eq!((intent.number, intent.is_new), (6, true));
}

#[test]
fn a_position_is_one_of_the_deployment_that_is_there() {
    let live = mk_live(mk_content("shop:1"));
    let past = live.newest().unwrap();
    assert_eq!(live.position_of(past), Some(7));
    let elsewhere = StoredRevision { version: Some(("another".into(), 7)), ..past.clone() };
    assert_eq!(live.position_of(&elsewhere), None);
    assert_eq!(AppState::default().position_of(past), None);
}

#[test]
fn of_an_app_that_is_gone_nothing_is_wanted() {
    let left = AppState { deployment: None, service: None, ..mk_live(mk_content("shop:1")) };
    assert_eq!(left.last_requested(), None);
    let plan = deploy(&mk_request(mk_content("shop:9")), &left).unwrap();
    assert_eq!((plan.number, plan.content), (5, mk_content("shop:9")));
}
