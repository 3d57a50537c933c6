//! A patch merges as in Kubernetes, and changes nothing that a set field rendered.

use serde_json::json;

use super::*;

fn owned() -> Vec<OwnedField> {
    vec![
        OwnedField { path: "spec.containers[app].image".into(), field: "image" },
        OwnedField { path: "spec.containers[app].env[A]".into(), field: "env" },
    ]
}

fn template() -> Value {
    json!({"metadata": {"labels": {"x": "y"}}, "spec": {"containers": [
        {"name": "app", "image": "shop:1", "env": [{"name": "A", "value": "1"}], "args": ["a", "b"]}]}})
}

#[test]
fn maps_and_keyed_lists_merge_and_other_lists_are_replaced() {
    let patch = json!({"metadata": {"annotations": {"sim/cpu": "1"}, "labels": {"x": null}},
        "spec": {"hostNetwork": true, "containers": [
            {"name": "app", "args": ["c"], "env": [{"name": "B", "value": "2"}]}, {"name": "proxy", "image": "p:1"}]}});
    let merged = apply_patch(&template(), &patch, &owned()).unwrap();
    assert_eq!(
        merged,
        json!({"metadata": {"labels": {}, "annotations": {"sim/cpu": "1"}}, "spec": {"hostNetwork": true, "containers": [
            {"name": "app", "image": "shop:1", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}], "args": ["c"]},
            {"name": "proxy", "image": "p:1"}]}})
    );
}

#[test]
fn what_a_field_rendered_cannot_be_touched() {
    for patch in [
        json!({"spec": {"containers": [{"name": "app", "image": "evil:1"}]}}),
        json!({"spec": {"containers": [{"name": "app", "env": [{"name": "A", "value": "2"}]}]}}),
        json!({"spec": {"containers": [{"name": "app", "env": null}]}}),
        json!({"spec": {"containers": null}}),
        json!({"spec": null}),
    ] {
        let error = apply_patch(&template(), &patch, &owned()).unwrap_err();
        assert!(matches!(error, Invalid::Touches { .. }), "{patch}: {error}");
    }
}

#[test]
fn wrong_shapes_are_refused() {
    assert!(apply_patch(&template(), &json!([]), &owned()).is_err());
    assert_eq!(
        apply_patch(&template(), &json!({"spec": {"containers": [{"image": "x"}]}}), &owned()).unwrap_err(),
        Invalid::NoKey { path: "spec.containers".into(), key: "name" }
    );
}

#[test]
fn an_empty_patch_changes_nothing() {
    assert_eq!(apply_patch(&template(), &json!({}), &owned()).unwrap(), template());
}
