//! The objects that make an app, and how each of them is read and written: by which field manager, owned by what, on whose behalf.
//! Must not know why.

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
        Error, caller::Caller, labels::REVISIONS_OF_LABEL, manifest::Object, name, object::Kind,
        plan::FIELD_MANAGER,
    },
};

/// The field manager of annotations that are written apart from a deploy.
pub(super) const META_MANAGER: &str = "gantry-meta";

/// Changes the cluster.
#[derive(Clone)]
pub struct Writer {
    pub(super) cluster: Cluster,
    /// Revisions that are kept of an app.
    pub(super) history: usize,
    /// Where this server keeps what belongs to no app.
    pub(super) lease_namespace: String,
    /// For whom it writes the objects of an app; `None` is this server itself.
    on_behalf_of: Option<Caller>,
}

// === impl Writer ===

impl Writer {
    /// Changes this cluster, keeps this many revisions of an app, and in this namespace what belongs to no app.
    pub fn new(cluster: Cluster, history: usize, lease_namespace: String) -> Self {
        Self { cluster, history, lease_namespace, on_behalf_of: None }
    }

    /// The same, on behalf of a caller.
    pub(super) fn on_behalf_of(&self, caller: &Caller) -> Self {
        Self { on_behalf_of: Some(caller.clone()), ..self.clone() }
    }

    /// The objects of a kind that make apps, written on behalf of the caller.
    pub(super) fn objects(&self, namespace: &str, kind: Kind) -> Objects<DynamicObject> {
        let resource = match kind {
            Kind::Deployment => ApiResource::erase::<Deployment>(&()),
            Kind::Service => ApiResource::erase::<Service>(&()),
            Kind::Budget => ApiResource::erase::<PodDisruptionBudget>(&()),
        };
        self.cluster.dynamic(namespace, &resource).on_behalf_of(self.on_behalf_of.clone())
    }

    /// The revisions of a namespace, which this server writes itself: callers may not.
    pub(super) fn revisions(&self, namespace: &str) -> Objects<DynamicObject> {
        self.cluster.dynamic(namespace, &ApiResource::erase::<ControllerRevision>(&()))
    }

    /// One object of an app, or nothing.
    pub(super) async fn get_object(
        &self,
        kind: Kind,
        name: &name::App,
    ) -> Result<Option<DynamicObject>, Error> {
        self.objects(&name.namespace, kind).get_opt(&name.app).await
    }

    /// Merges this into the Deployment, as this manager.
    pub(super) async fn merge_deployment(
        &self,
        name: &name::App,
        manager: &str,
        body: Value,
    ) -> Result<DynamicObject, Error> {
        let deployments = self.objects(&name.namespace, Kind::Deployment);
        deployments.patch(&name.app, &merge_params(manager), &Patch::Merge(body)).await
    }

    /// Merges this into the metadata of the Deployment.
    pub(super) async fn patch_deployment(
        &self,
        name: &name::App,
        metadata: Value,
    ) -> Result<DynamicObject, Error> {
        self.merge_deployment(name, META_MANAGER, json!({"metadata": metadata})).await
    }

    /// Deletes this Service or budget of an app, if it is still the one of its name.
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

/// What makes an object go with the Deployment of this uid.
pub(super) fn owner_reference(name: &name::App, uid: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": name.app, "uid": uid, "controller": true,
        "blockOwnerDeletion": false})
}

/// The manifest of an object, owned by the Deployment of this uid unless it is that itself.
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

/// The text of an annotation. `what` is what it says, for an error.
pub(super) fn to_annotation<T: Serialize>(what: &str, value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Bug(format!("writing a {what}: {error}")))
}

/// Version of an object.
pub(super) fn resource_version(object: &DynamicObject) -> u64 {
    decode::parse_resource_version(&object.metadata)
}

/// How something is merged into an object apart from an apply.
pub(super) fn merge_params(manager: &str) -> PatchParams {
    PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() }
}

/// How a deploy applies: `force` takes over what other field managers own.
pub(super) fn apply_params(force: bool) -> PatchParams {
    PatchParams { force, ..PatchParams::apply(FIELD_MANAGER) }
}
