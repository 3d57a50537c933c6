//! The list of metrics with their name, help and labels, for the exporter and for the test of the documents.

use prometheus_client::{
    metrics::TypedMetric,
    registry::{Metric, Registry},
};

/// A description of a metric.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetricInfo {
    /// Its name as in its samples, without the suffixes of a histogram.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Names of its labels.
    pub labels: &'static [&'static str],
}

/// All metrics.
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
        // The format itself adds `_total` to the samples of a counter, and a period to the help.
        self.exported.register(name.trim_end_matches("_total"), help, metric.clone());
        self.metrics.push(MetricInfo { name: name.to_owned(), kind, labels });
        metric
    }
}
