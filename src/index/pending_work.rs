//! What is left to do about what the rows say: verdicts and changes to be kept, changes that were cut off,
//! rollouts to go back from. Says so; who does it asks again.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{state::Index, tables::app_rows::Manages, views::UnrecordedVerdict};
use crate::domain::{
    name,
    observed::{Deployment, Revision},
    revision::{Cause, Outcome, Record, form::Form},
    rollout::{Rollout, State},
    spec::OnFailure,
};

/// Age of a revision that is not carried out from which its writer counts as gone. A write takes tens of
/// milliseconds.
const CUT_OFF: SignedDuration = SignedDuration::from_secs(3);

/// Time in which a rollout that failed is undone by itself; a daemon may have to be started in it.
const UNDO_WITHIN: SignedDuration = SignedDuration::from_mins(10);

impl Index {
    /// Verdicts that were reached here and are not yet kept in the cluster.
    pub fn unrecorded_verdicts(&self) -> Vec<UnrecordedVerdict> {
        let state = self.state.read();
        state.views.unrecorded_verdicts(&state.tables)
    }

    /// Whether a verdict on a rollout of an app, and what was seen if it failed, is still to be kept with its
    /// revision.
    pub fn has_unrecorded_verdict(&self, app: &name::App) -> bool {
        let state = self.state.read();
        state.views.has_unrecorded_verdict(app, &state.tables)
    }

    /// Changes made outside Gantry that are not yet kept in the cluster: the app, the number, what to keep.
    pub fn unrecorded_external_changes(&self) -> Vec<(name::App, u64, Record)> {
        let state = self.state.read();
        state.views.unrecorded_external_changes(&state.tables).map(to_record).collect()
    }

    /// Apps whose newest rollout failed a moment ago, and whose policy is to go back then: with the number of
    /// the rollout. One that was itself begun for that reason is left as it is, whatever becomes of it; so is
    /// one that could not be undone when it failed, because a rollback an hour later is not expected.
    pub fn due_rollbacks(&self, now: Timestamp) -> Vec<(name::App, u64)> {
        let state = self.state.read();
        let failed = state.views.newest_rollouts().filter(|r| {
            // Going back deletes what the evidence is about.
            r.state == State::Failed
                && !r.unkept
                && r.end.is_some_and(|end| now.duration_since(end) < UNDO_WITHIN)
                && matches!(r.cause, Cause::Deploy | Cause::Rollback)
                && r.content.spec.policy().on_failure == OnFailure::RollBack
        });
        failed.map(|r| (r.app.clone(), r.number)).collect()
    }

    /// Apps of which a revision has lost its owner although the Deployment is there, or has one that
    /// Kubernetes cannot take from it although the Deployment is deleted without what it owns.
    pub fn ownerless_apps(&self, now: Timestamp) -> Vec<name::App> {
        let state = self.state.read();
        if !state.is_filled() {
            return Vec::new();
        }
        let is_due = |deployment: &Deployment, revision: &Revision| match &revision.owner {
            Some(owner) => deployment.orphans && revision.form == Form::Object && **owner == *deployment.uid,
            // Its writer may be about to give it one.
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

    /// Apps whose newest revision was written a while ago and not carried out: its writer was cut off.
    pub fn incomplete_changes(&self, now: Timestamp) -> Vec<name::App> {
        let state = self.state.read();
        if !state.is_filled() {
            return Vec::new();
        }
        // One that could not begin to be applied in time has failed, and is not to happen later.
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

/// A change made outside Gantry as a record, but for what only the rollout's verdict adds.
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
