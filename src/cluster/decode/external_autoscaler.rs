//! Decodes HorizontalPodAutoscalers and KEDA ScaledObjects into rows of the index. Only the name of the
//! Deployment that they scale is stored.

use std::borrow::Cow;

use k8s_openapi::{NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde::Deserialize;

use super::{Decode, decode_meta, namespaced_name, or_default, resource, slim};
use crate::{
    domain::observed::{self, ExternalAutoscaler},
    index,
};

/// The slim form of an autoscaling/v2 HorizontalPodAutoscaler.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct HorizontalPodAutoscaler {
    #[serde(deserialize_with = "decode_meta")]
    metadata: ObjectMeta,
    #[serde(deserialize_with = "or_default")]
    spec: Spec,
}

/// The slim form of a keda.sh/v1alpha1 ScaledObject.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ScaledObject {
    #[serde(deserialize_with = "decode_meta")]
    metadata: ObjectMeta,
    #[serde(deserialize_with = "or_default")]
    spec: Spec,
}

slim! {
    struct Spec {
        scale_target_ref: Target,
    }

    struct Target {
        api_version: String,
        kind: String,
        name: String,
    }
}

resource!(
    HorizontalPodAutoscaler,
    "HorizontalPodAutoscaler",
    "autoscaling",
    "v2",
    "horizontalpodautoscalers",
    NamespaceResourceScope
);
resource!(ScaledObject, "ScaledObject", "keda.sh", "v1alpha1", "scaledobjects", NamespaceResourceScope);

impl Spec {
    /// KEDA allows a reference to a Deployment without version and kind.
    fn scaler(self, metadata: &ObjectMeta) -> Option<ExternalAutoscaler> {
        let (namespace, name) = namespaced_name(metadata)?;
        let target = self.scale_target_ref;
        let is_deployment = ["", "Deployment"].contains(&target.kind.as_str())
            && (target.api_version.is_empty() || target.api_version.starts_with("apps/"));
        (is_deployment && !target.name.is_empty()).then(|| ExternalAutoscaler {
            namespace,
            name,
            target: target.name.into(),
        })
    }
}

impl Decode for HorizontalPodAutoscaler {
    type Row = observed::HorizontalPodAutoscaler;
    const KIND: index::Kind = index::Kind::HorizontalPodAutoscalers;

    fn key(&self) -> Option<<Self::Row as index::Row>::Key> {
        namespaced_name(&self.metadata)
    }

    fn into_row(self) -> Option<Self::Row> {
        self.spec.scaler(&self.metadata).map(observed::HorizontalPodAutoscaler)
    }
}

impl Decode for ScaledObject {
    type Row = observed::ScaledObject;
    const KIND: index::Kind = index::Kind::ScaledObjects;

    fn key(&self) -> Option<<Self::Row as index::Row>::Key> {
        namespaced_name(&self.metadata)
    }

    fn into_row(self) -> Option<Self::Row> {
        self.spec.scaler(&self.metadata).map(observed::ScaledObject)
    }
}
