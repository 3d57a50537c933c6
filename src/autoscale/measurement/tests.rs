//! Which usage of replicas counts: sums, gaps, and the CPU of starts.

use proptest::prelude::*;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn mk_used(cores: &[f64], time: i64) -> HashMap<Arc<str>, PodUsage> {
    let usage = |(i, cpu): (usize, &f64)| {
        let pod: Arc<str> = i.to_string().into();
        (pod.clone(), PodUsage { pod, cpu: *cpu, memory: 2.0 * cpu, time: at(time), window: seconds(10) })
    };
    cores.iter().enumerate().map(usage).collect()
}

fn seconds(n: i64) -> SignedDuration {
    SignedDuration::from_secs(n)
}

fn mk_replicas(starts: &[Start]) -> Vec<Replica> {
    starts.iter().enumerate().map(|(i, start)| Replica { pod: i.to_string().into(), start: *start }).collect()
}

fn pods(n: usize) -> Vec<Replica> {
    mk_replicas(&vec![Start::Past; n])
}

#[test]
fn use_is_told_in_percent_of_one_request() {
    let used = mk_used(&[0.3, 0.2], 0);
    let cpu = measure_cpu_and_memory(&Signal::CpuPercent(60), &pods(2), &used, Some(0.25), at(10));
    assert_eq!((cpu.value, cpu.age, cpu.gap), (Some(200.0), 10.0, None));
    let memory = measure_cpu_and_memory(&Signal::MemoryPercent(60), &pods(2), &used, Some(0.5), at(10));
    assert_eq!(memory.value, Some(200.0));
}

#[test]
fn what_is_missing_is_named() {
    let gap = |n, used: &HashMap<_, _>, request, now| {
        let reading = measure_cpu_and_memory(&Signal::CpuPercent(60), &pods(n), used, request, at(now));
        (reading.value.is_some(), reading.gap)
    };
    let used = mk_used(&[0.3], 0);
    assert_eq!(gap(1, &used, None, 0), (false, Some(Missing::NoRequest)));
    assert_eq!(gap(1, &used, Some(0.0), 0), (false, Some(Missing::NoRequest)));
    assert_eq!(gap(1, &HashMap::new(), Some(1.0), 0), (false, Some(Missing::Nothing)));
    assert_eq!(gap(1, &used, Some(1.0), 91), (false, Some(Missing::Old)));
    assert_eq!(gap(2, &used, Some(1.0), 90), (true, Some(Missing::Partial)));
    assert_eq!(gap(1, &used, Some(1.0), 90), (true, None));
}

/// Measures, at 100 s, one replica without load that uses 0.3 of its request, and a second one that uses 9
/// times its request.
fn beside_one_at_rest(signal: &Signal, second: Start, figure: Option<(i64, i64)>) -> Measurement {
    let mut used = mk_used(&[0.3], 95);
    if let Some((time, window)) = figure {
        let pod: Arc<str> = "1".into();
        let usage =
            PodUsage { pod: pod.clone(), cpu: 9.0, memory: 9.0, time: at(time), window: seconds(window) };
        used.insert(pod, usage);
    }
    measure_cpu_and_memory(signal, &mk_replicas(&[Start::Past, second]), &used, Some(1.0), at(100))
}

#[test]
fn cpu_of_a_start_is_left_out_and_the_replica_is_not_missed() {
    let (counts, missed) = ((930.0, 2, 2, 0, None), (30.0, 1, 2, 0, Some(Missing::Partial)));
    let (left_out, fresh) = ((30.0, 1, 1, 1, None), (30.0, 1, 1, 1, Some(Missing::Fresh)));
    let ended = |second| Start::Ended(at(second));
    for (case, start, figure, expected) in [
        ("it was never ready", Start::Open, Some((95, 10)), &left_out),
        ("it was never ready and is not measured", Start::Open, None, &left_out),
        ("it was never ready and its figure is old", Start::Open, Some((5, 10)), &left_out),
        ("ready long ago, or not any more", Start::Past, Some((95, 10)), &counts),
        ("nor does the window matter then", Start::Past, Some((95, 1000)), &counts),
        ("it is missed then", Start::Past, None, &missed),
        ("ready after the window", ended(96), Some((95, 10)), &fresh),
        ("ready in the window", ended(90), Some((95, 10)), &fresh),
        ("ready in the second in which the window begins", ended(85), Some((95, 10)), &fresh),
        ("ready before the window", ended(84), Some((95, 10)), &counts),
        ("ready, and not measured yet", ended(90), None, &fresh),
        ("ready, and measured last long before", ended(98), Some((5, 10)), &fresh),
        ("the clock of its node is ahead", ended(120), Some((125, 10)), &fresh),
        (
            "the clock of its node is ahead, and it has been ready for the window",
            ended(120),
            Some((131, 10)),
            &counts,
        ),
        ("a long window, which it waits for", ended(-50), Some((70, 200)), &fresh),
        ("but not for ever", ended(-51), Some((70, 200)), &counts),
        ("nor for a figure", ended(-51), None, &missed),
        ("a window without end", ended(90), Some((95, i64::MAX)), &fresh),
    ] {
        let told = |reading: &Measurement| {
            let value = reading.value.map(f64::round);
            (value.unwrap(), reading.covered, reading.expected, reading.starting, reading.gap.clone())
        };
        assert_eq!(told(&beside_one_at_rest(&Signal::CpuPercent(60), start, figure)), *expected, "{case}");
        // Memory that a start uses stays in use after it.
        let memory = told(&beside_one_at_rest(&Signal::MemoryPercent(60), start, figure));
        let is_fresh = figure.is_some_and(|(time, _)| time > 10);
        let expected =
            if is_fresh { (960.0, 2, 2, 0, None) } else { (60.0, 1, 2, 0, Some(Missing::Partial)) };
        assert_eq!(memory, expected, "{case}");
    }
}

#[test]
fn where_all_replicas_start_nothing_is_known_and_the_metrics_api_is_not_to_blame() {
    let gap = |starts: &[Start], figures| {
        let used = mk_used(&vec![9.0; figures], 95);
        let reading =
            measure_cpu_and_memory(&Signal::CpuPercent(60), &mk_replicas(starts), &used, Some(1.0), at(100));
        assert_eq!((reading.value, reading.covered), (None, 0));
        (reading.gap.unwrap(), reading.expected, reading.starting)
    };
    let ended = Start::Ended(at(90));
    for figures in [0, 2] {
        assert_eq!(gap(&[Start::Open, ended], figures), (Missing::Starting, 0, 2));
    }
    assert_eq!(gap(&[Start::Past, ended], 0), (Missing::Nothing, 1, 1), "one of them should be measured");
    assert_eq!(gap(&[], 0), (Missing::Nothing, 0, 0), "none runs");
    let without = measure_cpu_and_memory(
        &Signal::CpuPercent(60),
        &mk_replicas(&[ended]),
        &HashMap::new(),
        None,
        at(100),
    );
    assert_eq!(without.gap, Some(Missing::NoRequest));
}

proptest! {
    #[test]
    fn replicas_that_go_do_not_count(cores in proptest::collection::vec(0.0..10.0, 1..20), n in 1usize..20) {
        let n = n.min(cores.len());
        let reading = measure_cpu_and_memory(&Signal::CpuPercent(50), &pods(n), &mk_used(&cores, 0), Some(1.0), at(0));
        let sum: f64 = cores[..n].iter().sum();
        prop_assert!((reading.value.unwrap() - 100.0 * sum).abs() < 1e-6);
    }
}
