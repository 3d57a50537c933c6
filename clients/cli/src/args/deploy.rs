//! The flags of `deploy`: the fields of an app that flags can set. Must not know requests.
#![allow(clippy::doc_markdown)] // help texts are shown on a terminal and are not Markdown

use std::{path::PathBuf, time::Duration};

use clap::{ArgGroup, Args, ValueEnum};
use gantry_client::v1;

use super::{
    change::{Call, Follow, Guard},
    value::{self, Pair},
};

const AFTER_HELP: &str = "\
Flags change only what they name, but what they name is replaced whole: each list and map, and each group marked
(as a whole). A file is everything: what it leaves out is cleared. It may hold several apps, as YAML documents; they
are deployed one after the other. What `gantry get -o yaml` prints can be changed and deployed; its etag guards
against changes made meanwhile.

Examples:
  gantry deploy shop --image shop:1.4 --replicas 3 --port http=8080/http --request cpu=250m,memory=256Mi
  gantry deploy shop --image shop:1.5 --dry-run
  gantry deploy shop --env LOG=debug --env-secret PASSWORD=shop-db/password -- serve --fast
  gantry deploy -f app.yaml --reason 'a new look'";

/// Flags set only what they name; lists and maps are replaced whole.
#[derive(Debug, Default, Args)]
#[command(group = ArgGroup::new("source").args(["name", "file"]).required(true), after_help = AFTER_HELP)]
pub(crate) struct Deploy {
    /// `shop`, `prod/shop` or `namespaces/prod/apps/shop`.
    pub(crate) name: Option<String>,
    /// App as YAML or JSON; `-` reads standard input.
    #[arg(short, long, value_name = "PATH", conflicts_with = "Spec")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) spec: Spec,
    /// What to do about a rollout of this app that still runs [default: supersede].
    #[arg(long, value_enum, help_heading = "This call")]
    pub(crate) concurrency: Option<Concurrency>,
    /// Take over fields that another field manager owns.
    #[arg(long, help_heading = "This call")]
    pub(crate) force: bool,
    /// Take over a Deployment of this name that Gantry did not make.
    #[arg(long, help_heading = "This call")]
    pub(crate) adopt: bool,
    #[command(flatten)]
    pub(crate) call: Call,
    #[command(flatten)]
    pub(crate) guard: Guard,
    #[command(flatten)]
    pub(crate) follow: Follow,
}

/// The app, field by field.
#[derive(Debug, Default, Args)]
#[group(id = "Spec", multiple = true)]
pub(crate) struct Spec {
    /// Container image, with tag or digest.
    #[arg(short, long, help_heading = "Container")]
    pub(crate) image: Option<String>,
    /// Program to start instead of the image's own; repeat the flag for each further word.
    #[arg(long = "command", value_name = "WORD", allow_hyphen_values = true, help_heading = "Container")]
    pub(crate) command: Vec<String>,
    /// Port, as name=number[/http|grpc|tcp]; repeatable.
    #[arg(short, long = "port", value_parser = value::port, value_name = "NAME=NUMBER", help_heading = "Container")]
    pub(crate) ports: Vec<v1::Port>,
    /// Environment variable; repeatable.
    #[arg(short, long, value_parser = value::pair, value_name = "KEY=VALUE", help_heading = "Container")]
    pub(crate) env: Vec<Pair>,
    /// Environment variable from a Secret; with `?` at the end it may be missing; repeatable.
    #[arg(long, value_parser = value::key_ref, value_name = "KEY=SECRET/KEY", help_heading = "Container")]
    pub(crate) env_secret: Vec<(String, v1::KeyRef)>,
    /// Environment variable from a ConfigMap; with `?` at the end it may be missing; repeatable.
    #[arg(long, value_parser = value::key_ref, value_name = "KEY=CONFIGMAP/KEY", help_heading = "Container")]
    pub(crate) env_config: Vec<(String, v1::KeyRef)>,
    /// Files: configmap/NAME, secret/NAME, claim/NAME[:ro] or empty[/SIZE], at this path; repeatable.
    #[arg(long = "volume", value_parser = value::volume, value_name = "PATH=SOURCE", help_heading = "Container")]
    pub(crate) volumes: Vec<v1::Volume>,
    /// How much the container may do [default: baseline].
    #[arg(long, value_enum, help_heading = "Container")]
    pub(crate) security: Option<Security>,
    /// Kubernetes ServiceAccount that the replicas run as.
    #[arg(long, value_name = "NAME", help_heading = "Container")]
    pub(crate) service_account: Option<String>,
    /// Secret with registry credentials; repeatable.
    #[arg(long = "pull-secret", value_name = "SECRET", help_heading = "Container")]
    pub(crate) pull_secrets: Vec<String>,
    /// Name of the container [default: app].
    #[arg(long, value_name = "NAME", help_heading = "Container")]
    pub(crate) container: Option<String>,
    /// Arguments of the container's entrypoint, after `--`.
    #[arg(last = true)]
    pub(crate) args: Vec<String>,

