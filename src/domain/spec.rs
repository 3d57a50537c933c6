//! What a caller wants: the app's desired content, in the terms of the API. Knows nothing of Kubernetes
//! objects.
//!
//! The serialized form of [`Content`] is kept in revisions for ever: fields may be added, never renamed, and
//! a field at its default is left out, so that the digest of old content stays what it was.

use std::{collections::BTreeMap, time::Duration};

mod check;
mod omit;
mod placement;
mod probe;
mod volume;

pub use self::{
    placement::{Placement, Spread, Toleration},
    probe::{Check, Probe, Probes},
    volume::{EmptyDir, Files, Source, Volume},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::omit::is_default;
use super::labels::caller_labels;

/// Everything that a deploy sets and a rollback brings back, the replica count included.
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

/// How to run an app. Each field means what the field of `AppSpec` of the same name means; unset is empty or
/// `None`.
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
    // Said, the default too is a value, which takes the place of another.
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

/// How much the container may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecurityProfile {
    /// Default seccomp profile, no privilege escalation.
    #[default]
    Baseline,
    /// What Kubernetes' Pod Security Standard `restricted` asks for.
    Restricted,
}

/// How callers that discover the app treat it. Nothing in the cluster is made of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)] // see Traffic in app.proto
pub struct Traffic {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    #[serde(skip_serializing_if = "is_default")]
    pub max_attempts: i32,
}

/// Resources in Kubernetes quantity notation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)] // see Resources in app.proto
pub struct Resources {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, String>,
}

/// How a new revision takes the place of the old one.
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

/// In which order replicas are replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// New ones come as old ones go.
    #[default]
    Rolling,
    /// Every old one stops before the first new one starts.
    Recreate,
}

/// When a rollout in trouble has failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As soon as the new replicas cannot become ready by themselves.
    #[default]
    FailFast,
    /// Only when `progress_timeout` has run out.
    Wait,
}

/// What to do about a failed rollout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Leave everything as it is.
    #[default]
    Keep,
    /// Return to the last revision that succeeded, once.
    RollBack,
}

// === impl Content ===

impl Content {
    /// What an app that Gantry does not manage says, from the labels and the spec of its Deployment. Reads
    /// and writes make it in this one place, since an etag is its digest.
    pub fn of_unmanaged(labels: &BTreeMap<String, String>, spec: &Spec) -> Self {
        Self { labels: caller_labels(labels), spec: spec.clone(), ..Self::default() }
    }

    /// Digest of the whole content: equal digests mean equal content.
    pub fn digest(&self) -> String {
        digest(self)
    }

    /// Digest that guards updates: the replica count is left out, since not only callers change it.
    pub fn etag(&self) -> String {
        let mut without = self.clone();
        without.spec.replicas = None;
        digest(&without)
    }
}

/// Of the JSON form; maps are sorted, so it is the same everywhere.
fn digest(content: &Content) -> String {
    super::digest::sha256_hex(serde_json::to_vec(content).unwrap_or_default())
}

// === impl Spec ===

impl Spec {
    /// Whether a readiness probe says when a replica is ready: the one that is asked for, or the default one
    /// of an app with ports.
    pub fn is_probed(&self) -> bool {
        let asked = self.probes.as_ref().and_then(|probes| probes.readiness.as_ref());
        asked.map_or(!self.ports.is_empty(), |probe| probe.check != Check::None)
    }

    /// The default of `container`.
    pub const CONTAINER: &'static str = "app";
    /// The default of `termination_grace`.
    pub const GRACE_SECONDS: u64 = 30;

    /// Name of the app's container.
    pub fn container(&self) -> &str {
        if self.container.is_empty() { Self::CONTAINER } else { &self.container }
    }

    /// Seconds that a replica gets to finish its work after the signal to stop. Kubernetes counts whole
    /// seconds.
    pub fn grace_seconds(&self) -> u64 {
        self.termination_grace.map_or(Self::GRACE_SECONDS, whole_seconds)
    }

    /// Seconds between leaving the endpoints and the signal to stop.
    pub fn drain_seconds(&self) -> u64 {
        self.drain_delay.map_or_else(|| self.default_drain_seconds(), whole_seconds)
    }

    /// What [`Self::drain_seconds`] is unless it is asked for: the time that endpoints take to travel.
    pub fn default_drain_seconds(&self) -> u64 {
        // Half of the time at most, so that some is left to finish what is running.
        if self.ports.is_empty() { 0 } else { 5.min(self.grace_seconds() / 2) }
    }

    /// The rollout policy with every default filled in.
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

/// Whole seconds, the next larger ones: less time than was asked for would be a broken promise.
pub fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))
}

// === impl Port ===

impl Port {
    /// Whether a port may be called this: at most 15 lower-case letters, digits and `-`, a letter first.
    pub fn is_name(text: &str) -> bool {
        let letter = text.starts_with(|c: char| c.is_ascii_lowercase());
        text.len() <= 15 && letter && super::name::is_label(text)
    }
}

#[cfg(test)]
pub(crate) mod arbitrary;
#[cfg(test)]
mod tests;
