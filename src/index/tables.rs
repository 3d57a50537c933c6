//! The rows, and which of them belong to which app. Knows nothing of views. Marks the apps whose view must be
//! rebuilt.

pub(super) mod app_rows;
mod endpoint_rows;
mod events;
mod small_set;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    hash::Hash,
    mem,
    sync::Arc,
};

use jiff::Timestamp;

use self::small_set::SmallSet;
use super::interner::Interner;
use crate::domain::{
    name,
    observed::{
        About, Deployment, EndpointSlice, Event, ExternalAutoscaler, HorizontalPodAutoscaler, Kind, Node,
        Pod, ReplicaSet, Revision, ScaledObject,
    },
};

/// Namespace and name.
pub(super) type NamespacedName = (Arc<str>, Arc<str>);

/// A Kubernetes event about an app's objects, and when it became known.
#[derive(Clone, Debug, PartialEq)]
pub struct SequencedEvent {
    /// Grows with each event. Pass the last number seen to get only later events.
    pub sequence: u64,
    /// The event.
    pub event: Arc<Event>,
}

/// Rows of all kinds. Public only because [`Row`] names it. Outside the index there is no access to one.
#[derive(Default)]
pub struct Tables {
    pub(super) deployments: HashMap<name::App, Deployment>,
    /// Boxed, because up to half of a hash table is empty slots.
    pub(super) pods: HashMap<NamespacedName, Box<Pod>>,
    /// By app, then by number.
    pub(super) revisions: HashMap<name::App, BTreeMap<u64, Revision>>,
    replica_sets: HashMap<NamespacedName, ReplicaSet>,
    /// Names of the ReplicaSets of each Deployment, including Deployments that have not been seen yet.
    sets_of: HashMap<name::App, BTreeSet<Arc<str>>>,
    /// Names of the pods of each ReplicaSet, including ReplicaSets that have not been seen yet.
    pods_of: HashMap<NamespacedName, BTreeSet<Arc<str>>>,
    horizontal: HashMap<NamespacedName, HorizontalPodAutoscaler>,
    scaled: HashMap<NamespacedName, ScaledObject>,
    /// The external autoscalers of each Deployment. The first one is the one to be named.
    scalers_of: HashMap<name::App, BTreeSet<(ExternalAutoscalerKind, Arc<str>)>>,
    /// Events by object, oldest first. They are removed when Kubernetes drops them and not with the object,
    /// because an object of the same name may be created again.
    events: HashMap<About, Vec<SequencedEvent>>,
    /// Events by their own name, because a deletion gives only that.
    events_by_name: HashMap<NamespacedName, Arc<Event>>,
    sequence: u64,
    /// When the cluster last sent something about revisions.
    pub(super) revisions_heard: Option<Timestamp>,
    /// Events that came since the last [`Tables::take_fresh`].
    fresh: Vec<NamespacedName>,
    slices: HashMap<NamespacedName, EndpointSlice>,
    /// Names of the slices that contain a pod, including pods that have not been seen yet or belong to no
    /// Deployment.
    slices_of: HashMap<NamespacedName, SmallSet>,
    nodes: HashMap<Arc<str>, Node>,
    texts: Interner,
    dirty: HashSet<name::App>,
    moved: HashSet<name::App>,
}

/// Kinds of external autoscalers. KEDA creates a HorizontalPodAutoscaler for each ScaledObject, so the
/// ScaledObject comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum ExternalAutoscalerKind {
    ScaledObject,
    HorizontalPodAutoscaler,
}

/// A kind of rows that the tables hold.
pub trait Row: Clone + PartialEq + Send + 'static {
    /// What identifies a row.
    type Key: Clone + Eq + Hash + Send;
    /// Returns the key of the row.
    fn key(&self) -> Self::Key;
    #[doc(hidden)]
    fn insert(self, t: &mut Tables);
    #[doc(hidden)]
    fn remove(key: &Self::Key, t: &mut Tables);
    #[doc(hidden)]
    fn all(t: &Tables) -> impl Iterator<Item = &Self>;
}

// === impl Tables ===

impl Tables {
    /// Replaces all rows of a kind by these.
    pub(super) fn reset<R: Row>(&mut self, rows: Vec<R>) {
        let keep: HashSet<R::Key> = rows.iter().map(Row::key).collect();
        let gone: Vec<_> = R::all(self).map(Row::key).filter(|key| !keep.contains(key)).collect();
        for key in gone {
            R::remove(&key, self);
        }
        // Most rows of a list are known already. They are skipped, so that their views are not rebuilt.
        let held: HashMap<R::Key, &R> = R::all(self).map(|row| (row.key(), row)).collect();
        for row in rows.into_iter().filter(|row| held.get(&row.key()) != Some(&row)).collect::<Vec<_>>() {
            row.insert(self);
        }
    }

