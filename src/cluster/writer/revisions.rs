//! What keeps the history of an app in order beside its changes: revisions get back the owner that they lost, are let go of with their
//! Deployment, and are written again where the API server takes no change of them. Must not know what a revision wants.

use futures::future::try_join_all;
use kube::{
    ResourceExt,
    api::{DeleteParams, DynamicObject, PostParams, Preconditions},
};
use serde_json::{Map, Value, json};
use tracing::info;

use super::{META_MANAGER, Writer, object_name, revision_id, snapshot};
use crate::{
    cluster::{decode, error::Doing},
    domain::{
        Error, name,
        revision::form::{self, Form},
    },
};

/// Gives every revision that was applied and has no owner to the Deployment of its app, or takes it from revisions of earlier versions if
/// the Deployment is deleted without what it owns: Kubernetes' garbage collection cannot, and would wait for ever.
pub(super) async fn repair_owners(actor: &Writer, name: name::App) -> Result<(), Error> {
    let found = snapshot::read_snapshot(actor, &name).await?;
    let Some(deployment) = &found.live.deployment else { return Ok(()) };
    let revisions = found.live.revisions.iter();
    if deployment.deleting {
        let owned = revisions.filter(|past| {
            deployment.orphans && past.form == Form::Object && past.owner.as_deref() == Some(&deployment.uid)
        });
        let let_go = owned.map(|past| async {
            let metadata = json!({"ownerReferences": null, "annotations": {decode::APPLIED: deployment.uid}});
            actor.patch_revision(&name.namespace, &object_name(&name, past.number), metadata).await
        });
        return try_join_all(let_go).await.map(drop);
    }
    if !deployment.is_ours() {
        return Ok(());
    }
    let lost = revisions.filter(|past| past.applied && past.owner.is_none());
    let numbers: Vec<_> = lost.map(|past| past.number).collect();
    try_join_all(numbers.iter().map(|number| actor.own_revision(&name, *number, &deployment.uid))).await?;
    if !numbers.is_empty() {
        info!(app = %name, ?numbers, "revisions that had lost their owner have it back");
    }
    Ok(())
}

/// Writes a revision of an earlier version again under its name, with its metadata changed by this merge. False if it is not of such a
/// version, so that something else is wrong with the change. Only for revisions that need no carrying out: one that is lost between
/// its deletion and its creation is a line of the history, and not a change.
pub(super) async fn rewrite_revision(
    actor: &Writer,
    namespace: &str,
    object: &str,
    metadata: &Value,
) -> Result<bool, Error> {
    let api = actor.revisions(namespace);
    let id = revision_id(object);
    let found = actor.cluster.call(Doing { verb: "get", object: &id }, api.get(object)).await?;
    let Some((record, Form::Object)) = form::from_data(found.data["data"].clone()) else { return Ok(false) };
    let data = form::to_data(&record).map_err(|error| Error::Bug(format!("writing a revision: {error}")))?;
    let renewed = renewed(&found, metadata, &data);
    let preconditions = Some(Preconditions { uid: found.uid(), resource_version: found.resource_version() });
    let params = DeleteParams { preconditions, ..DeleteParams::default() };
    actor.delete_revision(namespace, object, &params).await?;
    let params = PostParams { field_manager: Some(META_MANAGER.to_owned()), ..PostParams::default() };
    let renewed: DynamicObject = serde_json::from_value(renewed)
        .map_err(|error| Error::Bug(format!("writing a revision: {error}")))?;
    actor.cluster.call(Doing { verb: "create", object: &id }, api.create(&params, &renewed)).await?;
    info!(namespace, revision = object, "wrote a revision of an earlier version again");
    Ok(true)
}

/// The revision with this merged into its metadata and this data, to be created.
fn renewed(found: &DynamicObject, metadata: &Value, data: &Value) -> Value {
    let was = serde_json::to_value(&found.metadata).unwrap_or_default();
    let mut kept: Map<_, _> = ["name", "namespace", "labels", "annotations", "ownerReferences"]
        .into_iter()
        .filter_map(|key| Some((key.to_owned(), was.get(key)?.clone())))
        .collect();
    for (key, value) in metadata.as_object().into_iter().flatten() {
        match (kept.get_mut(key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => old.extend(new.clone()),
            (_, Value::Null) => drop(kept.remove(key)),
            // The version was for the object that goes.
            _ if key == "resourceVersion" => {}
            _ => drop(kept.insert(key.clone(), value.clone())),
        }
    }
    if let Some(Value::Object(annotations)) = kept.get_mut("annotations") {
        annotations.retain(|_, value| !value.is_null());
    }
    json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": kept,
        "revision": found.data["revision"], "data": data})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_that_is_written_again_keeps_all_but_its_form() {
        let found: DynamicObject = serde_json::from_value(json!({"metadata": {
            "name": "gantry-shop-3", "namespace": "prod", "uid": "u", "resourceVersion": "7", "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"gantry.dev/revisions-of": "shop"}, "annotations": {"a": "1", "b": "2"}, "ownerReferences": [{"name": "shop"}]},
            "revision": 3, "data": {"x": 1}}))
        .unwrap();
        let metadata =
            json!({"resourceVersion": "7", "annotations": {"b": null, "c": "3"}, "ownerReferences": null});
        let expected = json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": 3, "data": {"record": "y"},
            "metadata": {"name": "gantry-shop-3", "namespace": "prod", "labels": {"gantry.dev/revisions-of": "shop"},
                "annotations": {"a": "1", "c": "3"}}});
        assert_eq!(renewed(&found, &metadata, &json!({"record": "y"})), expected);
    }
}
