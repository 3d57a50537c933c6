//! Sets the replica count through the scale subresource, for any Deployment, under a field manager of its own: that is how a
//! later deploy knows that somebody else set it.

use kube::api::{Patch, PatchParams};
use serde_json::json;
use tracing::{info, warn};

use super::{
    Actor, META_MANAGER, autoscaler, change, live, merge_params, requests,
    review::{self, Write},
};
use crate::{
    cluster::error::Doing,
    domain::{
        Error,
        act::{Done, Scale},
        change::{Action, Change},
        manifest::Kind,
        plan,
    },
};

/// The field manager of replica counts that callers set.
const SCALE_MANAGER: &str = "gantry-scale";

pub(super) async fn run(actor: &Actor, request: Scale) -> Result<Done, Error> {
    let (name, asked) = (&request.name, &request.asked);
    let found = live::read(actor, name).await?;
    let (deployment, object) = found.staying(name)?;
    let newest = found.live.newest_number();
    let content = found.live.content();
    if !asked.validate_only
        && let Some(answered) = requests::answered(&found.live, object, asked)?
    {
        let position = Some(change::at(name, answered.version, newest));
        return Ok(Done { content, position, ..Done::default() });
    }
    plan::check_etag(asked.etag.as_deref(), content.as_ref().or(Some(&deployment.content)))?;
    autoscaler::check_none(actor, name).await?;
    let id = Kind::Deployment.object_of(name);
    let mut done = Done { content, ..Done::default() };
    if deployment.replicas != request.replicas {
        done.changes.push(Change {
            path: "spec.replicas".to_owned(),
            old: deployment.replicas.to_string(),
            new: request.replicas.to_string(),
            ..Change::whole(id.clone(), Action::Update)
        });
    }
    let manifest = json!({"apiVersion": "autoscaling/v1", "kind": "Scale",
        "metadata": {"name": name.app, "namespace": name.namespace}, "spec": {"replicas": request.replicas}});
    // By apply: a merge patch to the same number would own nothing, and the next deploy would not know of it.
    let params =
        PatchParams { dry_run: asked.validate_only, force: true, ..PatchParams::apply(SCALE_MANAGER) };
    let api = actor.objects(&name.namespace, Kind::Deployment);
    let doing = Doing { verb: "patch", object: &id };
    let scaled =
        actor.cluster.call(doing, api.patch_scale(&name.app, &params, &Patch::Apply(manifest))).await?;
    if asked.validate_only {
        let write = Write { kind: Kind::Deployment, verb: "patch", subresource: "scale" };
        done.checks = review::of(actor, name, &[write]).await?;
        return Ok(done);
    }
    let version = scaled
        .metadata
        .resource_version
        .and_then(|v| v.parse().ok())
        .unwrap_or_else(|| live::version(object));
    info!(app = %name, replicas = request.replicas, actor = %asked.actor, reason = %asked.reason, "scaled");
    done.position = Some(change::at(name, version, newest));
    // After the scaling: a crash between the two leaves a repeat that sets the same count again.
    if let Some(annotations) = requests::remember(object, asked, version, 0) {
        let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
        let doing = Doing { verb: "patch", object: &id };
        let params = merge_params(META_MANAGER);
        if let Err(error) = actor.cluster.call(doing, api.patch(&name.app, &params, &patch)).await {
            warn!(app = %name, %error, "cannot remember a request id; a repeat sets the same count again");
        }
    }
    Ok(done)
}
