//! Rendering is pure and changes pods only when it must, and a patch cannot touch what a set field rendered.

use std::{collections::BTreeMap, time::Duration};

use proptest::{collection::vec, option, prelude::*};
use serde_json::{Value, json};

mod fields;

use super::{Kind, Object, RenderContext, owned::owned_fields};
use crate::domain::{
    keyed_lists,
    labels::APP_LABEL,
    name,
    pod_template_patch::{self, Invalid},
    revision::RENDERER,
    service_ports::{Templates, decide_entries},
    spec::{
        Content, Port, Protocol, Resources, RolloutPolicy, Spec, Strategy as Order,
        arbitrary::mk_any_content as mk_content, whole_seconds,
    },
};

fn own(name: &name::App) -> BTreeMap<String, String> {
    [(APP_LABEL.to_owned(), name.app.clone())].into()
}

fn deployment(
    name: &name::App,
    content: &Content,
    revision: u64,
    replicas: Option<i32>,
) -> Result<Object, Invalid> {
    super::render_deployment(
        name,
        content,
        &RenderContext { revision, renderer: RENDERER, replicas, selector: own(name), restarted: None },
    )
}

fn service(name: &name::App, content: &Content) -> Option<Object> {
    let templates = Templates { earlier: &[], new: &content.spec.ports };
    let entries = decide_entries(templates, &BTreeMap::new(), &[]);
    (!entries.is_empty()).then(|| super::render_service(name, content, &own(name), &entries))
}

fn budget(name: &name::App, content: &Content) -> Object {
    super::render_budget(name, content, &own(name))
}

fn shop() -> name::App {
    name::App::new("prod", "shop")
}

fn mk_map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// An app with every field set that affects the pod template.
fn mk_full() -> Content {
    let spec = Spec {
        image: "registry.acme.io/shop:1.4".into(),
        replicas: Some(3),
        ports: vec![Port { name: "http".into(), number: 8080, protocol: Protocol::Http }],
        command: vec!["/shop".into()],
        args: vec!["--verbose".into()],
        env: mk_map(&[("MODE", "live")]),
        resources: Some(Resources {
            requests: mk_map(&[("cpu", "250m"), ("memory", "256Mi")]),
            limits: mk_map(&[("memory", "256Mi"), ("acme.io/gpu", "1")]),
        }),
        termination_grace: Some(Duration::from_secs(60)),
        ..Spec::default()
    };
    Content { labels: mk_map(&[("team", "web"), ("app", "x")]), spec, ..Content::default() }
}

/// The app of the demo, with requests and limits.
fn mk_demo() -> Content {
    let spec = Spec {
        image: "my-app:1.0".into(),
        replicas: Some(3),
        ports: vec![Port { name: "http".into(), number: 8080, protocol: Protocol::Http }],
        resources: Some(Resources {
            requests: mk_map(&[("cpu", "250m"), ("memory", "256Mi")]),
            limits: mk_map(&[("memory", "256Mi")]),
        }),
        ..Spec::default()
    };
    Content { spec, ..Content::default() }
}

fn rendered(content: &Content) -> Value {
    deployment(&shop(), content, 1, Some(3)).unwrap().manifest
}

fn template(content: &Content) -> Value {
    rendered(content)["spec"]["template"].clone()
}

fn patched(content: &Content, patch: Value) -> Result<Value, Invalid> {
    let mut content = content.clone();
    content.spec.pod_template_patch = Some(patch);
    deployment(&shop(), &content, 1, None).map(|object| object.manifest["spec"]["template"].clone())
}

