//! Carries out what the autoscaler decided: sets the count through the scale subresource, over the version that was read, and only if
//! what it decided on still holds. So two servers that both believe to be the one that runs the loop do nothing twice, and a
//! caller's word that came in between stands.

use std::time::Duration;

use jiff::Timestamp;
use kube::api::DynamicObject;
use serde_json::json;
use tracing::info;

use super::{Actor, annotation, live, scale::set_count};
use crate::{
    autoscale::Count,
    cluster::decode,
    domain::{
        Error,
        act::{Resize, Resized},
        manifest::Kind,
        name,
        scaling::{HOLD, Scaling},
    },
};

/// Attempts to write over a Deployment whose status changes meanwhile.
const ATTEMPTS: u32 = 5;

pub(super) async fn run(actor: &Actor, request: Resize) -> Result<Resized, Error> {
    set(actor, &request.name, |seen| {
        let now = Timestamp::now();
        let same = seen.scaling.is_active(now)
            && seen.scaling.held(now).is_none()
            && seen.scaling.policy().digest() == request.policy
            && seen.count.replicas == request.from;
        same.then_some(request.to)
    })
    .await
}

pub(super) async fn settle_hold(actor: &Actor, name: name::App) -> Result<Resized, Error> {
    set(actor, &name, |seen| {
        let now = Timestamp::now();
        let hold = seen.scaling.held(now)?;
        hold.is_unfinished(seen.count, now).then_some(hold.replicas)
    })
    .await
}

/// Keeps a hold for a count that somebody set past this server, then owns the count together with them: so it is taken once, and whoever
/// sets another one past this server is seen. A crash between the two leaves the hold to be found and the rest to be done.
pub(super) async fn take_hold(actor: &Actor, name: name::App, length: Duration) -> Result<Resized, Error> {
    for _ in 0..ATTEMPTS {
        let object = live::find(actor, Kind::Deployment, &name).await?;
        let object = object.filter(|object| object.metadata.deletion_timestamp.is_none());
        let Some(object) = object else { return Ok(Resized::Overtaken) };
        let Seen { scaling, count: Count { replicas, .. } } = see(&object);
        let Some(hold) = scaling.taken_hold(replicas, length, Timestamp::now()) else {
            return Ok(Resized::Overtaken);
        };
        let mut version = object.metadata.resource_version;
        if scaling.hold.as_deref() != Some(&hold) {
            let annotations = json!({HOLD: annotation("hold", &hold)?});
            let metadata = json!({"resourceVersion": version, "annotations": annotations});
            match actor.patch_deployment(&name, metadata).await {
                Ok(written) => version = written.metadata.resource_version,
                Err(Error::EtagMismatch { .. }) => continue,
                Err(error) => return Err(error),
            }
        }
        match set_count(actor, &name, replicas, version, false).await {
            Ok(_) => return Ok(Resized::Done),
            Err(Error::EtagMismatch { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Resized::Overtaken)
}

/// What is looked at before a count is set.
struct Seen {
    scaling: Scaling,
    count: Count,
}

/// Sets the count that `decide` wants, given the Deployment as it is.
async fn set(
    actor: &Actor,
    name: &name::App,
    decide: impl Fn(&Seen) -> Option<i32>,
) -> Result<Resized, Error> {
    for _ in 0..ATTEMPTS {
        let object = live::find(actor, Kind::Deployment, name).await?;
        let object = object.filter(|object| object.metadata.deletion_timestamp.is_none());
        let Some((object, to)) = object.and_then(|object| decide(&see(&object)).map(|to| (object, to)))
        else {
            return Ok(Resized::Overtaken);
        };
        match set_count(actor, name, to, object.metadata.resource_version, false).await {
            Ok(_) => {
                info!(app = %name, replicas = to, "scaled by the autoscaler");
                return Ok(Resized::Done);
            }
            Err(Error::EtagMismatch { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Resized::Overtaken)
}

fn see(object: &DynamicObject) -> Seen {
    let spec = &object.data["spec"];
    let scaling = decode::scaling(&object.metadata, &spec["template"]);
    let count = Count {
        replicas: spec["replicas"].as_i64().and_then(|n| n.try_into().ok()).unwrap_or(1),
        set: decode::count_set(&object.metadata),
        set_past: scaling.set_past.is_some(),
        generation: object.metadata.generation.unwrap_or_default(),
    };
    Seen { scaling, count }
}
