//! Refusals as Kubernetes 1.36 words them, and the fields of the request that they are about.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::{
    manifest::{RenderContext, render_deployment},
    name,
    revision::RENDERER,
    spec::Spec,
};

fn mk_content(patch: Value) -> Content {
    let spec = Spec {
        image: "shop:1".into(),
        env: [("A".to_owned(), "1".to_owned())].into(),
        pod_template_patch: Some(patch),
        ..Spec::default()
    };
    Content { spec, ..Content::default() }
}

/// Returns the fields that a refusal of this field of the Deployment is about.
fn blamed(patch: Value, path: &str, message: &str) -> Vec<String> {
    let content = mk_content(patch);
    let context = RenderContext {
        revision: 1,
        renderer: RENDERER,
        replicas: None,
        selector: [].into(),
        restarted: None,
    };
    let deployment = render_deployment(&name::App::new("prod", "shop"), &content, &context).unwrap();
    let refused =
        RefusedField { field: "app.spec".into(), path: path.to_owned(), message: message.to_owned() };
    let error = Error::Refused { object: "deployment.apps/shop".into(), fields: vec![refused] };
    let error = name_request_fields(error, &content, &deployment.manifest);
    let Error::Invalid(violations) = error else { panic!("{error}") };
    violations.into_iter().map(|v| v.field).collect()
}

#[test]
fn a_value_of_the_patch_is_named_where_the_patch_has_it() {
    let init = |entry: Value| json!({"spec": {"initContainers": [entry]}});
    let side =
        json!({"spec": {"containers": [{"name": "app", "tty": true}, {"name": "Side_Car", "image": "b:1"}]}});
    let mounts = json!({"spec": {"containers": [{"name": "app", "volumeMounts": [{"name": "no", "mountPath": "/x"}]}]}});
    for (patch, path, field) in [
        (json!({"spec": {"priority": "1"}}), ".spec.template.spec.priority", "spec.priority"),
        (json!({"spec": {"foo": 1}}), ".spec.template.spec.foo", "spec.foo"),
        (json!({"foo": 1}), ".spec.template.foo", "foo"),
        (json!({"spec": {"restartPolicy": "x"}}), "spec.template.spec.restartPolicy", "spec.restartPolicy"),
        (json!({"spec": {"tolerations": {"a": 1}}}), ".spec.template.spec.tolerations", "spec.tolerations"),
        (
            json!({"spec": {"tolerations": [{}, {"key": 1}]}}),
            ".spec.template.spec.tolerations[1].key",
            "spec.tolerations[1].key",
        ),
        (
            json!({"spec": {"nodeSelector": {"a.b/c": 1}}}),
            ".spec.template.spec.nodeSelector.a.b/c",
            "spec.nodeSelector[\"a.b/c\"]",
        ),
        (json!({"metadata": {"labels": {"a b": "x"}}}), "spec.template.labels", "metadata.labels"),
        (
            json!({"spec": {"volumes": [{"name": "Bad_Name", "emptyDir": {}}]}}),
            "spec.template.spec.volumes[0].name",
            "spec.volumes[0].name",
        ),
        (
            json!({"spec": {"volumes": [{"name": "a", "foo": 1}]}}),
            ".spec.template.spec.volumes[name=\"a\"].foo",
            "spec.volumes[0].foo",
        ),
        (
            json!({"spec": {"imagePullSecrets": [{"name": "a"}, {"name": 1}]}}),
            ".spec.template.spec.imagePullSecrets[name=1].name",
            "spec.imagePullSecrets[1].name",
        ),
        (
            init(json!({"name": "Bad_Init", "image": "a:1"})),
            "spec.template.spec.initContainers[0].name",
            "spec.initContainers[0].name",
        ),
        (
            init(json!({"name": "i", "image": "a:1", "env": [{"name": "A", "value": 1}]})),
            ".spec.template.spec.initContainers[name=\"i\"].env[name=\"A\"].value",
            "spec.initContainers[0].env[0].value",
        ),
        (
            init(json!({"name": "i", "ports": [{"containerPort": "x"}]})),
            ".spec.template.spec.initContainers[name=\"i\"].ports[containerPort=\"x\",protocol=\"TCP\"].containerPort",
            "spec.initContainers[0].ports[0].containerPort",
        ),
        (json!({"a.b/c": 1}), ".spec.template.a.b/c", "[\"a.b/c\"]"),
        // The second entry with a key is merged into the first.
        (
            json!({"spec": {"volumes": [{"name": "a", "emptyDir": {}}, {"name": "a", "foo": 1}]}}),
            ".spec.template.spec.volumes[name=\"a\"].foo",
            "spec.volumes[1].foo",
        ),
        (
            init(
                json!({"name": "i", "ports": [{"containerPort": 53}, {"containerPort": 54, "protocol": true}]}),
            ),
            ".spec.template.spec.initContainers[name=\"i\"].ports[containerPort=54,protocol=].protocol",
            "spec.initContainers[0].ports[1].protocol",
        ),
        // Kubernetes leaves the position out.
        (
            json!({"spec": {"volumes": [{"name": "a", "downwardAPI": {"items": [{"fieldRef": {"fieldPath": " "}}]}}]}}),
            "spec.template.spec.volumes[0].downwardAPI.fieldRef.fieldPath",
            "spec.volumes[0].downwardAPI",
        ),
        // What is missing is named too.
        (
            json!({"spec": {"volumes": [{"name": "a", "ephemeral": {"volumeClaimTemplate": {}}}]}}),
            "spec.template.spec.volumes[0].ephemeral.volumeClaimTemplate.spec.accessModes",
            "spec.volumes[0].ephemeral.volumeClaimTemplate",
        ),
        (
            init(json!({"name": "i"})),
            "spec.template.spec.initContainers[0].image",
            "spec.initContainers[0].image",
        ),
        (side.clone(), "spec.template.spec.containers[1].name", "spec.containers[1].name"),
        (
            mounts,
            "spec.template.spec.containers[0].volumeMounts[0].name",
            "spec.containers[0].volumeMounts[0].name",
        ),
    ] {
        assert_eq!(blamed(patch, path, "why"), [of_patch(field)], "{path}");
    }
}

