//! The use of earlier revisions: what a rollback restores, what checks say about them, and how long they are
//! stored.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::{
    autoscale::{Mode, Policy},
    domain::{caller::Caller, check::Kind as CheckKind, plan, revision::Request},
};

fn mk_policy(mode: Mode, max: u32) -> Policy {
    Policy { mode, max, acts_for: "ann".into(), ..Policy::default() }
}

/// Revision 4 ran under the first policy until revision 5 was deployed. Then the second policy was set.
fn mk_tuned(first: &Policy, second: &Policy) -> AppState {
    let mut live = mk_live(mk_content("shop:1"));
    let mut past = mk_past(5, mk_content("shop:2"), Some(Outcome::Succeeded));
    past.record = past.record.under(first.clone(), None);
    live.revisions.push(past);
    live.deployment.as_mut().unwrap().scaling.policy = Some(Arc::new(second.clone()));
    live
}

fn mk_rollback(to: Option<u64>) -> Rollback {
    let meta = RequestMeta { caller: Caller::named("bob"), ..mk_asked() };
    Rollback {
        name: name::App::new("prod", "shop"),
        to,
        force: false,
        keep_autoscaler: false,
        failed: None,
        meta,
    }
}

#[test]
fn a_rollback_brings_back_the_last_policy_of_that_time_for_whoever_asks() {
    let (first, second) = (mk_policy(Mode::Active, 3), mk_policy(Mode::Off, 9));
    let live = mk_tuned(&first, &second);
    let back = plan::decide_rollback(&mk_rollback(None), &live).unwrap().unwrap();
    let brings = back.record.brings.clone().unwrap();
    assert_eq!((brings.mode, brings.max, brings.acts_for.as_str()), (Mode::Active, 3, "bob"));
    assert_eq!(
        back.record.autoscaler,
        Some(second.clone()),
        "and the next rollback knows what was before it"
    );
    assert_ne!(back.record.digest, back.record.content.digest(), "the policy is a part of the content");

    let kept = Rollback { keep_autoscaler: true, ..mk_rollback(None) };
    assert_eq!(plan::decide_rollback(&kept, &live).unwrap().unwrap().record.brings, None);
    let mut unkept = live.clone();
    unkept.revisions[1].record.autoscaler = None;
    let back = plan::decide_rollback(&mk_rollback(None), &unkept).unwrap().unwrap();
    assert_eq!(back.record.brings, None, "a policy that was not stored is not invented");
    let same = mk_tuned(&second, &second);
    assert_eq!(plan::decide_rollback(&mk_rollback(None), &same).unwrap().unwrap().record.brings, None);
}

#[test]
fn what_a_rollback_does_to_the_autoscaler_is_said() {
    let said = |then: &Policy, now: &Policy| {
        let back = plan::decide_rollback(&mk_rollback(Some(4)), &mk_tuned(then, now)).unwrap().unwrap();
        back.notes.into_iter().map(|check| (check.kind, check.result, check.message)).collect::<Vec<_>>()
    };
    let of = |mode| mk_policy(mode, 3);
    let at = "namespaces/prod/apps/shop/rollouts/4. Set keep_autoscaler to leave it unchanged.";
    let off = format!("The autoscaler, now ACTIVE, is switched off, as it was at {at}");
    assert_eq!(said(&Policy::default(), &of(Mode::Active)), [(CheckKind::Autoscaler, Finding::Warn, off)]);
    for (then, now, result) in [
        (of(Mode::Off), of(Mode::Shadow), Finding::Warn),
        (of(Mode::Active), of(Mode::Off), Finding::Warn),
        (of(Mode::Frozen), of(Mode::Active), Finding::Warn),
        (mk_policy(Mode::Active, 9), of(Mode::Active), Finding::Pass),
    ] {
        let checks = said(&then, &now);
        assert_eq!(checks.len(), 1, "{checks:?}");
        assert_eq!((checks[0].0, checks[0].1), (CheckKind::Autoscaler, result), "{}", checks[0].2);
    }
    assert_eq!(said(&of(Mode::Off), &of(Mode::Off)), []);
}

