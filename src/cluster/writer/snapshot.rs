//! Reads the current objects of an app from the API server. Writes are never decided on the index.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::{
    ResourceExt,
    api::{DynamicObject, ListParams, ObjectMeta},
};
use serde_json::Value;

use super::{
    managed_fields,
    objects::{Writer, resource_version},
    other_autoscalers::find_autoscaler,
    revisions::list_revisions,
};
use crate::{
    cluster::decode::{self, Decode},
    domain::{
        Error,
        labels::{MANAGED_BY_LABEL, MANAGER, RESTARTED_AT_ANNOTATION, REVISION_ANNOTATION},
        managed::{Part, is_labelled, is_managed, is_part},
        name,
        object::Kind,
        observed,
        plan::{AppState, Budget, Deployment, Managed, Service, StoredRevision},
        revision::{Cause, Outcome, Record, form::Form},
        rollout,
        selector::Selector,
        service_ports::{ServicePort, Target},
        spec::Content,
    },
};

/// A snapshot of an app's objects: the parsed state, and the objects as the API server returned them.
pub(super) struct Snapshot {
    pub(super) state: AppState,
    pub(super) deployment: Option<DynamicObject>,
    pub(super) service: Option<DynamicObject>,
    pub(super) budget: Option<DynamicObject>,
    /// Objects that need not be applied because the dry run showed no change; empty after a read.
    pub(super) unchanged: Vec<Kind>,
}

impl Snapshot {
    pub(super) fn object(&self, kind: Kind) -> Option<&DynamicObject> {
        match kind {
            Kind::Deployment => self.deployment.as_ref(),
            Kind::Service => self.service.as_ref(),
            Kind::Budget => self.budget.as_ref(),
        }
    }

    /// Returns those of the kinds whose objects were not written since an earlier snapshot.
    pub(super) fn same_as_in(&self, earlier: &Self, mut kinds: Vec<Kind>) -> Vec<Kind> {
        let version = |snapshot: &Self, kind| snapshot.object(kind).map(resource_version);
        kinds.retain(|kind| version(self, *kind) == version(earlier, *kind));
        kinds
    }

    /// Returns the Deployment, for writes to one that exists and is not being deleted: as parsed state and as
    /// the API server returned it.
    pub(super) fn existing_deployment(
        &self,
        name: &name::App,
    ) -> Result<(&Deployment, &DynamicObject), Error> {
        match (&self.state.deployment, &self.deployment) {
            (Some(deployment), _) if deployment.deleting => {
                Err(Error::BeingDeleted { what: name.to_string() })
            }
            (Some(deployment), Some(object)) => Ok((deployment, object)),
            _ => Err(Error::no_app(name)),
        }
    }
}

/// How long to wait each time before a Deployment and its revisions are read again, if they do not fit
/// together.
const REREADS: [Duration; 3] = [Duration::ZERO, Duration::from_millis(100), Duration::from_millis(400)];

/// The age of a Deployment up to which its revision may still be on its way: a deletion of the app removed it
/// before the Deployment was there, and the deploy writes it again.
const YOUNG: SignedDuration = SignedDuration::from_secs(30);

/// Reads everything that a plan depends on.
pub(super) async fn read_snapshot(writer: &Writer, name: &name::App) -> Result<Snapshot, Error> {
    let (mut deployment, service, (budget, other_budgets), mut past, other_autoscaler) = tokio::try_join!(
        writer.get_object(Kind::Deployment, name),
        writer.get_object(Kind::Service, name),
        list_budgets(writer, name),
        list_revisions(writer, name),
        find_autoscaler(writer, name),
    )?;
    let mut known = deployment.as_ref().map(|object| to_deployment(object, &past));
    // A revision is written before its Deployment and deleted with it, but the two were read in no fixed
    // order. A revision that seems to be missing may have been written since, may have been deleted with the
    // Deployment, or may belong to the next Deployment of the same name.
    for wait in REREADS {
        let lacks = known.as_ref().is_some_and(|deployment| lacks_revision(deployment, &past));
        let young = deployment.as_ref().and_then(ResourceExt::creation_timestamp);
        let young = young.is_some_and(|time| Timestamp::now().duration_since(time.0) < YOUNG);
        if !lacks || !(wait.is_zero() || young) {
            break;
        }
        tokio::time::sleep(wait).await;
        past = list_revisions(writer, name).await?;
        deployment = writer.get_object(Kind::Deployment, name).await?;
        known = deployment.as_ref().map(|object| to_deployment(object, &past));
    }
    let lost =
        deployment.as_ref().zip(known.as_ref()).and_then(|(object, d)| lost_revision(object, d, &past));
    past.extend(lost);
    let owner = known.as_ref().map_or_else(Owner::default, |d| Owner {
        uid: d.uid.clone(),
        restored: d.managed == Managed::WithoutFields,
    });
    let state = AppState {
        deployment: known,
        service: service.as_ref().map(|object| to_service(object, &owner)),
        budget: budget.as_ref().map(|object| Budget {
            managed_by: manager_of(object, &owner),
            selector: selector(object).unwrap_or_default(),
        }),
        other_budgets,
        revisions: past,
        other_autoscaler,
    };
    Ok(Snapshot { state, deployment, service, budget, unchanged: Vec::new() })
}

