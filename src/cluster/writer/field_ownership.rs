//! Who manages which field: hands over to this server what it renders of an object that others made, and takes from others
//! what a caller told it to take. Changes the managed fields alone, never a value.

use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use super::{CROWDED, Writer, apply_params, deploy, merge_params, snapshot::Snapshot};
use crate::{
    cluster::{error::Doing, yaml::apply_body},
    domain::{
        Error, diff,
        manifest::{self, RenderContext},
        name,
        object::Kind,
        ownership,
        plan::{FIELD_MANAGER, Intent, Rendered},
    },
};

/// The manager under which managed fields are rewritten; it owns nothing itself.
const HAND_OVER: &str = "gantry-adopt";

/// A probe of which its defaults stayed with who made it would stay without anything to try, which is not valid.
const WHOLE: [&str; 3] = ["f:livenessProbe", "f:readinessProbe", "f:startupProbe"];

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
    actor: &Writer,
    intent: &Intent,
    rendered: &Rendered,
    found: &Snapshot,
) -> Result<(), Error> {
    let Some(before) = &found.deployment else { return Ok(()) };
    let Some(OwnershipTransfer { ours, others: mut entries }) =
        plan_transfer(actor, intent, rendered, found).await?
    else {
        return Ok(());
    };
    entries.push(json!({"manager": FIELD_MANAGER, "operation": "Apply", "apiVersion": "apps/v1",
        "fieldsType": "FieldsV1", "fieldsV1": ours, "time": jiff::Timestamp::now().round(jiff::Unit::Second).ok()}));
    rewrite(actor, &intent.name, before, &entries).await.map(|_| ())
}

