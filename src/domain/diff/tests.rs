//! A diff reports every change once, with the shortest path, and nothing else.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{FieldChange, apply_merge_patch, diff_objects, merge_patch, restarts_replicas};
use crate::domain::{
    keyed_lists, labels::APP_LABEL, manifest, name, revision::RENDERER, spec::arbitrary::mk_any_content,
};

fn mk_deployment() -> impl Strategy<Value = Value> {
    (mk_any_content(), 1u64..9, proptest::option::of(0..9)).prop_map(|(content, revision, replicas)| {
        let name = name::App::new("prod", "shop");
        let selector = [(APP_LABEL.to_owned(), name.app.clone())].into();
        let context =
            manifest::RenderContext { revision, renderer: RENDERER, replicas, selector, restarted: None };
        manifest::render_deployment(&name, &content, &context).unwrap().manifest
    })
}

proptest! {
    #[test]
    fn a_merge_patch_makes_one_of_the_other(before in mk_deployment(), after in mk_deployment()) {
        let patch = merge_patch(&before, &after);
        prop_assert_eq!(apply_merge_patch(before.clone(), &patch), after);
        prop_assert_eq!(merge_patch(&before, &before), json!({}));
    }
}

/// Adds the fields that only the API server writes.
fn with_noise(mut object: Value, number: u32) -> Value {
    object["metadata"]["resourceVersion"] = json!(number.to_string());
    object["metadata"]["managedFields"] = json!([{"manager": number}]);
    object["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = json!(number.to_string());
    object["status"] = json!({"replicas": number});
    object["spec"]["template"]["metadata"]["creationTimestamp"] = json!(null);
    object
}

/// Sorts the lists whose entries have keys by key, because their order is ignored.
fn sorted(value: &mut Value, path: &str) {
    match value {
        Value::Object(map) => map.iter_mut().for_each(|(key, value)| sorted(value, key)),
        Value::Array(entries) => {
            for entry in entries.iter_mut() {
                sorted(entry, "");
            }
            entries.sort_by_key(|entry| keyed_lists::entry_id(path, entry));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Returns the keys of a list of entries with keys, sorted, if a change is of their order alone.
fn ids_of(object: &Value, path: &str, change: Option<&Value>) -> Option<Vec<String>> {
    let list = keyed_lists::list_name(path);
    keyed_lists::key_field(list)?;
    let entries = keyed_lists::path::get(object, path)?.as_array()?;
    let ids: Vec<String> = serde_json::from_value(change?.clone()).ok()?;
    let known = |id: &String| entries.iter().any(|e| keyed_lists::entry_id(list, e).as_ref() == Some(id));
    let mut ids: Vec<_> = ids.into_iter().filter(known).collect();
    ids.sort();
    (!ids.is_empty()).then_some(ids)
}

proptest! {
    #[test]
    fn nothing_differs_from_itself(object in mk_deployment(), numbers in any::<(u32, u32)>()) {
        prop_assert_eq!(diff_objects(&with_noise(object.clone(), numbers.0), &with_noise(object.clone(), numbers.1)), []);
        prop_assert_eq!(diff_objects(&object, &with_noise(object.clone(), 1)), []);
    }

    #[test]
    fn before_with_the_changes_is_after(before in mk_deployment(), after in mk_deployment()) {
        let (mut object, mut wanted) = (before.clone(), after.clone());
        for FieldChange { path, old, new } in diff_objects(&before, &after) {
            prop_assert_ne!(&old, &new);
            if let Some(order) = ids_of(&before, &path, new.as_ref()) {
                prop_assert_eq!(Some(order), ids_of(&before, &path, old.as_ref()));
                continue;
            }
            prop_assert_eq!(keyed_lists::path::get(&before, &path), old.as_ref(), "{}", path);
            prop_assert_eq!(keyed_lists::path::get(&after, &path), new.as_ref(), "{}", path);
            keyed_lists::path::set(&mut object, &path, new);
        }
        sorted(&mut object, "");
        sorted(&mut wanted, "");
        prop_assert_eq!(object, wanted);
    }

    #[test]
    fn the_way_back_is_the_same_way(before in mk_deployment(), after in mk_deployment()) {
        let mut back: Vec<_> = diff_objects(&after, &before)
            .into_iter()
            .map(|c| FieldChange { path: c.path, old: c.new, new: c.old })
            .collect();
        let mut there = diff_objects(&before, &after);
        back.sort_by(|a, b| a.path.cmp(&b.path));
        there.sort_by(|a, b| a.path.cmp(&b.path));
        prop_assert_eq!(there, back);
    }

    #[test]
    fn replicas_restart_exactly_when_the_template_changes(before in mk_deployment(), after in mk_deployment()) {
        let told = diff_objects(&before, &after).iter().any(|change| restarts_replicas(&change.path));
        prop_assert_eq!(told, before["spec"]["template"] != after["spec"]["template"]);
    }
}

#[test]
fn a_change_is_told_by_the_smallest_path() {
    let before = json!({"metadata": {"name": "shop", "labels": {"a.b/c": "1"}}, "spec": {"replicas": 3, "template": {"spec": {
        "containers": [{"name": "app", "image": "shop:1", "args": ["a"], "env": [{"name": "A", "value": "1"}]}, {"name": "old"}]}}}});
    let after = json!({"metadata": {"name": "shop", "labels": {"a.b/c": "2"}}, "spec": {"replicas": null, "template": {"spec": {
        "hostNetwork": true,
        "containers": [{"name": "app", "image": "shop:2", "args": ["a", "b"],
            "env": [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]}]}}}});
    let mut told: Vec<_> =
        diff_objects(&before, &after).into_iter().map(|c| (c.path, c.old, c.new)).collect();
    told.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [
        (r#"metadata.labels["a.b/c"]"#, Some(json!("1")), Some(json!("2"))),
        ("spec.replicas", Some(json!(3)), None),
        ("spec.template.spec.containers[app].args", Some(json!(["a"])), Some(json!(["a", "b"]))),
        ("spec.template.spec.containers[app].env[B]", None, Some(json!({"name": "B", "value": "2"}))),
        ("spec.template.spec.containers[app].image", Some(json!("shop:1")), Some(json!("shop:2"))),
        ("spec.template.spec.containers[old]", Some(json!({"name": "old"})), None),
        ("spec.template.spec.hostNetwork", None, Some(json!(true))),
    ];
    assert_eq!(told, expected.map(|(path, old, new)| (path.to_owned(), old, new)));
}

#[test]
fn ports_of_a_service_are_told_apart_by_number_and_protocol() {
    let port =
        |number: u16, protocol: &str, name: &str| json!({"port": number, "protocol": protocol, "name": name});
    let before = json!({"spec": {"ports": [port(53, "TCP", "dns"), port(53, "UDP", "dns-udp")]}});
    let after = json!({"spec": {"ports": [port(53, "UDP", "udp"), port(53, "TCP", "dns")]}});
    let told = diff_objects(&before, &after);
    let paths: Vec<_> = told.iter().map(|c| c.path.as_str()).collect();
    assert_eq!(paths, ["spec.ports[53,UDP].name", "spec.ports"]);
    assert_eq!(
        (&told[1].old, &told[1].new),
        (&Some(json!(["53", "53,UDP"])), &Some(json!(["53,UDP", "53"])))
    );
}

#[test]
fn a_list_whose_entries_cannot_be_told_apart_is_one_value() {
    let twice = json!({"spec": {"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}});
    let once = json!({"spec": {"env": [{"name": "A", "value": "1"}]}});
    let told = diff_objects(&twice, &once);
    assert_eq!(told.iter().map(|c| c.path.as_str()).collect::<Vec<_>>(), ["spec.env"]);
}

#[test]
fn only_the_template_restarts_replicas() {
    for path in [
        "spec.template",
        "spec.template.spec.containers[app].image",
        "spec.template.metadata.labels[\"a.b\"]",
    ] {
        assert!(restarts_replicas(path), "{path}");
    }
    for path in ["spec.replicas", "spec.templateX", "metadata.labels.x", "spec", ""] {
        assert!(!restarts_replicas(path), "{path}");
    }
}
