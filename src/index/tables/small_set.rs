//! A set of names that nearly always has one element: a pod is in one EndpointSlice, rarely in more.

use std::sync::Arc;

/// The names.
pub(super) enum SmallSet {
    /// The usual case, without an allocated list.
    One(Arc<str>),
    /// No name, or several.
    List(Vec<Arc<str>>),
}

// === impl SmallSet ===

impl Default for SmallSet {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl SmallSet {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<str>> {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::List(names) => names.as_slice(),
        }
        .iter()
    }

    pub(super) fn insert(&mut self, name: &Arc<str>) {
        match self {
            Self::One(known) if known == name => {}
            Self::One(known) => *self = Self::List(vec![known.clone(), name.clone()]),
            Self::List(names) if names.is_empty() => *self = Self::One(name.clone()),
            Self::List(names) if names.contains(name) => {}
            Self::List(names) => names.push(name.clone()),
        }
    }

    pub(super) fn remove(&mut self, name: &Arc<str>) {
        match self {
            Self::One(known) if known == name => *self = Self::default(),
            Self::One(_) => {}
            Self::List(names) => names.retain(|known| known != name),
        }
    }
}
