//! Deploy, restart and rollback: read the app, decide, render, dry run, write the revision, apply.

use kube::api::DynamicObject;
use tracing::{debug, info};

use super::{
    access_review::review_apply,
    carry_out::{carry_out, complete_revision},
    checks::{ProposedChange, run_checks},
    conflict::retry_on_conflict,
    dry_run::{DryRun, dry_run_objects},
    idempotency::{annotation::find_answer, lease::find_deletion},
    objects::{Writer, resource_version},
    revisions::{create_revision, delete_expired_revisions, spell_revision, withdraw_revision},
    snapshot::{Snapshot, read_snapshot},
};
use crate::domain::{
    Error,
    change::Change,
    checks::variables::check_variables,
    commands::{CommandResult, Deploy, Position, RequestMeta, Restart, Rollback},
    name,
    object::Kind,
    plan::{self, AppState, Intent, Rendered, StoredRevision},
    scaling::policy_changes,
};

/// Attempts to get a revision number. When several deploys of one app run at once, one of them wins each
/// round.
const ATTEMPTS: u32 = 20;

/// Changes stored with a revision, and the longest value of one in characters. A record must stay far below
/// the size limit of an object.
const KEPT_CHANGES: usize = 64;
const KEPT_VALUE: usize = 1024;

/// The next step of a command.
enum Next {
    /// Return this answer. Nothing is left to do.
    Answer(Box<CommandResult>),
    /// Return the answer of this revision again, because the request was answered before.
    Replay(Box<StoredRevision>, Snapshot),
    /// Apply this intent, whose revision is written.
    Apply(Box<Intent>, Snapshot, Box<CommandResult>),
}

pub(super) async fn deploy(writer: &Writer, request: Deploy) -> Result<CommandResult, Error> {
    let decide = |state: &AppState| plan::decide_deploy(&request, state).map(Some);
    Box::pin(execute(writer, &request.name, &request.meta, decide)).await
}

pub(super) async fn restart(writer: &Writer, request: &Restart) -> Result<CommandResult, Error> {
    let decide = |state: &AppState| plan::decide_restart(request, state).map(Some);
    Box::pin(execute(writer, &request.name, &request.meta, decide)).await
}

pub(super) async fn rollback(writer: &Writer, request: Rollback) -> Result<CommandResult, Error> {
    let decide = |state: &AppState| plan::decide_rollback(&request, state);
    Box::pin(execute(writer, &request.name, &request.meta, decide)).await
}

async fn execute(
    writer: &Writer,
    name: &name::App,
    meta: &RequestMeta,
    decide: impl Fn(&AppState) -> Result<Option<Intent>, Error>,
) -> Result<CommandResult, Error> {
    match retry_on_conflict(ATTEMPTS, || prepare(writer, name, meta, &decide)).await? {
        Next::Answer(result) => Ok(*result),
        Next::Replay(revision, snapshot) => replay(writer, name, &revision, snapshot).await,
        Next::Apply(intent, snapshot, result) => apply(writer, meta, &intent, snapshot, *result).await,
    }
}

