//! Our ControllerRevisions as rows.

use std::{borrow::Cow, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::Value;

use super::{Decode, annotation, created, meta, number as decode_number, or_default, resource, version};
use crate::{
    domain::{
        manifest::REVISIONS_OF,
        name, observed,
        plan::Past,
        revision::{self, Cause, End, Record},
    },
    index,
};

/// The annotation that says at which version of the Deployment everything had been applied.
pub const VERSION: &str = "gantry.dev/version";

/// The annotation that holds how a rollout ended.
pub const END: &str = "gantry.dev/end";

/// The annotation that holds what was seen when a rollout failed.
pub const EVIDENCE: &str = "gantry.dev/evidence";

/// The slim form of an apps/v1 ControllerRevision.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Revision {
    #[serde(deserialize_with = "meta")]
    metadata: ObjectMeta,
    #[serde(deserialize_with = "or_default")]
    revision: i64,
    data: Value,
}

resource!(Revision, "ControllerRevision", "apps", "controllerrevisions");

impl Revision {
    /// The revision as a change looks at it.
    pub fn past(self) -> Option<Past> {
        let (_, number) = self.key()?;
        let end = annotation(&self.metadata, END).and_then(|json| serde_json::from_str::<End>(json).ok());
        Some(Past {
            number,
            outcome: end.map(|end| end.outcome),
            applied: self.is_applied(),
            version: decode_number(&self.metadata, VERSION),
            record: serde_json::from_value(self.data).ok()?,
        })
    }

    /// The owner is set when the last object has been applied.
    fn is_applied(&self) -> bool {
        self.metadata.owner_references.as_ref().is_some_and(|owners| !owners.is_empty())
    }
}

impl Decode for Revision {
    type Row = observed::Revision;
    const KIND: index::Kind = index::Kind::Revisions;

    fn key(&self) -> Option<(name::App, u64)> {
        let app = self.metadata.labels.as_ref()?.get(REVISIONS_OF)?;
        let app = name::App::new(self.metadata.namespace.clone()?, app);
        Some((app, u64::try_from(self.revision).ok()?))
    }

    fn row(self) -> Option<observed::Revision> {
        let (app, number) = self.key()?;
        let applied = self.is_applied();
        // What a newer daemon wrote may not be readable here; it is skipped, not misread.
        let record: Record = serde_json::from_value(self.data).ok()?;
        let end = annotation(&self.metadata, END).and_then(|json| serde_json::from_str::<End>(json).ok());
        let evidence = annotation(&self.metadata, EVIDENCE).and_then(|json| serde_json::from_str(json).ok());
        Some(observed::Revision {
            evidence: evidence.map(Arc::new),
            created: match record.cause {
                // It began before it was noticed, by Kubernetes' own clock.
                Cause::External => record.time,
                Cause::Deploy | Cause::Rollback | Cause::AutoRollback | Cause::Restart => {
                    revision::began(created(&self.metadata), record.time)
                }
            },
            version: version(&self.metadata),
            end,
            applied,
            ..observed::Revision::new(app, number, record)
        })
    }
}
