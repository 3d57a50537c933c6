//! A deletion: the Deployment goes, and Kubernetes' garbage collection takes with it what the Deployment owns.

use kube::api::{DeleteParams, Preconditions};
use tracing::info;

use super::{Actor, live, revisions_of};
use crate::{
    cluster::error::{self, Doing},
    domain::{
        Error,
        act::{Action, Change, Delete, Deleted, Position, Seen},
        app::MANAGER,
        manifest::Kind,
        plan,
    },
};

pub(super) async fn run(actor: &Actor, request: Delete) -> Result<Deleted, Error> {
    let name = &request.name;
    let Some(deployment) = live::find(actor, Kind::Deployment, name).await? else {
        // A deploy that was cut off before its Deployment leaves a revision that nothing owns.
        if request.allow_missing {
            forget_revisions(actor, &request).await?;
            return Ok(Deleted { changes: Vec::new(), position: None });
        }
        return Err(Error::no_app(name));
    };
    let by = live::manager(&deployment);
    if by != MANAGER {
        return Err(Error::NotManaged { name: name.to_string(), by });
    }
    if let Some(expected) = request.etag.as_deref() {
        let newest = live::newest(actor, name).await?;
        plan::check_etag(Some(expected), newest.map(|n| n.content).as_ref())?;
    }
    let goes = |kind: Kind| Change::whole(kind.object_of(name), Action::Delete);
    let mut changes = vec![goes(Kind::Deployment)];
    for kind in [Kind::Service, Kind::Budget] {
        let object = live::find(actor, kind, name).await?;
        if object.is_some_and(|o| live::manager(&o) == MANAGER) {
            changes.push(goes(kind));
        }
    }
    let uid = deployment.metadata.uid.unwrap_or_default();
    // Foreground: the Deployment stays, as being deleted, until its replicas are gone, so that "gone" means gone.
    let params = DeleteParams {
        preconditions: Some(Preconditions { uid: Some(uid.clone()), resource_version: None }),
        ..DeleteParams::foreground()
    };
    let doing = Doing { verb: "delete", object: &Kind::Deployment.object_of(name) };
    let api = actor.objects(&name.namespace, Kind::Deployment);
    actor.cluster.call(doing, api.delete(&name.app, &params)).await?;
    info!(app = %name, actor = %request.actor, reason = %request.reason, "deleted");
    Ok(Deleted { changes, position: Some(Position { app: name.clone(), seen: Seen::Deleting { uid } }) })
}

async fn forget_revisions(actor: &Actor, request: &Delete) -> Result<(), Error> {
    let api = actor.revisions(&request.name.namespace);
    let params = revisions_of(&request.name);
    let doing = Doing { verb: "deletecollection", object: "controllerrevisions" };
    let answer =
        async { error::unless_missing(api.delete_collection(&DeleteParams::default(), &params).await) };
    actor.cluster.call(doing, answer).await.map(|_| ())
}