#[test]
fn a_frozen_policy_whose_time_is_over_comes_back_as_what_it_became() {
    let frozen = Policy { freeze_end: Some(Timestamp::UNIX_EPOCH), ..mk_policy(Mode::Frozen, 3) };
    let live = mk_tuned(&frozen, &mk_policy(Mode::Off, 3));
    let brings = plan::decide_rollback(&mk_rollback(Some(4)), &live).unwrap().unwrap().record.brings.unwrap();
    assert_eq!((brings.mode, brings.freeze_end), (Mode::Active, None));
}

#[test]
fn what_became_of_the_same_content_before_is_said() {
    let mut live = mk_live(mk_content("shop:1"));
    live.revisions.push(mk_past(5, mk_content("shop:2"), Some(Outcome::Failed)));
    live.revisions.push(mk_past(6, mk_content("shop:3"), Some(Outcome::Succeeded)));
    let remarks = |image: &str| plan::decide_deploy(&mk_request(mk_content(image)), &live).unwrap().notes;
    let said = |image: &str| remarks(image).pop().map(|check| (check.result, check.message));
    let of = |n: u8, ended: &str| {
        format!("This is the content of namespaces/prod/apps/shop/rollouts/{n}, which {ended}.")
    };
    assert_eq!(said("shop:1"), Some((Finding::Pass, of(4, "succeeded"))));
    assert_eq!(said("shop:2"), Some((Finding::Warn, of(5, "failed"))));
    assert_eq!((said("shop:3"), said("shop:4")), (None, None));
    let back = plan::decide_rollback(&mk_rollback(Some(5)), &live).unwrap().unwrap();
    assert_eq!(back.notes[0].result, Finding::Warn);
    assert!(back.notes[0].message.contains("rollouts/5 failed"), "{}", back.notes[0].message);
    assert_eq!(plan::decide_rollback(&mk_rollback(Some(4)), &live).unwrap().unwrap().notes, []);
}

proptest! {
    #[test]
    fn revisions_that_something_needs_are_kept_and_the_others_are_few(
        outcomes in prop::collection::vec((0..4_u8, any::<bool>(), 0..200_i64), 1..60), keep in 1..25_usize, applied in 0..60_usize,
    ) {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(100);
        let mut live = mk_live(mk_content("shop:1"));
        live.revisions = outcomes.iter().zip(1..).map(|((outcome, asked, minutes), number)| {
            let outcome = [None, Some(Outcome::Succeeded), Some(Outcome::Failed), Some(Outcome::Superseded)][usize::from(*outcome)];
            let mut past = mk_past(number, mk_content("shop:1"), outcome);
            past.record.time = now - SignedDuration::from_mins(*minutes);
            past.record.request = asked.then(|| Request { id: number.to_string(), digest: String::new() });
            past
        }).collect();
        live.deployment.as_mut().unwrap().revision = live.revisions.get(applied).map(|past| past.number);
        let gone = live.expired_revisions(keep, now);
        prop_assert!(gone.is_sorted());
        let newest: Vec<_> = live.revisions.iter().rev().take(keep).map(|past| past.number).collect();
        let good = live.revisions.iter().rev().find(|p| p.outcome == Some(Outcome::Succeeded)).map(|p| p.number);
        for (age, past) in live.revisions.iter().rev().enumerate() {
            let is_gone = gone.contains(&past.number);
            let young = age < keep * 10 && past.record.request.is_some() && now.duration_since(past.record.time) < SignedDuration::from_hours(1);
            let needed = newest.contains(&past.number) || live.deployment.as_ref().unwrap().revision == Some(past.number)
                || good == Some(past.number);
            prop_assert!(!(is_gone && (needed || young)), "{past:?}");
            prop_assert!(is_gone || needed || young, "{past:?}");
        }
    }
}

