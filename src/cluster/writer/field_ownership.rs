//! Who manages which field: hands over to this server what it renders of an object that others made, and takes from others
//! what a caller told it to take. Changes the managed fields alone, never a value.

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

/// The manager under which managed fields are rewritten; it owns nothing itself.
const TRANSFER_MANAGER: &str = "gantry-adopt";

/// Attempts to write over the version that was read.
const ATTEMPTS: u32 = 20;

/// Who is to manage what of a Deployment that others made.
pub(super) struct OwnershipTransfer {
    /// The fields that become this server's.
    ours: Value,
    /// The entries of everybody else, with what they keep.
    others: Vec<Value>,
}

/// Before the first apply to a Deployment that others made: what this server would render of it as it is becomes this
/// server's; what it has no words for stays with its managers. Without this, nothing that others wrote could ever be removed
/// again, and `value` could not become `valueFrom`.
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

/// What would change hands; writes nothing. `None` if nothing would.
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
        replicas: None,
        selector: deployment.selector.clone(),
        restarted: intent.record.restarted,
    };
    // If its own content cannot be rendered, or would not be admitted any more, what is to be applied says which fields it is about.
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

/// The Deployment as the apply would leave it after the hand-over, given what the dry run of the apply alone made of it: less
/// what goes because this server would manage it and does not apply it. The API server says itself what defaults come in its
/// place, asked with a patch, for which no more rights are needed than for the apply.
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
    // All that a deploy sets of a Deployment, and nothing that the API server writes by itself.
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

/// Takes `spec.replicas` from every other field manager, after this server set it over them. Gives the version of the Deployment if
/// anything had to be written.
pub(super) async fn release_replicas(
    writer: &Writer,
    name: &name::App,
    applied: &DynamicObject,
) -> Result<Option<u64>, Error> {
    let replicas = json!({"f:spec": {"f:replicas": {}}});
    let mut next = Some(applied.clone());
    // Its controller answers every apply with a status of its own.
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

/// Writes the managed fields over the version that was read. Gives the version after it.
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
