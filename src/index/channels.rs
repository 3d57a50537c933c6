//! Channels by key, each with its latest value. A channel without a receiver is dropped.

use std::{collections::HashMap, hash::Hash};

use tokio::sync::watch::Sender;

/// Number of channels from which those without a receiver are swept.
const SWEEP: usize = 1024;

pub(super) struct Channels<K, T> {
    by_key: HashMap<K, Sender<T>>,
    /// Number of channels at which the next sweep happens.
    sweep_at: usize,
}

// === impl Channels ===

impl<K, T> Default for Channels<K, T> {
    fn default() -> Self {
        Self { by_key: HashMap::new(), sweep_at: SWEEP }
    }
}

impl<K: Clone + Eq + Hash, T: Default> Channels<K, T> {
    /// Returns the channel of a key, for a new receiver.
    pub(super) fn open(&mut self, key: &K) -> &Sender<T> {
        // A channel whose key never changes again would stay for ever. A sweep at each doubling costs next to
        // nothing.
        if self.by_key.len() >= self.sweep_at {
            self.by_key.retain(|_, channel| channel.receiver_count() > 0);
            self.sweep_at = (self.by_key.len() * 2).max(SWEEP);
        }
        self.by_key.entry(key.clone()).or_default()
    }

    /// Returns the channel of a key, if it has a receiver.
    pub(super) fn get(&self, key: &K) -> Option<&Sender<T>> {
        self.by_key.get(key).filter(|channel| channel.receiver_count() > 0)
    }

    /// Like `get`, but drops a channel without a receiver. For senders.
    pub(super) fn get_to_send(&mut self, key: &K) -> Option<&Sender<T>> {
        if self.get(key).is_none() {
            self.by_key.remove(key);
        }
        self.by_key.get(key)
    }
}
