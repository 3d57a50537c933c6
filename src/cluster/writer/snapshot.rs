//! What the cluster holds about an app at this moment, asked of the API server itself: writes are never decided on the index.

use std::collections::HashSet;

use kube::{
    Api, ResourceExt,
    api::{DynamicObject, ListParams, ObjectMeta},
};
use serde_json::Value;

use super::{Writer, field_ownership, other_autoscalers, revisions_of};
use crate::{
    cluster::{
        decode::{self, Decode},
        error::Doing,
    },
    domain::{
        Error,
        labels::{MANAGED_BY, MANAGER, RESTARTED, REVISION},
        managed::{Part, is_labelled, is_managed, is_part},
        name,
        object::Kind,
        observed,
        plan::{AppState, Budget, Deployment, FIELD_MANAGER, Managed, Service, StoredRevision},
        revision::{Cause, Outcome, Record, form::Form},
        rollout,
        selector::Selector,
        spec::Content,
    },
};

/// What was read of an app: in the domain's words, and as the API server gave it.
pub(super) struct Snapshot {
    pub(super) live: AppState,
    pub(super) deployment: Option<DynamicObject>,
    pub(super) service: Option<DynamicObject>,
    pub(super) budget: Option<DynamicObject>,
    /// What need not be applied: see [`super::dry_run::DryRun::same`]. Empty for what was just read.
    pub(super) same: Vec<Kind>,
}

impl Snapshot {
    pub(super) fn object(&self, kind: Kind) -> Option<&DynamicObject> {
        match kind {
            Kind::Deployment => self.deployment.as_ref(),
            Kind::Service => self.service.as_ref(),
            Kind::Budget => self.budget.as_ref(),
        }
    }

    /// The Deployment, for writes to one that exists and stays: in the domain's words, and as the API server gave it.
    pub(super) fn existing_deployment(
        &self,
        name: &name::App,
    ) -> Result<(&Deployment, &DynamicObject), Error> {
        match (&self.live.deployment, &self.deployment) {
            (Some(deployment), _) if deployment.deleting => {
                Err(Error::BeingDeleted { what: name.to_string() })
            }
            (Some(deployment), Some(object)) => Ok((deployment, object)),
            _ => Err(Error::no_app(name)),
        }
    }
}

/// Reads everything that a plan looks at.
pub(super) async fn read_snapshot(actor: &Writer, name: &name::App) -> Result<Snapshot, Error> {
    let (deployment, service, (budget, other_budgets), mut past, foreign) = tokio::try_join!(
        get_object(actor, Kind::Deployment, name),
        get_object(actor, Kind::Service, name),
        budgets(actor, name),
        revisions(actor, name),
        other_autoscalers::find_autoscaler(actor, name),
    )?;
    let mut known = deployment.as_ref().map(|object| to_deployment(object, &past));
    // A revision is written before its Deployment, and the two were read in any order: one that seems to be missing is looked for once more.
    if let Some(object) =
        deployment.as_ref().filter(|_| known.as_ref().is_some_and(|d| lacks_revision(d, &past)))
    {
        past = revisions(actor, name).await?;
        known = Some(to_deployment(object, &past));
    }
    let lost =
        deployment.as_ref().zip(known.as_ref()).and_then(|(object, d)| lost_revision(object, d, &past));
    past.extend(lost);
    let owner = known.as_ref().map_or_else(Owner::default, |d| Owner {
        uid: d.uid.clone(),
        restored: d.managed == Managed::WithoutFields,
    });
    let live = AppState {
        deployment: known,
        service: service.as_ref().map(|object| to_service(object, &owner)),
        budget: budget.as_ref().map(|object| Budget {
            managed_by: manager_of(object, &owner),
            selector: selector(object).unwrap_or_default(),
        }),
        other_budgets,
        revisions: past,
        other_autoscaler: foreign,
    };
    Ok(Snapshot { live, deployment, service, budget, same: Vec::new() })
}

/// Whether a Deployment tells of a revision that is not among these.
fn lacks_revision(deployment: &Deployment, past: &[StoredRevision]) -> bool {
    let newest = past.last().map_or(0, |past| past.number);
    deployment.managed_by == MANAGER && (!deployment.is_ours() || deployment.revision > Some(newest))
}

