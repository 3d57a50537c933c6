//! Properties of reported figures: sums, silent sources, order, and what is rejected.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const APP: &str = "namespaces/prod/apps/shop";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn mk_figure(source: &str, value: f64, time: Option<i64>) -> LoadFigure {
    LoadFigure { app: APP.into(), metric: "queue".into(), value, source: source.into(), time: time.map(at) }
}

fn reading(figures: &LoadFigures, now: i64) -> Measurement {
    figures.measurement(APP, "queue", at(-1000), at(now))
}

#[test]
fn sources_add_up_and_one_that_falls_silent_is_missed_and_then_forgotten() {
    let mut figures = LoadFigures::default();
    figures.report(&[mk_figure("a", 3.0, None), mk_figure("b", 4.0, None)], at(0)).unwrap();
    let all = reading(&figures, 10);
    assert_eq!((all.value, all.covered, all.expected, all.gap, all.age), (Some(7.0), 2, 2, None, 10.0));
    figures.report(&[mk_figure("a", 3.0, None)], at(25)).unwrap();
    let one = reading(&figures, 31);
    assert_eq!((one.value, one.covered, one.expected, one.gap), (Some(3.0), 1, 2, Some(Missing::Partial)));
    let old = reading(&figures, 100);
    assert_eq!((old.value, old.gap), (None, Some(Missing::Old)));
    assert_eq!(reading(&figures, 206).gap, Some(Missing::Nothing));
    figures.drop_older(at(206));
    assert!(figures.is_empty());
}

#[test]
fn right_after_the_start_not_all_can_have_been_heard() {
    let mut figures = LoadFigures::default();
    figures.report(&[mk_figure("a", 3.0, None)], at(5)).unwrap();
    let gap = |now| figures.measurement(APP, "queue", at(0), at(now)).gap;
    assert_eq!((gap(10), gap(29), gap(30)), (Some(Missing::Young), Some(Missing::Young), None));
}

#[test]
fn each_wrong_figure_is_named_and_nothing_of_the_report_is_taken() {
    let mut figures = LoadFigures::default();
    let report = [
        mk_figure("a", 1.0, None),
        mk_figure("b", f64::NAN, None),
        mk_figure("c", -1.0, None),
        mk_figure("d", 1.0, Some(106)),
        mk_figure("e", 1.0, Some(-81)),
        mk_figure("f", f64::INFINITY, None),
    ];
    let refused = figures.report(&report, at(100)).unwrap_err();
    let places: Vec<_> = refused.iter().map(|r| (r.index, r.field)).collect();
    assert_eq!(places, [(1, "value"), (2, "value"), (3, "time"), (4, "time"), (5, "value")]);
    assert!(figures.is_empty());
    let fine = [mk_figure("d", 1.0, Some(105)), mk_figure("e", 1.0, Some(-80))];
    assert_eq!(figures.report(&fine, at(100)), Ok(2));
}

#[test]
fn names_that_change_with_each_call_are_refused_before_they_eat_the_memory() {
    let mut figures = LoadFigures::default();
    for i in 0..MAX_SOURCES_PER_METRIC {
        figures.report(&[mk_figure(&i.to_string(), 1.0, None)], at(0)).unwrap();
    }
    assert_eq!(figures.report(&[mk_figure("one more", 1.0, None)], at(0)).unwrap_err()[0].field, "source");
    assert_eq!(figures.report(&[mk_figure("7", 2.0, None)], at(0)), Ok(1));
    for i in 1..MAX_METRICS_PER_APP {
        figures.report(&[LoadFigure { metric: i.to_string(), ..mk_figure("a", 1.0, None) }], at(0)).unwrap();
    }
    let more = LoadFigure { metric: "one more".into(), ..mk_figure("a", 1.0, None) };
    assert_eq!(figures.report(&[more], at(0)).unwrap_err()[0].field, "metric");
}

proptest! {
    #[test]
    fn the_latest_of_each_source_counts_in_whatever_order_it_comes(
        reports in proptest::collection::vec((0u8..5, 0.0..100.0, 0i64..20), 1..40),
    ) {
        let mut figures = LoadFigures::default();
        let mut expected: BTreeMap<u8, (i64, f64)> = BTreeMap::new();
        for (source, value, time) in reports {
            figures.report(&[mk_figure(&source.to_string(), value, Some(time))], at(20)).unwrap();
            if expected.get(&source).is_none_or(|(known, _)| *known <= time) {
                expected.insert(source, (time, value));
            }
        }
        let sum: f64 = expected.values().map(|(_, value)| value).sum();
        let now = reading(&figures, 20);
        prop_assert!((now.value.unwrap() - sum).abs() < 1e-9);
        prop_assert_eq!(now.covered as usize, expected.len());
    }

    #[test]
    fn a_source_that_falls_silent_never_reads_as_a_whole_sum(
        values in proptest::collection::vec(0.0..100.0, 1..10), silent in 0usize..10, later in 1i64..200,
    ) {
        let silent = silent % values.len();
        let mut figures = LoadFigures::default();
        let name = |i: usize| i.to_string();
        let all: Vec<_> = values.iter().enumerate().map(|(i, v)| mk_figure(&name(i), *v, None)).collect();
        figures.report(&all, at(0)).unwrap();
        let rest: Vec<_> = all.into_iter().enumerate().filter(|(i, _)| *i != silent).map(|(_, f)| f).collect();
        figures.report(&rest, at(later)).unwrap();
        let now = reading(&figures, later);
        if later > 30 && later <= 180 {
            prop_assert!(now.gap.is_some());
        }
    }
}
