//! A deploy, a restart, a rollback: decide, ask, keep the intent, carry it out.

use futures::future::join_all;
use jiff::Timestamp;
use kube::{
    api::{DeleteParams, DynamicObject, PostParams},
    core::{ObjectMeta, TypeMeta},
};
use serde_json::json;
use tracing::{debug, info, warn};

use super::{
    CROWDED, META_MANAGER, Writer, access_review, apply, autoscaler_policy,
    checks::{self, BudgetAfter, ProposedChange},
    deletions, dry_run, owner, requests, revision_id,
    snapshot::{self, Snapshot},
};
use crate::{
    cluster::error::{self, Doing},
    domain::{
        Error,
        change::Change,
        checks::{disruption::Budget, quota},
        commands::{CommandResult, Deploy, ObservedVersion, Position, RequestMeta, Restart, Rollback},
        error::Conflict,
        labels::{MANAGED_BY, MANAGER, REVISIONS_OF},
        name,
        object::Kind,
        plan::{self, AppState, Intent, Rendered, StoredRevision},
        revision::{self, Record, form},
    },
};

/// Attempts to get a revision number when several deploys of one app run at once; each round one of them wins.
const ATTEMPTS: u32 = 20;

/// Changes kept with a revision, and the longest value of one: a record must stay far below what an object may hold.
const KEPT_CHANGES: usize = 64;
const KEPT_VALUE: usize = 1024;

pub(super) async fn deploy(actor: &Writer, request: Deploy) -> Result<CommandResult, Error> {
    let decide = |live: &AppState| plan::decide_deploy(&request, live).map(Some);
    Box::pin(execute(actor, &request.name, &request.meta, decide)).await
}

pub(super) async fn restart(actor: &Writer, request: Restart) -> Result<CommandResult, Error> {
    let decide = |live: &AppState| plan::decide_restart(&request, live).map(Some);
    Box::pin(execute(actor, &request.name, &request.meta, decide)).await
}

pub(super) async fn rollback(actor: &Writer, request: Rollback) -> Result<CommandResult, Error> {
    let decide = |live: &AppState| plan::decide_rollback(&request, live);
    Box::pin(execute(actor, &request.name, &request.meta, decide)).await
}

/// Carries out the newest revision if nobody did.
pub(super) async fn resume_incomplete(actor: &Writer, name: name::App) -> Result<(), Error> {
    let found = snapshot::read_snapshot(actor, &name).await?;
    let Some(past) = found.live.newest().filter(|past| !past.applied).cloned() else { return Ok(()) };
    if found.deployment.is_none() && !past.creates() {
        // It was to change an app that was deleted meanwhile; nobody wants it back for that.
        withdraw(actor, &name, past.number).await;
        return Ok(());
    }
    info!(app = %name, number = past.number, actor = %past.record.actor, "finishing a change that was cut off");
    carry_on(actor, &name, &past, found, true).await.map(|_| ())
}

/// Carries out a revision that was cut off. One that is stuck is written again first; if another server does that at the same
/// moment, it carries it out too. Gives its number and the version of the Deployment.
async fn carry_on(
    actor: &Writer,
    name: &name::App,
    past: &StoredRevision,
    found: Snapshot,
    withdrawable: bool,
) -> Result<(u64, u64), Error> {
    if !past.is_stuck() {
        let intent = plan::intent_of(name, past);
        return Ok((past.number, carry_out(actor, &intent, found, withdrawable).await?));
    }
    let intent = plan::rewrite_stuck(name, past, &found.live, Timestamp::now());
    info!(app = %name, number = past.number, becomes = intent.number, "writing a revision of an earlier version again");
    if !create_revision(actor, name, intent.number, &intent.record, None).await? {
        return Err(CROWDED);
    }
    let found = snapshot::read_snapshot(actor, name).await?;
    Ok((intent.number, carry_out(actor, &intent, found, false).await?))
}

