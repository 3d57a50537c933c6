//! Reads `metadata.managedFields`: which field manager owns which field. Writes nothing; `field_ownership.rs`
//! rewrites them, and `decode/managed_fields.rs` decodes them for the index.

use std::collections::HashSet;

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

/// Ports of a Service by number and protocol, which identify them.
type PortIds = HashSet<(u16, String)>;

/// Returns the ports of a Service by number and protocol: those that the field manager `gantry` owns, and
/// those that other field managers made. A manager that only set a field of a port did not make it.
pub(super) fn owned_ports(object: &DynamicObject) -> (PortIds, PortIds) {
    let (mut ours, mut others) = (HashSet::new(), HashSet::new());
    for entry in object.metadata.managed_fields.as_deref().unwrap_or_default() {
        let fields = entry.fields_v1.as_ref().and_then(|fields| fields.0.pointer("/f:spec/f:ports"));
        for (key, port) in fields.and_then(Value::as_object).into_iter().flatten() {
            let Some(id) = to_port_id(key) else { continue };
            if entry.manager.as_deref() == Some(FIELD_MANAGER) {
                ours.insert(id);
            } else if port.get(".").is_some() {
                others.insert(id);
            }
        }
    }
    (ours, others)
}

/// Parses the key of a port in `fieldsV1`, for example `k:{"port":80,"protocol":"TCP"}`.
fn to_port_id(key: &str) -> Option<(u16, String)> {
    let key: Value = serde_json::from_str(key.strip_prefix("k:")?).ok()?;
    Some((u16::try_from(key["port"].as_u64()?).ok()?, key["protocol"].as_str()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_port_is_of_those_who_made_it_and_not_of_those_who_set_a_field_of_it() {
        let key = |number: u16| format!(r#"k:{{"port":{number},"protocol":"TCP"}}"#);
        let entry = |manager: &str, ports: Value| json!({"manager": manager, "operation": "Update", "fieldsV1": {"f:spec": {"f:ports": ports}}});
        let service: DynamicObject =
            serde_json::from_value(json!({"metadata": {"name": "shop", "managedFields": [
                entry("gantry", json!({key(80): {".": {}, "f:name": {}}, key(81): {".": {}}})),
                entry("kubectl-edit", json!({key(80): {"f:nodePort": {}}, key(82): {".": {}, "f:port": {}}})),
                entry("argocd", json!({key(81): {".": {}}})),
            ]}}))
            .unwrap();
        let ports = |numbers: [u16; 2]| HashSet::from(numbers.map(|number| (number, "TCP".to_owned())));
        assert_eq!(owned_ports(&service), (ports([80, 81]), ports([81, 82])));
    }
}
