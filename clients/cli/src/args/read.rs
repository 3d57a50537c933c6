//! The flags of the commands that change nothing. Must not know how they are carried out.

use clap::{Args, Subcommand, ValueEnum};
use gantry_client::v1;

/// An app.
#[derive(Debug, Args)]
pub(crate) struct Name {
    /// `shop`, `prod/shop` or `namespaces/prod/apps/shop`.
    pub(crate) name: String,
}

/// Which apps.
#[derive(Debug, Args)]
pub(crate) struct Scope {
    /// Every namespace.
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// Kubernetes label selector.
    #[arg(short = 'l', long, default_value = "", hide_default_value = true)]
    pub(crate) selector: String,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gantry list -A --state failed,degraded\n  gantry list -l team=checkout -o name"
)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) scope: Scope,
    /// Only apps in one of these states.
    #[arg(long = "state", value_enum, value_delimiter = ',', ignore_case = true, value_name = "STATE")]
    pub(crate) states: Vec<State>,
}

/// States of apps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    Active,
    Updating,
    Degraded,
    Failed,
    Stopped,
    Deleting,
}

#[derive(Debug, Args)]
#[command(after_help = "\
On a terminal the table is redrawn at each change; elsewhere each change is a line, with -o json a line of JSON.

Examples:
  gantry watch
  gantry watch shop -o json | jq .updated.status.state")]
pub(crate) struct Watch {
    /// One app instead of the whole namespace.
    #[arg(conflicts_with_all = ["all_namespaces", "selector"])]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) scope: Scope,
}

#[derive(Debug, Args)]
#[command(after_help = "\
An app is settled when no change is under way. The exit status is then 0 if the app is as asked for, and 1 if it is
degraded or failed.

Examples:
  gantry wait shop --timeout 2m
  gantry wait shop --rollout 12")]
pub(crate) struct Wait {
    /// `shop`, `prod/shop` or `namespaces/prod/apps/shop`.
    pub(crate) name: String,
    /// A rollout instead of the app: its number, or latest.
    #[arg(long, value_name = "N")]
    pub(crate) rollout: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gantry rollouts shop
  gantry rollouts shop --rollout 12           # all that is known about one
  gantry rollouts shop --limit 1 -o json --full")]
pub(crate) struct Rollouts {
    /// `shop`, `prod/shop` or `namespaces/prod/apps/shop`.
    pub(crate) name: String,
    /// Show this one in full: its number, or latest.
    #[arg(long, value_name = "N", conflicts_with_all = ["limit", "full"])]
    pub(crate) rollout: Option<String>,
    /// At most this many.
    #[arg(long, default_value_t = 20, value_name = "N")]
    pub(crate) limit: usize,
    /// With -o json or yaml: also spec, autoscaler and failure of each.
    #[arg(long)]
    pub(crate) full: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Rollout {
    /// Show a rollout live until it has ended: its counts, a line for each replica, and what is wrong with
    /// its last log lines.
    #[command(after_help = "\
The exit status is 0 if it succeeded, 1 if it failed, 3 if it still runs at the time limit.

Examples:
  gantry rollout watch shop
  gantry rollout watch shop --rollout 12")]
    Watch {
        /// `shop`, `prod/shop` or `namespaces/prod/apps/shop`.
        name: String,
        /// Its number, or latest.
        #[arg(long, default_value = "latest", value_name = "N")]
        rollout: String,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "\
gRPC clients do not need this command: they resolve xds:///APP.NAMESPACE through the same server.

Examples:
  gantry endpoints shop --port http
  gantry endpoints shop --all --watch")]
pub(crate) struct Endpoints {
    /// `shop`, `prod/shop` or `namespaces/prod/apps/shop`.
    pub(crate) name: String,
    /// Name of the port [default: the only one, or grpc].
    #[arg(short, long, default_value = "", hide_default_value = true, value_name = "NAME")]
    pub(crate) port: String,
    /// Include endpoints that take no traffic.
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Show them as they change, until interrupted.
    #[arg(short, long)]
    pub(crate) watch: bool,
}

// === impl State ===

impl From<State> for v1::AppState {
    fn from(state: State) -> Self {
        match state {
            State::Active => Self::Active,
            State::Updating => Self::Updating,
            State::Degraded => Self::Degraded,
            State::Failed => Self::Failed,
            State::Stopped => Self::Stopped,
            State::Deleting => Self::Deleting,
        }
    }
}
