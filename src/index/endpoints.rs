//! The endpoints of apps, for a reader who asks once and for a reader who follows. A set is made on demand,
//! and once per change however many readers follow it. Each app has its own channel, which holds only the
//! latest set.

use std::sync::Arc;

use tokio::sync::watch;

use super::{
    channels::Channels,
    tables::{Tables, app_rows::Manages},
};
use crate::domain::{
    endpoint::{PodContext, Set, State},
    name,
    observed::ReplicaSet,
    replica::Replica,
};

/// The endpoints of an app, or `None` if the app does not exist.
pub type Endpoints = Option<Arc<Set>>;

/// The endpoints of the apps that are followed.
pub(super) type EndpointChannels = Channels<name::App, Endpoints>;

// === impl EndpointChannels ===

impl EndpointChannels {
    pub(super) fn subscribe(&mut self, name: &name::App, tables: &Tables) -> watch::Receiver<Endpoints> {
        let channel = self.open(name);
        // A channel without a receiver was not updated.
        if channel.receiver_count() == 0 {
            channel.send_replace(tables.endpoints(name));
        }
        channel.subscribe()
    }

    /// Returns the endpoints of an app that is followed.
    pub(super) fn latest(&self, name: &name::App) -> Endpoints {
        self.get(name)?.borrow().clone()
    }

    /// Sends the endpoints of an app to its followers, if they changed.
    pub(super) fn publish(&mut self, name: &name::App, tables: &Tables) {
        let Some(channel) = self.get_to_send(name) else { return };
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
    /// Returns the endpoints of an app.
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

    /// Returns how many endpoints of an app take traffic, and how many are draining.
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

    /// Returns the replicas of an app whose pod names come after `after`, ordered by pod name, at most
    /// `limit`. The flag says whether more follow.
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
            let replica = |(pod, rs): &(&_, &ReplicaSet)| {
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
