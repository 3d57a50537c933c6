//! Carries out an intent: applies the Deployment first, then the objects that it owns, and marks the revision
//! as applied last. Repeating this after a crash at any point leads to the same end.

use futures::future::join_all;
use kube::{
    ResourceExt,
    api::{DynamicObject, Patch},
};
use serde_json::{Value, json};
use tracing::{debug, warn};

use super::{
    field_ownership::{release_replicas, transfer_ownership},
    managed_fields::has_no_apply_entry,
    objects::{
        META_MANAGER, Writer, apply_params, merge_params, owned_manifest, owner_reference, resource_version,
        to_annotation,
    },
    revisions::{create_revision, delete_revision, own_revision, patch_revision},
    snapshot::{Owner, Snapshot, is_owned, manager_of, read_snapshot},
};
use crate::{
    autoscale::Policy,
    cluster::{apply_body::encode_apply_body, decode},
    domain::{
        Error,
        error::Conflict,
        labels::MANAGER,
        manifest::Object,
        object::Kind,
        plan::{self, Intent, Managed, Rendered},
        revision,
        scaling::AUTOSCALER_ANNOTATION,
    },
};

/// Attempts to apply the Deployment while other writers change it. The Deployment controller updates the
/// status with every replica that starts or stops, so conflicts are frequent.
const ATTEMPTS: u32 = 30;

/// How far a failed apply came.
pub(super) struct ApplyFailure {
    pub(super) error: Error,
    pub(super) applied: Vec<String>,
    pub(super) not_applied: Vec<String>,
}

struct Apply<'a> {
    writer: &'a Writer,
    intent: &'a Intent,
    /// uid of the Deployment, the owner of all other objects.
    uid: String,
}

/// Applies every object. Returns the resourceVersion of the Deployment after the last write to it.
pub(super) async fn apply_intent(
    writer: &Writer,
    intent: &Intent,
    snapshot: Snapshot,
) -> Result<u64, ApplyFailure> {
    let mut apply = Apply { writer, intent, uid: String::new() };
    let deployment = Kind::Deployment.object_of(&intent.name);
    let (object, rendered, snapshot) = match apply.deployment(snapshot).await {
        Ok(done) => done,
        Err(error) if apply.uid.is_empty() => {
            return Err(ApplyFailure { error, applied: Vec::new(), not_applied: vec![deployment] });
        }
        Err(error) => return Err(ApplyFailure { error, applied: vec![deployment], not_applied: Vec::new() }),
    };
    let (version, mut failure) = match apply.settle(rendered.as_ref(), &object).await {
        Ok(version) => (version, None),
        Err(error) => (resource_version(&object), Some(error)),
    };
    let rest = rendered.iter().flat_map(|r| &r.objects).filter(|o| o.kind != Kind::Deployment);
    let (same, rest): (Vec<_>, Vec<_>) = rest.partition(|o| snapshot.unchanged.contains(&o.kind));
    let prune: Vec<_> = rendered.iter().flat_map(|r| r.prune.iter().copied()).collect();
    let results = join_all(rest.iter().map(|object| apply.owned(object, &snapshot))).await;
    let (mut applied, mut not_applied) = (vec![deployment], Vec::new());
    applied.extend(same.iter().map(|object| object.kind.object_of(&intent.name)));
    for (object, result) in rest.iter().zip(results) {
        let id = object.kind.object_of(&intent.name);
        match result {
            Ok(()) => applied.push(id),
            Err(error) => {
                not_applied.push(id);
                failure.get_or_insert(error);
            }
        }
    }
    for kind in prune {
        if let Err(error) = apply.prune(kind).await {
            not_applied.push(kind.object_of(&intent.name));
            failure.get_or_insert(error);
        }
    }
    if failure.is_none() {
        failure = apply.mark(&snapshot, version).await.err();
    }
    match failure {
        Some(error) => Err(ApplyFailure { error, applied, not_applied }),
        None => Ok(version),
    }
}

