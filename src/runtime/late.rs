//! The writer before the cluster was reached: callers are told to wait, instead of hanging on a port that does not answer yet.

use std::sync::OnceLock;

use futures::{FutureExt, future::BoxFuture};
use jiff::Timestamp;

use crate::{
    cluster,
    domain::{
        Error,
        act::{Act, Delete, Deploy, Done, Restart, Rollback, Scale, Steer},
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
    fn deploy(&self, request: Deploy) -> BoxFuture<'_, Result<Done, Error>> {
        async { self.get()?.deploy(request).await }.boxed()
    }

    fn restart(&self, request: Restart) -> BoxFuture<'_, Result<Done, Error>> {
        async { self.get()?.restart(request).await }.boxed()
    }

    fn rollback(&self, request: Rollback) -> BoxFuture<'_, Result<Done, Error>> {
        async { self.get()?.rollback(request).await }.boxed()
    }

    fn scale(&self, request: Scale) -> BoxFuture<'_, Result<Done, Error>> {
        async { self.get()?.scale(request).await }.boxed()
    }

    fn steer(&self, request: Steer) -> BoxFuture<'_, Result<Done, Error>> {
        async { self.get()?.steer(request).await }.boxed()
    }

    fn delete(&self, request: Delete) -> BoxFuture<'_, Result<Done, Error>> {
        async { self.get()?.delete(request).await }.boxed()
    }

    fn record(&self, app: name::App, number: u64, end: End) -> BoxFuture<'_, Result<(), Error>> {
        async move { self.get()?.record(app, number, end).await }.boxed()
    }

    fn finish(&self, app: name::App) -> BoxFuture<'_, Result<(), Error>> {
        async { self.get()?.finish(app).await }.boxed()
    }

    fn note(&self, app: name::App, number: u64, record: Record) -> BoxFuture<'_, Result<(), Error>> {
        async move { self.get()?.note(app, number, record).await }.boxed()
    }

    fn troubles(&self, now: Timestamp) -> Vec<String> {
        match self.0.get() {
            Some(actor) => actor.troubles(now),
            None => vec!["No Kubernetes API server has answered yet; the log says why.".to_owned()],
        }
    }
}
