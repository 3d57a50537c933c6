//! Tests of the order within one second, as real clusters give it and for any entries.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::domain::observed::testing::at;

/// An entry with its name, from which an [`Item`] is made.
#[derive(Clone, Debug)]
struct Entry {
    name: String,
    second: i64,
    sequence: u64,
    kind: Of,
}

#[derive(Clone, Debug)]
enum Of {
    Begin(u64),
    End(u64),
    Event(Event),
    Other,
}

/// The ReplicaSet of a rollout.
fn set(number: u64) -> String {
    format!("web-{number}")
}

fn mk_event(kind: Kind, about: &str, reason: &str, note: &str, version: u64) -> Of {
    Of::Event(Event {
        id: format!("{about}.{version}").into(),
        about: About { namespace: "a".into(), kind, name: about.into() },
        container: None,
        warning: false,
        reason: reason.into(),
        note: note.into(),
        count: 1,
        time: at(0),
        version,
    })
}

/// Events that are combined are stored late, because they are changed and not created.
fn up_from(replicas: u64, number: u64, version: u64) -> Of {
    let set = set(number);
    let note = format!("(combined from similar events): Scaled up replica set {set} from {replicas} to 9");
    mk_event(Kind::Deployment, "web", "ScalingReplicaSet", &note, version)
}

fn up(number: u64, version: u64) -> Of {
    up_from(0, number, version)
}

fn down(number: u64, version: u64) -> Of {
    let note = format!("Scaled down replica set {} from 1 to 0", set(number));
    mk_event(Kind::Deployment, "web", "ScalingReplicaSet", &note, version)
}

fn create(pod: &str, version: u64) -> Of {
    let set = set_of(pod).unwrap();
    mk_event(Kind::ReplicaSet, set, "SuccessfulCreate", &format!("Created pod: {pod}"), version)
}

fn delete(pod: &str, version: u64) -> Of {
    let set = set_of(pod).unwrap();
    mk_event(Kind::ReplicaSet, set, "SuccessfulDelete", &format!("Deleted pod: {pod}"), version)
}

fn of_pod(pod: &str, reason: &str, version: u64) -> Of {
    mk_event(Kind::Pod, pod, reason, "", version)
}

fn mk(name: &str, kind: Of, sequence: u64) -> Entry {
    Entry { name: name.to_owned(), second: 0, sequence, kind }
}

/// The names of the entries in their order.
fn ordered(entries: &[Entry]) -> Vec<&str> {
    indices(entries).into_iter().map(|index| entries[index].name.as_str()).collect()
}

fn indices(entries: &[Entry]) -> Vec<usize> {
    let sets: Vec<_> = (0..10).map(set).collect();
    let change =
        |number: u64| Change { number, set: sets.get(usize::try_from(number).unwrap()).map(|s| &**s) };
    let items: Vec<_> = entries
        .iter()
        .map(|entry| Item {
            time: at(entry.second),
            id: entry.name.bytes().fold(7, |id, byte| id * 31 % 1_000_003 + u64::from(byte)),
            sequence: entry.sequence,
            what: match &entry.kind {
                Of::Begin(number) => What::Begin(change(*number)),
                Of::End(number) => What::End(change(*number)),
                Of::Event(event) => What::Event(event),
                Of::Other => What::Other,
            },
        })
        .collect();
    order(&items)
}

/// Checks that the entries, given backwards, come out in the order in which they are listed here.
fn check(listed: &[Entry]) {
    let names: Vec<_> = listed.iter().map(|entry| entry.name.as_str()).collect();
    let backwards: Vec<_> = listed.iter().rev().cloned().collect();
    assert_eq!(ordered(&backwards), names);
    // Another process, which knows only what the cluster stores.
    let stored = listed.iter().filter(|entry| !matches!(entry.kind, Of::Other)).cloned();
    let stored: Vec<_> = stored.map(|entry| Entry { sequence: 0, ..entry }).collect();
    let names: Vec<_> = stored.iter().map(|entry| entry.name.as_str()).collect();
    let backwards: Vec<_> = stored.iter().rev().cloned().collect();
    assert_eq!(ordered(&backwards), names);
}

