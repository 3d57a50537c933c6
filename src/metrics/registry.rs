//! The list of metrics: each one's name, help and labels, in the exporter's registry and for the test of the
//! docs.

use prometheus_client::{
    metrics::TypedMetric,
    registry::{Metric, Registry},
};

/// What a metric is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetricInfo {
    /// Its name as its samples have it, but for the parts of a histogram.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Names of its labels.
    pub labels: &'static [&'static str],
}

/// Every metric that there is.
#[derive(Default)]
pub(super) struct MetricRegistry {
    pub(super) exported: Registry,
    pub(super) metrics: Vec<MetricInfo>,
}

// === impl MetricRegistry ===

impl MetricRegistry {
    pub(super) fn add<M: Metric + TypedMetric + Clone>(
        &mut self,
        name: &str,
        labels: &'static [&'static str],
        help: &str,
        metric: M,
    ) -> M {
        let kind = M::TYPE.as_str();
        // The format itself adds this ending to the samples of a counter, and a point to the help.
        self.exported.register(name.trim_end_matches("_total"), help, metric.clone());
        self.metrics.push(MetricInfo { name: name.to_owned(), kind, labels });
        metric
    }
}
