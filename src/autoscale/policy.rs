//! The policy of one app's autoscaler: what callers may set, its defaults, its rules, and its stored form.
//!
//! Must not know who sets it, nor where it is stored. Its JSON form stays in the cluster for years, so fields
//! may be added but never renamed.

#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::rate_law::RateLaw;

/// The settings of one app's autoscaler.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Policy {
    /// Whether the autoscaler decides, and whether it acts.
    pub mode: Mode,
    /// Minimum of the replica count.
    pub min: u32,
    /// Maximum of the replica count; 0 if it was never set.
    pub max: u32,
    /// The targets. The one that requires most replicas decides.
    pub targets: Vec<Signal>,
    /// Time constant of the rate law for rising.
    #[serde(with = "seconds")]
    pub up: Duration,
    /// Time constant of the rate law for falling.
    #[serde(with = "seconds")]
    pub down: Duration,
    /// Share of requests that may meet too few replicas.
    pub violation: f64,
    /// How to forecast.
    pub forecast: Forecast,
    /// Time without demand after which an app with a minimum of 0 is stopped.
    #[serde(with = "seconds")]
    pub idle: Duration,
    /// Time from requesting a replica until it is ready; `None` means that it is measured.
    #[serde(with = "maybe_seconds", skip_serializing_if = "Option::is_none")]
    pub startup: Option<Duration>,
    /// When a freeze ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freeze_end: Option<Timestamp>,
    /// The Kubernetes user who set the mode, on whose behalf the autoscaler acts.
    pub acts_for: String,
}

/// What an autoscaler may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Mode {
    /// Nothing.
    #[default]
    Off,
    /// Decide and record the decision.
    Shadow,
    /// Decide, record the decision and act.
    Active,
    /// Decide and record the decision, but leave the replica count unchanged.
    Frozen,
}

/// How to forecast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Forecast {
    /// All predictors compete. So far there is only one, the present demand.
    #[default]
    Auto,
    /// Only the present demand.
    None,
}

/// A signal, with what one replica can handle of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Signal {
    /// CPU in use, in percent of the request.
    CpuPercent(u32),
    /// Memory in use, in percent of the request.
    MemoryPercent(u32),
    /// Requests per second that one replica can handle.
    RequestsPerSecond(f64),
    /// Concurrent requests that one replica can handle.
    Concurrency(f64),
    /// A number that callers report.
    #[serde(rename_all = "camelCase")]
    Reported {
        /// Its name.
        metric: String,
        /// How much of it one replica can handle.
        per_replica: f64,
    },
}

/// A field of the policy that callers may set. Its name is that of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // see Autoscaler in autoscaler.proto
pub enum Field {
    Mode,
    MinReplicas,
    MaxReplicas,
    Targets,
    ScaleUpDuration,
    ScaleDownDuration,
    ViolationObjective,
    Forecast,
    IdleTimeout,
    StartupDuration,
    FreezeEndTime,
}

/// A change of a policy: the fields to change, each with its new value. `None` restores the default.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)] // see Policy
pub struct PolicyChange {
    pub fields: Vec<Field>,
    pub mode: Option<Mode>,
    pub min: Option<u32>,
    pub max: Option<u32>,
    pub targets: Vec<Signal>,
    pub up: Option<Duration>,
    pub down: Option<Duration>,
    pub violation: Option<f64>,
    pub forecast: Option<Forecast>,
    pub idle: Option<Duration>,
    pub startup: Option<Duration>,
    pub freeze_end: Option<Timestamp>,
}

/// A field of a policy that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleViolation {
    /// Path below the autoscaler, for example `max_replicas`.
    pub field: String,
    /// What is wrong and what would be right.
    pub why: String,
}

// === impl Policy ===

impl Default for Policy {
    fn default() -> Self {
        Self {
            mode: Mode::Off,
            min: 1,
            max: 0,
            targets: Vec::new(),
            up: Duration::ZERO,
            down: Duration::from_secs(120),
            violation: 0.001,
            forecast: Forecast::Auto,
            idle: Duration::from_secs(300),
            startup: None,
            freeze_end: None,
            acts_for: String::new(),
        }
    }
}

