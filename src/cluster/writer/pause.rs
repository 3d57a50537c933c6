//! Pause and resume of a rollout, and the restart of an app that is not managed by Gantry. Each is one merge
//! patch of the Deployment over the version that was read. The patch creates no revision, and also stores the
//! request id.

use serde_json::{Value, json};
use tracing::info;

use super::{
    access_review::{Write, review_access},
    checks::{ProposedChange, run_checks},
    conflict::retry_on_conflict,
    idempotency::annotation::{add_answer, check_answered},
    objects::{META_MANAGER, Writer, resource_version},
    snapshot::{Snapshot, read_snapshot},
};
use crate::domain::{
    Error,
    change::{Action, Change},
    commands::{CommandResult, Position, RequestMeta, Restart, SetPaused},
    labels::RESTARTED_AT_ANNOTATION,
    name,
    object::Kind,
    plan,
};

/// Attempts before a write conflict is returned to the caller.
const ATTEMPTS: u32 = 20;

pub(super) async fn set_paused(writer: &Writer, request: SetPaused) -> Result<CommandResult, Error> {
    let (name, number) = (&request.name, request.number);
    // A merge patch with null removes `spec.paused` whichever field manager owns it, so a rollout that was
    // paused with kubectl can be resumed too.
    let paused = if request.pause { json!(true) } else { Value::Null };
    let what = if request.pause { "paused" } else { "resumed" };
    let decide = |snapshot: &Snapshot| {
        let ours = snapshot.state.deployment.as_ref().is_some_and(plan::Deployment::is_ours);
        let paused_now = snapshot.state.deployment.as_ref().is_some_and(|d| d.paused);
        // A rollout may end while it is paused. The pause stays until it is resumed, and holds every later
        // change of the Deployment that is not a deploy.
        let holds = paused_now && !request.pause;
        // The rollout had ended when the caller asked. Otherwise only a retry may succeed, and a retry is
        // answered before this.
        if request.ended && !holds || ours && snapshot.state.newest_number() > number {
            return Err(Error::RolloutEnded { rollout: name.rollout(number) });
        }
        Ok((paused_now != request.pause).then(|| json!({"paused": paused.clone()})))
    };
    let patch = || patch_spec(writer, name, &request.meta, Some(number), what, &decide);
    retry_on_conflict(ATTEMPTS, patch).await
}

/// Restarts an app that Gantry does not manage as `kubectl rollout restart` does: with an annotation of the
/// pod template.
pub(super) async fn restart_unmanaged(writer: &Writer, request: &Restart) -> Result<CommandResult, Error> {
    let (name, meta) = (&request.name, &request.meta);
    let annotations = json!({RESTARTED_AT_ANNOTATION: meta.time.to_string()});
    let decide = |snapshot: &Snapshot| {
        let deployment = snapshot.state.deployment.as_ref().ok_or_else(|| Error::no_app(name))?;
        plan::check_etag(meta.etag.as_deref(), Some(&deployment.content))?;
        if deployment.paused {
            return Err(Error::RolloutPaused { app: name.to_string() });
        }
        Ok(Some(json!({"template": {"metadata": {"annotations": annotations.clone()}}})))
    };
    retry_on_conflict(ATTEMPTS, || patch_spec(writer, name, meta, None, "restarted", &decide)).await
}

/// Reads the Deployment, lets `decide` make a merge patch for its spec (`None` if there is nothing to
/// change), and writes it over the version that was read. `number` is the rollout that is reported; `None`
/// means the rollout that the new pod template starts.
async fn patch_spec(
    writer: &Writer,
    name: &name::App,
    meta: &RequestMeta,
    number: Option<u64>,
    what: &str,
    decide: &impl Fn(&Snapshot) -> Result<Option<Value>, Error>,
) -> Result<CommandResult, Error> {
    let snapshot = read_snapshot(writer, name).await?;
    let (deployment, object) = snapshot.existing_deployment(name)?;
    let at = |version| Some(Position::of_version(name, version, snapshot.state.newest_number()));
    // Rollouts of an unmanaged app are numbered by `deployment.kubernetes.io/revision`. The Deployment
    // controller will give the new template the next number. The patch carries the resourceVersion, so that
    // no other change can take the number in between.
    let number = number.unwrap_or(deployment.template_revision + 1);
    if !meta.validate_only
        && let Some(answered) = check_answered(&snapshot.state, object, meta)?
    {
        let rollout = Some(answered.rollout).filter(|number| *number > 0);
        return Ok(CommandResult { rollout, position: at(answered.version), ..CommandResult::default() });
    }
    let spec = decide(&snapshot)?;
    let changes = spec.iter().map(|spec| Change {
        path: "spec".to_owned(),
        new: spec.to_string(),
        restarts: spec.get("template").is_some(),
        ..Change::whole(Kind::Deployment.object_of(name), Action::Update)
    });
    let rollout = (!meta.validate_only).then_some(number);
    let mut result = CommandResult { rollout, changes: changes.collect(), ..CommandResult::default() };
    if meta.validate_only {
        let write = Write { kind: Kind::Deployment, verb: "patch", subresource: "" };
        result.checks = review_access(writer, name, &[write]).await?;
        if result.changes.iter().any(|change| change.restarts) {
            let change =
                ProposedChange { replaces: true, ..ProposedChange::of_live(name, object, meta.time) };
            Box::pin(run_checks(writer, &change, &mut result)).await;
        }
        return Ok(result);
    }
    let version = resource_version(object);
    let annotations = add_answer(object, meta, version, number);
    if spec.is_none() && annotations.is_none() {
        return Ok(CommandResult { position: at(version), ..result });
    }
    let mut body = json!({"metadata": {"resourceVersion": object.metadata.resource_version}});
    if let Some(spec) = spec {
        body["spec"] = spec;
    }
    if let Some(annotations) = annotations {
        body["metadata"]["annotations"] = annotations;
    }
    let written = writer.merge_deployment(name, META_MANAGER, body).await?;
    info!(app = %name, rollout = number, actor = %meta.caller, reason = ?meta.reason, "{what}");
    Ok(CommandResult { position: at(resource_version(&written)), ..result })
}
