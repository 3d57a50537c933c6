//! Decodes the API server's JSON into rows, through slim types that hold only the fields that rows need. A
//! decoded full `Pod` costs 50 KB; a slim one costs only its own fields. Every field is optional, so that no
//! object of any Kubernetes version fails to decode.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta, OwnerReference, Time};
use kube::Resource;
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_json::Value;

use crate::{domain::scaling::Scaling, index};

mod condition;
mod deployment;
mod endpoint_slice;
mod event;
mod external_autoscaler;
mod managed_fields;
mod node;
mod pod;
mod revision;
mod scheduling;
mod template;

pub use self::{
    deployment::{Deployment, ReplicaSet},
    endpoint_slice::EndpointSlice,
    event::Event,
    external_autoscaler::{HorizontalPodAutoscaler, ScaledObject},
    node::Node,
    pod::Pod,
    revision::{
        APPLIED_TO_ANNOTATION, EVIDENCE_ANNOTATION, PORTS_REMOVED_ANNOTATION, Revision, SPELLING_ANNOTATION,
        VERDICT_ANNOTATION, VERSION_ANNOTATION,
    },
    scheduling::{PlacingNode, PlacingPod, PlacingVolume},
    template::template_hash,
};

/// A slim object, and the row that is made from it.
pub trait Decode: Resource<DynamicType = ()> {
    /// The row.
    type Row: index::Row;
    /// The watch that it comes from.
    const KIND: index::Kind;
    /// The row's key, also for an object that no longer makes a row.
    fn key(&self) -> Option<<Self::Row as index::Row>::Key>;
    /// The row, or `None` for an object that makes none.
    fn into_row(self) -> Option<Self::Row>;
    /// The resourceVersion of the object, also for an object that makes no row.
    fn resource_version(&self) -> u64 {
        parse_resource_version(self.meta())
    }
}

/// The part of the metadata that rows need. Managed fields, the largest part, are skipped where `M` is
/// [`IgnoredAny`].
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, bound(deserialize = "M: Default + Deserialize<'de>"))]
struct Meta<M> {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    deletion_grace_period_seconds: Option<i64>,
    owner_references: Option<Vec<OwnerReference>>,
    finalizers: Option<Vec<String>>,
    managed_fields: M,
}

fn decode_meta<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let meta: Meta<IgnoredAny> = or_default(deserializer)?;
    Ok(meta.into_meta(None))
}

/// Also decodes when a managed field was last written, which is when the object last changed.
fn decode_meta_with_last_write<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Written {
        time: Option<Time>,
    }
    let mut meta: Meta<Option<Vec<Written>>> = or_default(deserializer)?;
    let entries = meta.managed_fields.take().unwrap_or_default().into_iter();
    // One entry is enough. Every pod passes through here, and these structs are large.
    let last = entries.filter_map(|entry| entry.time).max_by_key(|time| time.0);
    let written = last.map(|time| ManagedFieldsEntry { time: Some(time), ..ManagedFieldsEntry::default() });
    Ok(meta.into_meta(Some(written.into_iter().collect())))
}

fn decode_meta_with_managers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let mut meta: Meta<Option<Vec<managed_fields::FieldsEntry>>> = or_default(deserializer)?;
    let entries = meta.managed_fields.take().unwrap_or_default();
    Ok(meta.into_meta(Some(entries.into_iter().map(Into::into).collect())))
}

impl<M> Meta<M> {
    fn into_meta(self, managed_fields: Option<Vec<ManagedFieldsEntry>>) -> ObjectMeta {
        let meta = self;
        ObjectMeta {
            name: meta.name,
            namespace: meta.namespace,
            uid: meta.uid,
            resource_version: meta.resource_version,
            generation: meta.generation,
            labels: meta.labels,
            annotations: meta.annotations,
            creation_timestamp: meta.creation_timestamp,
            deletion_timestamp: meta.deletion_timestamp,
            deletion_grace_period_seconds: meta.deletion_grace_period_seconds,
            owner_references: meta.owner_references,
            finalizers: meta.finalizers,
            managed_fields,
            ..ObjectMeta::default()
        }
    }
}

/// Treats a field that is null as missing.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Declares parts of slim types. Each field may be missing or null, and then has its default.
macro_rules! slim {
    ($($(#[$of_type:meta])* $vis:vis struct $name:ident {
        $($(#[$of_field:meta])* $field_vis:vis $field:ident: $type:ty,)*
    })*) => {$(
        $(#[$of_type])*
        #[derive(Clone, Debug, Default, serde::Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        $vis struct $name {$(
            $(#[$of_field])*
            #[serde(deserialize_with = "crate::cluster::decode::or_default")]
            $field_vis $field: $type,
        )*}
    )*};
}
use slim;

/// Declares the Kubernetes kind of a slim type for the client.
macro_rules! resource {
    ($type:ty, $kind:literal, $group:literal, $plural:literal) => {
        resource!($type, $kind, $group, "v1", $plural, k8s_openapi::NamespaceResourceScope);
    };
    ($type:ty, $kind:literal, $group:literal, $plural:literal, $scope:ty) => {
        resource!($type, $kind, $group, "v1", $plural, $scope);
    };
    ($type:ty, $kind:literal, $group:literal, $version:literal, $plural:literal, $scope:ty) => {
        impl kube::Resource for $type {
            type DynamicType = ();
            type Scope = $scope;

            fn kind((): &()) -> Cow<'_, str> {
                $kind.into()
            }
            fn group((): &()) -> Cow<'_, str> {
                $group.into()
            }
            fn version((): &()) -> Cow<'_, str> {
                $version.into()
            }
            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}
use resource;

fn created(meta: &ObjectMeta) -> Timestamp {
    meta.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |t| t.0)
}

/// The resourceVersion as a number. API servers of the supported versions promise that it is comparable.
pub(super) fn parse_resource_version(meta: &ObjectMeta) -> u64 {
    meta.resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or_default()
}

/// Returns when the replica count of a Deployment was last set, according to its managed fields.
pub(super) fn count_set(meta: &ObjectMeta) -> Option<Timestamp> {
    managed_fields::last_update(meta, managed_fields::COUNT, &[]).map(|touch| touch.time)
}

/// Reads the scaling settings of a Deployment, and who set its replica count outside Gantry.
pub(super) fn decode_scaling(meta: &ObjectMeta, template: &Value) -> Scaling {
    let set_outside = managed_fields::find_outside_manager(meta, managed_fields::COUNT);
    Scaling { set_outside, ..Scaling::read(meta.annotations.as_ref(), template) }
}

fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

fn parse_annotation<T: std::str::FromStr>(meta: &ObjectMeta, key: &str) -> Option<T> {
    annotation(meta, key)?.parse().ok()
}

/// Returns the name of the controller that owns the object, if it is of this kind.
fn controller<'a>(meta: &'a ObjectMeta, kind: &str) -> Option<&'a str> {
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    owners.iter().find(|o| o.controller == Some(true) && o.kind == kind).map(|o| o.name.as_str())
}

fn label<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.labels.as_ref()?.get(key).map(String::as_str)
}

fn namespaced_name(meta: &ObjectMeta) -> Option<(std::sync::Arc<str>, std::sync::Arc<str>)> {
    Some((meta.namespace.as_deref()?.into(), meta.name.as_deref()?.into()))
}

#[cfg(test)]
mod tests;
