//! Decodes events about Deployments, ReplicaSets and pods into rows.

use std::borrow::Cow;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::{
    Decode, created, decode_meta, namespaced_name, or_default, parse_resource_version, resource, slim,
};
use crate::{
    domain::observed::{self, About, Kind},
    index,
};

/// The slim form of a v1 Event.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Event {
    #[serde(deserialize_with = "decode_meta")]
    metadata: ObjectMeta,
    #[serde(deserialize_with = "or_default")]
    involved_object: Involved,
    #[serde(deserialize_with = "or_default")]
    r#type: String,
    #[serde(deserialize_with = "or_default")]
    reason: String,
    #[serde(deserialize_with = "or_default")]
    message: String,
    count: Option<i32>,
    last_timestamp: Option<Timestamp>,
    event_time: Option<Timestamp>,
    series: Option<Series>,
}

slim! {
    struct Involved {
        kind: String,
        name: String,
        field_path: String,
    }

    struct Series {
        count: i32,
        last_observed_time: Option<Timestamp>,
    }
}

resource!(Event, "Event", "", "events");

impl Decode for Event {
    type Row = observed::Event;
    const KIND: index::Kind = index::Kind::Events;

    fn key(&self) -> Option<<Self::Row as index::Row>::Key> {
        namespaced_name(&self.metadata)
    }

    fn into_row(self) -> Option<observed::Event> {
        let (namespace, id) = self.key()?;
        let kind = match self.involved_object.kind.as_str() {
            "Pod" => Kind::Pod,
            "ReplicaSet" => Kind::ReplicaSet,
            "Deployment" => Kind::Deployment,
            _ => return None,
        };
        // Two generations of the events API store the time and the count in different fields.
        let series = self.series.unwrap_or_default();
        let time = series
            .last_observed_time
            .or(self.last_timestamp)
            .or(self.event_time)
            .unwrap_or_else(|| created(&self.metadata));
        Some(observed::Event {
            id,
            container: container(&self.involved_object.field_path).map(Into::into),
            about: About { namespace, kind, name: self.involved_object.name.into() },
            warning: self.r#type == "Warning",
            reason: self.reason.into(),
            note: self.message.into(),
            count: series.count.max(self.count.unwrap_or_default()).max(1),
            time,
            version: parse_resource_version(&self.metadata),
        })
    }
}

/// Returns the container in the path of a field, for example `spec.containers{app}`.
fn container(path: &str) -> Option<&str> {
    let (list, name) = path.strip_suffix('}')?.split_once('{')?;
    matches!(list, "spec.containers" | "spec.initContainers").then_some(name)
}
