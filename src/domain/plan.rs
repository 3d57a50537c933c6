//! What a change does, decided from what is wanted and what is there. Pure: reads and writes happen around
//! it.
//!
//! In two steps, so that a change that was cut off is carried on by the daemon that finds it: an [`Intent`]
//! is decided from the request and kept as a revision; what is to be applied is rendered from the intent and
//! the cluster as it is then.

mod decide;
mod render;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

pub use self::{
    decide::{
        as_new_rollout, check_etag, decide_deploy, decide_restart, decide_rollback, find_request, intent_of,
        is_superseded, rewrite_stuck,
    },
    render::{Rendered, render_objects},
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
    spec::Content,
};
use crate::autoscale::Policy;

/// The field manager of everything that a deploy sets. One for ever: another name would leave old fields
/// without an owner.
pub const FIELD_MANAGER: &str = "gantry";

/// For how long a repeat of a request is answered as the first one was.
const REPEATABLE: SignedDuration = SignedDuration::from_hours(1);

/// What the cluster holds about an app before a change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AppState {
    /// The Deployment of this name.
    pub deployment: Option<Deployment>,
    /// The Service of this name.
    pub service: Option<Service>,
    /// The budget of this name.
    pub budget: Option<Budget>,
    /// Selectors of the other budgets of the namespace.
    pub other_budgets: Vec<Selector>,
    /// Every revision, the newest last.
    pub revisions: Vec<StoredRevision>,
    /// An autoscaler that is not of this server and targets the app, for example
    /// `horizontalpodautoscaler.autoscaling/shop`.
    pub other_autoscaler: Option<String>,
}

/// What a change needs to know of the Deployment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Deployment {
    /// Who made it, as its label says.
    pub managed_by: String,
    /// Whether this server manages it.
    pub managed: Managed,
    /// It is being deleted.
    pub deleting: bool,
    /// It is being deleted, and what it owns is to stay.
    pub orphans: bool,
    /// Its rollout is held.
    pub paused: bool,
    /// The replica count.
    pub replicas: i32,
    /// Field managers that own the count.
    pub replica_owners: Vec<String>,
    /// What it says about its autoscaler.
    pub scaling: Scaling,
    /// When its replicas were last told to restart by this server.
    pub restarted: Option<Timestamp>,
    /// Labels that its selector demands; they cannot change.
    pub selector: BTreeMap<String, String>,
    /// What it says, as far as the API has words for it.
    pub content: Content,
    /// What of it the API has no words for, as paths.
    pub unmodelled: Vec<String>,
    /// Tells it from an earlier one of the same name.
    pub uid: String,
    /// The revision that was applied last, as its annotation says.
    pub revision: Option<u64>,
    /// Kubernetes' own number of the pod template.
    pub template_revision: u64,
}

/// Whether this server manages a Deployment, by the one rule of [`crate::domain::managed`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Managed {
    /// It does.
    Yes,
    /// It does, and its field manager has none of the fields: the Deployment was made again outside Gantry,
    /// from a backup or with kubectl.
    WithoutFields,
    /// It does not.
    #[default]
    No,
}

/// What a change needs to know of the Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Who made it, as its label says.
    pub managed_by: String,
    /// It goes with the Deployment that is there. One of an earlier Deployment, which was deleted without it,
    /// is not to be taken away.
    pub owned: bool,
    /// Names and numbers of ports that other field managers put there.
    pub other_ports: Vec<(String, u16)>,
}

/// What a change needs to know of the budget of the app's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Who made it, as its label says.
    pub managed_by: String,
    /// Which pods it covers.
    pub selector: Selector,
}

/// A revision that was written before.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRevision {
    /// Its number.
    pub number: u64,
    /// What it says.
    pub record: Record,
    /// How its rollout ended, once it has.
    pub outcome: Option<Outcome>,
    /// Everything that it wants was applied, or a later revision took its place.
    pub applied: bool,
    /// uid of the Deployment that owns it; `None` if it never had an owner, or lost it.
    pub owner: Option<String>,
    /// uid of the Deployment to which it was applied, and the version of that at which all was done.
    pub version: Option<(String, u64)>,
    /// How its record is stored.
    pub form: Form,
}

/// A change that was decided on.
#[derive(Clone, Debug, PartialEq)]
pub struct Intent {
    /// The app.
    pub name: name::App,
    /// Number of its revision.
    pub number: u64,
    /// What the revision says.
    pub record: Record,
    /// What is to be said about it beside what the cluster says.
    pub notes: Vec<Check>,
    /// The revision is still to be written; else it is the newest there is, and nothing is expected to
    /// change.
    pub is_new: bool,
}

// === impl AppState ===

impl AppState {
    /// The newest revision.
    pub fn newest(&self) -> Option<&StoredRevision> {
        self.revisions.last()
    }

    /// Number of the newest revision; zero without one.
    pub fn newest_number(&self) -> u64 {
        self.newest().map_or(0, |past| past.number)
    }

