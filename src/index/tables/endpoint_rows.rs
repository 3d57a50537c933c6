//! Rows that locate replicas: EndpointSlices and Nodes. They belong to an app only through its pods. Either
//! side may be seen first.

use std::{mem, sync::Arc};

use super::{NamespacedName, Row, SmallSet, Tables, app_of};
use crate::domain::{
    name,
    observed::{EndpointSlice, Node, Pod, ReplicaSet, SlicePod},
};

impl Tables {
    /// Returns the apps whose endpoints may have changed since the last call, although no other row of them
    /// changed.
    pub(in crate::index) fn take_moved(&mut self) -> std::collections::HashSet<name::App> {
        mem::take(&mut self.moved)
    }

    /// Returns every pod of an app with its ReplicaSet.
    pub(in crate::index) fn replicas(&self, app: &name::App) -> impl Iterator<Item = (&Pod, &ReplicaSet)> {
        self.sets(app).flat_map(|rs| self.pods_in(rs).map(move |pod| (pod, rs)))
    }

    /// Returns what EndpointSlices say about a pod.
    pub(in crate::index) fn slices_of(&self, pod: &Pod) -> Vec<(&EndpointSlice, &SlicePod)> {
        let names = self.slices_of.get(&(pod.namespace.clone(), pod.name.clone()));
        let slices = names.into_iter().flat_map(SmallSet::iter).filter_map(|name| {
            let slice = self.slices.get(&(pod.namespace.clone(), name.clone()))?;
            let start = slice.pods.partition_point(|at| at.name < pod.name);
            Some(slice.pods[start..].iter().take_while(|at| at.name == pod.name).map(move |at| (slice, at)))
        });
        slices.flatten().collect()
    }

    /// Returns the zone of the node that a pod is on.
    pub(in crate::index) fn zone_of(&self, pod: &Pod) -> Option<Arc<str>> {
        self.nodes.get(pod.node.as_ref()?)?.zone.clone()
    }

    fn mark_moved(&mut self, pod: &NamespacedName) {
        let Some(pod) = self.pods.get(pod) else { return };
        if let Some(rs) = self.replica_sets.get(&(pod.namespace.clone(), pod.replica_set.clone())) {
            self.moved.insert(app_of(rs));
        }
    }

    fn mark_moved_on(&mut self, node: &Arc<str>) {
        let on = |pod: &&Pod| pod.node.as_ref() == Some(node);
        let pods: Vec<NamespacedName> =
            self.pods.values().map(|pod| &**pod).filter(on).map(Row::key).collect();
        for pod in pods {
            self.mark_moved(&pod);
        }
    }
}

impl Row for EndpointSlice {
    type Key = NamespacedName;

    fn key(&self) -> NamespacedName {
        (self.namespace.clone(), self.name.clone())
    }

    fn insert(mut self, t: &mut Tables) {
        Self::remove(&self.key(), t);
        t.texts.intern(&mut self.namespace);
        for pod in &mut self.pods {
            let mut key = (self.namespace.clone(), pod.name.clone());
            if let Some((known, _)) = t.pods.get_key_value(&key) {
                key = known.clone();
            }
            pod.name = key.1.clone();
            if let Some(zone) = &mut pod.zone {
                t.texts.intern(zone);
            }
            t.slices_of.entry(key.clone()).or_default().insert(&self.name);
            t.mark_moved(&key);
        }
        // Sorted, because `slices_of` searches by name.
        self.pods.sort();
        self.pods.shrink_to_fit();
        t.slices.insert(self.key(), self);
    }

    fn remove(key: &NamespacedName, t: &mut Tables) {
        let Some(old) = t.slices.remove(key) else { return };
        for pod in &old.pods {
            let key = (old.namespace.clone(), pod.name.clone());
            if let Some(names) = t.slices_of.get_mut(&key) {
                names.remove(&old.name);
                if names.iter().next().is_none() {
                    t.slices_of.remove(&key);
                }
            }
            t.mark_moved(&key);
        }
    }

    fn all(t: &Tables) -> impl Iterator<Item = &Self> {
        t.slices.values()
    }
}

impl Row for Node {
    type Key = Arc<str>;

    fn key(&self) -> Arc<str> {
        self.name.clone()
    }

    fn insert(mut self, t: &mut Tables) {
        t.texts.intern(&mut self.name);
        if let Some(zone) = &mut self.zone {
            t.texts.intern(zone);
        }
        let zone = self.zone.clone();
        let name = self.name.clone();
        // A Node reports its health again and again. Only a change of its zone affects endpoints.
        if t.nodes.insert(name.clone(), self).and_then(|old| old.zone) != zone {
            t.mark_moved_on(&name);
        }
    }

    fn remove(key: &Arc<str>, t: &mut Tables) {
        if t.nodes.remove(key).is_some_and(|old| old.zone.is_some()) {
            t.mark_moved_on(key);
        }
    }

    fn all(t: &Tables) -> impl Iterator<Item = &Self> {
        t.nodes.values()
    }
}
