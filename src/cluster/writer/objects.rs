//! The objects that make up an app, and how each of them is read and written: by which field manager, with
//! which owner, on whose behalf. Must not know why.

use k8s_openapi::api::{
    apps::v1::{ControllerRevision, Deployment},
    core::v1::Service,
    policy::v1::PodDisruptionBudget,
};
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    cluster::{
        client::{Cluster, Objects},
        decode,
    },
    domain::{
        Error, annotations::check_growth, caller::Caller, labels::REVISIONS_OF_LABEL, manifest::Object, name,
        object::Kind, plan::FIELD_MANAGER,
    },
};

/// The field manager of annotations that are written separately from a deploy.
pub(super) const META_MANAGER: &str = "gantry-meta";

/// Changes the cluster.
#[derive(Clone)]
pub struct Writer {
    pub(super) cluster: Cluster,
    /// Number of revisions that are retained of an app.
    pub(super) history: usize,
    /// The namespace in which gantryd stores objects that belong to no app.
    pub(super) lease_namespace: String,
    /// The caller on whose behalf it writes the objects of an app; `None` means gantryd itself.
    on_behalf_of: Option<Caller>,
}

// === impl Writer ===

impl Writer {
    /// Creates a writer for this cluster. `history` and `lease_namespace` are described at the fields.
    pub fn new(cluster: Cluster, history: usize, lease_namespace: String) -> Self {
        Self { cluster, history, lease_namespace, on_behalf_of: None }
    }

    /// Returns the same writer, on behalf of a caller.
    pub(super) fn on_behalf_of(&self, caller: &Caller) -> Self {
        Self { on_behalf_of: Some(caller.clone()), ..self.clone() }
    }

    /// The objects of a kind that apps consist of, written on behalf of the caller.
    pub(super) fn objects(&self, namespace: &str, kind: Kind) -> Objects<DynamicObject> {
        let resource = match kind {
            Kind::Deployment => ApiResource::erase::<Deployment>(&()),
            Kind::Service => ApiResource::erase::<Service>(&()),
            Kind::Budget => ApiResource::erase::<PodDisruptionBudget>(&()),
        };
        self.cluster.dynamic(namespace, &resource).on_behalf_of(self.on_behalf_of.clone())
    }

    /// The revisions of a namespace. gantryd writes them as itself, because callers may lack the rights.
    pub(super) fn revisions(&self, namespace: &str) -> Objects<DynamicObject> {
        self.cluster.dynamic(namespace, &ApiResource::erase::<ControllerRevision>(&()))
    }

    /// Reads one object of an app, or `None` if it does not exist.
    pub(super) async fn get_object(
        &self,
        kind: Kind,
        name: &name::App,
    ) -> Result<Option<DynamicObject>, Error> {
        self.objects(&name.namespace, kind).get_opt(&name.app).await
    }

    /// Merges `body` into the Deployment as this field manager.
    pub(super) async fn merge_deployment(
        &self,
        name: &name::App,
        manager: &str,
        body: Value,
    ) -> Result<DynamicObject, Error> {
        let deployments = self.objects(&name.namespace, Kind::Deployment);
        deployments.patch(&name.app, &merge_params(manager), &Patch::Merge(body)).await
    }

    /// Merges `metadata` into the metadata of the Deployment.
    pub(super) async fn patch_deployment(
        &self,
        name: &name::App,
        metadata: Value,
    ) -> Result<DynamicObject, Error> {
        self.merge_deployment(name, META_MANAGER, json!({"metadata": metadata})).await
    }

    /// Deletes this Service or PodDisruptionBudget of an app, unless another object has taken its name.
    pub(super) async fn delete_part(
        &self,
        name: &name::App,
        kind: Kind,
        object: &DynamicObject,
    ) -> Result<(), Error> {
        let preconditions = Some(Preconditions { uid: object.metadata.uid.clone(), resource_version: None });
        let params = DeleteParams { preconditions, ..DeleteParams::background() };
        match self.objects(&name.namespace, kind).delete(&name.app, &params).await {
            Ok(_) | Err(Error::WriteConflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Returns an error that names the cause if the Deployment, or a ReplicaSet made of it, would have too large
/// annotations with these.
pub(super) fn check_annotations(
    name: &name::App,
    before: Option<&DynamicObject>,
    field: &str,
    added: &Value,
) -> Result<(), Error> {
    let before = before.and_then(|object| object.metadata.annotations.as_ref());
    let mut annotations = before.cloned().unwrap_or_default();
    for (key, value) in added.as_object().into_iter().flatten() {
        match value.as_str() {
            Some(text) => annotations.insert(key.clone(), text.to_owned()),
            None => annotations.remove(key),
        };
    }
    check_growth(&Kind::Deployment.object_of(name), before, &annotations)
        .map_err(|error| Error::invalid(field, error))
}

/// The owner reference that lets garbage collection delete an object with the Deployment of this uid.
pub(super) fn owner_reference(name: &name::App, uid: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": name.app, "uid": uid, "controller": true,
        "blockOwnerDeletion": false})
}

/// The manifest of an object, owned by the Deployment of this uid unless it is the Deployment.
pub(super) fn owned_manifest(object: &Object, name: &name::App, uid: Option<&str>) -> Value {
    let mut manifest = object.manifest.clone();
    if let Some(uid) = uid.filter(|_| object.kind != Kind::Deployment) {
        manifest["metadata"]["ownerReferences"] = json!([owner_reference(name, uid)]);
    }
    manifest
}

/// Selects the revisions of an app.
pub(super) fn revisions_of(app: &name::App) -> ListParams {
    ListParams::default().labels(&format!("{REVISIONS_OF_LABEL}={}", app.app))
}

/// Serializes the text of an annotation. `what` names the content in the error.
pub(super) fn to_annotation<T: Serialize>(what: &str, value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Bug(format!("writing a {what}: {error}")))
}

/// The resourceVersion of an object.
pub(super) fn resource_version(object: &DynamicObject) -> u64 {
    decode::parse_resource_version(&object.metadata)
}

/// Parameters of a merge patch that is made separately from an apply.
pub(super) fn merge_params(manager: &str) -> PatchParams {
    PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() }
}

/// Parameters of a deploy's apply. `force` takes over fields of other field managers.
pub(super) fn apply_params(force: bool) -> PatchParams {
    PatchParams { force, ..PatchParams::apply(FIELD_MANAGER) }
}
