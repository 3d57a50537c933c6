//! Sets the replica count through the scale subresource, for any Deployment, under a field manager of its own: that is how a
//! later deploy knows that somebody else set it.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use serde_json::json;
use tracing::{info, warn};

use super::{
    Writer,
    access_review::{self, Write},
    annotation,
    checks::{self, ProposedChange},
    deploy, requests, snapshot,
};
use crate::{
    autoscale::Hold,
    cluster::error::Doing,
    domain::{
        Error,
        change::{Action, Change},
        commands::{CommandResult, Scale},
        name,
        object::Kind,
        plan,
        scaling::HOLD,
    },
};

/// The field manager of replica counts that callers and the autoscaler set.
const SCALE_MANAGER: &str = "gantry-scale";

/// Said to a caller who wants a count to be held where nothing would change it.
const NO_AUTOSCALER: &str = "hold_for has no effect: no autoscaler of this server is active for the app, so the count stays until somebody sets it.";

/// The hold that is asked for, of a Deployment of this generation. `None` for a time beyond the end of the calendar.
fn to_hold(request: &Scale, time: Duration, generation: Option<i64>) -> Option<Hold> {
    let meta = &request.meta;
    let until = meta.time.checked_add(time).ok()?;
    Some(Hold {
        replicas: request.replicas,
        until,
        actor: meta.actor.clone(),
        reason: meta.reason.clone(),
        since: meta.time,
        generation: generation.unwrap_or_default(),
    })
}

/// Keeps a hold with the Deployment, or takes it away.
async fn keep_hold(actor: &Writer, name: &name::App, hold: Option<&Hold>) -> Result<(), Error> {
    let text = hold.map(|hold| annotation("hold", hold)).transpose()?;
    actor.patch_deployment(name, json!({"annotations": {HOLD: text}})).await.map(|_| ())
}

/// Sets the count through the scale subresource, over this version if there is one. By apply: a merge patch to the same number would own
/// nothing, and the next deploy would not know of it.
pub(super) async fn set_count(
    actor: &Writer,
    name: &name::App,
    replicas: i32,
    version: Option<String>,
    dry_run: bool,
) -> Result<k8s_openapi::api::autoscaling::v1::Scale, Error> {
    let mut manifest = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": replicas},
        "metadata": {"name": name.app, "namespace": name.namespace}});
    if let Some(version) = version {
        manifest["metadata"]["resourceVersion"] = json!(version);
    }
    let params = PatchParams { dry_run, force: true, ..PatchParams::apply(SCALE_MANAGER) };
    let doing = Doing { verb: "patch", object: &Kind::Deployment.object_of(name) };
    let api = actor.objects(&name.namespace, Kind::Deployment);
    actor.cluster.call(doing, api.patch_scale(&name.app, &params, &Patch::Apply(manifest))).await
}

pub(super) async fn scale_app(actor: &Writer, request: Scale) -> Result<CommandResult, Error> {
    let (name, meta) = (&request.name, &request.meta);
    let found = snapshot::read_snapshot(actor, name).await?;
    let (deployment, object) = found.existing_deployment(name)?;
    let newest = found.live.newest_number();
    let content = found.live.content();
    if !meta.validate_only
        && let Some(answered) = requests::check_answered(&found.live, object, meta)?
    {
        let position = Some(deploy::position_at(name, answered.version, newest));
        return Ok(CommandResult { content, position, ..CommandResult::default() });
    }
    plan::check_etag(meta.etag.as_deref(), content.as_ref().or(Some(&deployment.content)))?;
    let scaling = &deployment.scaling;
    if request.hold_for.is_none() && scaling.is_active(meta.time) {
        return Err(Error::AutoscalerActive { app: name.to_string() });
    }
    found.live.check_no_other_autoscaler(name)?;
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
            path: format!("metadata.annotations[{HOLD}]"),
            new: format!("{} replicas until {}", hold.replicas, hold.until),
            ..Change::whole(id.clone(), Action::Update)
        }),
        None if request.hold_for.is_some() => done.warnings.push(NO_AUTOSCALER.to_owned()),
        None => {}
    }
    // A hold comes before its count: whoever finds one without its count sets it, while a count without its hold would be taken back.
    // One that is not needed, since the autoscaler is frozen, ends the earlier one, which must not stand over a count that it did not ask
    // for: before the count too, or whoever finds that hold undoes the count.
    let changes_hold = !meta.validate_only && (hold.is_some() || scaling.active_hold(meta.time).is_some());
    if changes_hold {
        keep_hold(actor, name, hold.as_ref()).await?;
    }
    let scaled = match set_count(actor, name, request.replicas, None, meta.validate_only).await {
        Ok(scaled) => scaled,
        Err(error) => {
            // What was refused leaves nothing behind; what may have happened is completed or ends with the hold.
            if changes_hold
                && deploy::is_refusal(&error)
                && let Err(stays) = keep_hold(actor, name, scaling.hold.as_deref()).await
            {
                warn!(app = %name, error = %stays, "cannot take back the hold of a scaling that was refused");
            }
            return Err(error);
        }
    };
    if meta.validate_only {
        let write = Write { kind: Kind::Deployment, verb: "patch", subresource: "scale" };
        done.checks = access_review::review_access(actor, name, &[write]).await?;
        let mut subject = ProposedChange::of_live(name, object, meta.time);
        subject.deployment["spec"]["replicas"] = json!(request.replicas);
        Box::pin(checks::run_checks(actor, &subject, &mut done)).await;
        return Ok(done);
    }
    let version = scaled
        .metadata
        .resource_version
        .and_then(|v| v.parse().ok())
        .unwrap_or_else(|| snapshot::resource_version(object));
    let until = hold.as_ref().map(|hold| hold.until.to_string());
    info!(app = %name, replicas = request.replicas, hold = until, actor = %meta.actor, reason = ?meta.reason, "scaled");
    done.position = Some(deploy::position_at(name, version, newest));
    // After the scaling: a crash between the two leaves a repeat that sets the same count again.
    requests::store_answer(actor, name, meta, version).await;
    Ok(done)
}
