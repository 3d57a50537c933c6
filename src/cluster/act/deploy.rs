//! A deploy, write by write.

use kube::{
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions},
    core::{ObjectMeta, TypeMeta},
};
use serde_json::{Value, json};
use tracing::{info, warn};

use super::{Actor, META_MANAGER, apply_params, live, revision_id, revisions_of};
use crate::{
    cluster::error::{self, Doing},
    domain::{
        Error,
        act::{Action, Deploy, Deployed, ObjectChange, Position, Seen},
        app::{MANAGED_BY, MANAGER},
        manifest::{Kind, Object, REVISIONS_OF},
        name,
        plan::{self, Plan},
        revision::{self, Record},
    },
};

/// Attempts to get a revision number when several deploys of one app run at once; each round one of them wins.
const ATTEMPTS: u32 = 10;

pub(super) async fn run(actor: &Actor, request: Deploy) -> Result<Deployed, Error> {
    let plan = Box::pin(write_intent(actor, &request)).await?;
    let mut writer = Writer {
        actor,
        name: &request.name,
        plan: &plan,
        uid: String::new(),
        version: 0,
        changes: Vec::new(),
    };
    if let Err(error) = writer.apply_all().await {
        if writer.changes.is_empty() && plan.record.is_some() && is_refusal(&error) {
            withdraw(actor, &request.name, plan.number).await;
            return Err(error);
        }
        return Err(writer.partial(error));
    }
    let Writer { changes, version, .. } = writer;
    let rollout = (plan.record.is_some() || !changes.is_empty()).then_some(plan.number);
    info!(app = %request.name, ?rollout, changed = changes.len(), actor = %request.actor, reason = %request.reason, "deployed");
    Ok(Deployed {
        rollout,
        position: Position {
            app: request.name.clone(),
            seen: Seen::Version { deployment: version, revision: plan.number },
        },
        content: plan.content,
        changes,
        warnings: plan.warnings,
    })
}

/// Whether asking again would give the same answer, so that the intent can never be carried out.
fn is_refusal(error: &Error) -> bool {
    matches!(
        error,
        Error::Invalid(_)
            | Error::Conflict(_)
            | Error::Admission { .. }
            | Error::Quota { .. }
            | Error::DaemonForbidden { .. }
    )
}

/// Takes back a revision of which nothing was applied. If that fails too, the next deploy goes on from it.
async fn withdraw(actor: &Actor, name: &name::App, number: u64) {
    let object = revision::object_name(name, number);
    let doing = Doing { verb: "delete", object: &revision_id(&object) };
    let api = actor.revisions(&name.namespace);
    if let Err(error) = actor.cluster.call(doing, api.delete(&object, &DeleteParams::default())).await {
        warn!(app = %name, number, %error, "cannot take back a revision that was refused");
    }
}

/// Plans, and writes the revision if the plan has one. The name of the revision decides between deploys that run at once:
/// who comes second plans again, on top of the first.
async fn write_intent(actor: &Actor, request: &Deploy) -> Result<Plan, Error> {
    for _ in 0..ATTEMPTS {
        let live = live::read(actor, &request.name).await?;
        let plan = plan::deploy(request, &live)?;
        let Some(record) = &plan.record else { return Ok(plan) };
        preflight(actor, request, &plan).await?;
        if create_revision(actor, &request.name, plan.number, record).await? {
            return Ok(plan);
        }
    }
    Err(Error::Throttled { retry_after: std::time::Duration::from_secs(1) })
}

