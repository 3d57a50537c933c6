//! An object as its leaves: each value that contains no other value, by its path in a plan. Does not use the
//! code of Gantry that does the same, so that the two check each other.

use std::collections::BTreeMap;

use gantry::domain::pod_template_patch;
use serde_json::Value;

/// The leaves by their paths.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Leaves(BTreeMap<String, Value>);

/// Fields that the API server, its controllers and Gantry's revision count write beside the planned changes.
const NOISE: [&str; 9] = [
    "status",
    "apiVersion",
    "kind",
    "metadata.managedFields",
    "metadata.resourceVersion",
    "metadata.generation",
    "metadata.creationTimestamp",
    r#"metadata.annotations["deployment.kubernetes.io/revision"]"#,
    r#"metadata.annotations["gantry.dev/revision"]"#,
];

impl Leaves {
    pub fn of(path: &str, value: &Value) -> Self {
        let mut leaves = Self::default();
        leaves.add(path, value);
        leaves
    }

    fn add(&mut self, path: &str, value: &Value) {
        if NOISE.contains(&path) {
            return;
        }
        match value {
            Value::Null => {}
            Value::Object(map) if !map.is_empty() => {
                for (key, value) in map {
                    self.add(&pod_template_patch::join_path(path, key), value);
                }
            }
            Value::Array(list) if !list.is_empty() && list.iter().all(|e| entry(path, e).is_some()) => {
                for value in list {
                    self.add(&format!("{path}[{}]", entry(path, value).unwrap()), value);
                }
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                self.0.insert(path.to_owned(), value.clone());
            }
        }
    }

    /// The leaves at or below a path.
    pub fn below(&self, path: &str) -> Self {
        let all = self.0.iter().filter(|(at, _)| is_below(at, path));
        Self(all.map(|(at, value)| (at.clone(), value.clone())).collect())
    }

    /// Replaces the leaves at or below a path by others.
    pub fn replace(&mut self, path: &str, others: Self) {
        self.0.retain(|at, _| !is_below(at, path));
        self.0.extend(others.0);
    }

    /// Drops a leaf above a path: an empty object that the path fills, or that remains when the path is
    /// removed.
    pub fn drop_above(&mut self, path: &str) {
        self.0.retain(|at, _| at == path || !is_below(path, at));
    }

    /// The leaves that the other object does not have, or has with another value.
    pub fn beside(&self, others: &Self) -> BTreeMap<&str, &Value> {
        let missing = self.0.iter().filter(|(at, value)| others.0.get(*at) != Some(value));
        missing.map(|(at, value)| (at.as_str(), value)).collect()
    }

    /// The leaves that an object made from this manifest does not have. The API server drops empty objects
    /// and writes quantities in its own form, so these are left out.
    pub fn without(&self, others: &Self) -> BTreeMap<&str, &Value> {
        let is_empty = |value: &Value| value.as_object().is_some_and(serde_json::Map::is_empty);
        let mut missing = self.beside(others);
        missing.retain(|at, value| !at.contains(".resources.") && !is_empty(value));
        missing
    }
}

fn is_below(at: &str, path: &str) -> bool {
    at.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The key by which Kubernetes identifies an entry of a list.
fn entry(path: &str, value: &Value) -> Option<String> {
    let keys: &[&str] = match path.rsplit('.').next()? {
        "containers" | "initContainers" | "env" | "volumes" | "imagePullSecrets" | "schedulingGates" => {
            &["name"]
        }
        "ports" => &["containerPort", "port"],
        "volumeMounts" => &["mountPath"],
        "topologySpreadConstraints" => &["topologyKey"],
        "hostAliases" => &["ip"],
        "ownerReferences" => &["uid"],
        _ => return None,
    };
    let id = keys.iter().find_map(|key| value.get(*key))?;
    let id = id.as_str().map_or_else(|| id.to_string(), ToOwned::to_owned);
    let beside = [("whenUnsatisfiable", "ScheduleAnyway"), ("protocol", "TCP")];
    let told = beside.iter().find_map(|(key, default)| value[*key].as_str().filter(|text| text != default));
    Some(told.map_or_else(|| id.clone(), |told| format!("{id},{told}")))
}

/// Adds each difference between two values. Nothing is left out.
pub fn differences(at: &str, one: &Value, other: &Value, found: &mut Vec<String>) {
    match (one, other) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                differences(&pod_template_patch::join_path(at, key), &of(a), &of(b), found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (n, (a, b)) in a.iter().zip(b).enumerate() {
                differences(&format!("{at}[{n}]"), a, b, found);
            }
        }
        _ if one != other => found.push(format!("{at} from {one} to {other}")),
        _ => {}
    }
}
