//! Tests that the index comes to the same views whatever the order of rows, and that its readers lose
//! nothing.

mod ended;
mod evidence;
mod managed;
mod places;
mod progress;
mod scaled;
mod timeline;
mod ways;
mod zero;

use jiff::Timestamp;

use super::{AppFilter, Index, Kind, Row, SequencedEvent, UnrecordedVerdict, tables::Tables};
use crate::domain::{
    Error,
    app::{Owner, State},
    commands::{ObservedVersion, Position},
    labels::{APP_LABEL, MANAGED_BY_LABEL, MANAGER},
    name::{self, Scope, Which},
    observed::{
        About, Deployment, EndpointSlice, Event, ExternalAutoscaler, FieldUpdate, HorizontalPodAutoscaler,
        Kind as Of, Node, Pod, ReplicaSet, Revision, ScaledObject, Trouble, TroubleKind,
        testing::{self, at},
    },
    revision::{Cause, End, Outcome, Record},
    rollout::State as Stands,
    spec::Content,
};

/// The labels of a Deployment that Gantry made.
fn ours(app: &str) -> std::collections::BTreeMap<String, String> {
    [(MANAGED_BY_LABEL.into(), MANAGER.into()), (APP_LABEL.into(), app.into())].into()
}

/// A Deployment that Gantry does not manage.
fn mk_deployment(app: &str, ready: i32) -> Deployment {
    Deployment { ready, available: ready, ..testing::deployment(name::App::new("a", app)) }
}

fn mk_set(app: &str, name: &str) -> ReplicaSet {
    testing::replica_set("a", app, name)
}

fn mk_pod(set: &str, name: &str) -> Pod {
    testing::pod("a", set, name)
}

fn mk_troubled(set: &str, name: &str) -> Pod {
    let trouble = Trouble {
        container: "app".into(),
        kind: TroubleKind::Image,
        reason: "ImagePullBackOff".into(),
        message: "Back-off pulling image \"x\"".into(),
        since: None,
        exit: None,
        restarts: 0,
    };
    Pod { ready: false, trouble: Some(Box::new(trouble)), ..mk_pod(set, name) }
}

fn mk_event(id: &str, kind: Of, name: &str, second: i64) -> Event {
    Event {
        id: id.into(),
        about: About { namespace: "a".into(), kind, name: name.into() },
        container: None,
        warning: true,
        reason: "Failed".into(),
        note: format!("Failed to pull image \"x\": {second}: not found").into(),
        count: 1,
        time: at(second),
        version: 0,
    }
}

fn mk_revision(app: &str, number: u64, end: Option<End>) -> Revision {
    let record = Record::new(Cause::Deploy, Content::default(), String::new(), String::new(), at(0));
    // Its version equals that of the Deployments of these tests, so that no Deployment shows that it was
    // applied.
    Revision { end, version: 1, ..Revision::new(name::App::new("a", app), number, record) }
}

fn mk_end() -> End {
    End { outcome: Outcome::Failed, message: "over".into(), time: at(1), problem: None, untried: false }
}

fn mk_index() -> Index {
    let index = Index::new(7);
    index.reset_rows::<Event>(Kind::Events, vec![], at(9));
    index.reset_rows::<Pod>(Kind::Pods, vec![], at(9));
    index.reset_rows::<Revision>(Kind::Revisions, vec![], at(9));
    index.reset_rows::<Deployment>(Kind::Deployments, vec![], at(9));
    index.reset_rows::<ReplicaSet>(Kind::ReplicaSets, vec![], at(9));
    index.reset_rows::<EndpointSlice>(Kind::EndpointSlices, vec![], at(9));
    index.reset_rows::<Node>(Kind::Nodes, vec![], at(9));
    index.reset_rows::<HorizontalPodAutoscaler>(Kind::HorizontalPodAutoscalers, vec![], at(9));
    index.reset_rows::<ScaledObject>(Kind::ScaledObjects, vec![], at(9));
    index
}

