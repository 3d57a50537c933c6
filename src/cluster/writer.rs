//! The writes: what the domain planned is done to the cluster, in an order in which a crash at any point does no harm.
//!
//! A deploy writes the revision first, then the Deployment, then what belongs to it, each by server-side apply with one field
//! manager, and last into the revision that all is done; whoever finds a revision without that word completes it.

mod access_review;
mod apply;
mod autoscaler_policy;
mod checks;
mod delete;
mod deletions;
mod deploy;
mod dry_run;
mod external_revision;
mod field_ownership;
mod other_autoscalers;
mod pause;
mod requests;
mod revisions;
mod scale;
mod secret_values;
mod set_replicas;
mod snapshot;

use std::time::Duration;

use futures::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, Deployment},
    core::v1::Service,
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, Resource,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions},
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    client::Cluster,
    error::{self, Doing},
    last_log_lines,
};
use crate::{
    cluster::decode::{self, Decode},
    domain::{
        Error,
        commands::{
            CommandResult, Commands, Delete, Deploy, Restart, Rollback, Scale, ScaleOutcome, SetPaused,
            SetReplicas, UpdateAutoscaler,
        },
        evidence::Evidence,
        labels::REVISIONS_OF,
        manifest::Object,
        name,
        object::Kind,
        plan::FIELD_MANAGER,
        revision::{End, Record, object_name},
    },
};

/// The field manager of annotations that are written apart from a deploy.
const META_MANAGER: &str = "gantry-meta";

/// What a caller is told when others wrote first at every attempt.
const CROWDED: Error = Error::Throttled { retry_after: Duration::from_secs(1) };

/// Changes the cluster as the account of this server.
#[derive(Clone)]
pub struct Writer {
    cluster: Cluster,
    /// Revisions that are kept of an app.
    history: usize,
    /// Where this server keeps what belongs to no app.
    lease_namespace: String,
}

// === impl Actor ===

impl Writer {
    /// Acts on this cluster, keeps this many revisions of an app, and in this namespace what belongs to no app.
    pub fn new(cluster: Cluster, history: usize, lease_namespace: String) -> Self {
        Self { cluster, history, lease_namespace }
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
        let api = self.revisions(namespace);
        match self.cluster.call(doing, api.patch(object, &params, &patch)).await {
            // In the form of earlier versions a revision may take no patch at all.
            Err(Error::Invalid(violations)) => {
                let written = revisions::rewrite_revision(self, namespace, object, &metadata).await?;
                if written { Ok(()) } else { Err(Error::Invalid(violations)) }
            }
            patched => patched.map(|_| ()),
        }
    }

    /// Merges into the metadata of the Deployment.
    async fn patch_deployment(&self, name: &name::App, metadata: Value) -> Result<DynamicObject, Error> {
        let api = self.objects(&name.namespace, Kind::Deployment);
        let doing = Doing { verb: "patch", object: &Kind::Deployment.object_of(name) };
        let patch = Patch::Merge(json!({"metadata": metadata}));
        self.cluster.call(doing, api.patch(&name.app, &merge_params(META_MANAGER), &patch)).await
    }

    /// Deletes a revision, which may be gone already.
    async fn delete_revision(
        &self,
        namespace: &str,
        object: &str,
        params: &DeleteParams,
    ) -> Result<(), Error> {
        let doing = Doing { verb: "delete", object: &revision_id(object) };
        let api = self.revisions(namespace);
        let answer = async { error::unless_missing(api.delete(object, params).await) };
        self.cluster.call(doing, answer).await.map(|_| ())
    }

