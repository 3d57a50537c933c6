//! Converts the desired state to messages. The inverse of `parse::spec`.

use std::collections::BTreeMap;

use super::time::to_duration;
use crate::{
    domain::spec::{
        Check, Files, KeyRef, OnFailure, Placement, Port, Probe, Probes, Protocol, Resources, RolloutPolicy,
        SecurityProfile, Source, Spec, Strategy, Traffic, Verdict, Volume,
    },
    pb,
};

pub(super) fn to_spec(spec: &Spec) -> pb::AppSpec {
    let security_profile = match spec.security_profile {
        None => pb::SecurityProfile::Unspecified,
        Some(SecurityProfile::Baseline) => pb::SecurityProfile::Baseline,
        Some(SecurityProfile::Restricted) => pb::SecurityProfile::Restricted,
    };
    pb::AppSpec {
        image: spec.image.clone(),
        replicas: spec.replicas,
        ports: spec.ports.iter().map(port).collect(),
        command: spec.command.clone(),
        args: spec.args.clone(),
        env: spec.env.clone().into_iter().collect(),
        secret_env: references(&spec.secret_env),
        config_map_env: references(&spec.config_map_env),
        resources: spec.resources.as_ref().map(resources),
        probes: spec.probes.as_deref().map(probes),
        rollout_policy: spec.rollout_policy.as_ref().map(rollout_policy),
        volumes: spec.volumes.iter().map(volume).collect(),
        placement: spec.placement.as_deref().map(placement),
        service_account: spec.service_account.clone(),
        security_profile: security_profile.into(),
        termination_grace: spec.termination_grace.and_then(to_duration),
        image_pull_secrets: spec.image_pull_secrets.clone(),
        pod_template_patch: spec.pod_template_patch.as_ref().and_then(to_struct),
        container: spec.container.clone(),
        drain_delay: spec.drain_delay.and_then(to_duration),
        traffic: spec.traffic.as_ref().map(traffic),
    }
}

fn port(port: &Port) -> pb::Port {
    let protocol = match port.protocol {
        Protocol::Tcp => pb::Protocol::Tcp,
        Protocol::Http => pb::Protocol::Http,
        Protocol::Grpc => pb::Protocol::Grpc,
    };
    pb::Port { name: port.name.clone(), number: port.number.into(), protocol: protocol.into() }
}

fn references(map: &BTreeMap<String, KeyRef>) -> BTreeMap<String, pb::KeyRef> {
    let reference =
        |r: &KeyRef| pb::KeyRef { name: r.name.clone(), key: r.key.clone(), optional: r.optional };
    map.iter().map(|(name, r)| (name.clone(), reference(r))).collect()
}

fn resources(resources: &Resources) -> pb::Resources {
    pb::Resources {
        requests: resources.requests.clone().into_iter().collect(),
        limits: resources.limits.clone().into_iter().collect(),
    }
}

fn probes(probes: &Probes) -> pb::Probes {
    pb::Probes {
        readiness: probes.readiness.as_ref().map(probe),
        liveness: probes.liveness.as_ref().map(probe),
        startup: probes.startup.as_ref().map(probe),
    }
}

fn probe(probe: &Probe) -> pb::Probe {
    let check = match probe.check.clone() {
        Check::HttpGet { port, path } => pb::probe::Check::HttpGet(pb::HttpGet { port, path }),
        Check::Grpc { port, service } => pb::probe::Check::Grpc(pb::GrpcHealth { port, service }),
        Check::TcpPort(port) => pb::probe::Check::TcpPort(port),
        Check::Exec(command) => pb::probe::Check::Exec(pb::Exec { command }),
        Check::None => pb::probe::Check::None(pb::NoProbe {}),
    };
    pb::Probe {
        check: Some(check),
        period: probe.period.and_then(to_duration),
        timeout: probe.timeout.and_then(to_duration),
        failure_threshold: probe.failure_threshold,
        initial_delay: probe.initial_delay.and_then(to_duration),
    }
}

fn rollout_policy(policy: &RolloutPolicy) -> pb::RolloutPolicy {
    let strategy = match policy.strategy {
        Strategy::Rolling => pb::Strategy::Unspecified,
        Strategy::Recreate => pb::Strategy::Recreate,
    };
    let verdict = match policy.verdict {
        Verdict::FailFast => pb::Verdict::Unspecified,
        Verdict::Wait => pb::Verdict::Wait,
    };
    let on_failure = match policy.on_failure {
        OnFailure::Keep => pb::OnFailure::Unspecified,
        OnFailure::RollBack => pb::OnFailure::RollBack,
    };
    pb::RolloutPolicy {
        max_surge: policy.max_surge.clone(),
        max_unavailable: policy.max_unavailable.clone(),
        strategy: strategy.into(),
        progress_timeout: policy.progress_timeout.and_then(to_duration),
        verdict: verdict.into(),
        tolerated_restarts: policy.tolerated_restarts,
        on_failure: on_failure.into(),
        transient_grace: policy.transient_grace.and_then(to_duration),
    }
}

fn volume(volume: &Volume) -> pb::Volume {
    let source = match &volume.source {
        Source::ConfigMap(from) => pb::volume::Source::ConfigMap(files(from)),
        Source::Secret(from) => pb::volume::Source::Secret(files(from)),
        Source::Claim(claim) => pb::volume::Source::Claim(claim.clone()),
        Source::EmptyDir(dir) => pb::volume::Source::EmptyDir(pb::EmptyDir {
            size_limit: dir.size_limit.clone(),
            in_memory: dir.in_memory,
        }),
    };
    pb::Volume { mount_path: volume.mount_path.clone(), source: Some(source), read_only: volume.read_only }
}

fn files(files: &Files) -> pb::Files {
    pb::Files {
        name: files.name.clone(),
        items: files.items.clone().into_iter().collect(),
        optional: files.optional,
    }
}

fn placement(placement: &Placement) -> pb::Placement {
    let tolerations = placement.tolerations.iter().cloned();
    let spread = placement.spread.iter().cloned();
    pb::Placement {
        node_selector: placement.node_selector.clone().into_iter().collect(),
        tolerations: tolerations
            .map(|t| pb::Toleration { key: t.key, value: t.value, effect: t.effect })
            .collect(),
        spread: spread
            .map(|s| pb::Spread { topology_key: s.topology_key, max_skew: s.max_skew, required: s.required })
            .collect(),
        priority_class: placement.priority_class.clone(),
    }
}

fn traffic(traffic: &Traffic) -> pb::Traffic {
    pb::Traffic { timeout: traffic.timeout.and_then(to_duration), max_attempts: traffic.max_attempts }
}

/// Converts a JSON object to a protobuf `Struct`. Returns `None` for any other JSON value.
fn to_struct(value: &serde_json::Value) -> Option<prost_types::Struct> {
    let fields = value.as_object()?.iter().map(|(key, value)| (key.clone(), to_value(value))).collect();
    Some(prost_types::Struct { fields })
}

fn to_value(value: &serde_json::Value) -> prost_types::Value {
    use prost_types::value::Kind;
    use serde_json::Value;
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(b) => Kind::BoolValue(*b),
        Value::Number(n) => Kind::NumberValue(n.as_f64().unwrap_or_default()),
        Value::String(s) => Kind::StringValue(s.clone()),
        Value::Array(items) => {
            Kind::ListValue(prost_types::ListValue { values: items.iter().map(to_value).collect() })
        }
        Value::Object(_) => Kind::StructValue(to_struct(value).unwrap_or_default()),
    };
    prost_types::Value { kind: Some(kind) }
}
