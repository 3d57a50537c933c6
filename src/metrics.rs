//! The metrics of this process, for Prometheus. Owns the name, help and labels of every metric in a single
//! list, which docs/operations.md must match. Must not know any other module. `cluster`, `grpc` and `runtime`
//! record here, and the pure modules do not.
//!
//! Every label value is a text of the program itself, so the set of values is bounded.

mod process;
mod registry;

use std::{
    fmt,
    sync::{LazyLock, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::text,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};

pub use self::registry::MetricInfo;
use self::{process::ProcessMetrics, registry::MetricRegistry};

/// Upper bounds of histogram buckets, in seconds. A read from the index takes tenths of a millisecond, a
/// deploy some hundred milliseconds, and a wait for a rollout minutes.
const TIMES: [f64; 17] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
    600.0,
];

/// The metrics of this process.
pub static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

type Labels<const N: usize> = [(&'static str, &'static str); N];
type Counters<const N: usize> = Family<Labels<N>, Counter>;
type Gauges<const N: usize> = Family<Labels<N>, Gauge>;
type Times<const N: usize> = Family<Labels<N>, Histogram, fn() -> Histogram>;

/// Everything that is recorded.
pub struct Metrics {
    /// Whether the API server answers.
    pub kube_link_up: Gauge,
    /// How often the connection to the API server was lost.
    pub kube_link_lost: Counter,
    /// Apps in the index.
    pub apps: Gauge,
    grpc_started: Counters<1>,
    grpc_duration: Times<2>,
    grpc_streams: Gauges<1>,
    errors: Counters<1>,
    kube_duration: Times<3>,
    cache_age: Family<Labels<1>, Gauge<f64, AtomicU64>>,
    index_rows: Gauges<1>,
    watch_restarts: Counters<1>,
    audits: Counters<2>,
    audit_differences: Counters<1>,
    rollouts_ended: Counters<1>,
    autoscaler_decisions: Counters<1>,
    /// Whether the autoscaling loop runs in this process.
    pub autoscaler_here: Gauge,
    /// Open log streams of containers.
    pub log_streams: Gauge,
    /// Log lines that were dropped because callers did not read them in time.
    pub log_lines_dropped: Counter,
    trace_exports: Counters<1>,
    process: ProcessMetrics,
    registry: MetricRegistry,
}

// === impl Metrics ===

