//! Changes which field manager owns which field: takes over the fields that Gantry renders when it adopts an
//! object, and the replica count when a caller asks for that. Writes only `metadata.managedFields`, never a
//! value.

use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use super::{
    managed_fields::{applied_fields, managed_fields_json, others_without, release_from_others},
    objects::{Writer, apply_params, merge_params, resource_version},
    snapshot::Snapshot,
};
use crate::{
    cluster::apply_body::encode_apply_body,
    domain::{
        Error, diff, fields_v1,
        manifest::{self, RenderContext},
        name,
        object::Kind,
        plan::{FIELD_MANAGER, Intent, Rendered},
    },
};

/// The field manager of writes to `metadata.managedFields`. It owns no field.
const TRANSFER_MANAGER: &str = "gantry-adopt";

/// Attempts before a write conflict is returned to the caller.
const ATTEMPTS: u32 = 20;

/// The new owners of the fields of a Deployment that was not managed by Gantry.
pub(super) struct OwnershipTransfer {
    /// The fields that Gantry takes over.
    ours: Value,
    /// The entries of all other field managers, with the fields that they retain.
    others: Vec<Value>,
}

/// Runs before the first apply to a Deployment that was not managed by Gantry. Gantry takes over every field
/// that it would render for the present content; fields that its API does not model stay with their managers.
/// Without this, no field that another manager wrote could ever be removed, and `value` could not become
/// `valueFrom`.
pub(super) async fn transfer_ownership(
    writer: &Writer,
    intent: &Intent,
    rendered: &Rendered,
    snapshot: &Snapshot,
) -> Result<(), Error> {
    let Some(before) = &snapshot.deployment else { return Ok(()) };
    let Some(OwnershipTransfer { ours, others: mut entries }) =
        plan_transfer(writer, intent, rendered, snapshot).await?
    else {
        return Ok(());
    };
    entries.push(json!({"manager": FIELD_MANAGER, "operation": "Apply", "apiVersion": "apps/v1",
        "fieldsType": "FieldsV1", "fieldsV1": ours, "time": jiff::Timestamp::now().round(jiff::Unit::Second).ok()}));
    set_managed_fields(writer, &intent.name, before, &entries).await.map(|_| ())
}

/// Returns what would change hands, or `None` if nothing would. Writes nothing.
pub(super) async fn plan_transfer(
    writer: &Writer,
    intent: &Intent,
    rendered: &Rendered,
    snapshot: &Snapshot,
) -> Result<Option<OwnershipTransfer>, Error> {
    let (Some(before), Some(deployment)) = (&snapshot.deployment, &snapshot.state.deployment) else {
        return Ok(None);
    };
    let name = &intent.name;
    let context = RenderContext {
        revision: intent.number,
        renderer: intent.record.renderer,
        replicas: None,
        selector: deployment.selector.clone(),
        restarted: intent.record.restarted,
    };
    // If the present content cannot be rendered or would not be admitted, take over the fields of the content
    // that is to be applied.
    let applied = &rendered.objects[0].manifest;
    let own = manifest::render_deployment(name, &deployment.content, &context);
    let manifest = own.as_ref().map_or(applied, |object| &object.manifest);
    let deployments = writer.objects(&name.namespace, Kind::Deployment);
    let params = PatchParams { dry_run: true, ..apply_params(true) };
    let try_out = async |manifest| {
        let patch = Patch::Apply(encode_apply_body(manifest)?);
        deployments.patch(&name.app, &params, &patch).await
    };
    let tried = match try_out(manifest).await {
        Err(error) if error.is_refusal() && manifest != applied => try_out(applied).await?,
        tried => tried?,
    };
    Ok(applied_fields(&tried).map(|ours| OwnershipTransfer { others: others_without(before, &ours), ours }))
}

/// Returns the Deployment as the apply would leave it after the ownership transfer. It takes the dry run of
/// the apply alone, and removes the fields that Gantry would own and does not apply. A dry run of a patch
/// then fills in the defaults of the removed fields. It needs no more rights than the apply does.
pub(super) async fn dry_run_transfer(
    writer: &Writer,
    name: &name::App,
    before: &DynamicObject,
    tried: &DynamicObject,
    hand_over: &OwnershipTransfer,
) -> Result<DynamicObject, Error> {
    let applied = applied_fields(tried).unwrap_or_default();
    let kept: Vec<_> =
        hand_over.others.iter().map(|entry| &entry["fieldsV1"]).chain(std::iter::once(&applied)).collect();
    let mut pruned = serde_json::to_value(tried).unwrap_or_default();
    fields_v1::prune_fields(&mut pruned, &hand_over.ours, &kept);
    // All that a deploy sets in a Deployment, and nothing that only the API server writes.
    let parts = |object: &Value| {
        let metadata = &object["metadata"];
        json!({"metadata": {"labels": metadata["labels"], "annotations": metadata["annotations"]}, "spec": object["spec"]})
    };
    let live = serde_json::to_value(before).unwrap_or_default();
    let patch = diff::merge_patch(&parts(&live), &parts(&pruned));
    let params = PatchParams { dry_run: true, ..merge_params(TRANSFER_MANAGER) };
    let deployments = writer.objects(&name.namespace, Kind::Deployment);
    deployments.patch(&name.app, &params, &Patch::Merge(patch)).await
}

/// Removes `spec.replicas` from every other field manager, after Gantry set it with force. Returns the
/// resourceVersion of the Deployment if a write was needed.
pub(super) async fn release_replicas(
    writer: &Writer,
    name: &name::App,
    applied: &DynamicObject,
) -> Result<Option<u64>, Error> {
    let replicas = json!({"f:spec": {"f:replicas": {}}});
    let mut next = Some(applied.clone());
    // The Deployment controller answers every apply with a write of the status, so conflicts are frequent.
    for _ in 0..ATTEMPTS {
        let Some(object) = next else { return Ok(None) };
        let entries = release_from_others(&object, &replicas);
        if entries == managed_fields_json(&object) {
            return Ok(None);
        }
        match set_managed_fields(writer, name, &object, &entries).await {
            Err(Error::WriteConflict { .. }) => {}
            answer => return answer.map(Some),
        }
        next = writer.get_object(Kind::Deployment, name).await?;
    }
    Err(Error::WriteConflict { object: Kind::Deployment.object_of(name) })
}

/// Writes the managed fields over the version that was read. Returns the resourceVersion after the write.
async fn set_managed_fields(
    writer: &Writer,
    name: &name::App,
    object: &DynamicObject,
    entries: &[Value],
) -> Result<u64, Error> {
    let metadata = json!({"resourceVersion": object.metadata.resource_version, "managedFields": entries});
    let written = writer.merge_deployment(name, TRANSFER_MANAGER, json!({"metadata": metadata})).await?;
    Ok(resource_version(&written))
}
