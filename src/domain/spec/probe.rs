//! Health checks, as a caller describes them. Knows no Kubernetes object.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::omit::is_default;

/// Health checks of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)] // see Probes in app.proto
pub struct Probes {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readiness: Option<Probe>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub liveness: Option<Probe>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub startup: Option<Probe>,
}

/// One health check. A `failure_threshold` of 0 means unset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // see Probe in app.proto
pub struct Probe {
    pub check: Check,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub failure_threshold: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_delay: Option<Duration>,
}

/// How to check. Ports are given by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[allow(missing_docs)] // see Probe in app.proto
pub enum Check {
    HttpGet { port: String, path: String },
    Grpc { port: String, service: String },
    TcpPort(String),
    Exec(Vec<String>),
    None,
}

// === impl Probes ===

impl Probes {
    /// Returns each probe that is set, with the name of its field.
    pub fn set(&self) -> impl Iterator<Item = (&'static str, &Probe)> {
        [("readiness", &self.readiness), ("liveness", &self.liveness), ("startup", &self.startup)]
            .into_iter()
            .filter_map(|(name, probe)| Some((name, probe.as_ref()?)))
    }
}

// === impl Probe ===

impl Probe {
    /// Builds a probe with every number at its default.
    pub fn new(check: Check) -> Self {
        Self { check, period: None, timeout: None, failure_threshold: 0, initial_delay: None }
    }
}

// === impl Check ===

impl Check {
    /// Returns the port that the check uses, with the path of the field that names it.
    pub fn port(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::HttpGet { port, .. } => Some(("http_get.port", port)),
            Self::Grpc { port, .. } => Some(("grpc.port", port)),
            Self::TcpPort(port) => Some(("tcp_port", port)),
            Self::Exec(_) | Self::None => None,
        }
    }
}
