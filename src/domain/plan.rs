//! Decides what a change does, from the request and the state of the cluster. Pure: the caller reads and
//! writes the cluster.
//!
//! A change has two steps. First, an [`Intent`] is decided from the request and stored as a revision. Then
//! the objects to apply are rendered from the intent and the current state of the cluster. If the daemon
//! stops between the two, the next one finds the revision and finishes the change.

mod decide;
mod ports;
mod refusal;
mod render;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

pub use self::{
    decide::{
        as_new_rollout, check_etag, decide_deploy, decide_restart, decide_rollback, find_request, intent_of,
        is_superseded, rewrite_stuck,
    },
    ports::{PortRemoval, find_port_removal},
    refusal::name_request_fields,
    render::{Rendered, ServiceWrite, render_objects, render_port_removal},
};
use super::{
    Error,
    change::{Action, Change},
    check::Check,
    labels::APP_LABEL,
    managed::Claim,
    name,
    object::Kind,
    revision::{Cause, Outcome, Record, form::Form},
    scaling::Scaling,
    selector::Selector,
    service_ports::ServicePort,
    spec::Content,
};
use crate::autoscale::Policy;

/// The field manager of everything that a deploy sets. It must never change: fields set so far would stay
/// owned by the old name, and no later apply could remove them.
pub const FIELD_MANAGER: &str = "gantry";

/// How long a repeated request gets the same answer as the first one.
const REPEATABLE: SignedDuration = SignedDuration::from_hours(1);

/// The state of an app in the cluster before a change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AppState {
    /// The Deployment of this name.
    pub deployment: Option<Deployment>,
    /// The Service of this name.
    pub service: Option<Service>,
    /// The PodDisruptionBudget of this name.
    pub budget: Option<Budget>,
    /// Selectors of every other PodDisruptionBudget in the namespace.
    pub other_budgets: Vec<Selector>,
    /// All revisions, oldest first.
    pub revisions: Vec<StoredRevision>,
    /// The external autoscaler that targets the app, if there is one, for example
    /// `horizontalpodautoscaler.autoscaling/shop`.
    pub other_autoscaler: Option<String>,
}

/// The facts about the Deployment that a change needs.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(clippy::struct_excessive_bools)] // independent facts, each true or false in Kubernetes too
pub struct Deployment {
    /// The tool that made it, for example `gantry` or `helm`; empty if unknown.
    pub managed_by: String,
    /// Whether Gantry manages it.
    pub managed: Managed,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether it is being deleted without its dependents (`--cascade=orphan`).
    pub orphans: bool,
    /// Whether its rollout is paused.
    pub paused: bool,
    /// Whether every replica that it asks for is ready and of its pod template.
    pub all_ready: bool,
    /// The replica count.
    pub replicas: i32,
    /// Field managers that own the replica count.
    pub replica_owners: Vec<String>,
    /// The autoscaler policy and hold in its annotations.
    pub scaling: Scaling,
    /// When Gantry last restarted its replicas.
    pub restarted: Option<Timestamp>,
    /// Labels that its selector requires. The selector is immutable.
    pub selector: BTreeMap<String, String>,
    /// Its content, as far as `AppSpec` has fields for it.
    pub content: Content,
    /// Paths of its fields that `AppSpec` cannot express.
    pub unmodelled: Vec<String>,
    /// Its uid, which distinguishes it from an earlier Deployment of the same name.
    pub uid: String,
    /// The revision that was applied last, as its annotation says.
    pub revision: Option<u64>,
    /// The number that Kubernetes gave the pod template (`deployment.kubernetes.io/revision`).
    pub template_revision: u64,
}

/// Whether Gantry manages a Deployment, by the rule of [`crate::domain::managed`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Managed {
    /// Gantry manages it.
    Yes,
    /// Gantry manages it, but Gantry's field manager owns no field of it. The Deployment was recreated
    /// outside Gantry, for example from a backup or with kubectl.
    WithoutFields,
    /// Gantry does not manage it.
    #[default]
    No,
}