proptest! {
    // Another daemon that reads the content from a revision renders it to the same bytes.
    #[test]
    fn stored_content_is_rendered_to_the_same_bytes(content in mk_content(), revision in 1u64.., replicas in option::of(0..9)) {
        let stored: Content = serde_json::from_str(&serde_json::to_string(&content).unwrap()).unwrap();
        let bytes = |c: &Content| {
            let objects = [deployment(&shop(), c, revision, replicas).ok(), service(&shop(), c), Some(budget(&shop(), c))];
            objects.map(|o| o.map(|o| serde_json::to_string(&o.manifest).unwrap()))
        };
        prop_assert_eq!(bytes(&content), bytes(&stored));
        prop_assert!(deployment(&shop(), &content, 1, None).is_ok());
    }

    #[test]
    fn selectors_hold_our_label_alone_and_match_the_pods(content in mk_content()) {
        let ours = json!({APP_LABEL: "shop"});
        let manifest = rendered(&content);
        prop_assert_eq!(&manifest["spec"]["selector"], &json!({"matchLabels": &ours}));
        prop_assert_eq!(&budget(&shop(), &content).manifest["spec"]["selector"], &json!({"matchLabels": &ours}));
        let service = service(&shop(), &content);
        prop_assert_eq!(service.is_some(), !content.spec.ports.is_empty());
        prop_assert!(service.is_none_or(|s| s.manifest["spec"]["selector"] == ours));
        let labels = &manifest["spec"]["template"]["metadata"]["labels"];
        prop_assert_eq!(&labels[APP_LABEL], "shop");
        for (key, value) in &content.labels {
            prop_assert_eq!(&labels[key], value);
            prop_assert_eq!(&manifest["metadata"]["labels"][key], value);
        }
    }

    #[test]
    fn pods_stay_when_only_count_annotations_or_policy_change(one in mk_content(), other in mk_content(), revision in 1u64..) {
        let mut changed = one.clone();
        changed.annotations = other.annotations;
        changed.spec.replicas = other.spec.replicas;
        changed.spec.rollout_policy = other.spec.rollout_policy;
        let later = deployment(&shop(), &changed, revision, other.spec.replicas).unwrap().manifest;
        prop_assert_eq!(&later["spec"]["template"], &template(&one));
        prop_assert_eq!(&later["metadata"]["annotations"]["gantry.dev/revision"], &revision.to_string());
        for (key, value) in &changed.annotations {
            prop_assert_eq!(&later["metadata"]["annotations"][key], value);
        }
    }

    #[test]
    fn pods_are_replaced_when_image_env_or_labels_change(one in mk_content(), other in mk_content(), which in 0..3) {
        let mut changed = one.clone();
        match which {
            0 => changed.spec.image = other.spec.image,
            1 => changed.spec.env = other.spec.env,
            _ => changed.labels = other.labels,
        }
        prop_assert_eq!(template(&changed) == template(&one), changed == one);
    }

    #[test]
    fn the_wait_before_the_signal_to_stop_is_as_asked_or_leaves_half_of_the_grace(content in mk_content()) {
        let pod = template(&content)["spec"].clone();
        let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
        let wait = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap_or(0);
        let unset = if content.spec.ports.is_empty() { 0 } else { (grace / 2).min(5) };
        prop_assert_eq!(wait, content.spec.drain_delay.map_or(unset, whole_seconds));
        prop_assert!(wait <= grace);
    }

    #[test]
    fn a_patch_of_nothing_changes_nothing(content in mk_content()) {
        prop_assert_eq!(patched(&content, json!({})).unwrap(), template(&content));
    }

    // The rendering of another content serves as a patch that touches many fields.
    #[test]
    fn a_patch_leaves_what_fields_set_and_is_the_same_twice(one in mk_content(), other in mk_content(), choices in vec(0u8..6, 300)) {
        let mut patch = template(&other);
        cut(&mut patch, &mut choices.into_iter());
        let (before, owned) = (template(&one), owned_fields(&one, RENDERER));
        if let Ok(after) = pod_template_patch::apply_patch(&before, &patch, &owned) {
            for place in &owned {
                prop_assert_eq!(keyed_lists::path::get(&before, &place.path), keyed_lists::path::get(&after, &place.path), "{:?}", place);
            }
            prop_assert_eq!(pod_template_patch::apply_patch(&after, &patch, &owned), Ok(after));
        }
    }

    #[test]
    fn every_place_that_a_field_set_is_there_and_refused(content in mk_content()) {
        let before = template(&content);
        for place in owned_fields(&content, RENDERER) {
            prop_assert!(keyed_lists::path::get(&before, &place.path).is_some(), "{:?} owns nothing", place);
            // The key of an entry cannot be changed, because another key means another entry.
            if place.path.rsplit('.').next() == Some("name") {
                continue;
            }
            let leaf = if place.path.ends_with(']') && !place.path.ends_with("\"]") { json!({"x": "y"}) } else { json!("x-y") };
            let patch = keyed_lists::path::mk_patch(&place.path, leaf);
            let refused = patched(&content, patch.clone());
            prop_assert!(
                matches!(&refused, Err(Invalid::Touches { field, .. }) if *field == place.field || place.field == "labels"),
                "{} {:?}", patch, refused
            );
        }
    }
}

