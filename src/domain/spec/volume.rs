//! Files mounted into the container, as a caller describes them. Knows no Kubernetes object.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::omit::is_default;

/// Files mounted into the container. `read_only` is not stored for a ConfigMap or Secret, because these are
/// always read-only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // see Volume in app.proto
pub struct Volume {
    pub mount_path: String,
    pub source: Source,
    #[serde(default, skip_serializing_if = "is_default")]
    pub read_only: bool,
}

/// Where the files come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A ConfigMap.
    ConfigMap(Files),
    /// A Secret.
    Secret(Files),
    /// Name of a `PersistentVolumeClaim`.
    Claim(String),
    /// An empty directory that lives as long as the replica.
    EmptyDir(EmptyDir),
}

/// The entries of a ConfigMap or Secret as files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)] // see Files in app.proto
pub struct Files {
    pub name: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub items: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_default")]
    pub optional: bool,
}

/// An empty directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)] // see EmptyDir in app.proto
pub struct EmptyDir {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub size_limit: String,
    #[serde(skip_serializing_if = "is_default")]
    pub in_memory: bool,
}
