//! Where the replicas of apps are, for a reader who asks and one who follows: a set is made when it is asked
//! for, and once per change however many follow it. Each app has a channel of its own, which holds the latest
//! set and nothing older.

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

/// The endpoints of an app, or that there is no such app.
pub type Endpoints = Option<Arc<Set>>;

/// The endpoints of the apps that are followed.
pub(super) type EndpointChannels = Channels<name::App, Endpoints>;

// === impl EndpointChannels ===

impl EndpointChannels {
    pub(super) fn subscribe(&mut self, name: &name::App, tables: &Tables) -> watch::Receiver<Endpoints> {
        let channel = self.open(name);
        // A channel without a listener was not kept up to date.
        if channel.receiver_count() == 0 {
            channel.send_replace(tables.endpoints(name));
        }
        channel.subscribe()
    }

    /// The endpoints of an app that is followed.
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

    /// Replicas of an app whose pods' names come after `after`, in the order of these, at most `limit`. The
    /// flag says that more follow.
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