impl Apply<'_> {
    /// Applies the Deployment over the version that was read, so that of two concurrent changes the later one
    /// wins. Returns no rendering if a later change was applied already. Then nothing of this change may be
    /// applied.
    async fn deployment(
        &mut self,
        mut snapshot: Snapshot,
    ) -> Result<(DynamicObject, Option<Rendered>, Snapshot), Error> {
        let (name, number) = (&self.intent.name, self.intent.number);
        let id = Kind::Deployment.object_of(name);
        let existed = snapshot.deployment.is_some();
        let mut handed_over = false;
        for _ in 0..ATTEMPTS {
            let overtaken = plan::is_superseded(self.intent, existed, &snapshot.state)?;
            if let Some(object) = snapshot.deployment.clone().filter(|_| overtaken) {
                debug!(app = %name, number, "a later change was applied already");
                self.uid = object.metadata.uid.clone().unwrap_or_default();
                return Ok((object, None, snapshot));
            }
            let rendered = plan::render_objects(self.intent, &snapshot.state)?;
            if rendered.adopt && !handed_over {
                self.own_restored(&snapshot).await?;
                // The Deployment controller may have written a status in between. In that case read the app
                // again.
                match transfer_ownership(self.writer, self.intent, &rendered, &snapshot).await {
                    Err(Error::WriteConflict { .. }) => {}
                    handed => {
                        handed?;
                        handed_over = true;
                    }
                }
                snapshot = read_snapshot(self.writer, name).await?;
                continue;
            }
            let mut manifest = rendered.objects[0].manifest.clone();
            if let Some(before) = &snapshot.deployment {
                manifest["metadata"]["resourceVersion"] = json!(before.metadata.resource_version);
                // The resourceVersion alone is not enough: if the Deployment was deleted in the meantime, the
                // apply would create it again. The uid prevents that.
                manifest["metadata"]["uid"] = json!(before.metadata.uid);
            }
            match self.apply(Kind::Deployment, &manifest, rendered.take_count, rendered.adopt).await {
                Ok(applied) => {
                    let fresh = snapshot.deployment.is_none();
                    self.uid = applied.metadata.uid.clone().unwrap_or_default();
                    if fresh && applied.metadata.generation.is_some_and(|g| g > 1) {
                        // Two first deploys ran at once, and this one was not the first. Read the app again
                        // to see which of them is the later one.
                        snapshot = read_snapshot(self.writer, name).await?;
                        if snapshot.state.newest_number() > number {
                            continue;
                        }
                    }
                    return Ok((applied, Some(rendered), snapshot));
                }
                // The Deployment controller writes the status at any moment. That changes no other object.
                Err(Error::WriteConflict { .. }) => {
                    let mut again = read_snapshot(self.writer, name).await?;
                    again.unchanged = again.same_as_in(&snapshot, snapshot.unchanged.clone());
                    snapshot = again;
                }
                Err(error) if !rendered.take_count && error.is_conflict_about_replicas() => {
                    snapshot = read_snapshot(self.writer, name).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::WriteConflict { object: id })
    }

    /// Gives a Service and a PodDisruptionBudget that were restored from a backup to the Deployment that was
    /// restored with them. This happens before the fields of the Deployment change hands, because afterwards
    /// nothing distinguishes them from objects that are not managed by Gantry.
    async fn own_restored(&self, snapshot: &Snapshot) -> Result<(), Error> {
        let name = &self.intent.name;
        let restored = snapshot.state.deployment.as_ref().filter(|d| d.managed == Managed::WithoutFields);
        let Some(uid) = restored.map(|d| d.uid.clone()) else { return Ok(()) };
        let owner = Owner { uid, restored: true };
        for kind in [Kind::Service, Kind::Budget] {
            let Some(part) = snapshot.object(kind).filter(|_| snapshot.state.made_by(kind) == Some(MANAGER))
            else {
                continue;
            };
            if is_owned(part, &owner) {
                continue;
            }
            let metadata =
                json!({"uid": part.metadata.uid, "ownerReferences": [owner_reference(name, &owner.uid)]});
            let (params, patch) = (merge_params(META_MANAGER), Patch::Merge(json!({"metadata": metadata})));
            self.writer.objects(&name.namespace, kind).patch(&name.app, &params, &patch).await?;
        }
        Ok(())
    }

    /// Does what must follow the apply of the Deployment: releases the replica count from other field
    /// managers if it was taken over, resumes a paused rollout, and sets the policy that the change brings
    /// back.
    async fn settle(&self, rendered: Option<&Rendered>, applied: &DynamicObject) -> Result<u64, Error> {
        let mut version = resource_version(applied);
        let Some(rendered) = rendered else { return Ok(version) };
        if rendered.take_count
            && let Some(after) = release_replicas(self.writer, &self.intent.name, applied).await?
        {
            version = after;
        }
        if rendered.resume.is_some() {
            let body = json!({"spec": {"paused": null}});
            let resumed = self.writer.merge_deployment(&self.intent.name, META_MANAGER, body).await?;
            version = resource_version(&resumed);
        }
        if let Some(policy) = &self.intent.record.brings {
            version = self.bring(policy, applied).await?.unwrap_or(version);
        }
        Ok(version)
    }

    /// Sets the autoscaler policy that the change brings back, unless the Deployment already has it.
    async fn bring(&self, policy: &Policy, applied: &DynamicObject) -> Result<Option<u64>, Error> {
        let name = &self.intent.name;
        let text = to_annotation("policy", policy)?;
        if applied.metadata.annotations.as_ref().and_then(|a| a.get(AUTOSCALER_ANNOTATION)) == Some(&text) {
            return Ok(None);
        }
        let written =
            self.writer.patch_deployment(name, json!({"annotations": {AUTOSCALER_ANNOTATION: text}})).await?;
        Ok(Some(resource_version(&written)))
    }

    async fn apply(
        &self,
        kind: Kind,
        manifest: &Value,
        take_count: bool,
        adopt: bool,
    ) -> Result<DynamicObject, Error> {
        let name = &self.intent.name;
        let objects = self.writer.objects(&name.namespace, kind);
        let body = Patch::Apply(encode_apply_body(manifest)?);
        let patch = async |force: bool| objects.patch(&name.app, &apply_params(force), &body).await;
        let is_ours = |error: &Error| matches!(error, Error::Conflict(conflicts) if conflicts.iter().all(Conflict::is_bookkeeping));
        match patch(self.intent.record.force || adopt).await {
            Err(error) if take_count && error.is_conflict_about_replicas() || is_ours(&error) => {
                patch(true).await
            }
            answer => answer,
        }
    }

    /// Applies an object that the Deployment owns.
    async fn owned(&self, object: &Object, snapshot: &Snapshot) -> Result<(), Error> {
        let manifest = owned_manifest(object, &self.intent.name, Some(&self.uid));
        let before = snapshot.object(object.kind);
        let foreign = snapshot.state.made_by(object.kind).is_some_and(|by| by != MANAGER);
        let lost = before.is_some_and(has_no_apply_entry);
        if let Some(left) = before.filter(|o| !foreign && self.is_left(o)) {
            self.writer.delete_part(&self.intent.name, object.kind, left).await?;
        }
        self.apply(object.kind, &manifest, false, foreign || lost).await.map(|_| ())
    }

    /// Whether the object is left over from an earlier Deployment of the same name. Garbage collection has
    /// decided to delete such an object, and does not check again whether it got a new owner in the meantime
    /// [seen on 1.36].
    fn is_left(&self, object: &DynamicObject) -> bool {
        object.owner_references().iter().any(|owner| owner.kind == "Deployment" && owner.uid != self.uid)
    }

    async fn prune(&self, kind: Kind) -> Result<(), Error> {
        // Delete only an object that Gantry manages now: another one may have taken its name since the plan
        // was made.
        let snapshot = self.writer.get_object(kind, &self.intent.name).await?;
        let owner = Owner { uid: self.uid.clone(), restored: false };
        match snapshot.filter(|object| manager_of(object, &owner) == MANAGER) {
            Some(ours) => self.writer.delete_part(&self.intent.name, kind, &ours).await,
            None => Ok(()),
        }
    }

    /// Marks the revision as applied and makes the Deployment its owner. Does the same for earlier revisions
    /// that were cut off and are now superseded.
    async fn mark(&self, snapshot: &Snapshot, version: u64) -> Result<(), Error> {
        let name = &self.intent.name;
        let metadata = json!({
            "ownerReferences": [owner_reference(name, &self.uid)],
            "annotations": {decode::APPLIED_TO_ANNOTATION: self.uid, decode::VERSION_ANNOTATION: version.to_string()},
        });
        let object = revision::object_name(name, self.intent.number);
        match patch_revision(self.writer, &name.namespace, &object, metadata.clone()).await.map(drop) {
            // A concurrent deletion removed the revision, because it had no owner.
            Err(Error::ObjectMissing { .. }) => {
                let (number, record) = (self.intent.number, &self.intent.record);
                create_revision(self.writer, name, number, record, Some(&self.uid)).await?;
                patch_revision(self.writer, &name.namespace, &object, metadata).await?;
            }
            marked => marked?,
        }
        let cut_off_by =
            snapshot.state.revisions.iter().filter(|p| !p.applied && p.number < self.intent.number);
        for past in cut_off_by {
            // A stuck revision is deleted: this revision has the same content, or replaces it.
            let settled = if past.is_stuck() {
                delete_revision(self.writer, name, past.number).await
            } else {
                own_revision(self.writer, name, past.number, &self.uid).await
            };
            if let Err(error) = settled {
                warn!(app = %name, number = past.number, %error, "cannot settle a superseded revision");
            }
        }
        Ok(())
    }
}