async fn execute(
    actor: &Writer,
    name: &name::App,
    meta: &RequestMeta,
    decide: impl Fn(&AppState) -> Result<Option<Intent>, Error>,
) -> Result<CommandResult, Error> {
    for _ in 0..ATTEMPTS {
        let mut found = snapshot::read_snapshot(actor, name).await?;
        if !meta.validate_only {
            if let Some(answer) = answered(actor, name, meta, &found).await? {
                return Ok(answer);
            }
            if let Some(past) = plan::find_request(meta.request.as_ref(), &found.live)?.cloned() {
                return Box::pin(replay(actor, name, &past, found)).await;
            }
        }
        let Some(mut intent) = decide(&found.live)? else { return Ok(nothing(name, &found)) };
        let rendered = plan::render_objects(&intent, &found.live)?;
        let outlook = dry_run::dry_run_objects(actor, &intent, &rendered, &found).await?;
        let mut done = CommandResult {
            content: Some(intent.record.content.clone()),
            changes: outlook.changes,
            checks: [outlook.checks, intent.notes.clone()].concat(),
            warnings: outlook.warnings,
            ..CommandResult::default()
        };
        done.checks.sort_by_key(|check| check.result);
        if let Some(policy) = &intent.record.brings {
            let id = Kind::Deployment.object_of(name);
            done.changes.extend(autoscaler_policy::policy_changes(&id, &found.live.policy(), policy));
        }
        if meta.validate_only {
            done.checks.extend(access_review::review_apply(actor, name, &rendered, &found).await?);
            let mut subject = subject(name, meta, &rendered, &found, outlook.deployment, &done.changes);
            if intent.is_new || subject.replaces {
                subject.makes.push(quota::quota_resource("apps", "controllerrevisions"));
            }
            Box::pin(checks::run_checks(actor, &subject, &mut done)).await;
            return Ok(done);
        }
        match outlook.refusal {
            // Somebody set the count since it was read who it belonged to; whose it is now is decided anew.
            Some(Error::Conflict(conflicts)) if !rendered.take_count && is_about_count(&conflicts) => {
                continue;
            }
            Some(refusal) => return Err(refusal),
            None => {}
        }
        let applied = found.live.newest().is_some_and(|past| past.applied);
        if !intent.is_new && applied {
            if done.changes.is_empty() {
                // Another caller asked for the same a moment ago; both wait for that rollout.
                let under_way = found.live.newest().is_some_and(|past| past.outcome.is_none());
                let rollout = under_way.then_some(intent.number);
                return Ok(CommandResult {
                    rollout,
                    position: position(name, &found, intent.number),
                    ..done
                });
            }
            // Wanted before, but not as it is any more: what replaces replicas is a rollout of its own.
            if done.changes.iter().any(|change| change.restarts) {
                intent = plan::as_new_rollout(&intent, &found.live, meta);
            }
        }
        if intent.is_new {
            intent.record.changes = kept(&done.changes);
            if !create_revision(actor, name, intent.number, &intent.record, None).await? {
                continue;
            }
        }
        // A change that is still under way may write them yet, and then this one must come after it. Without a Deployment they
        // were asked about without their owner.
        if found.deployment.is_some() && found.live.revisions.iter().all(|past| past.applied) {
            found.same = outlook.same;
        }
        let surplus = found.live.expired_revisions(actor.history, meta.time);
        let version = carry_out(actor, &intent, found, intent.is_new).await?;
        delete_revisions(actor, name, &surplus).await;
        info!(app = %name, rollout = intent.number, cause = ?intent.record.cause, changes = done.changes.len(),
            actor = %meta.actor, reason = ?meta.reason, "changed");
        done.rollout = Some(intent.number);
        done.position = Some(position_at(name, version, intent.number));
        return Ok(done);
    }
    Err(CROWDED)
}

/// Lets go of revisions beyond those that are kept. What fails here is done by the next change.
pub(super) async fn delete_revisions(actor: &Writer, name: &name::App, numbers: &[u64]) {
    let delete = async |number: &u64| {
        let object = revision::object_name(name, *number);
        let deleted = actor.delete_revision(&name.namespace, &object, &DeleteParams::default()).await;
        if let Err(error) = deleted {
            debug!(app = %name, number, %error, "cannot let go of an old revision");
        }
    };
    join_all(numbers.iter().map(delete)).await;
}