/// The revision that was applied last, if it was deleted since: what the Deployment runs, as far as the API has words for it, over what the
/// one before it says. Without it a change would bring back the version before. A number that was only written by hand is none.
fn lost_revision(
    object: &DynamicObject,
    deployment: &Deployment,
    past: &[StoredRevision],
) -> Option<StoredRevision> {
    let (number, newest) = (deployment.revision?, past.last()?);
    if !deployment.is_ours()
        || number <= newest.number
        || !field_ownership::owns_field(object, &["metadata", "annotations", REVISION])
    {
        return None;
    }
    let requested = past.iter().rev().find(|past| past.record.cause != Cause::External).unwrap_or(newest);
    let content = &requested.record.content;
    let content = Content {
        spec: rollout::with_template_changes(&content.spec, &deployment.content.spec),
        ..content.clone()
    };
    let record = Record::new(Cause::Deploy, content, String::new(), String::new(), newest.record.time);
    Some(StoredRevision {
        number,
        record: Record { restarted: deployment.restarted, ..record },
        // How it ended is not known: nothing goes back to it, and nothing waits for it.
        outcome: Some(Outcome::Superseded),
        applied: true,
        owner: Some(deployment.uid.clone()),
        version: None,
        form: Form::Text,
    })
}

/// One object, or nothing.
pub(super) async fn get_object(
    actor: &Writer,
    kind: Kind,
    name: &name::App,
) -> Result<Option<DynamicObject>, Error> {
    let api = actor.objects(&name.namespace, kind);
    let doing = Doing { verb: "get", object: &kind.object_of(name) };
    actor.cluster.call(doing, api.get_opt(&name.app)).await
}

/// The budget of the app's name, and the selectors of all others in the namespace.
async fn budgets(actor: &Writer, name: &name::App) -> Result<(Option<DynamicObject>, Vec<Selector>), Error> {
    let api = actor.objects(&name.namespace, Kind::Budget);
    let doing = Doing { verb: "list", object: "poddisruptionbudgets" };
    let all = actor.cluster.call(doing, api.list(&ListParams::default())).await?;
    let (own, others): (Vec<_>, Vec<_>) =
        all.items.into_iter().partition(|budget| budget.metadata.name.as_deref() == Some(&name.app));
    Ok((own.into_iter().next(), others.iter().filter_map(selector).collect()))
}

fn selector(budget: &DynamicObject) -> Option<Selector> {
    budget.data["spec"].get("selector").filter(|s| s.is_object()).map(Selector::from_structured)
}

/// Every revision of an app, the newest last.
async fn revisions(actor: &Writer, name: &name::App) -> Result<Vec<StoredRevision>, Error> {
    let api = Api::<decode::Revision>::namespaced(actor.cluster.client.clone(), &name.namespace);
    let params = revisions_of(name);
    let doing = Doing { verb: "list", object: "controllerrevisions" };
    let all = actor.cluster.call(doing, api.list(&params)).await?;
    let mut past = Vec::with_capacity(all.items.len());
    for object in all.items {
        let Some((_, number)) = object.key() else { continue };
        // Deploying over what cannot be read would lose it.
        let unreadable = || Error::NotImplemented {
            what: format!("reading {}, which a newer server wrote,", name.rollout(number)),
        };
        past.push(object.past().ok_or_else(unreadable)?);
    }
    past.sort_by_key(|past| past.number);
    Ok(past)
}

/// The Deployment of a Service or budget.
#[derive(Default)]
pub(super) struct Owner {
    pub(super) uid: String,
    /// A backup brought it back.
    pub(super) restored: bool,
}

/// Who made a Service or budget: this server, or who its label says, or nobody that is known, if it only has our labels.
pub(super) fn manager_of(object: &DynamicObject, owner: &Owner) -> String {
    let ObjectMeta { name, labels, .. } = &object.metadata;
    let part = Part {
        labelled: name.as_ref().zip(labels.as_ref()).is_some_and(|(name, labels)| is_labelled(name, labels)),
        owned: is_owned(object, owner),
        applied: !field_ownership::owns_no_fields(object),
    };
    if is_part(part, owner.restored) {
        return MANAGER.to_owned();
    }
    labelled_by(object).filter(|by| *by != MANAGER).cloned().unwrap_or_default()
}

/// Whether an object goes with this Deployment.
pub(super) fn is_owned(object: &DynamicObject, owner: &Owner) -> bool {
    object.owner_references().iter().any(|reference| reference.uid == owner.uid)
}

fn labelled_by(object: &DynamicObject) -> Option<&String> {
    object.metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY))
}

