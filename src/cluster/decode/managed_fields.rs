//! Decodes `metadata.managedFields`. They are often half of an object's size. So each entry is reduced to the
//! manager, operation, subresource, time, and whether it owns `spec.template` or `spec.replicas`.
//! `writer/managed_fields.rs` reads them whole.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, ObjectMeta, Time};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Map, Value, json};

use crate::domain::{labels::KNOWN_FIELD_MANAGERS, observed::FieldUpdate};

/// JSON Pointer to `spec.template` in `fieldsV1`.
pub(super) const TEMPLATE: &str = "/f:spec/f:template";
/// JSON Pointer to `spec.replicas` in `fieldsV1`.
pub(super) const COUNT: &str = "/f:spec/f:replicas";

/// An entry of `managedFields`, reduced while it is read.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct FieldsEntry {
    manager: Option<String>,
    operation: Option<String>,
    subresource: Option<String>,
    time: Option<Time>,
    fields_v1: Option<Fields>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Fields {
    #[serde(rename = "f:spec")]
    spec: Option<SpecFields>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SpecFields {
    #[serde(rename = "f:template")]
    template: Option<IgnoredAny>,
    #[serde(rename = "f:replicas")]
    replicas: Option<IgnoredAny>,
}

// === impl FieldsEntry ===

impl From<FieldsEntry> for ManagedFieldsEntry {
    /// Converts back to Kubernetes' type. `fieldsV1` has only the two paths above.
    fn from(entry: FieldsEntry) -> Self {
        let spec = entry.fields_v1.and_then(|fields| fields.spec).unwrap_or_default();
        let held = [("f:template", spec.template), ("f:replicas", spec.replicas)];
        let held: Map<String, Value> =
            held.into_iter().filter_map(|(key, held)| held.map(|_| (key.to_owned(), json!({})))).collect();
        Self {
            manager: entry.manager,
            operation: entry.operation,
            subresource: entry.subresource,
            time: entry.time,
            fields_v1: (!held.is_empty()).then(|| FieldsV1(json!({"f:spec": held}))),
            ..Self::default()
        }
    }
}

fn owns(entry: &ManagedFieldsEntry, path: &str) -> bool {
    entry.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer(path).is_some())
}

/// Returns the latest entry that owns this path, apart from the ignored managers. An entry without a time
/// counts as 1970.
pub(super) fn last_update(meta: &ObjectMeta, path: &str, ignored: &[&str]) -> Option<FieldUpdate> {
    let touch = |entry: &ManagedFieldsEntry| FieldUpdate {
        manager: entry.manager.as_deref().unwrap_or("unknown").into(),
        time: entry.time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
    };
    let entries = meta.managed_fields.as_deref().unwrap_or_default();
    entries
        .iter()
        .filter(|entry| owns(entry, path))
        .map(touch)
        .filter(|t| !ignored.contains(&&*t.manager))
        .max_by_key(|t| t.time)
}

/// Returns the latest field manager that owns this path, unless Gantry or a controller of Kubernetes owns it
/// too.
pub(super) fn find_outside_manager(meta: &ObjectMeta, path: &str) -> Option<std::sync::Arc<str>> {
    let outside = last_update(meta, path, &KNOWN_FIELD_MANAGERS)?;
    let entries = meta.managed_fields.as_deref().unwrap_or_default();
    let ours = entries.iter().filter(|entry| owns(entry, path));
    let ours = ours
        .filter_map(|entry| entry.manager.as_deref())
        .any(|manager| KNOWN_FIELD_MANAGERS.contains(&manager));
    (!ours).then_some(outside.manager)
}