/// Whether the replica count is all that others manage, but for what this server writes for itself.
pub(super) fn is_about_count(conflicts: &[Conflict]) -> bool {
    conflicts.iter().all(|conflict| conflict.field == ".spec.replicas" || conflict.is_bookkeeping())
}

/// What a change would make of the app, for a look ahead.
fn subject<'a>(
    name: &'a name::App,
    meta: &RequestMeta,
    rendered: &Rendered,
    found: &'a Snapshot,
    after: Option<DynamicObject>,
    changes: &[Change],
) -> ProposedChange<'a> {
    let manifest = || rendered.objects.first().map(|object| object.manifest.clone()).unwrap_or_default();
    let budget = rendered.objects.iter().find(|object| object.kind == Kind::Budget);
    let new = rendered.objects.iter().map(|object| object.kind).filter(|kind| found.object(*kind).is_none());
    ProposedChange {
        name,
        deployment: after.and_then(|object| serde_json::to_value(object).ok()).unwrap_or_else(manifest),
        before: found.deployment.as_ref(),
        replaces: found.deployment.is_none() || changes.iter().any(|change| change.restarts),
        makes: new
            .map(Kind::resource)
            .map(|(group, resource)| quota::quota_resource(group, resource))
            .collect(),
        budget: budget.map_or(BudgetAfter::Goes, |object| {
            BudgetAfter::Becomes(Budget {
                name: name.app.clone(),
                min_available: object.manifest["spec"]["minAvailable"].clone(),
                max_unavailable: object.manifest["spec"]["maxUnavailable"].clone(),
            })
        }),
        time: meta.time,
    }
}

/// The answer to a request that was answered before; completes it first if it was cut off.
async fn replay(
    actor: &Writer,
    name: &name::App,
    past: &StoredRevision,
    found: Snapshot,
) -> Result<CommandResult, Error> {
    let (number, version) = match found.live.position_of(past) {
        Some(version) if past.applied => (past.number, version),
        _ if past.applied => {
            (past.number, found.deployment.as_ref().map(snapshot::resource_version).unwrap_or_default())
        }
        _ => carry_on(actor, name, past, found, false).await?,
    };
    Ok(CommandResult {
        rollout: Some(number),
        content: Some(past.record.content.clone()),
        changes: past.record.changes.clone(),
        position: Some(position_at(name, version, number)),
        ..CommandResult::default()
    })
}

/// Applies an intent. One that the API server refuses before anything was applied is taken back if `withdrawable`.
async fn carry_out(
    actor: &Writer,
    intent: &Intent,
    found: Snapshot,
    withdrawable: bool,
) -> Result<u64, Error> {
    let stopped = match Box::pin(apply::apply_intent(actor, intent, found)).await {
        Ok(version) => return Ok(version),
        Err(stopped) => stopped,
    };
    if stopped.applied.is_empty() {
        // What stays is carried out later, so the caller must not take the error for a no.
        let stays = withdrawable
            && !(is_refusal(&stopped.error) && withdraw(actor, &intent.name, intent.number).await);
        if !stays {
            return Err(stopped.error);
        }
    }
    Err(Error::Partial {
        source: Box::new(stopped.error),
        rollout: intent.name.rollout(intent.number),
        applied: stopped.applied,
        not_applied: stopped.not_applied,
    })
}

/// Whether asking again would give the same answer, so that the intent can never be carried out.
pub(super) fn is_refusal(error: &Error) -> bool {
    matches!(
        error,
        Error::Invalid(_)
            | Error::Conflict(_)
            | Error::Admission { .. }
            | Error::Quota { .. }
            | Error::NotAllowed { .. }
            | Error::DaemonForbidden { .. }
            | Error::ForeignAutoscaler { .. }
            | Error::AutoscalerActive { .. }
            | Error::NameTaken { .. }
            | Error::BeingDeleted { .. }
    )
}

