//! What a change does, decided from what is wanted and what is there. Pure: reads and writes happen around it.
//!
//! In two steps, so that a change that was cut off is carried on by whoever finds it: an [`Intent`] is decided from the
//! request and kept as a revision; what is to be applied is rendered from the intent and the cluster as it is then.

mod decide;
mod render;

use std::collections::BTreeMap;

use jiff::Timestamp;

pub use self::{
    decide::{again, check_etag, deploy, intent_of, is_overtaken, request_seen, restart, rollback},
    render::{Rendered, render},
};
use super::{
    labels::MANAGER,
    manifest::APP_LABEL,
    name,
    revision::{Cause, Outcome, Record},
    selector::Selector,
    spec::Content,
};

/// The field manager of everything that a deploy sets. One for ever: another name would leave old fields without an owner.
pub const FIELD_MANAGER: &str = "gantry";

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
    /// its Deployment an app is gone, whatever revisions still lie about; only one that was never applied still counts.
    pub fn wanted(&self) -> Option<&Past> {
        let asked = self.revisions.iter().rev().find(|past| past.record.cause != Cause::External);
        asked.filter(|past| self.deployment.is_some() || !past.applied)
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

#[cfg(test)]
mod tests;
