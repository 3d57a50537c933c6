//! Writes that leave the content as it is: a rollout is held or goes on, and the replicas of an app that others made are
//! replaced. Each is one patch, which also remembers the request.

use kube::api::Patch;
use serde_json::{Value, json};
use tracing::info;

use super::{
    CROWDED, META_MANAGER, Writer,
    access_review::{self, Write},
    checks::{self, ProposedChange},
    deploy, merge_params, requests, snapshot,
};
use crate::{
    cluster::error::Doing,
    domain::{
        Error,
        change::{Action, Change},
        commands::{CommandResult, RequestMeta, Restart, SetPaused},
        labels::RESTARTED,
        name,
        object::Kind,
        plan,
    },
};

/// Attempts to write over the version that was read.
const ATTEMPTS: u32 = 20;

pub(super) async fn set_paused(actor: &Writer, request: SetPaused) -> Result<CommandResult, Error> {
    let (name, number) = (&request.name, request.number);
    // Written as null, the field goes whoever set it: what `kubectl rollout pause` held can be resumed too.
    let paused = if request.pause { json!(true) } else { Value::Null };
    let what = if request.pause { "paused" } else { "resumed" };
    patch(actor, name, &request.meta, Some(number), what, |found| {
        let ours = found.live.deployment.as_ref().is_some_and(plan::Deployment::is_ours);
        if request.ended || ours && found.live.newest_number() > number {
            return Err(Error::RolloutEnded { rollout: name.rollout(number) });
        }
        let held = found.live.deployment.as_ref().is_some_and(|d| d.paused);
        Ok((held != request.pause).then(|| json!({"paused": paused.clone()})))
    })
    .await
}

/// Restarts the replicas of an app that others made.
pub(super) async fn restart_unmanaged(actor: &Writer, request: &Restart) -> Result<CommandResult, Error> {
    let (name, meta) = (&request.name, &request.meta);
    let annotations = json!({RESTARTED: meta.time.to_string()});
    patch(actor, name, meta, None, "restarted", |found| {
        let deployment = found.live.deployment.as_ref().ok_or_else(|| Error::no_app(name))?;
        plan::check_etag(meta.etag.as_deref(), Some(&deployment.content))?;
        if deployment.paused {
            return Err(Error::RolloutPaused { app: name.to_string() });
        }
        Ok(Some(json!({"template": {"metadata": {"annotations": annotations.clone()}}})))
    })
    .await
}

/// Merges into the spec of the Deployment what `decide` says, over the version that it looked at. Without a `number` it is about
/// the rollout that a new template begins.
async fn patch(
    actor: &Writer,
    name: &name::App,
    meta: &RequestMeta,
    number: Option<u64>,
    what: &str,
    decide: impl Fn(&snapshot::Snapshot) -> Result<Option<Value>, Error>,
) -> Result<CommandResult, Error> {
    let id = Kind::Deployment.object_of(name);
    for _ in 0..ATTEMPTS {
        let found = snapshot::read_snapshot(actor, name).await?;
        let (deployment, object) = found.existing_deployment(name)?;
        let at = |version| Some(deploy::position_at(name, version, found.live.newest_number()));
        // Kubernetes counts on from the template that the version which is written over carries.
        let number = number.unwrap_or(deployment.template_revision + 1);
        if !meta.validate_only
            && let Some(answered) = requests::check_answered(&found.live, object, meta)?
        {
            let rollout = Some(answered.rollout).filter(|number| *number > 0);
            return Ok(CommandResult { rollout, position: at(answered.version), ..CommandResult::default() });
        }
        let spec = decide(&found)?;
        let changes = spec.iter().map(|spec| Change {
            path: "spec".to_owned(),
            new: spec.to_string(),
            restarts: spec.get("template").is_some(),
            ..Change::whole(id.clone(), Action::Update)
        });
        let rollout = (!meta.validate_only).then_some(number);
        let mut done = CommandResult { rollout, changes: changes.collect(), ..CommandResult::default() };
        if meta.validate_only {
            let write = Write { kind: Kind::Deployment, verb: "patch", subresource: "" };
            done.checks = access_review::review_access(actor, name, &[write]).await?;
            if done.changes.iter().any(|change| change.restarts) {
                let subject =
                    ProposedChange { replaces: true, ..ProposedChange::of_live(name, object, meta.time) };
                Box::pin(checks::run_checks(actor, &subject, &mut done)).await;
            }
            return Ok(done);
        }
        let version = snapshot::resource_version(object);
        let annotations = requests::add_answer(object, meta, version, number);
        if spec.is_none() && annotations.is_none() {
            return Ok(CommandResult { position: at(version), ..done });
        }
        let mut body = json!({"metadata": {"resourceVersion": object.metadata.resource_version}});
        if let Some(spec) = spec {
            body["spec"] = spec;
        }
        if let Some(annotations) = annotations {
            body["metadata"]["annotations"] = annotations;
        }
        let api = actor.objects(&name.namespace, Kind::Deployment);
        let doing = Doing { verb: "patch", object: &id };
        let params = merge_params(META_MANAGER);
        match actor.cluster.call(doing, api.patch(&name.app, &params, &Patch::Merge(body))).await {
            Ok(written) => {
                info!(app = %name, rollout = number, actor = %meta.actor, reason = ?meta.reason, "{what}");
                return Ok(CommandResult { position: at(snapshot::resource_version(&written)), ..done });
            }
            Err(Error::EtagMismatch { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Err(CROWDED)
}