impl Metrics {
    #[allow(clippy::too_many_lines)] // one list: a metric is a line or five
    fn new() -> Self {
        let mut registry = MetricRegistry::default();
        let r = &mut registry;
        let times: fn() -> Histogram = || Histogram::new(TIMES);
        let build: Gauges<1> =
            r.add("gantry_build_info", &["version"], "1, with the version", Family::default());
        build.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))]).set(1);
        Self {
            grpc_started: r.add(
                "gantry_grpc_calls_started_total",
                &["method"],
                "Calls that began",
                Family::default(),
            ),
            grpc_duration: r.add(
                "gantry_grpc_call_duration_seconds",
                &["method", "code"],
                "Time from the beginning of a call to its status; of a stream, its whole life",
                Family::new_with_constructor(times),
            ),
            grpc_streams: r.add(
                "gantry_grpc_streams",
                &["method"],
                "Streams that are open",
                Family::default(),
            ),
            errors: r.add(
                "gantry_errors_total",
                &["reason"],
                "Calls that ended with an error",
                Family::default(),
            ),
            kube_duration: r.add(
                "gantry_kube_call_duration_seconds",
                &["verb", "resource", "result"],
                "Time of calls to the Kubernetes API, without watches",
                Family::new_with_constructor(times),
            ),
            kube_link_up: r.add(
                "gantry_kube_link_up",
                &[],
                "1 while the Kubernetes API server answers, else 0",
                Gauge::default(),
            ),
            kube_link_lost: r.add(
                "gantry_kube_link_lost_total",
                &[],
                "Times that the Kubernetes API server stopped answering",
                Counter::default(),
            ),
            cache_age: r.add(
                "gantry_cache_age_seconds",
                &["kind"],
                "Time since the API server last sent anything about a kind",
                Family::default(),
            ),
            index_rows: r.add("gantry_index_rows", &["kind"], "Objects in the index", Family::default()),
            apps: r.add("gantry_apps", &[], "Apps in the index", Gauge::default()),
            watch_restarts: r.add(
                "gantry_watch_restarts_total",
                &["kind"],
                "Watches that were restarted with a list",
                Family::default(),
            ),
            audits: r.add(
                "gantry_audits_total",
                &["kind", "result"],
                "Comparisons of the index with a list of the cluster",
                Family::default(),
            ),
            audit_differences: r.add(
                "gantry_audit_differences_total",
                &["kind"],
                "Objects that an audit found missing, left over or outdated in the index",
                Family::default(),
            ),
            autoscaler_decisions: r.add(
                "gantry_autoscaler_decisions_total",
                &["outcome"],
                "Decisions of the autoscaler",
                Family::default(),
            ),
            autoscaler_here: r.add(
                "gantry_autoscaler_leader",
                &[],
                "1 while the autoscaling loop runs in this process, else 0",
                Gauge::default(),
            ),
            rollouts_ended: r.add(
                "gantry_rollouts_ended_total",
                &["outcome"],
                "Rollouts whose verdict this process stored",
                Family::default(),
            ),
            log_streams: r.add(
                "gantry_log_streams",
                &[],
                "Logs of containers that are open",
                Gauge::default(),
            ),
            log_lines_dropped: r.add(
                "gantry_log_lines_dropped_total",
                &[],
                "Log lines dropped because callers of StreamLogs did not read them in time",
                Counter::default(),
            ),
            trace_exports: r.add(
                "gantry_trace_exports_total",
                &["result"],
                "Batches of spans sent to the collector",
                Family::default(),
            ),
            process: ProcessMetrics::new(r),
            registry,
        }
    }

    /// Returns a description of every metric, in no particular order.
    pub fn list_metrics(&self) -> &[MetricInfo] {
        &self.registry.metrics
    }

    /// Writes all metrics in the text format of `OpenMetrics`.
    pub fn to_text(&self) -> Result<String, fmt::Error> {
        self.process.refresh();
        let mut text = String::new();
        text::encode(&mut text, &self.registry.exported)?;
        Ok(text)
    }

    /// Counts a call that began.
    pub fn grpc_started(&self, method: &'static str) {
        self.grpc_started.get_or_create(&[("method", method)]).inc();
    }

    /// Records a call that ended, with its duration.
    pub fn grpc_ended(&self, method: &'static str, code: &'static str, took: Duration) {
        self.grpc_duration.get_or_create(&[("method", method), ("code", code)]).observe(took.as_secs_f64());
    }

    /// Returns the gauge of a method's open streams.
    pub fn grpc_streams(&self, method: &'static str) -> Gauge {
        self.grpc_streams.get_or_create_owned(&[("method", method)])
    }

    /// Counts a call that ended with an error.
    pub fn error(&self, reason: &'static str) {
        self.errors.get_or_create(&[("reason", reason)]).inc();
    }

    /// Records a call to the API server, with its result.
    pub fn kube_called(
        &self,
        verb: &'static str,
        resource: &'static str,
        result: &'static str,
        took: Duration,
    ) {
        let labels = [("verb", verb), ("resource", resource), ("result", result)];
        self.kube_duration.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Sets how old the data of a kind is.
    pub fn cache_age(&self, kind: &'static str, age: Duration) {
        self.cache_age.get_or_create(&[("kind", kind)]).set(age.as_secs_f64());
    }

    /// Sets the number of objects of a kind.
    pub fn index_rows(&self, kind: &'static str, rows: usize) {
        self.index_rows.get_or_create(&[("kind", kind)]).set(i64::try_from(rows).unwrap_or(i64::MAX));
    }

    /// Counts a watch that was restarted with a list.
    pub fn watch_restarted(&self, kind: &'static str) {
        self.watch_restarts.get_or_create(&[("kind", kind)]).inc();
    }

    /// Records a comparison of the index with the cluster, with the number of objects that differ.
    pub fn audited(&self, kind: &'static str, result: &'static str, differences: usize) {
        self.audits.get_or_create(&[("kind", kind), ("result", result)]).inc();
        let differences = u64::try_from(differences).unwrap_or(u64::MAX);
        self.audit_differences.get_or_create(&[("kind", kind)]).inc_by(differences);
    }

    /// Counts a verdict that was stored.
    pub fn rollout_ended(&self, outcome: &'static str) {
        self.rollouts_ended.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// Counts a decision of the autoscaler.
    pub fn autoscaler_decided(&self, outcome: &'static str) {
        self.autoscaler_decisions.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// Counts a batch of spans that was sent, or failed.
    pub fn traces_exported(&self, result: &'static str) {
        self.trace_exports.get_or_create(&[("result", result)]).inc();
    }
}
