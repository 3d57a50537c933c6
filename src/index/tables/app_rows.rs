//! Gathers the rows of one app: everything for its view, its events for readers, and the evidence of a failed
//! rollout.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};

use super::{SequencedEvent, Tables};
use crate::domain::{
    diagnosis::{NodeState, Surroundings},
    evidence::{self, Evidence},
    managed, name,
    observed::{About, Event, Kind, ReplicaSet, Revision},
    rollout::{AppRows, Rollout},
    spec::{Policy, Spec},
};

/// Age of a Deployment from which its first revision must have been seen, if the cluster has sent something
/// about revisions since. The revision is written before the Deployment.
const UNSEEN: SignedDuration = SignedDuration::from_secs(10);

/// Whether Gantry manages a Deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::index) enum Manages {
    /// Gantry manages it.
    Yes,
    /// Its labels say so, but the revision that confirms it has not been seen yet.
    Unconfirmed,
    /// Gantry does not manage it.
    No,
}

impl Tables {
    /// Returns the rollout policy of the newest revision of an app.
    pub(in crate::index) fn policy(&self, app: &name::App) -> Policy {
        let newest = self.history(app).and_then(|all| all.values().next_back());
        newest.map_or_else(|| Spec::default().policy(), |revision| revision.content.spec.policy())
    }

    /// Calls `f` with all rows of one app.
    pub(in crate::index) fn with_rows<T>(&self, app: &name::App, f: impl FnOnce(&AppRows<'_>) -> T) -> T {
        let replica_sets: Vec<_> = self.sets(app).collect();
        let all = replica_sets.iter().flat_map(|rs| self.all_pods_in(rs));
        let (pods, ended) = all.partition(|pod| pod.ended.is_none());
        let events = |about: &About| -> Vec<&Event> {
            self.events.get(about).into_iter().flatten().map(|line| &*line.event).collect()
        };
        let node = |node: &str| match self.nodes.get(node) {
            Some(node) if node.ready => NodeState::Answers,
            Some(_) => NodeState::Silent,
            // The daemon may not be allowed to read nodes.
            None if self.nodes.is_empty() => NodeState::Answers,
            None => NodeState::Gone,
        };
        let around = Surroundings { events: &events, node: &node };
        let autoscaler = self.autoscaler_of(app);
        let deployment = self.deployments.get(app);
        let managed = self.manages(app) != Manages::No;
        f(&AppRows { deployment, managed, replica_sets, pods, ended, around, autoscaler })
    }

    /// Returns whether Gantry manages the Deployment of this name.
    pub(in crate::index) fn manages(&self, app: &name::App) -> Manages {
        let Some(deployment) = self.deployments.get(app) else { return Manages::No };
        let revisions = self.revisions.get(app).into_iter().flat_map(BTreeMap::values);
        if managed::is_managed(deployment.subject(), revisions.map(Revision::claim)) {
            return Manages::Yes;
        }
        // The first revision was written before the Deployment, but comes by another watch.
        let seen =
            self.revisions_heard.is_some_and(|heard| heard.duration_since(deployment.created) > UNSEEN);
        if deployment.is_labelled() && !seen { Manages::Unconfirmed } else { Manages::No }
    }

    /// Returns the revisions of an app. If Gantry does not manage the Deployment, they do not count, unless
    /// the newest one is unapplied and will adopt the Deployment.
    pub(in crate::index) fn history(&self, app: &name::App) -> Option<&BTreeMap<u64, Revision>> {
        let all = self.revisions.get(app)?;
        let adopts = || all.values().next_back().is_some_and(|newest| !newest.applied);
        let counts = !self.deployments.contains_key(app) || self.manages(app) != Manages::No || adopts();
        counts.then_some(all)
    }

    /// Returns the events about the Deployment, and about the ReplicaSets that are `meant` and their pods.
    pub(in crate::index) fn events_after(
        &self,
        app: &name::App,
        meant: impl Fn(&ReplicaSet) -> bool,
        after: u64,
    ) -> Vec<SequencedEvent> {
        let namespace: Arc<str> = app.namespace.as_str().into();
        let about = |kind, name: &Arc<str>| About { namespace: namespace.clone(), kind, name: name.clone() };
        let mut objects = vec![about(Kind::Deployment, &app.app.as_str().into())];
        for rs in self.sets(app).filter(|rs| meant(rs)) {
            objects.push(about(Kind::ReplicaSet, &rs.name));
            objects.extend(self.all_pods_in(rs).map(|pod| about(Kind::Pod, &pod.name)));
        }
        let mut lines: Vec<SequencedEvent> = objects
            .iter()
            .filter_map(|about| self.events.get(about))
            .flatten()
            .filter(|line| line.sequence > after)
            .cloned()
            .collect();
        lines.sort_by_key(|line| line.sequence);
        lines
    }

    /// Returns the evidence of a rollout that just failed. It must be the newest of its app.
    pub(in crate::index) fn evidence(&self, rollout: &Rollout, now: Timestamp) -> Evidence {
        let is_new = |rs: &ReplicaSet| match &rollout.set {
            Some((name, _)) => rs.name == *name,
            None => rs.revision == Some(rollout.number),
        };
        let new = self.replicas(&rollout.app).filter(|(_, rs)| is_new(rs)).map(|(pod, _)| &*pod.name);
        let new: HashSet<&str> = new.collect();
        let (all, _) = self.page_of_replicas(&rollout.app, None, usize::MAX);
        let replicas = all.into_iter().filter(|replica| new.contains(&*replica.pod));
        let line = |line: SequencedEvent| {
            let Event { about, reason, note, time, .. } = &*line.event;
            format!("{time} {about} {reason}: {note}")
        };
        let mut log = self.events_after(&rollout.app, is_new, 0);
        log.sort_by_key(|line| line.event.time);
        // Earlier events belong to earlier rollouts. Kubernetes' times are whole seconds.
        log.retain(|line| line.event.time.as_second() >= rollout.start.as_second());
        let mut problems = rollout.problems.clone();
        if let Some(error) = rollout.error.clone().filter(|error| !problems.contains(error)) {
            problems.insert(0, error);
        }
        // The size is not limited further here, because the index is locked. The recorder does that before it
        // stores the evidence.
        let oldest = log.len().saturating_sub(evidence::MOST_EVENTS);
        Evidence {
            problems,
            replicas: replicas.take(evidence::MOST_REPLICAS).map(Into::into).collect(),
            events: log.into_iter().skip(oldest).map(line).collect(),
            time: now,
        }
    }
}
