//! `AppSpec`: the rules of its fields.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use serde_json::{Map, Number, Value};

use super::{Wrong, later};
use crate::{
    domain::{
        Error, name, quantity,
        spec::{Port, Protocol, Resources, RolloutPolicy, Spec, Strategy, Verdict},
    },
    pb,
};

const AT: &str = "app.spec";

pub(super) fn parse(spec: pb::AppSpec, wrong: &mut Wrong) -> Result<Spec, Error> {
    not_yet(&spec)?;
    known_values(&spec, wrong);
    if spec.image.chars().any(|c| c.is_whitespace() || c.is_control()) || spec.image.len() > 1024 {
        wrong.add(format!("{AT}.image"), "is no image; an image looks like registry/name:tag");
    }
    if let Some(n) = spec.replicas.filter(|n| !(0..=10_000).contains(n)) {
        wrong.add(format!("{AT}.replicas"), format!("is {n}; it must be from 0 to 10000"));
    }
    if !spec.container.is_empty() && !name::is_label(&spec.container) {
        wrong.add(
            format!("{AT}.container"),
            "is no container name: 1 to 63 lower-case letters, digits and '-'",
        );
    }
    for key in spec.env.keys().filter(|key| key.is_empty() || key.contains(['=', '\0'])) {
        wrong.add(format!("{AT}.env[{key}]"), "is no name of a variable: not empty, without '='");
    }
    Ok(Spec {
        image: spec.image,
        replicas: spec.replicas,
        ports: ports(spec.ports, wrong),
        command: spec.command,
        args: spec.args,
        env: spec.env.into_iter().collect(),
        resources: spec.resources.map(|r| resources(r, wrong)),
        rollout_policy: spec.rollout_policy.map(|p| rollout_policy(p, wrong)),
        termination_grace: duration("termination_grace", spec.termination_grace, wrong),
        pod_template_patch: spec.pod_template_patch.map(to_json),
        container: spec.container,
    })
}

/// What this version does not render. Taking it silently would deploy something else than was asked for.
fn not_yet(spec: &pb::AppSpec) -> Result<(), Error> {
    let on_failure = spec.rollout_policy.as_ref().map_or(0, |policy| policy.on_failure);
    for (field, set) in [
        ("secret_env", !spec.secret_env.is_empty()),
        ("config_map_env", !spec.config_map_env.is_empty()),
        ("probes", spec.probes.is_some()),
        ("rollout_policy.on_failure", on_failure == pb::OnFailure::RollBack as i32),
        ("volumes", !spec.volumes.is_empty()),
        ("placement", spec.placement.is_some()),
        ("service_account", !spec.service_account.is_empty()),
        ("security_profile", spec.security_profile == pb::SecurityProfile::Restricted as i32),
        ("image_pull_secrets", !spec.image_pull_secrets.is_empty()),
        ("drain_delay", spec.drain_delay.is_some()),
        ("traffic", spec.traffic.is_some()),
    ] {
        later(&format!("{AT}.{field}"), set)?;
    }
    Ok(())
}

