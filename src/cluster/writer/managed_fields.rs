//! Reads `metadata.managedFields`: which field manager owns which field. Writes nothing; `field_ownership.rs`
//! rewrites them, and `decode/managed_fields.rs` decodes them for the index.

use kube::api::DynamicObject;
use serde_json::Value;

use crate::domain::{fields_v1, plan::FIELD_MANAGER};

/// Probes are taken over as a whole. If the old manager kept the defaulted fields, the probe would be left
/// without a handler, which is invalid.
const ATOMIC_FIELDS: [&str; 3] = ["f:livenessProbe", "f:readinessProbe", "f:startupProbe"];

/// `metadata.managedFields` as JSON.
pub(super) fn managed_fields_json(object: &DynamicObject) -> Vec<Value> {
    let entries = object.metadata.managed_fields.as_deref().unwrap_or_default();
    entries.iter().filter_map(|entry| serde_json::to_value(entry).ok()).collect()
}

/// The entries of all managers other than Gantry, without these fields. Entries of subresources are
/// unchanged. Used to transfer a Deployment to Gantry.
pub(super) fn others_without(object: &DynamicObject, fields: &Value) -> Vec<Value> {
    let others = managed_fields_json(object).into_iter().filter(|entry| !is_own_entry(entry));
    others
        .filter_map(|entry| if has_subresource(&entry) { Some(entry) } else { without(entry, fields) })
        .collect()
}

/// All entries, with these fields removed from every manager other than Gantry, also in entries of the scale
/// subresource. Used to take over `spec.replicas`.
pub(super) fn release_from_others(object: &DynamicObject, fields: &Value) -> Vec<Value> {
    let stays =
        |entry: &Value| is_own_entry(entry) || has_subresource(entry) && entry["subresource"] != "scale";
    let all = managed_fields_json(object).into_iter();
    all.filter_map(|entry| if stays(&entry) { Some(entry) } else { without(entry, fields) }).collect()
}

fn is_own_entry(entry: &Value) -> bool {
    entry["manager"] == FIELD_MANAGER && !has_subresource(entry)
}

fn has_subresource(entry: &Value) -> bool {
    entry["subresource"].as_str().is_some_and(|subresource| !subresource.is_empty())
}

/// Returns the entry without these fields, or `None` if no fields are left.
fn without(mut entry: Value, fields: &Value) -> Option<Value> {
    let left = fields_v1::subtract_fields(&entry["fieldsV1"], fields, &ATOMIC_FIELDS);
    if fields_v1::is_empty(&left) {
        return None;
    }
    entry["fieldsV1"] = left;
    Some(entry)
}

/// Returns `fieldsV1` of the Apply entry of the field manager `gantry`. Writes by `gantry-scale` and
/// `gantry-meta` are not in it.
pub(super) fn applied_fields(object: &DynamicObject) -> Option<Value> {
    let entries = object.metadata.managed_fields.as_deref().unwrap_or_default();
    let ours = entries
        .iter()
        .find(|e| e.manager.as_deref() == Some(FIELD_MANAGER) && e.operation.as_deref() == Some("Apply"));
    ours?.fields_v1.as_ref().map(|fields| fields.0.clone())
}

/// Whether Gantry has no Apply entry: the object is not managed by Gantry, or was created again from a backup
/// or with `kubectl apply`.
pub(super) fn has_no_apply_entry(object: &DynamicObject) -> bool {
    applied_fields(object).is_none()
}

/// Whether the field manager `gantry` owns the field at this path.
pub(super) fn owns_field(object: &DynamicObject, path: &[&str]) -> bool {
    let at = |fields: Option<Value>, part: &&str| fields?.get(format!("f:{part}")).cloned();
    path.iter().fold(applied_fields(object), at).is_some()
}

/// Returns the field managers that own `spec.replicas`.
pub(super) fn replica_owners(object: &DynamicObject) -> Vec<String> {
    let entries = object.metadata.managed_fields.as_deref().unwrap_or_default();
    let owns = |fields: &Value| fields.pointer("/f:spec/f:replicas").is_some();
    entries
        .iter()
        .filter(|entry| entry.fields_v1.as_ref().is_some_and(|f| owns(&f.0)))
        .map(|entry| entry.manager.clone().unwrap_or_default())
        .collect()
}

/// Returns the ports of a Service that the field manager `gantry` owns, by number and protocol.
pub(super) fn owned_ports(object: &DynamicObject) -> std::collections::HashSet<(u16, String)> {
    let entries = object.metadata.managed_fields.as_deref().unwrap_or_default();
    let ours = entries.iter().filter(|e| e.manager.as_deref() == Some(FIELD_MANAGER));
    let keys = ours
        .filter_map(|entry| entry.fields_v1.as_ref()?.0.pointer("/f:spec/f:ports")?.as_object())
        .flat_map(|ports| ports.keys());
    keys.filter_map(|key| serde_json::from_str::<Value>(key.strip_prefix("k:")?).ok())
        .filter_map(|key| {
            Some((u16::try_from(key["port"].as_u64()?).ok()?, key["protocol"].as_str()?.to_owned()))
        })
        .collect()
}
