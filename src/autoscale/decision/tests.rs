//! The promises of the loop as properties: limits, constant load, direction, silent sources, holds, restarts
//! and replay.

mod starts;

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::autoscale::Source;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn mk_policy(min: u32, max: u32, up: u64, down: u64) -> Policy {
    Policy {
        mode: Mode::Active,
        min,
        max,
        targets: vec![Signal::RequestsPerSecond(10.0)],
        up: Duration::from_secs(up),
        down: Duration::from_secs(down),
        ..Policy::default()
    }
}

fn mk_reading(value: f64) -> Measurement {
    Measurement {
        value: Some(value),
        age: 0.0,
        source: Source::Reported,
        covered: 1,
        expected: 1,
        starting: 0,
        gap: None,
    }
}

fn mk_seen(policy: Policy, current: u32, load: f64) -> Evaluation {
    Evaluation {
        now: at(0),
        policy: Arc::new(policy),
        current,
        readings: vec![mk_reading(load)],
        rollout: false,
        other_autoscaler: None,
        hold: None,
        elapsed: 5.0,
        memory: Memory::default(),
    }
}

fn mk_hold(until: i64) -> Arc<Hold> {
    Arc::new(Hold {
        replicas: 3,
        until: at(until),
        actor: "ann".into(),
        reason: String::new(),
        since: at(0),
        generation: 0,
    })
}

fn names(verdict: &Verdict) -> Vec<&'static str> {
    verdict.limits.iter().map(|l| l.limit.as_str()).collect()
}

/// Evaluates every 5 s with these loads, and returns the counts.
fn mk_run(mut seen: Evaluation, loads: impl IntoIterator<Item = f64>) -> Vec<u32> {
    let mut counts = Vec::new();
    for load in loads {
        seen.readings[0] = mk_reading(load);
        let verdict = seen.decide();
        (seen.current, seen.memory, seen.now) =
            (verdict.to, verdict.memory, seen.now + Duration::from_secs(5));
        counts.push(seen.current);
    }
    counts
}

#[test]
fn the_target_that_asks_for_most_decides() {
    let mut policy = mk_policy(1, 50, 0, 120);
    policy.targets.push(Signal::Concurrency(2.0));
    let mut seen = mk_seen(policy, 4, 35.0);
    seen.readings.push(mk_reading(21.0));
    let verdict = seen.decide();
    assert_eq!((verdict.to, verdict.required, verdict.decisive), (11, Some(11), Some(1)));
    assert_eq!(verdict.outcome, Outcome::Scaled);
}

#[test]
fn what_is_missing_lets_the_count_rise_and_not_fall() {
    let mut policy = mk_policy(1, 50, 0, 0);
    policy.targets.push(Signal::CpuPercent(50));
    let gap = |load: f64, reading: Measurement| {
        let mut seen = mk_seen(policy.clone(), 4, load);
        seen.readings.push(reading);
        let verdict = seen.decide();
        (verdict.to, names(&verdict).last().copied().unwrap_or_default())
    };
    let silent = || Measurement::missing(Source::MetricsApi, Missing::Silent("no".into()), 4);
    let of_four = |covered| Measurement { covered, expected: 4, ..mk_reading(50.0) };
    let partial = || Measurement { gap: Some(Missing::Partial), ..of_four(3) };
    assert_eq!(gap(10.0, silent()), (4, "STALE_SIGNAL"));
    assert_eq!(gap(90.0, silent()), (9, ""));
    assert_eq!(gap(10.0, partial()), (4, "PARTIAL_SIGNAL"));
    assert_eq!(gap(90.0, partial()), (9, ""));
    assert_eq!(gap(10.0, of_four(4)), (1, ""));
}

#[test]
fn nothing_is_taken_away_while_a_rollout_runs() {
    let rolling = |load| Evaluation { rollout: true, ..mk_seen(mk_policy(1, 50, 0, 0), 4, load) };
    let verdict = rolling(10.0).decide();
    assert_eq!((verdict.to, names(&verdict)), (4, vec!["ROLLOUT"]));
    assert_eq!((rolling(90.0).decide().to, verdict.outcome), (9, Outcome::Held));
}

