//! The writer, and the reader of logs, before the cluster was reached: callers are told to wait, instead of hanging on a port that does not answer yet.

use std::{sync::OnceLock, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use jiff::Timestamp;

use crate::{
    cluster,
    domain::{
        Error,
        commands::{
            CommandResult, Commands, Delete, Deploy, Restart, Rollback, Scale, ScaleOutcome, SetPaused,
            SetReplicas, UpdateAutoscaler,
        },
        evidence::Evidence,
        logs::{self, Lines, LogError, LogRequest},
        name,
        revision::{End, Record},
    },
};

/// Acts once it is connected.
#[derive(Default)]
pub(super) struct Actor(OnceLock<cluster::Writer>);

// === impl Actor ===

impl Actor {
    /// From here on it acts. A second call changes nothing.
    pub(super) fn connect(&self, actor: cluster::Writer) {
        let _ = self.0.set(actor);
    }

    fn get(&self) -> Result<&cluster::Writer, Error> {
        self.0.get().ok_or(Error::WarmingUp)
    }
}

impl Commands for Actor {
    fn deploy(&self, request: Deploy) -> BoxFuture<'_, Result<CommandResult, Error>> {
        async { self.get()?.deploy(request).await }.boxed()
    }

    fn restart(&self, request: Restart) -> BoxFuture<'_, Result<CommandResult, Error>> {
        async { self.get()?.restart(request).await }.boxed()
    }

    fn rollback(&self, request: Rollback) -> BoxFuture<'_, Result<CommandResult, Error>> {
        async { self.get()?.rollback(request).await }.boxed()
    }

    fn scale(&self, request: Scale) -> BoxFuture<'_, Result<CommandResult, Error>> {
        async { self.get()?.scale(request).await }.boxed()
    }

    fn set_paused(&self, request: SetPaused) -> BoxFuture<'_, Result<CommandResult, Error>> {
        async { self.get()?.set_paused(request).await }.boxed()
    }

    fn delete(&self, request: Delete) -> BoxFuture<'_, Result<CommandResult, Error>> {
        async { self.get()?.delete(request).await }.boxed()
    }

    fn update_autoscaler(&self, request: UpdateAutoscaler) -> BoxFuture<'_, Result<CommandResult, Error>> {
        async { self.get()?.update_autoscaler(request).await }.boxed()
    }

    fn set_replicas(&self, request: SetReplicas) -> BoxFuture<'_, Result<ScaleOutcome, Error>> {
        async { self.get()?.set_replicas(request).await }.boxed()
    }

    fn create_hold(&self, app: name::App, length: Duration) -> BoxFuture<'_, Result<ScaleOutcome, Error>> {
        async move { self.get()?.create_hold(app, length).await }.boxed()
    }

    fn complete_hold(&self, app: name::App) -> BoxFuture<'_, Result<ScaleOutcome, Error>> {
        async move { self.get()?.complete_hold(app).await }.boxed()
    }

    fn record_verdict(
        &self,
        app: name::App,
        number: u64,
        end: End,
        evidence: Option<Evidence>,
    ) -> BoxFuture<'_, Result<(), Error>> {
        async move { self.get()?.record_verdict(app, number, end, evidence).await }.boxed()
    }

    fn last_log_lines(
        &self,
        namespace: String,
        pod: String,
        container: String,
    ) -> BoxFuture<'_, Result<Vec<String>, Error>> {
        async move { self.get()?.last_log_lines(namespace, pod, container).await }.boxed()
    }

    fn resume_incomplete(&self, app: name::App) -> BoxFuture<'_, Result<(), Error>> {
        async { self.get()?.resume_incomplete(app).await }.boxed()
    }

    fn repair_revision_owners(&self, app: name::App) -> BoxFuture<'_, Result<(), Error>> {
        async { self.get()?.repair_revision_owners(app).await }.boxed()
    }

    fn record_external_change(
        &self,
        app: name::App,
        number: u64,
        record: Record,
    ) -> BoxFuture<'_, Result<(), Error>> {
        async move { self.get()?.record_external_change(app, number, record).await }.boxed()
    }

    fn collect_garbage(&self, now: Timestamp) -> BoxFuture<'_, Result<(), Error>> {
        async move { self.get()?.collect_garbage(now).await }.boxed()
    }

    fn health_warnings(&self, now: Timestamp) -> Vec<String> {
        match self.0.get() {
            Some(actor) => actor.health_warnings(now),
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
    fn open(&self, wanted: LogRequest) -> BoxFuture<'_, Result<Lines, LogError>> {
        match self.0.get() {
            Some(reader) => reader.open(wanted),
            None => async { Err(LogError::Failed(Error::WarmingUp)) }.boxed(),
        }
    }
}
