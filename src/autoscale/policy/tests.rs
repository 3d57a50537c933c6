//! The rules of a policy, and that its JSON form can be read back.

use proptest::prelude::*;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn fields(policy: &Policy) -> Vec<String> {
    policy.violations(at(100)).into_iter().map(|wrong| wrong.field).collect()
}

fn mk_policy() -> Policy {
    Policy { mode: Mode::Active, max: 10, targets: vec![Signal::CpuPercent(60)], ..Policy::default() }
}

#[test]
fn a_policy_that_is_off_needs_nothing_and_one_that_is_on_needs_a_maximum_and_a_target() {
    assert!(fields(&Policy::default()).is_empty());
    assert!(fields(&mk_policy()).is_empty());
    let on = Policy { mode: Mode::Shadow, ..Policy::default() };
    assert_eq!(fields(&on), ["max_replicas", "targets"]);
}

#[test]
fn what_contradicts_itself_is_named() {
    assert_eq!(fields(&Policy { min: 11, ..mk_policy() }), ["max_replicas"]);
    assert_eq!(fields(&Policy { min: 0, ..mk_policy() }), ["min_replicas"]);
    let reported = vec![Signal::CpuPercent(60), Signal::RequestsPerSecond(1.0)];
    assert!(fields(&Policy { min: 0, targets: reported, ..mk_policy() }).is_empty());
    let twice = vec![Signal::CpuPercent(60), Signal::CpuPercent(70)];
    assert_eq!(fields(&Policy { targets: twice, ..mk_policy() }), ["targets[1]"]);
    assert_eq!(fields(&Policy { freeze_end: Some(at(200)), ..mk_policy() }), ["freeze_end_time"]);
    let frozen = |end| Policy { mode: Mode::Frozen, freeze_end: Some(at(end)), ..mk_policy() };
    assert_eq!(fields(&frozen(100)), ["freeze_end_time"]);
    assert!(fields(&frozen(101)).is_empty());
}

#[test]
fn a_freeze_ends_by_itself() {
    let frozen = Policy { mode: Mode::Frozen, freeze_end: Some(at(10)), ..mk_policy() };
    assert_eq!((frozen.mode_at(at(9)), frozen.mode_at(at(10))), (Mode::Frozen, Mode::Active));
    let for_ever = Policy { freeze_end: None, ..frozen };
    assert_eq!(for_ever.mode_at(at(i64::from(i32::MAX))), Mode::Frozen);
}

#[test]
fn after_a_freeze_has_ended_other_fields_can_be_set() {
    let frozen = Policy { mode: Mode::Frozen, freeze_end: Some(at(10)), ..mk_policy() };
    let change = PolicyChange { fields: vec![Field::MaxReplicas], max: Some(7), ..PolicyChange::default() };
    let changed = frozen.at_time(at(20)).with_change(&change, "bob");
    assert_eq!((changed.mode, changed.freeze_end, changed.violations(at(20))), (Mode::Active, None, vec![]));
    assert_eq!(frozen.at_time(at(9)), frozen);
}

#[test]
fn a_mode_ends_what_an_earlier_one_left() {
    let frozen = Policy { mode: Mode::Frozen, freeze_end: Some(at(10)), ..mk_policy() };
    let change =
        PolicyChange { fields: vec![Field::Mode], mode: Some(Mode::Shadow), ..PolicyChange::default() };
    let changed = frozen.with_change(&change, "bob");
    assert_eq!((changed.mode, changed.freeze_end, changed.acts_for.as_str()), (Mode::Shadow, None, "bob"));
    let other = PolicyChange { fields: vec![Field::MaxReplicas], max: Some(7), ..PolicyChange::default() };
    let changed = frozen.with_change(&other, "bob");
    assert_eq!((changed.max, changed.freeze_end, changed.acts_for.as_str()), (7, Some(at(10)), ""));
}

fn mk_signal() -> impl Strategy<Value = Signal> {
    prop_oneof![
        (1u32..1000).prop_map(Signal::CpuPercent),
        (1u32..1000).prop_map(Signal::MemoryPercent),
        (0.001..1e9).prop_map(Signal::RequestsPerSecond),
        (0.001..1e9).prop_map(Signal::Concurrency),
        ("[a-z_]{1,20}", 0.001..1e9)
            .prop_map(|(metric, per_replica)| Signal::Reported { metric, per_replica }),
    ]
}

fn mk_any() -> impl Strategy<Value = Policy> {
    let mode = prop_oneof![Just(Mode::Off), Just(Mode::Shadow), Just(Mode::Active), Just(Mode::Frozen)];
    let targets = proptest::collection::vec(mk_signal(), 0..4);
    let millis = || (0u64..100_000_000).prop_map(Duration::from_millis);
    let times = (millis(), millis(), millis(), proptest::option::of(millis()));
    let end = proptest::option::of((0i64..4_000_000_000).prop_map(at));
    (mode, 0u32..100, 0u32..1000, targets, times, 0.00001..0.1, end, "[a-z]{0,8}").prop_map(
        |(mode, min, max, targets, (up, down, idle, startup), violation, freeze_end, acts_for)| Policy {
            mode,
            min,
            max,
            targets,
            up,
            down,
            violation,
            forecast: Forecast::None,
            idle,
            startup,
            freeze_end,
            acts_for,
        },
    )
}

proptest! {
    #[test]
    fn a_policy_survives_being_written_down(policy in mk_any()) {
        let text = serde_json::to_string(&policy).unwrap();
        let read: Policy = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&read, &policy);
        prop_assert_eq!(read.digest(), policy.digest());
    }

    #[test]
    fn a_change_touches_the_fields_that_it_names_and_no_others(from in mk_any(), to in mk_any(), which in 0usize..11) {
        let field = Field::ALL[which];
        let change = PolicyChange {
            fields: vec![field],
            mode: Some(to.mode), min: Some(to.min), max: Some(to.max), targets: to.targets.clone(), up: Some(to.up), down: Some(to.down),
            violation: Some(to.violation), forecast: Some(Forecast::Auto), idle: Some(to.idle), startup: to.startup, freeze_end: to.freeze_end,
        };
        let changed = from.with_change(&change, "ann");
        let mut back = changed.clone();
        match field {
            Field::Mode => (back.mode, back.freeze_end, back.acts_for) = (from.mode, from.freeze_end, from.acts_for.clone()),
            Field::MinReplicas => back.min = from.min,
            Field::MaxReplicas => back.max = from.max,
            Field::Targets => back.targets.clone_from(&from.targets),
            Field::ScaleUpDuration => back.up = from.up,
            Field::ScaleDownDuration => back.down = from.down,
            Field::ViolationObjective => back.violation = from.violation,
            Field::Forecast => back.forecast = from.forecast,
            Field::IdleTimeout => back.idle = from.idle,
            Field::StartupDuration => back.startup = from.startup,
            Field::FreezeEndTime => back.freeze_end = from.freeze_end,
        }
        prop_assert_eq!(back, from);
    }

    #[test]
    fn a_change_of_everything_to_nothing_is_the_default(from in mk_any()) {
        let all = PolicyChange { fields: Field::ALL.to_vec(), ..PolicyChange::default() };
        prop_assert_eq!(from.with_change(&all, ""), Policy::default());
    }
}