/// What would change hands; writes nothing. `None` if nothing would.
pub(super) async fn plan_transfer(
    actor: &Writer,
    intent: &Intent,
    rendered: &Rendered,
    found: &Snapshot,
) -> Result<Option<OwnershipTransfer>, Error> {
    let (Some(before), Some(deployment)) = (&found.deployment, &found.live.deployment) else {
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
    let id = Kind::Deployment.object_of(name);
    let api = actor.objects(&name.namespace, Kind::Deployment);
    let params = PatchParams { dry_run: true, ..apply_params(true) };
    let doing = Doing { verb: "patch", object: &id };
    let try_out = async |manifest| {
        let patch = Patch::Apply(apply_body(manifest)?);
        actor.cluster.call(doing, api.patch(&name.app, &params, &patch)).await
    };
    let tried = match try_out(manifest).await {
        Err(error) if deploy::is_refusal(&error) && manifest != applied => try_out(applied).await?,
        tried => tried?,
    };
    Ok(fields_of(&tried).map(|ours| OwnershipTransfer { others: without(before, &ours, false), ours }))
}

/// The Deployment as the apply would leave it after the hand-over, given what the dry run of the apply alone made of it: less
/// what goes because this server would manage it and does not apply it. The API server says itself what defaults come in its
/// place, asked with a patch, for which no more rights are needed than for the apply.
pub(super) async fn dry_run_transfer(
    actor: &Writer,
    name: &name::App,
    before: &DynamicObject,
    tried: &DynamicObject,
    hand_over: &OwnershipTransfer,
) -> Result<DynamicObject, Error> {
    let applied = fields_of(tried).unwrap_or_default();
    let kept: Vec<_> =
        hand_over.others.iter().map(|entry| &entry["fieldsV1"]).chain(std::iter::once(&applied)).collect();
    let mut pruned = serde_json::to_value(tried).unwrap_or_default();
    ownership::prune_fields(&mut pruned, &hand_over.ours, &kept);
    // All that a deploy sets of a Deployment, and nothing that the API server writes by itself.
    let parts = |object: &Value| {
        let metadata = &object["metadata"];
        json!({"metadata": {"labels": metadata["labels"], "annotations": metadata["annotations"]}, "spec": object["spec"]})
    };
    let live = serde_json::to_value(before).unwrap_or_default();
    let patch = diff::merge_patch(&parts(&live), &parts(&pruned));
    let id = Kind::Deployment.object_of(name);
    let api = actor.objects(&name.namespace, Kind::Deployment);
    let params = PatchParams { dry_run: true, ..merge_params(HAND_OVER) };
    let doing = Doing { verb: "patch", object: &id };
    actor.cluster.call(doing, api.patch(&name.app, &params, &Patch::Merge(patch))).await
}

/// After this server set the replica count over others: they own it no more. Gives the version of the Deployment if anything
/// had to be written.
pub(super) async fn release_replicas(
    actor: &Writer,
    name: &name::App,
    applied: &DynamicObject,
) -> Result<Option<u64>, Error> {
    let count = json!({"f:spec": {"f:replicas": {}}});
    let mut object = applied.clone();
    // Its controller answers every apply with a status of its own.
    for _ in 0..ATTEMPTS {
        let entries = without(&object, &count, true);
        if entries == entry_values(&object) {
            return Ok(None);
        }
        match rewrite(actor, name, &object, &entries).await {
            Err(Error::EtagMismatch { .. }) => {}
            answer => return answer.map(Some),
        }
        match super::snapshot::get_object(actor, Kind::Deployment, name).await? {
            Some(fresh) => object = fresh,
            None => return Ok(None),
        }
    }
    Err(CROWDED)
}

fn entry_values(object: &DynamicObject) -> Vec<Value> {
    let entries = object.metadata.managed_fields.as_deref().unwrap_or_default();
    entries.iter().filter_map(|entry| serde_json::to_value(entry).ok()).collect()
}

/// The entries of all managers but this server, less these fields. Entries for the status are left as they are, and those
/// for the scale unless `scale`.
fn without(object: &DynamicObject, fields: &Value, scale: bool) -> Vec<Value> {
    let reduce = |mut entry: Value| {
        let subresource = entry["subresource"].as_str().unwrap_or_default();
        let ours = entry["manager"] == FIELD_MANAGER && subresource.is_empty();
        let untouched = match subresource {
            "" => ours,
            "scale" => !scale,
            _ => true,
        };
        if ours && !scale {
            return None;
        }
        if untouched {
            return Some(entry);
        }
        let left = ownership::subtract_fields(&entry["fieldsV1"], fields, &WHOLE);
        if ownership::is_empty(&left) {
            return None;
        }
        entry["fieldsV1"] = left;
        Some(entry)
    };
    entry_values(object).into_iter().filter_map(reduce).collect()
}

/// The fields that this server manages.
fn fields_of(object: &DynamicObject) -> Option<Value> {
    let entries = object.metadata.managed_fields.as_deref().unwrap_or_default();
    let ours = entries
        .iter()
        .find(|e| e.manager.as_deref() == Some(FIELD_MANAGER) && e.operation.as_deref() == Some("Apply"));
    ours?.fields_v1.as_ref().map(|fields| fields.0.clone())
}

/// Whether this server manages no field of an object, although it made it: the object was made again by somebody else, from a backup
/// or with `kubectl apply`, and every field is managed by them.
pub(super) fn owns_no_fields(object: &DynamicObject) -> bool {
    fields_of(object).is_none()
}

/// Whether this server manages the field of an object at this path.
pub(super) fn owns_field(object: &DynamicObject, path: &[&str]) -> bool {
    let fields = fields_of(object);
    let at = |fields: Option<Value>, part: &&str| fields?.get(format!("f:{part}")).cloned();
    path.iter().fold(fields, at).is_some()
}

async fn rewrite(
    actor: &Writer,
    name: &name::App,
    object: &DynamicObject,
    entries: &[Value],
) -> Result<u64, Error> {
    let id = Kind::Deployment.object_of(name);
    let api = actor.objects(&name.namespace, Kind::Deployment);
    let patch =
        json!({"metadata": {"resourceVersion": object.metadata.resource_version, "managedFields": entries}});
    let doing = Doing { verb: "patch", object: &id };
    let params = merge_params(HAND_OVER);
    let done = actor.cluster.call(doing, api.patch(&name.app, &params, &Patch::Merge(patch))).await?;
    Ok(super::snapshot::resource_version(&done))
}
