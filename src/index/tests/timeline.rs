//! Tests of the order of a timeline, and of the signals about verdicts that are stored.

use super::*;
use crate::index::TimelineEvent;

/// An event of the second 20, with the version that the API server gave it.
fn mk_told(kind: Of, name: &str, reason: &str, note: &str, version: u64) -> Event {
    let about = About { namespace: "a".into(), kind, name: name.into() };
    let id = format!("{name}.{version}").into();
    Event { id, about, reason: reason.into(), note: note.into(), version, ..mk_event("", kind, name, 20) }
}

fn told(index: &Index) -> Vec<String> {
    let timeline = index.get_timeline(&name::App::new("a", "x")).unwrap();
    let said = |what: &TimelineEvent| match what {
        TimelineEvent::Rollout(rollout) => format!("{} {:?}", rollout.number, rollout.state),
        TimelineEvent::Event(event) => event.reason.to_string(),
        TimelineEvent::Problem(_)
        | TimelineEvent::Scaling(_)
        | TimelineEvent::Call(_)
        | TimelineEvent::Endpoints { .. } => "noticed".to_owned(),
    };
    timeline.entries.iter().map(|entry| said(&entry.what)).collect()
}

#[test]
fn entries_of_one_second_are_in_the_order_in_which_they_happened() {
    let index = mk_index();
    let now = at(21);
    let fine = |millis: i64| at(20) + jiff::SignedDuration::from_millis(millis);
    let mk = |number| Deployment { revision: Some(number), labels: ours("x"), ..mk_deployment("x", 0) };
    index.update_rows(vec![mk(1)], vec![], now);
    let first = Revision { created: fine(100), ..mk_revision("x", 1, None) };
    index.update_rows(vec![first.clone()], vec![], fine(120));
    index.update_rows(vec![mk_set("x", "x-1")], vec![], fine(130));
    let call = TimelineEvent::Endpoints { ready: 1, draining: 0 };
    let pod = "x-1-abcde";
    let events = [
        mk_told(Of::Deployment, "x", "ScalingReplicaSet", "Scaled up replica set x-1 from 0 to 1", 50),
        mk_told(Of::Pod, pod, "Scheduled", "Successfully assigned", 51),
        mk_told(Of::ReplicaSet, "x-1", "SuccessfulCreate", &format!("Created pod: {pod}"), 52),
    ];
    index.update_rows(events.to_vec(), vec![], fine(200));
    index.record_event(&name::App::new("a", "x"), fine(250), call);
    let started = mk_told(Of::Pod, pod, "Started", "Container started", 60);
    index.update_rows(vec![started], vec![], fine(300));
    index.update_rows(vec![Deployment { ready: 1, available: 1, ..mk(1) }], vec![], fine(400));
    index.update_rows(vec![Pod { name: pod.into(), ..mk_pod("x-1", pod) }], vec![], fine(400));
    let second = Revision { created: fine(500), ..mk_revision("x", 2, None) };
    index.update_rows(vec![second.clone()], vec![], fine(500));
    let set = ReplicaSet { revision: Some(2), template_revision: 2, ..mk_set("x", "x-2") };
    index.update_rows(vec![set], vec![], fine(510));
    let later =
        mk_told(Of::Deployment, "x", "ScalingReplicaSet", "Scaled up replica set x-2 from 0 to 1", 70);
    index.update_rows(vec![later], vec![], fine(600));
    let before = ["1 Pending", "ScalingReplicaSet", "SuccessfulCreate", "Scheduled"];
    let after = ["Started", "1 Succeeded", "2 Pending", "ScalingReplicaSet"];
    let seen: Vec<_> = told(&index).into_iter().filter(|said| !said.ends_with("Running")).collect();
    assert_eq!(seen, [&before[..], &["noticed"], &after].concat());

    // Another process reads the same from the cluster.
    let other = Index::new(8);
    let ended = index.unrecorded_verdicts().remove(0).end;
    let sets = vec![
        mk_set("x", "x-1"),
        ReplicaSet { revision: Some(2), template_revision: 2, ..mk_set("x", "x-2") },
    ];
    let events = index.diff_rows::<Event>(vec![]).into_values().filter_map(|row| row.held).collect();
    other.reset_rows::<Event>(Kind::Events, events, now);
    other.reset_rows::<Pod>(Kind::Pods, vec![], now);
    other.reset_rows(Kind::Revisions, vec![second, Revision { end: Some(ended), ..first }], now);
    other.reset_rows(Kind::Deployments, vec![mk(2)], now);
    other.reset_rows(Kind::ReplicaSets, sets, now);
    other.reset_rows::<EndpointSlice>(Kind::EndpointSlices, vec![], now);
    other.reset_rows::<Node>(Kind::Nodes, vec![], now);
    other.reset_rows::<HorizontalPodAutoscaler>(Kind::HorizontalPodAutoscalers, vec![], now);
    other.reset_rows::<ScaledObject>(Kind::ScaledObjects, vec![], now);
    let seen: Vec<_> = told(&other).into_iter().filter(|said| !said.ends_with("Running")).collect();
    assert_eq!(seen, [before, after].concat());
}

#[test]
fn a_label_on_an_event_is_no_news() {
    let index = mk_index();
    tell(&index, mk_deployment("x", 1), true);
    let event = mk_told(Of::Deployment, "x", "ScalingReplicaSet", "Scaled up replica set x-1", 5);
    tell(&index, event.clone(), true);
    let before = index.get_timeline(&name::App::new("a", "x")).unwrap();
    let labelled = Event { version: 9, ..event };
    tell(&index, labelled.clone(), true);
    let after = index.get_timeline(&name::App::new("a", "x")).unwrap();
    assert_eq!((after.sequence, after.entries.len()), (before.sequence, before.entries.len()));
    assert!(index.diff_rows(vec![labelled]).is_empty(), "as the cluster has it");
}

/// A change waits until the verdicts before it are stored.
#[test]
fn who_waits_for_a_verdict_to_be_stored_is_woken() {
    let index = mk_index();
    let app = name::App::new("a", "x");
    tell(&index, Deployment { revision: Some(1), labels: ours("x"), ..mk_deployment("x", 1) }, true);
    tell(&index, mk_set("x", "s"), true);
    tell(&index, mk_revision("x", 1, None), true);
    tell(&index, mk_pod("s", "p"), true);
    assert!(index.has_unrecorded_verdict(&app));
    let (stored, changed) = (index.watch_verdicts(&app), index.watch_changes(&Scope::App(app.clone())));
    let end = index.unrecorded_verdicts().remove(0).end;
    tell(&index, mk_revision("x", 1, Some(end)), true);
    assert!(!index.has_unrecorded_verdict(&app));
    assert!(stored.has_changed().unwrap());
    assert!(!changed.has_changed().unwrap(), "readers see no difference");
}
