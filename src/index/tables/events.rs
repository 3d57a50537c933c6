//! Kubernetes events: the latest few of each object, and the app that they are about. An event may come
//! before its object, and outlive it.

use std::{mem, sync::Arc};

use super::{NamespacedName, Row, SequencedEvent, Tables, app_of};
use crate::domain::{
    name,
    observed::{About, Event, Kind},
};

/// The number of events stored per object: enough for the two that matter among repetitions, few enough for a
/// hundred thousand pods.
const EVENTS_PER_OBJECT: usize = 8;

/// The number of stored events whose app is not known yet.
const UNRESOLVED: usize = 1000;

impl Tables {
    /// Returns the events that came since the last call, each with its app. Events about no known app wait
    /// for the next call.
    pub(in crate::index) fn take_fresh(&mut self) -> Vec<(name::App, Arc<Event>)> {
        let mut found = Vec::new();
        let mut unresolved = Vec::new();
        for key in mem::take(&mut self.fresh) {
            let Some(event) = self.events_by_name.get(&key) else { continue };
            match self.app_about(&event.about) {
                Some(app) => found.push((app, event.clone())),
                None => unresolved.push(key),
            }
        }
        let too_many = unresolved.len().saturating_sub(UNRESOLVED);
        self.fresh = unresolved.split_off(too_many);
        found
    }

    /// Returns every event about an app, its ReplicaSets and its pods, including deleted ones.
    pub(in crate::index) fn events_of<'a>(
        &'a self,
        app: &'a name::App,
    ) -> impl Iterator<Item = &'a Arc<Event>> {
        let about =
            |about: &About| *about.namespace == *app.namespace && self.app_about(about).as_ref() == Some(app);
        let all = self.events.iter().filter(move |(key, _)| about(key));
        all.flat_map(|(_, lines)| lines).map(|line| &line.event)
    }

    fn app_about(&self, about: &About) -> Option<name::App> {
        let set = |name: &str| {
            let set = self.replica_sets.get(&(about.namespace.clone(), name.into()));
            set.map(app_of)
        };
        match about.kind {
            Kind::Deployment => Some(name::App::new(&*about.namespace, &*about.name)),
            Kind::ReplicaSet => set(&about.name),
            // The name of a pod is the name of its ReplicaSet and a suffix of five letters. So the app is
            // known even if the pod is not.
            Kind::Pod => match self.pods.get(&(about.namespace.clone(), about.name.clone())) {
                Some(pod) => set(&pod.replica_set),
                None => set(about.name.rsplit_once('-')?.0),
            },
        }
    }
}

impl Row for Event {
    type Key = NamespacedName;

    fn key(&self) -> NamespacedName {
        (self.about.namespace.clone(), self.id.clone())
    }

    fn insert(self, t: &mut Tables) {
        let key = self.key();
        if t.events_by_name.get(&key).is_some_and(|known| known.about != self.about) {
            Self::remove(&key, t);
        }
        let mut row = self;
        let about = (row.about.namespace.clone(), row.about.name.clone());
        if let Some(((_, name), _)) = t.pods.get_key_value(&about) {
            row.about.name = name.clone();
        }
        t.texts.intern(&mut row.about.namespace);
        for text in [&mut row.reason].into_iter().chain(&mut row.container) {
            t.texts.intern(text);
        }
        let lines = t.events.entry(row.about.clone()).or_default();
        if let Some(i) = lines.iter().position(|line| line.event.id == row.id) {
            let known = &mut lines[i].event;
            // A new version alone is no news: the event was labelled.
            if **known == (Self { version: known.version, ..row.clone() }) {
                *known = Arc::new(row);
                t.events_by_name.insert(key, known.clone());
                return;
            }
            lines.remove(i);
        }
        let mut place = lines.partition_point(|l| (l.event.time, &l.event.id) < (row.time, &row.id));
        if lines.len() == EVENTS_PER_OBJECT {
            if place == 0 {
                // A list contains again the events that were dropped for newer ones. They are not new.
                return;
            }
            let oldest = lines.remove(0);
            t.events_by_name.remove(&oldest.event.key());
            place -= 1;
        }
        t.sequence += 1;
        let event = Arc::new(row);
        t.fresh.push(event.key());
        t.events_by_name.insert(event.key(), event.clone());
        lines.insert(place, SequencedEvent { sequence: t.sequence, event: event.clone() });
        t.mark_about(&event.about);
    }

    fn remove(key: &NamespacedName, t: &mut Tables) {
        let Some(event) = t.events_by_name.remove(key) else { return };
        if let Some(lines) = t.events.get_mut(&event.about) {
            lines.retain(|line| line.event.id != key.1);
            if lines.is_empty() {
                t.events.remove(&event.about);
            }
        }
        t.mark_about(&event.about);
    }

    fn all(t: &Tables) -> impl Iterator<Item = &Self> {
        t.events_by_name.values().map(|event| &**event)
    }
}
