//! The desired state of an app as a caller describes it, in the terms of the API. Knows no Kubernetes object.
//!
//! The serialized form of [`Content`] stays in revisions for good, in the caller's spelling. Fields may be
//! added but never renamed. A field with its default value is left out. What compares content compares its
//! [canonical form](canonical).

use std::{collections::BTreeMap, time::Duration};

mod canonical;
mod check;
mod omit;
mod placement;
mod probe;
mod volume;

pub(in crate::domain) use self::canonical::canonical_size;
pub use self::{
    placement::{Placement, Spread, Toleration},
    probe::{Check, Probe, Probes},
    volume::{EmptyDir, Files, Source, Volume},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::omit::is_default;
use super::labels::caller_labels;

/// Everything that a deploy sets and a rollback restores, including the replica count.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Content {
    /// Labels of the caller.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the caller.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// How to run the app.
    pub spec: Spec,
}

/// How to run an app. Each field has the meaning of the field of `AppSpec` with the same name. An unset field
/// is empty or `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)] // the fields are documented in proto/gantry/v1/app.proto
pub struct Spec {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub secret_env: BTreeMap<String, KeyRef>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub config_map_env: BTreeMap<String, KeyRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probes: Option<Box<Probes>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout_policy: Option<RolloutPolicy>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<Box<Placement>>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub service_account: String,
    // An explicit default is a value too: it replaces another value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_profile: Option<SecurityProfile>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub termination_grace: Option<Duration>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_template_patch: Option<Value>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub container: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_delay: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
}

/// A named container port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // see Port in app.proto
pub struct Port {
    pub name: String,
    pub number: u16,
    #[serde(default, skip_serializing_if = "is_default")]
    pub protocol: Protocol,
}

/// Application protocol of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Opaque bytes.
    #[default]
    Tcp,
    /// HTTP/1.1.
    Http,
    /// gRPC over HTTP/2.
    Grpc,
}

/// One entry of a Secret or ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)] // see KeyRef in app.proto
pub struct KeyRef {
    pub name: String,
    pub key: String,
    #[serde(skip_serializing_if = "is_default")]
    pub optional: bool,
}

/// What the container may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecurityProfile {
    /// Default seccomp profile, no privilege escalation.
    #[default]
    Baseline,
    /// What Kubernetes' Pod Security Standard `restricted` asks for.
    Restricted,
}

/// How callers that discover the app treat it. It creates nothing in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)] // see Traffic in app.proto
pub struct Traffic {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    #[serde(skip_serializing_if = "is_default")]
    pub max_attempts: i32,
}

/// Resources as Kubernetes quantities.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)] // see Resources in app.proto
pub struct Resources {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, String>,
}

/// How a new revision replaces the old one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)] // see RolloutPolicy in app.proto
pub struct RolloutPolicy {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub max_surge: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub max_unavailable: String,
    #[serde(skip_serializing_if = "is_default")]
    pub strategy: Strategy,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress_timeout: Option<Duration>,
    #[serde(skip_serializing_if = "is_default")]
    pub verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerated_restarts: Option<i32>,
    #[serde(skip_serializing_if = "is_default")]
    pub on_failure: OnFailure,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transient_grace: Option<Duration>,
}

/// The order in which replicas are replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// New replicas are created while old ones are removed.
    #[default]
    Rolling,
    /// All old replicas stop before the first new one starts.
    Recreate,
}

/// When a rollout with problems counts as failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As soon as the new replicas cannot become ready without a change.
    #[default]
    FailFast,
    /// Only after `progress_timeout`.
    Wait,
}

/// What to do about a failed rollout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Leave the app unchanged.
    #[default]
    Keep,
    /// Return to the last revision that succeeded, once.
    RollBack,
}

// === impl Content ===

impl Content {
    /// Builds the content of an app that Gantry does not manage, from the labels and the spec of its
    /// Deployment. Reads and writes must use this one function, because the etag is a digest of the result.
    pub fn of_unmanaged(labels: &BTreeMap<String, String>, spec: &Spec) -> Self {
        Self { labels: caller_labels(labels), spec: spec.clone(), ..Self::default() }
    }

