//! Changes the autoscaler policy of an app: one merge patch of the Deployment's annotations, over the version
//! that was read. The patch also stores the request id, and ends a hold if the mode is set.

use std::sync::Arc;

use serde_json::{Value, json};
use tracing::{info, warn};

use super::{
    access_review::{Write, review_access},
    conflict::retry_on_conflict,
    idempotency::annotation::{add_answer, check_answered},
    objects::{Writer, check_annotations, resource_version, to_annotation},
    scale_subresource::set_replica_count,
    snapshot::read_snapshot,
};
use crate::{
    autoscale::{Field, Mode, Policy},
    domain::{
        Error,
        commands::{CommandResult, Position, UpdateAutoscaler},
        error::Violation,
        object::Kind,
        scaling::{AUTOSCALER_ANNOTATION, HOLD_ANNOTATION, policy_changes},
    },
};

/// Attempts before a write conflict is returned to the caller.
const ATTEMPTS: u32 = 20;

pub(super) async fn update_policy(
    writer: &Writer,
    request: UpdateAutoscaler,
) -> Result<CommandResult, Error> {
    retry_on_conflict(ATTEMPTS, || try_update(writer, &request)).await
}

async fn try_update(writer: &Writer, request: &UpdateAutoscaler) -> Result<CommandResult, Error> {
    let (name, meta) = (&request.name, &request.meta);
    let id = Kind::Deployment.object_of(name);
    let snapshot = read_snapshot(writer, name).await?;
    let (deployment, object) = snapshot.existing_deployment(name)?;
    let before = deployment.scaling.policy();
    let at = |version| Some(Position::of_version(name, version, snapshot.state.newest_number()));
    if !meta.validate_only
        && let Some(answered) = check_answered(&snapshot.state, object, meta)?
    {
        return Ok(CommandResult {
            policy: Some(before),
            position: at(answered.version),
            ..CommandResult::default()
        });
    }
    let written = object.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(AUTOSCALER_ANNOTATION));
    if written && deployment.scaling.policy.is_none() {
        // Overwriting an annotation that cannot be read would lose its content.
        let what = format!(
            "reading the annotation {AUTOSCALER_ANNOTATION} of {name}, which a newer gantryd or another client wrote,"
        );
        return Err(Error::NotImplemented { what });
    }
    if meta.etag.as_ref().is_some_and(|etag| *etag != before.digest()) {
        return Err(Error::EtagMismatch { etag: before.digest() });
    }
    let policy = decide(request, &before)?;
    if policy.owns_count(meta.time) {
        snapshot.state.check_no_other_autoscaler(name)?;
    }
    let changes = policy_changes(&id, &before, &policy);
    let ends_hold = request.change.fields.contains(&Field::Mode) && deployment.scaling.hold.is_some();
    let mut result = CommandResult { policy: Some(policy.clone()), changes, ..CommandResult::default() };
    if meta.validate_only {
        let write = Write { kind: Kind::Deployment, verb: "patch", subresource: "" };
        result.checks = review_access(writer, name, &[write]).await?;
        return Ok(result);
    }
    let version = resource_version(object);
    let remembered = add_answer(object, meta, version, 0);
    let stored = deployment.scaling.policy.is_some();
    if *policy == *before && stored && !ends_hold && remembered.is_none() {
        return Ok(CommandResult { position: at(version), ..result });
    }
    let mut annotations = remembered.unwrap_or_else(|| json!({}));
    annotations[AUTOSCALER_ANNOTATION] = json!(to_annotation("policy", &*policy)?);
    if ends_hold {
        annotations[HOLD_ANNOTATION] = Value::Null;
    }
    check_annotations(name, Some(object), "autoscaler", &annotations)?;
    let mut over = object.metadata.resource_version.clone();
    if policy.mode_at(meta.time) == Mode::Active && deployment.scaling.set_outside.is_some() {
        // After the policy is written, a count set outside Gantry is treated as a manual override. This count
        // predates the policy, so take ownership of it first. In this order, a concurrent change finds the
        // policy unchanged.
        match set_replica_count(writer, name, deployment.replicas, over.clone(), false).await {
            Ok(scaled) => over = scaled.metadata.resource_version,
            Err(conflict @ Error::WriteConflict { .. }) => return Err(conflict),
            Err(error) => warn!(app = %name, %error, "cannot own the replica count; it counts as a hold"),
        }
    }
    let metadata = json!({"resourceVersion": over, "annotations": annotations});
    // The Deployment controller updates the status with every replica that starts or stops, so this write may
    // conflict.
    let written = writer.patch_deployment(name, metadata).await?;
    info!(app = %name, mode = policy.mode.as_str(), min = policy.min, max = policy.max, actor = %meta.caller,
        reason = ?meta.reason, "autoscaler set");
    Ok(CommandResult { position: at(resource_version(&written)), ..result })
}

/// Returns the policy with the change applied, or the rules that it would break.
fn decide(request: &UpdateAutoscaler, before: &Policy) -> Result<Arc<Policy>, Error> {
    let policy = before.at_time(request.meta.time).with_change(&request.change, &request.meta.caller.user);
    let wrongs = policy.violations(request.meta.time);
    if wrongs.is_empty() {
        return Ok(Arc::new(policy));
    }
    let violation = |wrong: crate::autoscale::RuleViolation| Violation {
        field: format!("autoscaler.{}", wrong.field),
        description: wrong.why,
    };
    Err(Error::Invalid(wrongs.into_iter().map(violation).collect()))
}
