//! The revisions of an app as ControllerRevisions: creates, reads, marks and deletes them, and writes a
//! revision again if the API server accepts no change of it. Must not know what a revision wants.

use futures::future::join_all;
use kube::{
    ResourceExt,
    api::{DeleteParams, DynamicObject, Patch, PostParams, Preconditions},
    core::{ObjectMeta, TypeMeta},
};
use serde_json::{Map, Value, json};
use tracing::{debug, info, warn};

use super::objects::{META_MANAGER, Writer, merge_params, owner_reference, resource_version, revisions_of};
use crate::{
    cluster::decode::{self, Decode},
    domain::{
        Error,
        labels::{MANAGED_BY_LABEL, MANAGER, REVISIONS_OF_LABEL},
        name,
        plan::StoredRevision,
        revision::{
            Record,
            form::{self, Form},
            object_name, spelling,
        },
        spec::Content,
    },
};

/// Returns every revision of an app, the newest last.
pub(super) async fn list_revisions(writer: &Writer, name: &name::App) -> Result<Vec<StoredRevision>, Error> {
    let revisions = writer.cluster.namespaced::<decode::Revision>(&name.namespace);
    let all = revisions.list(&revisions_of(name)).await?;
    let mut stored = Vec::with_capacity(all.items.len());
    for object in all.items {
        let Some((_, number)) = object.key() else { continue };
        // A deploy over a revision that cannot be read would lose its content.
        let unreadable = || Error::NotImplemented {
            what: format!("reading {}, which a newer gantryd wrote,", name.rollout(number)),
        };
        stored.push(object.into_stored().ok_or_else(unreadable)?);
    }
    stored.sort_by_key(|revision| revision.number);
    Ok(stored)
}