#[test]
fn beside_an_autoscaler_of_others_no_policy_that_decides_the_count_comes_back() {
    let mut live = mk_tuned(&mk_policy(Mode::Active, 3), &mk_policy(Mode::Off, 9));
    live.other_autoscaler = Some("horizontalpodautoscaler.autoscaling/shop".into());
    let back = plan::decide_rollback(&mk_rollback(None), &live).unwrap().unwrap();
    assert_eq!(back.record.brings, None);
    assert!(back.notes[0].message.contains("horizontalpodautoscaler.autoscaling/shop"), "{:?}", back.notes);
}

#[test]
fn a_deploy_leaves_the_count_to_an_autoscaler_of_others_though_nobody_else_ever_set_it() {
    let mut live = mk_live(mk_content("shop:1"));
    live.other_autoscaler = Some("scaledobject.keda.sh/shop".into());
    let mut content = mk_content("shop:2");
    content.spec.replicas = Some(7);
    let plan = deploy(&mk_request(content.clone()), &live).unwrap();
    assert_eq!(
        plan.objects[0].manifest["spec"]["replicas"], 3,
        "left out, it would be reset to 1, because Gantry is the only owner"
    );
    assert!(plan.warnings[0].contains("scaledobject.keda.sh/shop decides the count"), "{:?}", plan.warnings);
    let named = deploy(&mk_masked(content, &["spec.replicas"]), &live);
    assert!(matches!(named, Err(Error::ForeignAutoscaler { .. })), "{named:?}");
}

#[test]
fn no_rollback_goes_to_a_version_that_nothing_ever_ran() {
    let mut live = mk_live(mk_content("shop:1"));
    let untried = StoredRevision {
        untried: true,
        ..mk_past(5, mk_content("shop:does-not-exist"), Some(Outcome::Succeeded))
    };
    live.revisions.push(untried);
    live.revisions.push(mk_past(6, mk_content("shop:3"), Some(Outcome::Failed)));
    for failed in [None, Some(6)] {
        let back = plan::decide_rollback(&Rollback { failed, ..mk_rollback(None) }, &live).unwrap().unwrap();
        assert_eq!(back.record.source, Some(4));
    }
    let asked = plan::decide_rollback(&mk_rollback(Some(5)), &live).unwrap().unwrap();
    assert!(asked.notes.iter().any(|note| note.message.contains("nothing has run it")), "{:?}", asked.notes);
    let again = plan::decide_deploy(&mk_request(mk_content("shop:does-not-exist")), &live).unwrap();
    assert!(again.notes.iter().any(|note| note.message.contains("nothing has run it")), "{:?}", again.notes);
    assert_eq!(live.expired_revisions(1, Timestamp::UNIX_EPOCH), [5], "and it is not kept as the good one");
    live.revisions.remove(0);
    assert!(matches!(plan::decide_rollback(&mk_rollback(None), &live), Err(Error::NoEarlierRollout { .. })));
}

#[test]
fn a_record_says_with_how_many_replicas_it_began() {
    let count = |live: &AppState, content: Content, mask: &[&str]| {
        let request = if mask.is_empty() { mk_request(content) } else { mk_masked(content, mask) };
        plan::decide_deploy(&request, live).unwrap().record.count
    };
    let of = |replicas| {
        let mut content = mk_content("shop:2");
        content.spec.replicas = replicas;
        content
    };
    assert_eq!(count(&AppState::default(), of(None), &[]), Some(1));
    assert_eq!(count(&AppState::default(), of(Some(3)), &[]), Some(3));
    let mut live = mk_live(mk_content("shop:1"));
    let deployment = live.deployment.as_mut().unwrap();
    (deployment.replicas, deployment.replica_owners) = (7, vec!["gantry-scale".into()]);
    assert_eq!(count(&live, of(Some(3)), &[]), Some(7), "another set it");
    assert_eq!(count(&live, of(Some(3)), &["spec"]), Some(3), "taken over");
    let back = mk_past(5, mk_content("shop:2"), Some(Outcome::Succeeded));
    live.revisions.push(back);
    let back = plan::decide_rollback(&mk_rollback(None), &live).unwrap().unwrap();
    assert_eq!(back.record.count, Some(7));
}
