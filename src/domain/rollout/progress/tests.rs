//! What counts as progress, and how time is counted.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::{Moment, Observation, QUIET, Tracker};

const MINUTE: Duration = Duration::from_mins(1);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_323_045 + second).unwrap()
}

/// Four replicas are desired, and four old replicas serve.
fn mk_observation() -> Observation {
    Observation {
        applied: true,
        taken_up: true,
        paused: false,
        desired: 4,
        ready: 0,
        lost: 0,
        serving: 4,
        old: 4,
        grace: SignedDuration::ZERO,
        start: at(0),
        moved: at(0),
    }
}

type Course = Box<dyn Fn(i64) -> Observation>;

/// Returns the second at which a rollout is overdue that is observed once a second.
fn overdue(timeout: Duration, course: impl Fn(i64) -> Observation) -> Option<i64> {
    let mut tracker = Tracker::default();
    (0..20_000).find(|second| {
        tracker.observe(&course(*second), at(*second).into());
        tracker.is_overdue(timeout)
    })
}

#[test]
fn only_what_it_never_had_before_is_progress() {
    let since = |second: i64, from: i64| second >= from;
    let seconds = |n: i64| SignedDuration::from_secs(n.max(0));
    let cases: [(&str, i64, Course); 15] = [
        ("nothing happens", 60, Box::new(|_| mk_observation())),
        (
            "one gets ready",
            90,
            Box::new(move |s| Observation { ready: i32::from(since(s, 30)), ..mk_observation() }),
        ),
        (
            "one comes and goes",
            61,
            Box::new(|s| Observation { ready: i32::from(s % 2 == 1), ..mk_observation() }),
        ),
        (
            "one is lost",
            60,
            Box::new(move |s| Observation { ready: 2 - i32::from(since(s, 30)), ..mk_observation() }),
        ),
        (
            "an old one goes",
            90,
            Box::new(move |s| Observation { serving: 4 - i32::from(since(s, 30)), ..mk_observation() }),
        ),
        (
            "an old one is gone",
            90,
            Box::new(move |s| Observation { old: 4 - i32::from(since(s, 30)), ..mk_observation() }),
        ),
        ("it is taken up", 90, Box::new(move |s| Observation { taken_up: since(s, 30), ..mk_observation() })),
        (
            "taken up again and again",
            61,
            Box::new(|s| Observation { taken_up: s % 2 == 1, ..mk_observation() }),
        ),
        ("applied", 90, Box::new(move |s| Observation { applied: since(s, 30), ..mk_observation() })),
        (
            "the count is raised",
            90,
            Box::new(move |s| Observation { desired: 4 + i32::from(since(s, 30)), ..mk_observation() }),
        ),
        (
            "the count is lowered",
            60,
            Box::new(move |s| Observation { desired: 4 - i32::from(since(s, 30)), ..mk_observation() }),
        ),
        // Twice the timeout, from the first time at the higher count.
        (
            "the count goes up and down",
            130,
            Box::new(|s| Observation { desired: 4 + i32::from(s / 10 % 2 == 1), ..mk_observation() }),
        ),
        (
            "it is held",
            90,
            Box::new(move |s| Observation { paused: since(s, 20) && !since(s, 50), ..mk_observation() }),
        ),
        (
            "replicas finish their work",
            90,
            Box::new(move |s| Observation {
                grace: seconds(if since(s, 10) { 40 - s } else { 0 }),
                ..mk_observation()
            }),
        ),
        (
            "one after the other finishes",
            125,
            Box::new(move |_| Observation { grace: seconds(5), ..mk_observation() }),
        ),
    ];
    for (what, expected, course) in cases {
        assert_eq!(overdue(MINUTE, course), Some(expected), "{what}");
    }
    let zero = |s| Observation { desired: if (20..500).contains(&s) { 0 } else { 4 }, ..mk_observation() };
    assert_eq!(overdue(MINUTE, zero), Some(560), "no replica was wanted, then some are again");
}

#[test]
fn five_hundred_replicas_that_move_for_an_hour_are_not_overdue() {
    let moving = |s: i64| {
        let ready = i32::try_from(s / 8).unwrap().min(500);
        Observation { desired: 500, ready, serving: 500 - ready, old: 500 - ready, ..mk_observation() }
    };
    // The last replica is ready after 4,000 s.
    assert_eq!(overdue(Duration::from_mins(10), moving), Some(4_600));
}

#[test]
fn time_in_which_nothing_was_heard_does_not_count() {
    let mut tracker = Tracker::default();
    let mut observe = |now, heard| {
        tracker.observe(&mk_observation(), Moment { now: at(now), heard: at(heard) });
        tracker.is_overdue(MINUTE)
    };
    assert!((0..20).all(|s| !observe(s, s)));
    assert!((20..3620).all(|s| !observe(s, 19)), "the cluster is silent");
    assert!(!observe(3620, 3620), "it speaks again, and that is no jump");
    // 19 s before the silence, and 1 s for it.
    assert_eq!((3621..3700).find(|s| observe(*s, *s)), Some(3660));
}

