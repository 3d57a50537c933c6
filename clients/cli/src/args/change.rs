//! The flags of the commands that change something, except `deploy`. Must not know how they are carried out.

use std::time::Duration;

use clap::Args;

use super::value;

/// Options of every change.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "This call")]
pub(crate) struct Call {
    /// Reason of the change, for the history.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub(crate) reason: String,
    /// UUID that makes the change happen once, however often it is sent [default: a fresh one].
    #[arg(long, default_value = "", hide_default_value = true, value_name = "UUID")]
    pub(crate) request_id: String,
}

/// Options that check a change first.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "This call")]
pub(crate) struct Guard {
    /// Fail if the app has changed since this etag was read.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) etag: String,
    /// Check everything and print what would happen; change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Options for what happens after the change.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "This call")]
pub(crate) struct Follow {
    /// Return as soon as the server has accepted the change.
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gantry scale shop 5
  gantry scale shop 20 --hold-for 2h --reason 'the sale'   # over an active autoscaler
  gantry scale shop 0                                      # stop it")]
pub(crate) struct Scale {
    /// `shop`, `prod/shop` or `namespaces/prod/apps/shop`.
    pub(crate) name: String,
    /// Replicas wanted; 0 stops the app.
    #[arg(value_parser = clap::value_parser!(i32).range(0..=10_000), allow_negative_numbers = true)]
    pub(crate) replicas: i32,
    /// With an active autoscaler: how long the count holds before the autoscaler sets it again, for example
    /// 2h.
    #[arg(long, value_parser = value::duration, value_name = "TIME")]
    pub(crate) hold_for: Option<Duration>,
    #[command(flatten)]
    pub(crate) call: Call,
    #[command(flatten)]
    pub(crate) guard: Guard,
    #[command(flatten)]
    pub(crate) follow: Follow,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  gantry restart shop --reason 'a new certificate'")]
pub(crate) struct Restart {
    /// `shop`, `prod/shop` or `namespaces/prod/apps/shop`.
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) call: Call,
    #[command(flatten)]
    pub(crate) guard: Guard,
    #[command(flatten)]
    pub(crate) follow: Follow,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gantry rollback shop --dry-run
  gantry rollback shop --to 12 --reason 'checkout is slow'")]
pub(crate) struct Rollback {
    /// `shop`, `prod/shop` or `namespaces/prod/apps/shop`.
    pub(crate) name: String,
    /// Rollout to go back to [default: the newest that succeeded and differs from what runs now].
    #[arg(long, value_name = "N")]
    pub(crate) to: Option<String>,
    /// Leave the autoscaler's policy unchanged.
    #[arg(long)]
    pub(crate) keep_autoscaler: bool,
    /// Take over fields that another field manager owns.
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) call: Call,
    #[command(flatten)]
    pub(crate) guard: Guard,
    #[command(flatten)]
    pub(crate) follow: Follow,
}

/// Flags of `pause`.
#[derive(Debug, Args)]
pub(crate) struct Hold {
    /// `shop`, `prod/shop` or `namespaces/prod/apps/shop`.
    pub(crate) name: String,
    /// Which rollout: its number, or latest.
    #[arg(long, default_value = "latest", value_name = "N")]
    pub(crate) rollout: String,
    #[command(flatten)]
    pub(crate) call: Call,
}

/// Flags of `resume`.
#[derive(Debug, Args)]
pub(crate) struct Resume {
    #[command(flatten)]
    pub(crate) hold: Hold,
    #[command(flatten)]
    pub(crate) follow: Follow,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gantry delete shop
  gantry delete prod/shop --dry-run   # the objects that would go")]
pub(crate) struct Delete {
    /// `shop`, `prod/shop` or `namespaces/prod/apps/shop`.
    pub(crate) name: String,
    /// Succeed if the app does not exist.
    #[arg(long)]
    pub(crate) allow_missing: bool,
    #[command(flatten)]
    pub(crate) call: Call,
    #[command(flatten)]
    pub(crate) guard: Guard,
    #[command(flatten)]
    pub(crate) follow: Follow,
}
