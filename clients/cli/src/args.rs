//! What can be written on the command line. Must not know how commands are carried out.

pub(crate) mod value;

use std::{path::PathBuf, time::Duration};

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use gantry_client::v1;

use self::value::Pair;

const EXIT_STATUS: &str = "\
Exit status:
  0    done
  1    failed; the reason is printed
  2    wrong usage or bad input
  3    still not done at the time limit
  130  interrupted";

/// Deploys, watches and deletes apps on Kubernetes through a Gantry server.
#[derive(Debug, Parser)]
#[command(name = "gantry", version, after_help = EXIT_STATUS, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Address of the server.
    #[arg(
        short,
        long,
        global = true,
        env = "GANTRY_ADDR",
        default_value = "127.0.0.1:7420",
        value_name = "HOST:PORT"
    )]
    pub(crate) server: String,
    /// Kubernetes namespace of names that do not say theirs.
    #[arg(short, long, global = true, env = "GANTRY_NAMESPACE", default_value = "default")]
    pub(crate) namespace: String,
    /// How results are printed; json is the proto JSON of the API.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    /// Time limit, for example 90s or 5m [default: deploy 10m, wait and delete 5m, reads 30s].
    #[arg(long, global = true, value_parser = value::duration, value_name = "TIME")]
    pub(crate) timeout: Option<Duration>,
    /// How progress is shown: auto draws on a terminal and writes lines elsewhere.
    #[arg(long, global = true, value_enum, default_value_t = Progress::Auto, value_name = "HOW")]
    pub(crate) progress: Progress,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
    Yaml,
    Name,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    Auto,
    Plain,
    None,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create or change an app, and follow its rollout to the end.
    Deploy(Box<Deploy>),
    /// Show one app: its state, its replicas, and what is wrong with it.
    Get(Name),
    /// List apps.
    List(List),
    /// Print apps as they change, until interrupted.
    Watch(Watch),
    /// Wait until a rollout has ended.
    Wait(Wait),
    /// Delete an app and everything that was created for it.
    Delete(Delete),
    /// Show the server: its version, its cluster and how fresh its view is.
    Info,
    /// Print a completion script for a shell.
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// An app.
#[derive(Debug, Args)]
pub(crate) struct Name {
    /// `shop`, `prod/shop` or `namespaces/prod/apps/shop`.
    pub(crate) name: String,
}

/// Flags set only what they name; lists and maps are replaced whole.
#[derive(Debug, Default, Args)]
#[command(
    group = ArgGroup::new("source").args(["name", "file"]).required(true),
    after_help = "Flags change only what they name; each list or map that is named is replaced whole. \
                  A file is everything: what it leaves out is cleared."
)]
pub(crate) struct Deploy {
    /// `shop`, `prod/shop` or `namespaces/prod/apps/shop`.
    pub(crate) name: Option<String>,
    /// App as YAML or JSON; `-` reads standard input.
    #[arg(short, long, value_name = "PATH", conflicts_with = "Spec")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) spec: Spec,
    /// Why, for the history.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Fail if the app has changed since this etag was read.
    #[arg(long)]
    pub(crate) etag: Option<String>,
    /// What to do about a rollout of this app that still runs [default: supersede].
    #[arg(long, value_enum)]
    pub(crate) concurrency: Option<Concurrency>,
    /// Return as soon as the server has taken it.
    #[arg(long)]
    pub(crate) no_wait: bool,
}

/// The app, field by field.
#[derive(Debug, Default, Args)]
#[group(id = "Spec", multiple = true)]
pub(crate) struct Spec {
    /// Container image, with tag or digest.
    #[arg(short, long)]
    pub(crate) image: Option<String>,
    /// Replica count of a new app; later it yields to whoever set the count.
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(0..=10_000), value_name = "N")]
    pub(crate) replicas: Option<i32>,
    /// Port, as name=number[/http|grpc|tcp]; repeatable.
    #[arg(short, long = "port", value_parser = value::port, value_name = "NAME=NUMBER")]
    pub(crate) ports: Vec<v1::Port>,
    /// Resources set aside for each replica, for example cpu=250m,memory=256Mi.
    #[arg(long = "request", value_parser = value::pair, value_delimiter = ',', value_name = "RESOURCE=QUANTITY")]
    pub(crate) requests: Vec<Pair>,
    /// Resources that a replica cannot exceed.
    #[arg(long = "limit", value_parser = value::pair, value_delimiter = ',', value_name = "RESOURCE=QUANTITY")]
    pub(crate) limits: Vec<Pair>,
    /// Environment variable; repeatable.
    #[arg(short, long, value_parser = value::pair, value_name = "KEY=VALUE")]
    pub(crate) env: Vec<Pair>,
    /// Label of everything that is created; repeatable.
    #[arg(long = "label", value_parser = value::pair, value_name = "KEY=VALUE")]
    pub(crate) labels: Vec<Pair>,
    /// Annotation of the app; repeatable.
    #[arg(long = "annotation", value_parser = value::pair, value_name = "KEY=VALUE")]
    pub(crate) annotations: Vec<Pair>,
    /// Annotation of the pods; repeatable.
    #[arg(long = "pod-annotation", value_parser = value::pair, value_name = "KEY=VALUE")]
    pub(crate) pod_annotations: Vec<Pair>,
    /// Arguments of the container's entrypoint, after `--`.
    #[arg(last = true)]
    pub(crate) args: Vec<String>,
}

/// What a deploy does about a rollout that still runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Concurrency {
    /// Take its place.
    Supersede,
    /// Fail.
    Reject,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Every namespace.
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// Kubernetes label selector.
    #[arg(short = 'l', long, default_value = "", hide_default_value = true)]
    pub(crate) selector: String,
}

#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// One app instead of the whole namespace.
    #[arg(conflicts_with_all = ["all_namespaces", "selector"])]
    pub(crate) name: Option<String>,
    /// Every namespace.
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// Kubernetes label selector.
    #[arg(short = 'l', long, default_value = "", hide_default_value = true)]
    pub(crate) selector: String,
}

#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// `shop`, `prod/shop` or `namespaces/prod/apps/shop`.
    pub(crate) name: String,
    /// Which rollout: its number, or latest.
    #[arg(long, default_value = "latest", value_name = "N")]
    pub(crate) rollout: String,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// `shop`, `prod/shop` or `namespaces/prod/apps/shop`.
    pub(crate) name: String,
    /// Succeed if the app does not exist.
    #[arg(long)]
    pub(crate) allow_missing: bool,
    /// Why, for the history.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Return as soon as the server has taken it.
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_deploy_names_an_app_or_a_file() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        assert!(
            parse("gantry deploy shop --image a:1 --port http=8080/http -e A=1 -e B=2 -- --verbose").is_ok()
        );
        assert!(parse("gantry deploy -f - --reason x --etag y").is_ok());
        assert!(parse("gantry deploy").is_err());
        assert!(parse("gantry deploy shop -f app.yaml").is_err());
        assert!(parse("gantry deploy -f app.yaml --image a:1").is_err());
        assert!(parse("gantry deploy shop --replicas -1").is_err());
        assert!(parse("gantry watch shop -A").is_err());
    }

    #[test]
    fn several_resources_fit_into_one_flag() {
        let line = "gantry deploy shop --request cpu=250m,memory=256Mi --request ephemeral-storage=1Gi";
        let Ok(Cli { command: Command::Deploy(deploy), .. }) = Cli::try_parse_from(line.split(' ')) else {
            panic!("the line is in order");
        };
        assert_eq!(deploy.spec.requests.len(), 3);
    }
}
