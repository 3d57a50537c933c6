//! The requests that left no revision (scalings, holds), kept as an annotation of the Deployment, so that a repeat gets the
//! first answer from any daemon.

use jiff::{SignedDuration, Timestamp};
use kube::api::DynamicObject;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::domain::{
    Error,
    act::Asked,
    plan::{self, Live},
    revision::Request,
};

/// The annotation.
const REQUESTS: &str = "gantry.dev/requests";

/// How long a request is remembered at least; the contract promises one hour.
const KEPT_FOR: SignedDuration = SignedDuration::from_hours(2);

/// Requests kept however young they are: an annotation must stay small.
const MOST: usize = 50;

/// A request that was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answered {
    #[serde(flatten)]
    pub(super) request: Request,
    pub(super) time: Timestamp,
    /// Version of the Deployment that the answer gave.
    pub(super) version: u64,
    /// Number of the rollout that the answer named.
    #[serde(default)]
    pub(super) rollout: u64,
}

/// The earlier answer to an equal request. The same id for something else is an error.
pub(super) fn seen(object: &DynamicObject, asked: &Asked) -> Result<Option<Answered>, Error> {
    let Some(request) = &asked.request else { return Ok(None) };
    match read(object).into_iter().find(|answered| answered.request.id == request.id) {
        Some(answered) if answered.request == *request => Ok(Some(answered)),
        Some(_) => Err(Error::RequestIdReused { id: request.id.clone() }),
        None => Ok(None),
    }
}

/// The earlier answer to an equal request that left no revision. The id of one that left a revision is an error too.
pub(super) fn answered(
    live: &Live,
    object: &DynamicObject,
    asked: &Asked,
) -> Result<Option<Answered>, Error> {
    match (plan::request_seen(asked.request.as_ref(), live)?, &asked.request) {
        (Some(_), Some(request)) => Err(Error::RequestIdReused { id: request.id.clone() }),
        _ => seen(object, asked),
    }
}

/// The annotations that remember one more answer; `None` for a request without an id.
pub(super) fn remember(object: &DynamicObject, asked: &Asked, version: u64, rollout: u64) -> Option<Value> {
    let request = asked.request.clone()?;
    let mut all = read(object);
    all.retain(|a| asked.time.duration_since(a.time) < KEPT_FOR);
    all.push(Answered { request, time: asked.time, version, rollout });
    let first = all.len().saturating_sub(MOST);
    Some(json!({REQUESTS: serde_json::to_string(&all[first..]).ok()?}))
}

fn read(object: &DynamicObject) -> Vec<Answered> {
    let text = object.metadata.annotations.as_ref().and_then(|a| a.get(REQUESTS));
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}