/// Does everything up to writing the revision. A [`Error::WriteConflict`] means that another writer was
/// faster, and everything is decided again.
async fn prepare(
    writer: &Writer,
    name: &name::App,
    meta: &RequestMeta,
    decide: impl Fn(&AppState) -> Result<Option<Intent>, Error>,
) -> Result<Next, Error> {
    let mut snapshot = read_snapshot(writer, name).await?;
    if !meta.validate_only {
        if let Some(answer) = earlier_answer(writer, name, meta, &snapshot).await? {
            return Ok(Next::Answer(Box::new(answer)));
        }
        if let Some(revision) = plan::find_request(meta.request.as_ref(), &snapshot.state)?.cloned() {
            return Ok(Next::Replay(Box::new(revision), snapshot));
        }
    }
    let Some(mut intent) = decide(&snapshot.state)? else {
        return Ok(Next::Answer(Box::new(unchanged(name, &snapshot))));
    };
    let rendered = plan::render_objects(&intent, &snapshot.state)?;
    let mut dry_run = dry_run_objects(writer, &intent, &rendered, &snapshot).await?;
    let mut result = to_result(&intent, &snapshot, &mut dry_run);
    if meta.validate_only {
        look_ahead(writer, meta, &intent, &rendered, &snapshot, dry_run.deployment, &mut result).await?;
        return Ok(Next::Answer(Box::new(result)));
    }
    match dry_run.refusal {
        // The replica count was set after its field manager was read. Decide again, because its field manager
        // may be another one now.
        Some(error) if !rendered.take_count && error.is_conflict_about_replicas() => {
            return Err(Error::WriteConflict { object: Kind::Deployment.object_of(name) });
        }
        Some(refusal) => return Err(refusal),
        None => {}
    }
    let newest = snapshot.state.newest().filter(|newest| newest.applied);
    if let Some(newest) = newest.filter(|_| !intent.is_new) {
        let spelled = spell_revision(writer, name, newest, &intent.record.content).await?.unwrap_or_default();
        if result.changes.is_empty() {
            // Another caller made the same deploy a moment ago. Both wait for that rollout.
            result.rollout = newest.outcome.is_none().then_some(intent.number);
            result.position =
                position_of(name, &snapshot, intent.number).map(|position| position.spelled_at(spelled));
            return Ok(Next::Answer(Box::new(result)));
        }
        // The content is the newest revision's, but the cluster has changed since. Bringing it back replaces
        // replicas, so it is a new rollout.
        if result.changes.iter().any(|change| change.restarts) {
            intent = plan::as_new_rollout(&intent, &snapshot.state, meta);
        }
    }
    if intent.is_new {
        intent.record.changes = to_kept_changes(&result.changes);
        if !create_revision(writer, name, intent.number, &intent.record, None).await? {
            return Err(Error::WriteConflict { object: name.rollout(intent.number) });
        }
    }
    // Skip unchanged objects only if no earlier change is pending (it could still overwrite them) and the
    // Deployment exists (otherwise the dry run had no owner reference).
    if snapshot.deployment.is_some() && snapshot.state.revisions.iter().all(|past| past.applied) {
        snapshot.unchanged = dry_run.unchanged;
    }
    Ok(Next::Apply(Box::new(intent), snapshot, Box::new(result)))
}

/// Applies an intent whose revision is written, and deletes the revisions beyond the history limit.
async fn apply(
    writer: &Writer,
    meta: &RequestMeta,
    intent: &Intent,
    snapshot: Snapshot,
    mut result: CommandResult,
) -> Result<CommandResult, Error> {
    let name = &intent.name;
    let expired = snapshot.state.expired_revisions(writer.history, meta.time);
    let version = carry_out(writer, intent, snapshot, intent.is_new).await?;
    delete_expired_revisions(writer, name, &expired).await;
    info!(app = %name, rollout = intent.number, cause = ?intent.record.cause, changes = result.changes.len(),
        actor = %meta.caller, reason = ?meta.reason, "changed");
    result.rollout = Some(intent.number);
    result.position = Some(Position::of_version(name, version, intent.number));
    Ok(result)
}

impl Writer {
    /// Carries out the newest revision of an app if it is not applied yet.
    pub async fn resume_incomplete(&self, name: name::App) -> Result<(), Error> {
        let snapshot = read_snapshot(self, &name).await?;
        let newest = snapshot.state.newest().filter(|newest| !newest.applied);
        let Some(revision) = newest.cloned() else { return Ok(()) };
        if snapshot.deployment.is_none() && !revision.creates() {
            // The revision was to change an app that was deleted in the meantime. It must not bring the app
            // back.
            withdraw_revision(self, &name, revision.number).await;
            return Ok(());
        }
        info!(app = %name, number = revision.number, actor = %revision.record.actor, "finishing a change that was cut off");
        Box::pin(complete_revision(self, &name, &revision, snapshot, true)).await.map(|_| ())
    }
}

/// Returns the answer to a request that was answered before. Completes the change first if it was cut off.
async fn replay(
    writer: &Writer,
    name: &name::App,
    revision: &StoredRevision,
    snapshot: Snapshot,
) -> Result<CommandResult, Error> {
    let (number, version) = match snapshot.state.position_of(revision) {
        _ if !revision.applied => {
            Box::pin(complete_revision(writer, name, revision, snapshot, false)).await?
        }
        Some(version) => (revision.number, version),
        None => (revision.number, snapshot.deployment.as_ref().map(resource_version).unwrap_or_default()),
    };
    Ok(CommandResult {
        rollout: Some(number),
        content: Some(revision.record.content.clone()),
        changes: revision.record.changes.clone(),
        position: Some(Position::of_version(name, version, number)),
        ..CommandResult::default()
    })
}