    /// Deletes this Service or budget of an app, if it is still the one of its name.
    async fn delete_part(&self, name: &name::App, kind: Kind, object: &DynamicObject) -> Result<(), Error> {
        let api = self.objects(&name.namespace, kind);
        let id = kind.object_of(name);
        let preconditions = Some(Preconditions { uid: object.metadata.uid.clone(), resource_version: None });
        let params = DeleteParams { preconditions, ..DeleteParams::background() };
        let answer = async { error::unless_missing(api.delete(&name.app, &params).await) };
        match self.cluster.call(Doing { verb: "delete", object: &id }, answer).await {
            Ok(_) | Err(Error::EtagMismatch { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Gives a revision to the Deployment of this uid: from then on nobody carries it out, and it goes with the Deployment. At which
    /// version of an earlier Deployment it was applied says nothing about this one.
    async fn own_revision(&self, name: &name::App, number: u64, uid: &str) -> Result<(), Error> {
        let annotations = json!({decode::APPLIED: uid, decode::VERSION: null});
        let metadata = json!({"ownerReferences": [owner(name, uid)], "annotations": annotations});
        self.patch_revision(&name.namespace, &object_name(name, number), metadata).await
    }

    async fn keep(
        &self,
        app: name::App,
        number: u64,
        end: End,
        evidence: Option<Evidence>,
    ) -> Result<(), Error> {
        let revisions = Api::<decode::Revision>::namespaced(self.cluster.client.clone(), &app.namespace);
        let object = object_name(&app, number);
        let doing = Doing { verb: "get", object: &revision_id(&object) };
        let found = self.cluster.call(doing, revisions.get(&object)).await?;
        let version = found.meta().resource_version.clone();
        // The first verdict stands, and one on an earlier app of the name is none on this one. What cannot be read is not ours to end.
        let Some(row) = found.row().filter(|row| row.end.is_none() && row.created <= end.time) else {
            return Ok(());
        };
        if row.form.is_stuck(row.applied) {
            // The finisher writes it again under the next number, and then it gets its verdict.
            return Err(Error::EtagMismatch { etag: String::new() });
        }
        let annotations = match evidence {
            Some(evidence) => {
                let secrets = secret_values::read_secret_values(self, &app, &row.content, end.time).await?;
                let evidence = evidence.without_secrets(&secrets).bounded();
                let end = evidence.complete(end, &secrets);
                json!({decode::END: annotation("verdict", &end)?, decode::EVIDENCE: annotation("verdict", &evidence)?})
            }
            None => json!({decode::END: annotation("verdict", &end)?}),
        };
        // Refused if anybody wrote meanwhile.
        let metadata = json!({"resourceVersion": version, "annotations": annotations});
        self.patch_revision(&app.namespace, &object, metadata).await
    }
}

impl Commands for Writer {
    fn deploy(&self, request: Deploy) -> BoxFuture<'_, Result<CommandResult, Error>> {
        deploy::deploy(self, request).boxed()
    }

    fn restart(&self, request: Restart) -> BoxFuture<'_, Result<CommandResult, Error>> {
        async move {
            match deploy::restart(self, request.clone()).await {
                Err(Error::NotManaged { .. }) => pause::restart_unmanaged(self, &request).await,
                answer => answer,
            }
        }
        .boxed()
    }

    fn rollback(&self, request: Rollback) -> BoxFuture<'_, Result<CommandResult, Error>> {
        deploy::rollback(self, request).boxed()
    }

    fn scale(&self, request: Scale) -> BoxFuture<'_, Result<CommandResult, Error>> {
        scale::scale_app(self, request).boxed()
    }

    fn set_paused(&self, request: SetPaused) -> BoxFuture<'_, Result<CommandResult, Error>> {
        pause::set_paused(self, request).boxed()
    }

    fn delete(&self, request: Delete) -> BoxFuture<'_, Result<CommandResult, Error>> {
        delete::delete_app(self, request).boxed()
    }

    fn update_autoscaler(&self, request: UpdateAutoscaler) -> BoxFuture<'_, Result<CommandResult, Error>> {
        autoscaler_policy::update_policy(self, request).boxed()
    }

    fn set_replicas(&self, request: SetReplicas) -> BoxFuture<'_, Result<ScaleOutcome, Error>> {
        set_replicas::set_replicas(self, request).boxed()
    }

    fn create_hold(&self, app: name::App, length: Duration) -> BoxFuture<'_, Result<ScaleOutcome, Error>> {
        set_replicas::create_hold(self, app, length).boxed()
    }

    fn complete_hold(&self, app: name::App) -> BoxFuture<'_, Result<ScaleOutcome, Error>> {
        set_replicas::complete_hold(self, app).boxed()
    }

    fn record_verdict(
        &self,
        app: name::App,
        number: u64,
        end: End,
        evidence: Option<Evidence>,
    ) -> BoxFuture<'_, Result<(), Error>> {
        self.keep(app, number, end, evidence).boxed()
    }

    fn last_log_lines(
        &self,
        namespace: String,
        pod: String,
        container: String,
    ) -> BoxFuture<'_, Result<Vec<String>, Error>> {
        last_log_lines::last_log_lines(&self.cluster, namespace, pod, container).boxed()
    }

    fn resume_incomplete(&self, app: name::App) -> BoxFuture<'_, Result<(), Error>> {
        deploy::resume_incomplete(self, app).boxed()
    }

    fn repair_revision_owners(&self, app: name::App) -> BoxFuture<'_, Result<(), Error>> {
        revisions::repair_owners(self, app).boxed()
    }

    fn record_external_change(
        &self,
        app: name::App,
        number: u64,
        record: Record,
    ) -> BoxFuture<'_, Result<(), Error>> {
        external_revision::record_external_change(self, app, number, record).boxed()
    }

    fn collect_garbage(&self, now: Timestamp) -> BoxFuture<'_, Result<(), Error>> {
        deletions::delete_expired(self, now).boxed()
    }

    fn health_warnings(&self, now: Timestamp) -> Vec<String> {
        self.cluster.health_warnings(now)
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

/// The text of an annotation. `what` is what it says, for an error.
fn annotation<T: Serialize>(what: &str, value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Bug(format!("writing a {what}: {error}")))
}

/// How something is merged into an object apart from an apply.
fn merge_params(manager: &str) -> PatchParams {
    PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() }
}

/// How a deploy applies: `force` takes over what others manage.
fn apply_params(force: bool) -> PatchParams {
    PatchParams { force, ..PatchParams::apply(FIELD_MANAGER) }
}