    /// The newest revision that a caller asked for: what a deploy that names some fields starts from. Without
    /// its Deployment an app is gone, whatever revisions are left of it, and the revisions of an earlier
    /// Deployment say nothing about the next one of its name. Then only one that is still to be carried out
    /// counts: it makes the Deployment, or adopts it.
    pub fn last_requested(&self) -> Option<&StoredRevision> {
        let is_asked = |past: &&StoredRevision| past.record.cause != Cause::External;
        // A Deployment that a backup brought back runs the revision that its annotation names, and later ones
        // are of another time.
        let restored = self.deployment.as_ref().filter(|d| d.managed == Managed::WithoutFields);
        let runs = |past: &&StoredRevision| restored.is_some_and(|d| d.revision == Some(past.number));
        let named = self.revisions.iter().filter(is_asked).find(runs);
        let asked = named.or_else(|| self.revisions.iter().rev().find(is_asked));
        asked.filter(|past| match &self.deployment {
            Some(deployment) => deployment.is_ours() || !past.applied,
            None => !past.applied && past.creates(),
        })
    }

    /// The highest number that a rollout of the app has: of a revision, or, where those are gone, of the
    /// annotation that names the last one. What Gantry did not make had rollouts too, numbered as Kubernetes
    /// numbers templates.
    pub fn highest_number(&self) -> u64 {
        let of_deployment = self.deployment.as_ref().map_or(0, |d| {
            let unmanaged = if d.is_ours() { 0 } else { d.template_revision };
            d.revision.unwrap_or_default().max(unmanaged)
        });
        self.newest_number().max(of_deployment)
    }

    /// Who made the object of the app's name of a kind, if there is one.
    pub fn made_by(&self, kind: Kind) -> Option<&str> {
        match kind {
            Kind::Deployment => self.deployment.as_ref().map(|d| d.managed_by.as_str()),
            Kind::Service => self.service.as_ref().map(|s| s.managed_by.as_str()),
            Kind::Budget => self.budget.as_ref().map(|b| b.managed_by.as_str()),
        }
    }

    /// Version of the Deployment at which a revision was applied, if it is the Deployment that is there.
    pub fn position_of(&self, past: &StoredRevision) -> Option<u64> {
        let (uid, version) = past.version.as_ref()?;
        self.deployment.as_ref().filter(|d| d.uid == *uid).map(|_| *version)
    }

    /// Refuses if another autoscaler decides the count, naming it.
    pub fn check_no_other_autoscaler(&self, name: &name::App) -> Result<(), Error> {
        match &self.other_autoscaler {
            Some(object) => Err(Error::ForeignAutoscaler { app: name.to_string(), object: object.clone() }),
            None => Ok(()),
        }
    }

    /// The last policy of the autoscaler while a revision was the newest: what the next one found. `None` if
    /// it was not kept.
    pub fn policy_of(&self, number: u64) -> Option<Policy> {
        match self.revisions.iter().find(|past| past.number > number) {
            Some(next) => next.record.autoscaler.clone(),
            None => Some(self.policy()),
        }
    }

    /// The policy of the app's autoscaler now.
    pub fn policy(&self) -> Policy {
        self.deployment.as_ref().map(|d| (*d.scaling.policy()).clone()).unwrap_or_default()
    }

    /// Revisions that are more than `keep`, oldest first. Never those that something still needs: the one
    /// that is applied, the newest that succeeded, what is not carried out yet, and, for an hour and up to
    /// ten times as many, those that answer a repeat.
    pub fn expired_revisions(&self, keep: usize, now: Timestamp) -> Vec<u64> {
        let applied = self.deployment.as_ref().and_then(|d| d.revision);
        let good = self.revisions.iter().rev().find(|past| past.outcome == Some(Outcome::Succeeded));
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

    /// What callers asked for, of an app that this server made.
    pub fn content(&self) -> Option<Content> {
        self.last_requested().map(|past| past.record.content.clone())
    }

    /// The labels that select the app's pods.
    pub fn selector(&self, name: &name::App) -> BTreeMap<String, String> {
        let own = || [(APP_LABEL.to_owned(), name.app.clone())].into();
        self.deployment.as_ref().map(|d| d.selector.clone()).filter(|s| !s.is_empty()).unwrap_or_else(own)
    }
}

// === impl Deployment ===

impl Deployment {
    /// Whether this server manages it.
    pub fn is_ours(&self) -> bool {
        self.managed != Managed::No
    }
}

// === impl StoredRevision ===

impl StoredRevision {
    /// What it says about the Deployment of its app's name.
    pub fn claim(&self) -> Claim<'_> {
        Claim { number: self.number, owner: self.owner.as_deref(), applied: self.applied }
    }

    /// Whether its record must be written again before it can be carried out.
    pub fn is_stuck(&self) -> bool {
        self.form.is_stuck(self.applied)
    }

    /// Whether it was to make the Deployment, not to change one.
    pub fn creates(&self) -> bool {
        let kind = Kind::Deployment.prefix();
        let is_it = |change: &Change| change.path.is_empty() && change.object.starts_with(kind);
        self.record.changes.iter().any(|change| change.action == Action::Create && is_it(change))
    }
}

#[cfg(test)]
mod tests;
