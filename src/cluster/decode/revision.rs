//! Decodes Gantry's ControllerRevisions: into rows of the index, and into `plan::StoredRevision` for the
//! writer. Owns the keys of their annotations.

use std::{borrow::Cow, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Decode, annotation, created, decode_meta, or_default, parse_annotation, parse_resource_version, resource,
};
use crate::{
    domain::{
        labels::REVISIONS_OF_LABEL,
        name, observed,
        plan::StoredRevision,
        revision::{self, Cause, End, Record, form},
        spec::Content,
    },
    index,
};

/// The annotation that marks a revision as applied, or as replaced by a later one. Its value is the uid of
/// the Deployment.
pub const APPLIED_TO_ANNOTATION: &str = "gantry.dev/applied-to";

/// The annotation with the resourceVersion of the Deployment at which everything had been applied.
pub const VERSION_ANNOTATION: &str = "gantry.dev/version";

/// The annotation that stores the verdict of the rollout.
pub const VERDICT_ANNOTATION: &str = "gantry.dev/end";

/// The annotation with the last caller's spelling of the content; see [`revision::spelling`].
pub const SPELLING_ANNOTATION: &str = "gantry.dev/spelling";

/// The annotation that stores the evidence of a failed rollout.
pub const EVIDENCE_ANNOTATION: &str = "gantry.dev/evidence";

/// The annotation that says that the ports which only earlier replicas needed were removed from the Service.
pub const PORTS_REMOVED_ANNOTATION: &str = "gantry.dev/earlier-ports-removed";

/// The slim form of an apps/v1 ControllerRevision.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Revision {
    #[serde(deserialize_with = "decode_meta")]
    metadata: ObjectMeta,
    #[serde(deserialize_with = "or_default")]
    revision: i64,
    data: Value,
}

resource!(Revision, "ControllerRevision", "apps", "controllerrevisions");

impl Revision {
    /// Returns the revision in the form that a change needs.
    pub fn into_stored(self) -> Option<StoredRevision> {
        let (_, number) = self.key()?;
        let end = end(&self.metadata);
        let owner = owner(&self.metadata);
        // With the uid of its Deployment, so that `AppState::position_of` can reject a version of another
        // cluster or of an earlier Deployment.
        let version = parse_annotation(&self.metadata, VERSION_ANNOTATION);
        let version = version.zip(annotation(&self.metadata, APPLIED_TO_ANNOTATION).or(owner.as_deref()));
        let version = version.map(|(version, uid)| (uid.to_owned(), version));
        let (mut record, form) = form::from_data(self.data)?;
        let spelled = spelled(&self.metadata, &record);
        let written = spelled.map(|spelled| Box::new(std::mem::replace(&mut record.content, spelled)));
        Some(StoredRevision {
            written,
            number,
            untried: end.as_ref().is_some_and(End::is_untried),
            outcome: end.map(|end| end.outcome),
            applied: is_applied(&self.metadata, &record),
            owner,
            version,
            form,
            ports_removed: has_removed_ports(&self.metadata),
            record,
        })
    }
}

/// uid of the Deployment that owns a revision. A StatefulSet may have adopted a revision that had lost its
/// owner. Such an owner is ignored.
fn owner(metadata: &ObjectMeta) -> Option<String> {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().find(|owner| owner.kind == "Deployment").map(|owner| owner.uid.clone())
}

/// The verdict, once there is one.
fn end(metadata: &ObjectMeta) -> Option<End> {
    serde_json::from_str(annotation(metadata, VERDICT_ANNOTATION)?).ok()
}

/// Whether the ports that only earlier replicas needed were removed from the Service.
fn has_removed_ports(metadata: &ObjectMeta) -> bool {
    annotation(metadata, PORTS_REMOVED_ANNOTATION).is_some()
}

/// The content in the last caller's spelling, if that differs from the record's.
fn spelled(metadata: &ObjectMeta, record: &Record) -> Option<Content> {
    revision::spelling::from_annotation(&record.content, annotation(metadata, SPELLING_ANNOTATION)?)
}

/// Whether a revision was carried out, or no longer needs to be. Earlier versions marked it by the owner and
/// the version alone. An owner reference disappears with its Deployment and is not restored from a backup.
fn is_applied(metadata: &ObjectMeta, record: &Record) -> bool {
    let says = |key| annotation(metadata, key).is_some();
    owner(metadata).is_some()
        || says(APPLIED_TO_ANNOTATION)
        || says(VERSION_ANNOTATION)
        || !revision::is_to_be_applied(record, created(metadata))
}

impl Decode for Revision {
    type Row = observed::Revision;
    const KIND: index::Kind = index::Kind::Revisions;

    fn key(&self) -> Option<(name::App, u64)> {
        let app = self.metadata.labels.as_ref()?.get(REVISIONS_OF_LABEL)?;
        let app = name::App::new(self.metadata.namespace.clone()?, app);
        Some((app, u64::try_from(self.revision).ok()?))
    }

    fn into_row(self) -> Option<observed::Revision> {
        let (app, number) = self.key()?;
        // A record that a newer gantryd wrote may not be readable here. It is skipped, not misread.
        let (mut record, form) = form::from_data(self.data)?;
        if let Some(spelled) = spelled(&self.metadata, &record) {
            record.content = spelled;
        }
        let (applied, owner) = (is_applied(&self.metadata, &record), owner(&self.metadata));
        let end = end(&self.metadata);
        let evidence =
            annotation(&self.metadata, EVIDENCE_ANNOTATION).and_then(|json| serde_json::from_str(json).ok());
        Some(observed::Revision {
            evidence: evidence.map(Arc::new),
            created: match record.cause {
                // The change began before it was noticed. The record has the time by Kubernetes' clock.
                Cause::External => record.time,
                Cause::Deploy | Cause::Rollback | Cause::AutoRollback | Cause::Restart => {
                    let end = end.as_ref().map(|end| end.time);
                    revision::began_at(created(&self.metadata), record.time, end)
                }
            },
            version: parse_resource_version(&self.metadata),
            end,
            applied,
            owner: owner.map(Into::into),
            form,
            keeps_ports: !has_removed_ports(&self.metadata) && !record.earlier_ports.is_empty(),
            ..observed::Revision::new(app, number, record)
        })
    }
}