#[test]
fn modes_differ_in_what_becomes_of_a_decision() {
    let with = |mode, freeze_end| {
        let policy = Policy { mode, freeze_end, ..mk_policy(1, 50, 0, 0) };
        let verdict = mk_seen(policy, 4, 90.0).decide();
        (verdict.outcome.clone(), verdict.to, names(&verdict))
    };
    assert_eq!(with(Mode::Active, None), (Outcome::Scaled, 9, vec![]));
    assert_eq!(with(Mode::Shadow, None), (Outcome::Advised, 9, vec![]));
    assert_eq!(with(Mode::Frozen, None), (Outcome::Held, 4, vec!["HOLD"]));
    assert_eq!(with(Mode::Frozen, Some(at(1))), (Outcome::Held, 4, vec!["HOLD"]));
    assert_eq!(with(Mode::Frozen, Some(at(0))), (Outcome::Scaled, 9, vec![]));
}

#[test]
fn an_app_that_may_be_stopped_is_after_its_time_without_demand_and_starts_with_the_first() {
    let policy = Policy { idle: Duration::from_secs(60), ..mk_policy(0, 50, 0, 0) };
    let loads = std::iter::repeat_n(0.0, 20).chain([0.2]);
    let counts = mk_run(mk_seen(policy.clone(), 3, 0.0), loads);
    assert_eq!(counts[..11], [1; 11], "kept for 55 s");
    assert_eq!(counts[11..], [0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    let first = mk_seen(policy.clone(), 3, 0.0).decide();
    assert_eq!(names(&first), ["IDLE"]);
    // A partially known load does not count as no demand.
    let mut young = mk_seen(policy, 1, 0.0);
    young.readings[0].gap = Some(Missing::Young);
    young.memory.idle = 1000.0;
    assert_eq!((young.decide().to, young.decide().memory.idle), (1, 0.0));
}

#[test]
fn a_stopped_app_is_not_held_by_what_only_replicas_can_show() {
    let mut policy = mk_policy(0, 50, 0, 0);
    policy.targets.push(Signal::CpuPercent(50));
    let mut seen = mk_seen(policy, 0, 25.0);
    seen.readings.push(Measurement::missing(Source::MetricsApi, Missing::Nothing, 0));
    assert_eq!(seen.decide().to, 3);
}

#[test]
fn what_was_at_rest_falls_by_the_law_when_something_raised_it() {
    let mut seen = mk_seen(mk_policy(1, 50, 0, 120), 5, 50.0);
    for _ in 0..200 {
        seen.memory = seen.decide().memory;
    }
    seen.current = 20;
    assert_eq!((seen.decide().to, names(&seen.decide())), (20, vec!["RATE_DOWN"]));
}

#[test]
fn a_stopped_app_starts_at_once_whatever_the_law_says() {
    let first = mk_seen(mk_policy(0, 50, 600, 0), 0, 0.1).decide();
    assert_eq!((first.to, first.outcome), (1, Outcome::Scaled));
}

#[test]
fn what_an_idle_process_uses_is_no_demand() {
    let mut policy = Policy { idle: Duration::from_secs(60), ..mk_policy(0, 50, 0, 0) };
    policy.targets.push(Signal::CpuPercent(50));
    let idle = |reading: Measurement, idle| {
        let mut seen = mk_seen(policy.clone(), 1, 0.0);
        seen.readings.push(reading);
        seen.memory.idle = idle;
        seen.decide().to
    };
    let silent = || Measurement::missing(Source::MetricsApi, Missing::Silent("no".into()), 1);
    assert_eq!([idle(mk_reading(0.5), 30.0), idle(mk_reading(0.5), 55.0)], [1, 0]);
    assert_eq!([idle(silent(), 30.0), idle(silent(), 55.0)], [1, 0]);
}

#[test]
fn replicas_that_do_not_run_are_no_reason_to_shrink_nor_to_grow() {
    let policy = Policy { targets: vec![Signal::CpuPercent(60)], ..mk_policy(1, 50, 0, 0) };
    let with = |running: u32, used: f64| {
        let mut seen = mk_seen(policy.clone(), 10, 0.0);
        seen.readings[0] = Measurement { covered: running, expected: running, ..mk_reading(used) };
        let verdict = seen.decide();
        let told = seen.explain(&verdict);
        let counted =
            ["that do not run count", "that does not run counts"].iter().any(|words| told.contains(words));
        assert_eq!(counted, running < 10, "{told}");
        verdict.to
    };
    assert_eq!(with(2, 200.0), 10, "two at their limit, eight that crash");
    assert_eq!(with(7, 120.0), 5, "three that find no node, and little to do");
    assert_eq!(with(10, 120.0), 2);
    assert_eq!(with(9, 900.0), 15);
}

#[test]
fn whoever_keeps_the_count_is_named_while_only_fractions_are_due() {
    let held = Evaluation { hold: Some(mk_hold(100)), ..mk_seen(mk_policy(1, 50, 0, 120), 5, 10.0) };
    let verdict = held.decide();
    assert_eq!(
        (names(&verdict), verdict.memory.law),
        (vec!["RATE_DOWN", "HOLD"], rate_law::State::default())
    );
}

fn mk_any_policy() -> impl Strategy<Value = Policy> {
    let dt = || prop_oneof![Just(0u64), 1u64..600];
    (0u32..20, 1u32..60, dt(), dt(), 0u64..100).prop_map(|(min, more, up, down, idle)| Policy {
        idle: Duration::from_secs(idle),
        ..mk_policy(min, min + more, up, down)
    })
}

fn mk_any_reading() -> impl Strategy<Value = Measurement> {
    let gap = prop_oneof![
        4 => Just(None),
        1 => Just(Some(Missing::Partial)),
        1 => Just(Some(Missing::Young)),
        1 => Just(Some(Missing::Old)),
        1 => Just(Some(Missing::Silent("x".into()))),
    ];
    let absurd = prop_oneof![8 => 0.0..1000.0, 1 => Just(f64::NAN), 1 => Just(f64::INFINITY), 1 => Just(-5.0), 1 => Just(0.0)];
    (absurd, gap).prop_map(|(value, gap)| {
        let known = !matches!(gap, Some(Missing::Old | Missing::Silent(_)));
        Measurement { value: known.then_some(value), gap, ..mk_reading(0.0) }
    })
}

fn mk_any_seen() -> impl Strategy<Value = Evaluation> {
    let hold = proptest::option::of((0i64..3).prop_map(mk_hold));
    let mode = prop_oneof![4 => Just(Mode::Active), 1 => Just(Mode::Shadow), 1 => Just(Mode::Frozen)];
    let memory = (-0.99..0.99, proptest::option::of(0u32..60), 0.0..1000.0, 0.0..200.0).prop_map(
        |(carry, goal, pursued, idle)| Memory { law: rate_law::State { carry, goal, pursued }, idle },
    );
    (mk_any_policy(), mode, mk_any_reading(), 0u32..80, any::<bool>(), hold, 0.0..60.0, memory).prop_map(
        |(policy, mode, reading, current, rollout, hold, elapsed, memory)| Evaluation {
            readings: vec![reading],
            rollout,
            hold,
            elapsed,
            memory,
            now: at(1),
            ..mk_seen(Policy { mode, ..policy }, current, 0.0)
        },
    )
}

proptest! {
    #[test]
    fn the_count_never_leaves_its_limits(seen in mk_any_seen(), pick: u32) {
        let (min, max) = (seen.policy.min, seen.policy.max);
        let current = min + pick % (max - min + 1);
        let verdict = Evaluation { current, ..seen }.decide();
        prop_assert!((min..=max).contains(&verdict.to), "{verdict:?}");
    }

    #[test]
    fn no_step_goes_against_the_sign_of_the_error(seen in mk_any_seen()) {
        let verdict = seen.decide();
        if let Some(required) = verdict.required {
            let floor = seen.policy.min.max(u32::from(seen.policy.min == 0 && seen.current > 0));
            let goal = i64::from(required.clamp(seen.policy.min, seen.policy.max).max(floor.min(seen.policy.max)));
            let (from, to) = (i64::from(seen.current), i64::from(verdict.to));
            prop_assert!((to - from) * (goal - from) >= 0, "{verdict:?}");
        } else {
            prop_assert!(verdict.to >= seen.current, "what is not known takes nothing away: {verdict:?}");
        }
    }

    #[test]
    fn constant_load_comes_to_rest_within_three_dt_and_stays(policy in mk_any_policy(), from in 0u32..80, load in 0.0..900.0) {
        let policy = Policy { min: policy.min.max(1), ..policy };
        let dt = policy.up.max(policy.down).as_secs();
        let rest = usize::try_from((3 * dt).div_ceil(5)).unwrap();
        let counts = mk_run(mk_seen(policy, from, load), std::iter::repeat_n(load, rest + 100));
        let end = counts[counts.len() - 1];
        prop_assert!(counts[rest..].iter().all(|n| *n == end), "{counts:?}");
    }

    #[test]
    fn a_silent_metrics_api_changes_nothing(policy in mk_any_policy(), pick: u32, times in 1usize..50) {
        let current = policy.min + pick % (policy.max - policy.min + 1);
        let policy = Policy { targets: vec![Signal::CpuPercent(50)], min: policy.min.max(1), ..policy };
        let current = current.max(policy.min);
        let mut seen = mk_seen(policy, current, 0.0);
        seen.readings = vec![Measurement::missing(Source::MetricsApi, Missing::Silent("x".into()), current)];
        for _ in 0..times {
            let verdict = seen.decide();
            prop_assert_eq!((verdict.to, &verdict.outcome, names(&verdict)), (current, &Outcome::Held, vec!["STALE_SIGNAL"]));
            seen.memory = verdict.memory;
        }
    }

    #[test]
    fn whatever_restarts_a_hold_and_a_policy_hold(
        seen in mk_any_seen(), until in 1i64..400, restarts in proptest::collection::vec(any::<bool>(), 1..80),
    ) {
        // Policy and hold are read from their stored JSON, as each daemon does.
        let policy = serde_json::to_string(&Policy { mode: Mode::Active, ..(*seen.policy).clone() }).unwrap();
        let hold = serde_json::to_string(&*mk_hold(until)).unwrap();
        let (mut memory, mut current, mut now) = (Memory::default(), seen.current, 0);
        for restart in restarts {
            if restart {
                memory = Memory::default();
            }
            let read: Evaluation = Evaluation {
                policy: Arc::new(serde_json::from_str(&policy).unwrap()),
                hold: Some(Arc::new(serde_json::from_str(&hold).unwrap())),
                now: at(now),
                current,
                memory,
                ..seen.clone()
            };
            let verdict = read.decide();
            if now < until {
                prop_assert_eq!(verdict.to, current, "held until {} at {}", until, now);
                prop_assert!(verdict.outcome != Outcome::Scaled);
            }
            prop_assert_eq!(read.policy.digest(), serde_json::from_str::<Policy>(&policy).unwrap().digest());
            (memory, current, now) = (verdict.memory, verdict.to, now + 5);
        }
    }

    #[test]
    fn a_record_replays_bit_for_bit(seen in mk_any_seen()) {
        let (one, other) = (seen.decide(), seen.clone().decide());
        prop_assert_eq!(one.memory.law.carry.to_bits(), other.memory.law.carry.to_bits());
        prop_assert_eq!(one.memory.idle.to_bits(), other.memory.idle.to_bits());
        prop_assert_eq!(seen.explain(&one), seen.clone().explain(&other));
        prop_assert_eq!(one, other);
    }

    #[test]
    fn limits_chain_from_the_required_count_to_the_result(seen in mk_any_seen()) {
        let verdict = seen.decide();
        for pair in verdict.limits.windows(2) {
            prop_assert_eq!(pair[0].after, pair[1].before);
        }
        if let (Some(first), Some(required)) = (verdict.limits.first(), verdict.required) {
            prop_assert_eq!(first.before, required);
        }
        if let Some(last) = verdict.limits.last() {
            prop_assert_eq!(last.after, verdict.to);
        }
    }
}
