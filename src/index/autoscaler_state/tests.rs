//! Tests of the store of decisions: order, limits, pages, and which daemon runs the loop.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::autoscale::{Memory, Missing, Policy};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn app(name: &str) -> name::App {
    name::App::new("prod", name)
}

fn mk_seen(second: i64) -> Evaluation {
    Evaluation {
        now: at(second),
        policy: Arc::new(Policy::default()),
        current: 1,
        readings: vec![],
        rollout: false,
        other_autoscaler: None,
        hold: None,
        elapsed: 5.0,
        memory: Memory::default(),
    }
}

fn record(scaling: &AutoscalerState, name: &str, second: i64, outcome: Outcome) {
    let seen = mk_seen(second);
    let verdict = Verdict { outcome, ..seen.decide() };
    scaling.record_decision(&app(name), seen, verdict);
}

fn every(_: &Outcome) -> bool {
    true
}

#[test]
fn the_last_thousand_of_an_app_are_kept_and_others_do_not_push_them_out() {
    let scaling = AutoscalerState::new(at(0));
    record(&scaling, "quiet", 0, Outcome::Scaled);
    for i in 0..1500 {
        record(&scaling, "busy", i, Outcome::Unchanged);
    }
    let (busy, more) = scaling.list_decisions(&app("busy"), None, 5000, every);
    assert_eq!((busy.len(), more, busy[0].seen.now), (1000, false, at(1499)));
    assert_eq!(scaling.list_decisions(&app("quiet"), None, 10, every).0.len(), 1);
    assert_eq!(scaling.latest_decision(&app("busy")).unwrap().id, busy[0].id);
    scaling.retain_apps(|app| app.app == "quiet");
    assert!(
        scaling.latest_decision(&app("busy")).is_none() && scaling.latest_decision(&app("quiet")).is_some()
    );
}

#[test]
fn a_server_that_takes_over_knows_that_it_has_not_heard_all() {
    let figure = LoadFigure {
        app: app("a").to_string(),
        metric: "q".into(),
        value: 1.0,
        source: "s".into(),
        time: None,
    };
    let scaling = AutoscalerState::new(at(0));
    scaling.report_load(&[figure], at(100)).unwrap();
    assert_eq!(scaling.load_measurement(&app("a"), "q", at(100)).gap, None);
    scaling.set_leader(Leader::Remote { holder: "b".into(), address: String::new() }, at(90));
    scaling.set_leader(Leader::Local, at(95));
    assert_eq!(scaling.load_measurement(&app("a"), "q", at(100)).gap, Some(Missing::Young));
    scaling.set_leader(Leader::Local, at(120));
    assert_eq!(
        scaling.load_measurement(&app("a"), "q", at(126)).gap,
        None,
        "it continues and does not start again"
    );
}

proptest! {
    #[test]
    fn pages_and_streams_show_each_decision_once_in_order(
        made in proptest::collection::vec((0u8..3, 0i64..5, any::<bool>()), 1..60), size in 1usize..7,
    ) {
        let scaling = AutoscalerState::new(at(0));
        for (name, second, scaled) in &made {
            let outcome = if *scaled { Outcome::Scaled } else { Outcome::Unchanged };
            record(&scaling, &name.to_string(), *second, outcome);
        }
        let one = made.iter().filter(|(name, _, scaled)| *name == 0 && *scaled).count();
        let (mut before, mut paged) = (None, Vec::new());
        loop {
            let (page, more) = scaling.list_decisions(&app("0"), before, size, |o| *o == Outcome::Scaled);
            before = page.last().map(|d| d.id);
            paged.extend(page.into_iter().map(|d| d.id));
            if !more { break; }
        }
        prop_assert_eq!(paged.len(), one);
        prop_assert!(paged.windows(2).all(|pair| pair[0] > pair[1]));
        let (mut last, mut streamed) = (0, 0);
        loop {
            let batch = scaling.decisions_after(&Scope::All, last, size);
            let Some(newest) = batch.last() else { break };
            prop_assert!(batch.iter().all(|d| d.id > last));
            last = newest.id;
            streamed += batch.len();
        }
        prop_assert_eq!(streamed, made.len());
    }
}
