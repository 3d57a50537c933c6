//! `AppSpec.pod_template_patch`: merging a patch into a rendered pod template. Works on JSON; knows the list keys of Kubernetes.

use serde_json::{Map, Value};

/// Why a patch cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The patch, or a part of it that must be a map, is something else.
    #[error("{path} must be an object")]
    NotAnObject {
        /// Where, within the pod template.
        path: String,
    },
    /// It touches what a set field of the spec rendered.
    #[error("{path} is set by the field {field}; change that instead")]
    Touches {
        /// Where, within the pod template.
        path: String,
        /// Field of the spec that owns the place.
        field: &'static str,
    },
    /// An entry of a keyed list lacks its key.
    #[error("each entry of {path} needs \"{key}\"")]
    NoKey {
        /// Where, within the pod template.
        path: String,
        /// The list's key.
        key: &'static str,
    },
}

/// A place in the pod template that a set field of the spec rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// Path within the template, entries of keyed lists in brackets: `spec.containers[app].image`.
    pub path: String,
    /// The field of the spec.
    pub field: &'static str,
}

/// Merges `patch` into `template`: maps by key, lists by Kubernetes' own list keys, other lists replaced, null removes.
pub fn apply(template: &Value, patch: &Value, owned: &[Owned]) -> Result<Value, Invalid> {
    match (template, patch) {
        (Value::Object(template), Value::Object(patch)) => {
            merge_map(template, patch, "", owned).map(Value::Object)
        }
        _ => Err(Invalid::NotAnObject { path: "pod_template_patch".to_owned() }),
    }
}

fn merge_map(
    old: &Map<String, Value>,
    patch: &Map<String, Value>,
    path: &str,
    owned: &[Owned],
) -> Result<Map<String, Value>, Invalid> {
    let mut merged = old.clone();
    for (key, change) in patch {
        let at = join(path, key);
        let before = old.get(key).unwrap_or(&Value::Null);
        let after = merge(before, change, &at, owned)?;
        if after.is_null() {
            merged.remove(key)
        } else {
            merged.insert(key.clone(), after)
        };
    }
    Ok(merged)
}

/// The path of a key below a path. A key that would look like a path itself stands in quotes: `metadata.labels["a.b/c"]`.
pub fn join(path: &str, key: &str) -> String {
    if key.contains(['.', '[', ']']) {
        format!("{path}[\"{key}\"]")
    } else if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

fn merge(old: &Value, patch: &Value, path: &str, owned: &[Owned]) -> Result<Value, Invalid> {
    match (old, patch, list_key(path)) {
        (Value::Object(old), Value::Object(patch), _) => {
            merge_map(old, patch, path, owned).map(Value::Object)
        }
        (Value::Null, Value::Object(patch), _) => {
            merge_map(&Map::new(), patch, path, owned).map(Value::Object)
        }
        (Value::Array(old), Value::Array(patch), Some(key)) => merge_list(old, patch, key, path, owned),
        (Value::Null, Value::Array(patch), Some(key)) => merge_list(&[], patch, key, path, owned),
        (old, patch, _) => {
            // A whole value is replaced: everything that was rendered at, above or below this place would go.
            if old != patch
                && let Some(owner) = owned.iter().find(|o| overlaps(&o.path, path))
            {
                return Err(Invalid::Touches { path: path.to_owned(), field: owner.field });
            }
            Ok(patch.clone())
        }
    }
}

fn merge_list(
    old: &[Value],
    patch: &[Value],
    key: &'static str,
    path: &str,
    owned: &[Owned],
) -> Result<Value, Invalid> {
    let mut merged = old.to_vec();
    for change in patch {
        let no_key = || Invalid::NoKey { path: path.to_owned(), key };
        let id = change.get(key).filter(|id| id.is_string() || id.is_number()).ok_or_else(no_key)?;
        let text = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
        let at = format!("{path}[{text}]");
        match merged.iter().position(|entry| entry.get(key) == Some(id)) {
            Some(i) => merged[i] = merge(&merged[i], change, &at, owned)?,
            None => merged.push(merge(&Value::Null, change, &at, owned)?),
        }
    }
    Ok(Value::Array(merged))
}

/// The key that Kubernetes merges a list of the pod template by (`listMapKey` in its API), or `None` for a list that is one value.
fn list_key(path: &str) -> Option<&'static str> {
    match path.rsplit('.').next().unwrap_or(path) {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "env"
        | "volumes"
        | "imagePullSecrets"
        | "resourceClaims"
        | "schedulingGates" => Some("name"),
        "ports" => Some("containerPort"),
        "volumeMounts" => Some("mountPath"),
        "volumeDevices" => Some("devicePath"),
        "topologySpreadConstraints" => Some("topologyKey"),
        "hostAliases" => Some("ip"),
        _ => None,
    }
}

/// Whether one path is the other or lies below it.
fn overlaps(a: &str, b: &str) -> bool {
    let below = |deep: &str, high: &str| {
        deep.strip_prefix(high).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    below(a, b) || below(b, a)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn owned() -> Vec<Owned> {
        vec![
            Owned { path: "spec.containers[app].image".into(), field: "image" },
            Owned { path: "spec.containers[app].env[A]".into(), field: "env" },
        ]
    }

    fn template() -> Value {
        json!({"metadata": {"labels": {"x": "y"}}, "spec": {"containers": [
            {"name": "app", "image": "shop:1", "env": [{"name": "A", "value": "1"}], "args": ["a", "b"]}]}})
    }

    #[test]
    fn maps_and_keyed_lists_merge_and_other_lists_are_replaced() {
        let patch = json!({"metadata": {"annotations": {"sim/cpu": "1"}, "labels": {"x": null}},
            "spec": {"hostNetwork": true, "containers": [
                {"name": "app", "args": ["c"], "env": [{"name": "B", "value": "2"}]}, {"name": "proxy", "image": "p:1"}]}});
        let merged = apply(&template(), &patch, &owned()).unwrap();
        assert_eq!(
            merged,
            json!({"metadata": {"labels": {}, "annotations": {"sim/cpu": "1"}}, "spec": {"hostNetwork": true, "containers": [
                {"name": "app", "image": "shop:1", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}], "args": ["c"]},
                {"name": "proxy", "image": "p:1"}]}})
        );
    }

    #[test]
    fn what_a_field_rendered_cannot_be_touched() {
        for patch in [
            json!({"spec": {"containers": [{"name": "app", "image": "evil:1"}]}}),
            json!({"spec": {"containers": [{"name": "app", "env": [{"name": "A", "value": "2"}]}]}}),
            json!({"spec": {"containers": [{"name": "app", "env": null}]}}),
            json!({"spec": {"containers": null}}),
            json!({"spec": null}),
        ] {
            let error = apply(&template(), &patch, &owned()).unwrap_err();
            assert!(matches!(error, Invalid::Touches { .. }), "{patch}: {error}");
        }
    }

    #[test]
    fn wrong_shapes_are_refused() {
        assert!(apply(&template(), &json!([]), &owned()).is_err());
        assert_eq!(
            apply(&template(), &json!({"spec": {"containers": [{"image": "x"}]}}), &owned()).unwrap_err(),
            Invalid::NoKey { path: "spec.containers".into(), key: "name" }
        );
    }

    #[test]
    fn an_empty_patch_changes_nothing() {
        assert_eq!(apply(&template(), &json!({}), &owned()).unwrap(), template());
    }
}