/// Whether the Deployment refers to a revision that is not among these.
fn lacks_revision(deployment: &Deployment, past: &[StoredRevision]) -> bool {
    let newest = past.last().map_or(0, |past| past.number);
    deployment.managed_by == MANAGER && (!deployment.is_ours() || deployment.revision > Some(newest))
}

/// Reconstructs the revision that was applied last, if it was deleted since. Its content is what the
/// Deployment runs, as far as the API models it, over the content of the revision before. Without it a change
/// would bring back the version before. A revision number that was only written by hand is ignored.
fn lost_revision(
    object: &DynamicObject,
    deployment: &Deployment,
    past: &[StoredRevision],
) -> Option<StoredRevision> {
    let (number, newest) = (deployment.revision?, past.last()?);
    if !deployment.is_ours()
        || number <= newest.number
        || !managed_fields::owns_field(object, &["metadata", "annotations", REVISION_ANNOTATION])
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
        written: None,
        // Its outcome is unknown, so no rollback goes back to it and no call waits for it.
        outcome: Some(Outcome::Superseded),
        untried: false,
        applied: true,
        owner: Some(deployment.uid.clone()),
        version: None,
        form: Form::Text,
        ports_removed: false,
    })
}

/// Returns the PodDisruptionBudget of the app's name, and the selectors of all others in the namespace.
async fn list_budgets(
    writer: &Writer,
    name: &name::App,
) -> Result<(Option<DynamicObject>, Vec<Selector>), Error> {
    let all = writer.objects(&name.namespace, Kind::Budget).list(&ListParams::default()).await?;
    let (own, others): (Vec<_>, Vec<_>) =
        all.items.into_iter().partition(|budget| budget.metadata.name.as_deref() == Some(&name.app));
    Ok((own.into_iter().next(), others.iter().filter_map(selector).collect()))
}

fn selector(budget: &DynamicObject) -> Option<Selector> {
    budget.data["spec"].get("selector").filter(|s| s.is_object()).map(Selector::from_structured)
}

/// The Deployment that owns a Service or PodDisruptionBudget.
#[derive(Default)]
pub(super) struct Owner {
    pub(super) uid: String,
    /// Whether it was restored from a backup.
    pub(super) restored: bool,
}

/// Returns the manager of a Service or PodDisruptionBudget: Gantry, or the manager that the label names, or
/// an empty string if the object only has copied labels of Gantry.
pub(super) fn manager_of(object: &DynamicObject, owner: &Owner) -> String {
    let ObjectMeta { name, labels, .. } = &object.metadata;
    let part = Part {
        labelled: name.as_ref().zip(labels.as_ref()).is_some_and(|(name, labels)| is_labelled(name, labels)),
        owned: is_owned(object, owner),
        applied: !managed_fields::has_no_apply_entry(object),
    };
    if is_part(part, owner.restored) {
        return MANAGER.to_owned();
    }
    labelled_by(object).filter(|by| *by != MANAGER).cloned().unwrap_or_default()
}

/// Whether this Deployment owns the object.
pub(super) fn is_owned(object: &DynamicObject, owner: &Owner) -> bool {
    object.owner_references().iter().any(|reference| reference.uid == owner.uid)
}

fn labelled_by(object: &DynamicObject) -> Option<&String> {
    object.metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY_LABEL))
}

