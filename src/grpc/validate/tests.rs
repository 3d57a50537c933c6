//! Tests of the rules on messages made by hand. `tests/it` tests that every rule of the contract is enforced
//! on the wire.

use prost::Message;
use prost_reflect::DynamicMessage;

use super::super::schema::schema;
use crate::pb;

fn check<T: Message + prost::Name>(message: &T) -> Vec<(String, String)> {
    let schema = schema().map_err(ToString::to_string).unwrap();
    let descriptor = schema.input(&T::full_name()).unwrap();
    let reflected = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()).unwrap();
    schema.rules().check(&reflected).into_iter().map(|v| (v.field, v.description)).collect()
}

fn deploy(spec: pb::AppSpec) -> pb::DeployAppRequest {
    let app = pb::App { name: "namespaces/shop/apps/web".into(), spec: Some(spec), ..pb::App::default() };
    pb::DeployAppRequest { app: Some(app), ..pb::DeployAppRequest::default() }
}

#[test]
fn what_was_got_and_what_would_be_right() {
    let spec = pb::AppSpec {
        replicas: Some(-1),
        ports: vec![pb::Port { name: "http".into(), number: 0, protocol: 77 }],
        secret_env: [(
            "KEY".to_owned(),
            pb::KeyRef { name: String::new(), key: "k".into(), optional: false },
        )]
        .into(),
        probes: Some(pb::Probes { readiness: Some(pb::Probe::default()), ..pb::Probes::default() }),
        termination_grace: Some(prost_types::Duration { seconds: -1, nanos: -500_000_000 }),
        ..pb::AppSpec::default()
    };
    let request = pb::DeployAppRequest { request_id: "x".into(), reason: "ü".repeat(1025), ..deploy(spec) };
    let expected = [
        ("app.spec.replicas", "is -1; it must be from 0 to 10000"),
        ("app.spec.ports[0].number", "is 0; it must be from 1 to 65535"),
        ("app.spec.ports[0].protocol", "is 77, which is not a value of Protocol"),
        ("app.spec.secret_env[KEY].name", "is required"),
        ("app.spec.probes.readiness.check", "is required: one of http_get, grpc, tcp_port, exec, none"),
        ("app.spec.termination_grace", "is -1.5 s; it must be at least 0 s"),
        ("request_id", "is \"x\"; it must be a UUID such as 123e4567-e89b-12d3-a456-426614174000"),
        ("reason", "has 1025 characters; it must have at most 1024"),
    ];
    let found = check(&request);
    let found: Vec<_> = found.iter().map(|(f, d)| (f.as_str(), d.as_str())).collect();
    assert_eq!(found, expected);
}

#[test]
fn what_is_absent_breaks_no_rule_and_zero_is_a_value() {
    assert_eq!(check(&deploy(pb::AppSpec::default())), []);
    let request = pb::ScaleAppRequest { name: "a".into(), ..pb::ScaleAppRequest::default() };
    assert_eq!(check(&request), [("replicas".to_owned(), "is required".to_owned())]);
    assert_eq!(check(&pb::ScaleAppRequest { replicas: Some(0), ..request }), []);
    let request_id = "123E4567-e89b-12d3-a456-426614174000".into();
    assert_eq!(check(&pb::DeployAppRequest { request_id, ..deploy(pb::AppSpec::default()) }), []);
}

#[test]
fn numbers_that_are_none_are_within_no_bounds() {
    let figure = |value| pb::ReportLoadRequest {
        figures: vec![pb::LoadFigure {
            app: "a".into(),
            metric: "m".into(),
            value,
            ..pb::LoadFigure::default()
        }],
    };
    assert_eq!(check(&figure(0.0)), []);
    for value in [f64::NAN, f64::INFINITY, -0.5] {
        assert_eq!(check(&figure(value))[0].0, "figures[0].value", "{value}");
    }
}

#[test]
fn a_duration_must_be_one() {
    let request = |seconds, nanos| pb::WaitRolloutRequest {
        name: "a".into(),
        timeout: Some(prost_types::Duration { seconds, nanos }),
    };
    assert_eq!(check(&request(1, 500)), []);
    for (seconds, nanos) in [(1, -1), (0, 1_000_000_000), (i64::MAX, 0), (i64::MIN, i32::MIN)] {
        assert_eq!(check(&request(seconds, nanos))[0].0, "timeout", "{seconds} {nanos}");
    }
}

#[test]
fn an_answer_about_a_long_list_stays_short() {
    let values = vec![-1.0; 10_000];
    let load = pb::LoadSeries { step: Some(prost_types::Duration { seconds: 1, nanos: 0 }), values };
    let request =
        pb::SimulateAutoscalerRequest { load: Some(load), ..pb::SimulateAutoscalerRequest::default() };
    assert_eq!(check(&request).len(), super::ENOUGH);
}
