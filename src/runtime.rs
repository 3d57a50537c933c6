//! The only module that knows all the others: builds them, supervises every task, tells who is ready, ends them in order.

mod admin;
mod autoscaler;
mod log_levels;
mod recorder;
mod resume_incomplete;
mod shutdown;
mod tasks;
mod telemetry;
mod traces;

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::Context as _;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use self::{admin::Admin, log_levels::Levels, tasks::Tasks};
use crate::{
    cluster::{self, Cluster, Writer, client::ConnectError, watch, watch_audit},
    domain::Error,
    grpc::{self, Connection, Context, Health, IdempotencyCache},
    index::{AutoscalerState, Index, Kind},
};

/// Time that running calls get to end.
const GRACE: Duration = Duration::from_secs(10);
/// Pause before the next attempt to reach a cluster that did not answer.
const RECONNECT: Duration = Duration::from_secs(2);
/// How often problems that only time can turn into failures are judged again.
const TICK: Duration = Duration::from_secs(1);

/// gantryd: deploys, scales, watches and discovers applications on Kubernetes for callers in any language.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "gantryd", version)]
pub struct Args {
    #[command(flatten)]
    grpc: grpc::Args,
    /// Address of the probes, the metrics and the log level (`/livez`, `/readyz`, `/metrics`, `/log`); loopback only
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7421", env = "GANTRYD_ADMIN_LISTEN")]
    admin_listen: SocketAddr,
    #[command(flatten)]
    cluster: cluster::client::Args,
    /// How often to compare what is known with a list of the cluster, for example `10m`; `0s` never does
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = parse_duration, env = "GANTRYD_AUDIT_PERIOD")]
    audit_period: Duration,
    /// How many rollouts of an app are kept; the one that runs, the newest that succeeded and, for an hour, those that answer a repeated
    /// request stay beyond that
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=200), env = "GANTRYD_HISTORY")]
    history: u16,
    #[command(flatten)]
    telemetry: telemetry::Args,
    #[command(flatten)]
    autoscaler: autoscaler::Args,
}

/// A time as people write it: `90s`, `10m`, `1h 30m`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration =
        text.parse().map_err(|_| format!("{text:?} is no duration; write it like 90s, 10m or 1h30m"))?;
    parsed.try_into().map_err(|_| format!("{text:?} is before now"))
}

