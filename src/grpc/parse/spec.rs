//! Parses `AppSpec` and checks the rules of its fields.

mod field;
mod placement;
mod probe;
mod volume;

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use serde_json::{Map, Number, Value};

use self::field::{SPEC, check_data_key, check_object_name, parse_duration};
use super::violations::Violations;
use crate::{
    domain::{
        name, quantity,
        spec::{
            KeyRef, OnFailure, Port, Protocol, Resources, RolloutPolicy, SecurityProfile, Spec, Strategy,
            Traffic, Verdict,
        },
    },
    pb,
};

pub(super) fn parse_spec(spec: pb::AppSpec, wrong: &mut Violations) -> Spec {
    known_values(&spec, wrong);
    if spec.image.chars().any(|c| c.is_whitespace() || c.is_control()) || spec.image.len() > 1024 {
        wrong.add(format!("{SPEC}.image"), "is not a valid image; expected registry/name:tag");
    }
    if let Some(n) = spec.replicas.filter(|n| !(0..=10_000).contains(n)) {
        wrong.add(format!("{SPEC}.replicas"), format!("is {n}; it must be from 0 to 10000"));
    }
    if !spec.container.is_empty() && !name::is_label(&spec.container) {
        wrong.add(
            format!("{SPEC}.container"),
            "is not a valid container name; expected 1 to 63 lower-case letters, digits or '-', with a letter or digit at \
             both ends",
        );
    }
    for key in spec.env.keys() {
        check_env_name("env", key, wrong);
    }
    if !spec.service_account.is_empty() {
        check_object_name(
            &format!("{SPEC}.service_account"),
            &spec.service_account,
            "a ServiceAccount",
            wrong,
        );
    }
    Spec {
        image: spec.image,
        replicas: spec.replicas,
        ports: ports(spec.ports, wrong),
        command: spec.command,
        args: spec.args,
        env: spec.env.into_iter().collect(),
        secret_env: references("secret_env", spec.secret_env, wrong),
        config_map_env: references("config_map_env", spec.config_map_env, wrong),
        resources: spec.resources.map(|r| resources(r, wrong)),
        probes: spec.probes.map(|p| Box::new(probe::parse_probes(p, wrong))),
        rollout_policy: spec.rollout_policy.map(|p| rollout_policy(p, wrong)),
        volumes: volume::parse_volumes(spec.volumes, wrong),
        placement: spec.placement.map(|p| Box::new(placement::parse_placement(p, wrong))),
        service_account: spec.service_account,
        security_profile: match pb::SecurityProfile::try_from(spec.security_profile) {
            Ok(pb::SecurityProfile::Restricted) => Some(SecurityProfile::Restricted),
            Ok(pb::SecurityProfile::Baseline) => Some(SecurityProfile::Baseline),
            Ok(pb::SecurityProfile::Unspecified) | Err(_) => None,
        },
        termination_grace: parse_duration("termination_grace", spec.termination_grace, wrong),
        image_pull_secrets: pull_secrets(spec.image_pull_secrets, wrong),
        pod_template_patch: spec.pod_template_patch.map(to_json),
        container: spec.container,
        drain_delay: parse_duration("drain_delay", spec.drain_delay, wrong),
        traffic: spec.traffic.map(|t| traffic(&t, wrong)),
    }
}

/// Checks the values that are not checked where they are translated.
fn known_values(spec: &pb::AppSpec, wrong: &mut Violations) {
    if pb::SecurityProfile::try_from(spec.security_profile).is_err() {
        wrong.add(
            format!("{SPEC}.security_profile"),
            format!("{} is not a value of SecurityProfile", spec.security_profile),
        );
    }
    if spec.pod_template_patch.as_ref().is_some_and(|patch| !patch.fields.values().all(is_json)) {
        wrong.add(
            format!("{SPEC}.pod_template_patch"),
            "contains NaN or infinity, which JSON cannot represent",
        );
    }
}

fn is_json(value: &prost_types::Value) -> bool {
    use prost_types::value::Kind;
    match &value.kind {
        Some(Kind::NumberValue(n)) => n.is_finite(),
        Some(Kind::ListValue(list)) => list.values.iter().all(is_json),
        Some(Kind::StructValue(map)) => map.fields.values().all(is_json),
        None | Some(Kind::NullValue(_) | Kind::BoolValue(_) | Kind::StringValue(_)) => true,
    }
}