/// Takes back a revision of which nothing was applied. If that fails too, it stays, and is carried out later.
async fn withdraw(actor: &Writer, name: &name::App, number: u64) -> bool {
    let object = revision::object_name(name, number);
    let deleted = actor.delete_revision(&name.namespace, &object, &DeleteParams::default()).await;
    if let Err(error) = &deleted {
        warn!(app = %name, number, %error, "cannot take back a revision that was refused");
    }
    deleted.is_ok()
}

/// The answer to a request that was answered before and left no revision, since others had made the app then.
/// The id of a deletion is an error; of an app that is there it is not looked for.
async fn answered(
    actor: &Writer,
    name: &name::App,
    meta: &RequestMeta,
    found: &Snapshot,
) -> Result<Option<CommandResult>, Error> {
    let Some((deployment, object)) = found.live.deployment.as_ref().zip(found.deployment.as_ref()) else {
        let Some(request) = &meta.request else { return Ok(None) };
        return match deletions::find_deletion(actor, name, &request.id).await {
            Ok(Some(_)) => Err(Error::RequestIdReused { id: request.id.clone() }),
            Ok(None) => Ok(None),
            // It would only guard against a mistake of the caller's.
            Err(error) => {
                debug!(app = %name, %error, "cannot look for an earlier deletion");
                Ok(None)
            }
        };
    };
    let answered = requests::find_answer(object, meta)?.filter(|_| deployment.is_ours());
    Ok(answered.map(|answered| CommandResult {
        rollout: Some(answered.rollout).filter(|number| *number > 0),
        position: Some(position_at(name, answered.version, found.live.newest_number())),
        ..nothing(name, found)
    }))
}

fn nothing(name: &name::App, found: &Snapshot) -> CommandResult {
    CommandResult {
        content: found.live.content(),
        position: position(name, found, found.live.newest_number()),
        ..CommandResult::default()
    }
}

fn position(name: &name::App, found: &Snapshot, revision: u64) -> Option<Position> {
    found.deployment.as_ref().map(|object| position_at(name, snapshot::resource_version(object), revision))
}

pub(super) fn position_at(name: &name::App, deployment: u64, revision: u64) -> Position {
    Position { app: name.clone(), seen: ObservedVersion::Version { deployment, revision } }
}

/// The changes as they are kept: bounded, and without whole manifests.
fn kept(changes: &[Change]) -> Vec<Change> {
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

/// Writes a revision, owned by the Deployment of this uid if it needs no carrying out. False if its name is taken.
pub(super) async fn create_revision(
    actor: &Writer,
    name: &name::App,
    number: u64,
    record: &Record,
    uid: Option<&str>,
) -> Result<bool, Error> {
    let object_name = revision::object_name(name, number);
    let data = form::to_data(record).map_err(|e| Error::Bug(format!("writing a revision: {e}")))?;
    let owners = uid.map(|uid| serde_json::from_value(json!([owner(name, uid)])));
    let owner_references = owners.transpose().map_err(|e| Error::Bug(format!("writing an owner: {e}")))?;
    let labels = [(REVISIONS_OF, name.app.as_str()), (MANAGED_BY, MANAGER)];
    let object = DynamicObject {
        types: Some(TypeMeta { api_version: "apps/v1".to_owned(), kind: "ControllerRevision".to_owned() }),
        metadata: ObjectMeta {
            name: Some(object_name.clone()),
            labels: Some(labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
            owner_references,
            ..ObjectMeta::default()
        },
        data: json!({"revision": number, "data": data}),
    };
    let params = PostParams { field_manager: Some(META_MANAGER.to_owned()), ..PostParams::default() };
    let api = actor.revisions(&name.namespace);
    let answer = async {
        match api.create(&params, &object).await {
            Ok(_) => Ok(true),
            Err(error) if error::is_already_exists(&error) => Ok(false),
            Err(error) => Err(error),
        }
    };
    let doing = Doing { verb: "create", object: &revision_id(&object_name) };
    actor.cluster.call(doing, answer).await
}