/// Runs the daemon until it is told to stop or a part of it ends.
pub fn run_daemon(args: &Args) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let telemetry = {
        let _inside = runtime.enter();
        telemetry::start_telemetry(&args.telemetry)?
    };
    let result = runtime.block_on(serve(args, telemetry.levels.clone()));
    telemetry.end();
    // Watches of a dead API server may hang in a connect; nobody waits for them.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn serve(args: &Args, levels: Levels) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let mut tasks = Tasks::new(stop.clone());
    tasks.run("signals", shutdown::on_signal(stop.clone()));

    let listener = args.grpc.bind().await?;
    let address = listener.local_addr()?;
    let admin = bind_admin(args.admin_listen).await?;
    let index = Index::new(u64::try_from(Timestamp::now().as_microsecond()).unwrap_or_default());
    tasks.run("log filter", levels.clone().run());
    tasks.run("admin", admin::serve_admin(admin, Admin { index: index.clone(), levels, stop: stop.clone() }));

    let connection = Arc::new(OnceLock::new());
    let (drain, writes) = (CancellationToken::new(), TaskTracker::new());
    let scaling = AutoscalerState::new(Timestamp::now());
    let context = Context {
        index: index.clone(),
        scaling: scaling.clone(),
        connection: connection.clone(),
        drain: drain.clone(),
        idempotency: IdempotencyCache::default(),
        writes: writes.clone(),
        readers: TaskTracker::new(),
    };
    let health = Health::new().await;
    let router = grpc::router(&context, &health, &args.grpc.allow_origin).context("cannot build the API")?;
    let accept = CancellationToken::new();
    let mut server = Tasks::new(CancellationToken::new());
    server.run("grpc", grpc::serve(listener, router, accept.clone(), GRACE));
    info!("listening on {address}");
    tasks.run("health", report(index.clone(), health.clone()));

    // Callers get a typed answer from here on, if only that the cluster is not read yet.
    let connected = tokio::select! {
        connected = connect(&args.cluster) => Some(connected?),
        () = stop.cancelled() => None,
    };
    let mut election = None;
    if let Some(cluster) = connected {
        info!(kubernetes = %cluster.version, user = %cluster.user, "connected");
        let lease_namespace = args.autoscaler.lease_namespace(&cluster);
        let writer = Writer::new(cluster.clone(), args.history.into(), lease_namespace);
        let _ = connection.set(Connection {
            commands: Arc::new(writer.clone()),
            logs: Arc::new(cluster::logs::Reader::new(cluster.clone())),
            kubernetes_version: cluster.version.clone(),
            user: cluster.user.clone(),
        });
        for kind in Kind::ALL {
            tasks.run(kind.as_str(), watch::run_watch(cluster.clone(), index.clone(), kind));
        }
        tasks.run("link", cluster.clone().monitor_api_health());
        if !args.audit_period.is_zero() {
            tasks.run("audit", watch_audit::audit_watches(cluster.clone(), index.clone(), args.audit_period));
        }
        election = autoscaler::start(
            &args.autoscaler,
            &mut tasks,
            &cluster,
            &index,
            &scaling,
            Arc::new(writer.clone()),
            address,
        );
        tasks.run("probe", watch::probe_watches(cluster, index.clone()));
        tasks.run("clock", tick(index.clone()));
        tasks.run("finisher", resume_incomplete::resume_loop(index.clone(), writer.clone()));
        tasks.run("tidier", resume_incomplete::collect_garbage(writer.clone()));
        tasks.run("recorder", recorder::record_loop(index, writer));
    }

    let outcome = tokio::select! {
        outcome = tasks.first_end() => outcome,
        outcome = server.first_end() => outcome,
    };
    // In this order: nobody new is sent here, streams end with a word, running calls end, running writes end, then all else.
    info!("draining");
    health.set_ready(false).await;
    drain.cancel();
    accept.cancel();
    server.join(GRACE + Duration::from_secs(1)).await;
    writes.close();
    if tokio::time::timeout(GRACE, writes.wait()).await.is_err() {
        warn!("writes were still running at the end of the grace period");
    }
    tasks.abort().await;
    if let Some(election) = election {
        election.release().await;
    }
    info!("stopped");
    outcome
}

async fn bind_admin(address: SocketAddr) -> anyhow::Result<TcpListener> {
    anyhow::ensure!(
        address.ip().is_loopback(),
        "--admin-listen serves loopback addresses only, and {address} is none; listen on 127.0.0.1"
    );
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address} for the probes and metrics; choose another with --admin-listen")
    })
}

/// Waits for a cluster that does not answer yet; gives up on a configuration that is no use.
async fn connect(args: &cluster::client::Args) -> anyhow::Result<Cluster> {
    loop {
        match Cluster::connect(args).await {
            Ok(cluster) => return Ok(cluster),
            Err(ConnectError::Answer(error @ (Error::Unreachable { .. } | Error::Deadline { .. }))) => {
                warn!(%error, "no cluster yet");
                tokio::time::sleep(RECONNECT).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Ready from the moment at which the cluster was read whole; from then on reads answer, if need be with their age.
async fn report(index: Index, health: Health) {
    while !index.is_filled() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    health.set_ready(true).await;
    let size = index.size();
    info!(apps = size.apps, pods = size.pods, "ready");
    std::future::pending::<()>().await;
}

async fn tick(index: Index) {
    let mut interval = tokio::time::interval(TICK);
    loop {
        interval.tick().await;
        index.tick(Timestamp::now());
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Args::command().debug_assert();
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [("0s", 0), ("90s", 90), ("10m", 600), ("1h30m", 5400)] {
            assert_eq!(super::parse_duration(text).map(|d| d.as_secs()), Ok(seconds), "{text}");
        }
        assert!(super::parse_duration("10").is_err() && super::parse_duration("-1s").is_err());
    }
}