/// Removes some fields and sets others to null, as `choices` say.
fn cut(value: &mut Value, choices: &mut impl Iterator<Item = u8>) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| {
                choices.next() != Some(0) || ["name", "containerPort", "mountPath"].contains(&key.as_str())
            });
            for (key, value) in map
                .iter_mut()
                .filter(|(key, _)| !["name", "containerPort", "mountPath"].contains(&key.as_str()))
            {
                match choices.next() {
                    Some(1) if key != "spec" && key != "containers" => *value = Value::Null,
                    _ => cut(value, choices),
                }
            }
        }
        Value::Array(items) => {
            items.retain(|_| choices.next() != Some(0));
            for item in items {
                cut(item, choices);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_count_is_left_out_for_others_to_own() {
    let manifest = |replicas| deployment(&shop(), &mk_demo(), 1, replicas).unwrap().manifest;
    assert_eq!(manifest(None)["spec"].get("replicas"), None);
    assert_eq!(manifest(Some(0))["spec"]["replicas"], 0);
}

#[test]
fn the_app_of_the_demo_is_rendered_like_this() {
    let labels = json!({"app.kubernetes.io/name": "shop", "app.kubernetes.io/managed-by": "gantry", "gantry.dev/app": "shop"});
    let selector = json!({"matchLabels": {"gantry.dev/app": "shop"}});
    let spread = |key: &str| {
        json!({"topologyKey": key, "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": selector,
            "matchLabelKeys": ["pod-template-hash"]})
    };
    let container = json!({
        "name": "app",
        "image": "my-app:1.0",
        "securityContext": {"allowPrivilegeEscalation": false},
        "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "256Mi"}},
        "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
        "readinessProbe": {"tcpSocket": {"port": "http"}},
        "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
    });
    let expected = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "shop", "namespace": "prod", "labels": labels, "annotations": {"gantry.dev/revision": "7"}},
        "spec": {
            "replicas": 3,
            "selector": selector,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
            "progressDeadlineSeconds": 600,
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "containers": [container],
                    "serviceAccountName": "default",
                    "automountServiceAccountToken": false,
                    "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
                    "terminationGracePeriodSeconds": 30,
                    "topologySpreadConstraints": [spread("topology.kubernetes.io/zone"), spread("kubernetes.io/hostname")],
                },
            },
        },
    });
    assert_eq!(
        deployment(&shop(), &mk_demo(), 7, Some(3)).unwrap(),
        Object { kind: Kind::Deployment, manifest: expected }
    );

    let expected = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "shop", "namespace": "prod", "labels": labels},
        "spec": {"selector": {"gantry.dev/app": "shop"},
            "ports": [{"name": "http", "port": 8080, "targetPort": "http", "protocol": "TCP", "appProtocol": "http"}]},
    });
    assert_eq!(service(&shop(), &mk_demo()), Some(Object { kind: Kind::Service, manifest: expected }));

    let expected = json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "shop", "namespace": "prod", "labels": labels},
        "spec": {"selector": selector, "maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow"},
    });
    assert_eq!(budget(&shop(), &mk_demo()), Object { kind: Kind::Budget, manifest: expected });
}

#[test]
fn the_strategy_is_rendered_as_kubernetes_wants_it() {
    let strategy = |policy| {
        let mut content = mk_demo();
        content.spec.rollout_policy = Some(policy);
        rendered(&content)["spec"]["strategy"].clone()
    };
    let sized =
        RolloutPolicy { max_surge: "2".into(), max_unavailable: "10%".into(), ..RolloutPolicy::default() };
    assert_eq!(strategy(sized)["rollingUpdate"], json!({"maxSurge": 2, "maxUnavailable": "10%"}));
    let recreate =
        RolloutPolicy { strategy: Order::Recreate, max_surge: "2".into(), ..RolloutPolicy::default() };
    assert_eq!(strategy(recreate), json!({"type": "Recreate"}));
}

#[test]
fn a_port_says_its_protocol_to_those_who_route() {
    let protocol = |protocol| {
        let mut content = mk_demo();
        content.spec.ports[0].protocol = protocol;
        service(&shop(), &content).unwrap().manifest["spec"]["ports"][0]["appProtocol"].clone()
    };
    let protocols = [Protocol::Tcp, Protocol::Http, Protocol::Grpc].map(protocol);
    assert_eq!(protocols, [json!(null), json!("http"), json!("kubernetes.io/h2c")]);
}