/// Numbers that no value of an enum has. Those of ports and policy are looked at where they are translated.
fn known_values(spec: &pb::AppSpec, wrong: &mut Wrong) {
    if pb::SecurityProfile::try_from(spec.security_profile).is_err() {
        wrong.add(
            format!("{AT}.security_profile"),
            format!("{} is no value of SecurityProfile", spec.security_profile),
        );
    }
    let on_failure = spec.rollout_policy.as_ref().map_or(0, |policy| policy.on_failure);
    if pb::OnFailure::try_from(on_failure).is_err() {
        wrong
            .add(format!("{AT}.rollout_policy.on_failure"), format!("{on_failure} is no value of OnFailure"));
    }
    if spec.pod_template_patch.as_ref().is_some_and(|patch| !patch.fields.values().all(is_json)) {
        wrong.add(
            format!("{AT}.pod_template_patch"),
            "holds a number that JSON cannot write: NaN or infinity",
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

fn ports(ports: Vec<pb::Port>, wrong: &mut Wrong) -> Vec<Port> {
    if ports.len() > 32 {
        wrong.add(format!("{AT}.ports"), format!("are {}; 32 are allowed", ports.len()));
    }
    let (mut names, mut numbers) = (HashSet::new(), HashSet::new());
    let mut parsed = Vec::with_capacity(ports.len());
    for (i, port) in ports.into_iter().enumerate() {
        let at = format!("{AT}.ports[{i}]");
        let letter = port.name.starts_with(|c: char| c.is_ascii_lowercase());
        if port.name.len() > 15 || !letter || !name::is_label(&port.name) {
            wrong.add(
                format!("{at}.name"),
                "is no port name: 1 to 15 lower-case letters, digits and '-', a letter first",
            );
        }
        if !names.insert(port.name.clone()) {
            wrong.add(format!("{at}.name"), format!("\"{}\" names an earlier port too", port.name));
        }
        if !numbers.insert(port.number) {
            wrong
                .add(format!("{at}.number"), format!("{} is the number of an earlier port too", port.number));
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
                wrong.add(format!("{at}.protocol"), format!("{} is no value of Protocol", port.protocol));
                Protocol::Tcp
            }
        };
        parsed.push(Port { name: port.name, number, protocol });
    }
    parsed
}

fn resources(resources: pb::Resources, wrong: &mut Wrong) -> Resources {
    let mut check = |part: &str, map: HashMap<String, String>| {
        for (key, text) in &map {
            if quantity::parse(text).is_none_or(|value| value < 0.0) {
                let at = format!("{AT}.resources.{part}[{key}]");
                wrong.add(at, format!("\"{text}\" is no quantity; examples: 250m, 2, 256Mi, 1Gi"));
            }
        }
        map.into_iter().collect()
    };
    let (requests, limits) = (check("requests", resources.requests), check("limits", resources.limits));
    let parsed = Resources { requests, limits };
    for (key, limit) in &parsed.limits {
        let values = parsed.requests.get(key).and_then(|r| quantity::parse(r)).zip(quantity::parse(limit));
        if let Some((request, limit)) = values
            && request > limit
        {
            wrong.add(format!("{AT}.resources.requests[{key}]"), "is more than the limit");
        }
    }
    parsed
}

fn rollout_policy(policy: pb::RolloutPolicy, wrong: &mut Wrong) -> RolloutPolicy {
    let at = |field: &str| format!("{AT}.rollout_policy.{field}");
    for (field, text) in [("max_surge", &policy.max_surge), ("max_unavailable", &policy.max_unavailable)] {
        let digits = text.strip_suffix('%').unwrap_or(text);
        let longest = if digits.len() < text.len() { 3 } else { 5 };
        let number = (1..=longest).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        if !text.is_empty() && !number {
            wrong
                .add(at(field), format!("\"{text}\" is neither a number nor a percentage; examples: 1, 25%"));
        }
    }
    let zero = |text: &str| !text.is_empty() && text.trim_end_matches('%').bytes().all(|b| b == b'0');
    if zero(&policy.max_surge) && (policy.max_unavailable.is_empty() || zero(&policy.max_unavailable)) {
        wrong.add(at("max_surge"), "and max_unavailable must not both be 0: nothing could move");
    }
    let strategy = match pb::Strategy::try_from(policy.strategy) {
        Ok(pb::Strategy::Unspecified | pb::Strategy::Rolling) => Strategy::Rolling,
        Ok(pb::Strategy::Recreate) => Strategy::Recreate,
        Err(_) => {
            wrong.add(at("strategy"), format!("{} is no value of Strategy", policy.strategy));
            Strategy::Rolling
        }
    };
    let verdict = match pb::Verdict::try_from(policy.verdict) {
        Ok(pb::Verdict::Unspecified | pb::Verdict::FailFast) => Verdict::FailFast,
        Ok(pb::Verdict::Wait) => Verdict::Wait,
        Err(_) => {
            wrong.add(at("verdict"), format!("{} is no value of Verdict", policy.verdict));
            Verdict::FailFast
        }
    };
    let progress_timeout = duration("rollout_policy.progress_timeout", policy.progress_timeout, wrong);
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
        transient_grace: duration("rollout_policy.transient_grace", policy.transient_grace, wrong),
    }
}

fn duration(field: &str, value: Option<prost_types::Duration>, wrong: &mut Wrong) -> Option<Duration> {
    let parsed = Duration::try_from(value?);
    if parsed.is_err() {
        wrong.add(format!("{AT}.{field}"), "must not be negative");
    }
    // Kubernetes counts these in seconds, in 32 bits.
    let longest = Duration::from_secs(i32::MAX.unsigned_abs().into());
    if parsed.as_ref().is_ok_and(|d| *d > longest) {
        wrong.add(format!("{AT}.{field}"), "is longer than 68 years");
    }
    parsed.ok()
}

/// The message `Struct` as the JSON that it stands for; whole numbers become integers, as Kubernetes wants them.
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

#[allow(clippy::cast_possible_truncation)] // checked: 2^53 is the largest whole number that the wire carries exactly
fn number(n: f64) -> Option<Number> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if n.fract() == 0.0 && n.abs() <= EXACT { Some(Number::from(n as i64)) } else { Number::from_f64(n) }
}
