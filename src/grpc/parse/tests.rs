//! Tests that every rule names the field that breaks it, that a request is refused if this version cannot do
//! it, and that an app that is read and sent back unchanged means the same.

mod spec;

use std::{collections::BTreeMap, time::Duration};

use proptest::{collection::btree_map, collection::vec, option, prelude::*};
use prost_types::{FieldMask, ListValue, Struct, Value, value::Kind};
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{
    parse_delete, parse_deploy, parse_duration, parse_parent, parse_scope, parse_selector, parse_states,
};
use crate::domain::caller::Caller;
use crate::{
    domain::{
        Error, app,
        mask::Mask,
        name::{self, Scope},
        spec::{Spec, arbitrary::mk_any_content},
    },
    grpc::convert,
    pb,
};

type Change = fn(&mut pb::DeployAppRequest, &mut pb::AppSpec);

fn mk_request(change: Change) -> pb::DeployAppRequest {
    let mut request = pb::DeployAppRequest {
        app: Some(pb::App { name: "namespaces/prod/apps/shop".into(), ..pb::App::default() }),
        ..pb::DeployAppRequest::default()
    };
    let mut spec = pb::AppSpec { image: "shop:1".into(), ..pb::AppSpec::default() };
    change(&mut request, &mut spec);
    if let Some(app) = &mut request.app {
        app.spec = Some(spec);
    }
    request
}

fn mk_map(key: &str, value: &str) -> BTreeMap<String, String> {
    [(key.to_owned(), value.to_owned())].into()
}

fn mk_port(name: &str, number: i32) -> pb::Port {
    pb::Port { name: name.into(), number, protocol: 0 }
}

