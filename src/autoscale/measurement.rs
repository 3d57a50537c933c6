//! The measurement for one target: a value for the whole app, its age, and what is missing.
//!
//! Owns the arithmetic from the usage of single replicas to that of an app, and the rule for which usage
//! belongs to a start. Must not know where figures come from.

#[cfg(test)]
mod tests;

use std::{collections::HashMap, hash::BuildHasher, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use super::policy::Signal;

/// The measurement for one target.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// The value for the whole app, in the unit of the target; `None` if it is unknown.
    pub value: Option<f64>,
    /// Seconds since the oldest figure in it was measured.
    pub age: f64,
    /// Where it came from.
    pub source: Source,
    /// How many replicas, or sources of reports, the value covers.
    pub covered: u32,
    /// How many it should cover.
    pub expected: u32,
    /// How many more replicas run and are left out, because what they use is for their start.
    pub starting: u32,
    /// What is missing.
    pub gap: Option<Missing>,
}

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The metrics API of Kubernetes.
    MetricsApi,
    /// `ReportLoad` calls of callers.
    Reported,
}

/// What is missing in a measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Not every container requests the resource, so no percentage can be computed.
    NoRequest,
    /// The metrics API does not answer, for this reason.
    Silent(Arc<str>),
    /// No figure was ever received.
    Nothing,
    /// All replicas that run are still starting.
    Starting,
    /// All figures are too old.
    Old,
    /// Some replicas or sources have no recent figure.
    Partial,
    /// Some replicas became ready and take load, but were not measured since.
    Fresh,
    /// The daemon began to listen a moment ago and may not have received every figure.
    Young,
}

/// A running replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Name of the pod.
    pub pod: Arc<str>,
    /// The state of its start.
    pub start: Start,
}

/// The state of a replica's start. A start uses CPU that no load requires, often more than the load does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Not finished: the replica was never ready.
    Open,
    /// Finished at this time, in whole seconds: the replica has been ready since then, as far as is known for
    /// the first time.
    Ended(Timestamp),
    /// Finished earlier: whatever the replica uses now is for its load, whether or not it is ready.
    Past,
}

/// What one replica uses.
#[derive(Clone, Debug, PartialEq)]
pub struct PodUsage {
    /// Name of the pod.
    pub pod: Arc<str>,
    /// Cores.
    pub cpu: f64,
    /// Bytes.
    pub memory: f64,
    /// End of the window over which it was measured.
    pub time: Timestamp,
    /// Length of that window.
    pub window: SignedDuration,
}

// === impl Measurement ===

impl Measurement {
    /// Builds a measurement without a value.
    pub fn missing(source: Source, gap: Missing, expected: u32) -> Self {
        Self { value: None, age: 0.0, source, covered: 0, expected, starting: 0, gap: Some(gap) }
    }
}

// === impl Source ===

impl Source {
    /// Returns its name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MetricsApi => "metrics-api",
            Self::Reported => "reported",
        }
    }
}

/// Seconds after which a figure of the metrics API is too old. Metrics-server is usually installed to measure
/// every 15 s, and its own default is every 60 s.
const LONGEST_AGE: f64 = 90.0;

/// How long a replica that became ready is left out at most, while there is no figure for a window that began
/// after that. Such a figure arrives after one to two windows and a moment. That is 10 to 30 s with the usual
/// installation of metrics-server, and 2 min with its own default.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_secs(150);

/// Kubernetes truncates times to whole seconds, so a replica that is ready since 3:04:05 may have become
/// ready at any time before 3:04:06.
const ROUNDING: SignedDuration = SignedDuration::from_secs(1);

/// Measures the CPU or memory of the replicas, in percent of the request of one replica. For example, 250
/// means the requests of two and a half replicas.
///
/// `replicas` are the pods that count, `used` are the figures of the metrics API by pod, and `request` is
/// what one replica requests, in cores or bytes. The CPU of a replica that is starting is left out, measured
/// or not, and the replica does not count as missing. Its memory counts, because it stays in use.
pub fn measure_cpu_and_memory<S: BuildHasher>(
    signal: &Signal,
    replicas: &[Replica],
    used: &HashMap<Arc<str>, PodUsage, S>,
    request: Option<f64>,
    now: Timestamp,
) -> Measurement {
    let is_memory = matches!(signal, Signal::MemoryPercent(_));
    let counts = |replica: &&Replica| is_memory || !replica.is_starting(used.get(&replica.pod), now);
    let (counted, left_out): (Vec<&Replica>, Vec<&Replica>) = replicas.iter().partition(counts);
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let (expected, starting) = (number(counted.len()), number(left_out.len()));
    let missing = |gap| Measurement { starting, ..Measurement::missing(Source::MetricsApi, gap, expected) };
    let Some(request) = request.filter(|r| r.is_finite() && *r > 0.0) else {
        return missing(Missing::NoRequest);
    };
    let age = |usage: &PodUsage| now.duration_since(usage.time).as_secs_f64().max(0.0);
    let measured: Vec<&PodUsage> = counted.iter().filter_map(|replica| used.get(&replica.pod)).collect();
    let fresh: Vec<&&PodUsage> = measured.iter().filter(|usage| age(usage) <= LONGEST_AGE).collect();
    if fresh.is_empty() {
        return missing(if counted.is_empty() && starting > 0 {
            Missing::Starting
        } else if measured.is_empty() {
            Missing::Nothing
        } else {
            Missing::Old
        });
    }
    let amount = |usage: &PodUsage| if is_memory { usage.memory } else { usage.cpu };
    let total: f64 = fresh.iter().map(|usage| amount(usage)).sum();
    let covered = number(fresh.len());
    Measurement {
        value: Some(total / request * 100.0),
        age: fresh.iter().map(|usage| age(usage)).fold(0.0, f64::max),
        source: Source::MetricsApi,
        covered,
        expected,
        starting,
        gap: match left_out.iter().any(|replica| replica.start != Start::Open) {
            _ if covered < expected => Some(Missing::Partial),
            true => Some(Missing::Fresh),
            false => None,
        },
    }
}

// === impl Replica ===

impl Replica {
    /// Returns whether the measured CPU of the replica may belong to its start. The amount says nothing here.
    /// No figure at all is treated like a figure for a window that began too early, because a figure may
    /// arrive at any moment.
    fn is_starting(&self, usage: Option<&PodUsage>, now: Timestamp) -> bool {
        match self.start {
            Start::Open => true,
            Start::Ended(ready) => {
                let since = |time: Timestamp| time.duration_since(ready);
                let is_of_load =
                    |usage: &PodUsage| since(usage.time).saturating_sub(usage.window) >= ROUNDING;
                since(now) <= LONGEST_WAIT && !usage.is_some_and(is_of_load)
            }
            Start::Past => false,
        }
    }
}
