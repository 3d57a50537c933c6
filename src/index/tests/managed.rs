//! Which apps this server manages, and what is left to do about the owners of their revisions.

use super::*;
use crate::domain::{act::Position, revision::form::Form};

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
    index.get(&app()).unwrap().managed_by.clone()
}

fn rollouts(index: &Index) -> Vec<(u64, Cause)> {
    let (all, _) = index.rollouts(&app(), None, 9).unwrap();
    all.iter().map(|rollout| (rollout.number, rollout.cause)).collect()
}

#[test]
fn a_history_whose_deployment_is_gone_is_carried_out_by_nobody_and_shown_to_nobody() {
    let index = mk_index();
    for number in 1..=3 {
        tell(&index, mk_owned(number, None), true);
    }
    for kind in Kind::ALL {
        index.heard(kind, at(60));
    }
    index.tick(at(60));
    assert_eq!((index.cut_off(at(60)), index.disowned(at(60))), (vec![], vec![]));
    assert!(index.get(&app()).is_err());
    assert!(index.rollouts(&app(), None, 9).is_err());
    // One that was never carried out still is.
    tell(&index, Revision { applied: false, ..mk_owned(4, None) }, true);
    assert_eq!(index.cut_off(at(60)), [app()]);
}

#[test]
fn a_deployment_that_is_back_goes_on_with_its_history_and_gives_it_its_owner() {
    let index = mk_index();
    tell(&index, mk_owned(1, None), true);
    tell(&index, mk_managed(), true);
    tell(&index, mk_set("x", "first"), true);
    assert_eq!((managed_by(&index).as_str(), rollouts(&index)), ("gantry", vec![(1, Cause::Deploy)]));
    assert_eq!(index.disowned(at(1)), [], "its writer may be about to do it");
    assert_eq!(index.disowned(at(60)), [app()]);
    tell(&index, mk_owned(1, Some("u")), true);
    assert_eq!(index.disowned(at(60)), []);
}

#[test]
fn the_history_of_another_deployment_says_nothing_about_this_one() {
    let index = mk_index();
    tell(&index, mk_owned(1, Some("another")), true);
    tell(&index, mk_managed(), true);
    tell(&index, mk_set("x", "first"), true);
    index.heard(Kind::Revisions, at(60));
    tell(&index, Deployment { resource_version: 2, ..mk_managed() }, true);
    assert_eq!((managed_by(&index).as_str(), rollouts(&index)), ("", vec![(1, Cause::External)]));
    assert_eq!((index.disowned(at(60)), index.unnoted()), (vec![], vec![]));
    let view = index.get(&app()).unwrap();
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
        index.heard(kind, at(100));
    }
    index.tick(at(100));
    assert_eq!((managed_by(&index).as_str(), rollouts(&index)), ("", vec![(1, Cause::External)]));
    // It was only late after all.
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
    assert_eq!(index.disowned(at(60)), [], "Kubernetes does it");
    tell(&index, Revision { form: Form::Object, ..mk_owned(1, Some("u")) }, true);
    assert_eq!(index.disowned(at(60)), [app()]);
    tell(&index, Deployment { orphans: false, ..leaving }, true);
    assert_eq!(index.disowned(at(60)), [], "it goes with the Deployment");
    let position = Position { app: app(), seen: Seen::Deleting { uid: "u".into() } };
    assert!(index.has_seen(&position));
}