#[test]
fn a_grace_period_of_the_patch_is_named_for_what_it_leaves_no_time() {
    let path = "spec.template.spec.containers[0].lifecycle.preStop.sleep";
    let why = "Invalid value: 5: must be non-negative and less than terminationGracePeriodSeconds (3)";
    let patch = json!({"spec": {"terminationGracePeriodSeconds": 3}});
    assert_eq!(blamed(patch, path, why), [of_patch("spec.terminationGracePeriodSeconds")]);
    assert_eq!(blamed(json!({}), path, why), ["app.spec"]);
}

#[test]
fn a_value_of_a_field_is_named_by_the_field() {
    let patch = || json!({"spec": {"containers": [{"name": "app", "tty": true}]}});
    for (path, field) in [
        ("spec.template.spec.containers[0].name", "app.spec.container"),
        ("spec.template.spec.containers[0].image", "app.spec.image"),
        ("spec.template.spec.containers[0].env[0].name", "app.spec.env"),
        ("spec.strategy.type", "app.spec"),
    ] {
        assert_eq!(blamed(patch(), path, "why"), [field], "{path}");
    }
}

#[test]
fn what_cannot_be_converted_is_found_in_the_patch() {
    const FLOAT: &str = "cannot convert float64 to int32";
    const QUANTITY: &str =
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
    let resources = |cpu: Value| json!({"spec": {"containers": [{"name": "app", "resources": {"limits": {"cpu": cpu}}}]}});
    let port = |port: Value| json!({"spec": {"containers": [{"name": "app", "livenessProbe": {"httpGet": {"port": port}}}]}});
    for (patch, message, fields) in [
        (json!({"spec": {"priority": 1.5}}), FLOAT, &["spec.priority"][..]),
        (
            json!({"spec": {"tolerations": [{"tolerationSeconds": 0.5}], "priority": 1.5, "overhead": {"cpu": 0.5}}}),
            "cannot convert float64 to int64",
            &["spec.priority", "spec.tolerations[0].tolerationSeconds"],
        ),
        (resources(json!("lots")), QUANTITY, &["spec.containers[0].resources.limits.cpu"]),
        (resources(json!(true)), QUANTITY, &["spec.containers[0].resources.limits.cpu"]),
        (
            json!({"spec": {"volumes": [{"name": "a", "emptyDir": {"sizeLimit": "1Zi"}}]}}),
            QUANTITY,
            &["spec.volumes[0].emptyDir.sizeLimit"],
        ),
        (
            port(json!(2_147_483_648_i64)),
            "json: cannot unmarshal number 2147483648 into Go value of type int32",
            &["spec.containers[0].livenessProbe.httpGet.port"],
        ),
        (
            port(json!(1.5)),
            "json: cannot unmarshal number 1.5 into Go value of type int32",
            &["spec.containers[0].livenessProbe.httpGet.port"],
        ),
        (
            port(json!({"a": 1})),
            "json: cannot unmarshal object into Go value of type int32",
            &["spec.containers[0].livenessProbe.httpGet.port"],
        ),
        (
            json!({"metadata": {"creationTimestamp": "x"}}),
            "parsing time \"x\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"x\" as \"2006\"",
            &["metadata.creationTimestamp"],
        ),
    ] {
        let expected: Vec<_> = fields.iter().map(|field| format!("{PATCH}.{field}")).collect();
        let mut found = blamed(patch.clone(), "", message);
        found.sort();
        assert_eq!(found, expected, "{patch}");
    }
    assert_eq!(blamed(json!({"spec": {"priority": 1}}), "", "words of a later version"), [PATCH]);
}

proptest! {
    #[test]
    fn no_path_is_endless(path in r#"(spec\.template\.)?[a-z0-9.="\[\]é]{0,40}"#) {
        let patch = json!({"spec": {"volumes": [{"name": "a"}], "é": {"a.b": [[1]]}}});
        prop_assert_eq!(blamed(patch, &path, "why").len(), 1);
    }
}
