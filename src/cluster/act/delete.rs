//! A deletion: the Deployment goes, and Kubernetes' garbage collection takes with it what the Deployment owns.

use kube::api::{DeleteParams, Preconditions};
use tracing::info;

use super::{
    Actor, live, requests,
    review::{self, Write},
    revisions_of,
};
use crate::{
    cluster::error::{self, Doing},
    domain::{
        Error,
        act::{Delete, Done, Position, Seen},
        change::{Action, Change},
        labels::MANAGER,
        manifest::Kind,
        plan,
    },
};

pub(super) async fn run(actor: &Actor, request: Delete) -> Result<Done, Error> {
    let (name, asked) = (&request.name, &request.asked);
    let found = live::read(actor, name).await?;
    let Some((deployment, object)) = found.live.deployment.as_ref().zip(found.deployment.as_ref()) else {
        // A deploy that was cut off before its Deployment leaves a revision that nothing owns.
        if request.allow_missing {
            if !asked.validate_only {
                forget_revisions(actor, &request).await?;
            }
            return Ok(Done::default());
        }
        return Err(Error::no_app(name));
    };
    if !deployment.is_ours() {
        return Err(Error::NotManaged { name: name.to_string(), by: deployment.managed_by.clone() });
    }
    let wanted = found.live.content();
    plan::check_etag(asked.etag.as_deref(), wanted.as_ref())?;
    let goes = |kind: Kind| Change::whole(kind.object_of(name), Action::Delete);
    let mut done = Done { changes: vec![goes(Kind::Deployment)], content: wanted, ..Done::default() };
    for kind in [Kind::Service, Kind::Budget] {
        if found.object(kind).is_some_and(|o| live::manager(o) == MANAGER) {
            done.changes.push(goes(kind));
        }
    }
    if asked.validate_only {
        let write = Write { kind: Kind::Deployment, verb: "delete", subresource: "" };
        done.checks = review::of(actor, name, &[write]).await?;
        return Ok(done);
    }
    requests::answered(&found.live, object, asked)?;
    let uid = object.metadata.uid.clone().unwrap_or_default();
    // A revision that was not carried out has no owner: it would outlive the app, and be carried out then.
    for past in found.live.revisions.iter().filter(|past| !past.applied) {
        match actor.own_revision(name, past.number, &uid).await {
            Ok(()) | Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    // Foreground: the Deployment stays, as being deleted, until its replicas are gone, so that "gone" means gone.
    let params = DeleteParams {
        preconditions: Some(Preconditions { uid: Some(uid.clone()), resource_version: None }),
        ..DeleteParams::foreground()
    };
    let doing = Doing { verb: "delete", object: &Kind::Deployment.object_of(name) };
    let api = actor.objects(&name.namespace, Kind::Deployment);
    actor.cluster.call(doing, api.delete(&name.app, &params)).await?;
    info!(app = %name, actor = %asked.actor, reason = %asked.reason, "deleted");
    done.position = Some(Position { app: name.clone(), seen: Seen::Deleting { uid } });
    Ok(done)
}

async fn forget_revisions(actor: &Actor, request: &Delete) -> Result<(), Error> {
    let api = actor.revisions(&request.name.namespace);
    let params = revisions_of(&request.name);
    let doing = Doing { verb: "deletecollection", object: "controllerrevisions" };
    let answer =
        async { error::unless_missing(api.delete_collection(&DeleteParams::default(), &params).await) };
    actor.cluster.call(doing, answer).await.map(|_| ())
}
