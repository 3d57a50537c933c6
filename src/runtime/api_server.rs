//! The API as a part of the process: its port, its health, and its shutdown. Must not know how the cluster is
//! watched.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use super::tasks::Tasks;
use crate::{
    cluster::{Cluster, Writer, logs},
    grpc::{self, Connection, Context, Health, IdempotencyCache, Turns},
    index::{AutoscalerState, Index},
};

/// Time that running calls get to finish.
const GRACE: Duration = Duration::from_secs(10);

/// The running server of the API.
pub(super) struct ApiServer {
    /// Where it listens.
    pub(super) address: SocketAddr,
    context: Context,
    health: Health,
    accept: CancellationToken,
    tasks: Tasks,
}

// === impl ApiServer ===

impl ApiServer {
    /// Starts serving. Every call answers `WARMING_UP` until the cluster has been reached and read.
    pub(super) fn start(
        args: &grpc::Args,
        listener: TcpListener,
        index: &Index,
        scaling: &AutoscalerState,
    ) -> anyhow::Result<Self> {
        let address = listener.local_addr()?;
        let context = Context {
            index: index.clone(),
            scaling: scaling.clone(),
            connection: Arc::new(OnceLock::new()),
            drain: CancellationToken::new(),
            idempotency: IdempotencyCache::default(),
            turns: Turns::default(),
            writes: TaskTracker::new(),
            readers: TaskTracker::new(),
        };
        let health = Health::default();
        let router = grpc::router(&context, &health, &args.allow_origin).context("cannot build the API")?;
        let accept = CancellationToken::new();
        let mut tasks = Tasks::new(CancellationToken::new());
        tasks.run("grpc", grpc::serve(listener, router, accept.clone(), GRACE));
        info!("listening on {address}");
        Ok(Self { address, context, health, accept, tasks })
    }

    /// Makes the cluster available to calls.
    pub(super) fn connect(&self, cluster: &Cluster, writer: &Writer) {
        let connection = Connection {
            commands: Arc::new(writer.clone()),
            logs: Arc::new(logs::Reader::new(cluster.clone())),
            kubernetes_version: cluster.version.clone(),
            user: cluster.user.clone(),
        };
        // This is the only place that sets it.
        let _ = self.context.connection.set(connection);
    }

    /// Reports ready once the whole cluster has been read. From then on reads are answered, if necessary with
    /// their age.
    pub(super) fn report_ready(&self, index: Index) -> impl Future<Output = ()> + use<> {
        let health = self.health.clone();
        async move {
            while !index.is_filled() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            health.set_ready(true);
            let size = index.size();
            info!(apps = size.apps, pods = size.pods, "ready");
            std::future::pending::<()>().await;
        }
    }

    /// Waits until a task of the server ends, which should not happen.
    pub(super) async fn first_end(&mut self) -> anyhow::Result<()> {
        self.tasks.first_end().await
    }

    /// Shuts down in this order: new calls are no longer sent here, streams end with a final message, running
    /// calls finish, running writes finish.
    pub(super) async fn drain(mut self) {
        self.health.set_ready(false);
        self.context.drain.cancel();
        self.accept.cancel();
        self.tasks.join(GRACE + Duration::from_secs(1)).await;
        self.context.writes.close();
        if tokio::time::timeout(GRACE, self.context.writes.wait()).await.is_err() {
            warn!("writes were still running at the end of the grace period");
        }
    }
}
