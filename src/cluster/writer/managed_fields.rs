//! Which field manager owns which field of an object, as its `metadata.managedFields` say. Changes nothing.

use kube::api::DynamicObject;
use serde_json::Value;

use crate::domain::{ownership, plan::FIELD_MANAGER};

/// A probe is taken over as a whole: if the old manager kept the fields that were defaulted, the probe would be left without a
/// handler, which is not valid.
const WHOLE: [&str; 3] = ["f:livenessProbe", "f:readinessProbe", "f:startupProbe"];

/// The entries as JSON.
pub(super) fn entries_of(object: &DynamicObject) -> Vec<Value> {
    let entries = object.metadata.managed_fields.as_deref().unwrap_or_default();
    entries.iter().filter_map(|entry| serde_json::to_value(entry).ok()).collect()
}

/// The entries of all managers but this server, less these fields. Entries for the status are left as they are, and those
/// for the scale unless `scale`.
pub(super) fn entries_without(object: &DynamicObject, fields: &Value, scale: bool) -> Vec<Value> {
    let reduce = |mut entry: Value| {
        let subresource = entry["subresource"].as_str().unwrap_or_default();
        let ours = entry["manager"] == FIELD_MANAGER && subresource.is_empty();
        let untouched = match subresource {
            "" => ours,
            "scale" => !scale,
            _ => true,
        };
        if ours && !scale {
            return None;
        }
        if untouched {
            return Some(entry);
        }
        let left = ownership::subtract_fields(&entry["fieldsV1"], fields, &WHOLE);
        if ownership::is_empty(&left) {
            return None;
        }
        entry["fieldsV1"] = left;
        Some(entry)
    };
    entries_of(object).into_iter().filter_map(reduce).collect()
}

/// The fields that this server applied.
pub(super) fn applied_fields(object: &DynamicObject) -> Option<Value> {
    let entries = object.metadata.managed_fields.as_deref().unwrap_or_default();
    let ours = entries
        .iter()
        .find(|e| e.manager.as_deref() == Some(FIELD_MANAGER) && e.operation.as_deref() == Some("Apply"));
    ours?.fields_v1.as_ref().map(|fields| fields.0.clone())
}

/// Whether this server owns no field of an object, although it made it: the object was made again from a backup or with
/// `kubectl apply`, and another field manager owns every field.
pub(super) fn owns_no_fields(object: &DynamicObject) -> bool {
    applied_fields(object).is_none()
}

/// Whether this server owns the field of an object at this path.
pub(super) fn owns_field(object: &DynamicObject, path: &[&str]) -> bool {
    let at = |fields: Option<Value>, part: &&str| fields?.get(format!("f:{part}")).cloned();
    path.iter().fold(applied_fields(object), at).is_some()
}

/// Field managers that own `spec.replicas`.
pub(super) fn replica_owners(object: &DynamicObject) -> Vec<String> {
    let entries = object.metadata.managed_fields.as_deref().unwrap_or_default();
    let owns = |fields: &Value| fields.pointer("/f:spec/f:replicas").is_some();
    entries
        .iter()
        .filter(|entry| entry.fields_v1.as_ref().is_some_and(|f| owns(&f.0)))
        .map(|entry| entry.manager.clone().unwrap_or_default())
        .collect()
}

/// Ports of a Service that this server owns, by number and protocol.
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