/// Creates a revision. `uid` is the Deployment that owns it, for a revision that does not need to be carried
/// out. Returns false if the name is taken.
pub(super) async fn create_revision(
    writer: &Writer,
    name: &name::App,
    number: u64,
    record: &Record,
    uid: Option<&str>,
) -> Result<bool, Error> {
    let data = form::to_data(record).map_err(to_bug)?;
    let owners = uid.map(|uid| serde_json::from_value(json!([owner_reference(name, uid)])));
    let owner_references = owners.transpose().map_err(to_bug)?;
    let labels = [(REVISIONS_OF_LABEL, name.app.as_str()), (MANAGED_BY_LABEL, MANAGER)];
    let object = DynamicObject {
        types: Some(TypeMeta { api_version: "apps/v1".to_owned(), kind: "ControllerRevision".to_owned() }),
        metadata: ObjectMeta {
            name: Some(object_name(name, number)),
            labels: Some(labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
            owner_references,
            ..ObjectMeta::default()
        },
        data: json!({"revision": number, "data": data}),
    };
    Ok(writer.revisions(&name.namespace).create(&create_params(), &object).await?.is_some())
}

/// Changes the metadata of a revision. Its data is immutable. Returns its resourceVersion; 0 if it had to be
/// written again.
pub(super) async fn patch_revision(
    writer: &Writer,
    namespace: &str,
    object: &str,
    metadata: Value,
) -> Result<u64, Error> {
    let patch = Patch::Merge(json!({"metadata": metadata}));
    match writer.revisions(namespace).patch(object, &merge_params(META_MANAGER), &patch).await {
        // The API server may refuse every patch of a revision in the format of earlier versions.
        Err(refused @ Error::Refused { .. }) => {
            let written = rewrite_revision(writer, namespace, object, &metadata).await?;
            if written { Ok(0) } else { Err(refused) }
        }
        patched => patched.map(|object| resource_version(&object)),
    }
}

/// Makes the Deployment of this uid the owner of a revision. From then on the revision is not carried out,
/// and is deleted with the Deployment. The version at which it was applied to an earlier Deployment is
/// removed, because it says nothing about this one.
pub(super) async fn own_revision(
    writer: &Writer,
    name: &name::App,
    number: u64,
    uid: &str,
) -> Result<(), Error> {
    let annotations = json!({decode::APPLIED_TO_ANNOTATION: uid, decode::VERSION_ANNOTATION: null});
    let metadata = json!({"ownerReferences": [owner_reference(name, uid)], "annotations": annotations});
    patch_revision(writer, &name.namespace, &object_name(name, number), metadata).await.map(drop)
}

/// Stores how a caller spelled the content of a revision. Returns the resourceVersion of the revision, or
/// `None` if nothing was written, because it is spelled so already or the spelling is too long to be stored.
pub(super) async fn spell_revision(
    writer: &Writer,
    name: &name::App,
    past: &StoredRevision,
    content: &Content,
) -> Result<Option<u64>, Error> {
    if past.record.content == *content {
        return Ok(None);
    }
    let written = past.written.as_deref().unwrap_or(&past.record.content);
    let Some(text) = spelling::to_annotation(written, content) else { return Ok(None) };
    let metadata = json!({"annotations": {decode::SPELLING_ANNOTATION: text}});
    let object = object_name(name, past.number);
    patch_revision(writer, &name.namespace, &object, metadata).await.map(Some)
}

/// Deletes a revision, which may be gone already.
pub(super) async fn delete_revision(writer: &Writer, name: &name::App, number: u64) -> Result<(), Error> {
    let revisions = writer.revisions(&name.namespace);
    revisions.delete(&object_name(name, number), &DeleteParams::default()).await.map(drop)
}

/// Deletes revisions beyond the history limit. The next change repeats what fails here.
pub(super) async fn delete_expired_revisions(writer: &Writer, name: &name::App, numbers: &[u64]) {
    let delete = async |number: &u64| {
        if let Err(error) = delete_revision(writer, name, *number).await {
            debug!(app = %name, number, %error, "cannot delete an old revision");
        }
    };
    join_all(numbers.iter().map(delete)).await;
}

/// Deletes a revision of which nothing was applied. If that fails, the revision stays and is carried out
/// later.
pub(super) async fn withdraw_revision(writer: &Writer, name: &name::App, number: u64) -> bool {
    let deleted = delete_revision(writer, name, number).await;
    if let Err(error) = &deleted {
        warn!(app = %name, number, %error, "cannot withdraw a revision that was refused");
    }
    deleted.is_ok()
}

/// Deletes a revision in the format of an earlier version and creates it again under its name, with
/// `metadata` merged into its metadata. Returns false if the revision is not of an earlier version, because
/// then the change failed for another reason. Only for revisions that do not need to be carried out: if
/// gantryd stops between the two writes, a line of the history is lost, but not a change.
async fn rewrite_revision(
    writer: &Writer,
    namespace: &str,
    object: &str,
    metadata: &Value,
) -> Result<bool, Error> {
    let revisions = writer.revisions(namespace);
    let found = revisions.get(object).await?;
    let Some((record, Form::Object)) = form::from_data(found.data["data"].clone()) else { return Ok(false) };
    let data = form::to_data(&record).map_err(to_bug)?;
    let renewed = serde_json::from_value(renewed(&found, metadata, &data)).map_err(to_bug)?;
    let preconditions = Some(Preconditions { uid: found.uid(), resource_version: found.resource_version() });
    revisions.delete(object, &DeleteParams { preconditions, ..DeleteParams::default() }).await?;
    if revisions.create(&create_params(), &renewed).await?.is_none() {
        return Err(Error::WriteConflict { object: object.to_owned() });
    }
    info!(namespace, revision = object, "wrote a revision of an earlier version again");
    Ok(true)
}

fn to_bug(error: impl std::fmt::Display) -> Error {
    Error::Bug(format!("writing a revision: {error}"))
}

fn create_params() -> PostParams {
    PostParams { field_manager: Some(META_MANAGER.to_owned()), ..PostParams::default() }
}

/// Returns the revision with `metadata` merged and this data, ready to be created.
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
            // The resourceVersion belonged to the object that is deleted.
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
