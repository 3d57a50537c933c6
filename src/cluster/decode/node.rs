//! Decodes nodes into rows: their zone, whether they are ready, and whether they accept pods.

use std::borrow::Cow;

use k8s_openapi::{ClusterResourceScope, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde::Deserialize;

use super::{
    Decode,
    condition::{Condition, find_condition},
    decode_meta, label, or_default, resource, slim,
};
use crate::{domain::observed, index};

/// The label that names a node's zone.
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// The slim form of a v1 Node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Node {
    #[serde(deserialize_with = "decode_meta")]
    metadata: ObjectMeta,
    #[serde(deserialize_with = "or_default")]
    spec: NodeSpec,
    #[serde(deserialize_with = "or_default")]
    status: NodeStatus,
}

slim! {
    struct NodeSpec {
        unschedulable: bool,
    }

    struct NodeStatus {
        conditions: Vec<Condition>,
    }
}

resource!(Node, "Node", "", "nodes", ClusterResourceScope);

impl Decode for Node {
    type Row = observed::Node;
    const KIND: index::Kind = index::Kind::Nodes;

    fn key(&self) -> Option<<Self::Row as index::Row>::Key> {
        self.metadata.name.as_deref().map(Into::into)
    }

    fn into_row(self) -> Option<observed::Node> {
        Some(observed::Node {
            name: self.key()?,
            zone: label(&self.metadata, ZONE_LABEL).map(Into::into),
            ready: find_condition(&self.status.conditions, "Ready", "True").is_some(),
            unschedulable: self.spec.unschedulable,
        })
    }
}
