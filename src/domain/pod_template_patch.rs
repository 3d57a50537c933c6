//! Merges `AppSpec.pod_template_patch` into a rendered pod template. Works on JSON.

use std::collections::HashSet;

mod numbers;

use serde_json::{Map, Value};

use self::numbers::find_overflow;
pub use super::keyed_lists::join_path;
use super::keyed_lists::{entry_id, find_entry, join_entry, key_field, list_name};

/// Why a patch cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The patch, or a part of it that must be an object, is something else.
    #[error("{path} must be an object")]
    NotAnObject {
        /// Path within the pod template.
        path: String,
    },
    /// It changes what a set field of the spec rendered.
    #[error("{path} is set by the field {field}; change that instead")]
    Touches {
        /// Path within the pod template.
        path: String,
        /// The field of the spec that owns the path.
        field: &'static str,
    },
    /// An entry of a keyed list lacks its key.
    #[error("each entry of {path} needs \"{key}\"")]
    NoKey {
        /// Path within the pod template.
        path: String,
        /// The key field of the list.
        key: &'static str,
    },
}

/// A part of the pod template that a set field of the spec rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedField {
    /// Path within the template, with the key of a list entry in brackets: `spec.containers[app].image`.
    pub path: String,
    /// The field of the spec that rendered it.
    pub field: &'static str,
}

/// Merges `patch` into `template`. Objects are merged by key, and lists by the list keys of Kubernetes. Other
/// lists are replaced. A null removes the field.
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

/// Returns the path and the description of a fault that neither Gantry nor Kubernetes would notice later. The
/// path has the positions of entries in brackets.
pub fn find_fault(patch: &Value) -> Option<(String, String)> {
    let double = find_double_below(patch, "")
        .map(|path| (path, "has the key of an earlier entry of this list".to_owned()));
    double.or_else(|| find_overflow(patch))
}

/// Returns the path of the first entry of a list whose key an earlier entry of the same list has. Such
/// entries would be merged into one.
fn find_double_below(value: &Value, path: &str) -> Option<String> {
    match value {
        Value::Object(map) => {
            map.iter().find_map(|(key, value)| find_double_below(value, &join_path(path, key)))
        }
        Value::Array(entries) => {
            let mut seen = HashSet::new();
            entries.iter().enumerate().find_map(|(i, entry)| {
                let at = join_entry(path, &i.to_string());
                match entry_id(list_name(path), entry) {
                    Some(id) if !seen.insert(id.clone()) => Some(at),
                    _ => find_double_below(entry, &at),
                }
            })
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
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
            // The whole value is replaced, so everything that was rendered at, above or below this path would
            // be lost.
            if old != patch
                && let Some(owner) = owned.iter().find(|o| overlaps(&o.path, path))
            {
                return Err(Invalid::Touches { path: path.to_owned(), field: owner.field });
            }
            match patch {
                // A null inside the new value still removes a field.
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

/// Returns whether the paths are equal or one lies below the other.
fn overlaps(a: &str, b: &str) -> bool {
    let below = |deep: &str, high: &str| {
        deep.strip_prefix(high).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    below(a, b) || below(b, a)
}

#[cfg(test)]
mod tests;
