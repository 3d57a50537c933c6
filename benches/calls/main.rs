//! The scoreboard: what calls of the daemon cost, compared with their limits (a bare gRPC echo, a bare GET,
//! bare patches, a bare watch) and with other tools that do the same (helm, kubectl), measured in the same
//! run and interleaved. Also its start and its memory. This file owns the order of the run. `benches/run`
//! starts it on a separate control plane.
//!
//! Absolute figures of one machine at one moment mean little; ratios within a run mean more. So every
//! measurement has rounds in which all contenders take turns, and the report shows the spread over the
//! rounds.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::large_futures,
    clippy::wildcard_enum_match_arm
)]

mod changes;
mod counted;
mod deploys;
mod echo;
mod endpoints;
mod memory;
mod peers;
mod place;
mod reads;
mod report;
mod rollouts;
mod starts;
mod stats;

use std::time::Instant;

use self::{
    place::{Daemon, Place},
    report::Report,
};

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Size {
    pub name: &'static str,
    pub rounds: usize,
    pub apps: usize,
    pub replicas: i32,
    pub watchers: usize,
    pub churn_seconds: u64,
}

const QUICK: Size =
    Size { name: "quick", rounds: 5, apps: 50, replicas: 20, watchers: 1000, churn_seconds: 30 };
/// Needs a control plane with enough nodes for its pods.
const FULL: Size = Size { name: "full", apps: 500, ..QUICK };
/// For trying a change of the benchmark.
const SMALL: Size = Size { name: "small", rounds: 2, apps: 5, replicas: 4, watchers: 40, churn_seconds: 3 };

impl Size {
    /// Pods that fill the cluster.
    pub fn pods(self) -> usize {
        self.apps * usize::try_from(self.replicas).unwrap_or_default()
    }
}

fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if let [mode, bytes] = &args[..]
        && mode == "echo"
    {
        return runtime.block_on(echo::serve(bytes.parse().unwrap()));
    }
    let is = |what: &str| args.iter().any(|arg| arg == what);
    let size = match (is("small"), is("full")) {
        (true, _) => SMALL,
        (_, true) => FULL,
        _ => QUICK,
    };
    runtime.block_on(run(size));
}

async fn run(size: Size) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let begun = Instant::now();
    let mut report = Report::begin(size);
    let place = Place::new().await;

    let daemon = Daemon::start().await;
    report.memory("idle, nothing in the cluster", daemon.memory());
    for table in starts::measure(&place, &daemon, size).await {
        report.add(table);
    }
    report.memory("after it deployed them", daemon.memory());
    println!("filled after {:.0?}", begun.elapsed());

    report.add(reads::latency(&place, &daemon, size).await);
    report.add(reads::throughput(&place, &daemon, size).await);
    report.add(changes::measure(&place, &daemon, size).await);
    report.add(endpoints::measure(&place, &daemon, size).await);
    for table in deploys::measure(&place, &daemon, size).await {
        report.add(table);
    }
    report.add(rollouts::measure(&place, &daemon, size).await);
    println!("measured calls after {:.0?}", begun.elapsed());
    drop(daemon);
    memory::measure(&place, size, &mut report).await;
    place.remove().await;
    report.end(begun.elapsed());
}
