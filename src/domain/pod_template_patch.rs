//! `AppSpec.pod_template_patch`: merging a patch into a rendered pod template. Works on JSON.

use serde_json::{Map, Value};

use super::keyed_lists::{entry_id, find_entry, join_entry, key_field, list_name};

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
pub struct OwnedField {
    /// Path within the template, entries of keyed lists in brackets: `spec.containers[app].image`.
    pub path: String,
    /// The field of the spec.
    pub field: &'static str,
}

/// Merges `patch` into `template`: maps by key, lists by Kubernetes' own list keys, other lists replaced,
/// null removes.
pub fn apply_patch(template: &Value, patch: &Value, owned: &[OwnedField]) -> Result<Value, Invalid> {
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
    owned: &[OwnedField],
) -> Result<Map<String, Value>, Invalid> {
    let mut merged = old.clone();
    for (key, change) in patch {
        let at = join_path(path, key);
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

/// The path of a key below a path. A key that would look like a path itself stands in quotes:
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

fn merge(old: &Value, patch: &Value, path: &str, owned: &[OwnedField]) -> Result<Value, Invalid> {
    let key = key_field(list_name(path));
    match (old, patch, key) {
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
            match patch {
                // Its nulls remove, here as everywhere.
                Value::Object(_) => merge(&Value::Null, patch, path, owned),
                Value::Array(_) if key.is_some() => merge(&Value::Null, patch, path, owned),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                    Ok(patch.clone())
                }
            }
        }
    }
}

fn merge_list(
    old: &[Value],
    patch: &[Value],
    key: &'static str,
    path: &str,
    owned: &[OwnedField],
) -> Result<Value, Invalid> {
    let list = list_name(path);
    let mut merged = old.to_vec();
    for change in patch {
        let no_key = || Invalid::NoKey { path: path.to_owned(), key };
        let id = entry_id(list, change).ok_or_else(no_key)?;
        match find_entry(list, &merged, change) {
            Some(i) => {
                let id = entry_id(list, &merged[i]).unwrap_or(id);
                merged[i] = merge(&merged[i], change, &join_entry(path, &id), owned)?;
            }
            None => merged.push(merge(&Value::Null, change, &join_entry(path, &id), owned)?),
        }
    }
    Ok(Value::Array(merged))
}

/// Whether one path is the other or lies below it.
fn overlaps(a: &str, b: &str) -> bool {
    let below = |deep: &str, high: &str| {
        deep.strip_prefix(high).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    below(a, b) || below(b, a)
}

#[cfg(test)]
mod tests;