    /// Replica count of a new app; later the count stays if it was last set by anything but a deploy.
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(0..=10_000), value_name = "N", help_heading = "Replicas")]
    pub(crate) replicas: Option<i32>,
    /// Time a replica gets to finish its work [default: 30s].
    #[arg(long, value_parser = value::duration, value_name = "TIME", help_heading = "Replicas")]
    pub(crate) termination_grace: Option<Duration>,
    /// Time between leaving the endpoints and the signal to stop [default: 5s with ports].
    #[arg(long, value_parser = value::duration, value_name = "TIME", help_heading = "Replicas")]
    pub(crate) drain_delay: Option<Duration>,

    /// Resources reserved for each replica, for example cpu=250m,memory=256Mi.
    #[arg(long = "request", value_parser = value::pair, value_delimiter = ',', value_name = "RESOURCE=QUANTITY", help_heading = "Resources (as a whole)")]
    pub(crate) requests: Vec<Pair>,
    /// Resources that a replica cannot exceed.
    #[arg(long = "limit", value_parser = value::pair, value_delimiter = ',', value_name = "RESOURCE=QUANTITY", help_heading = "Resources (as a whole)")]
    pub(crate) limits: Vec<Pair>,

    /// Decides which replicas get traffic: http:PORT/PATH, grpc:PORT[/SERVICE], tcp:PORT or none, ports by
    /// name.
    #[arg(long, value_parser = value::probe, value_name = "CHECK", help_heading = "Health checks (as a whole)")]
    pub(crate) readiness: Option<v1::Probe>,
    /// Restarts a container that fails it.
    #[arg(long, value_parser = value::probe, value_name = "CHECK", help_heading = "Health checks (as a whole)")]
    pub(crate) liveness: Option<v1::Probe>,
    /// Holds back the other two until it has passed once.
    #[arg(long, value_parser = value::probe, value_name = "CHECK", help_heading = "Health checks (as a whole)")]
    pub(crate) startup: Option<v1::Probe>,

    /// In which order replicas are replaced [default: rolling].
    #[arg(long, value_enum, help_heading = "Rollout policy (as a whole)")]
    pub(crate) strategy: Option<Strategy>,
    /// Replicas above the wanted count while rolling, as number or percentage [default: 25%].
    #[arg(long, value_name = "N|N%", help_heading = "Rollout policy (as a whole)")]
    pub(crate) max_surge: Option<String>,
    /// Replicas below the wanted count while rolling, as number or percentage [default: 0].
    #[arg(long, value_name = "N|N%", help_heading = "Rollout policy (as a whole)")]
    pub(crate) max_unavailable: Option<String>,
    /// Time without progress after which a rollout has failed [default: 10m].
    #[arg(long, value_parser = value::duration, value_name = "TIME", help_heading = "Rollout policy (as a whole)")]
    pub(crate) progress_timeout: Option<Duration>,
    /// When a rollout in trouble has failed: at once if it cannot recover, or after the progress timeout
    /// [default: fail-fast].
    #[arg(long, value_enum, help_heading = "Rollout policy (as a whole)")]
    pub(crate) verdict: Option<Verdict>,
    /// Crashes of one replica that fail-fast forgives [default: 2].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..), help_heading = "Rollout policy (as a whole)")]
    pub(crate) tolerated_restarts: Option<i32>,
    /// How long fail-fast forgives trouble that may pass [default: 2m].
    #[arg(long, value_parser = value::duration, value_name = "TIME", help_heading = "Rollout policy (as a whole)")]
    pub(crate) transient_grace: Option<Duration>,
    /// What to do about a failed rollout [default: keep].
    #[arg(long, value_enum, help_heading = "Rollout policy (as a whole)")]
    pub(crate) on_failure: Option<OnFailure>,

    /// Label that a node must have; repeatable.
    #[arg(long = "node-selector", value_parser = value::pair, value_name = "KEY=VALUE", help_heading = "Placement (as a whole)")]
    pub(crate) node_selector: Vec<Pair>,
    /// Taint that the replicas tolerate; repeatable.
    #[arg(long = "toleration", value_parser = value::toleration, value_name = "KEY[=VALUE][:EFFECT]", help_heading = "Placement (as a whole)")]
    pub(crate) tolerations: Vec<v1::Toleration>,
    /// Kubernetes PriorityClass.
    #[arg(long, value_name = "NAME", help_heading = "Placement (as a whole)")]
    pub(crate) priority_class: Option<String>,

    /// Time limit of a call to the app, for callers that discover the app through Gantry.
    #[arg(long, value_parser = value::duration, value_name = "TIME", help_heading = "Traffic (as a whole)")]
    pub(crate) call_timeout: Option<Duration>,
    /// How often a call that fails as UNAVAILABLE is tried in all, at most 5 [default: 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..=5), help_heading = "Traffic (as a whole)")]
    pub(crate) call_attempts: Option<i32>,

    /// Label of everything that is created; repeatable.
    #[arg(long = "label", value_parser = value::pair, value_name = "KEY=VALUE", help_heading = "Metadata")]
    pub(crate) labels: Vec<Pair>,
    /// Annotation of the app; repeatable.
    #[arg(long = "annotation", value_parser = value::pair, value_name = "KEY=VALUE", help_heading = "Metadata")]
    pub(crate) annotations: Vec<Pair>,
    /// Annotation of the pods; repeatable.
    #[arg(long = "pod-annotation", value_parser = value::pair, value_name = "KEY=VALUE", help_heading = "Metadata")]
    pub(crate) pod_annotations: Vec<Pair>,
}

/// What a deploy does about a rollout that still runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Concurrency {
    /// Take its place.
    Supersede,
    /// Fail.
    Reject,
}

/// In which order replicas are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Strategy {
    /// New ones come as old ones go.
    Rolling,
    /// Every old one stops before the first new one starts.
    Recreate,
}

/// When a rollout in trouble has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Verdict {
    /// As soon as the new replicas cannot become ready without a change.
    FailFast,
    /// Only after the progress timeout.
    Wait,
}

/// What to do about a failed rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnFailure {
    /// Change nothing; old replicas keep serving.
    Keep,
    /// Return to the last one that succeeded, once.
    RollBack,
}

/// How much a container may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Security {
    /// No privilege escalation; images that run as root work.
    Baseline,
    /// Kubernetes' Pod Security Standard `restricted`.
    Restricted,
}
