//! A deletion: the Deployment goes, and Kubernetes' garbage collection takes with it what the Deployment owns.

use kube::api::{DeleteParams, DynamicObject, ListParams, Preconditions};
use tracing::info;

use super::{Actor, live};
use crate::{
    cluster::error::{self, Doing},
    domain::{
        Error,
        act::{Action, Delete, Deleted, ObjectChange, Position, Seen},
        app::MANAGER,
        manifest::{Kind, REVISIONS_OF},
    },
};

pub(super) async fn run(actor: &Actor, request: Delete) -> Result<Deleted, Error> {
    let name = &request.name;
    let api = actor.objects(&name.namespace, Kind::Deployment);
    let Some(deployment) = live::find(&actor.cluster, &api, Kind::Deployment, name).await? else {
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
    check_etag(actor, &request).await?;
    let mut changes = Vec::new();
    for kind in [Kind::Deployment, Kind::Service, Kind::Budget] {
        let api = actor.objects(&name.namespace, kind);
        let object = match kind {
            Kind::Deployment => Some(deployment.clone()),
            Kind::Service | Kind::Budget => live::find(&actor.cluster, &api, kind, name).await?,
        };
        let ours = |o: &DynamicObject| live::manager(o) == MANAGER;
        if object.as_ref().is_some_and(ours) {
            changes.push(ObjectChange {
                object: format!("{}/{}", kind.prefix(), name.app),
                action: Action::Delete,
            });
        }
    }
    let uid = deployment.metadata.uid.clone().unwrap_or_default();
    // Foreground: the Deployment stays, as being deleted, until its replicas are gone, so that "gone" means gone.
    let params = DeleteParams {
        preconditions: Some(Preconditions { uid: Some(uid.clone()), resource_version: None }),
        ..DeleteParams::foreground()
    };
    let doing = Doing { verb: "delete", object: &format!("deployment.apps/{}", name.app) };
    actor.cluster.call(doing, api.delete(&name.app, &params)).await?;
    info!(app = %name, actor = %request.actor, reason = %request.reason, "deleted");
    Ok(Deleted { changes, position: Some(Position { app: name.clone(), seen: Seen::Deleting { uid } }) })
}

async fn check_etag(actor: &Actor, request: &Delete) -> Result<(), Error> {
    let Some(expected) = &request.etag else { return Ok(()) };
    let live = live::read(actor, &request.name).await?;
    let etag = live.newest.map(|n| n.content.etag()).unwrap_or_default();
    if *expected == etag { Ok(()) } else { Err(Error::EtagMismatch { etag }) }
}

async fn forget_revisions(actor: &Actor, request: &Delete) -> Result<(), Error> {
    let api = actor.revisions(&request.name.namespace);
    let params = ListParams::default().labels(&format!("{REVISIONS_OF}={}", request.name.app));
    let doing = Doing { verb: "deletecollection", object: "controllerrevisions" };
    let answer = async {
        match api.delete_collection(&DeleteParams::default(), &params).await {
            Err(error) if !error::is_missing(&error) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    };
    actor.cluster.call(doing, answer).await
}