/// Returns the answer to a request that was answered before and left no revision, because the app was not
/// managed by Gantry then. A request id that belongs to a deletion is an error. Deletions are searched only
/// if the app does not exist.
async fn earlier_answer(
    writer: &Writer,
    name: &name::App,
    meta: &RequestMeta,
    snapshot: &Snapshot,
) -> Result<Option<CommandResult>, Error> {
    let Some((deployment, object)) = snapshot.state.deployment.as_ref().zip(snapshot.deployment.as_ref())
    else {
        let Some(request) = &meta.request else { return Ok(None) };
        return match find_deletion(writer, name, &request.id).await {
            Ok(Some(_)) => Err(Error::RequestIdReused { id: request.id.clone() }),
            Ok(None) => Ok(None),
            // The search only guards against a mistake of the caller, so its failure does not matter.
            Err(error) => {
                debug!(app = %name, %error, "cannot look for an earlier deletion");
                Ok(None)
            }
        };
    };
    let answered = find_answer(object, meta)?.filter(|_| deployment.is_ours());
    Ok(answered.map(|answered| CommandResult {
        rollout: Some(answered.rollout).filter(|number| *number > 0),
        position: Some(Position::of_version(name, answered.version, snapshot.state.newest_number())),
        ..unchanged(name, snapshot)
    }))
}

/// Returns what a change does, as far as that is known before its first write.
fn to_result(intent: &Intent, snapshot: &Snapshot, dry_run: &mut DryRun) -> CommandResult {
    let mut changes = std::mem::take(&mut dry_run.changes);
    if let Some(policy) = &intent.record.brings {
        let id = Kind::Deployment.object_of(&intent.name);
        changes.extend(policy_changes(&id, &snapshot.state.policy(), policy));
    }
    let [before, after] = [&snapshot.deployment, &dry_run.deployment]
        .map(|object| object.as_ref().map(|object| &object.data["spec"]["template"]));
    let variables = after.map(|after| check_variables(before, after)).unwrap_or_default();
    let mut checks = [std::mem::take(&mut dry_run.checks), intent.notes.clone(), variables].concat();
    checks.sort_by_key(|check| check.result);
    CommandResult {
        content: Some(intent.record.content.clone()),
        changes,
        checks,
        warnings: std::mem::take(&mut dry_run.warnings),
        ..CommandResult::default()
    }
}

/// Adds the checks that only a dry run includes: whether the caller has the rights, and what the change would
/// meet.
async fn look_ahead(
    writer: &Writer,
    meta: &RequestMeta,
    intent: &Intent,
    rendered: &Rendered,
    snapshot: &Snapshot,
    after: Option<DynamicObject>,
    result: &mut CommandResult,
) -> Result<(), Error> {
    result.checks.extend(review_apply(writer, &intent.name, rendered, snapshot).await?);
    let change = ProposedChange::of_apply(intent, rendered, snapshot, after, &result.changes, meta.time);
    Box::pin(run_checks(writer, &change, result)).await;
    Ok(())
}

fn unchanged(name: &name::App, snapshot: &Snapshot) -> CommandResult {
    CommandResult {
        content: snapshot.state.content(),
        position: position_of(name, snapshot, snapshot.state.newest_number()),
        ..CommandResult::default()
    }
}

fn position_of(name: &name::App, snapshot: &Snapshot, revision: u64) -> Option<Position> {
    snapshot.deployment.as_ref().map(|object| Position::of_version(name, resource_version(object), revision))
}

/// Returns the changes as they are stored: limited in number and length, and without whole manifests.
fn to_kept_changes(changes: &[Change]) -> Vec<Change> {
    let short = |text: &str| match text.char_indices().nth(KEPT_VALUE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    };
    let keep = |c: &Change| match c.path.as_str() {
        "" => Change::whole(c.object.clone(), c.action),
        _ => Change { old: short(&c.old), new: short(&c.new), ..c.clone() },
    };
    changes.iter().take(KEPT_CHANGES).map(keep).collect()
}
