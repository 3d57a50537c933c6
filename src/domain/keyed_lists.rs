//! The lists of a manifest whose entries have keys, so that two versions of one can be compared and merged
//! entry by entry: what Kubernetes' API declares as `listMapKey`. All other lists are one value.

use serde_json::Value;

#[cfg(test)]
pub(crate) mod path;

/// Fields that make the key of an entry, the first one alone where the others are not given.
///
/// Of `PodSpec`, `Container` and `ServiceSpec` in
/// <https://github.com/kubernetes/kubernetes/blob/v1.36.3/staging/src/k8s.io/api/core/v1/types.go>, and of
/// `ObjectMeta` beside it.
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
        // Ports of a container, and of a Service.
        "ports" => &["containerPort", "port", "protocol"],
        "volumeMounts" => &["mountPath"],
        "volumeDevices" => &["devicePath"],
        "topologySpreadConstraints" => &["topologyKey", "whenUnsatisfiable"],
        "hostAliases" => &["ip"],
        "ownerReferences" => &["uid"],
        _ => return None,
    })
}

/// Name of the list that a path leads to: its last field.
pub fn list_name(path: &str) -> &str {
    if path.ends_with(']') { "" } else { path.rsplit('.').next().unwrap_or(path) }
}

/// The field that an entry of this list must have, if the list has keys.
pub fn key_field(list: &str) -> Option<&'static str> {
    key_fields(list)?.first().copied()
}

/// What tells an entry of a list from the others; `None` if the list has no keys or the entry lacks its own.
pub fn entry_id(list: &str, entry: &Value) -> Option<String> {
    let mut id = String::new();
    for key in key_fields(list)? {
        let text = match entry.get(*key) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => continue,
        };
        // What every entry says is not repeated in every path.
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

/// Which entry a change is about. One that leaves the second half of its key open means the first that has
/// the other half.
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

/// The path of an entry of a list.
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
