//! The flags of `logs` and `timeline`. Must not know how they are carried out.

use std::time::Duration;

use clap::Args;

use super::value;

#[derive(Debug, Args)]
#[command(after_help = "\
Lines of all replicas come in order of time, each after the name of its pod. Notices about a log (it begins, it
ended, lines were dropped because they were not read in time) go to standard error.

Examples:
  gantry logs shop
  gantry logs shop -f --tail 0                 # only new lines, also of new replicas
  gantry logs shop --since 10m | grep -i error
  gantry logs shop --previous --pod shop-6f7c9-x2x4z
  gantry logs shop -o json | jq -r 'select(.line) | .line.text'")]
pub(crate) struct Logs {
    /// `shop`, `prod/shop` or `namespaces/prod/apps/shop`.
    pub(crate) name: String,
    /// Go on with new lines, and with new replicas, until interrupted.
    #[arg(short, long, conflicts_with = "previous")]
    pub(crate) follow: bool,
    /// The container before its last restart.
    #[arg(long)]
    pub(crate) previous: bool,
    /// Only lines of the last TIME, for example 10m [default: the last lines, whenever they were written].
    #[arg(long, value_parser = value::duration, value_name = "TIME")]
    pub(crate) since: Option<Duration>,
    /// At most this many past lines of each replica [default: 100, with --since all].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    pub(crate) tail: Option<i32>,
    /// Only this replica.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) pod: String,
    /// Only replicas of this rollout: its number, or latest.
    #[arg(long, value_name = "N")]
    pub(crate) rollout: Option<String>,
    /// A container other than the app's own.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "NAME")]
    pub(crate) container: String,
    /// Put the time in front of each line.
    #[arg(short, long)]
    pub(crate) timestamps: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Rollouts, problems, scaling, endpoints, Kubernetes events and calls, also refused ones, in order of time. Times are UTC.

Examples:
  gantry timeline shop
  gantry timeline shop --since 10m --follow
  gantry timeline shop -o json | jq -r 'select(.entry.call) | .entry.actor + \" \" + .entry.message'")]
pub(crate) struct Timeline {
    /// `shop`, `prod/shop` or `namespaces/prod/apps/shop`.
    pub(crate) name: String,
    /// Go on with what happens, until interrupted.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// How far back to begin.
    #[arg(long, value_parser = value::duration, default_value = "1h", value_name = "TIME")]
    pub(crate) since: Duration,
}
