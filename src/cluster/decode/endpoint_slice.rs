//! Decodes EndpointSlices that belong to a Service into rows of the index: ports and the pods behind them.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::{Decode, decode_meta, label, namespaced_name, or_default, resource, slim};
use crate::{
    domain::observed::{self, SlicePod, SlicePort},
    index,
};

/// The label that names a slice's Service.
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// The slim form of a discovery.k8s.io/v1 EndpointSlice.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct EndpointSlice {
    #[serde(deserialize_with = "decode_meta")]
    metadata: ObjectMeta,
    #[serde(deserialize_with = "or_default")]
    endpoints: Vec<Endpoint>,
    #[serde(deserialize_with = "or_default")]
    ports: Vec<Port>,
}

slim! {
    struct Endpoint {
        conditions: Conditions,
        target_ref: TargetRef,
        zone: Option<String>,
    }

    struct Conditions {
        ready: Option<bool>,
        serving: Option<bool>,
        terminating: Option<bool>,
    }

    struct TargetRef {
        kind: String,
        name: String,
    }

    struct Port {
        name: String,
        port: Option<i32>,
    }
}

resource!(EndpointSlice, "EndpointSlice", "discovery.k8s.io", "endpointslices");

impl Decode for EndpointSlice {
    type Row = observed::EndpointSlice;
    const KIND: index::Kind = index::Kind::EndpointSlices;

    fn key(&self) -> Option<<Self::Row as index::Row>::Key> {
        namespaced_name(&self.metadata)
    }

    fn into_row(self) -> Option<observed::EndpointSlice> {
        let (namespace, name) = self.key()?;
        // Service meshes and multi-cluster controllers create slices too. Those do not belong to a Service of
        // this cluster.
        label(&self.metadata, SERVICE_NAME_LABEL)?;
        let mut pods: Vec<SlicePod> = self.endpoints.into_iter().filter_map(to_slice_pod).collect();
        pods.sort();
        pods.dedup();
        let port = |p: Port| Some(SlicePort { name: p.name, number: p.port?.try_into().ok()? });
        let ports = self.ports.into_iter().filter_map(port).collect();
        Some(observed::EndpointSlice { namespace, name, ports, pods })
    }
}

/// Returns only endpoints of pods. Unset conditions have the API's defaults: ready, serving like ready, not
/// terminating.
fn to_slice_pod(endpoint: Endpoint) -> Option<SlicePod> {
    let Endpoint { conditions, target_ref, zone } = endpoint;
    let ready = conditions.ready.unwrap_or(true);
    (target_ref.kind == "Pod" && !target_ref.name.is_empty()).then(|| SlicePod {
        name: target_ref.name.into(),
        zone: zone.map(Into::into),
        ready,
        serving: conditions.serving.unwrap_or(ready),
        terminating: conditions.terminating.unwrap_or(false),
    })
}
