//! The writer, and the reader of logs, before the cluster was reached: callers are told to wait, instead of hanging on a port that does not answer yet.

use std::{sync::OnceLock, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use jiff::Timestamp;

use crate::{
    cluster,
    domain::{
        Error,
        act::{Act, Delete, Deploy, Done, Resize, Resized, Restart, Rollback, Scale, Steer, Tune},
        evidence::Evidence,
        logs::{self, Lines, Unreadable, Wanted},
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

    fn tune(&self, request: Tune) -> BoxFuture<'_, Result<Done, Error>> {
        async { self.get()?.tune(request).await }.boxed()
    }

    fn resize(&self, request: Resize) -> BoxFuture<'_, Result<Resized, Error>> {
        async { self.get()?.resize(request).await }.boxed()
    }

    fn take_hold(&self, app: name::App, length: Duration) -> BoxFuture<'_, Result<Resized, Error>> {
        async move { self.get()?.take_hold(app, length).await }.boxed()
    }

    fn settle_hold(&self, app: name::App) -> BoxFuture<'_, Result<Resized, Error>> {
        async move { self.get()?.settle_hold(app).await }.boxed()
    }

    fn record(
        &self,
        app: name::App,
        number: u64,
        end: End,
        evidence: Option<Evidence>,
    ) -> BoxFuture<'_, Result<(), Error>> {
        async move { self.get()?.record(app, number, end, evidence).await }.boxed()
    }

    fn last_words(
        &self,
        namespace: String,
        pod: String,
        container: String,
    ) -> BoxFuture<'_, Result<Vec<String>, Error>> {
        async move { self.get()?.last_words(namespace, pod, container).await }.boxed()
    }

    fn finish(&self, app: name::App) -> BoxFuture<'_, Result<(), Error>> {
        async { self.get()?.finish(app).await }.boxed()
    }

    fn set_owners(&self, app: name::App) -> BoxFuture<'_, Result<(), Error>> {
        async { self.get()?.set_owners(app).await }.boxed()
    }

    fn note(&self, app: name::App, number: u64, record: Record) -> BoxFuture<'_, Result<(), Error>> {
        async move { self.get()?.note(app, number, record).await }.boxed()
    }

    fn tidy(&self, now: Timestamp) -> BoxFuture<'_, Result<(), Error>> {
        async move { self.get()?.tidy(now).await }.boxed()
    }

    fn troubles(&self, now: Timestamp) -> Vec<String> {
        match self.0.get() {
            Some(actor) => actor.troubles(now),
            None => vec!["No Kubernetes API server has answered yet; the log says why.".to_owned()],
        }
    }
}

/// Reads logs once it is connected.
#[derive(Default)]
pub(super) struct Logs(OnceLock<cluster::logs::Reader>);

// === impl Logs ===

impl Logs {
    /// From here on it reads. A second call changes nothing.
    pub(super) fn connect(&self, reader: cluster::logs::Reader) {
        let _ = self.0.set(reader);
    }
}

impl logs::Logs for Logs {
    fn open(&self, wanted: Wanted) -> BoxFuture<'_, Result<Lines, Unreadable>> {
        match self.0.get() {
            Some(reader) => reader.open(wanted),
            None => async { Err(Unreadable::Failed(Error::WarmingUp)) }.boxed(),
        }
    }
}