    /// Returns the digest of the whole content. Equal digests mean equal content, by value.
    pub fn digest(&self) -> String {
        digest(&self.canonical())
    }

    /// Returns the digest that guards updates. It does not cover the replica count, because not only callers
    /// change it.
    pub fn etag(&self) -> String {
        digest(&self.canonical().without_count())
    }

    /// Returns whether a caller who holds this etag has read this content. Earlier versions made the etag of
    /// the caller's spelling, and a caller may hold one over an upgrade.
    pub fn has_etag(&self, etag: &str) -> bool {
        etag == self.etag() || etag == digest(&self.clone().without_count())
    }

    fn without_count(mut self) -> Self {
        self.spec.replicas = None;
        self
    }
}

/// Hashes the JSON form. Its maps are sorted, so the digest is the same everywhere.
fn digest(content: &Content) -> String {
    super::digest::sha256_hex(serde_json::to_vec(content).unwrap_or_default())
}

// === impl Spec ===

impl Spec {
    /// Returns whether a readiness probe decides when a replica is ready: a probe that the caller set, or the
    /// default probe of an app with ports.
    pub fn is_probed(&self) -> bool {
        let asked = self.probes.as_ref().and_then(|probes| probes.readiness.as_ref());
        asked.map_or(!self.ports.is_empty(), |probe| probe.check != Check::None)
    }

    /// The default of `container`.
    pub const CONTAINER: &'static str = "app";
    /// The default of `termination_grace`.
    pub const GRACE_SECONDS: u64 = 30;

    /// Returns the name of the app's container.
    pub fn container(&self) -> &str {
        if self.container.is_empty() { Self::CONTAINER } else { &self.container }
    }

    /// Returns the seconds that a replica gets to terminate, drain delay included. Kubernetes counts whole
    /// seconds.
    pub fn grace_seconds(&self) -> u64 {
        self.termination_grace.map_or(Self::GRACE_SECONDS, whole_seconds)
    }

    /// Returns the seconds between removal from the endpoints and SIGTERM.
    pub fn drain_seconds(&self) -> u64 {
        self.drain_delay.map_or_else(|| self.default_drain_seconds(), whole_seconds)
    }

    /// Returns the default of [`Self::drain_seconds`], which is the time that a change of endpoints needs to
    /// reach every client.
    pub fn default_drain_seconds(&self) -> u64 {
        // At most half of the grace period, so that time is left to finish running work.
        if self.ports.is_empty() { 0 } else { 5.min(self.grace_seconds() / 2) }
    }

    /// Returns the rollout policy with every default filled in.
    pub fn policy(&self) -> Policy {
        let policy = self.rollout_policy.clone().unwrap_or_default();
        let or = |text: String, default: &str| if text.is_empty() { default.to_owned() } else { text };
        Policy {
            max_surge: or(policy.max_surge, "25%"),
            max_unavailable: or(policy.max_unavailable, "0"),
            strategy: policy.strategy,
            progress_timeout: policy.progress_timeout.unwrap_or(Duration::from_mins(10)),
            verdict: policy.verdict,
            tolerated_restarts: policy.tolerated_restarts.unwrap_or(2),
            on_failure: policy.on_failure,
            transient_grace: policy.transient_grace.unwrap_or(Duration::from_mins(2)),
        }
    }
}

/// A [`RolloutPolicy`] with every default of the contract filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // see RolloutPolicy in app.proto
pub struct Policy {
    pub max_surge: String,
    pub max_unavailable: String,
    pub strategy: Strategy,
    pub progress_timeout: Duration,
    pub verdict: Verdict,
    pub tolerated_restarts: i32,
    pub on_failure: OnFailure,
    pub transient_grace: Duration,
}

/// Rounds up to whole seconds, so that the time is never shorter than requested.
pub fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))
}

// === impl Port ===

impl Port {
    /// Returns whether a port may have this name: at most 15 lower-case letters, digits and `-`, starting
    /// with a letter.
    pub fn is_name(text: &str) -> bool {
        let letter = text.starts_with(|c: char| c.is_ascii_lowercase());
        text.len() <= 15 && letter && super::name::is_label(text)
    }
}

#[cfg(test)]
pub(crate) mod arbitrary;
#[cfg(test)]
mod tests;