fn ports(ports: Vec<pb::Port>, wrong: &mut Violations) -> Vec<Port> {
    if ports.len() > 32 {
        wrong.add(format!("{SPEC}.ports"), format!("has {} entries; at most 32 are allowed", ports.len()));
    }
    let (mut names, mut numbers) = (HashSet::new(), HashSet::new());
    let mut parsed = Vec::with_capacity(ports.len());
    for (i, port) in ports.into_iter().enumerate() {
        let at = format!("{SPEC}.ports[{i}]");
        if !Port::is_name(&port.name) {
            wrong.add(
                format!("{at}.name"),
                "is not a valid port name; expected 1 to 15 lower-case letters, digits or '-', beginning with a letter",
            );
        }
        if !names.insert(port.name.clone()) {
            wrong.add(
                format!("{at}.name"),
                format!("\"{}\" is already the name of an earlier port", port.name),
            );
        }
        if !numbers.insert(port.number) {
            wrong.add(
                format!("{at}.number"),
                format!("{} is already the number of an earlier port", port.number),
            );
        }
        let number = u16::try_from(port.number).ok().filter(|n| *n > 0).unwrap_or_else(|| {
            wrong.add(format!("{at}.number"), format!("is {}; it must be from 1 to 65535", port.number));
            1
        });
        let protocol = match pb::Protocol::try_from(port.protocol) {
            Ok(pb::Protocol::Unspecified | pb::Protocol::Tcp) => Protocol::Tcp,
            Ok(pb::Protocol::Http) => Protocol::Http,
            Ok(pb::Protocol::Grpc) => Protocol::Grpc,
            Err(_) => {
                wrong.add(format!("{at}.protocol"), format!("{} is not a value of Protocol", port.protocol));
                Protocol::Tcp
            }
        };
        parsed.push(Port { name: port.name, number, protocol });
    }
    parsed
}

fn check_env_name(field: &str, name: &str, wrong: &mut Violations) {
    if name.is_empty() || !name.chars().all(|c| c.is_ascii() && !c.is_ascii_control() && c != '=') {
        let said = "is not a valid variable name; expected printable ASCII without '='";
        wrong.add(format!("{SPEC}.{field}[{name}]"), said);
    }
}

fn references(
    field: &str,
    map: BTreeMap<String, pb::KeyRef>,
    wrong: &mut Violations,
) -> BTreeMap<String, KeyRef> {
    let kind = if field == "secret_env" { "a Secret" } else { "a ConfigMap" };
    let mut parsed = BTreeMap::new();
    for (name, reference) in map {
        check_env_name(field, &name, wrong);
        let at = format!("{SPEC}.{field}[{name}]");
        check_object_name(&format!("{at}.name"), &reference.name, kind, wrong);
        check_data_key(&format!("{at}.key"), &reference.key, wrong);
        let pb::KeyRef { name: object, key, optional } = reference;
        parsed.insert(name, KeyRef { name: object, key, optional });
    }
    parsed
}

fn pull_secrets(secrets: Vec<String>, wrong: &mut Violations) -> Vec<String> {
    let mut seen = HashSet::new();
    for (i, secret) in secrets.iter().enumerate() {
        let at = format!("{SPEC}.image_pull_secrets[{i}]");
        check_object_name(&at, secret, "a Secret", wrong);
        if !seen.insert(secret) {
            wrong.add(at, "is already in the list");
        }
    }
    secrets
}

fn traffic(traffic: &pb::Traffic, wrong: &mut Violations) -> Traffic {
    if !(0..=5).contains(&traffic.max_attempts) {
        let said = format!("is {}; it must be from 0 to 5", traffic.max_attempts);
        wrong.add(format!("{SPEC}.traffic.max_attempts"), said);
    }
    let timeout = parse_duration("traffic.timeout", traffic.timeout, wrong);
    Traffic { timeout, max_attempts: traffic.max_attempts }
}

fn resources(resources: pb::Resources, wrong: &mut Violations) -> Resources {
    let mut check = |part: &str, map: BTreeMap<String, String>| {
        for (key, text) in &map {
            if quantity::parse_quantity(text).is_none_or(|value| value < 0.0) {
                let at = format!("{SPEC}.resources.{part}[{key}]");
                wrong.add(
                    at,
                    format!("\"{text}\" is not a valid quantity; expected for example 250m, 2, 256Mi or 1Gi"),
                );
            }
        }
        map.into_iter().collect()
    };
    let (requests, limits) = (check("requests", resources.requests), check("limits", resources.limits));
    let parsed = Resources { requests, limits };
    for (key, limit) in &parsed.limits {
        let values = parsed
            .requests
            .get(key)
            .and_then(|r| quantity::parse_quantity(r))
            .zip(quantity::parse_quantity(limit));
        if let Some((request, limit)) = values
            && request > limit
        {
            wrong.add(format!("{SPEC}.resources.requests[{key}]"), "is more than the limit");
        }
    }
    parsed
}

