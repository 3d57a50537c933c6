//! What runs for the cluster while the process lives: the watches that keep the index, and what the daemon does by itself.

use std::time::Duration;

use jiff::Timestamp;
use tracing::{info, warn};

use super::{recorder, resume_incomplete, tasks::Tasks};
use crate::{
    cluster::{self, Cluster, Writer, client::ConnectError, watch, watch_audit},
    domain::Error,
    index::{Index, Kind},
};

/// Pause before the next attempt to reach a cluster that did not answer.
const RECONNECT: Duration = Duration::from_secs(2);

/// How often problems that only time can turn into failures are judged again.
const TICK: Duration = Duration::from_secs(1);

/// Waits for a cluster that does not answer yet; gives up on a configuration that is no use.
pub(super) async fn connect(args: &cluster::client::Args) -> anyhow::Result<Cluster> {
    loop {
        match Cluster::connect(args).await {
            Ok(cluster) => {
                info!(kubernetes = %cluster.version, user = %cluster.user, "connected");
                return Ok(cluster);
            }
            Err(ConnectError::Answer(error @ (Error::Unreachable { .. } | Error::Deadline { .. }))) => {
                warn!(%error, "no cluster yet");
                tokio::time::sleep(RECONNECT).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Starts what fills the index and keeps it true; with an audit period of zero no watch is audited.
pub(super) fn watch(tasks: &mut Tasks, cluster: &Cluster, index: &Index, audit_period: Duration) {
    for kind in Kind::ALL {
        tasks.run(kind.as_str(), watch::run_watch(cluster.clone(), index.clone(), kind));
    }
    tasks.run("link", cluster.clone().monitor_api_health());
    if !audit_period.is_zero() {
        tasks.run("audit", watch_audit::audit_watches(cluster.clone(), index.clone(), audit_period));
    }
    tasks.run("probe", watch::probe_watches(cluster.clone(), index.clone()));
    tasks.run("clock", tick(index.clone()));
}

/// Starts what completes changes that were cut off, keeps verdicts, and deletes what is needed no more.
pub(super) fn maintain(tasks: &mut Tasks, writer: &Writer, index: &Index) {
    tasks.run("finisher", resume_incomplete::resume_loop(index.clone(), writer.clone()));
    tasks.run("tidier", resume_incomplete::collect_garbage(writer.clone()));
    tasks.run("recorder", recorder::record_loop(index.clone(), writer.clone()));
}

async fn tick(index: Index) {
    let mut interval = tokio::time::interval(TICK);
    loop {
        interval.tick().await;
        index.tick(Timestamp::now());
    }
}