    pub(super) fn has_revision(&self, app: &name::App, number: u64) -> bool {
        self.history(app).is_some_and(|all| all.contains_key(&number))
    }

    pub(super) fn touch(&mut self, apps: impl IntoIterator<Item = name::App>) {
        self.dirty.extend(apps);
    }

    pub(super) fn take_dirty(&mut self) -> HashSet<name::App> {
        mem::take(&mut self.dirty)
    }

    /// Returns the external autoscaler that owns the replica count of an app, as the API writes it.
    pub(super) fn autoscaler_of(&self, app: &name::App) -> Option<String> {
        let (kind, name) = self.scalers_of.get(app)?.first()?;
        Some(match kind {
            ExternalAutoscalerKind::ScaledObject => format!("scaledobject.keda.sh/{name}"),
            ExternalAutoscalerKind::HorizontalPodAutoscaler => {
                format!("horizontalpodautoscaler.autoscaling/{name}")
            }
        })
    }

    fn scales(&mut self, kind: ExternalAutoscalerKind, row: &ExternalAutoscaler) {
        let app = scaled_by(row);
        self.scalers_of.entry(app.clone()).or_default().insert((kind, row.name.clone()));
        self.dirty.insert(app);
    }

    fn scales_no_more(&mut self, kind: ExternalAutoscalerKind, row: &ExternalAutoscaler) {
        let app = scaled_by(row);
        if let Some(all) = self.scalers_of.get_mut(&app) {
            all.remove(&(kind, row.name.clone()));
            if all.is_empty() {
                self.scalers_of.remove(&app);
            }
        }
        self.dirty.insert(app);
    }

    pub(super) fn sets(&self, app: &name::App) -> impl Iterator<Item = &ReplicaSet> {
        let namespace: Arc<str> = app.namespace.as_str().into();
        let names = self.sets_of.get(app).into_iter().flatten();
        names.filter_map(move |name| self.replica_sets.get(&(namespace.clone(), name.clone())))
    }

    /// Returns the replicas of a ReplicaSet, without pods that have ended.
    fn pods_in<'a>(&'a self, rs: &'a ReplicaSet) -> impl Iterator<Item = &'a Pod> {
        self.all_pods_in(rs).filter(|pod| pod.ended.is_none())
    }

    fn all_pods_in<'a>(&'a self, rs: &'a ReplicaSet) -> impl Iterator<Item = &'a Pod> {
        let names = self.pods_of.get(&(rs.namespace.clone(), rs.name.clone())).into_iter().flatten();
        names.filter_map(|name| self.pods.get(&(rs.namespace.clone(), name.clone())).map(|pod| &**pod))
    }

    /// Gives the events about an object new sequence numbers. Readers of its revision could not see them
    /// before the object was known.
    fn show_events(&mut self, kind: Kind, (namespace, name): &NamespacedName) {
        let about = About { namespace: namespace.clone(), kind, name: name.clone() };
        for line in self.events.get_mut(&about).into_iter().flatten() {
            self.sequence += 1;
            line.sequence = self.sequence;
        }
    }

    fn mark_set(&mut self, key: &NamespacedName) {
        if let Some(rs) = self.replica_sets.get(key) {
            self.dirty.insert(app_of(rs));
        }
    }

    fn mark_about(&mut self, about: &About) {
        let key = (about.namespace.clone(), about.name.clone());
        match about.kind {
            Kind::Deployment => {
                self.dirty.insert(name::App::new(&*about.namespace, &*about.name));
            }
            Kind::ReplicaSet => self.mark_set(&key),
            Kind::Pod => {
                if let Some(pod) = self.pods.get(&key) {
                    let set = (pod.namespace.clone(), pod.replica_set.clone());
                    self.mark_set(&set);
                }
            }
        }
    }
}

fn scaled_by(scaler: &ExternalAutoscaler) -> name::App {
    name::App::new(&*scaler.namespace, &*scaler.target)
}

fn app_of(rs: &ReplicaSet) -> name::App {
    name::App::new(&*rs.namespace, &*rs.deployment)
}

fn remove_from<K: Eq + Hash>(map: &mut HashMap<K, BTreeSet<Arc<str>>>, key: &K, name: &Arc<str>) {
    if let Some(names) = map.get_mut(key) {
        names.remove(name);
        if names.is_empty() {
            map.remove(key);
        }
    }
}

// === impl Row ===

impl Row for Deployment {
    type Key = name::App;

    fn key(&self) -> name::App {
        self.name.clone()
    }

    fn insert(self, t: &mut Tables) {
        t.dirty.insert(self.name.clone());
        t.deployments.insert(self.name.clone(), self);
    }

    fn remove(key: &name::App, t: &mut Tables) {
        t.dirty.insert(key.clone());
        t.deployments.remove(key);
    }

