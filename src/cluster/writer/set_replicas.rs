//! Carries out what the autoscaler decided: sets the count through the scale subresource, over the version that was read, and only if
//! what it decided on still holds. So two servers that both believe to be the one that runs the loop do nothing twice, and a
//! caller's word that came in between stands.

use std::time::Duration;

use jiff::Timestamp;
use kube::api::DynamicObject;
use serde_json::json;
use tracing::info;

use super::{Writer, annotation, scale::set_count, snapshot};
use crate::{
    autoscale::Count,
    cluster::decode,
    domain::{
        Error,
        commands::{ScaleOutcome, SetReplicas},
        name,
        object::Kind,
        scaling::{HOLD, Scaling},
    },
};

/// Attempts to write over a Deployment whose status changes meanwhile.
const ATTEMPTS: u32 = 5;

pub(super) async fn set_replicas(actor: &Writer, request: SetReplicas) -> Result<ScaleOutcome, Error> {
    set(actor, &request.name, |seen| {
        let now = Timestamp::now();
        let same = seen.scaling.is_active(now)
            && seen.scaling.active_hold(now).is_none()
            && seen.scaling.policy().digest() == request.policy
            && seen.count.replicas == request.from;
        same.then_some(request.to)
    })
    .await
}

pub(super) async fn complete_hold(actor: &Writer, name: name::App) -> Result<ScaleOutcome, Error> {
    set(actor, &name, |seen| {
        let now = Timestamp::now();
        let hold = seen.scaling.active_hold(now)?;
        hold.is_unfinished(seen.count, now).then_some(hold.replicas)
    })
    .await
}

/// Keeps a hold for a count that somebody set past this server, then owns the count together with them: so it is taken once, and whoever
/// sets another one past this server is seen. A crash between the two leaves the hold to be found and the rest to be done.
pub(super) async fn create_hold(
    actor: &Writer,
    name: name::App,
    length: Duration,
) -> Result<ScaleOutcome, Error> {
    for _ in 0..ATTEMPTS {
        let object = snapshot::get_object(actor, Kind::Deployment, &name).await?;
        let object = object.filter(|object| object.metadata.deletion_timestamp.is_none());
        let Some(object) = object else { return Ok(ScaleOutcome::Outdated) };
        let Observed { scaling, count: Count { replicas, .. } } = see(&object);
        let Some(hold) = scaling.hold_for_outside_count(replicas, length, Timestamp::now()) else {
            return Ok(ScaleOutcome::Outdated);
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
            Ok(_) => return Ok(ScaleOutcome::Done),
            Err(Error::EtagMismatch { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(ScaleOutcome::Outdated)
}

/// What is looked at before a count is set.
struct Observed {
    scaling: Scaling,
    count: Count,
}

/// Sets the count that `decide` wants, given the Deployment as it is.
async fn set(
    actor: &Writer,
    name: &name::App,
    decide: impl Fn(&Observed) -> Option<i32>,
) -> Result<ScaleOutcome, Error> {
    for _ in 0..ATTEMPTS {
        let object = snapshot::get_object(actor, Kind::Deployment, name).await?;
        let object = object.filter(|object| object.metadata.deletion_timestamp.is_none());
        let Some((object, to)) = object.and_then(|object| decide(&see(&object)).map(|to| (object, to)))
        else {
            return Ok(ScaleOutcome::Outdated);
        };
        match set_count(actor, name, to, object.metadata.resource_version, false).await {
            Ok(_) => {
                info!(app = %name, replicas = to, "scaled by the autoscaler");
                return Ok(ScaleOutcome::Done);
            }
            Err(Error::EtagMismatch { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(ScaleOutcome::Outdated)
}

fn see(object: &DynamicObject) -> Observed {
    let spec = &object.data["spec"];
    let scaling = decode::decode_scaling(&object.metadata, &spec["template"]);
    let count = Count {
        replicas: spec["replicas"].as_i64().and_then(|n| n.try_into().ok()).unwrap_or(1),
        set: decode::count_set(&object.metadata),
        set_outside: scaling.set_outside.is_some(),
        generation: object.metadata.generation.unwrap_or_default(),
    };
    Observed { scaling, count }
}
