//! Carries out a revision that is written, and reports the outcome: applied, withdrawn, or left to be
//! completed later.

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

/// Applies an intent and returns the resourceVersion of the Deployment. If the API server refuses it before
/// anything was applied, and it is `withdrawable`, its revision is withdrawn.
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
        // A revision that stays is carried out later. So the error must not read as if the change will never
        // happen.
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

/// Carries out a revision that was cut off. Returns its number and the resourceVersion of the Deployment. A
/// stuck revision is first written again under a new number. If another gantryd does that at the same moment,
/// that one carries it out.
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
