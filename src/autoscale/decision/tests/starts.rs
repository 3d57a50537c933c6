//! Replicas that are starting: what they use never changes a decision, and the count of an app whose starts
//! are slow and use much CPU becomes constant.

use std::collections::HashMap;

use jiff::SignedDuration;

use super::*;
use crate::autoscale::{PodUsage, Replica, Start, measure_cpu_and_memory};

const NOW: i64 = 1000;

fn mk_usage(pod: &Arc<str>, cpu: f64, time: i64, window: i64) -> PodUsage {
    PodUsage { pod: pod.clone(), cpu, memory: 0.0, time: at(time), window: SignedDuration::from_secs(window) }
}

/// An evaluation with a CPU target of 60 % and a request of one core.
fn mk_on_cpu(
    current: u32,
    replicas: &[Replica],
    used: &HashMap<Arc<str>, PodUsage>,
    now: i64,
    down: u64,
) -> Evaluation {
    let target = Signal::CpuPercent(60);
    let reading = measure_cpu_and_memory(&target, replicas, used, Some(1.0), at(now));
    let policy = Policy { targets: vec![target], ..mk_policy(1, 20, 0, down) };
    Evaluation { now: at(now), readings: vec![reading], ..mk_seen(policy, current, 0.0) }
}

#[derive(Clone, Debug)]
struct Any {
    start: Start,
    cpu: f64,
    /// End and length of the window, in seconds.
    measured: Option<(i64, i64)>,
}

/// Replicas that became ready long ago. Most were measured a moment ago.
fn mk_any_ready() -> impl Strategy<Value = Any> {
    let measured = prop_oneof![1 => Just(None), 9 => (NOW - 100..=NOW, 5i64..60).prop_map(Some)];
    (0.0..3.0, measured).prop_map(|(cpu, measured)| Any { start: Start::Past, cpu, measured })
}

/// Replicas that never were ready, or that became ready a moment ago and have at most a figure for a window
/// that began before.
fn mk_any_starting() -> impl Strategy<Value = Any> {
    let measured = || proptest::option::of((NOW - 100..=NOW, 5i64..60));
    let cpu = || prop_oneof![0.0..100.0, Just(0.0)];
    let open = (cpu(), measured()).prop_map(|(cpu, measured)| Any { start: Start::Open, cpu, measured });
    let ended = (cpu(), measured(), 0i64..=150).prop_map(|(cpu, measured, since)| {
        let ready = NOW - since;
        let early = |(end, window): (i64, i64)| (end.min(ready + window), window);
        Any { start: Start::Ended(at(ready)), cpu, measured: measured.map(early) }
    });
    prop_oneof![open, ended]
}

fn mk_any_of(all: &[Any], asked_for_too: u32, down: u64) -> Evaluation {
    let name = |i: usize| -> Arc<str> { i.to_string().into() };
    let replicas: Vec<_> =
        all.iter().enumerate().map(|(i, any)| Replica { pod: name(i), start: any.start }).collect();
    let measured = all.iter().enumerate().filter_map(|(i, any)| Some((i, any.cpu, any.measured?)));
    let used =
        measured.map(|(i, cpu, (end, window))| (name(i), mk_usage(&name(i), cpu, end, window))).collect();
    let current = u32::try_from(all.len()).unwrap() + asked_for_too;
    mk_on_cpu(current, &replicas, &used, NOW, down)
}

proptest! {
    #[test]
    fn what_a_starting_replica_uses_changes_no_decision(
        ready in proptest::collection::vec(mk_any_ready(), 0..6),
        starting in proptest::collection::vec(mk_any_starting(), 1..6),
        waiting in 0u32..3, down in prop_oneof![Just(0u64), Just(120)],
    ) {
        let unknown: Vec<_> = starting.iter().map(|any| Any { measured: None, ..*any }).collect();
        let seen = mk_any_of(&[ready.clone(), starting.clone()].concat(), waiting, down);
        let without = mk_any_of(&[ready, unknown].concat(), waiting, down);
        prop_assert_eq!(&seen.readings, &without.readings);
        prop_assert_eq!(seen.decide(), without.decide());
        prop_assert_eq!(seen.readings[0].starting as usize, starting.len());
    }

    #[test]
    fn starting_replicas_are_no_demand(
        ready in proptest::collection::vec(mk_any_ready(), 0..6),
        starting in proptest::collection::vec(mk_any_starting(), 1..6),
    ) {
        let all = u32::try_from(ready.len() + starting.len()).unwrap();
        let alone = mk_any_of(&ready, 0, 0).decide();
        let verdict = mk_any_of(&[ready.clone(), starting.clone()].concat(), 0, 0).decide();
        match alone.required {
            // As in a HorizontalPodAutoscaler, the ready replicas alone decide what is required.
            Some(_) if !ready.is_empty() => prop_assert_eq!(verdict.required, alone.required),
            Some(_) | None => prop_assert_eq!(verdict.to, all, "nothing is known, and nothing is taken away"),
        }
        // Some of these take load already, and it is not known how much.
        if starting.iter().any(|any| any.start != Start::Open) {
            prop_assert!(verdict.to >= all, "{verdict:?}");
        }
    }
}

