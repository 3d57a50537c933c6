//! The canonical form of content: values, not spelling. Content that leads to the same objects and the same
//! judgement has one canonical form, whether a caller wrote `0.1` or `100m`, or left a default out.
//!
//! Digests, etags and comparisons use it. It is computed when content is read and never stored, so that a
//! later version may change it.

use std::time::Duration;

use serde_json::Value;

use super::{
    Check, Content, Placement, Policy, Probe, Probes, Resources, RolloutPolicy, SecurityProfile, Source,
    Spec, Spread, Strategy, Traffic, whole_seconds,
};
use crate::domain::quantity::canonical_quantity;

impl Content {
    /// Returns the canonical form.
    #[must_use]
    pub fn canonical(&self) -> Self {
        Self { spec: self.spec.canonical(), ..self.clone() }
    }

    /// Returns whether the content is the same by value.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self == other || self.canonical() == other.canonical()
    }
}

impl Spec {
    /// Returns the canonical form: quantities, percentages and times by value, defaults unset.
    ///
    /// The order of a list is part of its value, because another order of ports, arguments or volumes is
    /// another pod template.
    #[must_use]
    pub fn canonical(&self) -> Self {
        let mut spec = self.clone();
        let (drain, default_drain) = (self.drain_seconds(), self.default_drain_seconds());
        spec.drain_delay = (drain != default_drain).then_some(Duration::from_secs(drain));
        spec.termination_grace = whole(self.termination_grace, 0, Self::GRACE_SECONDS);
        spec.security_profile = self.security_profile.filter(|profile| *profile != SecurityProfile::Baseline);
        if spec.container == Self::CONTAINER {
            spec.container.clear();
        }
        spec.resources = self.resources.as_ref().map(Resources::canonical);
        spec.resources = spec.resources.filter(|resources| *resources != Resources::default());
        spec.probes = spec.probes.map(|probes| Box::new(canonical_probes(*probes, self)));
        spec.probes = spec.probes.filter(|probes| **probes != Probes::default());
        spec.rollout_policy = self.rollout_policy.as_ref().map(|_| canonical_policy(&self.policy()));
        spec.rollout_policy = spec.rollout_policy.filter(|policy| *policy != RolloutPolicy::default());
        for volume in &mut spec.volumes {
            volume.source = volume.source.canonical();
        }
        if let Some(placement) = &mut spec.placement {
            placement.spread.iter_mut().filter(|s| s.max_skew == 1).for_each(|s| s.max_skew = 0);
            if placement.spread == Spread::default_spread() {
                placement.spread.clear();
            }
        }
        spec.placement = spec.placement.filter(|placement| **placement != Placement::default());
        spec.traffic = spec.traffic.filter(|traffic| *traffic != Traffic::default());
        spec.pod_template_patch = spec.pod_template_patch.map(|patch| canonical_patch("", "", patch));
        spec.pod_template_patch =
            spec.pod_template_patch.filter(|patch| patch.as_object().is_none_or(|fields| !fields.is_empty()));
        spec
    }
}

impl Resources {
    /// Returns the canonical form.
    #[must_use]
    pub fn canonical(&self) -> Self {
        let mut resources = self.clone();
        resources.requests.values_mut().chain(resources.limits.values_mut()).for_each(make_canonical);
        resources
    }
}

impl Source {
    /// Returns the canonical form.
    #[must_use]
    pub fn canonical(&self) -> Self {
        let mut source = self.clone();
        if let Self::EmptyDir(dir) = &mut source {
            make_canonical(&mut dir.size_limit);
        }
        source
    }
}

/// Returns the time as Kubernetes counts it, in whole seconds; `None` for the default.
fn whole(time: Option<Duration>, least: u64, default: u64) -> Option<Duration> {
    time.map(|t| whole_seconds(t).max(least)).filter(|s| *s != default).map(Duration::from_secs)
}

fn make_canonical(quantity: &mut String) {
    if let Some(canonical) = canonical_quantity(quantity) {
        *quantity = canonical;
    }
}

fn canonical_probes(probes: Probes, spec: &Spec) -> Probes {
    // The defaults of Kubernetes: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#Probe
    let read = |probe: Probe| Probe {
        period: whole(probe.period, 1, 10),
        timeout: whole(probe.timeout, 1, 1),
        failure_threshold: if probe.failure_threshold == 3 { 0 } else { probe.failure_threshold },
        initial_delay: whole(probe.initial_delay, 0, 0),
        check: if let Check::HttpGet { port, path } = &probe.check
            && path == "/"
        {
            Check::HttpGet { port: port.clone(), path: String::new() }
        } else {
            probe.check
        },
    };
    let some = |probe: Option<Probe>| probe.filter(|p| p.check != Check::None).map(read);
    let default = spec.ports.first().map(|first| Probe::new(Check::TcpPort(first.name.clone())));
    let readiness = match probes.readiness.map(|probe| (probe.check == Check::None, read(probe))) {
        // Only an app with ports has a default to switch off.
        Some((true, _)) => default.map(|_| Probe::new(Check::None)),
        Some((false, probe)) => Some(probe).filter(|probe| default.as_ref() != Some(probe)),
        None => None,
    };
    Probes { readiness, liveness: some(probes.liveness), startup: some(probes.startup) }
}

fn canonical_policy(policy: &Policy) -> RolloutPolicy {
    let default = Spec::default().policy();
    let sized = |size: &str, default: &str| {
        // Without an overlap of old and new replicas, the sizes mean nothing.
        let size = if policy.strategy == Strategy::Recreate { default } else { size };
        let (size, default) = (canonical_size(size), canonical_size(default));
        if size == default { String::new() } else { size }
    };
    RolloutPolicy {
        max_surge: sized(&policy.max_surge, &default.max_surge),
        max_unavailable: sized(&policy.max_unavailable, &default.max_unavailable),
        strategy: policy.strategy,
        progress_timeout: Some(policy.progress_timeout).filter(|time| *time != default.progress_timeout),
        verdict: policy.verdict,
        tolerated_restarts: Some(policy.tolerated_restarts).filter(|n| *n != default.tolerated_restarts),
        on_failure: policy.on_failure,
        transient_grace: Some(policy.transient_grace).filter(|time| *time != default.transient_grace),
    }
}

/// Returns a number or percentage without leading zeros. Zero per cent is zero.
pub(in crate::domain) fn canonical_size(size: &str) -> String {
    let (digits, unit) = size.strip_suffix('%').map_or((size, ""), |digits| (digits, "%"));
    match digits.parse::<u32>() {
        Ok(0) => "0".to_owned(),
        Ok(number) => format!("{number}{unit}"),
        Err(_) => size.to_owned(),
    }
}

/// Returns the patch with the canonical form of each quantity, which a patch may give as a number too.
fn canonical_patch(parent: &str, key: &str, value: Value) -> Value {
    let amounts = matches!(parent, "requests" | "limits" | "overhead");
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, field)| {
                let field = canonical_patch(key, &name, field);
                (name, field)
            });
            Value::Object(fields.collect())
        }
        Value::Array(entries) => {
            Value::Array(entries.into_iter().map(|entry| canonical_patch("", "", entry)).collect())
        }
        Value::String(text) if amounts || matches!(key, "sizeLimit" | "divisor") => {
            Value::String(canonical_quantity(&text).unwrap_or(text))
        }
        Value::Number(number) if amounts || matches!(key, "sizeLimit" | "divisor") => {
            canonical_quantity(&number.to_string()).map_or(Value::Number(number), Value::String)
        }
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => value,
    }
}

#[cfg(test)]
mod tests;