/// Adds a row to the index, or removes it.
fn tell<R: Row>(index: &Index, row: R, there: bool) {
    let (applied, deleted) = if there { (vec![row], vec![]) } else { (vec![], vec![row.key()]) };
    index.update_rows(applied, deleted, at(9));
}

/// Returns the names of all apps, read in pages.
fn names(index: &Index, size: usize) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut after = None;
    loop {
        let (page, more) = index.list_apps(&Scope::All, &AppFilter::default(), after.as_ref(), size);
        assert!(page.len() == size || !more);
        names.extend(page.iter().map(|app| app.name.to_string()));
        assert!(names.len() < 1000, "the pages do not end");
        after = page.last().map(|app| app.name.clone());
        if !more {
            return names;
        }
    }
}

/// Returns the events that the readers of revision 1 see.
fn log(index: &Index, app: &str, after: u64) -> Vec<SequencedEvent> {
    index.events_after(&name::App::new("a", app), 1, after)
}

#[test]
fn nothing_is_answered_before_every_kind_was_read() {
    let index = Index::new(7);
    for kind in Kind::ALL {
        assert_eq!(
            (index.check_filled(), index.kind_ages(at(9)).contains_key(&kind)),
            (Err(Error::WarmingUp), false)
        );
        index.note_heard(kind, at(5));
        assert_eq!(index.kind_ages(at(9)).get(&kind), None, "heard of, but not read");
        match kind {
            Kind::Deployments => index.reset_rows(kind, vec![mk_deployment("x", 1)], at(6)),
            Kind::ReplicaSets => index.reset_rows::<ReplicaSet>(kind, vec![], at(6)),
            Kind::Pods => index.reset_rows::<Pod>(kind, vec![], at(6)),
            Kind::Events => index.reset_rows::<Event>(kind, vec![], at(6)),
            Kind::Revisions => index.reset_rows::<Revision>(kind, vec![], at(6)),
            Kind::EndpointSlices => index.reset_rows::<EndpointSlice>(kind, vec![], at(6)),
            Kind::Nodes => index.reset_rows::<Node>(kind, vec![], at(6)),
            Kind::HorizontalPodAutoscalers => {
                index.reset_rows::<HorizontalPodAutoscaler>(kind, vec![], at(6));
            }
            Kind::ScaledObjects => index.reset_rows::<ScaledObject>(kind, vec![], at(6)),
        }
        assert_eq!(index.kind_ages(at(9))[&kind].as_secs(), 3);
    }
    assert!(index.check_filled().is_ok() && names(&index, 9).len() == 1);
}

#[test]
fn a_change_wakes_those_who_listen_to_it_and_nobody_else() {
    let index = mk_index();
    let app = |namespace: &str, app: &str| Scope::App(name::App::new(namespace, app));
    let scopes = [
        Scope::All,
        Scope::Namespace("a".into()),
        app("a", "x"),
        Scope::Namespace("b".into()),
        app("a", "y"),
    ];
    let listeners = scopes.map(|scope| index.watch_changes(&scope));
    tell(&index, mk_deployment("x", 0), true);
    assert_eq!(listeners.each_ref().map(|l| l.has_changed().unwrap()), [true, true, true, false, false]);
    let mut listener = index.watch_changes(&app("a", "x"));
    for (row, expected) in [(mk_deployment("x", 0), false), (mk_deployment("x", 1), true)] {
        tell(&index, row, true);
        assert_eq!(listener.has_changed().unwrap(), expected);
    }
    listener.mark_unchanged();
    tell(&index, mk_deployment("x", 1), false);
    assert!(listener.has_changed().unwrap(), "gone is a change");
}

