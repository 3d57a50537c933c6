//! The properties of the rate law, over random policies and input, and the examples of its documentation.

use proptest::prelude::*;

use super::{Limit, NOISE, Observation, RateLaw, State, Step};

const LAW: RateLaw = RateLaw { dt_up: 0.0, dt_down: 120.0, min: 1, max: 100 };

fn mk_seen(required: f64, current: u32) -> Observation {
    Observation { required: Some(required), current, elapsed: 5.0, state: State::default() }
}

fn carrying(carry: f64) -> State {
    State { carry, ..State::default() }
}

/// Takes `steps` steps of `h` seconds with a constant demand, and returns the count after each.
fn mk_run(law: &RateLaw, required: f64, from: u32, h: f64, steps: u32) -> Vec<u32> {
    let (mut current, mut state) = (from, State::default());
    let step = |_| {
        let step = law.step(&Observation { required: Some(required), current, elapsed: h, state });
        (current, state) = (step.replicas, step.state);
        current
    };
    (0..steps).map(step).collect()
}

fn limits(step: &Step) -> Vec<&'static str> {
    step.limits.iter().map(|l| l.limit.as_str()).collect()
}

#[test]
fn up_at_once() {
    let step = LAW.step(&mk_seen(37.2, 4));
    assert_eq!((step.replicas, step.state.carry), (38, 0.0));
    assert!(step.limits.is_empty());
}

#[test]
fn down_by_the_law() {
    // The error is -60, which is -0.5 replicas a second, or -2.5 in 5 s.
    let step = LAW.step(&mk_seen(40.0, 100));
    assert_eq!((step.replicas, step.state.carry), (98, -0.5));
    assert_eq!(limits(&step), ["RATE_DOWN"]);
    assert_eq!((step.limits[0].before, step.limits[0].after), (40, 98));
}

#[test]
fn one_replica_too_many_goes_after_dt() {
    // 24 evaluations of 5 s are the 120 s of `dt_down`.
    let counts = mk_run(&LAW, 4.0, 5, 5.0, 24);
    assert_eq!((counts[22], counts[23]), (5, 4));
}

#[test]
fn rounding_noise_is_not_a_replica() {
    assert_eq!(LAW.step(&mk_seen(0.3 / 0.1, 3)).replicas, 3);
    assert_eq!(LAW.step(&mk_seen(3.001, 3)).replicas, 4);
}

#[test]
fn limits_hold_at_once_and_are_named() {
    let up = LAW.step(&mk_seen(1e300, 4));
    assert_eq!((up.replicas, limits(&up)), (100, vec!["MAX"]));
    let down = RateLaw { dt_down: 0.0, ..LAW }.step(&mk_seen(0.0, 4));
    assert_eq!((down.replicas, limits(&down)), (1, vec!["MIN"]));
    let above = LAW.step(&mk_seen(50.0, 1000));
    assert_eq!((above.replicas, above.state.carry, limits(&above)), (100, 0.0, vec!["RATE_DOWN", "MAX"]));
    let below = RateLaw { min: 10, dt_up: 60.0, ..LAW }.step(&mk_seen(20.0, 2));
    assert_eq!((below.replicas, limits(&below)), (10, vec!["RATE_UP", "MIN"]));
}

#[test]
fn unknown_demand_raises_to_the_minimum_and_never_shrinks() {
    let seen = |current| Observation { required: None, ..mk_seen(0.0, current) };
    assert_eq!(LAW.step(&seen(7)).replicas, 7);
    assert_eq!(LAW.step(&seen(1000)).replicas, 1000);
    let low = LAW.step(&seen(0));
    assert_eq!((low.replicas, limits(&low)), (1, vec!["STALE_SIGNAL", "MIN"]));
}

#[test]
fn what_was_gathered_upwards_is_void_on_the_way_down() {
    let seen = Observation { state: carrying(0.9), ..mk_seen(40.0, 41) };
    assert!(LAW.step(&seen).state.carry < 0.0);
    let at_rest = LAW.step(&Observation { state: carrying(0.9), ..mk_seen(41.0, 41) });
    assert_eq!((at_rest.replicas, at_rest.state.carry), (41, 0.0));
}

fn mk_law() -> impl Strategy<Value = RateLaw> {
    let dt = || prop_oneof![Just(0.0), 0.0..600.0];
    (dt(), dt(), 0u32..50, 0u32..500).prop_map(|(dt_up, dt_down, min, more)| RateLaw {
        dt_up,
        dt_down,
        min,
        max: min + more,
    })
}

fn mk_any_seen() -> impl Strategy<Value = Observation> {
    (0.0..2000.0, 0u32..1000, 0.0..400.0, -1.0..1.0).prop_map(|(required, current, elapsed, carry)| {
        Observation { required: Some(required), current, elapsed, state: carrying(carry) }
    })
}

/// Numbers that no policy, clock or metric should contain.
fn mk_absurd() -> impl Strategy<Value = f64> {
    prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY), -1e300..-1e-300]
}