impl Policy {
    /// Returns what the autoscaler may do at this time. A freeze that has ended counts as ACTIVE.
    pub fn mode_at(&self, now: Timestamp) -> Mode {
        match (self.mode, self.freeze_end) {
            (Mode::Frozen, Some(end)) if end <= now => Mode::Active,
            (mode, _) => mode,
        }
    }

    /// Returns the same policy, with a freeze replaced by ACTIVE if it has ended.
    #[must_use]
    pub fn at_time(&self, now: Timestamp) -> Self {
        match self.mode_at(now) {
            mode if mode == self.mode => self.clone(),
            mode => Self { mode, freeze_end: None, ..self.clone() },
        }
    }

    /// Returns whether the autoscaler controls the replica count at this time.
    pub fn owns_count(&self, now: Timestamp) -> bool {
        matches!(self.mode_at(now), Mode::Active | Mode::Frozen)
    }

    /// Returns the rate law with these settings.
    pub fn law(&self) -> RateLaw {
        RateLaw {
            dt_up: self.up.as_secs_f64(),
            dt_down: self.down.as_secs_f64(),
            min: self.min,
            max: self.max,
        }
    }

    /// Returns the digest that guards an update: the first 128 bits of the SHA-256 of the JSON form.
    pub fn digest(&self) -> String {
        let json = serde_json::to_vec(self).unwrap_or_default();
        format!("{:.32x}", Sha256::digest(json))
    }

    /// Returns this policy with a change by `actor`.
    #[must_use]
    pub fn with_change(&self, change: &PolicyChange, actor: &str) -> Self {
        let (mut new, default) = (self.clone(), Self::default());
        for field in &change.fields {
            match field {
                Field::Mode => {
                    new.mode = change.mode.unwrap_or(default.mode);
                    actor.clone_into(&mut new.acts_for);
                    // The end of an earlier freeze does not apply to a new freeze or another mode.
                    if !change.fields.contains(&Field::FreezeEndTime) {
                        new.freeze_end = None;
                    }
                }
                Field::MinReplicas => new.min = change.min.unwrap_or(default.min),
                Field::MaxReplicas => new.max = change.max.unwrap_or(default.max),
                Field::Targets => new.targets.clone_from(&change.targets),
                Field::ScaleUpDuration => new.up = change.up.unwrap_or(default.up),
                Field::ScaleDownDuration => new.down = change.down.unwrap_or(default.down),
                Field::ViolationObjective => new.violation = change.violation.unwrap_or(default.violation),
                Field::Forecast => new.forecast = change.forecast.unwrap_or(default.forecast),
                Field::IdleTimeout => new.idle = change.idle.unwrap_or(default.idle),
                Field::StartupDuration => new.startup = change.startup,
                Field::FreezeEndTime => new.freeze_end = change.freeze_end,
            }
        }
        new
    }

