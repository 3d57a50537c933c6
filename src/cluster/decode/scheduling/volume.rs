//! Decodes where a volume is: on which nodes and in which zones. Read for the claims of one app at a time.

use std::borrow::Cow;

use k8s_openapi::{ClusterResourceScope, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde::Deserialize;

use super::{
    super::{decode_meta, or_default, resource, slim},
    NodeSelector,
};
use crate::domain::scheduling;

/// A volume that a claim is bound to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PlacingVolume {
    #[serde(deserialize_with = "decode_meta")]
    metadata: ObjectMeta,
    #[serde(deserialize_with = "or_default")]
    spec: VolumeSpec,
}

slim! {
    struct VolumeSpec {
        node_affinity: VolumeAffinity,
    }

    struct VolumeAffinity {
        required: NodeSelector,
    }
}

resource!(PlacingVolume, "PersistentVolume", "", "persistentvolumes", ClusterResourceScope);

impl PlacingVolume {
    /// Returns where the volume of this claim is.
    pub fn to_volume(&self, claim: &str) -> scheduling::Volume {
        // A label may name several zones, separated by two underscores.
        let zoned = |(key, value): (&String, &String)| {
            let is_place = ["topology.kubernetes.io/", "failure-domain.beta.kubernetes.io/"];
            let values = value.split("__").map(ToOwned::to_owned).collect();
            is_place.iter().any(|prefix| key.starts_with(prefix)).then(|| (key.clone(), values))
        };
        scheduling::Volume {
            claim: claim.to_owned(),
            nodes: self.spec.node_affinity.required.terms(),
            zones: self.metadata.labels.iter().flatten().filter_map(zoned).collect(),
        }
    }
}