/// An example from upstream: five replicas with a request of one core, two of them not ready, and the other
/// three at 30 % with a target of 50 %.
#[test]
fn replicas_that_never_get_ready_do_not_hold_up_the_count() {
    let mk = |start, cpu| Any { start, cpu, measured: Some((NOW, 15)) };
    let mut all = vec![mk(Start::Past, 0.3); 3];
    all.extend(vec![mk(Start::Open, 0.4); 2]);
    let seen = mk_any_of(&all, 0, 0);
    let policy = Policy { targets: vec![Signal::CpuPercent(50)], ..(*seen.policy).clone() };
    let verdict = Evaluation { policy: policy.into(), ..seen }.decide();
    assert_eq!((verdict.required, verdict.to), (Some(2), 2));
}

/// A simulated replica: when it starts to run, and when it becomes ready.
#[derive(Clone, Copy)]
struct Simulated {
    runs: i64,
    ready: i64,
}

/// A simulated load of 1.25 cores, which requires 2.08 replicas, on two replicas.
struct Course {
    /// Seconds between two figures, and length of their window.
    every: i64,
    /// Duration of a start, in seconds.
    takes: i64,
    /// Cores that a start uses.
    cores: f64,
    /// Whether all running replicas count, also those that are starting, as in earlier versions.
    old: bool,
}

impl Course {
    /// Returns the counts of ten minutes, with an evaluation every 5 s.
    fn counts(&self) -> Vec<u32> {
        let mut replicas = vec![Simulated { runs: -1000, ready: -900 }; 2];
        let mut used: HashMap<Arc<str>, PodUsage> = HashMap::new();
        let (mut counts, mut memory) = (vec![2], Memory::default());
        let name = |i: usize| -> Arc<str> { i.to_string().into() };
        // CPU seconds that each replica has used since it was created.
        let mut totals = vec![0.0; 2];
        let mut before = totals.clone();
        for now in 0..600 {
            let ready = replicas.iter().filter(|r| r.ready <= now).count();
            for (replica, total) in replicas.iter().zip(&mut totals) {
                *total += match now {
                    _ if now < replica.runs => 0.0,
                    _ if now < replica.ready => self.cores,
                    _ => 1.25 / f64::from(u32::try_from(ready).unwrap()),
                };
            }
            let running = || replicas.iter().enumerate().filter(|(_, r)| r.runs <= now);
            if (now + 1) % self.every == 0 {
                #[allow(clippy::cast_precision_loss)] // a minute
                for (i, _) in running() {
                    let cpu = (totals[i] - before[i]) / self.every as f64;
                    used.insert(name(i), mk_usage(&name(i), cpu, now + 1, self.every));
                }
                before.clone_from(&totals);
            }
            if now % 5 == 4 {
                let start = |r: &Simulated| match r.ready {
                    _ if self.old => Start::Past,
                    ready if ready <= now => Start::Ended(at(ready)),
                    _ => Start::Open,
                };
                let seen: Vec<_> =
                    running().map(|(i, r)| Replica { pod: name(i), start: start(r) }).collect();
                let current = u32::try_from(replicas.len()).unwrap();
                let verdict =
                    Evaluation { memory, ..mk_on_cpu(current, &seen, &used, now + 1, 120) }.decide();
                memory = verdict.memory;
                let (n, new) =
                    (verdict.to as usize, Simulated { runs: now + 3, ready: now + 3 + self.takes });
                replicas.resize(n, new);
                totals.resize(n, 0.0);
                before.resize(n, 0.0);
                if counts.last() != Some(&verdict.to) {
                    counts.push(verdict.to);
                }
            }
        }
        counts
    }
}

#[test]
fn two_replicas_a_little_over_their_target_become_three_and_no_more() {
    for every in [10, 15, 60] {
        for takes in [0, 1, 7, 30, 200, 10_000] {
            for cores in [0.0, 0.5, 10.0, 100.0] {
                let course = Course { every, takes, cores, old: false };
                assert_eq!(course.counts(), [2, 3], "every {every} s, starts of {takes} s and {cores} cores");
            }
        }
    }
    let old = Course { every: 10, takes: 30, cores: 10.0, old: true };
    assert_eq!(old.counts()[..4], [2, 3, 16, 20], "where starts count, the simulation shows it");
}