#[test]
fn a_verdict_is_unrecorded_until_it_comes_back_and_is_none_of_the_next_app_of_the_name() {
    let index = mk_index();
    tell(&index, Deployment { revision: Some(1), labels: ours("x"), ..mk_deployment("x", 1) }, true);
    tell(&index, mk_set("x", "s"), true);
    tell(&index, mk_revision("x", 1, None), true);
    assert_eq!(index.unrecorded_verdicts(), []);
    tell(&index, mk_pod("s", "p"), true);
    let UnrecordedVerdict { app, number, end, evidence } = index.unrecorded_verdicts().remove(0);
    assert_eq!(evidence, None);
    assert_eq!((app.app.as_str(), number, end.outcome), ("x", 1, Outcome::Succeeded));
    tell(&index, Pod { ready: false, ..mk_pod("s", "p") }, true);
    let kept = UnrecordedVerdict { app: app.clone(), number: 1, end: end.clone(), evidence: None };
    assert_eq!(index.unrecorded_verdicts(), [kept], "what was reached stays");
    // The watch was down while the app was deleted and created again.
    let later = Revision { created: at(8), ..mk_revision("x", 1, None) };
    index.reset_rows(Kind::Revisions, vec![later], at(9));
    let newest = name::Rollout { app, revision: Which::Latest };
    assert_eq!(
        (index.get_rollout(&newest).unwrap().state, index.unrecorded_verdicts()),
        (Stands::Running, vec![])
    );
    tell(&index, mk_revision("x", 1, Some(end)), true);
    assert_eq!(
        (index.get_rollout(&newest).unwrap().state, index.unrecorded_verdicts()),
        (Stands::Succeeded, vec![])
    );
}

#[test]
fn a_verdict_stays_though_the_next_rollout_comes_before_it_is_recorded() {
    let index = mk_index();
    tell(&index, Deployment { revision: Some(1), labels: ours("x"), ..mk_deployment("x", 1) }, true);
    tell(&index, mk_set("x", "s"), true);
    tell(&index, mk_revision("x", 1, None), true);
    tell(&index, mk_pod("s", "p"), true);
    tell(&index, mk_revision("x", 2, None), true);
    let first = name::Rollout { app: index.unrecorded_verdicts().remove(0).app, revision: Which::Number(1) };
    assert_eq!(index.get_rollout(&first).unwrap().state, Stands::Succeeded);
    assert_eq!(index.unrecorded_verdicts().len(), 1, "it is still to be written");
}

#[test]
fn what_others_deployed_has_a_history_and_leaves_none() {
    let index = mk_index();
    let row = |completed| Deployment {
        template_revision: 3,
        progressed: None,
        create_failure: None,
        deadline: Some(600),
        completed,
        ..mk_deployment("x", 1)
    };
    tell(&index, row(None), true);
    for (name, number) in [("s1", 1), ("s2", 2), ("s3", 3)] {
        let row = ReplicaSet { revision: None, template_revision: number, ..mk_set("x", name) };
        tell(&index, row, true);
    }
    let app = name::App::new("a", "x");
    let told = || {
        let (all, _) = index.list_rollouts(&app, None, 9).unwrap();
        all.iter().map(|r| (r.number, r.state)).collect::<Vec<_>>()
    };
    let past = Stands::Superseded;
    assert_eq!(told(), [(3, Stands::Running), (2, past), (1, past)]);
    tell(&index, row(Some(at(5))), true);
    assert_eq!(told()[0], (3, Stands::Succeeded));
    assert_eq!(index.get_app(&app).unwrap().rollout, Some(3));
    // The verdict is known as long as the ReplicaSet exists.
    tell(&index, ReplicaSet { revision: None, template_revision: 4, ..mk_set("x", "s4") }, true);
    tell(&index, Deployment { template_revision: 4, ..row(None) }, true);
    assert_eq!(told(), [(4, Stands::Running), (3, Stands::Succeeded), (2, past), (1, past)]);
    assert_eq!((index.unrecorded_verdicts(), index.unrecorded_external_changes()), (vec![], vec![]));
    let number = |n| name::Rollout { app: app.clone(), revision: Which::Number(n) };
    assert_eq!(index.get_rollout(&number(2)).unwrap().message, "Superseded by rollout 3.");
    assert!(index.get_rollout(&number(9)).is_err());
}

