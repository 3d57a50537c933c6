//! Carries a revision out that is written, and says what became of it: applied, taken back, or left to be completed later.

use jiff::Timestamp;
use tracing::info;

use super::{
    apply::apply_intent,
    objects::Writer,
    revisions::{create_revision, withdraw_revision},
    snapshot::{Snapshot, read_snapshot},
};
use crate::domain::{
    Error, name,
    plan::{self, Intent, StoredRevision},
};

/// Applies an intent; gives the version of the Deployment. One that the API server refuses before anything was applied is taken back
/// if `withdrawable`.
pub(super) async fn carry_out(
    writer: &Writer,
    intent: &Intent,
    snapshot: Snapshot,
    withdrawable: bool,
) -> Result<u64, Error> {
    let failure = match Box::pin(apply_intent(writer, intent, snapshot)).await {
        Ok(version) => return Ok(version),
        Err(failure) => failure,
    };
    if failure.applied.is_empty() {
        // What stays is carried out later, so the caller must not take the error for a no.
        let stays = withdrawable
            && !(failure.error.is_refusal() && withdraw_revision(writer, &intent.name, intent.number).await);
        if !stays {
            return Err(failure.error);
        }
    }
    Err(Error::Partial {
        source: Box::new(failure.error),
        rollout: intent.name.rollout(intent.number),
        applied: failure.applied,
        not_applied: failure.not_applied,
    })
}

/// Carries out a revision that was cut off. One that is stuck is written again first; if another server does that at the same
/// moment, it carries it out too. Gives its number and the version of the Deployment.
pub(super) async fn complete_revision(
    writer: &Writer,
    name: &name::App,
    revision: &StoredRevision,
    snapshot: Snapshot,
    withdrawable: bool,
) -> Result<(u64, u64), Error> {
    if !revision.is_stuck() {
        let intent = plan::intent_of(name, revision);
        return Ok((revision.number, carry_out(writer, &intent, snapshot, withdrawable).await?));
    }
    let intent = plan::rewrite_stuck(name, revision, &snapshot.state, Timestamp::now());
    info!(app = %name, number = revision.number, becomes = intent.number, "writing a revision of an earlier version again");
    if !create_revision(writer, name, intent.number, &intent.record, None).await? {
        return Err(Error::WriteConflict { object: name.rollout(intent.number) });
    }
    let snapshot = read_snapshot(writer, name).await?;
    Ok((intent.number, carry_out(writer, &intent, snapshot, false).await?))
}
