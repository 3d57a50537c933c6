//! Tests of which apps Gantry manages, and of what is left to do about the owners of their revisions.

use super::*;
use crate::domain::{commands::Position, revision::form::Form};

fn app() -> name::App {
    name::App::new("a", "x")
}

fn mk_managed() -> Deployment {
    Deployment { revision: Some(1), labels: ours("x"), ..mk_deployment("x", 1) }
}

fn mk_owned(number: u64, owner: Option<&str>) -> Revision {
    Revision { owner: owner.map(Into::into), ..mk_revision("x", number, None) }
}

fn managed_by(index: &Index) -> String {
    index.get_app(&app()).unwrap().managed_by.clone()
}

fn rollouts(index: &Index) -> Vec<(u64, Cause)> {
    let (all, _) = index.list_rollouts(&app(), None, 9).unwrap();
    all.iter().map(|rollout| (rollout.number, rollout.cause)).collect()
}

#[test]
fn a_history_whose_deployment_is_gone_is_carried_out_by_nobody_and_shown_to_nobody() {
    let index = mk_index();
    for number in 1..=3 {
        tell(&index, mk_owned(number, None), true);
    }
    for kind in Kind::ALL {
        index.note_heard(kind, at(60));
    }
    index.tick(at(60));
    assert_eq!((index.incomplete_changes(at(60)), index.ownerless_apps(at(60))), (vec![], vec![]));
    assert!(index.get_app(&app()).is_err());
    assert!(index.list_rollouts(&app(), None, 9).is_err());
    // A revision that was never applied is still carried out.
    tell(&index, Revision { applied: false, ..mk_owned(4, None) }, true);
    assert_eq!(index.incomplete_changes(at(60)), [app()]);
}

#[test]
fn a_deployment_that_is_back_goes_on_with_its_history_and_gives_it_its_owner() {
    let index = mk_index();
    tell(&index, mk_owned(1, None), true);
    tell(&index, mk_managed(), true);
    tell(&index, mk_set("x", "first"), true);
    assert_eq!((managed_by(&index).as_str(), rollouts(&index)), ("gantry", vec![(1, Cause::Deploy)]));
    assert_eq!(index.ownerless_apps(at(1)), [], "its writer may be about to do it");
    assert_eq!(index.ownerless_apps(at(60)), [app()]);
    tell(&index, mk_owned(1, Some("u")), true);
    assert_eq!(index.ownerless_apps(at(60)), []);
}

#[test]
fn the_history_of_another_deployment_says_nothing_about_this_one() {
    let index = mk_index();
    tell(&index, mk_owned(1, Some("another")), true);
    tell(&index, mk_managed(), true);
    tell(&index, mk_set("x", "first"), true);
    index.note_heard(Kind::Revisions, at(60));
    tell(&index, Deployment { resource_version: 2, ..mk_managed() }, true);
    assert_eq!((managed_by(&index).as_str(), rollouts(&index)), ("", vec![(1, Cause::External)]));
    assert_eq!((index.ownerless_apps(at(60)), index.unrecorded_external_changes()), (vec![], vec![]));
    let view = index.get_app(&app()).unwrap();
    assert_eq!((view.etag.clone(), view.rollout), (view.content.etag(), Some(1)));
}

#[test]
fn a_deployment_counts_as_managed_until_its_first_revision_must_have_been_seen() {
    let index = mk_index();
    tell(&index, mk_managed(), true);
    tell(&index, mk_set("x", "first"), true);
    assert_eq!(managed_by(&index), "gantry");
    index.tick(at(100));
    assert_eq!(managed_by(&index), "gantry", "the cluster has not spoken about revisions since");
    for kind in Kind::ALL {
        index.note_heard(kind, at(100));
    }
    index.tick(at(100));
    assert_eq!((managed_by(&index).as_str(), rollouts(&index)), ("", vec![(1, Cause::External)]));
    // The revision was only late.
    tell(&index, mk_owned(1, Some("u")), true);
    assert_eq!((managed_by(&index).as_str(), rollouts(&index)), ("gantry", vec![(1, Cause::Deploy)]));
}

#[test]
fn a_copy_under_another_name_is_none_of_ours_at_once() {
    let index = mk_index();
    tell(&index, Deployment { labels: ours("original"), ..mk_managed() }, true);
    tell(&index, mk_set("x", "first"), true);
    assert_eq!((managed_by(&index).as_str(), rollouts(&index)), ("", vec![(1, Cause::External)]));
}

#[test]
fn only_revisions_of_earlier_versions_must_be_taken_from_a_deployment_that_leaves_what_it_owns() {
    let index = mk_index();
    tell(&index, mk_owned(1, Some("u")), true);
    let leaving = Deployment { deleting: true, orphans: true, ..mk_managed() };
    tell(&index, leaving.clone(), true);
    assert_eq!(index.ownerless_apps(at(60)), [], "Kubernetes does it");
    tell(&index, Revision { form: Form::Object, ..mk_owned(1, Some("u")) }, true);
    assert_eq!(index.ownerless_apps(at(60)), [app()]);
    tell(&index, Deployment { orphans: false, ..leaving }, true);
    assert_eq!(index.ownerless_apps(at(60)), [], "it goes with the Deployment");
    let position = Position { app: app(), seen: ObservedVersion::Deleting { uid: "u".into() } };
    assert!(index.has_seen(&position));
}

