//! Compares two versions of a Kubernetes object field by field. Pure; works on JSON.

use serde_json::{Map, Value};

use super::{
    keyed_lists::{entry_id, join_entry, list_name},
    pod_template_patch::join_path,
};

/// One field that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldChange {
    /// Its path, for example `spec.template.spec.containers[app].image`.
    pub path: String,
    /// The old value; `None` if the field is new.
    pub old: Option<Value>,
    /// The new value; `None` if the field is removed.
    pub new: Option<Value>,
}

/// Returns the fields that differ, without those that only the API server writes. A list whose entries have
/// keys is compared entry by entry, and a map key by key. Every other list is compared as one value. A null
/// counts as an absent field. Another order of the entries that both versions have is one change of the list,
/// whose values are the keys in their order.
pub fn diff_objects(before: &Value, after: &Value) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    compare("", Some(before), Some(after), &mut changes);
    changes
}

/// Returns whether a change at this path of a Deployment replaces its replicas.
pub fn restarts_replicas(path: &str) -> bool {
    path.strip_prefix("spec.template").is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Returns the merge patch (RFC 7386) that turns `before` into `after`.
pub fn merge_patch(before: &Value, after: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (before, after) else { return after.clone() };
    let gone = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let differs = new.iter().filter(|(key, value)| old.get(*key) != Some(value)).map(|(key, value)| {
        let change = old.get(key).map_or_else(|| value.clone(), |old| merge_patch(old, value));
        (key.clone(), change)
    });
    Value::Object(gone.chain(differs).collect())
}

/// Applies a merge patch (RFC 7386).
pub fn apply_merge_patch(target: Value, patch: &Value) -> Value {
    let Value::Object(changes) = patch else { return patch.clone() };
    let mut fields = if let Value::Object(fields) = target { fields } else { Map::new() };
    for (key, change) in changes {
        let before = fields.remove(key).unwrap_or_default();
        if !change.is_null() {
            fields.insert(key.clone(), apply_merge_patch(before, change));
        }
    }
    Value::Object(fields)
}

/// Returns whether only the API server and its controllers write this field.
fn is_noise(path: &str) -> bool {
    matches!(
        path,
        "status"
            | "metadata.managedFields"
            | "metadata.resourceVersion"
            | "metadata.uid"
            | "metadata.generation"
            | "metadata.creationTimestamp"
            | "metadata.selfLink"
            | "spec.template.metadata.creationTimestamp"
            | r#"metadata.annotations["deployment.kubernetes.io/revision"]"#
    )
}

fn compare(path: &str, old: Option<&Value>, new: Option<&Value>, changes: &mut Vec<FieldChange>) {
    let there = |value: Option<&Value>| value.filter(|v| !v.is_null()).cloned();
    if is_noise(path) {
        return;
    }
    match (old, new) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => maps(path, old, new, changes),
        (Some(Value::Array(old)), Some(Value::Array(new))) if are_keyed(path, old, new) => {
            entries(path, old, new, changes);
        }
        // A map that contains only noise is not a difference.
        (Some(Value::Object(only)), None)
            if !only.is_empty() && only.keys().all(|key| is_noise(&join_path(path, key))) => {}
        (None, Some(Value::Object(only)))
            if !only.is_empty() && only.keys().all(|key| is_noise(&join_path(path, key))) => {}
        (old, new) => {
            let (old, new) = (there(old), there(new));
            if old != new {
                changes.push(FieldChange { path: path.to_owned(), old, new });
            }
        }
    }
}

fn maps(path: &str, old: &Map<String, Value>, new: &Map<String, Value>, changes: &mut Vec<FieldChange>) {
    for (key, value) in old {
        compare(&join_path(path, key), Some(value), new.get(key), changes);
    }
    for (key, value) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
        compare(&join_path(path, key), None, Some(value), changes);
    }
}

/// Returns whether each entry has a unique key within its list, in both lists.
fn are_keyed(path: &str, old: &[Value], new: &[Value]) -> bool {
    let list = list_name(path);
    let distinct = |entries: &[Value]| {
        let ids: Option<std::collections::BTreeSet<_>> = entries.iter().map(|e| entry_id(list, e)).collect();
        ids.is_some_and(|ids| ids.len() == entries.len())
    };
    distinct(old) && distinct(new)
}

fn entries(path: &str, old: &[Value], new: &[Value], changes: &mut Vec<FieldChange>) {
    let list = list_name(path);
    let find = |entries: &'_ [Value], id: &str| {
        entries.iter().position(|e| entry_id(list, e).as_deref() == Some(id))
    };
    let at = |id: &str| join_entry(path, id);
    for (entry, id) in old.iter().filter_map(|e| Some((e, entry_id(list, e)?))) {
        compare(&at(&id), Some(entry), find(new, &id).map(|i| &new[i]), changes);
    }
    for (entry, id) in new.iter().filter_map(|e| Some((e, entry_id(list, e)?))) {
        if find(old, &id).is_none() {
            compare(&at(&id), None, Some(entry), changes);
        }
    }
    let shared = |entries: &[Value], others: &[Value]| -> Vec<String> {
        entries.iter().filter_map(|e| entry_id(list, e)).filter(|id| find(others, id).is_some()).collect()
    };
    let (was, is) = (shared(old, new), shared(new, old));
    if was != is {
        changes.push(FieldChange { path: path.to_owned(), old: Some(was.into()), new: Some(is.into()) });
    }
}

#[cfg(test)]
mod tests;
