//! Parses `AppSpec.probes` and checks the rules of its fields. Whether the ports exist is checked later, when
//! the deploy is merged with the stored app.

use super::field::{SPEC, parse_duration};
use crate::{
    domain::spec::{Check, Probe, Probes},
    grpc::parse::violations::Violations,
    pb,
};

pub(super) fn parse_probes(probes: pb::Probes, wrong: &mut Violations) -> Probes {
    let mut read = |name: &str, p: Option<pb::Probe>| p.map(|p| probe(&format!("probes.{name}"), p, wrong));
    Probes {
        readiness: read("readiness", probes.readiness),
        liveness: read("liveness", probes.liveness),
        startup: read("startup", probes.startup),
    }
}

fn probe(at: &str, probe: pb::Probe, wrong: &mut Violations) -> Probe {
    let check = match probe.check {
        Some(pb::probe::Check::HttpGet(get)) => {
            // An unset path is the root.
            let path = if get.path.is_empty() { "/".to_owned() } else { get.path };
            if !path.starts_with('/') {
                wrong.add(format!("{SPEC}.{at}.http_get.path"), "must begin with '/'");
            }
            Check::HttpGet { port: get.port, path }
        }
        Some(pb::probe::Check::Grpc(grpc)) => Check::Grpc { port: grpc.port, service: grpc.service },
        Some(pb::probe::Check::TcpPort(port)) => Check::TcpPort(port),
        Some(pb::probe::Check::Exec(exec)) => {
            if exec.command.is_empty() {
                wrong.add(format!("{SPEC}.{at}.exec.command"), "is required");
            }
            Check::Exec(exec.command)
        }
        Some(pb::probe::Check::None(pb::NoProbe {})) => Check::None,
        None => {
            let said = "is required: http_get, grpc, tcp_port, exec or none";
            wrong.add(format!("{SPEC}.{at}.check"), said);
            Check::None
        }
    };
    if probe.failure_threshold < 0 {
        wrong.add(format!("{SPEC}.{at}.failure_threshold"), "must not be negative");
    }
    Probe {
        check,
        period: parse_duration(&format!("{at}.period"), probe.period, wrong),
        timeout: parse_duration(&format!("{at}.timeout"), probe.timeout, wrong),
        failure_threshold: probe.failure_threshold,
        initial_delay: parse_duration(&format!("{at}.initial_delay"), probe.initial_delay, wrong),
    }
}