#[test]
fn a_patch_may_not_touch_what_a_field_rendered() {
    let app = |change: Value| {
        let mut entry = json!({"name": "app"});
        entry.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        json!({"spec": {"containers": [entry]}})
    };
    let label = |key: &str, value: Value| json!({"metadata": {"labels": {key: value}}});
    for (patch, field) in [
        (app(json!({"image": "evil:1"})), "spec.image"),
        (app(json!({"image": null})), "spec.image"),
        (app(json!({"command": ["sh"]})), "spec.command"),
        (app(json!({"args": null})), "spec.args"),
        (app(json!({"env": [{"name": "MODE", "value": "test"}]})), "spec.env"),
        (
            app(
                json!({"env": [{"name": "MODE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}),
            ),
            "spec.env",
        ),
        (app(json!({"env": null})), "spec.env"),
        (app(json!({"ports": [{"containerPort": 8080, "hostPort": 80}]})), "spec.ports"),
        (app(json!({"ports": null})), "spec.ports"),
        (app(json!({"resources": {"requests": {"cpu": "4"}}})), "spec.resources"),
        (app(json!({"resources": {"limits": {"acme.io/gpu": null}}})), "spec.resources"),
        (app(json!({"resources": {"limits": null}})), "spec.resources"),
        (app(json!({"resources": null})), "spec.resources"),
        (json!({"spec": {"terminationGracePeriodSeconds": 1}}), "spec.termination_grace"),
        (label("team", json!("ops")), "labels"),
        (label("gantry.dev/app", json!("other")), "name"),
        (label("app.kubernetes.io/name", json!(null)), "name"),
        (label("app.kubernetes.io/managed-by", json!("helm")), "name"),
        (json!({"metadata": {"labels": null}}), "name"),
        (json!({"metadata": null}), "name"),
        (json!({"spec": {"containers": null}}), "spec.container"),
        (json!({"spec": null}), "spec.container"),
    ] {
        let error = patched(&mk_full(), patch.clone()).unwrap_err();
        assert!(matches!(&error, Invalid::Touches { field: f, .. } if *f == field), "{patch}: {error}");
        let mut content = mk_full();
        content.spec.pod_template_patch = Some(patch);
        assert_eq!(deployment(&shop(), &content, 1, None), Err(error));
    }
}

#[test]
fn a_patch_may_change_what_no_field_set() {
    let plain = Content { labels: mk_map(&[("app", "x")]), ..mk_demo() };
    for (patch, at, expected) in [
        (json!({"metadata": {"annotations": {"a/b": "c"}}}), "/metadata/annotations/a~1b", json!("c")),
        // Extends the key of a label that is set, and is not below it.
        (
            json!({"metadata": {"labels": {"app.kubernetes.io/part-of": "x"}}}),
            "/metadata/labels/app.kubernetes.io~1part-of",
            json!("x"),
        ),
        (
            json!({"spec": {"terminationGracePeriodSeconds": 1}}),
            "/spec/terminationGracePeriodSeconds",
            json!(1),
        ),
        (json!({"spec": {"serviceAccountName": "shop"}}), "/spec/serviceAccountName", json!("shop")),
        (
            json!({"spec": {"containers": [{"name": "app", "readinessProbe": null}]}}),
            "/spec/containers/0/readinessProbe",
            json!(null),
        ),
        (
            json!({"spec": {"containers": [{"name": "app", "command": ["sh"]}]}}),
            "/spec/containers/0/command",
            json!(["sh"]),
        ),
        (
            json!({"spec": {"containers": [{"name": "app", "resources": {"limits": {"cpu": "1"}}}]}}),
            "/spec/containers/0/resources/limits/cpu",
            json!("1"),
        ),
        (
            json!({"spec": {"containers": [{"name": "app", "image": "my-app:1.0"}]}}),
            "/spec/containers/0/image",
            json!("my-app:1.0"),
        ),
        (
            json!({"spec": {"containers": [{"name": "proxy", "image": "p:1"}]}}),
            "/spec/containers/1/image",
            json!("p:1"),
        ),
    ] {
        let template = patched(&plain, patch.clone()).unwrap_or_else(|error| panic!("{patch}: {error}"));
        assert_eq!(template.pointer(at).cloned().unwrap_or_default(), expected, "{patch}");
        assert_eq!(template["spec"]["containers"][0]["image"], "my-app:1.0");
    }
}

// Without this field, the pod would keep the service account of an earlier patch.
#[test]
fn pods_run_under_the_default_account_unless_a_patch_names_another() {
    let account = |patch| patched(&mk_demo(), patch).unwrap()["spec"]["serviceAccountName"].clone();
    assert_eq!(template(&mk_demo())["spec"]["serviceAccountName"], "default");
    assert_eq!(account(json!({"spec": {"hostNetwork": true}})), "default");
    assert_eq!(account(json!({"spec": {"serviceAccountName": "shop"}})), "shop");
}
