//! Finds the work that the rows leave to do: verdicts and external changes to store, changes that were cut
//! off, and rollbacks after failures. Only reports it. The code that does the work checks again.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::{state::Index, tables::app_rows::Manages, views::UnrecordedVerdict};
use crate::domain::{
    name::{self, Scope},
    observed::{Deployment, Revision},
    revision::{Cause, Outcome, Record, form::Form},
    rollout::{Rollout, State},
    spec::OnFailure,
};

/// Age from which an unapplied revision counts as abandoned by its writer. A write takes tens of
/// milliseconds.
const CUT_OFF: SignedDuration = SignedDuration::from_secs(3);

/// The time after its failure in which a rollout is rolled back automatically. A daemon may have to be
/// started within this time.
const UNDO_WITHIN: SignedDuration = SignedDuration::from_mins(10);

impl Index {
    /// Returns the verdicts that were reached here and are not stored in the cluster yet.
    pub fn unrecorded_verdicts(&self) -> Vec<UnrecordedVerdict> {
        let state = self.state.read();
        state.views.unrecorded_verdicts(&state.tables)
    }

    /// Whether a verdict on a rollout of an app, with its evidence if it failed, is not stored with its
    /// revision yet.
    pub fn has_unrecorded_verdict(&self, app: &name::App) -> bool {
        let state = self.state.read();
        state.views.has_unrecorded_verdict(app, &state.tables)
    }

    /// Returns a channel that wakes when the verdicts on an app are stored. That changes nothing that readers
    /// see, so [`Index::watch_changes`] does not tell it.
    pub fn watch_verdicts(&self, app: &name::App) -> watch::Receiver<u64> {
        self.state.write().verdict_subscriptions.subscribe(&Scope::App(app.clone()))
    }

    /// Returns the changes made outside Gantry that are not stored in the cluster yet: the app, the number,
    /// and the record to store.
    pub fn unrecorded_external_changes(&self) -> Vec<(name::App, u64, Record)> {
        let state = self.state.read();
        state.views.unrecorded_external_changes(&state.tables).map(to_record).collect()
    }

    /// Returns the apps whose newest rollout failed recently and whose policy is to roll back then, each with
    /// the number of the rollout. A rollout that was begun by an automatic rollback is never rolled back. An
    /// old failure is not rolled back either, because a rollback an hour later would be a surprise.
    pub fn due_rollbacks(&self, now: Timestamp) -> Vec<(name::App, u64)> {
        let state = self.state.read();
        let failed = state.views.newest_rollouts().filter(|r| {
            // Wait until the evidence is stored, because the rollback deletes the pods that it is about.
            r.state == State::Failed
                && !r.unkept
                && r.end.is_some_and(|end| now.duration_since(end) < UNDO_WITHIN)
                && matches!(r.cause, Cause::Deploy | Cause::Rollback)
                && r.content.spec.policy().on_failure == OnFailure::RollBack
        });
        failed.map(|r| (r.app.clone(), r.number)).collect()
    }

    /// Returns the apps with a revision whose owner reference must be changed. Either the revision has no
    /// owner although the Deployment exists, or the Deployment is being deleted without its dependents
    /// (`orphan`) and Kubernetes cannot remove the owner from a revision of the old form.
    pub fn ownerless_apps(&self, now: Timestamp) -> Vec<name::App> {
        let state = self.state.read();
        if !state.is_filled() {
            return Vec::new();
        }
        let is_due = |deployment: &Deployment, revision: &Revision| match &revision.owner {
            Some(owner) => deployment.orphans && revision.form == Form::Object && **owner == *deployment.uid,
            // The writer of the revision may be about to set its owner.
            None => {
                !deployment.deleting && revision.applied && now.duration_since(revision.created) > CUT_OFF
            }
        };
        let found = state.tables.revisions.iter().filter(|(app, all)| {
            let deployment = state.tables.deployments.get(app);
            deployment.is_some_and(|d| {
                all.values().any(|revision| is_due(d, revision)) && state.tables.manages(app) == Manages::Yes
            })
        });
        found.map(|(app, _)| app.clone()).collect()
    }

    /// Returns the apps whose newest rollout succeeded and whose Service still has ports that only earlier
    /// replicas needed.
    pub fn kept_ports(&self) -> Vec<name::App> {
        let state = self.state.read();
        if !state.is_filled() {
            return Vec::new();
        }
        let is_due = |app: &name::App, all: &BTreeMap<u64, Revision>| {
            let end = all.values().next_back().and_then(|newest| newest.end.as_ref());
            end.is_some_and(|end| end.outcome == Outcome::Succeeded)
                && all.values().any(|revision| revision.keeps_ports)
                && state.tables.deployments.get(app).is_some_and(|deployment| !deployment.deleting)
                && state.tables.manages(app) == Manages::Yes
        };
        let found = state.tables.revisions.iter().filter(|(app, all)| is_due(app, all));
        found.map(|(app, _)| app.clone()).collect()
    }

    /// Returns the apps whose newest revision was written a while ago and never applied, because its writer
    /// was cut off.
    pub fn incomplete_changes(&self, now: Timestamp) -> Vec<name::App> {
        let state = self.state.read();
        if !state.is_filled() {
            return Vec::new();
        }
        // A revision whose apply did not begin in time has failed, and must not be applied later.
        let has_failed = |r: &Revision| {
            let begun = state.tables.deployments.get(&r.app).is_some_and(|d| d.revision == Some(r.number));
            !begun && r.end.as_ref().is_some_and(|end| end.outcome == Outcome::Failed)
        };
        let is_cut_off = |all: &BTreeMap<u64, Revision>| {
            let newest = all.values().next_back();
            newest.is_some_and(|r| !r.applied && now.duration_since(r.created) > CUT_OFF && !has_failed(r))
        };
        let found = state.tables.revisions.iter().filter(|(_, all)| is_cut_off(all));
        found.map(|(app, _)| app.clone()).collect()
    }
}

/// Returns the record of a change made outside Gantry, without what only the verdict adds.
fn to_record(rollout: &Rollout) -> (name::App, u64, Record) {
    let content = (*rollout.content).clone();
    let (set, number) = rollout.set.clone().unzip();
    let record = Record {
        replica_set: set.map(|name| name.to_string()),
        template_revision: number,
        autoscaler: Some(rollout.autoscaler.as_deref().cloned().unwrap_or_default()),
        ..Record::new(Cause::External, content, rollout.actor.clone(), String::new(), rollout.start)
    };
    (rollout.app.clone(), rollout.number, record)
}
