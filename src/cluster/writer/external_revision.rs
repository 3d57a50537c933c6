//! Keeping a change that was made past this server: a revision that says what was seen, so that it has a place in the history.
//! Nothing is applied.

use tracing::info;

use super::{objects::Writer, revisions::create_revision, snapshot::read_snapshot};
use crate::domain::{Error, name, revision::Record};

impl Writer {
    /// Keeps a change that was made outside Gantry as a revision of this number, unless there is one already.
    pub async fn record_external_change(
        &self,
        app: name::App,
        number: u64,
        record: Record,
    ) -> Result<(), Error> {
        let snapshot = read_snapshot(self, &app).await?;
        let ours = snapshot.state.deployment.filter(|d| d.is_ours() && !d.deleting);
        // Deleted or given away meanwhile: records are written for what this server manages, and for nothing else.
        let Some(uid) = ours.map(|d| d.uid) else { return Ok(()) };
        // Owned from the start: one without an owner is an intent, and an intent is carried out by whoever finds it. If the name is
        // taken, another server was first, or a deploy was: either way the number tells of something later than it did.
        if create_revision(self, &app, number, &record, Some(&uid)).await? {
            info!(%app, number, manager = %record.actor, "changed past this server");
        }
        Ok(())
    }
}
