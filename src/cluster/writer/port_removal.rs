//! Removes from the Service of an app what only earlier replicas needed, after the rollout succeeded. Any
//! daemon may do it, and repeating it changes nothing.

use kube::{
    Resource,
    api::{DeleteParams, DynamicObject, Patch, Preconditions},
};
use serde_json::json;
use tracing::info;

use super::{
    objects::{Writer, apply_params, owned_manifest},
    revisions::patch_revision,
    snapshot::{Snapshot, read_snapshot},
};
use crate::{
    cluster::{apply_body::encode_apply_body, decode},
    domain::{
        Error,
        manifest::Object,
        name,
        object::Kind,
        plan::{self, Intent, PortRemoval, ServiceWrite},
        revision::object_name,
    },
};

impl Writer {
    /// Removes from the Service what only earlier replicas needed, if the newest rollout succeeded, and marks
    /// the revisions whose step this is.
    pub async fn remove_earlier_ports(&self, name: name::App) -> Result<(), Error> {
        let snapshot = read_snapshot(self, &name).await?;
        let Some(mut removal) = plan::find_port_removal(&name, &snapshot.state) else { return Ok(()) };
        match self.write_last(&removal, &snapshot).await {
            // Another field manager owns what was to be taken over, and the newest deploy did not ask for it
            // by force. It stays with that field manager, and the rest is removed.
            Err(Error::Conflict(conflicts)) if !removal.intent.record.takeovers.is_empty() => {
                info!(app = %name, ?conflicts, "leaves ports of the Service to another field manager");
                removal.intent.record.takeovers.clear();
                self.write_last(&removal, &snapshot).await?;
            }
            written => written?,
        }
        let after = read_snapshot(self, &name).await?;
        if after.state.newest_number() != removal.intent.number {
            // A deploy began in between. It may have found nothing to write to the Service, because the
            // ports were still there.
            return self.restore_service(&name, &after).await;
        }
        for number in &removal.numbers {
            let metadata = json!({"annotations": {decode::PORTS_REMOVED_ANNOTATION: "true"}});
            patch_revision(self, &name.namespace, &object_name(&name, *number), metadata).await?;
        }
        info!(app = %name, number = removal.intent.number, "removed ports that only earlier replicas needed");
        Ok(())
    }

    /// Writes the Service over the version that was read.
    async fn write_last(&self, removal: &PortRemoval, snapshot: &Snapshot) -> Result<(), Error> {
        let intent = &removal.intent;
        let last = plan::render_port_removal(removal, &snapshot.state);
        let (Some(last), Some(before)) = (last, &snapshot.service) else { return Ok(()) };
        let services = self.objects(&intent.name.namespace, Kind::Service);
        match &last {
            ServiceWrite::Apply(object) => {
                self.apply_service(intent, object, snapshot, Some(before)).await.map(|_| ())
            }
            ServiceWrite::Delete => {
                let meta = before.meta();
                let preconditions = Some(Preconditions {
                    uid: meta.uid.clone(),
                    resource_version: meta.resource_version.clone(),
                });
                let params = DeleteParams { preconditions, ..DeleteParams::background() };
                services.delete(&intent.name.app, &params).await.map(drop)
            }
        }
    }

    /// Applies the Service of the newest revision, as its deploy would.
    async fn restore_service(&self, name: &name::App, snapshot: &Snapshot) -> Result<(), Error> {
        let Some(newest) = snapshot.state.newest() else { return Ok(()) };
        let intent = plan::intent_of(name, newest);
        let rendered = plan::render_objects(&intent, &snapshot.state)?;
        match rendered.objects.iter().find(|object| object.kind == Kind::Service) {
            Some(object) => self.apply_service(&intent, object, snapshot, None).await.map(|_| ()),
            None => Ok(()),
        }
    }

    async fn apply_service(
        &self,
        intent: &Intent,
        object: &Object,
        snapshot: &Snapshot,
        over: Option<&DynamicObject>,
    ) -> Result<DynamicObject, Error> {
        let name = &intent.name;
        let uid = snapshot.deployment.as_ref().and_then(|d| d.metadata.uid.as_deref());
        let mut manifest = owned_manifest(object, name, uid);
        if let Some(before) = over {
            manifest["metadata"]["resourceVersion"] = json!(before.metadata.resource_version);
            manifest["metadata"]["uid"] = json!(before.metadata.uid);
        }
        let body = Patch::Apply(encode_apply_body(&manifest)?);
        let record = &intent.record;
        let adopts = record.adopt && !record.takeovers.is_empty();
        let params = apply_params(record.force || adopts);
        self.objects(&name.namespace, Kind::Service).patch(&name.app, &params, &body).await
    }
}
