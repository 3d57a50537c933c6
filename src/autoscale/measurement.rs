//! What was measured for one target: a value for the whole app, how old it is, and what is missing in it.
//!
//! Owns the arithmetic from the use of single replicas to that of an app, and which use is that of a start.
//! Must not know where figures come from.

#[cfg(test)]
mod tests;

use std::{collections::HashMap, hash::BuildHasher, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use super::policy::Signal;

/// What was measured for one target.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// The value for the whole app, in the unit of the target; `None` if there is none to go by.
    pub value: Option<f64>,
    /// Seconds since the oldest figure in it was measured.
    pub age: f64,
    /// Where it came from.
    pub source: Source,
    /// How many replicas, or sources of reports, it covers.
    pub covered: u32,
    /// How many it should cover.
    pub expected: u32,
    /// How many more replicas run and are left out, since what they use is for their start.
    pub starting: u32,
    /// What is missing.
    pub gap: Option<Missing>,
}

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The metrics API of Kubernetes.
    MetricsApi,
    /// Callers, by `ReportLoad`.
    Reported,
}

/// What is missing in a reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The replicas ask for none of it, so that no percentage can be told.
    NoRequest,
    /// The metrics API does not answer; the words say why.
    Silent(Arc<str>),
    /// Nothing was ever heard.
    Nothing,
    /// All replicas that run are still starting.
    Starting,
    /// Everything that was heard is too old.
    Old,
    /// Some of those that should be heard are not, or not any more.
    Partial,
    /// Some replicas have become ready and take load, and were not measured since.
    Fresh,
    /// This server began to listen a moment ago, and may not have heard all.
    Young,
}

/// A replica that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Name of the pod.
    pub pod: Arc<str>,
    /// Where its start stands.
    pub start: Start,
}

/// Where the start of a replica stands. A start takes CPU that no load asks for, often more than any load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// It goes on: the replica was never ready.
    Open,
    /// It ended then, in whole seconds: the replica has been ready since, for the first time as far as can be
    /// told.
    Ended(Timestamp),
    /// It is past: whatever the replica does now, ready or not any more, is for its load.
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
    /// When that was measured: the end of the window.
    pub time: Timestamp,
    /// The time over which CPU was measured.
    pub window: SignedDuration,
}

// === impl Measurement ===

impl Measurement {
    /// Nothing to go by.
    pub fn missing(source: Source, gap: Missing, expected: u32) -> Self {
        Self { value: None, age: 0.0, source, covered: 0, expected, starting: 0, gap: Some(gap) }
    }
}

// === impl Source ===

impl Source {
    /// Its name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MetricsApi => "metrics-api",
            Self::Reported => "reported",
        }
    }
}

/// Seconds after which a figure of the metrics API says nothing any more. Metrics-server reads every 15 s as
/// it is installed, and every 60 s by its own default.
const LONGEST_AGE: f64 = 90.0;

/// How long a replica that has become ready is left out at most while nothing was measured over a window that
/// began after that. Such a figure comes after one to two windows, which is 10 to 30 s as metrics-server is
/// installed and 2 min by its own default, and a moment.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_secs(150);

/// Kubernetes rounds times down to whole seconds: a replica that is ready since 3:04:05 became so before
/// 3:04:06.
const ROUNDING: SignedDuration = SignedDuration::from_secs(1);

/// The use of CPU or memory by the replicas that should be measured, in percent of the request of one of
/// them: 250 means two and a half replicas' worth.
///
/// `replicas` are the pods that count, `used` what the metrics API said by pod, `request` the cores or bytes
/// that one replica asks for. CPU of a replica that starts is left out, measured or not, and the replica is
/// not missed; memory stays in use, so it counts.
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
    /// Whether CPU that is measured of it may be that of its start. What it uses says nothing here: no figure
    /// at all, which may come any moment, is the same as one over a window that began too early.
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
