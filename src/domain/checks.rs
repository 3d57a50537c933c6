//! Checks of a change against the cluster, before its first write. Each check takes what was read and returns
//! a result. Pure; reads nothing. Whether nodes have room for the replicas is checked in
//! [`super::scheduling`].

pub mod autoscaler;
pub mod disruption;
pub mod image;
pub mod quota;
pub mod references;
pub mod variables;

use serde_json::Value;

use super::{
    check::{Check, Finding},
    scheduling,
};

/// How many replicas a change of a Deployment needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// How the replicas change.
    pub change: scheduling::Change,
    /// Replicas that exist before the change.
    pub before: usize,
}

impl Growth {
    /// Reads the Deployment as it would be after the change. As in Kubernetes, `maxSurge` is rounded up,
    /// `maxUnavailable` is rounded down, and they are never both zero.
    pub fn read(deployment: &Value, before: usize, replaces: bool) -> Self {
        let spec = &deployment["spec"];
        let replicas = spec["replicas"].as_u64().and_then(|n| n.try_into().ok()).unwrap_or(1);
        let rolling = &spec["strategy"]["rollingUpdate"];
        let surge = share(&rolling["maxSurge"], replicas, true).unwrap_or_default();
        let unavailable = share(&rolling["maxUnavailable"], replicas, false).unwrap_or_default();
        let change = scheduling::Change {
            replicas,
            surge,
            unavailable: if surge == 0 { unavailable.max(1) } else { unavailable },
            recreate: spec["strategy"]["type"] == "Recreate",
            replaces,
        };
        Self { change, before }
    }

    /// Returns the largest number of replicas that exist at once during the change.
    pub fn peak(&self) -> usize {
        let scheduling::Change { replicas, surge, recreate, replaces, .. } = self.change;
        if !replaces || recreate || self.before == 0 {
            return replicas;
        }
        (replicas + surge).min(self.before + replicas)
    }
}

/// Reads a number, or a percentage of the replicas, which is rounded up or down.
fn share(value: &Value, replicas: usize, up: bool) -> Option<usize> {
    if let Some(number) = value.as_u64() {
        return number.try_into().ok();
    }
    let percent: usize = value.as_str()?.strip_suffix('%')?.parse().ok()?;
    let parts = percent.checked_mul(replicas)?;
    Some(if up { parts.div_ceil(100) } else { parts / 100 })
}

/// Replaces the checks by the single check `pass` if all of them pass, and drops the passing ones otherwise.
/// Ten lines are too many to report that all is well.
pub fn or_pass(checks: Vec<Check>, pass: impl FnOnce() -> Check) -> Vec<Check> {
    let all_well = checks.iter().all(|check| check.result == Finding::Pass);
    if all_well { vec![pass()] } else { checks.into_iter().filter(|c| c.result != Finding::Pass).collect() }
}

#[cfg(test)]
mod tests;
