//! The only module that knows all other modules. Builds them, supervises every task, reports readiness, and
//! shuts everything down in order.

mod admin;
mod api_server;
mod autoscaler;
mod cluster_tasks;
mod duration;
mod log_levels;
mod recorder;
mod resume_incomplete;
mod shutdown;
mod tasks;
mod telemetry;
mod traces;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::info;

use self::{
    admin::Admin, api_server::ApiServer, autoscaler::AutoscalerParts, duration::parse_duration,
    log_levels::Levels, tasks::Tasks,
};
use crate::{
    cluster::{self, Writer},
    grpc,
    index::{AutoscalerState, Index},
};

/// gantryd: deploys, scales, watches and discovers applications on Kubernetes for callers in any language.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "gantryd", version)]
pub struct Args {
    #[command(flatten)]
    grpc: grpc::Args,
    /// Loopback address for the probes, the metrics and the log level (`/livez`, `/readyz`, `/metrics`,
    /// `/log`)
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7421", env = "GANTRYD_ADMIN_LISTEN")]
    admin_listen: SocketAddr,
    #[command(flatten)]
    cluster: cluster::client::Args,
    /// How often to compare the index with a list of the cluster, for example `10m`; `0s` disables it
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = parse_duration, env = "GANTRYD_AUDIT_PERIOD")]
    audit_period: Duration,
    /// How many rollouts to keep per app. Three kinds are kept in addition: the running one, the newest that
    /// succeeded, and for an hour those that answer a repeated request
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=200), env = "GANTRYD_HISTORY")]
    history: u16,
    #[command(flatten)]
    telemetry: telemetry::Args,
    #[command(flatten)]
    autoscaler: autoscaler::Args,
}

/// Runs the daemon until a signal stops it or one of its tasks ends.
pub fn run_daemon(args: &Args) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let telemetry = {
        let _inside = runtime.enter();
        telemetry::start_telemetry(&args.telemetry)?
    };
    let result = runtime.block_on(serve(args, telemetry.levels.clone()));
    telemetry.end();
    // A connect to a dead API server may hang. Shutdown does not wait for it.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// Serves the API, connects to the cluster and watches it, until a signal arrives or a task ends. Then shuts
/// everything down in order.
async fn serve(args: &Args, levels: Levels) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let mut tasks = Tasks::new(stop.clone());
    tasks.run("signals", shutdown::on_signal(stop.clone()));
    let index = Index::new(u64::try_from(Timestamp::now().as_microsecond()).unwrap_or_default());
    let scaling = AutoscalerState::new(Timestamp::now());

    let listener = args.grpc.bind().await?;
    let admin = admin::bind(args.admin_listen).await?;
    tasks.run("log filter", levels.clone().run());
    tasks.run("admin", admin::serve_admin(admin, Admin { index: index.clone(), levels, stop: stop.clone() }));
    // From here on callers get a typed answer, even if it is only that the cluster has not been read yet.
    let mut api = ApiServer::start(&args.grpc, listener, &index, &scaling)?;
    tasks.run("health", api.report_ready(index.clone()));

    let connected = tokio::select! {
        connected = cluster_tasks::connect(&args.cluster) => Some(connected?),
        () = stop.cancelled() => None,
    };
    let mut election = None;
    if let Some(cluster) = connected {
        let lease_namespace = args.autoscaler.lease_namespace(&cluster);
        let writer = Writer::new(cluster.clone(), args.history.into(), lease_namespace);
        api.connect(&cluster, &writer);
        cluster_tasks::watch(&mut tasks, &cluster, &index, args.audit_period);
        cluster_tasks::maintain(&mut tasks, &writer, &index);
        let loop_of = AutoscalerParts { index, scaling, scaler: Arc::new(writer), address: api.address };
        election = autoscaler::start(&args.autoscaler, &mut tasks, &cluster, loop_of);
    }

    let outcome = tokio::select! {
        outcome = tasks.first_end() => outcome,
        outcome = api.first_end() => outcome,
    };
    info!("draining");
    api.drain().await;
    tasks.abort().await;
    if let Some(election) = election {
        election.release().await;
    }
    info!("stopped");
    outcome
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Args::command().debug_assert();
    }
}
