//! Repairs the owner of an app's revisions: sets it again where it was lost, and removes it if the Deployment
//! is deleted without its dependents (`--cascade=orphan`).

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
    /// Makes the Deployment the owner of every applied revision that has no owner. If the Deployment is
    /// deleted without its dependents, removes the owner from revisions in the format of earlier Gantry
    /// versions, because garbage collection cannot patch those and would wait forever.
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
            info!(app = %name, ?numbers, "set the owner again on revisions that had lost it");
        }
        Ok(())
    }
}