fn mk_duration(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

fn app(request: &mut pb::DeployAppRequest) -> &mut pb::App {
    request.app.as_mut().unwrap()
}

fn policy(spec: &mut pb::AppSpec) -> &mut pb::RolloutPolicy {
    spec.rollout_policy.get_or_insert_default()
}

fn resources(spec: &mut pb::AppSpec) -> &mut pb::Resources {
    spec.resources.get_or_insert_default()
}

/// Returns the fields that an error names.
fn wrong(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert_eq!(details.error_info().unwrap().reason, "INVALID_FIELD");
    let violations = &details.bad_request().unwrap().field_violations;
    assert!(violations.iter().all(|v| v.description.len() > 5), "{violations:?}");
    violations.iter().map(|v| v.field.clone()).collect()
}

fn parsed(change: Change) -> Spec {
    parse_deploy(mk_request(change), &Caller::named("ann")).unwrap().content.spec
}

#[test]
fn every_rule_names_the_field_that_breaks_it() {
    #[rustfmt::skip] // a rule is a line
    let rules: &[(Change, &str)] = &[
        (|r, _| r.app = None, "app"),
        (|r, _| app(r).name.clear(), "app.name"),
        (|r, _| app(r).name = "namespaces/prod/apps/3scale".into(), "app.name"),
        (|r, _| app(r).name = format!("namespaces/prod/apps/{}", "a".repeat(54)), "app.name"),
        (|r, _| r.update_mask = Some(FieldMask { paths: vec!["spec.colour".into()] }), "update_mask"),
        (|r, _| r.update_mask = Some(FieldMask { paths: vec!["*".into(), "spec".into()] }), "update_mask"),
        (|r, _| r.concurrency = 9, "concurrency"),
        (|r, _| app(r).labels = mk_map("app.kubernetes.io/name", "x"), "app.labels[app.kubernetes.io/name]"),
        (|r, _| app(r).labels = mk_map("app.kubernetes.io/managed-by", "x"), "app.labels[app.kubernetes.io/managed-by]"),
        (|r, _| app(r).labels = mk_map("gantry.dev/x", "x"), "app.labels[gantry.dev/x]"),
        (|r, _| app(r).labels = mk_map("pod-template-hash", "x"), "app.labels[pod-template-hash]"),
        (|_, s| s.security_profile = 9, "app.spec.security_profile"),
        (|_, s| policy(s).on_failure = 9, "app.spec.rollout_policy.on_failure"),
        (|_, s| s.pod_template_patch = Some(Struct { fields: [("x".to_owned(), f64::NAN.into())].into() }), "app.spec.pod_template_patch"),
        (|r, _| app(r).labels = mk_map("a b", "x"), "app.labels[a b]"),
        (|r, _| app(r).labels = mk_map("team", "a b"), "app.labels[team]"),
        (|r, _| app(r).labels = mk_map("team", &"x".repeat(64)), "app.labels[team]"),
        (|r, _| app(r).annotations = mk_map("gantry.dev/revision", "9"), "app.annotations[gantry.dev/revision]"),
        (|r, _| app(r).annotations = mk_map("deployment.kubernetes.io/revision", "9"), "app.annotations[deployment.kubernetes.io/revision]"),
        (|r, _| app(r).annotations = mk_map("", "x"), "app.annotations[]"),
        (|r, _| app(r).annotations = mk_map("note", &"x".repeat(16 * 1024 - 3)), "app.annotations"),
        (|_, s| s.image = "shop 1".into(), "app.spec.image"),
        (|_, s| s.image = "x".repeat(1025), "app.spec.image"),
        (|_, s| s.replicas = Some(-1), "app.spec.replicas"),
        (|_, s| s.replicas = Some(10_001), "app.spec.replicas"),
        (|_, s| s.container = "App".into(), "app.spec.container"),
        (|_, s| s.env = mk_map("A=B", "x"), "app.spec.env[A=B]"),
        (|_, s| s.env = mk_map("", "x"), "app.spec.env[]"),
        (|_, s| s.ports = (1..=33).map(|n| mk_port(&format!("p{n}"), n)).collect(), "app.spec.ports"),
        (|_, s| s.ports = vec![mk_port("", 80)], "app.spec.ports[0].name"),
        (|_, s| s.ports = vec![mk_port("8080", 80)], "app.spec.ports[0].name"),
        (|_, s| s.ports = vec![mk_port("sixteen-letters-", 80)], "app.spec.ports[0].name"),
        (|_, s| s.ports = vec![mk_port("a", 80), mk_port("a", 81)], "app.spec.ports[1].name"),
        (|_, s| s.ports = vec![mk_port("a", 80), mk_port("b", 80)], "app.spec.ports[1].number"),
        (|_, s| s.ports = vec![mk_port("a", 0)], "app.spec.ports[0].number"),
        (|_, s| s.ports = vec![mk_port("a", 65_536)], "app.spec.ports[0].number"),
        (|_, s| s.ports = vec![pb::Port { protocol: 9, ..mk_port("a", 80) }], "app.spec.ports[0].protocol"),
        (|_, s| resources(s).requests = mk_map("cpu", "much"), "app.spec.resources.requests[cpu]"),
        (|_, s| resources(s).limits = mk_map("cpu", "-1"), "app.spec.resources.limits[cpu]"),
        (|_, s| *resources(s) = pb::Resources { requests: mk_map("cpu", "2"), limits: mk_map("cpu", "500m") }, "app.spec.resources.requests[cpu]"),
        (|_, s| policy(s).max_surge = "1.5".into(), "app.spec.rollout_policy.max_surge"),
        (|_, s| policy(s).max_unavailable = "1000%".into(), "app.spec.rollout_policy.max_unavailable"),
        (|_, s| policy(s).max_surge = "0%".into(), "app.spec.rollout_policy.max_surge"),
        (|_, s| policy(s).strategy = 9, "app.spec.rollout_policy.strategy"),
        (|_, s| policy(s).verdict = 9, "app.spec.rollout_policy.verdict"),
        (|_, s| policy(s).progress_timeout = Some(mk_duration(0)), "app.spec.rollout_policy.progress_timeout"),
        (|_, s| policy(s).tolerated_restarts = Some(-1), "app.spec.rollout_policy.tolerated_restarts"),
        (|_, s| policy(s).transient_grace = Some(mk_duration(-1)), "app.spec.rollout_policy.transient_grace"),
        (|_, s| s.termination_grace = Some(mk_duration(1 << 32)), "app.spec.termination_grace"),
    ];
    for (change, field) in rules {
        assert_eq!(wrong(&parse_deploy(mk_request(*change), &Caller::named("ann")).unwrap_err()), [*field]);
    }
}

#[test]
fn what_is_just_within_the_rules_is_taken() {
    let changes: &[Change] = &[
        |_, _| {},
        |r, _| app(r).name = format!("namespaces/prod/apps/{}", "a".repeat(53)),
        |r, _| r.reason = "ü".repeat(1024),
        |r, _| app(r).annotations = mk_map("note", &"x".repeat(16 * 1024 - 4)),
        |r, _| app(r).labels = mk_map("acme.io/team", &"x".repeat(63)),
        |r, _| app(r).annotations = mk_map("Acme.io/Note", "x"),
        |_, s| s.replicas = Some(10_000),
        |_, s| s.ports = vec![mk_port("fifteen-letters", 65_535), mk_port("a", 1)],
        |_, s| *resources(s) = pb::Resources { requests: mk_map("cpu", "2"), limits: mk_map("cpu", "2000m") },
        |_, s| {
            policy(s).max_surge = "0".into();
            policy(s).max_unavailable = "1".into();
        },
        |_, s| policy(s).transient_grace = Some(mk_duration(0)),
    ];
    for (i, change) in changes.iter().enumerate() {
        assert!(parse_deploy(mk_request(*change), &Caller::named("ann")).is_ok(), "change {i}");
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let request = mk_request(|request, spec| {
        app(request).name = "shop".into();
        app(request).labels = mk_map("gantry.dev/x", "a b");
        spec.replicas = Some(-1);
        spec.ports = vec![mk_port("UP", 0), mk_port("UP", 80)];
        policy(spec).progress_timeout = Some(mk_duration(-1));
    });
    let expected = [
        "app.name",
        "app.labels[gantry.dev/x]",
        "app.labels[gantry.dev/x]",
        "app.spec.replicas",
        "app.spec.ports[0].name",
        "app.spec.ports[0].number",
        "app.spec.ports[1].name",
        "app.spec.ports[1].name",
        "app.spec.rollout_policy.progress_timeout",
    ];
    assert_eq!(wrong(&parse_deploy(request, &Caller::named("ann")).unwrap_err()), expected);
}

#[test]
fn the_default_named_is_the_default_unset() {
    let named = parsed(|_, spec| {
        policy(spec).on_failure = pb::OnFailure::Keep.into();
        policy(spec).verdict = pb::Verdict::FailFast.into();
        policy(spec).strategy = pb::Strategy::Rolling.into();
    });
    let unset = parsed(|_, spec| *policy(spec) = pb::RolloutPolicy::default());
    assert_eq!(named, unset);
}

#[test]
fn no_replicas_is_a_count_and_an_unset_count_is_none() {
    assert_eq!(parsed(|_, spec| spec.replicas = Some(0)).replicas, Some(0));
    assert_eq!(parsed(|_, spec| spec.replicas = None).replicas, None);
}

#[test]
fn whole_numbers_of_a_patch_become_integers() {
    let kinds = |kind| Value { kind: Some(kind) };
    let number = |n| kinds(Kind::NumberValue(n));
    let list = [number(8080.0), number(-3.0), number(0.5), number(1e300), number(9_007_199_254_740_992.0)];
    let fields = [
        ("list", kinds(Kind::ListValue(ListValue { values: list.into() }))),
        ("null", kinds(Kind::NullValue(0))),
        ("none", Value { kind: None }),
        (
            "map",
            kinds(Kind::StructValue(Struct {
                fields: [("yes".to_owned(), kinds(Kind::BoolValue(true)))].into(),
            })),
        ),
        ("text", kinds(Kind::StringValue("8080".into()))),
    ];
    let mut request = mk_request(|_, _| {});
    let patch = Struct { fields: fields.map(|(key, value)| (key.to_owned(), value)).into() };
    app(&mut request).spec.as_mut().unwrap().pod_template_patch = Some(patch);
    let parsed =
        parse_deploy(request, &Caller::named("ann")).unwrap().content.spec.pod_template_patch.unwrap();
    let expected = json!({"list": [8080, -3, 0.5, 1e300, 9_007_199_254_740_992_i64], "null": null, "none": null,
        "map": {"yes": true}, "text": "8080"});
    assert_eq!(parsed, expected);
    assert_eq!(parsed["list"][0].to_string(), "8080", "Kubernetes refuses 8080.0");
}

#[test]
fn a_request_is_taken_over_as_a_whole() {
    let mut request = mk_request(|request, _| {
        app(request).etag = "e".into();
        request.reason = "because".into();
        request.concurrency = pb::Concurrency::Reject.into();
        request.update_mask = Some(FieldMask { paths: vec!["spec.image".into()] });
    });
    let taken = parse_deploy(request.clone(), &Caller::named("ann")).unwrap();
    assert_eq!((taken.name, taken.meta.etag.as_deref()), (name::App::new("prod", "shop"), Some("e")));
    assert_eq!(
        (taken.meta.caller.user.as_str(), taken.meta.reason.as_str(), taken.reject_concurrent),
        ("ann", "because", true)
    );
    assert_eq!(taken.mask, Mask::new(&["spec.image"]).unwrap());
    request.concurrency = pb::Concurrency::Supersede.into();
    app(&mut request).etag.clear();
    let taken = parse_deploy(request, &Caller::named("ann")).unwrap();
    assert_eq!((taken.meta.etag, taken.reject_concurrent), (None, false));

    // A deletion also accepts a name that cannot be deployed. Whether Gantry manages the app is checked
    // later.
    let request = |name: &str, reason: &str| pb::DeleteAppRequest {
        name: name.into(),
        reason: reason.into(),
        ..pb::DeleteAppRequest::default()
    };
    let taken = parse_delete(request("namespaces/prod/apps/3scale", "old"), &Caller::named("ann")).unwrap();
    assert_eq!(
        (taken.name.app.as_str(), taken.meta.etag, taken.meta.reason.as_str()),
        ("3scale", None, "old")
    );
    assert_eq!(wrong(&parse_delete(request("shop", ""), &Caller::named("ann")).unwrap_err()), ["name"]);
}

#[test]
fn what_reads_ask_for_is_checked_by_the_field_that_it_came_in() {
    let field = |error: Error| wrong(&error.into()).remove(0);
    assert_eq!(field(parse_parent("parent", "namespaces/a/apps/b").unwrap_err()), "parent");
    assert_eq!(parse_scope("parent", "namespaces/a/apps/b").unwrap(), Scope::App(name::App::new("a", "b")));
    assert_eq!(field(parse_scope("parent", "namespaces").unwrap_err()), "parent");
    // The error of a watch names every form that it takes.
    let said = parse_scope("parent", "shop").unwrap_err().to_string();
    for form in ["namespaces/{namespace},", "namespaces/- ", "namespaces/{namespace}/apps/{app}"] {
        assert!(said.contains(form), "{said}");
    }
    assert_eq!(field(parse_selector("a in b").unwrap_err()), "label_selector");
    assert_eq!(parse_states(&[1, 5]).unwrap(), [app::State::Active, app::State::Stopped]);
    assert_eq!(field(parse_states(&[1, 0]).unwrap_err()), "states[1]");
    assert_eq!(field(parse_states(&[99]).unwrap_err()), "states[0]");
    assert_eq!(parse_duration("timeout", None).unwrap(), None);
    assert_eq!(parse_duration("timeout", Some(&mk_duration(3))).unwrap(), Some(Duration::from_secs(3)));
    assert_eq!(field(parse_duration("timeout", Some(&mk_duration(-3))).unwrap_err()), "timeout");
}

fn mk_patch() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|b| json!(b)),
        any::<i32>().prop_map(|n| json!(n)),
        ".{0,4}".prop_map(|text| json!(text)),
    ];
    let inner = leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(|list| json!(list)),
            btree_map(".{0,3}", inner, 0..3).prop_map(|map| json!(map))
        ]
    });
    btree_map(".{0,3}", inner, 0..3).prop_map(|map| json!(map))
}

proptest! {
    #[test]
    fn an_app_that_was_read_can_be_sent_back_and_means_the_same(mut content in mk_any_content(), patch in option::of(mk_patch())) {
        content.spec.pod_template_patch = patch;
        let name = name::App::new("prod", "shop");
        let app = Some(convert::to_app_from_content(&name, &content, "gantry"));
        let taken = parse_deploy(pb::DeployAppRequest { app, ..pb::DeployAppRequest::default() }, &Caller::named("ann")).unwrap();
        prop_assert_eq!(taken.meta.etag, Some(content.etag()));
        prop_assert_eq!((taken.name, taken.content), (name, content));
    }
}