#[test]
fn a_row_may_be_newer_than_what_was_heard_of_all() {
    let mut tracker = Tracker::default();
    tracker.observe(&mk_observation(), at(0).into());
    tracker.observe(&Observation { ready: 1, ..mk_observation() }, Moment { now: at(9), heard: at(0) });
    let mut observe = |s| {
        tracker.observe(&Observation { ready: 1, ..mk_observation() }, at(s).into());
        tracker.is_overdue(MINUTE)
    };
    assert!(!(10..69).any(&mut observe));
    assert!(observe(69));
}

#[test]
fn a_server_that_starts_believes_what_rows_tell_and_looks_for_a_moment_itself() {
    let started = |look: &Observation| {
        let mut tracker = Tracker::default();
        (1000..2000).find(|second| {
            tracker.observe(look, at(*second).into());
            tracker.is_overdue(MINUTE)
        })
    };
    assert_eq!(started(&mk_observation()), Some(1010), "stuck for long");
    assert_eq!(
        started(&Observation { moved: at(990), ..mk_observation() }),
        Some(1050),
        "it moved a moment ago"
    );
    assert_eq!(
        started(&Observation { applied: false, ..mk_observation() }),
        Some(1060),
        "it is about to be applied"
    );
    let held = |s: i64| Observation { paused: s < 1100, ..mk_observation() };
    let mut tracker = Tracker::default();
    let end = (1000..2000).find(|s| {
        tracker.observe(&held(*s), at(*s).into());
        tracker.is_overdue(MINUTE)
    });
    assert_eq!(end, Some(1160), "rows do not tell since when it goes on");
}

#[test]
fn what_was_ready_before_is_known_from_the_first_observation() {
    let mut tracker = Tracker::default();
    tracker.observe(&Observation { ready: 1, lost: 2, ..mk_observation() }, at(0).into());
    tracker.observe(&mk_observation(), at(1).into());
    assert_eq!(tracker.most_ready(), 3);
    assert_eq!(tracker.since_applied(at(7)), SignedDuration::from_secs(7));
}

/// Steps of a rollout: seconds until the next observation, and that observation.
fn mk_course() -> impl Strategy<Value = Vec<(i64, Observation)>> {
    let step = prop_oneof![9 => 1i64..=15, 1 => 16i64..2000];
    let look = (step, 0i32..5, 0i32..5, 0i32..5, any::<bool>(), prop::bool::weighted(0.2));
    let look = look.prop_map(|(step, ready, serving, old, taken_up, paused)| {
        (step, Observation { taken_up, paused, ready, serving, old, ..mk_observation() })
    });
    prop::collection::vec(look, 1..120)
}

proptest! {
    /// Compares the tracker with a calculation over all observations from the beginning.
    #[test]
    fn it_is_overdue_if_and_only_if_nothing_was_better_for_the_timeout(course in mk_course(), timeout in 10i64..200) {
        let mut tracker = Tracker::default();
        let mut seen: Vec<(i64, Observation)> = Vec::new();
        let mut now = 0;
        for (step, look) in course {
            now += if seen.is_empty() { 0 } else { step };
            tracker.observe(&look, at(now).into());
            seen.push((now, look));
            let is_better = |i: &usize| {
                let (before, this) = (&seen[..*i], seen[*i].1);
                this.taken_up && before.iter().all(|(_, l)| !l.taken_up)
                    || before.iter().all(|(_, l)| l.ready < this.ready)
                    || before.iter().all(|(_, l)| l.serving > this.serving)
                    || before.iter().all(|(_, l)| l.old > this.old)
            };
            let best = (0..seen.len()).rev().find(is_better).unwrap_or_default();
            let counted = |pair: &[(i64, Observation)]| match pair[1].0 - pair[0].0 {
                _ if pair[0].1.paused => 0,
                step if step > QUIET.as_secs() => 1,
                step => step,
            };
            let idle: i64 = seen[best..].windows(2).map(counted).sum();
            let timeout = Duration::from_secs(timeout.unsigned_abs());
            prop_assert_eq!(tracker.is_overdue(timeout), idle >= i64::try_from(timeout.as_secs()).unwrap());
        }
    }

    #[test]
    fn it_never_goes_on_for_ever(course in prop::collection::vec((1i64..=15, 1i32..4, 0i32..3, 0i64..40), 300), timeout in 10u64..60) {
        let mut tracker = Tracker::default();
        let mut now = 0;
        let overdue = course.into_iter().any(|(step, desired, ready, grace)| {
            now += step;
            let grace = SignedDuration::from_secs(grace);
            tracker.observe(&Observation { desired, ready, grace, ..mk_observation() }, at(now).into());
            tracker.is_overdue(Duration::from_secs(timeout))
        });
        // Two best values and three counts are possible. Each may take twice the timeout and the longest
        // grace period.
        prop_assert!(overdue || now < 6 * (2 * i64::try_from(timeout).unwrap() + 40));
    }
}
