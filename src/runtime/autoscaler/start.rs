//! Starts the autoscaling loop, and the election of the daemon that runs it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{control_loop::Autoscaler, sources::Sources};
use crate::{
    cluster::{Cluster, lease::Election},
    domain::commands::Scaler,
    index::{AutoscalerState, Index, Leader},
    runtime::{duration::parse_duration, tasks::Tasks},
};

/// Options of the autoscaler.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub(in crate::runtime) struct Args {
    /// Whether this gantryd takes part in the election of the one that runs the autoscaling loop
    #[arg(long, value_name = "WHETHER", value_enum, default_value = "on", env = "GANTRYD_AUTOSCALER")]
    autoscaler: Switch,
    /// Namespace of the Leases through which the gantryd processes of a cluster elect the one that runs the
    /// loop and recognize repeated deletions; must be the same for all [default: the namespace of the pod or
    /// of the kubeconfig's context, else default]
    #[arg(long, value_name = "NAME", env = "GANTRYD_LEASE_NAMESPACE")]
    lease_namespace: Option<String>,
    /// How long a replica count that is set outside Gantry (for example by `kubectl scale`) overrides the
    /// autoscaler; `0s` means not at all
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = parse_duration, env = "GANTRYD_FOREIGN_HOLD")]
    foreign_hold: Duration,
}

impl Args {
    /// Returns the namespace in which the daemons of this cluster store what belongs to no app.
    pub(in crate::runtime) fn lease_namespace(&self, cluster: &Cluster) -> String {
        self.lease_namespace.clone().unwrap_or_else(|| cluster.namespace.clone())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Switch {
    On,
    Off,
}

/// What the loop needs.
pub(in crate::runtime) struct AutoscalerParts {
    pub(in crate::runtime) index: Index,
    pub(in crate::runtime) scaling: AutoscalerState,
    pub(in crate::runtime) scaler: Arc<dyn Scaler>,
    /// Address at which other daemons reach this one.
    pub(in crate::runtime) address: SocketAddr,
}

/// Starts the loop and its election. Returns the election, so that leadership can be released at shutdown.
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

/// Returns the name of this machine or pod, followed by what distinguishes it from others of the same name:
/// the boot, and the network namespace in which it listens.
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
