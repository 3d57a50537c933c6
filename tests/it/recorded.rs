//! The diagnosis of what a real kubelet wrote: for each state of each recorded pod, with all events of its
//! course, the expected answer is in `tests/node/recorded/diagnosis.txt`.
//!
//! `GANTRY_RECORD=1 cargo test --test it recorded` writes that file again; then review the changes.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use gantry::{
    cluster::decode::{Decode, Event, Pod},
    domain::{
        diagnosis::{self, Surroundings},
        observed::{self, About},
        spec::Spec,
    },
};
use serde_json::{Value, json};

/// Adds the owner, because the recordings leave out what differs from run to run.
fn mk_pod(recorded: &Value) -> Option<observed::Pod> {
    let mut pod = recorded.clone();
    let set = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "u", "controller": true}]);
    pod["metadata"]["ownerReferences"] = set;
    serde_json::from_value::<Pod>(pod).unwrap().into_row()
}

fn mk_event(recorded: &Value, pod: &observed::Pod, n: usize) -> observed::Event {
    let mut event = recorded.clone();
    event["metadata"] = json!({"namespace": &*pod.namespace, "name": format!("e{n}"), "creationTimestamp": "2026-01-01T00:00:00Z"});
    event["involvedObject"] =
        json!({"kind": "Pod", "name": &*pod.name, "fieldPath": recorded["involvedObject"]["fieldPath"]});
    serde_json::from_value::<Event>(event).unwrap().into_row().unwrap()
}

/// The diagnosis of one state of a pod.
fn diagnosed(recorded: &Value, events: &[Value]) -> String {
    let Some(pod) = mk_pod(recorded) else { return "no replica any more".to_owned() };
    let mut events: Vec<_> = events.iter().enumerate().map(|(n, event)| mk_event(event, &pod, n)).collect();
    events.sort_by_key(|event| event.time);
    let about = |about: &About| events.iter().filter(|event| event.about == *about).collect();
    let around = Surroundings { events: &about, ..Surroundings::nothing() };
    match diagnosis::diagnose_pod(&pod, around, &Spec::default().policy()) {
        None if pod.ready => "ready".to_owned(),
        None => "nothing wrong".to_owned(),
        Some(problem) => {
            let fatal = if problem.fatal { ", fatal" } else { "" };
            format!("{}{fatal}: {}", problem.reason.as_str(), problem.message)
        }
    }
}

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node/recorded")
}

/// Each recorded case, by its name.
fn recordings() -> impl Iterator<Item = (String, Value)> {
    fs::read_dir(dir()).unwrap().filter_map(|entry| {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let is_case = path.extension().is_some_and(|extension| extension == "json");
        is_case.then(|| (name, serde_json::from_slice(&fs::read(&path).unwrap()).unwrap()))
    })
}

#[test]
fn no_start_is_taken_for_a_replica_that_was_ready_before() {
    let mut starts = 0;
    for (name, recorded) in recordings() {
        let pods: Vec<_> = recorded["pods"].as_array().unwrap().iter().filter_map(mk_pod).collect();
        for pod in pods.iter().take_while(|pod| !pod.ready) {
            assert!(!pod.once_ready, "{name}: {pod:?}");
            starts += i32::from(pod.running);
        }
    }
    assert!(starts >= 10, "{starts} that run");
}

#[test]
fn what_a_real_kubelet_writes_is_understood() {
    let dir = dir();
    let mut told = BTreeMap::new();
    for (name, recorded) in recordings() {
        let events = recorded["events"].as_array().unwrap();
        for (n, pod) in recorded["pods"].as_array().unwrap().iter().enumerate() {
            told.insert((name.clone(), n + 1), diagnosed(pod, events));
        }
    }
    assert!(told.len() >= 60, "{} states", told.len());
    let text = told.into_iter().fold(String::new(), |mut text, ((name, n), said)| {
        let _ = writeln!(text, "{name} {n}: {said}");
        text
    });
    let file = dir.join("diagnosis.txt");
    if std::env::var_os("GANTRY_RECORD").is_some() {
        fs::write(&file, &text).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap();
    for (is, should) in text.lines().zip(expected.lines()) {
        assert_eq!(is, should);
    }
    assert_eq!(text.lines().count(), expected.lines().count());
}
