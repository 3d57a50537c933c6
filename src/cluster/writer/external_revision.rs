//! Keeping a change that was made past this server: a revision that says what was seen, so that it has a place in the history.
//! Nothing is applied.

use tracing::info;

use super::{Writer, deploy, snapshot};
use crate::domain::{Error, name, revision::Record};

pub(super) async fn record_external_change(
    actor: &Writer,
    app: name::App,
    number: u64,
    record: Record,
) -> Result<(), Error> {
    let found = snapshot::read_snapshot(actor, &app).await?;
    let ours = found.live.deployment.filter(|d| d.is_ours() && !d.deleting);
    // Deleted or given away meanwhile: records are written for what this server manages, and for nothing else.
    let Some(uid) = ours.map(|d| d.uid) else { return Ok(()) };
    // Owned from the start: one without an owner is an intent, and an intent is carried out by whoever finds it. If the name is
    // taken, another server was first, or a deploy was: either way the number tells of something later than it did.
    if deploy::create_revision(actor, &app, number, &record, Some(&uid)).await? {
        info!(%app, number, manager = %record.actor, "changed past this server");
    }
    Ok(())
}
