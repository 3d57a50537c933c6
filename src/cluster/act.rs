//! The writes: what the domain planned is done to the cluster, in an order in which a crash at any point does no harm.
//!
//! A deploy writes the revision first, then the Deployment, then what belongs to it, each by server-side apply with one field
//! manager, and last into the revision that all is done; whoever finds a revision without that word completes it.

mod adopt;
mod apply;
mod autoscaler;
mod change;
mod delete;
mod live;
mod note;
mod preflight;
mod requests;
mod review;
mod scale;
mod steer;

use std::time::Duration;

use futures::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, Deployment},
    core::v1::Service,
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{client::Cluster, error::Doing};
use crate::{
    cluster::decode,
    domain::{
        Error,
        act::{Act, Delete, Deploy, Done, Restart, Rollback, Scale, Steer},
        manifest::{Kind, Object, REVISIONS_OF},
        name,
        plan::FIELD_MANAGER,
        revision::{self, End, Record},
    },
};

/// The field manager of annotations that are written apart from a deploy.
const META_MANAGER: &str = "gantry-meta";

/// What a caller is told when others wrote first at every attempt.
const CROWDED: Error = Error::Throttled { retry_after: Duration::from_secs(1) };

/// Changes the cluster as the account of this server.
#[derive(Clone)]
pub struct Actor {
    cluster: Cluster,
}

// === impl Actor ===

impl Actor {
    /// Acts on this cluster.
    pub fn new(cluster: Cluster) -> Self {
        Self { cluster }
    }

    fn objects(&self, namespace: &str, kind: Kind) -> Api<DynamicObject> {
        let resource = match kind {
            Kind::Deployment => ApiResource::erase::<Deployment>(&()),
            Kind::Service => ApiResource::erase::<Service>(&()),
            Kind::Budget => ApiResource::erase::<PodDisruptionBudget>(&()),
        };
        Api::namespaced_with(self.cluster.client.clone(), namespace, &resource)
    }

    fn revisions(&self, namespace: &str) -> Api<DynamicObject> {
        let resource = ApiResource::erase::<ControllerRevision>(&());
        Api::namespaced_with(self.cluster.client.clone(), namespace, &resource)
    }

    /// Changes the metadata of a revision; its data cannot change.
    async fn patch_revision(&self, namespace: &str, object: &str, metadata: Value) -> Result<(), Error> {
        let params = merge_params(META_MANAGER);
        let doing = Doing { verb: "patch", object: &revision_id(object) };
        let patch = Patch::Merge(json!({"metadata": metadata}));
        self.cluster.call(doing, self.revisions(namespace).patch(object, &params, &patch)).await.map(|_| ())
    }

    /// Gives a revision to the Deployment of this uid: from then on nobody carries it out, and it goes with the Deployment.
    async fn own_revision(&self, name: &name::App, number: u64, uid: &str) -> Result<(), Error> {
        let metadata = json!({"ownerReferences": [owner(name, uid)]});
        self.patch_revision(&name.namespace, &revision::object_name(name, number), metadata).await
    }

    async fn keep(&self, app: name::App, number: u64, end: End) -> Result<(), Error> {
        let revisions = self.revisions(&app.namespace);
        let object = revision::object_name(&app, number);
        let doing = Doing { verb: "get", object: &revision_id(&object) };
        let found = self.cluster.call(doing, revisions.get(&object)).await?;
        let written = found.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(decode::END));
        let made_anew = found.metadata.creation_timestamp.as_ref().is_some_and(|t| t.0 > end.time);
        if written || made_anew {
            // The first verdict stands, and one on an earlier app of the name is none on this one.
            return Ok(());
        }
        let value = serde_json::to_string(&end).map_err(|e| Error::Bug(format!("writing a verdict: {e}")))?;
        // Refused if anybody wrote meanwhile.
        let version = found.metadata.resource_version;
        let metadata = json!({"resourceVersion": version, "annotations": {decode::END: value}});
        self.patch_revision(&app.namespace, &object, metadata).await
    }
}

impl Act for Actor {
    fn deploy(&self, request: Deploy) -> BoxFuture<'_, Result<Done, Error>> {
        change::deploy(self, request).boxed()
    }

    fn restart(&self, request: Restart) -> BoxFuture<'_, Result<Done, Error>> {
        async move {
            match change::restart(self, request.clone()).await {
                Err(Error::NotManaged { .. }) => steer::restart(self, &request).await,
                answer => answer,
            }
        }
        .boxed()
    }

    fn rollback(&self, request: Rollback) -> BoxFuture<'_, Result<Done, Error>> {
        change::rollback(self, request).boxed()
    }

    fn scale(&self, request: Scale) -> BoxFuture<'_, Result<Done, Error>> {
        scale::run(self, request).boxed()
    }

    fn steer(&self, request: Steer) -> BoxFuture<'_, Result<Done, Error>> {
        steer::steer(self, request).boxed()
    }

    fn delete(&self, request: Delete) -> BoxFuture<'_, Result<Done, Error>> {
        delete::run(self, request).boxed()
    }

    fn record(&self, app: name::App, number: u64, end: End) -> BoxFuture<'_, Result<(), Error>> {
        self.keep(app, number, end).boxed()
    }

    fn finish(&self, app: name::App) -> BoxFuture<'_, Result<(), Error>> {
        change::finish(self, app).boxed()
    }

    fn note(&self, app: name::App, number: u64, record: Record) -> BoxFuture<'_, Result<(), Error>> {
        note::run(self, app, number, record).boxed()
    }

    fn troubles(&self, now: Timestamp) -> Vec<String> {
        self.cluster.troubles(now)
    }
}

/// What makes an object go with the Deployment of this uid.
fn owner(name: &name::App, uid: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": name.app, "uid": uid, "controller": true,
        "blockOwnerDeletion": false})
}

/// The manifest of an object, owned by the Deployment of this uid unless it is that itself.
fn owned_manifest(object: &Object, name: &name::App, uid: Option<&str>) -> Value {
    let mut manifest = object.manifest.clone();
    if let Some(uid) = uid.filter(|_| object.kind != Kind::Deployment) {
        manifest["metadata"]["ownerReferences"] = json!([owner(name, uid)]);
    }
    manifest
}

/// A revision's object as the API writes it.
fn revision_id(object: &str) -> String {
    format!("controllerrevision.apps/{object}")
}

/// Selects the revisions of an app.
fn revisions_of(app: &name::App) -> ListParams {
    ListParams::default().labels(&format!("{REVISIONS_OF}={}", app.app))
}

/// How something is merged into an object apart from an apply.
fn merge_params(manager: &str) -> PatchParams {
    PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() }
}

/// How a deploy applies: `force` takes over what others manage.
fn apply_params(force: bool) -> PatchParams {
    PatchParams { force, ..PatchParams::apply(FIELD_MANAGER) }
}
