//! Logs to standard error, as text or JSON, with a filter that can be changed at runtime; and traces, if they
//! are enabled.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use anyhow::Context as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Level, warn};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::Targets, layer::SubscriberExt as _, reload,
    util::SubscriberInitExt as _,
};

use super::{log_levels::Levels, traces};

/// Longest wait for the collector at shutdown.
const FLUSH: Duration = Duration::from_secs(2);

/// Options of logs and traces.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub(super) struct Args {
    /// What to log, for example `debug` or `info,gantry::cluster=trace`
    #[arg(
        long,
        value_name = "FILTER",
        default_value = "info,kube_client=off,kube_runtime=off",
        env = "GANTRYD_LOG"
    )]
    log: String,
    /// Format of the log
    #[arg(long, value_enum, default_value = "text", env = "GANTRYD_LOG_FORMAT")]
    log_format: Format,
    /// Send traces to this OpenTelemetry collector, by OTLP over gRPC, for example `http://127.0.0.1:4317`
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    otlp_endpoint: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Lines for people
    Text,
    /// One JSON object per line
    Json,
}

/// What must live until the process ends.
pub(super) struct Telemetry {
    /// The filter of the log.
    pub(super) levels: Levels,
    traces: Option<SdkTracerProvider>,
}

/// Starts logging, once per process. Must be called inside the async runtime, because the exporter's
/// connection uses it.
pub(super) fn start_telemetry(args: &Args) -> anyhow::Result<Telemetry> {
    let filter = EnvFilter::try_new(&args.log).map_err(|error| {
        anyhow::anyhow!(
            "--log {:?} is not a log filter: {error}; write it like debug, or info,gantry::cluster=trace",
            args.log
        )
    })?;
    let (filter, handle) = reload::Layer::new(filter);
    let lines =
        tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match args.log_format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().boxed(),
    };
    let (traces, unused) = traces::start_tracing(args.otlp_endpoint.as_deref())?;
    // Only the spans of Gantry. The exporter's connection has spans too, and exporting them would create more
    // of them without end.
    let spans = traces.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("gantryd"))
            .with_location(false)
            .with_threads(false)
            .with_filter(Targets::new().with_target("gantry", Level::INFO))
    });
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(spans)
        .try_init()
        .context("cannot start logging")?;
    if let Some(why) = unused {
        warn!("no traces are exported: {why}");
    }
    Ok(Telemetry { levels: Levels::new(handle), traces })
}

// === impl Telemetry ===

impl Telemetry {
    /// Sends the remaining spans, if the collector accepts them in time.
    pub(super) fn end(self) {
        if let Some(traces) = self.traces
            && let Err(error) = traces.shutdown_with_timeout(FLUSH)
        {
            warn!(%error, "the last traces were not exported");
        }
    }
}
