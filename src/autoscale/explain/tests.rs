//! The texts that explain decisions.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::*;
use crate::autoscale::{Hold, Memory, Policy};

fn mk_seen(current: u32, percent: f64) -> Evaluation {
    let policy =
        Policy { mode: Mode::Active, max: 20, targets: vec![Signal::CpuPercent(60)], ..Policy::default() };
    let reading = Measurement {
        value: Some(percent * f64::from(current)),
        age: 1.0,
        source: Source::MetricsApi,
        covered: current,
        expected: current,
        starting: 0,
        gap: None,
    };
    Evaluation {
        now: Timestamp::UNIX_EPOCH,
        policy: Arc::new(policy),
        current,
        readings: vec![reading],
        rollout: false,
        other_autoscaler: None,
        hold: None,
        elapsed: 5.0,
        memory: Memory::default(),
    }
}

fn say(seen: &Evaluation) -> String {
    seen.explain(&seen.decide())
}

#[test]
fn each_decision_says_what_and_why() {
    let policy = |mode, targets| Arc::new(Policy { mode, max: 20, targets, ..Policy::default() });
    assert_eq!(
        say(&mk_seen(2, 126.0)),
        "Scaled from 2 to 5: CPU use is 126 % of the request, the target is 60 %, so 5 replicas are required."
    );
    assert_eq!(
        say(&mk_seen(2, 60.0)),
        "Stays at 2: CPU use is 60 % of the request, the target is 60 %, so 2 replicas are required."
    );
    assert_eq!(
        say(&mk_seen(2, 20.0)),
        "Held at 2: CPU use is 20 % of the request, the target is 60 %, so 1 replica is required; the count falls gradually because \
         scale_down_duration is 120 s."
    );
    assert!(say(&mk_seen(20, 100.0)).ends_with("34 replicas are required; the maximum is 20."));
    let shadow = policy(Mode::Shadow, vec![Signal::RequestsPerSecond(10.5)]);
    assert_eq!(
        say(&Evaluation { policy: shadow, ..mk_seen(2, 74.0) }),
        "Would scale from 2 to 15 if the mode were ACTIVE: requests_per_second is 148, the target is 10.5 per replica, so 15 replicas are required."
    );
}

#[test]
fn whoever_decides_in_its_place_is_named() {
    let hold = Hold {
        replicas: 2,
        until: Timestamp::from_second(60).unwrap(),
        actor: "ann".into(),
        reason: "the sale".into(),
        since: Timestamp::UNIX_EPOCH,
        generation: 0,
    };
    let held = Evaluation { hold: Some(Arc::new(hold)), ..mk_seen(2, 126.0) };
    assert!(
        say(&held).ends_with(
            "; ann holds the count until 1970-01-01T00:01:00Z (the sale); otherwise it would be 5."
        ),
        "{}",
        say(&held)
    );
    let foreign = Evaluation { other_autoscaler: Some("scaledobject.keda.sh/x".into()), ..mk_seen(2, 126.0) };
    assert!(
        say(&foreign).ends_with("; scaledobject.keda.sh/x decides the count; otherwise it would be 5."),
        "{}",
        say(&foreign)
    );
    let mut frozen = mk_seen(2, 126.0);
    frozen.policy = Arc::new(Policy { mode: Mode::Frozen, ..(*frozen.policy).clone() });
    assert!(
        say(&frozen).ends_with("; the count is frozen until the mode is changed; otherwise it would be 5."),
        "{}",
        say(&frozen)
    );
}

#[test]
fn what_is_not_known_is_named() {
    let gap = |gap, covered| {
        let mut seen = mk_seen(3, 20.0);
        let value = (covered > 0).then_some(60.0);
        seen.readings[0] = Measurement { gap: Some(gap), covered, value, ..seen.readings[0].clone() };
        say(&seen)
    };
    assert_eq!(
        gap(Missing::NoRequest, 0),
        "Held at 3; cpu_percent is unknown because not every container has a CPU request (set it), so the count is not lowered."
    );
    assert!(gap(Missing::Silent("refused".into()), 0).contains("the metrics API does not answer (refused)"));
    let partial = gap(Missing::Partial, 2);
    assert!(partial.starts_with("Held at 3: CPU use is 30 % of the request"), "{partial}");
    assert!(
        partial.contains("cpu_percent is known for only 2 of 3 replicas, so the count is not lowered"),
        "{partial}"
    );
}

#[test]
fn replicas_that_start_are_counted_by_the_sentence() {
    let with = |current, expected, starting| {
        let mut seen = mk_seen(current, 0.0);
        seen.readings[0] =
            Measurement { value: Some(130.0), covered: 2, expected, starting, ..seen.readings[0].clone() };
        say(&seen)
    };
    let told = |current, expected, starting| {
        let text = with(current, expected, starting);
        let (_, rest) = text.split_once("the target is 60 %").unwrap();
        rest.split_once(", so ").unwrap().0.to_owned()
    };
    assert_eq!(
        with(3, 2, 1),
        "Stays at 3: CPU use is 65 % of the request, the target is 60 %, 1 replica that is still starting is left out, so 3 replicas \
         are required."
    );
    assert_eq!(told(4, 2, 2), ", 2 replicas that are still starting are left out");
    assert_eq!(
        told(6, 2, 3),
        ", 1 replica that does not run counts as at its target, 3 replicas that are still starting are left out"
    );
    assert_eq!(
        told(2, 2, 1),
        ", 1 replica that is still starting is left out",
        "one more than asked for, in a rollout"
    );
    assert_eq!(told(4, 2, 0), ", 2 replicas that do not run count as at their target");

    let mut fresh = mk_seen(3, 0.0);
    let reading =
        Measurement { value: Some(30.0), covered: 2, expected: 2, starting: 1, ..fresh.readings[0].clone() };
    fresh.readings[0] = Measurement { gap: Some(Missing::Fresh), ..reading };
    assert!(
        say(&fresh).ends_with(
            "1 replica is required; the count falls gradually because scale_down_duration is 120 s; cpu_percent is not known yet for replicas \
             that have just become ready, so the count is not lowered."
        ),
        "{}",
        say(&fresh)
    );

    let all = |starting| {
        let mut seen = mk_seen(3, 0.0);
        let nothing = Measurement::missing(Source::MetricsApi, Missing::Starting, 0);
        seen.readings[0] = Measurement { starting, ..nothing };
        say(&seen)
    };
    assert_eq!(
        all(3),
        "Held at 3; cpu_percent is not known yet because all 3 replicas that run are still starting, so the count is not lowered."
    );
    assert!(all(2).contains("not known yet because both replicas that run are still starting, so"));
    assert!(all(1).contains("not known yet because the only replica that runs is still starting, so"));
}

#[test]
fn an_idle_app_says_how_long_it_waits() {
    let mut seen = mk_seen(1, 0.0);
    let targets = vec![Signal::Concurrency(1.0)];
    let idle = Duration::from_secs(60);
    seen.policy =
        Arc::new(Policy { mode: Mode::Active, min: 0, max: 20, targets, idle, ..Policy::default() });
    seen.memory.idle = 20.0;
    assert!(
        say(&seen).ends_with("the last replica stays until there has been no demand for 60 s (20 s so far)."),
        "{}",
        say(&seen)
    );
}

#[test]
fn numbers_have_the_digits_that_matter() {
    for (value, text) in [
        (0.0, "0"),
        (148.04, "148"),
        (10.5, "10.5"),
        (10.0, "10"),
        (1.25, "1.25"),
        (2.0, "2"),
        (0.001, "1e-3"),
    ] {
        assert_eq!(number(value), text);
    }
}
