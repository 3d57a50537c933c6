//! Scales an app: sets its replica count, and the hold that stops an active autoscaler from changing it.

use std::time::Duration;

use kube::api::DynamicObject;
use serde_json::json;
use tracing::{info, warn};

use super::{
    access_review::{Write, review_access},
    checks::{ProposedChange, run_checks},
    idempotency::annotation::{check_answered, store_answer},
    objects::{Writer, check_annotations, resource_version, to_annotation},
    scale_subresource::set_replica_count,
    snapshot::read_snapshot,
};
use crate::{
    autoscale::Hold,
    domain::{
        Error,
        change::{Action, Change},
        commands::{CommandResult, Position, Scale},
        name,
        object::Kind,
        plan,
        scaling::HOLD_ANNOTATION,
    },
};

/// The warning for a caller who asks for a hold where no autoscaler would change the replica count.
const NO_AUTOSCALER: &str = "hold_for has no effect: Gantry's autoscaler is not active for the app, so the count stays until it is set again.";

/// Returns the requested hold for a Deployment of this generation. `None` if it would end after the last
/// representable time.
fn to_hold(request: &Scale, time: Duration, generation: Option<i64>) -> Option<Hold> {
    let meta = &request.meta;
    let until = meta.time.checked_add(time).ok()?;
    Some(Hold {
        replicas: request.replicas,
        until,
        actor: meta.caller.user.clone(),
        reason: meta.reason.clone(),
        since: meta.time,
        generation: generation.unwrap_or_default(),
    })
}

/// Stores a hold in the Deployment, or removes it.
async fn patch_hold_annotation(
    writer: &Writer,
    name: &name::App,
    object: &DynamicObject,
    hold: Option<&Hold>,
) -> Result<(), Error> {
    let text = hold.map(|hold| to_annotation("hold", hold)).transpose()?;
    let annotations = json!({HOLD_ANNOTATION: text});
    check_annotations(name, Some(object), "hold_for", &annotations)?;
    writer.patch_deployment(name, json!({"annotations": annotations})).await.map(|_| ())
}

pub(super) async fn scale_app(writer: &Writer, request: Scale) -> Result<CommandResult, Error> {
    let (name, meta) = (&request.name, &request.meta);
    let snapshot = read_snapshot(writer, name).await?;
    let (deployment, object) = snapshot.existing_deployment(name)?;
    let newest = snapshot.state.newest_number();
    let content = snapshot.state.content();
    if !meta.validate_only
        && let Some(answered) = check_answered(&snapshot.state, object, meta)?
    {
        let position = Some(Position::of_version(name, answered.version, newest));
        return Ok(CommandResult { content, position, ..CommandResult::default() });
    }
    plan::check_etag(meta.etag.as_deref(), content.as_ref().or(Some(&deployment.content)))?;
    let scaling = &deployment.scaling;
    if request.hold_for.is_none() && scaling.is_active(meta.time) {
        return Err(Error::AutoscalerActive { app: name.to_string() });
    }
    snapshot.state.check_no_other_autoscaler(name)?;
    let hold = request.hold_for.and_then(|time| to_hold(&request, time, object.metadata.generation));
    let hold = hold.filter(|_| scaling.policy.as_ref().is_some_and(|policy| policy.owns_count(meta.time)));
    let id = Kind::Deployment.object_of(name);
    let mut done = CommandResult { content, ..CommandResult::default() };
    if deployment.replicas != request.replicas {
        done.changes.push(Change {
            path: "spec.replicas".to_owned(),
            old: deployment.replicas.to_string(),
            new: request.replicas.to_string(),
            ..Change::whole(id.clone(), Action::Update)
        });
    }
    match &hold {
        Some(hold) => done.changes.push(Change {
            path: format!("metadata.annotations[{HOLD_ANNOTATION}]"),
            new: format!("{} replicas until {}", hold.replicas, hold.until),
            ..Change::whole(id.clone(), Action::Update)
        }),
        None if request.hold_for.is_some() => done.warnings.push(NO_AUTOSCALER.to_owned()),
        None => {}
    }
    // The hold is written before the count. After a crash the autoscaling loop finds the hold and sets the
    // count, while a count without its hold would be changed back. A count without a hold, because the
    // autoscaler is frozen, first removes an earlier hold. Otherwise the loop would restore the count of that
    // hold.
    let changes_hold = !meta.validate_only && (hold.is_some() || scaling.active_hold(meta.time).is_some());
    if changes_hold {
        patch_hold_annotation(writer, name, object, hold.as_ref()).await?;
    }
    let scaled = match set_replica_count(writer, name, request.replicas, None, meta.validate_only).await {
        Ok(scaled) => scaled,
        Err(error) => {
            // If the count was refused, restore the earlier hold. If the outcome is unknown, the hold stays:
            // the loop completes it, or it expires.
            if changes_hold
                && error.is_refusal()
                && let Err(rollback_error) =
                    patch_hold_annotation(writer, name, object, scaling.hold.as_deref()).await
            {
                warn!(app = %name, error = %rollback_error, "cannot restore the hold after the replica count was refused");
            }
            return Err(error);
        }
    };
    if meta.validate_only {
        let write = Write { kind: Kind::Deployment, verb: "patch", subresource: "scale" };
        done.checks = review_access(writer, name, &[write]).await?;
        let mut subject = ProposedChange::of_live(name, object, meta.time);
        subject.deployment["spec"]["replicas"] = json!(request.replicas);
        Box::pin(run_checks(writer, &subject, &mut done)).await;
        return Ok(done);
    }
    let version = scaled
        .metadata
        .resource_version
        .and_then(|v| v.parse().ok())
        .unwrap_or_else(|| resource_version(object));
    let until = hold.as_ref().map(|hold| hold.until.to_string());
    info!(app = %name, replicas = request.replicas, hold = until, actor = %meta.caller, reason = ?meta.reason, "scaled");
    done.position = Some(Position::of_version(name, version, newest));
    // Written after the count. A crash between the two leaves a repeat that sets the same count again.
    store_answer(writer, name, meta, version).await;
    Ok(done)
}