/// The facts about the Service that a change needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// The tool that made it, for example `gantry` or `helm`; empty if unknown.
    pub managed_by: String,
    /// Whether the present Deployment owns it. A Service left over from an earlier Deployment, which was
    /// deleted without it, must not be deleted.
    pub owned: bool,
    /// Its ports.
    pub ports: Vec<ServicePort>,
}

/// The facts about the PodDisruptionBudget of the app's name that a change needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// The tool that made it, for example `gantry` or `helm`; empty if unknown.
    pub managed_by: String,
    /// Selects the pods that it covers.
    pub selector: Selector,
}

/// A revision as it is stored in the cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRevision {
    /// Its number.
    pub number: u64,
    /// Its content, in the spelling of the last caller.
    pub record: Record,
    /// The content as the record has it, if the last caller spelled it otherwise.
    pub written: Option<Box<Content>>,
    /// How its rollout ended; `None` while it runs.
    pub outcome: Option<Outcome>,
    /// Whether it succeeded and none of its replicas ever ran. Then it is no version to go back to.
    pub untried: bool,
    /// Whether it was applied completely, or a later revision superseded it.
    pub applied: bool,
    /// uid of the Deployment that owns it. `None` if it never had an owner, or lost it.
    pub owner: Option<String>,
    /// uid of the Deployment to which it was applied, and the resourceVersion of the Deployment after the
    /// last write.
    pub version: Option<(String, u64)>,
    /// How its record is stored.
    pub form: Form,
    /// Whether the ports that only earlier replicas needed were removed from the Service after it.
    pub ports_removed: bool,
}

/// A change that has been decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Intent {
    /// The app.
    pub name: name::App,
    /// The number of its revision.
    pub number: u64,
    /// The content of the revision.
    pub record: Record,
    /// Checks to report in addition to those made against the cluster.
    pub notes: Vec<Check>,
    /// Whether the revision has yet to be written. If not, it is the newest existing revision, and nothing is
    /// expected to change.
    pub is_new: bool,
}

// === impl AppState ===

impl AppState {
    /// The newest revision.
    pub fn newest(&self) -> Option<&StoredRevision> {
        self.revisions.last()
    }

    /// Returns the number of the newest revision; zero if there is none.
    pub fn newest_number(&self) -> u64 {
        self.newest().map_or(0, |past| past.number)
    }

    /// Returns the newest revision that a caller asked for. A deploy that names only some fields starts from
    /// it.
    ///
    /// If the Deployment does not exist, the app does not exist, even if revisions remain: those of an
    /// earlier Deployment say nothing about the next one of its name. The exception is a revision that has
    /// not been carried out yet and creates the Deployment.
    pub fn last_requested(&self) -> Option<&StoredRevision> {
        let is_asked = |past: &&StoredRevision| past.record.cause != Cause::External;
        // A Deployment restored from a backup runs the revision that its annotation names. Later revisions do
        // not apply to it.
        let restored = self.deployment.as_ref().filter(|d| d.managed == Managed::WithoutFields);
        let runs = |past: &&StoredRevision| restored.is_some_and(|d| d.revision == Some(past.number));
        let named = self.revisions.iter().filter(is_asked).find(runs);
        let asked = named.or_else(|| self.revisions.iter().rev().find(is_asked));
        asked.filter(|past| match &self.deployment {
            Some(deployment) => deployment.is_ours() || !past.applied,
            None => !past.applied && past.creates(),
        })
    }

    /// Returns the highest rollout number of the app: the number of the newest revision, or the number in the
    /// Deployment's annotation if those revisions are gone. An app that Gantry does not manage has rollouts
    /// too, numbered as Kubernetes numbers pod templates.
    pub fn highest_number(&self) -> u64 {
        let of_deployment = self.deployment.as_ref().map_or(0, |d| {
            let unmanaged = if d.is_ours() { 0 } else { d.template_revision };
            d.revision.unwrap_or_default().max(unmanaged)
        });
        self.newest_number().max(of_deployment)
    }

    /// Returns the tool that made the app's object of this kind, if the object exists.
    pub fn made_by(&self, kind: Kind) -> Option<&str> {
        match kind {
            Kind::Deployment => self.deployment.as_ref().map(|d| d.managed_by.as_str()),
            Kind::Service => self.service.as_ref().map(|s| s.managed_by.as_str()),
            Kind::Budget => self.budget.as_ref().map(|b| b.managed_by.as_str()),
        }
    }