fn to_deployment(object: &DynamicObject, revisions: &[StoredRevision]) -> Deployment {
    let spec = &object.data["spec"];
    let labels = |value: &Value| serde_json::from_value(value.clone()).unwrap_or_default();
    let row = |object: &DynamicObject| {
        let json = serde_json::to_value(object).ok()?;
        serde_json::from_value::<decode::Deployment>(json).ok()?.into_row()
    };
    let mut found = row(object);
    let ours =
        found.as_ref().is_some_and(|f| is_managed(f.subject(), revisions.iter().map(StoredRevision::claim)));
    if !ours && found.as_ref().is_some_and(observed::Deployment::is_labelled) {
        // Without its label the Deployment is read as one that is not managed by Gantry, together with all
        // fields that the API does not model.
        let mut bare = object.clone();
        bare.metadata.labels.iter_mut().for_each(|labels| drop(labels.remove(MANAGED_BY_LABEL)));
        found = row(&bare);
    }
    let row = found;
    let content = row.as_ref().map(|row| Content::of_unmanaged(&row.labels, &row.spec));
    Deployment {
        managed_by: labelled_by(object).cloned().unwrap_or_default(),
        managed: match (ours, managed_fields::has_no_apply_entry(object)) {
            (true, false) => Managed::Yes,
            (true, true) => Managed::WithoutFields,
            (false, _) => Managed::No,
        },
        uid: object.metadata.uid.clone().unwrap_or_default(),
        deleting: object.metadata.deletion_timestamp.is_some(),
        orphans: row.as_ref().is_some_and(|row| row.orphans),
        paused: spec["paused"] == Value::Bool(true),
        all_ready: is_all_ready(object),
        replicas: spec["replicas"].as_i64().and_then(|n| n.try_into().ok()).unwrap_or(1),
        replica_owners: managed_fields::replica_owners(object),
        scaling: decode::decode_scaling(&object.metadata, &spec["template"]),
        restarted: spec["template"]["metadata"]["annotations"][RESTARTED_AT_ANNOTATION]
            .as_str()
            .and_then(|t| t.parse().ok()),
        selector: labels(&spec["selector"]["matchLabels"]),
        content: content.unwrap_or_default(),
        unmodelled: row.as_ref().map(|row| row.unmodelled.clone()).unwrap_or_default(),
        revision: row.as_ref().and_then(|row| row.revision),
        template_revision: row.as_ref().map_or(0, |row| row.template_revision),
    }
}

fn is_all_ready(object: &DynamicObject) -> bool {
    let (spec, status) = (&object.data["spec"], &object.data["status"]);
    let count = |key: &str| status[key].as_i64().unwrap_or_default();
    let wanted = spec["replicas"].as_i64().unwrap_or(1);
    let current = object.metadata.generation.is_none_or(|g| count("observedGeneration") >= g);
    current && ["replicas", "updatedReplicas", "readyReplicas"].iter().all(|key| count(key) == wanted)
}

fn to_service(object: &DynamicObject, owner: &Owner) -> Service {
    let managed_by = manager_of(object, owner);
    let (ours, others) = managed_fields::owned_ports(object);
    // A Service that was restored from a backup names only the client that restored it.
    let restored = managed_by == MANAGER && managed_fields::has_no_apply_entry(object);
    let port = |port: &Value| {
        let number = u16::try_from(port["port"].as_u64()?).ok()?;
        let protocol = port["protocol"].as_str().unwrap_or("TCP").to_owned();
        let key = (number, protocol.clone());
        let target = &port["targetPort"];
        let target = match target.as_str() {
            Some(name) => Target::Name(name.to_owned()),
            None => Target::Number(target.as_u64().and_then(|n| n.try_into().ok()).unwrap_or(number)),
        };
        Some(ServicePort {
            name: port["name"].as_str().unwrap_or_default().to_owned(),
            number,
            protocol,
            target,
            ours: restored || ours.contains(&key),
            // A port that no entry names was made by a client that is not tracked.
            others: others.contains(&key) || !ours.contains(&key),
        })
    };
    let all = object.data["spec"]["ports"].as_array().into_iter().flatten();
    Service { managed_by, owned: is_owned(object, owner), ports: all.filter_map(port).collect() }
}
