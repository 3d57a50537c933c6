//! The flags of the commands about autoscaling. Must not know how they are carried out.
#![allow(clippy::doc_markdown)] // help texts are shown on a terminal and are not Markdown

use std::time::Duration;

use clap::{ArgGroup, Args, ValueEnum};
use gantry_client::v1;

use super::{
    change::{Call, Guard},
    value::{self, Startup},
};

const AUTOSCALE_HELP: &str = "\
Without a flag that sets something the autoscaler is shown. Flags change only what they name. The targets are one
list: each of --cpu, --memory, --rps, --concurrency and --metric replaces all earlier targets, so name every target
that is to stay.

Examples:
  gantry autoscale shop
  gantry autoscale shop --mode shadow --min 2 --max 20 --cpu 60      # decides and says so, does not act
  gantry autoscale shop --mode active --reason 'it did well'
  gantry autoscale shop --rps 100 --metric queue_depth=30            # the larger count wins
  gantry autoscale shop --scale-up-duration 0s --scale-down-duration 5m
  gantry autoscale shop --freeze-for 2h --reason 'we look into it'   # keeps the count, then goes on
  gantry autoscale shop --mode off";

/// Sets only what its flags name.
#[derive(Debug, Default, Args)]
#[command(
    after_help = AUTOSCALE_HELP,
    // These flags are about a change, and have no meaning without one.
    mut_arg("reason", needs_a_change), mut_arg("request_id", needs_a_change),
    mut_arg("etag", |arg| needs_a_change(arg).help("Fail if the autoscaler has changed since this etag was read")), mut_arg("dry_run", needs_a_change)
)]
pub(crate) struct Autoscale {
    /// `shop`, `prod/shop` or `namespaces/prod/apps/shop`.
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) policy: Policy,
    #[command(flatten)]
    pub(crate) call: Call,
    #[command(flatten)]
    pub(crate) guard: Guard,
}

/// What can be set.
#[derive(Debug, Default, Args)]
#[group(id = "Policy", multiple = true)]
#[command(next_help_heading = "Policy")]
pub(crate) struct Policy {
    /// Whether it decides, and whether it acts. Setting it ends a hold by `gantry scale`. Frozen lasts until
    /// another mode is set.
    #[arg(long, value_enum, ignore_case = true)]
    pub(crate) mode: Option<Mode>,
    /// Freeze it for this time, for example 2h; then it is active again.
    #[arg(long, value_parser = value::duration, value_name = "TIME", conflicts_with = "mode")]
    pub(crate) freeze_for: Option<Duration>,
    /// Smallest replica count; 0 lets the autoscaler stop the app [default: 1].
    #[arg(long, value_parser = clap::value_parser!(i32).range(0..=10_000), value_name = "N", allow_negative_numbers = true)]
    pub(crate) min: Option<i32>,
    /// Largest replica count.
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..=10_000), value_name = "N", allow_negative_numbers = true)]
    pub(crate) max: Option<i32>,
    /// Target: CPU in use, in percent of the request.
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..=1000), value_name = "PERCENT", allow_negative_numbers = true)]
    pub(crate) cpu: Option<i32>,
    /// Target: memory in use, in percent of the request.
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..=1000), value_name = "PERCENT", allow_negative_numbers = true)]
    pub(crate) memory: Option<i32>,
    /// Target: requests per second that one replica can take.
    #[arg(long, value_parser = value::positive, value_name = "N", allow_negative_numbers = true)]
    pub(crate) rps: Option<f64>,
    /// Target: requests in flight that one replica can take.
    #[arg(long, value_parser = value::positive, value_name = "N", allow_negative_numbers = true)]
    pub(crate) concurrency: Option<f64>,
    /// Target: how much of a metric that is sent with `gantry report` one replica can take; repeatable.
    #[arg(long = "metric", value_parser = value::target, value_name = "NAME=PER_REPLICA")]
    pub(crate) metrics: Vec<(String, f64)>,
    /// Remove all targets.
    #[arg(long, conflicts_with_all = ["cpu", "memory", "rps", "concurrency", "metrics"])]
    pub(crate) clear_targets: bool,
    /// Time over which a shortage is made up for [default: 0s, at once].
    #[arg(long, value_parser = value::duration, value_name = "TIME")]
    pub(crate) scale_up_duration: Option<Duration>,
    /// Time over which a surplus is given back [default: 2m].
    #[arg(long, value_parser = value::duration, value_name = "TIME")]
    pub(crate) scale_down_duration: Option<Duration>,
    /// With --min 0: how long without demand until the app is stopped [default: 5m].
    #[arg(long, value_parser = value::duration, value_name = "TIME")]
    pub(crate) idle_timeout: Option<Duration>,
    /// Time from asking for a replica until it is ready, or measured [default: measured].
    #[arg(long, value_parser = value::startup, value_name = "TIME")]
    pub(crate) startup_duration: Option<Startup>,
}

