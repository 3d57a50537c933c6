//! The writer before the cluster was reached: callers are told to wait, instead of hanging on a port that does not answer yet.

use std::sync::OnceLock;

use futures::{FutureExt, future::BoxFuture};

use crate::{
    cluster,
    domain::{
        Error,
        act::{Act, Delete, Deleted, Deploy, Deployed},
        name,
        revision::{End, Record},
    },
};

/// Acts once it is connected.
#[derive(Default)]
pub(super) struct Actor(OnceLock<cluster::Actor>);

// === impl Actor ===

impl Actor {
    /// From here on it acts. A second call changes nothing.
    pub(super) fn connect(&self, actor: cluster::Actor) {
        let _ = self.0.set(actor);
    }

    fn get(&self) -> Result<&cluster::Actor, Error> {
        self.0.get().ok_or(Error::WarmingUp)
    }
}

impl Act for Actor {
    fn deploy(&self, request: Deploy) -> BoxFuture<'_, Result<Deployed, Error>> {
        async { self.get()?.deploy(request).await }.boxed()
    }

    fn delete(&self, request: Delete) -> BoxFuture<'_, Result<Deleted, Error>> {
        async { self.get()?.delete(request).await }.boxed()
    }

    fn record(&self, app: name::App, number: u64, end: End) -> BoxFuture<'_, Result<(), Error>> {
        async move { self.get()?.record(app, number, end).await }.boxed()
    }

    fn note(&self, app: name::App, number: u64, record: Record) -> BoxFuture<'_, Result<(), Error>> {
        async move { self.get()?.note(app, number, record).await }.boxed()
    }
}
