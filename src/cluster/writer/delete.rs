//! Deletes an app: the Deployment is deleted, and Kubernetes' garbage collection deletes what the Deployment
//! owns. A request with an id is stored first (see `idempotency::lease`), so that a repeat deletes only what
//! the first one was about, and nothing that got its name later.

use futures::future::{try_join, try_join_all};
use jiff::Timestamp;
use kube::{
    ResourceExt,
    api::{DeleteParams, DynamicObject, PartialObjectMeta, Preconditions},
};
use tracing::info;

use super::{
    access_review::{Write, review_access},
    idempotency::{
        annotation::check_answered,
        lease::{Deletion, find_deletion, record_deletion},
    },
    objects::{Writer, revisions_of},
    revisions::own_revision,
    snapshot::{Owner, is_owned, read_snapshot},
};
use crate::domain::{
    Error,
    change::{Action, Change},
    commands::{CommandResult, Delete, ObservedVersion, Position, RequestMeta},
    labels::MANAGER,
    name,
    object::Kind,
    plan,
};

pub(super) async fn delete_app(writer: &Writer, request: Delete) -> Result<CommandResult, Error> {
    let (name, meta) = (&request.name, &request.meta);
    let id = meta.request.as_ref().filter(|_| !meta.validate_only);
    let earlier = async {
        match id {
            Some(request) => find_deletion(writer, name, &request.id).await,
            None => Ok(None),
        }
    };
    let (snapshot, earlier) = try_join(read_snapshot(writer, name), earlier).await?;
    let uid = snapshot.deployment.as_ref().and_then(|object| object.metadata.uid.clone()).unwrap_or_default();
    if let Some(earlier) = &earlier
        && let Some(answer) = answered(name, meta, earlier, &uid)?
    {
        return Ok(answer);
    }
    let Some((deployment, object)) = snapshot.state.deployment.as_ref().zip(snapshot.deployment.as_ref())
    else {
        // A deploy that was cut off before it created its Deployment leaves a revision without an owner.
        if request.allow_missing {
            if !meta.validate_only {
                let since = earlier.as_ref().and_then(|earlier| earlier.kept);
                if let Some(answer) = keep(writer, &request, earlier, &uid).await? {
                    return Ok(answer);
                }
                forget_revisions(writer, &request, since).await?;
            }
            return Ok(CommandResult::default());
        }
        return Err(Error::no_app(name));
    };
    if !deployment.is_ours() {
        // A Deployment that goes may lose its revisions before it is gone.
        if deployment.deleting {
            return Err(Error::BeingDeleted { what: name.to_string() });
        }
        return Err(Error::NotManaged { name: name.to_string(), by: deployment.managed_by.clone() });
    }
    let wanted = snapshot.state.content();
    plan::check_etag(meta.etag.as_deref(), wanted.as_ref())?;
    let goes = |kind: Kind| Change::whole(kind.object_of(name), Action::Delete);
    let mut done =
        CommandResult { changes: vec![goes(Kind::Deployment)], content: wanted, ..CommandResult::default() };
    let parts = [Kind::Service, Kind::Budget].map(|kind| Some((kind, snapshot.object(kind)?)));
    let ours = |(kind, _): &(Kind, _)| snapshot.state.made_by(*kind) == Some(MANAGER);
    let parts: Vec<_> = parts.into_iter().flatten().filter(ours).collect();
    done.changes.extend(parts.iter().map(|(kind, _)| goes(*kind)));
    if meta.validate_only {
        let write = Write { kind: Kind::Deployment, verb: "delete", subresource: "" };
        done.checks = review_access(writer, name, &[write]).await?;
        return Ok(done);
    }
    check_answered(&snapshot.state, object, meta)?;
    if let Some(answer) = keep(writer, &request, earlier, &uid).await? {
        return Ok(answer);
    }
    // A revision that was not carried out has no owner. It would outlive the app, and would be carried out
    // after the deletion.
    for past in snapshot.state.revisions.iter().filter(|past| !past.applied) {
        match own_revision(writer, name, past.number, &uid).await {
            Ok(()) | Err(Error::ObjectMissing { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    // Objects of an earlier Deployment of the same name are not deleted together with this one.
    let owner = Owner { uid: uid.clone(), restored: false };
    for (kind, part) in parts.iter().filter(|(_, part)| !is_owned(part, &owner)) {
        writer.delete_part(name, *kind, part).await?;
    }
    // Foreground deletion: the Deployment stays, marked as being deleted, until its replicas are gone. So
    // when it is gone, the app is gone.
    let params = DeleteParams {
        preconditions: Some(Preconditions { uid: Some(uid.clone()), resource_version: None }),
        ..DeleteParams::foreground()
    };
    match writer.objects(&name.namespace, Kind::Deployment).delete(&name.app, &params).await {
        Ok(true) => {}
        // A concurrent call with the same request was faster. This Deployment is gone, which is what the
        // caller asked for.
        Ok(false) | Err(Error::WriteConflict { .. }) if id.is_some() => {}
        Ok(false) => return Err(Error::no_app(name)),
        Err(error) => return Err(error),
    }
    info!(app = %name, actor = %meta.caller, reason = ?meta.reason, "deleted");
    done.position = Some(gone(name, uid));
    Ok(done)
}

/// Stores the request if it has an id and was not stored `earlier`. Returns an answer if the same request,
/// running at the same time in another gantryd, was faster and is done.
async fn keep(
    writer: &Writer,
    request: &Delete,
    earlier: Option<Deletion>,
    uid: &str,
) -> Result<Option<CommandResult>, Error> {
    let (name, meta) = (&request.name, &request.meta);
    let (Some(request), None) = (&meta.request, earlier) else { return Ok(None) };
    let (app, uid) = (name.to_string(), uid.to_owned());
    let deletion = Deletion { app, request: request.clone(), uid, time: meta.time, kept: None };
    match record_deletion(writer, name, &deletion).await? {
        Some(earlier) => answered(name, meta, &earlier, &deletion.uid),
        None => Ok(None),
    }
}

fn gone(name: &name::App, uid: String) -> Position {
    Position { app: name.clone(), seen: ObservedVersion::Deleting { uid } }
}

/// The answer to a request whose deletion was stored before: done, if the Deployment that it was about is
/// gone. `None` if the Deployment with that uid still exists and is to be deleted. The same id for another
/// request is an error.
fn answered(
    name: &name::App,
    meta: &RequestMeta,
    earlier: &Deletion,
    uid: &str,
) -> Result<Option<CommandResult>, Error> {
    match &meta.request {
        Some(request) if earlier.request != *request => {
            Err(Error::RequestIdReused { id: request.id.clone() })
        }
        _ if earlier.uid == uid => Ok(None),
        // There was nothing to delete.
        _ if earlier.uid.is_empty() => Ok(Some(CommandResult::default())),
        _ => Ok(Some(CommandResult {
            position: Some(gone(name, earlier.uid.clone())),
            ..CommandResult::default()
        })),
    }
}

/// Deletes the revisions without an owner; garbage collection deletes the owned ones. It deletes only
/// revisions that exist now and stay as they are, because a deploy may start or end at this moment: its
/// revision has the same labels and perhaps the same name, and gets its owner when it is carried out. For a
/// repeated request it deletes only revisions that existed when the request was stored, at `since`.
async fn forget_revisions(writer: &Writer, request: &Delete, since: Option<Timestamp>) -> Result<(), Error> {
    let revisions = writer.revisions(&request.name.namespace);
    let all = revisions.list_metadata(&revisions_of(&request.name)).await?;
    let later = |revision: &PartialObjectMeta<DynamicObject>| {
        since.zip(revision.creation_timestamp()).is_some_and(|(since, created)| created.0 > since)
    };
    let unowned =
        all.items.into_iter().filter(|revision| revision.owner_references().is_empty() && !later(revision));
    let delete = async |revision: PartialObjectMeta<DynamicObject>| {
        let (uid, resource_version) = (revision.uid(), revision.resource_version());
        let preconditions = Some(Preconditions { uid, resource_version });
        let params = DeleteParams { preconditions, ..DeleteParams::default() };
        match revisions.delete(&revision.name_any(), &params).await {
            // A new revision took its name, or it was carried out.
            Ok(_) | Err(Error::WriteConflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    };
    try_join_all(unowned.map(delete)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{caller::Caller, revision::Request};

    #[test]
    fn a_repeat_deletes_what_the_first_one_was_about_and_nothing_else() {
        let name = name::App::new("prod", "shop");
        let request = |digest: &str| Request { id: "a".to_owned(), digest: digest.to_owned() };
        let meta = |digest: &str| RequestMeta {
            caller: Caller::default(),
            reason: String::new(),
            time: Timestamp::UNIX_EPOCH,
            request: Some(request(digest)),
            validate_only: false,
            etag: None,
        };
        let (app, time) = (name.to_string(), Timestamp::UNIX_EPOCH);
        let earlier = Deletion { app, request: request("x"), uid: "1".to_owned(), time, kept: None };
        assert_eq!(answered(&name, &meta("x"), &earlier, "1"), Ok(None), "it is there to be deleted");
        let done = CommandResult { position: Some(gone(&name, "1".to_owned())), ..CommandResult::default() };
        for there in ["", "2"] {
            assert_eq!(answered(&name, &meta("x"), &earlier, there), Ok(Some(done.clone())), "{there:?}");
        }
        let nothing = Deletion { uid: String::new(), ..earlier.clone() };
        assert_eq!(answered(&name, &meta("x"), &nothing, ""), Ok(None));
        assert_eq!(answered(&name, &meta("x"), &nothing, "2"), Ok(Some(CommandResult::default())));
        for there in ["", "1", "2"] {
            let reused = Err(Error::RequestIdReused { id: "a".to_owned() });
            assert_eq!(answered(&name, &meta("y"), &earlier, there), reused, "{there:?}");
        }
    }
}