    /// Returns every rule that the policy breaks at this time.
    pub fn violations(&self, now: Timestamp) -> Vec<RuleViolation> {
        let mut found = Vec::new();
        let mut add = |field: &str, why: String| found.push(RuleViolation { field: field.to_owned(), why });
        let on = self.mode != Mode::Off;
        if on && self.max == 0 {
            add(
                "max_replicas",
                "is required unless the mode is OFF; set the largest replica count that is allowed"
                    .to_owned(),
            );
        } else if self.max > 0 && self.max < self.min {
            add("max_replicas", format!("is {}, below min_replicas, which is {}", self.max, self.min));
        }
        if on && self.targets.is_empty() {
            add(
                "targets",
                "are required unless the mode is OFF; set at least one, for example cpu_percent".to_owned(),
            );
        }
        if on && self.min == 0 && !self.targets.iter().any(Signal::is_reported) {
            add(
                "min_replicas",
                "is 0, but no target is on reported load; a stopped app uses no CPU and no memory, so it would never start again; add such a \
                 target, or set 1"
                    .to_owned(),
            );
        }
        for (i, target) in self.targets.iter().enumerate() {
            if self.targets[..i].iter().any(|earlier| earlier.name() == target.name()) {
                add(
                    &format!("targets[{i}]"),
                    format!("is a second target on {}; keep only one", target.name()),
                );
            }
        }
        match (self.mode, self.freeze_end) {
            (Mode::Frozen, Some(end)) if end <= now => {
                add(
                    "freeze_end_time",
                    format!(
                        "is {end}, which is in the past; set a later time, or leave it out to freeze until the mode is changed"
                    ),
                );
            }
            (Mode::Off | Mode::Shadow | Mode::Active, Some(_)) => {
                add(
                    "freeze_end_time",
                    "is allowed only in the mode FROZEN; set that mode too, or leave it out".to_owned(),
                );
            }
            (Mode::Off | Mode::Shadow | Mode::Active | Mode::Frozen, _) => {}
        }
        found
    }
}

// === impl Mode ===

impl Mode {
    /// Returns the name for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "OFF",
            Self::Shadow => "SHADOW",
            Self::Active => "ACTIVE",
            Self::Frozen => "FROZEN",
        }
    }
}

// === impl Signal ===

impl Signal {
    /// Returns its name in the API. For a reported number, that is the name of the number.
    pub fn name(&self) -> &str {
        match self {
            Self::CpuPercent(_) => "cpu_percent",
            Self::MemoryPercent(_) => "memory_percent",
            Self::RequestsPerSecond(_) => "requests_per_second",
            Self::Concurrency(_) => "concurrency",
            Self::Reported { metric, .. } => metric,
        }
    }

    /// Returns what one replica can handle.
    pub fn per_replica(&self) -> f64 {
        match self {
            Self::CpuPercent(percent) | Self::MemoryPercent(percent) => f64::from(*percent),
            Self::RequestsPerSecond(n) | Self::Concurrency(n) | Self::Reported { per_replica: n, .. } => *n,
        }
    }

    /// Returns whether callers report it, so that it is known even if the app has no replicas.
    pub fn is_reported(&self) -> bool {
        match self {
            Self::CpuPercent(_) | Self::MemoryPercent(_) => false,
            Self::RequestsPerSecond(_) | Self::Concurrency(_) | Self::Reported { .. } => true,
        }
    }
}

// === impl Field ===

impl Field {
    /// Every field.
    pub const ALL: [Self; 11] = [
        Self::Mode,
        Self::MinReplicas,
        Self::MaxReplicas,
        Self::Targets,
        Self::ScaleUpDuration,
        Self::ScaleDownDuration,
        Self::ViolationObjective,
        Self::Forecast,
        Self::IdleTimeout,
        Self::StartupDuration,
        Self::FreezeEndTime,
    ];

    /// Returns its name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mode => "mode",
            Self::MinReplicas => "min_replicas",
            Self::MaxReplicas => "max_replicas",
            Self::Targets => "targets",
            Self::ScaleUpDuration => "scale_up_duration",
            Self::ScaleDownDuration => "scale_down_duration",
            Self::ViolationObjective => "violation_objective",
            Self::Forecast => "forecast",
            Self::IdleTimeout => "idle_timeout",
            Self::StartupDuration => "startup_duration",
            Self::FreezeEndTime => "freeze_end_time",
        }
    }
}

/// Durations as a number of seconds, which is readable in an annotation.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(value.as_secs_f64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// The same for an optional duration.
mod maybe_seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[allow(clippy::ref_option)] // serde's signature
    pub(super) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_some(&value.map(|d| d.as_secs_f64()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let seconds: Option<f64> = Option::deserialize(deserializer)?;
        seconds.map(Duration::try_from_secs_f64).transpose().map_err(D::Error::custom)
    }
}
