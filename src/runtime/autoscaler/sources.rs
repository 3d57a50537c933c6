//! Sources of measurements. Each source is a file, and one match arm here says which targets it measures.

mod metrics_api;

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    autoscale::{Measurement, Signal},
    domain::commands::UsageSource,
    index::{AutoscalerInput, AutoscalerState},
};

/// All sources.
pub(super) struct Sources {
    metrics_api: Arc<dyn UsageSource>,
    /// Contains the latest load that callers reported.
    reported: AutoscalerState,
}

/// Answers of the sources that are asked once for many apps.
#[derive(Default)]
pub(super) struct Answers {
    usage: metrics_api::Answers,
}

// === impl Sources ===

impl Sources {
    pub(super) fn new(metrics_api: Arc<dyn UsageSource>, reported: AutoscalerState) -> Self {
        Self { metrics_api, reported }
    }

    /// Asks the sources that answer for many apps at once.
    pub(super) async fn read(&self, apps: &[AutoscalerInput]) -> Answers {
        Answers { usage: metrics_api::read_usage(&*self.metrics_api, apps).await }
    }

    /// Returns the measurement for one target of an app.
    pub(super) fn measure(
        &self,
        app: &AutoscalerInput,
        target: &Signal,
        answers: &Answers,
        now: Timestamp,
    ) -> Measurement {
        match target {
            Signal::CpuPercent(_) | Signal::MemoryPercent(_) => {
                metrics_api::to_measurement(&answers.usage, app, target, now)
            }
            Signal::RequestsPerSecond(_) | Signal::Concurrency(_) | Signal::Reported { .. } => {
                self.reported.load_measurement(&app.app, target.name(), now)
            }
        }
    }
}

// === impl Answers ===

impl Answers {
    /// Returns whether the metrics API answered every request; `None` if there was no request.
    pub(super) fn is_metered(&self) -> Option<bool> {
        (!self.usage.is_empty()).then(|| self.usage.values().all(Result::is_ok))
    }
}