fn rollout_policy(policy: pb::RolloutPolicy, wrong: &mut Violations) -> RolloutPolicy {
    let at = |field: &str| format!("{SPEC}.rollout_policy.{field}");
    for (field, text) in [("max_surge", &policy.max_surge), ("max_unavailable", &policy.max_unavailable)] {
        let digits = text.strip_suffix('%').unwrap_or(text);
        let longest = if digits.len() < text.len() { 3 } else { 5 };
        let number = (1..=longest).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        if !text.is_empty() && !number {
            wrong.add(
                at(field),
                format!("\"{text}\" is neither a number nor a percentage; expected for example 1 or 25%"),
            );
        }
    }
    let zero = |text: &str| !text.is_empty() && text.trim_end_matches('%').bytes().all(|b| b == b'0');
    if zero(&policy.max_surge) && (policy.max_unavailable.is_empty() || zero(&policy.max_unavailable)) {
        wrong.add(
            at("max_surge"),
            "and max_unavailable must not both be 0, because no replica could be replaced",
        );
    }
    let strategy = match pb::Strategy::try_from(policy.strategy) {
        Ok(pb::Strategy::Unspecified | pb::Strategy::Rolling) => Strategy::Rolling,
        Ok(pb::Strategy::Recreate) => Strategy::Recreate,
        Err(_) => {
            wrong.add(at("strategy"), format!("{} is not a value of Strategy", policy.strategy));
            Strategy::Rolling
        }
    };
    let verdict = match pb::Verdict::try_from(policy.verdict) {
        Ok(pb::Verdict::Unspecified | pb::Verdict::FailFast) => Verdict::FailFast,
        Ok(pb::Verdict::Wait) => Verdict::Wait,
        Err(_) => {
            wrong.add(at("verdict"), format!("{} is not a value of Verdict", policy.verdict));
            Verdict::FailFast
        }
    };
    let on_failure = match pb::OnFailure::try_from(policy.on_failure) {
        Ok(pb::OnFailure::Unspecified | pb::OnFailure::Keep) => OnFailure::Keep,
        Ok(pb::OnFailure::RollBack) => OnFailure::RollBack,
        Err(_) => {
            wrong.add(at("on_failure"), format!("{} is not a value of OnFailure", policy.on_failure));
            OnFailure::Keep
        }
    };
    let progress_timeout = parse_duration("rollout_policy.progress_timeout", policy.progress_timeout, wrong);
    if progress_timeout.is_some_and(|d| d < Duration::from_secs(1)) {
        wrong.add(at("progress_timeout"), "must be at least 1 s");
    }
    if policy.tolerated_restarts.is_some_and(|n| n < 0) {
        wrong.add(at("tolerated_restarts"), "must not be negative");
    }
    RolloutPolicy {
        max_surge: policy.max_surge,
        max_unavailable: policy.max_unavailable,
        strategy,
        progress_timeout,
        verdict,
        tolerated_restarts: policy.tolerated_restarts,
        on_failure,
        transient_grace: parse_duration("rollout_policy.transient_grace", policy.transient_grace, wrong),
    }
}

/// Converts a protobuf `Struct` to JSON. Whole numbers become integers, because Kubernetes refuses 8080.0 for
/// an integer.
fn to_json(value: prost_types::Struct) -> Value {
    Value::Object(value.fields.into_iter().map(|(k, v)| (k, value_to_json(v))).collect::<Map<_, _>>())
}

fn value_to_json(value: prost_types::Value) -> Value {
    use prost_types::value::Kind;
    match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(b)) => Value::Bool(b),
        Some(Kind::NumberValue(n)) => number(n).map_or(Value::Null, Value::Number),
        Some(Kind::StringValue(s)) => Value::String(s),
        Some(Kind::ListValue(list)) => Value::Array(list.values.into_iter().map(value_to_json).collect()),
        Some(Kind::StructValue(s)) => to_json(s),
    }
}

#[allow(clippy::cast_possible_truncation)] // checked: whole numbers up to 2^53 are exact
fn number(n: f64) -> Option<Number> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if n.fract() == 0.0 && n.abs() <= EXACT { Some(Number::from(n as i64)) } else { Number::from_f64(n) }
}
