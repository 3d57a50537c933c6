//! Tasks that work with the cluster while the process runs: the watches that fill the index, and the work
//! that the daemon does without a caller.

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

/// Interval at which problems that become failures only with time are checked again.
const TICK: Duration = Duration::from_secs(1);

/// Connects to the cluster, and retries while it does not answer. Returns an error if the configuration is
/// unusable.
pub(super) async fn connect(args: &cluster::client::Args) -> anyhow::Result<Cluster> {
    loop {
        match Cluster::connect(args).await {
            Ok(cluster) => {
                info!(kubernetes = %cluster.version, user = %cluster.user, "connected");
                return Ok(cluster);
            }
            Err(ConnectError::Answer(error @ (Error::Unreachable { .. } | Error::Deadline { .. }))) => {
                warn!(%error, "cannot reach the cluster yet; trying again");
                tokio::time::sleep(RECONNECT).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Starts the tasks that fill the index and keep it correct. An audit period of zero disables the audit.
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

/// Starts the tasks that complete changes that were cut off, store verdicts, and delete what is no longer
/// needed.
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
