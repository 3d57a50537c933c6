//! What was measured for one target: a value for the whole app, how old it is, and what is missing in it.
//!
//! Owns the arithmetic from the use of single replicas to that of an app. Must not know where figures come from.

use std::{collections::HashMap, hash::BuildHasher, sync::Arc};

use jiff::Timestamp;

use super::policy::Signal;

/// What was measured for one target.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
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
    /// What is missing.
    pub gap: Option<Gap>,
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
pub enum Gap {
    /// The replicas ask for none of it, so that no percentage can be told.
    NoRequest,
    /// The metrics API does not answer; the words say why.
    Silent(Arc<str>),
    /// Nothing was ever heard.
    Nothing,
    /// Everything that was heard is too old.
    Old,
    /// Some of those that should be heard are not, or not any more.
    Partial,
    /// This server began to listen a moment ago, and may not have heard all.
    Young,
}

/// What one replica uses.
#[derive(Clone, Debug, PartialEq)]
pub struct Usage {
    /// Name of the pod.
    pub pod: Arc<str>,
    /// Cores.
    pub cpu: f64,
    /// Bytes.
    pub memory: f64,
    /// When that was measured.
    pub time: Timestamp,
}

// === impl Reading ===

impl Reading {
    /// Nothing to go by.
    pub fn missing(source: Source, gap: Gap, expected: u32) -> Self {
        Self { value: None, age: 0.0, source, covered: 0, expected, gap: Some(gap) }
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

/// Seconds after which a figure of the metrics API says nothing any more. Metrics-server reads every 15 s as it is installed, and
/// every 60 s by its own default.
const LONGEST_AGE: f64 = 90.0;

/// The use of CPU or memory by the replicas that should be measured, in percent of the request of one of them: 250 means two
/// and a half replicas' worth.
///
/// `replicas` are the pods that count, `used` what the metrics API said by pod, `request` the cores or bytes that one replica asks for.
pub fn cpu_and_memory<S: BuildHasher>(
    signal: &Signal,
    replicas: &[Arc<str>],
    used: &HashMap<Arc<str>, Usage, S>,
    request: Option<f64>,
    now: Timestamp,
) -> Reading {
    let expected = u32::try_from(replicas.len()).unwrap_or(u32::MAX);
    let Some(request) = request.filter(|r| r.is_finite() && *r > 0.0) else {
        return Reading::missing(Source::MetricsApi, Gap::NoRequest, expected);
    };
    let age = |usage: &Usage| now.duration_since(usage.time).as_secs_f64().max(0.0);
    let measured: Vec<&Usage> = replicas.iter().filter_map(|pod| used.get(pod)).collect();
    let fresh: Vec<&&Usage> = measured.iter().filter(|usage| age(usage) <= LONGEST_AGE).collect();
    if fresh.is_empty() {
        let gap = if measured.is_empty() { Gap::Nothing } else { Gap::Old };
        return Reading::missing(Source::MetricsApi, gap, expected);
    }
    let amount =
        |usage: &Usage| if matches!(signal, Signal::MemoryPercent(_)) { usage.memory } else { usage.cpu };
    let total: f64 = fresh.iter().map(|usage| amount(usage)).sum();
    let covered = u32::try_from(fresh.len()).unwrap_or(u32::MAX);
    Reading {
        value: Some(total / request * 100.0),
        age: fresh.iter().map(|usage| age(usage)).fold(0.0, f64::max),
        source: Source::MetricsApi,
        covered,
        expected,
        gap: (covered < expected).then_some(Gap::Partial),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn mk_used(cores: &[f64], time: i64) -> HashMap<Arc<str>, Usage> {
        let usage = |(i, cpu): (usize, &f64)| {
            let pod: Arc<str> = i.to_string().into();
            (pod.clone(), Usage { pod, cpu: *cpu, memory: 2.0 * cpu, time: at(time) })
        };
        cores.iter().enumerate().map(usage).collect()
    }

    fn pods(n: usize) -> Vec<Arc<str>> {
        (0..n).map(|i| i.to_string().into()).collect()
    }

    #[test]
    fn use_is_told_in_percent_of_one_request() {
        let used = mk_used(&[0.3, 0.2], 0);
        let cpu = cpu_and_memory(&Signal::CpuPercent(60), &pods(2), &used, Some(0.25), at(10));
        assert_eq!((cpu.value, cpu.age, cpu.gap), (Some(200.0), 10.0, None));
        let memory = cpu_and_memory(&Signal::MemoryPercent(60), &pods(2), &used, Some(0.5), at(10));
        assert_eq!(memory.value, Some(200.0));
    }

    #[test]
    fn what_is_missing_is_named() {
        let gap = |n, used: &HashMap<_, _>, request, now| {
            let reading = cpu_and_memory(&Signal::CpuPercent(60), &pods(n), used, request, at(now));
            (reading.value.is_some(), reading.gap)
        };
        let used = mk_used(&[0.3], 0);
        assert_eq!(gap(1, &used, None, 0), (false, Some(Gap::NoRequest)));
        assert_eq!(gap(1, &used, Some(0.0), 0), (false, Some(Gap::NoRequest)));
        assert_eq!(gap(1, &HashMap::new(), Some(1.0), 0), (false, Some(Gap::Nothing)));
        assert_eq!(gap(1, &used, Some(1.0), 91), (false, Some(Gap::Old)));
        assert_eq!(gap(2, &used, Some(1.0), 90), (true, Some(Gap::Partial)));
        assert_eq!(gap(1, &used, Some(1.0), 90), (true, None));
    }

    proptest! {
        #[test]
        fn replicas_that_go_do_not_count(cores in proptest::collection::vec(0.0..10.0, 1..20), n in 1usize..20) {
            let n = n.min(cores.len());
            let reading = cpu_and_memory(&Signal::CpuPercent(50), &pods(n), &mk_used(&cores, 0), Some(1.0), at(0));
            let sum: f64 = cores[..n].iter().sum();
            prop_assert!((reading.value.unwrap() - 100.0 * sum).abs() < 1e-6);
        }
    }
}
