//! Who is to be woken by a change: watchers of everything, of one namespace, of one app, each by a channel of their own, so
//! that a thousand watchers of quiet apps sleep on.

use std::{collections::HashMap, hash::Hash};

use tokio::sync::watch;

use crate::domain::name::{self, Scope};

/// Channels by scope. They carry a version; its value only says that something is new.
#[derive(Default)]
pub(super) struct Subscriptions {
    all: watch::Sender<u64>,
    namespaces: HashMap<String, watch::Sender<u64>>,
    apps: HashMap<name::App, watch::Sender<u64>>,
    /// Number of channels at which those without a listener are looked for.
    sweep_at: usize,
}

/// See [`Signals::sweep_at`].
const SWEEP: usize = 1024;

// === impl Signals ===

impl Subscriptions {
    pub(super) fn subscribe(&mut self, scope: &Scope) -> watch::Receiver<u64> {
        // Channels of names that nothing ever wakes would stay for ever; a sweep at each doubling costs next to nothing.
        if self.apps.len() >= self.sweep_at {
            self.apps.retain(|_, channel| channel.receiver_count() > 0);
            self.namespaces.retain(|_, channel| channel.receiver_count() > 0);
            self.sweep_at = (self.apps.len() * 2).max(SWEEP);
        }
        match scope {
            Scope::All => self.all.subscribe(),
            Scope::Namespace(namespace) => self.namespaces.entry(namespace.clone()).or_default().subscribe(),
            Scope::App(app) => self.apps.entry(app.clone()).or_default().subscribe(),
        }
    }

    pub(super) fn notify(&mut self, name: &name::App, version: u64) {
        self.all.send_replace(version);
        wake(&mut self.namespaces, &name.namespace, version);
        wake(&mut self.apps, name, version);
    }
}

/// Wakes the subscribers of one key, and forgets the channel once nobody listens.
fn wake<K: Eq + Hash + Clone>(channels: &mut HashMap<K, watch::Sender<u64>>, key: &K, version: u64) {
    if let Some(channel) = channels.get(key) {
        if channel.receiver_count() == 0 {
            channels.remove(key);
        } else {
            channel.send_replace(version);
        }
    }
}