#[test]
fn a_change_past_this_server_is_to_be_noted_until_it_comes_back_and_takes_its_verdict_along() {
    let index = mk_index();
    let managed = Deployment {
        labels: ours("x"),
        revision: Some(1),
        template_revision: 2,
        template_by: Some(FieldUpdate { manager: "kubectl".into(), time: at(5) }),
        ..mk_deployment("x", 1)
    };
    tell(&index, managed.clone(), true);
    tell(&index, mk_set("x", "first"), true);
    tell(&index, mk_revision("x", 1, None), true);
    let latest = || {
        let newest = name::Rollout { app: name::App::new("a", "x"), revision: Which::Latest };
        let rollout = index.get_rollout(&newest).unwrap();
        (rollout.number, rollout.cause, rollout.state)
    };
    assert_eq!(
        (latest(), index.unrecorded_external_changes()),
        ((1, Cause::Deploy, Stands::Running), vec![])
    );
    tell(&index, ReplicaSet { template_revision: 2, created: at(5), ..mk_set("x", "second") }, true);
    assert_eq!(latest(), (2, Cause::External, Stands::Running));
    let (app, number, record) = index.unrecorded_external_changes().remove(0);
    assert_eq!((app.app.as_str(), number, record.replica_set.as_deref()), ("x", 2, Some("second")));
    assert_eq!((record.cause, record.time, record.template_revision), (Cause::External, at(5), Some(2)));

    // The verdict waits for the revision, and stays when the revision comes.
    tell(&index, mk_pod("second", "p"), true);
    assert_eq!((latest().2, index.unrecorded_verdicts()), (Stands::Succeeded, vec![]));
    tell(&index, Pod { ready: false, ..mk_pod("second", "p") }, true);
    tell(&index, Revision { version: 9, ..Revision::new(app.clone(), 2, record) }, true);
    assert_eq!(
        (latest().2, index.unrecorded_external_changes(), index.unrecorded_verdicts().len()),
        (Stands::Succeeded, vec![], 1)
    );
    let (all, more) = index.list_rollouts(&app, None, 9).unwrap();
    let told: Vec<_> = all.iter().map(|r| (r.number, r.state)).collect();
    assert_eq!((told, more), (vec![(2, Stands::Succeeded), (1, Stands::Superseded)], false));
    assert!(all[1].message.contains("outside Gantry"), "{}", all[1].message);
    let last = |limit, before| {
        let (found, more) = index.list_rollouts(&app, before, limit).unwrap();
        (found.iter().map(|r| r.number).collect::<Vec<_>>(), more)
    };
    assert_eq!(
        (last(1, None), last(1, Some(2)), last(1, Some(1))),
        ((vec![2], true), (vec![1], false), (vec![], false))
    );
    assert!(index.list_rollouts(&name::App::new("a", "y"), None, 1).is_err());

    // The next external change.
    tell(&index, Deployment { template_revision: 3, resource_version: 10, ..managed }, true);
    tell(&index, ReplicaSet { template_revision: 3, created: at(7), ..mk_set("x", "third") }, true);
    assert_eq!(
        (latest(), index.unrecorded_external_changes().len()),
        ((3, Cause::External, Stands::Running), 1)
    );
}

#[test]
fn ports_of_earlier_replicas_are_removed_after_a_success_of_the_newest_rollout() {
    let end = |outcome| Some(End { outcome, ..mk_end() });
    let revision = |number, keeps_ports, end| Revision { end, keeps_ports, ..mk_owned(number, Some("u")) };
    let index = mk_index();
    tell(&index, mk_managed(), true);
    tell(&index, mk_set("x", "first"), true);
    for (outcome, due) in [(Outcome::Failed, vec![]), (Outcome::Succeeded, vec![app()])] {
        tell(&index, revision(1, true, end(outcome)), true);
        assert_eq!(index.kept_ports(), due, "{outcome:?}");
    }
    tell(&index, revision(2, true, None), true);
    assert_eq!(index.kept_ports(), [], "the next one runs");
    tell(&index, revision(2, false, end(Outcome::Succeeded)), true);
    assert_eq!(index.kept_ports(), [app()], "the first one's step is still to be made");
    tell(&index, revision(1, false, end(Outcome::Superseded)), true);
    assert_eq!(index.kept_ports(), []);
    tell(&index, revision(2, true, end(Outcome::Succeeded)), true);
    tell(&index, Deployment { deleting: true, ..mk_managed() }, true);
    assert_eq!(index.kept_ports(), [], "the app goes");
}
