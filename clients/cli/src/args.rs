//! What can be written on the command line. Must not know how commands are carried out.
#![allow(clippy::doc_markdown)] // help texts are shown on a terminal and are not Markdown

pub(crate) mod autoscale;
pub(crate) mod change;
pub(crate) mod deploy;
pub(crate) mod read;
pub(crate) mod timeline;
pub(crate) mod value;

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use self::{
    autoscale::{Autoscale, Decisions, Report},
    change::{Delete, Hold, Restart, Resume, Rollback, Scale},
    deploy::Deploy,
    read::{Endpoints, List, Name, Rollout, Rollouts, Wait, Watch},
    timeline::{Logs, Timeline},
};

const AFTER_HELP: &str = "\
Settings come from flags, then from the environment, then from the configuration file:
  --server     GANTRY_ADDR        server = \"127.0.0.1:7420\"
  --namespace  GANTRY_NAMESPACE   namespace = \"default\"
  --token      GANTRY_TOKEN       token = \"...\"
  --token-file GANTRY_TOKEN_FILE  token_file = \"token\"
  --ca-file    GANTRY_CA_FILE     ca_file = \"ca.pem\"
The file is the one that GANTRY_CONFIG names, else ~/.config/gantry/config.toml.

Exit status:
  0    done
  1    failed; the reason is printed
  2    wrong usage or bad input
  3    still not done at the time limit
  130  interrupted

Example:
  gantry deploy shop --image registry.example.org/shop:1.4 --replicas 3 --port http=8080/http";

/// Deploys, scales, watches and discovers apps on Kubernetes through a Gantry server.
#[derive(Debug, Parser)]
#[command(name = "gantry", version, after_help = AFTER_HELP, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// How results are printed: on a terminal a table is cut to its width, wide is not; json is the proto
    /// JSON of the API.
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
    /// Time limit, for example 90s or 5m [default: 10m for deploy and every command that follows a rollout,
    /// 5m for wait and delete, 30s for reads].
    #[arg(long, global = true, value_parser = value::duration, value_name = "TIME")]
    pub(crate) timeout: Option<Duration>,
    /// How progress is shown: auto draws on a terminal and writes lines elsewhere.
    #[arg(long, global = true, value_enum, default_value_t = Progress::Auto, value_name = "HOW")]
    pub(crate) progress: Progress,
    /// Say on standard error which settings are used and where they come from; show every check and node of a
    /// dry run.
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
}

/// Settings that the environment and the configuration file can hold too.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Settings {
    /// Address of gantryd; with https:// in front it is reached over TLS [env: GANTRY_ADDR] [default:
    /// 127.0.0.1:7420].
    #[arg(short, long, global = true, value_name = "HOST:PORT")]
    pub(crate) server: Option<String>,
    /// Kubernetes namespace of names without one, such as shop [env: GANTRY_NAMESPACE] [default: default].
    #[arg(short, long, global = true)]
    pub(crate) namespace: Option<String>,
    /// Bearer token; other users of this machine may see it on the command line, so prefer the other ways to
    /// set it [env: GANTRY_TOKEN].
    #[arg(long, global = true, hide_short_help = true, conflicts_with = "token_file")]
    pub(crate) token: Option<String>,
    /// File with the bearer token [env: GANTRY_TOKEN_FILE].
    #[arg(long, global = true, hide_short_help = true, value_name = "PATH")]
    pub(crate) token_file: Option<PathBuf>,
    /// Certificates of the authorities that may sign the certificate of gantryd, as PEM [env: GANTRY_CA_FILE]
    /// [default: those of the system].
    #[arg(long, global = true, hide_short_help = true, value_name = "PATH")]
    pub(crate) ca_file: Option<PathBuf>,
}

/// What `--output` takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    #[default]
    Table,
    Wide,
    Json,
    Yaml,
    Name,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Table,
    Json,
    Yaml,
    Name,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    #[default]
    Auto,
    Plain,
    None,
}

// === impl Output ===

impl Output {
    /// Returns the format; a wide table is a table.
    pub(crate) fn format(self) -> Format {
        match self {
            Self::Table | Self::Wide => Format::Table,
            Self::Json => Format::Json,
            Self::Yaml => Format::Yaml,
            Self::Name => Format::Name,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create or change an app, and follow its rollout to the end.
    Deploy(Box<Deploy>),
    /// Show one app: its state, its replicas, and what is wrong with it.
    #[command(
        after_help = "Examples:\n  gantry get shop\n  gantry get prod/shop -o yaml > shop.yaml   # for gantry deploy -f"
    )]
    Get(Name),
    /// List apps.
    List(List),
    /// List the replicas of an app.
    #[command(after_help = "Example:\n  gantry replicas shop")]
    Replicas(Name),
    /// Show apps as they change, until interrupted.
    Watch(Watch),
    /// Set the replica count, and wait until it is reached.
    Scale(Scale),
    /// Show or set the autoscaler of an app: whether it acts, within which bounds, by which targets.
    Autoscale(Box<Autoscale>),
    /// List what the autoscaler of an app decided and why, newest first, or follow it.
    Decisions(Decisions),
    /// Tell an autoscaler numbers that only you know, for example the length of a queue.
    Report(Report),
    /// Replace every replica without changing the app, and follow the rollout to the end.
    Restart(Restart),
    /// List the rollouts of an app, newest first, or show one of them.
    Rollouts(Rollouts),
    /// Follow one rollout to its end.
    #[command(
        subcommand,
        arg_required_else_help = true,
        after_help = "Example:\n  gantry rollout watch shop"
    )]
    Rollout(Rollout),
    /// Return to an earlier rollout, and follow the new one to the end.
    Rollback(Rollback),
    /// Hold a rollout where it is.
    #[command(after_help = "Example:\n  gantry pause shop --reason 'looking at the first replica'")]
    Pause(Hold),
    /// Let a held rollout go on, and follow it to the end.
    #[command(after_help = "Example:\n  gantry resume shop")]
    Resume(Resume),
    /// Wait until an app is settled, or until a rollout has ended.
    Wait(Wait),
    /// List the addresses at which an app takes traffic.
    Endpoints(Endpoints),
    /// Print what the replicas of an app log, or follow it.
    Logs(Logs),
    /// Show what happened to an app, in order of time, or follow it.
    Timeline(Timeline),
    /// Delete an app and everything that was created for it.
    Delete(Delete),
    /// Show the server: its version, its cluster and how fresh its view is. Also show the settings of this
    /// program and where they come from.
    #[command(after_help = "Example:\n  gantry info --server gantry.example.org:7420")]
    Info,
    /// Print a completion script for a shell.
    #[command(
        after_help = "Examples:\n  source <(gantry completion bash)\n  gantry completion fish > ~/.config/fish/completions/gantry.fish"
    )]
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[cfg(test)]
mod tests;
