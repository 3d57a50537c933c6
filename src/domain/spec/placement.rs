//! Which nodes may run an app, as a caller describes it. Knows no Kubernetes object.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::omit::is_default;

/// Which nodes may run the app, and how its replicas spread.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)] // see Placement in app.proto
pub struct Placement {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spread: Vec<Spread>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub priority_class: String,
}

/// A tolerated taint. An empty part matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)] // see Toleration in app.proto
pub struct Toleration {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub effect: String,
}

/// How replicas spread over one topology. A `max_skew` of 0 means unset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)] // see Spread in app.proto
pub struct Spread {
    pub topology_key: String,
    #[serde(skip_serializing_if = "is_default")]
    pub max_skew: i32,
    #[serde(skip_serializing_if = "is_default")]
    pub required: bool,
}

// === impl Spread ===

impl Spread {
    /// Returns the default: a preferred spread over zones and nodes.
    pub fn default_spread() -> Vec<Self> {
        let over = |key: &str| Self { topology_key: key.to_owned(), ..Self::default() };
        ["topology.kubernetes.io/zone", "kubernetes.io/hostname"].map(over).into()
    }
}
