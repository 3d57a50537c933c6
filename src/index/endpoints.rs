//! Where the replicas of apps are, for those who ask and those who follow: a set is made when it is asked for, and once per change
//! however many follow it. Each app has a channel of its own, which holds the latest set and nothing older.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::watch;

use super::tables::{Tables, app_rows::Manages};
use crate::domain::{
    endpoint::{PodContext, Set, State},
    name,
    replica::Replica,
};

/// The endpoints of an app, or that there is no such app.
pub type Endpoints = Option<Arc<Set>>;

/// Those who follow, by app.
#[derive(Default)]
pub(super) struct EndpointSubscriptions {
    apps: HashMap<name::App, watch::Sender<Endpoints>>,
    /// Number of channels at which those without a listener are looked for.
    sweep_at: usize,
}

/// See [`Followers::sweep_at`].
const SWEEP: usize = 1024;

// === impl Followers ===

impl EndpointSubscriptions {
    pub(super) fn subscribe(&mut self, name: &name::App, tables: &Tables) -> watch::Receiver<Endpoints> {
        if self.apps.len() >= self.sweep_at {
            self.apps.retain(|_, channel| channel.receiver_count() > 0);
            self.sweep_at = (self.apps.len() * 2).max(SWEEP);
        }
        let channel = self.apps.entry(name.clone()).or_insert_with(|| watch::Sender::new(None));
        // A channel that nobody listened to was not kept up to date.
        if channel.receiver_count() == 0 {
            channel.send_replace(tables.endpoints(name));
        }
        channel.subscribe()
    }

    /// The set of an app that somebody follows.
    pub(super) fn get(&self, name: &name::App) -> Endpoints {
        let channel = self.apps.get(name).filter(|channel| channel.receiver_count() > 0)?;
        channel.borrow().clone()
    }

    /// Tells those who follow an app, if there is news for them.
    pub(super) fn publish(&mut self, name: &name::App, tables: &Tables) {
        let Some(channel) = self.apps.get(name) else { return };
        if channel.receiver_count() == 0 {
            self.apps.remove(name);
            return;
        }
        let new = tables.endpoints(name);
        channel.send_if_modified(|known| {
            let changed = *known != new;
            *known = new;
            changed
        });
    }
}

// === impl Tables ===

impl Tables {
    /// Where an app's replicas are.
    pub(super) fn endpoints(&self, name: &name::App) -> Endpoints {
        let deployment = self.deployments.get(name)?;
        let ours = self.manages(name) != Manages::No;
        let replicas = self.replicas(name).map(|(pod, rs)| PodContext {
            pod,
            slices: self.slices_of(pod),
            zone: self.zone_of(pod),
            rollout: rs.revision,
            ports: &rs.ports,
        });
        Some(Arc::new(Set::new(name.clone(), &deployment.spec.ports, ours, replicas)))
    }

    /// How many endpoints of an app take traffic, and how many finish what they have.
    pub(super) fn endpoint_counts(&self, name: &name::App) -> (i32, i32) {
        let (mut ready, mut draining) = (0, 0);
        for (pod, _) in self.replicas(name).filter(|(pod, _)| pod.address.is_some()) {
            match State::of(pod, &self.slices_of(pod)) {
                State::Ready => ready += 1,
                State::Draining => draining += 1,
                State::Unready => {}
            }
        }
        (ready, draining)
    }

    /// Replicas of an app whose pods' names come after `after`, in the order of these, at most `limit`. The flag says that more
    /// follow.
    pub(super) fn page_of_replicas(
        &self,
        name: &name::App,
        after: Option<&str>,
        limit: usize,
    ) -> (Vec<Replica>, bool) {
        let policy = self.policy(name);
        let mut rows: Vec<_> =
            self.replicas(name).filter(|(pod, _)| after.is_none_or(|after| &*pod.name > after)).collect();
        rows.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
        let more = rows.len() > limit;
        rows.truncate(limit);
        let page = self.with_rows(name, |facts| {
            let replica = |(pod, rs): &(&_, &crate::domain::observed::ReplicaSet)| {
                let zone = self
                    .zone_of(pod)
                    .or_else(|| self.slices_of(pod).into_iter().filter_map(|(_, at)| at.zone.clone()).min());
                Replica::new(pod, rs.revision, zone, facts.around, &policy)
            };
            rows.iter().map(replica).collect()
        });
        (page, more)
    }
}
