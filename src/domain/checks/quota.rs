//! Checks whether the quotas and limits of a namespace leave room for the replicas, including those of the
//! surge.

use std::collections::BTreeMap;

use super::Growth;
use crate::domain::{
    check::{Check, Finding, Kind as CheckKind},
    quantity,
    scheduling::{Amounts, format_amount},
};

/// The name of ReplicaSets in a quota. Each new template needs a new ReplicaSet.
pub const REPLICA_SETS: &str = "replicasets.apps";

/// A `ResourceQuota`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Its name.
    pub name: String,
    /// The limits, as quantities by name.
    pub hard: BTreeMap<String, String>,
    /// The present use.
    pub used: BTreeMap<String, String>,
    /// Which pods it counts: `BestEffort`, `NotBestEffort`, `Terminating`, `NotTerminating`. Any other scope
    /// sets [`Self::unknown_scope`].
    pub scopes: Vec<String>,
    /// Whether it has a scope that Gantry does not know.
    pub unknown_scope: bool,
}

/// One limit of a `LimitRange`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// Name of the `LimitRange`.
    pub name: String,
    /// `Container` or `Pod`; other kinds do not apply to pods.
    pub kind: String,
    /// The maximum, by resource.
    pub max: BTreeMap<String, String>,
    /// The minimum, by resource.
    pub min: BTreeMap<String, String>,
}

/// The resources of one replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The sum of the requests.
    pub requests: Amounts,
    /// The sum of the limits, as far as there are any.
    pub limits: Amounts,
    /// Its containers by name: requests and limits.
    pub containers: Vec<(String, Amounts, Amounts)>,
}

impl Needs {
    /// Returns whether it has neither requests nor limits.
    fn is_best_effort(&self) -> bool {
        [&self.requests, &self.limits].iter().all(|a| a.cpu == 0 && a.memory == 0)
    }

    /// Returns how much one replica adds to an entry of a quota, and the unit. `None` if the entry does not
    /// count pods.
    fn counted(&self, entry: &str) -> Option<(i64, &'static str)> {
        let bare = entry.strip_prefix("requests.").unwrap_or(entry);
        match entry {
            "pods" | "count/pods" => Some((1, "pods")),
            "cpu" | "requests.cpu" => Some((self.requests.cpu, "cpu")),
            "memory" | "requests.memory" => Some((self.requests.memory, "memory")),
            "ephemeral-storage" | "requests.ephemeral-storage" => Some((self.requests.storage, "memory")),
            "limits.cpu" => Some((self.limits.cpu, "cpu")),
            "limits.memory" => Some((self.limits.memory, "memory")),
            "limits.ephemeral-storage" => Some((self.limits.storage, "memory")),
            _ => self.requests.others.get(bare).map(|n| (*n, "count")),
        }
    }
}

/// Checks one quota. `None` if it does not count such pods. `old` are the needs of the existing replicas.
pub fn check_quota(quota: &Quota, needs: &Needs, old: &Needs, growth: &Growth) -> Option<Check> {
    let counts = |scope: &String| match scope.as_str() {
        "BestEffort" => needs.is_best_effort(),
        "NotBestEffort" => !needs.is_best_effort(),
        // It counts pods with `activeDeadlineSeconds`, which replicas never have.
        "Terminating" => false,
        _ => true,
    };
    if !quota.scopes.iter().all(counts) {
        return None;
    }
    let says = |result, message: String| {
        Check::new(CheckKind::Quota, result, message).of(format!("resourcequota/{}", quota.name))
    };
    if quota.unknown_scope {
        let message = format!("Quota {} was not checked, because it has an unknown scope.", quota.name);
        return Some(says(Finding::Skipped, message));
    }
    let extra = growth.peak().saturating_sub(growth.before);
    let mut worst: Option<Check> = None;
    let mut concerned = false;
    for (entry, hard) in &quota.hard {
        let Some((each, unit)) = needs.counted(entry) else { continue };
        concerned = true;
        let parts = if unit == "cpu" { 1000 } else { 1 };
        let read =
            |text: Option<&String>| text.and_then(|t| quantity::ceil_quantity(t, parts)).unwrap_or_default();
        let (hard, used) = (read(Some(hard)), read(quota.used.get(entry)));
        let free = hard.saturating_sub(used).max(0);
        if each <= 0 {
            continue;
        }
        let fits = usize::try_from(free / each).unwrap_or(usize::MAX);
        if fits >= extra {
            continue;
        }
        let times = |count: usize, each: i64| i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(each);
        let freed = old.counted(entry).map_or(0, |(each, _)| times(growth.before, each));
        let goes_on =
            growth.change.replaces && (fits > 0 || growth.change.unavailable > 0 || growth.change.recreate);
        let ends = used - freed + times(growth.change.replicas, each) <= hard;
        let (result, effect) = if goes_on && ends {
            (Finding::Warn, "replicas of the surge wait until old ones are gone")
        } else {
            (Finding::Fail, "the other replicas would not be created")
        };
        let message = format!(
            "Quota {} leaves {} of {} {entry}; {extra} more replicas at a time need {}, so {effect}. Raise the quota, lower the resources, or lower replicas or max_surge.",
            quota.name,
            format_amount(unit, free),
            format_amount(unit, hard),
            format_amount(unit, times(extra, each)),
        );
        if worst.as_ref().is_none_or(|check| result < check.result) {
            worst = Some(says(result, message));
        }
    }
    let pass = || says(Finding::Pass, format!("Quota {} leaves room.", quota.name));
    concerned.then(|| worst.unwrap_or_else(pass))
}