    /// Returns the resourceVersion of the Deployment at which a revision was applied, if that Deployment
    /// still exists.
    pub fn position_of(&self, past: &StoredRevision) -> Option<u64> {
        let (uid, version) = past.version.as_ref()?;
        self.deployment.as_ref().filter(|d| d.uid == *uid).map(|_| *version)
    }

    /// Returns an error that names the external autoscaler, if one controls the replica count.
    pub fn check_no_other_autoscaler(&self, name: &name::App) -> Result<(), Error> {
        match &self.other_autoscaler {
            Some(object) => Err(Error::ForeignAutoscaler { app: name.to_string(), object: object.clone() }),
            None => Ok(()),
        }
    }

    /// Returns the last autoscaler policy in force while this revision was the newest, which the next
    /// revision stores. `None` if it was not stored.
    pub fn policy_of(&self, number: u64) -> Option<Policy> {
        match self.revisions.iter().find(|past| past.number > number) {
            Some(next) => next.record.autoscaler.clone(),
            None => Some(self.policy()),
        }
    }

    /// Returns the current policy of the app's autoscaler.
    pub fn policy(&self) -> Policy {
        self.deployment.as_ref().map(|d| (*d.scaling.policy()).clone()).unwrap_or_default()
    }

    /// Returns the numbers of the revisions beyond the newest `keep`, oldest first, that can be deleted.
    ///
    /// Revisions that are still needed are left out: the applied one, the newest that succeeded, and those
    /// not carried out yet. Revisions that answer a repeated request are left out for an hour, up to ten
    /// times `keep`.
    pub fn expired_revisions(&self, keep: usize, now: Timestamp) -> Vec<u64> {
        let applied = self.deployment.as_ref().and_then(|d| d.revision);
        let good = self.revisions.iter().rev().find(|past| past.is_good());
        let all = self.revisions.iter().rev().enumerate();
        let surplus = all.skip(keep).filter(|(age, past)| {
            let repeatable = past.record.request.is_some()
                && now.duration_since(past.record.time) < REPEATABLE
                && *age < keep.saturating_mul(10);
            let needed =
                !past.applied || Some(past.number) == applied || good.map(|p| p.number) == Some(past.number);
            !repeatable && !needed
        });
        let mut numbers: Vec<_> = surplus.map(|(_, past)| past.number).collect();
        numbers.reverse();
        numbers
    }

    /// Returns the content that callers last asked for, of an app that Gantry manages.
    pub fn content(&self) -> Option<Content> {
        self.last_requested().map(|past| past.record.content.clone())
    }

    /// Returns the labels that select the app's pods.
    pub fn selector(&self, name: &name::App) -> BTreeMap<String, String> {
        let own = || [(APP_LABEL.to_owned(), name.app.clone())].into();
        self.deployment.as_ref().map(|d| d.selector.clone()).filter(|s| !s.is_empty()).unwrap_or_else(own)
    }
}

// === impl Deployment ===

impl Deployment {
    /// Whether Gantry manages it.
    pub fn is_ours(&self) -> bool {
        self.managed != Managed::No
    }
}

// === impl StoredRevision ===

impl StoredRevision {
    /// Returns its claim on the Deployment of its app's name.
    pub fn claim(&self) -> Claim<'_> {
        Claim { number: self.number, owner: self.owner.as_deref(), applied: self.applied }
    }

    /// Returns whether it succeeded with replicas that ran, so that a rollback may go back to it.
    pub fn is_good(&self) -> bool {
        self.outcome == Some(Outcome::Succeeded) && !self.untried
    }

    /// Returns whether its record must be rewritten before it can be carried out.
    pub fn is_stuck(&self) -> bool {
        self.form.is_stuck(self.applied)
    }

    /// Returns whether it creates the Deployment rather than changing one.
    pub fn creates(&self) -> bool {
        let kind = Kind::Deployment.prefix();
        let is_it = |change: &Change| change.path.is_empty() && change.object.starts_with(kind);
        self.record.changes.iter().any(|change| change.action == Action::Create && is_it(change))
    }
}

#[cfg(test)]
mod tests;
