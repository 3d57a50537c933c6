//! Decisions of autoscalers as rows. Pure: must not know clocks nor terminals.

use gantry_client::{name, v1};

use super::{clock, word};
use crate::render::text::{self, Paint};

/// Headings of the list.
pub(crate) const HEADINGS: [&str; 5] = ["TIME", "OUTCOME", "REPLICAS", "REQUIRED", "MESSAGE"];
/// Headings of the watch, where decisions of several apps come one by one. TIME is the time of day.
pub(crate) const WATCH: [&str; 7] =
    ["TIME", "NAMESPACE", "NAME", "OUTCOME", "REPLICAS", "REQUIRED", "MESSAGE"];
/// Column widths of the watch, which fit most rows.
pub(crate) const WATCH_WIDTHS: [usize; 7] = [8, 12, 20, 9, 8, 8, 0];

/// Returns the columns of a watch of one app, without those that name the app.
pub(crate) fn of_one_app<T>(columns: impl IntoIterator<Item = T>) -> Vec<T> {
    columns.into_iter().enumerate().filter_map(|(i, column)| (i != 1 && i != 2).then_some(column)).collect()
}

/// Returns a row of the list.
pub(crate) fn row(decision: &v1::ScalingDecision) -> Vec<String> {
    let time = decision.decide_time.as_ref().map_or_else(String::new, text::instant);
    [vec![time], facts(decision)].concat()
}

/// Returns a row of the watch.
pub(crate) fn watched(decision: &v1::ScalingDecision) -> Vec<String> {
    let time = decision.decide_time.as_ref().map_or_else(String::new, |time| clock(time.seconds));
    let (namespace, app) = name::App::of(&decision.name)
        .map_or_else(|_| (String::new(), decision.name.clone()), |name| (name.namespace, name.app));
    let row = [vec![time, namespace, app], facts(decision)].concat();
    row.iter().map(|cell| text::line(cell)).collect()
}

/// Returns the outcome of a decision, for example `SCALED`; empty if it is not known.
pub(crate) fn outcome(decision: &v1::ScalingDecision) -> String {
    word(decision.outcome().as_str_name(), "SCALING_OUTCOME_")
}

/// Formats `3 -> 5`, or `3` if the count stayed.
pub(crate) fn step(from: i32, to: i32) -> String {
    if from == to { to.to_string() } else { format!("{from} -> {to}") }
}

/// Colours the outcome in the list, and in the watch of one app.
pub(crate) fn painted(column: usize, cell: &str, paint: Paint) -> String {
    if column == 1 { coloured(cell, paint) } else { cell.to_owned() }
}

/// Colours an outcome.
pub(crate) fn coloured(outcome: &str, paint: Paint) -> String {
    match outcome {
        "SCALED" => paint.good(outcome),
        "FAILED" => paint.bad(outcome),
        "HELD" | "ADVISED" => paint.warn(outcome),
        _ => outcome.to_owned(),
    }
}

fn facts(decision: &v1::ScalingDecision) -> Vec<String> {
    vec![
        outcome(decision),
        step(decision.from_replicas, decision.to_replicas),
        decision.required_replicas.to_string(),
        decision.message.clone(),
    ]
}

/// Makes a decision with every field set.
#[cfg(test)]
pub(crate) fn mk_decision() -> v1::ScalingDecision {
    let signal = |signal: &str, value| v1::SignalReading {
        signal: signal.into(),
        value,
        per_replica: 100.0,
        age: Some(prost_types::Duration { seconds: 4, nanos: 0 }),
        source: "reported".into(),
        covered_replicas: 3,
    };
    let quote = |predictor: &str, chosen| v1::PredictorQuote {
        signal: "requests_per_second".into(),
        predictor: predictor.into(),
        forecast: 650.0,
        margin: 1.25,
        cost: 1.3,
        chosen,
    };
    v1::ScalingDecision {
        name: "namespaces/prod/apps/shop/autoscaler/decisions/17".into(),
        decide_time: Some(prost_types::Timestamp { seconds: 40, nanos: 123_456_789 }),
        outcome: v1::ScalingOutcome::Scaled.into(),
        from_replicas: 3,
        to_replicas: 5,
        required_replicas: 7,
        message: "650 requests/s ask for 7 replicas; the rate allows 5".into(),
        signals: vec![signal("requests_per_second", Some(650.0)), signal("cpu_percent", None)],
        predictors: vec![quote("reactive", true), quote("seasonal", false)],
        limits: vec![v1::LimitStep { limit: "RATE_UP".into(), before: 7, after: 5 }],
        policy_digest: "sha256:77".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_when_what_and_why() {
        let message = "650 requests/s ask for 7 replicas; the rate allows 5";
        let mut decision = mk_decision();
        assert_eq!(row(&decision), ["1970-01-01T00:00:40Z", "SCALED", "3 -> 5", "7", message]);
        assert_eq!(watched(&decision), ["00:00:40", "prod", "shop", "SCALED", "3 -> 5", "7", message]);
        (decision.to_replicas, decision.outcome) = (3, 99);
        decision.message = "two\nlines".into();
        assert_eq!(watched(&decision)[3..], ["", "3", "7", "two lines"]);
        assert_eq!(of_one_app(WATCH), HEADINGS, "the list is of one app, too");
        let nothing = v1::ScalingDecision::default();
        assert_eq!((row(&nothing).len(), watched(&nothing).len()), (HEADINGS.len(), WATCH.len()));
    }

    #[test]
    fn what_did_not_come_about_catches_the_eye() {
        let paint = Paint { color: true };
        for outcome in ["SCALED", "FAILED", "HELD", "ADVISED"] {
            assert_ne!(painted(1, outcome, paint), outcome);
            assert_eq!(painted(4, outcome, paint), outcome);
        }
        assert_eq!(painted(1, "UNCHANGED", paint), "UNCHANGED");
    }
}