    fn all(t: &Tables) -> impl Iterator<Item = &Self> {
        t.deployments.values()
    }
}

impl Row for ReplicaSet {
    type Key = NamespacedName;

    fn key(&self) -> NamespacedName {
        (self.namespace.clone(), self.name.clone())
    }

    fn insert(self, t: &mut Tables) {
        let key = self.key();
        if t.replica_sets.get(&key).is_some_and(|old| old.deployment != self.deployment) {
            Self::remove(&key, t);
        }
        let numbers = |rs: &Self| (rs.revision, rs.template_revision);
        if t.replica_sets.get(&key).is_none_or(|old| numbers(old) != numbers(&self)) {
            t.show_events(Kind::ReplicaSet, &key);
            for pod in t.pods_of.get(&key).cloned().unwrap_or_default() {
                t.show_events(Kind::Pod, &(key.0.clone(), pod));
            }
        }
        let mut row = self;
        for text in [&mut row.namespace, &mut row.name, &mut row.deployment] {
            t.texts.intern(text);
        }
        t.sets_of.entry(app_of(&row)).or_default().insert(row.name.clone());
        t.dirty.insert(app_of(&row));
        t.replica_sets.insert(row.key(), row);
    }

    fn remove(key: &NamespacedName, t: &mut Tables) {
        let Some(old) = t.replica_sets.remove(key) else { return };
        let app = app_of(&old);
        remove_from(&mut t.sets_of, &app, &old.name);
        t.dirty.insert(app);
    }

    fn all(t: &Tables) -> impl Iterator<Item = &Self> {
        t.replica_sets.values()
    }
}

impl Row for Pod {
    type Key = NamespacedName;

    fn key(&self) -> NamespacedName {
        (self.namespace.clone(), self.name.clone())
    }

    fn insert(self, t: &mut Tables) {
        let key = self.key();
        if t.pods.get(&key).is_some_and(|old| old.replica_set != self.replica_set) {
            Self::remove(&key, t);
        }
        if !t.pods.contains_key(&key) {
            t.show_events(Kind::Pod, &key);
        }
        let mut row = self;
        let known = t.pods.get_key_value(&key).map(|((_, name), _)| name);
        if let Some(name) = known.or_else(|| t.slices_of.get_key_value(&key).map(|((_, name), _)| name)) {
            row.name = name.clone();
        }
        for text in [&mut row.namespace, &mut row.replica_set].into_iter().chain(&mut row.node) {
            t.texts.intern(text);
        }
        let set = (row.namespace.clone(), row.replica_set.clone());
        t.pods_of.entry(set.clone()).or_default().insert(row.name.clone());
        t.pods.insert(row.key(), Box::new(row));
        t.mark_set(&set);
    }

    fn remove(key: &NamespacedName, t: &mut Tables) {
        let Some(old) = t.pods.remove(key) else { return };
        let set = (old.namespace.clone(), old.replica_set.clone());
        remove_from(&mut t.pods_of, &set, &old.name);
        t.mark_set(&set);
    }

    fn all(t: &Tables) -> impl Iterator<Item = &Self> {
        t.pods.values().map(|pod| &**pod)
    }
}

impl Row for Revision {
    type Key = (name::App, u64);

    fn key(&self) -> Self::Key {
        (self.app.clone(), self.number)
    }

    fn insert(self, t: &mut Tables) {
        t.dirty.insert(self.app.clone());
        t.revisions.entry(self.app.clone()).or_default().insert(self.number, self);
    }

    fn remove((app, number): &Self::Key, t: &mut Tables) {
        t.dirty.insert(app.clone());
        if let Some(all) = t.revisions.get_mut(app) {
            all.remove(number);
            if all.is_empty() {
                t.revisions.remove(app);
            }
        }
    }

    fn all(t: &Tables) -> impl Iterator<Item = &Self> {
        t.revisions.values().flat_map(BTreeMap::values)
    }
}

/// Implements [`Row`] for one kind of external autoscalers.
macro_rules! scaler_rows {
    ($row:ident, $table:ident) => {
        impl Row for $row {
            type Key = NamespacedName;

            fn key(&self) -> NamespacedName {
                (self.0.namespace.clone(), self.0.name.clone())
            }

            fn insert(self, t: &mut Tables) {
                Self::remove(&self.key(), t);
                t.scales(ExternalAutoscalerKind::$row, &self.0);
                t.$table.insert(self.key(), self);
            }

            fn remove(key: &NamespacedName, t: &mut Tables) {
                if let Some(old) = t.$table.remove(key) {
                    t.scales_no_more(ExternalAutoscalerKind::$row, &old.0);
                }
            }

            fn all(t: &Tables) -> impl Iterator<Item = &Self> {
                t.$table.values()
            }
        }
    };
}
scaler_rows!(HorizontalPodAutoscaler, horizontal);
scaler_rows!(ScaledObject, scaled);
