//! The usage of replicas according to the metrics API of Kubernetes, as a source of measurements of CPU and
//! memory.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream};
use jiff::Timestamp;

use crate::{
    autoscale::{Measurement, Missing, PodUsage, Signal, Source, measure_cpu_and_memory},
    domain::{Error, commands::UsageSource},
    index::AutoscalerInput,
};

/// Time limit for the metrics API. A later answer is of no use to this evaluation.
const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// Concurrent calls to the API server.
const AT_ONCE: usize = 8;

/// The answer for each namespace: the usage of each pod, or why there is no answer.
pub(super) type Answers = HashMap<String, Result<HashMap<Arc<str>, PodUsage>, Arc<str>>>;

/// Reads the namespaces that contain an app with a target on CPU or memory.
pub(super) async fn read_usage(source: &dyn UsageSource, apps: &[AutoscalerInput]) -> Answers {
    let on_use =
        |app: &&AutoscalerInput| !app.pods.is_empty() && app.policy.targets.iter().any(|t| !t.is_reported());
    let namespaces: BTreeSet<_> = apps.iter().filter(on_use).map(|app| app.app.namespace.clone()).collect();
    let ask = |namespace: String| async move {
        let answer = tokio::time::timeout(LONGEST_WAIT, source.usage(namespace.clone())).await;
        let usage = match answer {
            Ok(Ok(all)) => Ok(all.into_iter().map(|usage| (usage.pod.clone(), usage)).collect()),
            Ok(Err(error)) => Err(to_reason(&error)),
            Err(_) => Err(format!("it took more than {} s", LONGEST_WAIT.as_secs()).into()),
        };
        (namespace, usage)
    };
    stream::iter(namespaces).map(ask).buffer_unordered(AT_ONCE).collect().await
}

/// Returns the measurement for a target on CPU or memory.
pub(super) fn to_measurement(
    answers: &Answers,
    app: &AutoscalerInput,
    target: &Signal,
    now: Timestamp,
) -> Measurement {
    let request = match target {
        Signal::MemoryPercent(_) => app.memory_request,
        Signal::CpuPercent(_)
        | Signal::RequestsPerSecond(_)
        | Signal::Concurrency(_)
        | Signal::Reported { .. } => app.cpu_request,
    };
    let expected = u32::try_from(app.pods.len()).unwrap_or(u32::MAX);
    match answers.get(&app.app.namespace) {
        Some(Ok(used)) => measure_cpu_and_memory(target, &app.pods, used, request, now),
        Some(Err(why)) => Measurement::missing(Source::MetricsApi, Missing::Silent(why.clone()), expected),
        None => Measurement::missing(Source::MetricsApi, Missing::Nothing, expected),
    }
}

fn to_reason(error: &Error) -> Arc<str> {
    if matches!(error, Error::ObjectMissing { .. }) {
        // The message of Kubernetes would only be about an unknown resource.
        return "it is not installed".into();
    }
    error.to_string().into()
}