proptest! {
    #[test]
    fn stays_within_the_limits(law in mk_law(), seen in mk_any_seen()) {
        let step = law.step(&seen);
        prop_assert!((law.min..=law.max).contains(&step.replicas), "{step:?}");
        prop_assert!(step.state.carry.abs() < 1.0);
    }

    #[test]
    fn never_steps_against_the_error_nor_past_it(law in mk_law(), seen in mk_any_seen()) {
        let step = law.step(&seen);
        let goal = seen.required.map_or(0.0, |n| (n - NOISE).ceil()).clamp(f64::from(law.min), f64::from(law.max));
        let (current, next) = (f64::from(seen.current), f64::from(step.replicas));
        prop_assert!((next - current) * (goal - current) >= 0.0, "{step:?}");
        prop_assert!((goal - next) * (goal - current) >= 0.0, "{step:?}");
    }

    #[test]
    fn constant_demand_comes_to_rest_and_stays(
        dt in 1.0..600.0, per_dt in 1u32..50, from in 0u32..400, goal in 0u32..400,
    ) {
        let law = RateLaw { dt_up: dt, dt_down: dt, min: 0, max: 400 };
        let (h, error) = (dt / f64::from(per_dt), from.abs_diff(goal));
        let rest = 3 * per_dt as usize;
        let counts = mk_run(&law, f64::from(goal), from, h, 3 * per_dt + 20);
        prop_assert!(counts[rest - 1..].iter().all(|&n| n == goal), "{error} from {from}: {counts:?}");
        // What remains for the last step is a twentieth, plus the replica that is being carried.
        let left = if rest > 1 { counts[rest - 2].abs_diff(goal) } else { 0 };
        let last_but_one = (-f64::from(3 * per_dt - 1) / f64::from(per_dt)).exp();
        prop_assert!(f64::from(left) <= last_but_one * f64::from(error) + 2.0, "{left} of {error} left: {counts:?}");
    }

    #[test]
    fn slow_rates_add_up(dt in 10.0..600.0, from in 110u32..400) {
        // A hundred steps of `dt / 1000` end where ten steps of `dt / 100` end, except for the replica that
        // is being carried.
        let law = RateLaw { dt_up: dt, dt_down: dt, min: 0, max: 400 };
        let (fine, coarse) = (mk_run(&law, 100.0, from, dt / 1000.0, 100), mk_run(&law, 100.0, from, dt / 100.0, 10));
        prop_assert!(fine[99].abs_diff(coarse[9]) <= 2, "{fine:?} {coarse:?}");
        prop_assert!(from < 120 || fine[99] < from);
    }

    #[test]
    fn absurd_demand_holds(law in mk_law(), seen in mk_any_seen(), absurd in mk_absurd()) {
        let step = law.step(&Observation { required: Some(absurd), ..seen });
        prop_assert_eq!(step.replicas, seen.current.max(law.min));
        prop_assert_eq!(step.limits[0].limit, Limit::StaleSignal);
    }

    #[test]
    fn absurd_time_holds(law in mk_law(), seen in mk_any_seen(), absurd in mk_absurd()) {
        let step = law.step(&Observation { elapsed: absurd, ..seen });
        prop_assert_eq!(step.replicas, seen.current.max(law.min));
        prop_assert_eq!(step.limits[0].limit, Limit::Hold);
    }

    #[test]
    fn absurd_policy_holds(law in mk_law(), seen in mk_any_seen(), absurd in mk_absurd(), which in 0..3) {
        let law = match which {
            0 => RateLaw { dt_up: absurd, ..law },
            1 => RateLaw { dt_down: absurd, ..law },
            _ => RateLaw { min: law.max + 1, ..law },
        };
        let step = law.step(&seen);
        let floor = if law.min > law.max { 0 } else { law.min };
        prop_assert_eq!(step.replicas, seen.current.max(floor));
        prop_assert_eq!(step.limits[0].limit, Limit::Hold);
    }

    #[test]
    fn no_time_no_step_by_the_law(law in mk_law(), seen in mk_any_seen()) {
        let law = RateLaw { dt_up: law.dt_up + 1.0, dt_down: law.dt_down + 1.0, ..law };
        let current = seen.current.clamp(law.min, law.max);
        prop_assert_eq!(law.step(&Observation { elapsed: 0.0, current, ..seen }).replicas, current);
    }

    #[test]
    fn an_absurd_carry_is_none(law in mk_law(), seen in mk_any_seen(), absurd in mk_absurd()) {
        prop_assume!(absurd.abs() >= 1.0 || absurd.is_nan());
        prop_assert_eq!(law.step(&Observation { state: carrying(absurd), ..seen }), law.step(&Observation { state: State::default(), ..seen }));
    }

    #[test]
    fn every_limit_chains_from_the_required_count_to_the_result(law in mk_law(), seen in mk_any_seen()) {
        let step = law.step(&seen);
        for pair in step.limits.windows(2) {
            prop_assert_eq!(pair[0].after, pair[1].before);
        }
        if let Some(last) = step.limits.last() {
            prop_assert_eq!(last.after, step.replicas);
        }
    }

    #[test]
    fn the_same_input_gives_the_same_bits(law in mk_law(), seen in mk_any_seen()) {
        let (one, other) = (law.step(&seen), law.step(&seen));
        prop_assert_eq!(one.state.carry.to_bits(), other.state.carry.to_bits());
        prop_assert_eq!(one, other);
    }
}
