//! All rollouts of an app, newest first. They come from its revisions, or from its ReplicaSets if Gantry does
//! not manage it.

use std::sync::Arc;

use super::state::IndexState;
use crate::domain::{
    Error,
    error::Missing,
    name::{self, Which},
    observed::{ReplicaSet, Revision},
    revision::Cause,
    rollout::{Rollout, Successor},
};

impl IndexState {
    /// Returns one rollout.
    pub(super) fn rollout(&self, name: &name::Rollout) -> Result<Arc<Rollout>, Error> {
        let missing =
            || Error::NotFound { kind: Missing::Rollout, name: name.to_string(), did_you_mean: None };
        match name.revision {
            Which::Latest => self.views.newest_rollout(&name.app).ok_or_else(|| {
                self.views.app(&name.app).map_or_else(|| self.views.missing(&name.app), |_| missing())
            }),
            Which::Number(number) => {
                let from = self.rollouts(&name.app, number.checked_add(1), 1).pop();
                from.filter(|rollout| rollout.number == number).ok_or_else(missing)
            }
        }
    }

    /// Returns the rollouts with numbers below `before`, newest first, at most `limit`.
    pub(super) fn rollouts(&self, app: &name::App, before: Option<u64>, limit: usize) -> Vec<Arc<Rollout>> {
        let Some(newest) = self.views.newest_rollout(app) else { return Vec::new() };
        let wanted = |number: u64| before.is_none_or(|before| number < before);
        let past = match self.tables.history(app) {
            Some(all) => self.revision_rollouts(&newest, all.values().rev(), &wanted, limit),
            None => self.replica_set_rollouts(&newest, &wanted, limit),
        };
        let first = wanted(newest.number).then_some(newest);
        first.into_iter().chain(past.into_iter().map(Arc::new)).take(limit).collect()
    }

    fn revision_rollouts<'a>(
        &self,
        newest: &'a Rollout,
        revisions: impl Iterator<Item = &'a Revision>,
        wanted: &dyn Fn(u64) -> bool,
        limit: usize,
    ) -> Vec<Rollout> {
        let mut next = Successor::to(newest);
        let mut found = Vec::new();
        // A revision stores the policy at its beginning. So the last policy of its time is the one stored
        // with the next revision.
        let mut policy = newest.autoscaler.clone();
        for revision in revisions {
            if found.len() == limit {
                break;
            }
            let autoscaler = std::mem::replace(&mut policy, revision.autoscaler.clone());
            if revision.number >= newest.number {
                continue;
            }
            if wanted(revision.number) {
                let past = self.views.past_rollout(Rollout::recorded(revision), revision.end.as_ref(), &next);
                found.push(Rollout { autoscaler, ..past });
            }
            next = Successor {
                number: revision.number,
                start: revision.created,
                changed_by: (revision.cause == Cause::External).then_some(revision.actor.as_str()),
            };
        }
        found
    }

    /// Returns the past rollouts of an app that Gantry does not manage.
    fn replica_set_rollouts(
        &self,
        newest: &Rollout,
        wanted: &dyn Fn(u64) -> bool,
        limit: usize,
    ) -> Vec<Rollout> {
        let Some(deployment) = self.tables.deployments.get(&newest.app) else { return Vec::new() };
        let is_past = |rs: &&ReplicaSet| (1..newest.number).contains(&rs.template_revision);
        let mut sets: Vec<_> = self.tables.sets(&newest.app).filter(is_past).collect();
        sets.sort_by_key(|rs| std::cmp::Reverse(rs.template_revision));
        let mut next = Successor { changed_by: None, ..Successor::to(newest) };
        let mut found = Vec::new();
        for rs in sets {
            if wanted(rs.template_revision) && found.len() < limit {
                let rollout = Rollout::replaced(&newest.app, deployment, rs);
                found.push(self.views.past_rollout(rollout, None, &next));
            }
            next = Successor { number: rs.template_revision, start: rs.created, changed_by: None };
        }
        found
    }

    /// Returns a test for the ReplicaSets that carry a rollout out.
    pub(super) fn carries_rollout(
        &self,
        app: &name::App,
        number: u64,
    ) -> impl Fn(&ReplicaSet) -> bool + use<> {
        let name = name::Rollout { app: app.clone(), revision: Which::Number(number) };
        let set = self.rollout(&name).ok().and_then(|rollout| rollout.set.clone());
        move |rs| match &set {
            Some((name, _)) => rs.name == *name,
            None => rs.revision == Some(number),
        }
    }
}

impl<'a> Successor<'a> {
    fn to(rollout: &'a Rollout) -> Self {
        Self {
            number: rollout.number,
            start: rollout.start,
            changed_by: (rollout.cause == Cause::External).then_some(rollout.actor.as_str()),
        }
    }
}
