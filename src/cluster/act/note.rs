//! Keeping a change that was made past this server: a revision that says what was seen, so that it has a place in the history.
//! Nothing is applied.

use kube::{
    api::{DynamicObject, PostParams},
    core::{ObjectMeta, TypeMeta},
};
use serde_json::json;
use tracing::info;

use super::{Actor, META_MANAGER, live, revision_id};
use crate::{
    cluster::error::{self, Doing},
    domain::{
        Error,
        app::{MANAGED_BY, MANAGER},
        manifest::{Kind, REVISIONS_OF},
        name,
        revision::{self, Record},
    },
};

pub(super) async fn run(actor: &Actor, app: name::App, number: u64, record: Record) -> Result<(), Error> {
    let deployment = live::find(actor, Kind::Deployment, &app).await?;
    let ours = deployment.filter(|d| live::manager(d) == MANAGER && d.metadata.deletion_timestamp.is_none());
    // Deleted or given away meanwhile: records are written for what this server made, and for nothing else.
    let Some(uid) = ours.and_then(|d| d.metadata.uid) else { return Ok(()) };
    let object_name = revision::object_name(&app, number);
    let data = serde_json::to_value(&record).map_err(|e| Error::Bug(format!("writing a revision: {e}")))?;
    let labels = [(REVISIONS_OF, app.app.as_str()), (MANAGED_BY, MANAGER)];
    // Owned from the start: one without an owner is an intent, and an intent is carried out by whoever finds it.
    let owner = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": app.app, "uid": uid, "controller": true,
        "blockOwnerDeletion": false}]);
    let owner = serde_json::from_value(owner).map_err(|e| Error::Bug(format!("writing an owner: {e}")))?;
    let object = DynamicObject {
        types: Some(TypeMeta { api_version: "apps/v1".to_owned(), kind: "ControllerRevision".to_owned() }),
        metadata: ObjectMeta {
            name: Some(object_name.clone()),
            labels: Some(labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
            owner_references: Some(owner),
            ..ObjectMeta::default()
        },
        data: json!({"revision": number, "data": data}),
    };
    let params = PostParams { field_manager: Some(META_MANAGER.to_owned()), ..PostParams::default() };
    let api = actor.revisions(&app.namespace);
    let answer = async {
        match api.create(&params, &object).await {
            Ok(_) => Ok(true),
            // Another server was first, or a deploy was: either way the number tells of something later than it did.
            Err(error) if error::is_taken(&error) => Ok(false),
            Err(error) => Err(error),
        }
    };
    let doing = Doing { verb: "create", object: &revision_id(&object_name) };
    if actor.cluster.call(doing, answer).await? {
        info!(%app, number, manager = %record.actor, "changed past this server");
    }
    Ok(())
}