#[test]
fn the_owner_of_the_count_is_the_autoscaler_that_people_know() {
    let index = mk_index();
    tell(&index, mk_deployment("x", 1), true);
    let app = name::App::new("a", "x");
    let scaler = |name: &str, target: &str| ExternalAutoscaler {
        namespace: "a".into(),
        name: name.into(),
        target: target.into(),
    };
    tell(&index, HorizontalPodAutoscaler(scaler("keda-hpa-x", "x")), true);
    let owner = || index.get_app(&app).unwrap().owner.clone();
    let foreign = |name: &str| Owner::Foreign(name.into());
    assert_eq!(owner(), foreign("horizontalpodautoscaler.autoscaling/keda-hpa-x"));
    tell(&index, ScaledObject(scaler("x", "x")), true);
    assert_eq!(owner(), foreign("scaledobject.keda.sh/x"), "which made the other one");
    assert_eq!(index.autoscaler_of(&app).as_deref(), Some("scaledobject.keda.sh/x"));
    tell(&index, ScaledObject(scaler("x", "y")), true);
    tell(&index, HorizontalPodAutoscaler(scaler("keda-hpa-x", "x")), false);
    assert_eq!(owner(), Owner::Caller(String::new()));
}

#[test]
fn time_alone_can_bring_a_verdict() {
    let index = mk_index();
    tell(&index, Deployment { revision: Some(1), labels: ours("x"), ..mk_deployment("x", 0) }, true);
    tell(&index, mk_set("x", "s"), true);
    tell(&index, mk_revision("x", 1, None), true);
    tell(&index, mk_troubled("s", "p"), true);
    let heard = |second| {
        index.note_heard(Kind::Deployments, at(second));
        index.note_heard(Kind::Pods, at(second));
    };
    heard(119);
    index.tick(at(500));
    assert_eq!(index.unrecorded_verdicts(), [], "what was not heard of cannot be held against it");
    heard(120);
    index.tick(at(120));
    assert_eq!(index.unrecorded_verdicts().len(), 1);
}

#[test]
fn a_reader_sees_a_write_when_its_rows_are_there() {
    let index = mk_index();
    let app = name::App::new("a", "x");
    let seen = |seen| index.has_seen(&Position { app: app.clone(), seen });
    let wrote = || ObservedVersion::Version { deployment: 5, revision: 2, spelled: 0 };
    let deleting = |uid: &str| ObservedVersion::Deleting { uid: uid.into() };
    assert_eq!((seen(wrote()), seen(deleting("u"))), (false, true));
    let version = |n| Deployment { resource_version: n, revision: Some(2), ..mk_deployment("x", 1) };
    tell(&index, version(5), true);
    assert_eq!((seen(wrote()), seen(deleting("u")), seen(deleting("earlier"))), (false, false, true));
    tell(&index, mk_revision("x", 1, None), true);
    assert!(!seen(wrote()), "an earlier revision");
    tell(&index, mk_revision("x", 3, None), true);
    assert!(seen(wrote()), "a later one will do");
    tell(&index, Deployment { deleting: true, ..version(4) }, true);
    assert_eq!((seen(wrote()), seen(deleting("u"))), (false, true));

    // The Deployment is deleted. The resourceVersion of all Deployments distinguishes this from one that is
    // not seen yet.
    tell(&index, version(5), false);
    for (heard, expected) in [(4, false), (5, true), (1, true)] {
        index.set_deployments_version(heard);
        assert_eq!(seen(wrote()), expected, "{heard}");
    }
    // Then it is created again, with revisions that begin at 1.
    index.reset_rows(Kind::Revisions, vec![mk_revision("x", 1, None)], at(9));
    tell(&index, Deployment { revision: Some(1), ..version(9) }, true);
    assert!(seen(wrote()));
}