#[test]
fn a_rollout_of_one_second_is_told_from_its_beginning_to_its_end() {
    check(&[
        mk("begin", Of::Begin(1), 1),
        mk("scaled up", up(1, 1058), 3),
        // The scheduler's events overtake those of the controller that made the pod.
        mk("created a", create("web-1-a", 1057), 7),
        mk("scheduled a", of_pod("web-1-a", "Scheduled", 1055), 6),
        mk("call", Of::Other, 8),
        mk("created b", create("web-1-b", 1060), 9),
        mk("scheduled b", of_pod("web-1-b", "Scheduled", 1075), 12),
        mk("started b", of_pod("web-1-b", "Started", 1074), 11),
        mk("started a", of_pod("web-1-a", "Started", 1080), 15),
        mk("end", Of::End(1), 14),
    ]);
}

#[test]
fn a_rollout_begins_after_the_end_of_the_one_before_and_before_what_it_causes() {
    check(&[
        mk("started a", of_pod("web-1-a", "Started", 1030), 20),
        mk("end 1", Of::End(1), 21),
        mk("begin 2", Of::Begin(2), 22),
        mk("call", Of::Other, 23),
        mk("scaled up", up(2, 1050), 24),
        mk("created", create("web-2-a", 1051), 25),
        mk("started", of_pod("web-2-a", "Started", 1063), 26),
        mk("scaled down", down(1, 1070), 27),
        mk("deleted", delete("web-1-a", 1080), 28),
        mk("killed", of_pod("web-1-a", "Killing", 1079), 29),
        mk("end 2", Of::End(2), 30),
    ]);
}

#[test]
fn a_rollout_back_begins_with_the_replicas_that_it_takes_away() {
    check(&[
        mk("failed", of_pod("web-2-a", "Failed", 5), 1),
        mk("problem", Of::Other, 2),
        mk("end 2", Of::End(2), 3),
        mk("begin 3", Of::Begin(3), 4),
        mk("scaled down", down(2, 6), 5),
        mk("deleted", delete("web-2-a", 7), 6),
    ]);
}

#[test]
fn rollouts_that_replace_each_other_at_once_take_turns() {
    check(&[
        mk("begin 1", Of::Begin(1), 1),
        mk("up 1", up(1, 10), 2),
        mk("end 1", Of::End(1), 4),
        mk("begin 2", Of::Begin(2), 3),
        mk("up 2", up(2, 20), 5),
        mk("end 2", Of::End(2), 7),
        mk("begin 3", Of::Begin(3), 6),
    ]);
}

/// Only this process can know, because Kubernetes' events of one second carry no more than their order.
#[test]
fn what_became_known_after_the_end_comes_after_it_unless_it_is_about_replicas_of_the_rollout() {
    let second = [
        mk("begin", Of::Begin(1), 1),
        mk("created a", create("web-1-a", 2), 2),
        mk("late news of a", of_pod("web-1-a", "Started", 3), 5),
        mk("end", Of::End(1), 3),
        mk("scaled up later", up_from(1, 1, 4), 6),
        mk("created b", create("web-1-b", 5), 7),
        mk("started b", of_pod("web-1-b", "Started", 6), 8),
    ];
    let names: Vec<_> = second.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(ordered(&second), names);
}

/// The count is changed between two rollouts, all in one second.
#[test]
fn what_happened_between_two_rollouts_stays_between_them() {
    let second = [
        mk("started a", of_pod("web-1-a", "Started", 1), 1),
        mk("end 1", Of::End(1), 2),
        mk("scaled up", up_from(1, 1, 2), 3),
        mk("created b", create("web-1-b", 3), 4),
        mk("started b", of_pod("web-1-b", "Started", 4), 5),
        mk("scaled down", down(1, 5), 6),
        mk("begin 2", Of::Begin(2), 7),
        mk("scaled down by 2", down(1, 6), 8),
        mk("scaled up by 2", up(2, 7), 9),
    ];
    let names: Vec<_> = second.iter().map(|entry| entry.name.as_str()).collect();
    let backwards: Vec<_> = second.iter().rev().cloned().collect();
    assert_eq!(ordered(&backwards), names);
}

