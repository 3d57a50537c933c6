//! Decodes the probes of a container, as far as the API models them.

use serde_json::Value;

use super::json::{non_default_seconds, read_list, read_text, read_texts};
use crate::domain::spec::{Check, Port, Probe, Probes};

pub(super) fn decode_probes(container: &Value, ports: &[Port]) -> Option<Probes> {
    let read = |field: &str| probe(&container[field], container, ports);
    // If readiness were left unset, a deploy would probe the first port.
    let readiness = match (ports.first(), read("readinessProbe")) {
        (Some(_), None) => Some(Probe::new(Check::None)),
        (Some(first), Some(probe)) if probe == Probe::new(Check::TcpPort(first.name.clone())) => None,
        (_, probe) => probe,
    };
    let probes = Probes { readiness, liveness: read("livenessProbe"), startup: read("startupProbe") };
    (probes != Probes::default()).then_some(probes)
}

fn probe(value: &Value, container: &Value, ports: &[Port]) -> Option<Probe> {
    let port = |value: &Value| port_name(value, container, ports);
    let check = if value["httpGet"].is_object() {
        let path = Some(read_text(&value["httpGet"]["path"])).filter(|p| !p.is_empty());
        Check::HttpGet {
            port: port(&value["httpGet"]["port"])?,
            path: path.unwrap_or_else(|| "/".to_owned()),
        }
    } else if value["tcpSocket"].is_object() {
        Check::TcpPort(port(&value["tcpSocket"]["port"])?)
    } else if value["grpc"].is_object() {
        Check::Grpc { port: port(&value["grpc"]["port"])?, service: read_text(&value["grpc"]["service"]) }
    } else if value["exec"].is_object() {
        Check::Exec(read_texts(&value["exec"]["command"]))
    } else {
        return None;
    };
    let failures = value["failureThreshold"].as_i64().and_then(|n| i32::try_from(n).ok());
    Some(Probe {
        check,
        period: non_default_seconds(value["periodSeconds"].as_u64(), 10),
        timeout: non_default_seconds(value["timeoutSeconds"].as_u64(), 1),
        failure_threshold: failures.filter(|n| *n != 3).unwrap_or_default(),
        initial_delay: non_default_seconds(value["initialDelaySeconds"].as_u64(), 0),
    })
}

/// Returns the name of the port. Kubernetes also accepts a number.
fn port_name(value: &Value, container: &Value, ports: &[Port]) -> Option<String> {
    let named = |name: &str| read_list(&container["ports"]).find(|p| p["name"] == name);
    let number = value.as_u64().or_else(|| named(value.as_str()?)?["containerPort"].as_u64())?;
    ports.iter().find(|p| u64::from(p.number) == number).map(|p| p.name.clone())
}
