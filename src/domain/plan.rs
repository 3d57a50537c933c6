//! What a change does, decided from what is wanted and what is there. Pure: reads and writes happen around it.
//!
//! In two steps, so that a change that was cut off is carried on by whoever finds it: an [`Intent`] is decided from the
//! request and kept as a revision; what is to be applied is rendered from the intent and the cluster as it is then.

mod decide;
mod render;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

pub use self::{
    decide::{again, check_etag, deploy, intent_of, is_overtaken, request_seen, restart, rollback},
    render::{Rendered, render},
};
use super::{
    Error,
    change::{Action, Change},
    check::Check,
    labels::MANAGER,
    manifest::{APP_LABEL, Kind},
    name,
    revision::{Cause, Outcome, Record},
    scaling::Scaling,
    selector::Selector,
    spec::Content,
};
use crate::autoscale::Policy;

/// The field manager of everything that a deploy sets. One for ever: another name would leave old fields without an owner.
pub const FIELD_MANAGER: &str = "gantry";

/// For how long a repeat of a request is answered as the first one was.
const REPEATABLE: SignedDuration = SignedDuration::from_hours(1);

/// What the cluster holds about an app before a change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Live {
    /// The Deployment of this name.
    pub deployment: Option<Deployment>,
    /// The Service of this name.
    pub service: Option<Service>,
    /// The budget of this name.
    pub budget: Option<Budget>,
    /// Selectors of the other budgets of the namespace.
    pub other_budgets: Vec<Selector>,
    /// Every revision, the newest last.
    pub revisions: Vec<Past>,
    /// An autoscaler that is not of this server and targets the app, for example `horizontalpodautoscaler.autoscaling/shop`.
    pub foreign: Option<String>,
}

/// What a change needs to know of the Deployment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Deployment {
    /// Who made it, as its label says.
    pub managed_by: String,
    /// It is being deleted.
    pub deleting: bool,
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
    /// The revision that was applied last.
    pub revision: Option<u64>,
    /// Kubernetes' own number of the pod template.
    pub template_revision: u64,
}

/// What a change needs to know of the Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Who made it, as its label says.
    pub managed_by: String,
    /// Names and numbers of ports that others put there.
    pub foreign_ports: Vec<(String, u16)>,
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
pub struct Past {
    /// Its number.
    pub number: u64,
    /// What it says.
    pub record: Record,
    /// How its rollout ended, once it has.
    pub outcome: Option<Outcome>,
    /// Everything that it wants was applied.
    pub applied: bool,
    /// Version of the Deployment at the end of that.
    pub version: Option<u64>,
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
    pub remarks: Vec<Check>,
    /// The revision is still to be written; else it is the newest there is, and nothing is expected to change.
    pub is_new: bool,
}

// === impl Live ===

impl Live {
    /// The newest revision.
    pub fn newest(&self) -> Option<&Past> {
        self.revisions.last()
    }

    /// Number of the newest revision; zero without one.
    pub fn newest_number(&self) -> u64 {
        self.newest().map_or(0, |past| past.number)
    }

    /// The newest revision that somebody asked this server for: what a deploy that names some fields starts from. Without
    /// its Deployment an app is gone, whatever revisions still lie about; only one that was to make it, and was not carried out,
    /// still counts.
    pub fn wanted(&self) -> Option<&Past> {
        let asked = self.revisions.iter().rev().find(|past| past.record.cause != Cause::External);
        asked.filter(|past| self.deployment.is_some() || !past.applied && past.creates())
    }

    /// Refuses if an autoscaler of others decides the count, naming it.
    pub fn check_no_foreign(&self, name: &name::App) -> Result<(), Error> {
        match &self.foreign {
            Some(object) => Err(Error::ForeignAutoscaler { app: name.to_string(), object: object.clone() }),
            None => Ok(()),
        }
    }

    /// The last policy of the autoscaler while a revision was the newest: what the next one found. `None` if nobody kept it.
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

    /// Revisions that are more than `keep`, oldest first. Never those that something still needs: the one that is applied, the newest
    /// that succeeded, what is not carried out yet, and, for an hour and up to ten times as many, those that answer a repeat.
    pub fn surplus(&self, keep: usize, now: Timestamp) -> Vec<u64> {
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
        self.wanted().map(|past| past.record.content.clone())
    }

    /// The labels that select the app's pods.
    pub fn selector(&self, name: &name::App) -> BTreeMap<String, String> {
        let own = || [(APP_LABEL.to_owned(), name.app.clone())].into();
        self.deployment.as_ref().map(|d| d.selector.clone()).filter(|s| !s.is_empty()).unwrap_or_else(own)
    }
}

// === impl Deployment ===

impl Deployment {
    /// Whether this server made it, or took it over.
    pub fn is_ours(&self) -> bool {
        self.managed_by == MANAGER
    }
}

// === impl Past ===

impl Past {
    /// Whether it was to make the Deployment, not to change one.
    pub fn creates(&self) -> bool {
        let kind = Kind::Deployment.prefix();
        let is_it = |change: &Change| change.path.is_empty() && change.object.starts_with(kind);
        self.record.changes.iter().any(|change| change.action == Action::Create && is_it(change))
    }
}

#[cfg(test)]
mod tests;
