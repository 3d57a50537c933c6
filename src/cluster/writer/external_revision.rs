//! Records a change that was made outside Gantry: writes a revision with the content that was seen, so that
//! the change appears in the history. Nothing is applied.

use tracing::info;

use super::{objects::Writer, revisions::create_revision, snapshot::read_snapshot};
use crate::domain::{Error, name, revision::Record};

impl Writer {
    /// Stores a change that was made outside Gantry as a revision of this number, unless a revision of that
    /// number exists.
    pub async fn record_external_change(
        &self,
        app: name::App,
        number: u64,
        record: Record,
    ) -> Result<(), Error> {
        let snapshot = read_snapshot(self, &app).await?;
        let ours = snapshot.state.deployment.filter(|d| d.is_ours() && !d.deleting);
        // The app was deleted or is no longer managed by Gantry. Revisions are written only for apps that
        // Gantry manages.
        let Some(uid) = ours.map(|d| d.uid) else { return Ok(()) };
        // The revision has an owner from the start, because one without an owner is an intent that any
        // gantryd carries out. If the name is taken, another gantryd or a deploy was first. Either way the
        // number belongs to an equal or later change.
        if create_revision(self, &app, number, &record, Some(&uid)).await? {
            info!(%app, number, manager = %record.actor, "changed outside Gantry");
        }
        Ok(())
    }
}
