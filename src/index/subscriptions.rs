//! Which watchers a change wakes: those of everything, of one namespace and of one app. Each namespace and
//! app has its own channel, so that a change does not wake a thousand watchers of other apps.

use tokio::sync::watch;

use super::channels::Channels;
use crate::domain::name::{self, Scope};

/// Channels by scope. They carry a version, which only signals that something is new.
#[derive(Default)]
pub(super) struct Subscriptions {
    all: watch::Sender<u64>,
    namespaces: Channels<String, u64>,
    apps: Channels<name::App, u64>,
}

// === impl Subscriptions ===

impl Subscriptions {
    pub(super) fn subscribe(&mut self, scope: &Scope) -> watch::Receiver<u64> {
        match scope {
            Scope::All => self.all.subscribe(),
            Scope::Namespace(namespace) => self.namespaces.open(namespace).subscribe(),
            Scope::App(app) => self.apps.open(app).subscribe(),
        }
    }

    pub(super) fn notify(&mut self, name: &name::App, version: u64) {
        self.all.send_replace(version);
        let channels = [self.namespaces.get_to_send(&name.namespace), self.apps.get_to_send(name)];
        for channel in channels.into_iter().flatten() {
            channel.send_replace(version);
        }
    }
}