/// What an autoscaler may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Decides and acts.
    Active,
    /// Decides and says so, does not act.
    Shadow,
    /// Does nothing.
    Off,
    /// Decides and says so, and leaves the count unchanged.
    Frozen,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("whose").args(["name", "all_apps"]).required(true), after_help = "\
Times are UTC. With --follow each decision is a line, with -o json a line of JSON.

Examples:
  gantry decisions shop
  gantry decisions shop --outcome scaled,failed --limit 50
  gantry decisions shop --explain              # the newest one: what was measured, and what each limit made of it
  gantry decisions shop --follow
  gantry decisions --all-apps --follow --outcome scaled -o json | jq -r .decision.message")]
pub(crate) struct Decisions {
    /// `shop`, `prod/shop` or `namespaces/prod/apps/shop`.
    pub(crate) name: Option<String>,
    /// With --follow: those of every app.
    #[arg(short = 'A', long, requires = "follow")]
    pub(crate) all_apps: bool,
    /// At most this many [default: 20, with --explain 1].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), value_name = "N", conflicts_with = "follow")]
    pub(crate) limit: Option<u32>,
    /// Only decisions with one of these outcomes.
    #[arg(long = "outcome", value_enum, value_delimiter = ',', ignore_case = true, value_name = "OUTCOME")]
    pub(crate) outcomes: Vec<Outcome>,
    /// Show them as they are made, until interrupted.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Show each in full: signals, forecasts and limits.
    #[arg(long)]
    pub(crate) explain: bool,
}

/// The outcome of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Outcome {
    /// The count was right.
    Unchanged,
    /// The count was changed.
    Scaled,
    /// A limit held a change back.
    Held,
    /// A change was due, but the mode is shadow.
    Advised,
    /// The change was tried and failed.
    Failed,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A value counts until the same source reports it again, or until it is too old to be relied on. Report it every few
seconds. The values of different sources are added up.

Examples:
  gantry report shop queue_depth=420
  gantry report shop requests_per_second=37.5 concurrency=12 --source gateway-1")]
pub(crate) struct Report {
    /// `shop`, `prod/shop` or `namespaces/prod/apps/shop`.
    pub(crate) name: String,
    /// Name and value: requests_per_second, concurrency, or any name that a target uses.
    #[arg(required = true, value_parser = value::figure, value_name = "METRIC=VALUE")]
    pub(crate) figures: Vec<(String, f64)>,
    /// Name of the source; its latest value counts [default: you].
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) source: String,
}

fn needs_a_change(arg: clap::Arg) -> clap::Arg {
    arg.requires("Policy")
}

// === impl Decisions ===

impl Decisions {
    /// Returns the largest number of decisions to show.
    pub(crate) fn most(&self) -> usize {
        let limit = self.limit.unwrap_or(if self.explain { 1 } else { 20 });
        usize::try_from(limit).unwrap_or(usize::MAX)
    }
}

// === impl Mode ===

impl From<Mode> for v1::AutoscalerMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Active => Self::Active,
            Mode::Shadow => Self::Shadow,
            Mode::Off => Self::Off,
            Mode::Frozen => Self::Frozen,
        }
    }
}

// === impl Outcome ===

impl From<Outcome> for v1::ScalingOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Unchanged => Self::Unchanged,
            Outcome::Scaled => Self::Scaled,
            Outcome::Held => Self::Held,
            Outcome::Advised => Self::Advised,
            Outcome::Failed => Self::Failed,
        }
    }
}
