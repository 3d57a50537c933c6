//! Which Deployment the revisions of an app go with: those that lost their owner get it back, and are let go of with a Deployment that
//! is deleted without what it owns.

use futures::future::try_join_all;
use serde_json::json;
use tracing::info;

use super::{
    objects::Writer,
    revisions::{own_revision, patch_revision},
    snapshot::read_snapshot,
};
use crate::{
    cluster::decode,
    domain::{
        Error, name,
        revision::{form::Form, object_name},
    },
};

impl Writer {
    /// Gives every revision that was applied and has no owner to the Deployment of its app, or takes it from revisions of earlier
    /// versions if the Deployment is deleted without what it owns: Kubernetes' garbage collection cannot, and would wait for ever.
    pub async fn repair_revision_owners(&self, name: name::App) -> Result<(), Error> {
        let snapshot = read_snapshot(self, &name).await?;
        let Some(deployment) = &snapshot.state.deployment else { return Ok(()) };
        let revisions = snapshot.state.revisions.iter();
        if deployment.deleting {
            let owned = revisions.filter(|past| {
                deployment.orphans
                    && past.form == Form::Object
                    && past.owner.as_deref() == Some(&deployment.uid)
            });
            let let_go = owned.map(|past| async {
                let metadata =
                    json!({"ownerReferences": null, "annotations": {decode::APPLIED_TO_ANNOTATION: deployment.uid}});
                patch_revision(self, &name.namespace, &object_name(&name, past.number), metadata).await
            });
            return try_join_all(let_go).await.map(drop);
        }
        if !deployment.is_ours() {
            return Ok(());
        }
        let lost = revisions.filter(|past| past.applied && past.owner.is_none());
        let numbers: Vec<_> = lost.map(|past| past.number).collect();
        try_join_all(numbers.iter().map(|number| own_revision(self, &name, *number, &deployment.uid)))
            .await?;
        if !numbers.is_empty() {
            info!(app = %name, ?numbers, "revisions that had lost their owner have it back");
        }
        Ok(())
    }
}
