//! Lists of a manifest whose entries have keys (`listMapKey` in the API of Kubernetes), so that two versions
//! of a list can be compared and merged entry by entry. Every other list is one value.

use serde_json::Value;

#[cfg(test)]
pub(crate) mod path;

/// Returns the fields that form the key of an entry. Where the other fields are not set, the first one alone
/// is the key.
///
/// Taken from `PodSpec`, `Container` and `ServiceSpec` in
/// <https://github.com/kubernetes/kubernetes/blob/v1.36.3/staging/src/k8s.io/api/core/v1/types.go>, and from
/// `ObjectMeta` in the same repository.
fn key_fields(list: &str) -> Option<&'static [&'static str]> {
    Some(match list {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "env"
        | "volumes"
        | "imagePullSecrets"
        | "resourceClaims"
        | "claims"
        | "schedulingGates" => &["name"],
        // Ports of a container (`containerPort`) and of a Service (`port`).
        "ports" => &["containerPort", "port", "protocol"],
        "volumeMounts" => &["mountPath"],
        "volumeDevices" => &["devicePath"],
        "topologySpreadConstraints" => &["topologyKey", "whenUnsatisfiable"],
        "hostAliases" => &["ip"],
        "ownerReferences" => &["uid"],
        _ => return None,
    })
}

/// Returns the name of the list that a path leads to, which is its last field.
pub fn list_name(path: &str) -> &str {
    if path.ends_with(']') { "" } else { path.rsplit('.').next().unwrap_or(path) }
}

/// Returns the field that an entry of this list must have, if the list has keys.
pub fn key_field(list: &str) -> Option<&'static str> {
    key_fields(list)?.first().copied()
}

/// Returns the key of an entry as text, for example `53,UDP`. `None` if the list has no keys or the entry has
/// none.
pub fn entry_id(list: &str, entry: &Value) -> Option<String> {
    let mut id = String::new();
    for key in key_fields(list)? {
        let text = match entry.get(*key) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => continue,
        };
        // Defaults are left out, to keep paths short.
        if matches!((*key, text.as_str()), ("protocol", "TCP") | ("whenUnsatisfiable", "ScheduleAnyway")) {
            continue;
        }
        if id.is_empty() && matches!(*key, "protocol" | "whenUnsatisfiable") {
            return None;
        }
        if !id.is_empty() {
            id.push(',');
        }
        id.push_str(&text);
    }
    (!id.is_empty()).then_some(id)
}

/// Finds the entry that a change is about. If a change to a spread constraint leaves `whenUnsatisfiable` out
/// and no entry matches exactly, it means the first one with the same `topologyKey`.
pub fn find_entry(list: &str, entries: &[Value], change: &Value) -> Option<usize> {
    let wanted = entry_id(list, change)?;
    let exact = entries.iter().position(|entry| entry_id(list, entry).as_ref() == Some(&wanted));
    exact.or_else(|| match list {
        "topologySpreadConstraints" if change.get("whenUnsatisfiable").is_none() => {
            entries.iter().position(|entry| entry.get("topologyKey") == change.get("topologyKey"))
        }
        _ => None,
    })
}

/// Returns the path of a key below a path. A key that contains `.`, `[` or `]` is quoted:
/// `metadata.labels["a.b/c"]`.
pub fn join_path(path: &str, key: &str) -> String {
    if key.contains(['.', '[', ']']) {
        format!("{path}[\"{key}\"]")
    } else if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// Returns the path of an entry of a list.
pub fn join_entry(list: &str, id: &str) -> String {
    format!("{list}[{id}]")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn entries_are_told_apart_as_kubernetes_does() {
        for (list, entry, expected) in [
            ("containers", json!({"name": "app", "image": "x"}), Some("app")),
            ("containers", json!({"image": "x"}), None),
            ("ports", json!({"containerPort": 53, "name": "dns"}), Some("53")),
            ("ports", json!({"containerPort": 53, "protocol": "TCP"}), Some("53")),
            ("ports", json!({"containerPort": 53, "protocol": "UDP"}), Some("53,UDP")),
            ("ports", json!({"port": 80, "targetPort": "http"}), Some("80")),
            ("ports", json!({"protocol": "UDP"}), None),
            ("volumeMounts", json!({"mountPath": "/a.b"}), Some("/a.b")),
            ("topologySpreadConstraints", json!({"topologyKey": "zone"}), Some("zone")),
            (
                "topologySpreadConstraints",
                json!({"topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}),
                Some("zone,DoNotSchedule"),
            ),
            ("tolerations", json!({"key": "a"}), None),
            ("env", json!("text"), None),
        ] {
            assert_eq!(entry_id(list, &entry).as_deref(), expected, "{list} {entry}");
        }
    }

    #[test]
    fn half_a_key_means_the_entry_that_has_it() {
        let strict = json!({"topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"});
        let half = json!({"topologyKey": "zone", "maxSkew": 2});
        let soft = json!({"topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"});
        let find = |entries: &[Value], change| find_entry("topologySpreadConstraints", entries, change);
        assert_eq!(find(std::slice::from_ref(&strict), &half), Some(0));
        assert_eq!(find(&[strict.clone(), soft.clone()], &half), Some(1));
        assert_eq!(find(&[strict], &soft), None);
    }

    #[test]
    fn the_name_of_a_list_is_the_last_field_of_its_path() {
        assert_eq!(list_name("spec.containers[app].env"), "env");
        assert_eq!(list_name("spec.containers[app]"), "");
        assert_eq!(list_name("metadata.annotations[\"a.env\"]"), "");
        assert_eq!(list_name("spec"), "spec");
    }
}