/// Asks the API server whether it would take every object. What it refuses must not become the app's intent.
async fn preflight(actor: &Actor, request: &Deploy, plan: &Plan) -> Result<(), Error> {
    let name = &request.name;
    let asked = plan.objects.iter().map(|object| async move {
        let api = actor.objects(&name.namespace, object.kind);
        let id = object.kind.object_of(name);
        let doing = Doing { verb: "patch", object: &id };
        let params = PatchParams { dry_run: true, ..apply_params(plan.take_count) };
        let answer =
            actor.cluster.call(doing, api.patch(&name.app, &params, &Patch::Apply(&object.manifest))).await;
        match answer {
            Err(error) if !cannot_be_asked(&error) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    });
    futures::future::try_join_all(asked).await.map(|_| ())
}

/// Kubernetes refuses every dry run that a webhook with side effects would see; that says nothing about the write.
fn cannot_be_asked(error: &Error) -> bool {
    matches!(error, Error::Admission { message, .. } if message.contains("does not support dry run"))
}

/// False if the name is taken.
async fn create_revision(
    actor: &Actor,
    name: &name::App,
    number: u64,
    record: &Record,
) -> Result<bool, Error> {
    let object_name = revision::object_name(name, number);
    let data = serde_json::to_value(record).map_err(|e| Error::Bug(format!("writing a revision: {e}")))?;
    let labels = [(REVISIONS_OF, name.app.as_str()), (MANAGED_BY, MANAGER)];
    let object = DynamicObject {
        types: Some(TypeMeta { api_version: "apps/v1".to_owned(), kind: "ControllerRevision".to_owned() }),
        metadata: ObjectMeta {
            name: Some(object_name.clone()),
            labels: Some(labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
            ..ObjectMeta::default()
        },
        data: json!({"revision": number, "data": data}),
    };
    let params = PostParams { field_manager: Some(META_MANAGER.to_owned()), ..PostParams::default() };
    let api = actor.revisions(&name.namespace);
    let answer = async {
        match api.create(&params, &object).await {
            Ok(_) => Ok(true),
            Err(error) if error::is_taken(&error) => Ok(false),
            Err(error) => Err(error),
        }
    };
    let doing = Doing { verb: "create", object: &revision_id(&object_name) };
    actor.cluster.call(doing, answer).await
}

struct Writer<'a> {
    actor: &'a Actor,
    name: &'a name::App,
    plan: &'a Plan,
    /// uid of the Deployment, the owner of all else.
    uid: String,
    /// resourceVersion of the Deployment after its apply.
    version: u64,
    changes: Vec<ObjectChange>,
}

impl Writer<'_> {
    async fn apply_all(&mut self) -> Result<(), Error> {
        for object in &self.plan.objects {
            self.apply(object).await?;
            // The Deployment comes first; from here on the revision has an owner and goes with it.
            if object.kind == Kind::Deployment && self.plan.record.is_some() {
                self.adopt_revisions().await?;
            }
        }
        for kind in &self.plan.prune {
            self.prune(*kind).await?;
        }
        Ok(())
    }

    async fn apply(&mut self, object: &Object) -> Result<(), Error> {
        let api = self.actor.objects(&self.name.namespace, object.kind);
        let id = object.kind.object_of(self.name);
        let mut manifest = object.manifest.clone();
        if object.kind != Kind::Deployment {
            manifest["metadata"]["ownerReferences"] = json!([self.owner()]);
        }
        let before = live::find(self.actor, object.kind, self.name).await?;
        let applied = match self.patch(&id, &api, &manifest, false).await {
            Err(Error::Conflict(conflicts))
                if self.plan.take_count && conflicts.iter().all(|c| c.field == ".spec.replicas") =>
            {
                self.patch(&id, &api, &manifest, true).await?
            }
            answer => answer?,
        };
        let version = |o: &DynamicObject| o.metadata.resource_version.clone();
        let action = match &before {
            None => Some(Action::Create),
            Some(before) if version(before) != version(&applied) => Some(Action::Update),
            Some(_) => None,
        };
        self.changes.extend(action.map(|action| ObjectChange { object: id, action }));
        if object.kind == Kind::Deployment {
            self.version = version(&applied).and_then(|v| v.parse().ok()).unwrap_or_default();
            self.uid = applied.metadata.uid.unwrap_or_default();
        }
        Ok(())
    }

    async fn patch(
        &self,
        id: &str,
        api: &kube::Api<DynamicObject>,
        manifest: &Value,
        force: bool,
    ) -> Result<DynamicObject, Error> {
        let doing = Doing { verb: "patch", object: id };
        let params = apply_params(force);
        self.actor.cluster.call(doing, api.patch(&self.name.app, &params, &Patch::Apply(manifest))).await
    }

    /// Gives the revisions that have no owner yet to the Deployment: the new one, and those of deploys that were cut off.
    async fn adopt_revisions(&self) -> Result<(), Error> {
        let api = self.actor.revisions(&self.name.namespace);
        let params = revisions_of(self.name);
        let doing = Doing { verb: "list", object: "controllerrevisions" };
        let all = self.actor.cluster.call(doing, api.list_metadata(&params)).await?;
        let unowned = all.items.into_iter().filter(|r| r.metadata.owner_references.is_none());
        for name in unowned.filter_map(|r| r.metadata.name) {
            let metadata = json!({"ownerReferences": [self.owner()]});
            self.actor.patch_revision(&self.name.namespace, &name, metadata).await?;
        }
        Ok(())
    }

    async fn prune(&mut self, kind: Kind) -> Result<(), Error> {
        let api = self.actor.objects(&self.name.namespace, kind);
        let id = kind.object_of(self.name);
        // Only the one that is ours now: another may have taken its name since the plan was made.
        let found = live::find(self.actor, kind, self.name).await?;
        let Some(uid) = found.filter(|o| live::manager(o) == MANAGER).and_then(|o| o.metadata.uid) else {
            return Ok(());
        };
        let preconditions = Some(Preconditions { uid: Some(uid), resource_version: None });
        let params = DeleteParams { preconditions, ..DeleteParams::background() };
        let answer = async { error::unless_missing(api.delete(&self.name.app, &params).await) };
        let doing = Doing { verb: "delete", object: &id };
        if self.actor.cluster.call(doing, answer).await?.is_some() {
            self.changes.push(ObjectChange { object: id, action: Action::Delete });
        }
        Ok(())
    }

    fn owner(&self) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": self.name.app, "uid": self.uid, "controller": true,
            "blockOwnerDeletion": false})
    }

    /// Says what was done before the error, if anything was.
    fn partial(self, source: Error) -> Error {
        if self.plan.record.is_none() && self.changes.is_empty() {
            return source;
        }
        let all = self.plan.objects.iter().map(|o| o.kind.object_of(self.name));
        let applied: Vec<_> = self.changes.iter().map(|c| c.object.clone()).collect();
        let not_applied = all.filter(|id| !applied.contains(id)).collect();
        Error::Partial {
            source: Box::new(source),
            rollout: self.name.rollout(self.plan.number),
            applied,
            not_applied,
        }
    }
}