/// Version of an object.
pub(super) fn resource_version(object: &DynamicObject) -> u64 {
    decode::version(&object.metadata)
}

fn to_deployment(object: &DynamicObject, revisions: &[StoredRevision]) -> Deployment {
    let spec = &object.data["spec"];
    let labels = |value: &Value| serde_json::from_value(value.clone()).unwrap_or_default();
    let row = |object: &DynamicObject| {
        let json = serde_json::to_value(object).ok()?;
        serde_json::from_value::<decode::Deployment>(json).ok()?.row()
    };
    let mut found = row(object);
    let ours =
        found.as_ref().is_some_and(|f| is_managed(f.subject(), revisions.iter().map(StoredRevision::claim)));
    if !ours && found.as_ref().is_some_and(observed::Deployment::is_labelled) {
        // Without our label it is read as what others made is: with all that the API has no words for.
        let mut bare = object.clone();
        bare.metadata.labels.iter_mut().for_each(|labels| drop(labels.remove(MANAGED_BY)));
        found = row(&bare);
    }
    let row = found;
    let content = row.as_ref().map(|row| Content::of_unmanaged(&row.labels, &row.spec));
    Deployment {
        managed_by: labelled_by(object).cloned().unwrap_or_default(),
        managed: match (ours, field_ownership::owns_no_fields(object)) {
            (true, false) => Managed::Yes,
            (true, true) => Managed::WithoutFields,
            (false, _) => Managed::No,
        },
        uid: object.metadata.uid.clone().unwrap_or_default(),
        deleting: object.metadata.deletion_timestamp.is_some(),
        orphans: row.as_ref().is_some_and(|row| row.orphans),
        paused: spec["paused"] == Value::Bool(true),
        replicas: spec["replicas"].as_i64().and_then(|n| n.try_into().ok()).unwrap_or(1),
        replica_owners: replica_owners(object),
        scaling: decode::decode_scaling(&object.metadata, &spec["template"]),
        restarted: spec["template"]["metadata"]["annotations"][RESTARTED]
            .as_str()
            .and_then(|t| t.parse().ok()),
        selector: labels(&spec["selector"]["matchLabels"]),
        content: content.unwrap_or_default(),
        unmodelled: row.as_ref().map(|row| row.unmodelled.clone()).unwrap_or_default(),
        revision: row.as_ref().and_then(|row| row.revision),
        template_revision: row.as_ref().map_or(0, |row| row.template_revision),
    }
}

fn to_service(object: &DynamicObject, owner: &Owner) -> Service {
    let ours = owned_ports(object);
    let all = object.data["spec"]["ports"].as_array().into_iter().flatten();
    let foreign = all.filter_map(|port| {
        let number = u16::try_from(port["port"].as_u64()?).ok()?;
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        let name = port["name"].as_str().unwrap_or_default().to_owned();
        (!ours.contains(&(number, protocol.to_owned()))).then_some((name, number))
    });
    Service {
        managed_by: manager_of(object, owner),
        owned: is_owned(object, owner),
        other_ports: foreign.collect(),
    }
}

/// Ports of a Service that this server manages, by number and protocol.
fn owned_ports(object: &DynamicObject) -> HashSet<(u16, String)> {
    let entries = object.metadata.managed_fields.as_deref().unwrap_or_default();
    let ours = entries.iter().filter(|e| e.manager.as_deref() == Some(FIELD_MANAGER));
    let keys = ours
        .filter_map(|entry| entry.fields_v1.as_ref()?.0.pointer("/f:spec/f:ports")?.as_object())
        .flat_map(|ports| ports.keys());
    keys.filter_map(|key| serde_json::from_str::<Value>(key.strip_prefix("k:")?).ok())
        .filter_map(|key| {
            Some((u16::try_from(key["port"].as_u64()?).ok()?, key["protocol"].as_str()?.to_owned()))
        })
        .collect()
}

/// Field managers that own `spec.replicas`, as the managed fields say.
fn replica_owners(object: &DynamicObject) -> Vec<String> {
    let entries = object.metadata.managed_fields.as_deref().unwrap_or_default();
    let owns = |fields: &Value| fields.pointer("/f:spec/f:replicas").is_some();
    entries
        .iter()
        .filter(|entry| entry.fields_v1.as_ref().is_some_and(|f| owns(&f.0)))
        .map(|entry| entry.manager.clone().unwrap_or_default())
        .collect()
}