#[test]
fn the_log_of_an_app_has_the_youngest_events_of_its_own_objects() {
    let index = mk_index();
    tell(&index, mk_set("x", "s"), true);
    tell(&index, mk_pod("s", "p"), true);
    for (kind, name) in [(Of::Deployment, "y"), (Of::ReplicaSet, "other"), (Of::Pod, "x")] {
        tell(&index, mk_event(name, kind, name, 0), true);
    }
    let log = |after| log(&index, "x", after);
    assert_eq!(log(0), []);
    // A list is ordered by name and not by time. It brings more events than are stored, again and again.
    let many = || {
        (0..12)
            .map(|i| mk_event(&format!("e{:02}", i * 5 % 12), Of::Pod, "p", i * 5 % 12))
            .collect::<Vec<_>>()
    };
    index.reset_rows(Kind::Events, many(), at(9));
    let first = log(0);
    let times = |mut seconds: Vec<Timestamp>| {
        seconds.sort_unstable();
        seconds
    };
    assert_eq!(
        times(first.iter().map(|line| line.event.time).collect()),
        (4..12).map(at).collect::<Vec<_>>()
    );
    let last = first.last().unwrap().sequence;
    index.reset_rows(Kind::Events, many(), at(9));
    assert_eq!((log(last), log(0)), (vec![], first));
    tell(&index, mk_event("d", Of::Deployment, "x", 1), true);
    assert_eq!(log(last).iter().map(|line| &*line.event.id).collect::<Vec<_>>(), ["d"]);
}

// Events, pods and ReplicaSets come by different watches, so any of them may be first.
#[test]
fn events_that_are_seen_to_belong_to_the_app_only_later_are_still_news() {
    let index = mk_index();
    tell(&index, mk_event("early", Of::Pod, "p", 1), true);
    tell(&index, mk_pod("s", "p"), true);
    let mut known = 0;
    for (id, revision) in [("one", None), ("two", Some(2))] {
        tell(&index, ReplicaSet { revision, ..mk_set("x", "s") }, true);
        tell(&index, mk_event(id, Of::Deployment, "x", 2), true);
        let lines = log(&index, "x", known);
        assert_eq!(lines.iter().map(|line| &*line.event.id).collect::<Vec<_>>(), [id]);
        known = lines[0].sequence;
    }
    tell(&index, mk_set("x", "s"), true);
    assert_eq!(log(&index, "x", known).iter().map(|line| &*line.event.id).collect::<Vec<_>>(), ["early"]);
}

#[test]
fn a_missing_app_is_told_with_a_name_that_is_close() {
    let index = mk_index();
    tell(&index, mk_deployment("checkout", 1), true);
    let meant = |namespace: &str, app: &str| match index.get_app(&name::App::new(namespace, app)) {
        Err(Error::NotFound { did_you_mean, .. }) => did_you_mean,
        other => panic!("{other:?}"),
    };
    for close in ["chekcout", "checkuot", "checkouts", "heckout"] {
        assert_eq!(meant("a", close).as_deref(), Some("namespaces/a/apps/checkout"), "{close}");
    }
    assert_eq!((meant("a", "cart"), meant("b", "checkout")), (None, None));
}

#[test]
fn a_list_holds_only_the_states_that_are_asked_for() {
    let index = mk_index();
    index.update_rows(vec![mk_deployment("x", 1), mk_deployment("y", 0)], vec![], at(9));
    let filter = AppFilter { states: vec![State::Active], ..AppFilter::default() };
    let (found, more) = index.list_apps(&Scope::All, &filter, None, 1);
    assert_eq!((found.len(), found[0].name.app.as_str(), more), (1, "x", false));
}

#[test]
fn a_list_of_what_is_known_makes_no_view_anew() {
    let mut tables = Tables::default();
    mk_set("shop", "a").insert(&mut tables);
    mk_pod("a", "a-1").insert(&mut tables);
    assert_eq!(tables.take_dirty().len(), 1);
    tables.reset(vec![mk_pod("a", "a-1")]);
    assert!(tables.take_dirty().is_empty());
    tables.reset(vec![mk_pod("a", "a-1"), mk_pod("a", "a-2")]);
    assert_eq!(tables.take_dirty().len(), 1);
}
