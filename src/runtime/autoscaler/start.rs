//! Starts the autoscaling loop, and the election for the server that runs it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{control_loop::Autoscaler, sources::Sources};
use crate::{
    cluster::{Cluster, lease::Election},
    domain::commands::Scaler,
    index::{AutoscalerState, Index, Leader},
    runtime::{duration::parse_duration, tasks::Tasks},
};

/// How the loop is run.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub(in crate::runtime) struct Args {
    /// Whether this server runs the autoscaling loop, if no other one does
    #[arg(long, value_name = "WHETHER", value_enum, default_value = "on", env = "GANTRYD_AUTOSCALER")]
    autoscaler: Switch,
    /// Namespace of the Leases by which the servers of a cluster agree which of them runs the loop, and know a repeated deletion; all
    /// must name the same
    /// [default: the namespace of the pod or of the kubeconfig's context, else default]
    #[arg(long, value_name = "NAME", env = "GANTRYD_LEASE_NAMESPACE")]
    lease_namespace: Option<String>,
    /// How long a replica count that somebody sets past this server (`kubectl scale`) stands over the autoscaler; `0s`: not at all
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = parse_duration, env = "GANTRYD_FOREIGN_HOLD")]
    foreign_hold: Duration,
}

impl Args {
    /// Where the servers of this cluster keep what belongs to no app.
    pub(in crate::runtime) fn lease_namespace(&self, cluster: &Cluster) -> String {
        self.lease_namespace.clone().unwrap_or_else(|| cluster.namespace.clone())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Switch {
    On,
    Off,
}

/// What the loop works on.
pub(in crate::runtime) struct AutoscalerParts {
    pub(in crate::runtime) index: Index,
    pub(in crate::runtime) scaling: AutoscalerState,
    pub(in crate::runtime) scaler: Arc<dyn Scaler>,
    /// Where other servers reach this one.
    pub(in crate::runtime) address: SocketAddr,
}

/// Starts the loop and the election for it; gives this server's part in it, to be given up at the end.
pub(in crate::runtime) fn start(
    args: &Args,
    tasks: &mut Tasks,
    cluster: &Cluster,
    parts: AutoscalerParts,
) -> Option<Election> {
    let AutoscalerParts { index, scaling, scaler, address } = parts;
    let (now, stands) = (Timestamp::now(), args.autoscaler == Switch::On);
    if !stands {
        scaling.set_leader(Leader::Off, now);
    }
    let namespace = args.lease_namespace(cluster);
    let election = Election::new(cluster.clone(), namespace, &host_identity(), address, now, stands);
    tasks.run("lease", election.clone().run(scaling.clone()));
    if !stands {
        return None;
    }
    let sources = Sources::new(Arc::new(cluster.clone()), scaling.clone());
    tasks.run("autoscaler", Autoscaler::new(index, scaling, scaler, sources, args.foreign_hold).run());
    Some(election)
}

/// The name of this machine, or of the pod, and what tells it from others of that name: the boot, and the network in which it listens.
fn host_identity() -> String {
    let read = |path: &str| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let told = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
    let name = told.or_else(|| read("/proc/sys/kernel/hostname")).unwrap_or_else(|| "localhost".to_owned());
    let boot = read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let network =
        std::fs::read_link("/proc/self/ns/net").map(|path| path.display().to_string()).unwrap_or_default();
    let network: String = network.chars().filter(char::is_ascii_digit).collect();
    format!("{name}-{}-{network}", boot.split('-').next().unwrap_or_default())
}