/// Returns the name of a resource in a quota, without the prefix `count/`.
pub fn quota_resource(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

/// Checks one quota for the objects that the change creates, one of each of these resources. `None` if the
/// quota counts none of them.
pub fn check_object_count(quota: &Quota, made: &[String]) -> Option<Check> {
    let says = |result, message: String| {
        Check::new(CheckKind::Quota, result, message).of(format!("resourcequota/{}", quota.name))
    };
    let mut concerned = false;
    for (entry, hard) in &quota.hard {
        // Services also have an older name, from before `count/` existed.
        let Some(resource) = entry.strip_prefix("count/").or_else(|| (entry == "services").then_some(entry))
        else {
            continue;
        };
        if !made.iter().any(|made| made == resource) {
            continue;
        }
        concerned = true;
        let read =
            |text: Option<&String>| text.and_then(|t| quantity::ceil_quantity(t, 1)).unwrap_or_default();
        let (hard, used) = (read(Some(hard)), read(quota.used.get(entry)));
        if used < hard {
            continue;
        }
        let (effect, remedy) = if resource == REPLICA_SETS {
            (
                "no new replica would be created",
                "Raise the quota, or delete ReplicaSets that have no replicas",
            )
        } else {
            ("the change would be refused", "Raise the quota, or delete what is not needed")
        };
        let message = format!(
            "Quota {} leaves {} of {hard} {entry}, and the change creates one, so {effect}. {remedy}.",
            quota.name,
            hard.saturating_sub(used).max(0),
        );
        return Some(says(Finding::Fail, message));
    }
    concerned.then(|| says(Finding::Pass, format!("Quota {} leaves room.", quota.name)))
}

/// Checks the replica against one limit, and returns each violation.
pub fn check_limit_range(limit: &Limit, needs: &Needs) -> Vec<Check> {
    let whole = || vec![(String::new(), needs.requests.clone(), needs.limits.clone())];
    let subjects = match limit.kind.as_str() {
        "Container" => needs.containers.clone(),
        "Pod" => whole(),
        _ => Vec::new(),
    };
    let (max, min) = (Amounts::read(&limit.max), Amounts::read(&limit.min));
    let mut found = Vec::new();
    for (name, requests, limits) in subjects {
        let who = if name.is_empty() { "the replica".to_owned() } else { format!("container {name}") };
        let mut says = |resource: &str, set: i64, word: &str, bound: i64| {
            let message = format!(
                "LimitRange {} allows {word} {} of {resource}, and {who} has {}. Change resources.",
                limit.name,
                format_amount(resource, bound),
                format_amount(resource, set),
            );
            let check = Check::new(CheckKind::Quota, Finding::Fail, message);
            found.push(check.of(format!("limitrange/{}", limit.name)));
        };
        for resource in limit.max.keys() {
            let set = limits.of(resource).max(requests.of(resource));
            if set > max.of(resource) {
                says(resource, set, "at most", max.of(resource));
            }
        }
        for resource in limit.min.keys() {
            let set = requests.of(resource);
            if set > 0 && set < min.of(resource) {
                says(resource, set, "at least", min.of(resource));
            }
        }
    }
    found
}
