//! Writes of the autoscaling loop: sets the replica count through the scale subresource, over the version
//! that was read, and only if policy, hold and count are unchanged. So two daemons that both believe they are
//! the leader cannot scale twice, and a concurrent ScaleApp call wins.

use std::time::Duration;

use futures::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use kube::api::DynamicObject;
use serde_json::json;
use tracing::info;

use super::{
    conflict::retry_on_conflict,
    objects::{Writer, check_annotations, to_annotation},
    scale_subresource::set_replica_count,
};
use crate::{
    autoscale::ReplicaCount,
    cluster::decode,
    domain::{
        Error,
        commands::{ScaleOutcome, Scaler, SetReplicas},
        name,
        object::Kind,
        scaling::{HOLD_ANNOTATION, Scaling},
    },
};

/// Attempts to write over a Deployment whose status changes in between.
const ATTEMPTS: u32 = 5;

impl Scaler for Writer {
    fn set_replicas(&self, request: SetReplicas) -> BoxFuture<'_, Result<ScaleOutcome, Error>> {
        async move { set_replicas(&self.on_behalf_of(&request.caller), request).await }.boxed()
    }

    fn create_hold(&self, app: name::App, length: Duration) -> BoxFuture<'_, Result<ScaleOutcome, Error>> {
        create_hold(self, app, length).boxed()
    }

    fn complete_hold(&self, app: name::App) -> BoxFuture<'_, Result<ScaleOutcome, Error>> {
        complete_hold(self, app).boxed()
    }
}

/// Sets the count that the autoscaler decided on, if the inputs of the decision are unchanged.
async fn set_replicas(writer: &Writer, request: SetReplicas) -> Result<ScaleOutcome, Error> {
    set(writer, &request.name, |seen| {
        let now = Timestamp::now();
        let same = seen.scaling.is_active(now)
            && seen.scaling.active_hold(now).is_none()
            && seen.scaling.policy().digest() == request.policy
            && seen.count.replicas == request.from;
        same.then_some(request.to)
    })
    .await
}

/// Sets the replica count of a hold whose writer stopped before it set the count.
async fn complete_hold(writer: &Writer, name: name::App) -> Result<ScaleOutcome, Error> {
    set(writer, &name, |seen| {
        let now = Timestamp::now();
        let hold = seen.scaling.active_hold(now)?;
        hold.needs_apply(seen.count, now).then_some(hold.replicas)
    })
    .await
}

/// Creates a hold for a count that was set outside Gantry, then becomes an owner of the count beside the
/// other field manager. So each such count is taken once, and the next one is noticed. After a crash between
/// the two writes, the hold is found and the second write is made.
async fn create_hold(writer: &Writer, name: name::App, length: Duration) -> Result<ScaleOutcome, Error> {
    or_outdated(
        retry_on_conflict(ATTEMPTS, || async {
            let Some(object) = existing_deployment(writer, &name).await? else {
                return Ok(ScaleOutcome::Outdated);
            };
            let Observed { scaling, count: ReplicaCount { replicas, .. } } = to_observed(&object);
            let Some(hold) = scaling.hold_for_outside_count(replicas, length, Timestamp::now()) else {
                return Ok(ScaleOutcome::Outdated);
            };
            let mut version = object.metadata.resource_version.clone();
            if scaling.hold.as_deref() != Some(&hold) {
                let annotations = json!({HOLD_ANNOTATION: to_annotation("hold", &hold)?});
                check_annotations(&name, Some(&object), "hold_for", &annotations)?;
                let metadata = json!({"resourceVersion": version, "annotations": annotations});
                version = writer.patch_deployment(&name, metadata).await?.metadata.resource_version;
            }
            set_replica_count(writer, &name, replicas, version, false).await.map(|_| ScaleOutcome::Done)
        })
        .await,
    )
}

/// What is read before a count is set.
struct Observed {
    scaling: Scaling,
    count: ReplicaCount,
}

/// Sets the count that `decide` returns for the current Deployment.
async fn set(
    writer: &Writer,
    name: &name::App,
    decide: impl Fn(&Observed) -> Option<i32>,
) -> Result<ScaleOutcome, Error> {
    or_outdated(
        retry_on_conflict(ATTEMPTS, || async {
            let object = existing_deployment(writer, name).await?;
            let wanted = object.and_then(|object| decide(&to_observed(&object)).map(|to| (object, to)));
            let Some((object, to)) = wanted else { return Ok(ScaleOutcome::Outdated) };
            set_replica_count(writer, name, to, object.metadata.resource_version, false).await?;
            info!(app = %name, replicas = to, "scaled by the autoscaler");
            Ok(ScaleOutcome::Done)
        })
        .await,
    )
}

/// If the Deployment changed at every attempt, the autoscaler decides again at its next evaluation.
fn or_outdated(outcome: Result<ScaleOutcome, Error>) -> Result<ScaleOutcome, Error> {
    match outcome {
        Err(Error::WriteConflict { .. }) => Ok(ScaleOutcome::Outdated),
        outcome => outcome,
    }
}

async fn existing_deployment(writer: &Writer, name: &name::App) -> Result<Option<DynamicObject>, Error> {
    let object = writer.get_object(Kind::Deployment, name).await?;
    Ok(object.filter(|object| object.metadata.deletion_timestamp.is_none()))
}

fn to_observed(object: &DynamicObject) -> Observed {
    let spec = &object.data["spec"];
    let scaling = decode::decode_scaling(&object.metadata, &spec["template"]);
    let count = ReplicaCount {
        replicas: spec["replicas"].as_i64().and_then(|n| n.try_into().ok()).unwrap_or(1),
        set: decode::count_set(&object.metadata),
        set_outside: scaling.set_outside.is_some(),
        generation: object.metadata.generation.unwrap_or_default(),
    };
    Observed { scaling, count }
}