/// Entries of a few rollouts and pods, in a few seconds, with any versions and sequences.
fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let pod = || (1_u64..4, 0..3_u8).prop_map(|(number, pod)| format!("web-{number}-{pod}"));
    let kind = prop_oneof![
        (1_u64..4).prop_map(Of::Begin),
        (1_u64..4).prop_map(Of::End),
        (0_u64..2, 1_u64..4, 0_u64..50).prop_map(|(from, number, version)| up_from(from, number, version)),
        (1_u64..4, 0_u64..50).prop_map(|(number, version)| down(number, version)),
        (pod(), 0_u64..50).prop_map(|(pod, version)| create(&pod, version)),
        (pod(), 0_u64..50).prop_map(|(pod, version)| delete(&pod, version)),
        (pod(), prop::sample::select(vec!["Scheduled", "Started", "Killing", "Pulled", "Rare"]), 0_u64..50)
            .prop_map(|(pod, reason, version)| of_pod(&pod, reason, version)),
        Just(Of::Other),
    ];
    let entry = (kind, 0_i64..3, prop_oneof![Just(0_u64), 1_u64..60]);
    prop::collection::vec(entry, 0..40).prop_map(|all| {
        let named = |(n, (kind, second, sequence))| Entry { name: format!("{n}"), second, sequence, kind };
        all.into_iter().enumerate().map(named).collect()
    })
}

proptest! {
    #[test]
    fn the_order_is_total_and_depends_on_the_entries_alone(
        (all, shuffled) in entries().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle()))
    ) {
        let told = ordered(&all);
        prop_assert_eq!(told.len(), all.len());
        prop_assert_eq!(told.iter().collect::<HashSet<_>>().len(), all.len(), "each entry once");
        prop_assert_eq!(&told, &ordered(&shuffled));
        let seconds: Vec<_> = indices(&all).into_iter().map(|index| all[index].second).collect();
        prop_assert!(seconds.is_sorted(), "{:?}", seconds);
    }

    #[test]
    fn no_effect_comes_before_its_cause(all in entries()) {
        let told: Vec<&Entry> = indices(&all).into_iter().map(|index| &all[index]).collect();
        for (n, effect) in told.iter().enumerate() {
            for later in told[n + 1..].iter().filter(|later| later.second == effect.second) {
                let wrong = match (&later.kind, &effect.kind) {
                    (Of::Begin(cause) | Of::End(cause), Of::Begin(number)) => cause < number,
                    (Of::Begin(cause), Of::End(number)) => cause <= number,
                    (Of::Event(cause), Of::Event(event)) => match (Does::of(cause), Does::of(event)) {
                        (Does::ScaleFromZero(set), Does::Create(pod)) => set_of(pod) == Some(set),
                        (Does::Create(pod), Does::Schedule(other) | Does::Run(other) | Does::Kill(other))
                        | (Does::Schedule(pod), Does::Run(other) | Does::Kill(other))
                        | (Does::Delete(pod), Does::Kill(other)) => pod == other,
                        _ => false,
                    },
                    _ => false,
                };
                prop_assert!(!wrong, "{:?} comes after {:?}", later, effect);
            }
        }
    }

    #[test]
    fn what_a_process_noticed_stays_in_the_order_in_which_it_did(all in entries()) {
        let told: Vec<&Entry> = indices(&all).into_iter().map(|index| &all[index]).collect();
        let noticed: Vec<_> = told.iter().filter(|entry| matches!(entry.kind, Of::Other)).collect();
        let places: Vec<_> = noticed.iter().map(|entry| (entry.second, entry.sequence)).collect();
        prop_assert!(places.is_sorted(), "{:?}", places);
        // And after everything that was known before it.
        for (n, entry) in told.iter().enumerate().filter(|(_, entry)| matches!(entry.kind, Of::Other)) {
            let known = told[n + 1..].iter().find(|later| later.second == entry.second && later.sequence < entry.sequence);
            prop_assert!(known.is_none(), "{:?} comes before {:?}", entry, known);
        }
    }
}
