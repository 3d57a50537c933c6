//! What a change would meet in the cluster, judged before its first write: each judgement takes what was read
//! and gives a check. Pure; reads nothing. Where replicas would go is judged in [`super::scheduling`].

pub mod autoscaler;
pub mod disruption;
pub mod image;
pub mod quota;
pub mod references;

use serde_json::Value;

use super::{
    check::{Check, Finding},
    scheduling,
};

/// The numbers of a Deployment that say how its replicas change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// What becomes of the replicas.
    pub change: scheduling::Change,
    /// Replicas that are there.
    pub before: usize,
}

impl Growth {
    /// Reads a Deployment as it would be. The surge is rounded up and the unavailable ones down, and never
    /// are both none, as Kubernetes does it.
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

    /// Replicas there are at most while it goes on.
    pub fn peak(&self) -> usize {
        let scheduling::Change { replicas, surge, recreate, replaces, .. } = self.change;
        if !replaces || recreate || self.before == 0 {
            return replicas;
        }
        (replicas + surge).min(self.before + replicas)
    }
}

/// A number or a percentage of the replicas; a percentage is rounded up or down.
fn share(value: &Value, replicas: usize, up: bool) -> Option<usize> {
    if let Some(number) = value.as_u64() {
        return number.try_into().ok();
    }
    let percent: usize = value.as_str()?.strip_suffix('%')?.parse().ok()?;
    let parts = percent.checked_mul(replicas)?;
    Some(if up { parts.div_ceil(100) } else { parts / 100 })
}

/// The same finding about several things as one check, because ten lines are too many to say that all is
/// well.
pub fn or_pass(checks: Vec<Check>, pass: impl FnOnce() -> Check) -> Vec<Check> {
    let all_well = checks.iter().all(|check| check.result == Finding::Pass);
    if all_well { vec![pass()] } else { checks.into_iter().filter(|c| c.result != Finding::Pass).collect() }
}

#[cfg(test)]
mod tests;
