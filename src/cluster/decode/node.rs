//! Nodes as rows: where they are, and whether they take pods.

use std::borrow::Cow;

use k8s_openapi::{ClusterResourceScope, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde::Deserialize;

use super::{Decode, label, meta, or_default, resource};
use crate::{domain::observed, index};

/// The label that names a node's zone.
const ZONE: &str = "topology.kubernetes.io/zone";

/// The slim form of a v1 Node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Node {
    #[serde(deserialize_with = "meta")]
    metadata: ObjectMeta,
    #[serde(deserialize_with = "or_default")]
    spec: NodeSpec,
    #[serde(deserialize_with = "or_default")]
    status: NodeStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NodeSpec {
    #[serde(deserialize_with = "or_default")]
    unschedulable: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NodeStatus {
    #[serde(deserialize_with = "or_default")]
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(deserialize_with = "or_default")]
    r#type: String,
    #[serde(deserialize_with = "or_default")]
    status: String,
}

resource!(Node, "Node", "", "nodes", ClusterResourceScope);

impl Decode for Node {
    type Row = observed::Node;
    const KIND: index::Kind = index::Kind::Nodes;

    fn key(&self) -> Option<<Self::Row as index::Row>::Key> {
        self.metadata.name.as_deref().map(Into::into)
    }

    fn row(self) -> Option<observed::Node> {
        Some(observed::Node {
            name: self.key()?,
            zone: label(&self.metadata, ZONE).map(Into::into),
            ready: self.status.conditions.iter().any(|c| c.r#type == "Ready" && c.status == "True"),
            unschedulable: self.spec.unschedulable,
        })
    }
}
