//! One autoscaler, and one decision, in full and for people. Pure: must not know clocks nor terminals.

use gantry_client::v1::{self, scaling_target::Signal};
use prost_types::Duration;

use super::{in_columns, owner};
use crate::render::{
    rows::decisions,
    table,
    text::{self, Paint},
};

/// Describes an autoscaler, with the app that it scales if that could be read.
pub(crate) fn autoscaler(
    scaler: &v1::Autoscaler,
    app: Option<&v1::App>,
    now: i64,
    paint: Paint,
) -> Vec<String> {
    let status = scaler.status.clone().unwrap_or_default();
    let count = app.and_then(|app| app.status.as_ref()).map(|app| {
        let owner = app.replica_owner.as_ref().map_or_else(String::new, |o| format!("; {}", owner(o)));
        format!("{} of {} ready{owner}", app.ready_replicas, app.desired_replicas)
    });
    let mode = mode(scaler);
    let painted = match scaler.mode() {
        v1::AutoscalerMode::Active => paint.good(&mode),
        v1::AutoscalerMode::Frozen => paint.warn(&mode),
        v1::AutoscalerMode::Unspecified | v1::AutoscalerMode::Off | v1::AutoscalerMode::Shadow => mode,
    };
    let next = status.next_decide_time.as_ref().map_or_else(String::new, text::instant);
    let said = &status.message;
    let last = status.last_decision.as_ref();
    let last = last.map_or_else(String::new, |last| last_decision(last, said, now, paint));
    let mut fields = vec![
        ("Name", scaler.name.clone()),
        ("Mode", painted),
        ("Message", text::line(&status.message)),
        ("Replicas", count.unwrap_or_default()),
        ("Bounds", bounds(scaler)),
        ("Targets", targets(scaler)),
        ("Up", over(scaler.scale_up_duration.as_ref(), "at once")),
        ("Down", over(scaler.scale_down_duration.as_ref(), "over 2 min 0 s")),
    ];
    if scaler.min_replicas == Some(0) {
        let after = scaler.idle_timeout.as_ref().map_or_else(|| "5 min 0 s".to_owned(), text::span);
        fields.push(("Idle", format!("stopped after {after} without demand")));
    }
    fields.extend([
        ("Startup", startup(scaler, &status)),
        ("Objective", scaler.violation_objective.map_or_else(String::new, objective)),
        ("Forecast", forecast(scaler.forecast())),
        ("Acts for", text::line(&status.acts_for)),
        ("Last", last),
        ("Next", next),
        ("Etag", scaler.etag.clone()),
    ]);
    in_columns(&fields, paint)
}

/// Formats `ACTIVE: 2 to 20 replicas, CPU at 60 % of the request, up at once, down over 2 min 0 s`.
pub(crate) fn policy(scaler: &v1::Autoscaler) -> String {
    if matches!(scaler.mode(), v1::AutoscalerMode::Off | v1::AutoscalerMode::Unspecified) {
        return mode(scaler);
    }
    let up = over(scaler.scale_up_duration.as_ref(), "at once");
    let down = over(scaler.scale_down_duration.as_ref(), "over 2 min 0 s");
    format!("{}: {}, {}, up {up}, down {down}", mode(scaler), bounds(scaler), targets(scaler))
}

/// Describes a decision with all that led to it.
pub(crate) fn decision(decision: &v1::ScalingDecision, now: i64, paint: Paint) -> Vec<String> {
    let time = decision.decide_time.as_ref().map_or_else(String::new, text::instant);
    let ago = text::age(decision.decide_time.as_ref(), now);
    let mut lines = in_columns(
        &[
            ("Decision", decision.name.clone()),
            ("Time", if time.is_empty() { time } else { format!("{time}, {ago} ago") }),
            ("Outcome", decisions::coloured(&decisions::outcome(decision), paint)),
            ("Message", text::line(&decision.message)),
            ("Replicas", decisions::step(decision.from_replicas, decision.to_replicas)),
            ("Required", format!("{} before any limit", decision.required_replicas)),
            ("Policy", decision.policy_digest.clone()),
        ],
        paint,
    );
    let mut add = |title: &str, headings: &[&str], rows: Vec<Vec<String>>| {
        if !rows.is_empty() {
            lines.push(paint.bold(title));
            let table = table::render(headings, &rows, |_, cell| cell.to_owned());
            lines.extend(table.into_iter().map(|line| format!("  {line}")));
        }
    };
    let signals = decision.signals.iter().map(signal).collect();
    add("Signals:", &["SIGNAL", "VALUE", "PER REPLICA", "AGE", "SOURCE", "COVERS"], signals);
    let quotes = decision.predictors.iter().map(quote).collect();
    add("Forecasts:", &["SIGNAL", "PREDICTOR", "FORECAST", "MARGIN", "COST", ""], quotes);
    let limits = decision
        .limits
        .iter()
        .map(|limit| vec![limit.limit.clone(), format!("{} -> {}", limit.before, limit.after)]);
    add("Limits, in order:", &["LIMIT", "REPLICAS"], limits.collect());
    lines
}

fn mode(scaler: &v1::Autoscaler) -> String {
    let mode = scaler.mode();
    let mode = if mode == v1::AutoscalerMode::Unspecified { v1::AutoscalerMode::Off } else { mode };
    let word = text::bare(mode.as_str_name(), "AUTOSCALER_MODE_");
    match (scaler.mode(), &scaler.freeze_end_time) {
        (v1::AutoscalerMode::Frozen, Some(end)) => {
            format!("{word} until {}, then ACTIVE", text::instant(end))
        }
        (v1::AutoscalerMode::Frozen, None) => format!("{word} until another mode is set"),
        _ => word.to_owned(),
    }
}

fn bounds(scaler: &v1::Autoscaler) -> String {
    let min = scaler.min_replicas.unwrap_or(1);
    match scaler.max_replicas {
        0 => format!("at least {}, no maximum set", text::count(min, "replica")),
        max => format!("{min} to {}", text::count(max, "replica")),
    }
}

fn targets(scaler: &v1::Autoscaler) -> String {
    let targets: Vec<_> = scaler.targets.iter().filter_map(|target| target.signal.as_ref()).collect();
    if targets.is_empty() {
        return "no targets".to_owned();
    }
    text::line(&targets.into_iter().map(target).collect::<Vec<_>>().join(", "))
}

fn target(signal: &Signal) -> String {
    let per = |value: f64, of: &str| format!("{} {of} per replica", text::number(value));
    match signal {
        Signal::CpuPercent(percent) => format!("CPU at {percent} % of the request"),
        Signal::MemoryPercent(percent) => format!("memory at {percent} % of the request"),
        Signal::RequestsPerSecond(rps) => per(*rps, "requests/s"),
        Signal::Concurrency(n) => per(*n, "requests in flight"),
        Signal::Reported(target) => per(target.per_replica, &target.metric),
        Signal::Prometheus(target) => per(target.per_replica, &format!("of `{}`", target.query)),
    }
}

/// Says how fast the count changes. `unset` is the contract's default for a field that is not set.
fn over(duration: Option<&Duration>, unset: &str) -> String {
    match duration {
        None => unset.to_owned(),
        Some(Duration { seconds: 0, nanos: 0 }) => "at once".to_owned(),
        Some(duration) => format!("over {}", text::span(duration)),
    }
}

fn startup(scaler: &v1::Autoscaler, status: &v1::AutoscalerStatus) -> String {
    let measured = status.measured_startup_duration.as_ref().map(text::span);
    match (&scaler.startup_duration, measured) {
        (Some(set), Some(measured)) => format!("{} as set, {measured} as measured", text::span(set)),
        (Some(set), None) => format!("{} as set", text::span(set)),
        (None, Some(measured)) => format!("{measured} as measured"),
        (None, None) => "not measured yet".to_owned(),
    }
}

fn objective(share: f64) -> String {
    format!("{} % of requests may find too few replicas", text::number(share * 100.0))
}

fn forecast(forecast: v1::Forecast) -> String {
    match forecast {
        v1::Forecast::Unspecified => String::new(),
        v1::Forecast::Auto | v1::Forecast::None => text::bare(forecast.as_str_name(), "FORECAST_").to_owned(),
    }
}

/// Describes the last decision, without its sentence if `said` is the same.
fn last_decision(decision: &v1::ScalingDecision, said: &str, now: i64, paint: Paint) -> String {
    let ago = text::age(decision.decide_time.as_ref(), now);
    let ago = if ago.is_empty() { ago } else { format!(", {ago} ago") };
    let outcome = decisions::coloured(&decisions::outcome(decision), paint);
    let step = decisions::step(decision.from_replicas, decision.to_replicas);
    let message = text::line(&decision.message);
    let message =
        if message.is_empty() || decision.message == said { String::new() } else { format!(": {message}") };
    format!("{outcome} {step}{ago}{message}")
}

fn signal(reading: &v1::SignalReading) -> Vec<String> {
    // Not every source counts replicas: a number for the whole app names no replica.
    let covers = match (reading.value, reading.covered_replicas) {
        (Some(_), 0) => "-".to_owned(),
        (_, n) => text::count(n, "replica"),
    };
    vec![
        reading.signal.clone(),
        reading.value.map_or_else(|| "none".to_owned(), text::number),
        text::number(reading.per_replica),
        reading.age.as_ref().map_or_else(|| "-".to_owned(), text::span),
        if reading.source.is_empty() { "-".to_owned() } else { reading.source.clone() },
        covers,
    ]
}

fn quote(quote: &v1::PredictorQuote) -> Vec<String> {
    vec![
        quote.signal.clone(),
        quote.predictor.clone(),
        text::number(quote.forecast),
        format!("x {}", text::number(quote.margin)),
        text::number(quote.cost),
        if quote.chosen { "used" } else { "" }.to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::rows::decisions::mk_decision;

    fn mk_target(signal: Signal) -> v1::ScalingTarget {
        v1::ScalingTarget { signal: Some(signal) }
    }

    fn mk_scaler(mode: v1::AutoscalerMode) -> v1::Autoscaler {
        v1::Autoscaler {
            name: "namespaces/prod/apps/shop/autoscaler".into(),
            mode: mode.into(),
            min_replicas: Some(2),
            max_replicas: 20,
            targets: vec![mk_target(Signal::CpuPercent(60)), mk_target(Signal::RequestsPerSecond(37.5))],
            ..Default::default()
        }
    }

    #[test]
    fn an_autoscaler_is_shown_with_what_it_does() {
        let of = |seconds| Some(Duration { seconds, nanos: 0 });
        let scaler = v1::Autoscaler {
            min_replicas: Some(0),
            scale_up_duration: of(0),
            scale_down_duration: of(300),
            idle_timeout: of(600),
            violation_objective: Some(0.001),
            forecast: v1::Forecast::Auto.into(),
            etag: "e1".into(),
            status: Some(v1::AutoscalerStatus {
                message: "It follows the demand.".into(),
                last_decision: Some(mk_decision()),
                next_decide_time: Some(prost_types::Timestamp { seconds: 45, nanos: 5 }),
                measured_startup_duration: of(12),
                acts_for: "eve".into(),
            }),
            ..mk_scaler(v1::AutoscalerMode::Active)
        };
        let owner = v1::ReplicaOwner { kind: v1::ReplicaOwnerKind::Autoscaler.into(), ..Default::default() };
        let status = v1::AppStatus {
            ready_replicas: 3,
            desired_replicas: 5,
            replica_owner: Some(owner),
            ..Default::default()
        };
        let app = v1::App { status: Some(status), ..Default::default() };
        assert_eq!(
            autoscaler(&scaler, Some(&app), 42, Paint::default()),
            [
                "Name:        namespaces/prod/apps/shop/autoscaler",
                "Mode:        ACTIVE",
                "Message:     It follows the demand.",
                "Replicas:    3 of 5 ready; set by the autoscaler",
                "Bounds:      0 to 20 replicas",
                "Targets:     CPU at 60 % of the request, 37.5 requests/s per replica",
                "Up:          at once",
                "Down:        over 5 min 0 s",
                "Idle:        stopped after 10 min 0 s without demand",
                "Startup:     12.0 s as measured",
                "Objective:   0.1 % of requests may find too few replicas",
                "Forecast:    AUTO",
                "Acts for:    eve",
                "Last:        SCALED 3 -> 5, 2s ago: 650 requests/s ask for 7 replicas; the rate allows 5",
                "Next:        1970-01-01T00:00:45Z",
                "Etag:        e1",
            ]
        );
    }

    #[test]
    fn the_last_decision_is_not_explained_twice() {
        let decision = mk_decision();
        let last = |said: &str| last_decision(&decision, said, 42, Paint::default());
        assert_eq!(last(&decision.message), "SCALED 3 -> 5, 2s ago");
        assert!(last("It follows the demand.").ends_with(&decision.message));
    }

    #[test]
    fn what_is_not_set_is_shown_as_it_counts() {
        let scaler = v1::Autoscaler { name: "a".into(), ..Default::default() };
        assert_eq!(
            autoscaler(&scaler, None, 0, Paint::default()),
            [
                "Name:        a",
                "Mode:        OFF",
                "Bounds:      at least 1 replica, no maximum set",
                "Targets:     no targets",
                "Up:          at once",
                "Down:        over 2 min 0 s",
                "Startup:     not measured yet",
            ]
        );
    }

    #[test]
    fn a_policy_is_one_sentence() {
        assert_eq!(
            policy(&mk_scaler(v1::AutoscalerMode::Shadow)),
            "SHADOW: 2 to 20 replicas, CPU at 60 % of the request, 37.5 requests/s per replica, up at once, down over 2 min 0 s"
        );
        assert_eq!(policy(&mk_scaler(v1::AutoscalerMode::Off)), "OFF");
        let mut scaler = mk_scaler(v1::AutoscalerMode::Frozen);
        assert!(policy(&scaler).starts_with("FROZEN until another mode is set: "));
        scaler.freeze_end_time = Some(prost_types::Timestamp { seconds: 60, nanos: 1 });
        assert!(policy(&scaler).starts_with("FROZEN until 1970-01-01T00:01:00Z, then ACTIVE: "));
    }

    #[test]
    fn every_target_is_named() {
        let reported = v1::ReportedTarget { metric: "queue_depth".into(), per_replica: 30.0 };
        let query = v1::PrometheusTarget { query: "sum(rate(x[1m]))".into(), per_replica: 0.25 };
        for (signal, shown) in [
            (Signal::MemoryPercent(70), "memory at 70 % of the request"),
            (Signal::Concurrency(4.0), "4 requests in flight per replica"),
            (Signal::Reported(reported), "30 queue_depth per replica"),
            (Signal::Prometheus(query), "0.25 of `sum(rate(x[1m]))` per replica"),
        ] {
            assert_eq!(target(&signal), shown);
        }
    }

    #[test]
    fn a_decision_explains_itself() {
        assert_eq!(
            decision(&mk_decision(), 100, Paint::default()),
            [
                "Decision:    namespaces/prod/apps/shop/autoscaler/decisions/17",
                "Time:        1970-01-01T00:00:40Z, 60s ago",
                "Outcome:     SCALED",
                "Message:     650 requests/s ask for 7 replicas; the rate allows 5",
                "Replicas:    3 -> 5",
                "Required:    7 before any limit",
                "Policy:      sha256:77",
                "Signals:",
                "  SIGNAL                VALUE   PER REPLICA   AGE     SOURCE     COVERS",
                "  requests_per_second   650     100           4.0 s   reported   3 replicas",
                "  cpu_percent           none    100           4.0 s   reported   3 replicas",
                "Forecasts:",
                "  SIGNAL                PREDICTOR   FORECAST   MARGIN   COST",
                "  requests_per_second   reactive    650        x 1.25   1.3    used",
                "  requests_per_second   seasonal    650        x 1.25   1.3",
                "Limits, in order:",
                "  LIMIT     REPLICAS",
                "  RATE_UP   7 -> 5",
            ]
        );
        let bare = decision(&v1::ScalingDecision::default(), 100, Paint::default());
        assert_eq!(bare, ["Replicas:    0", "Required:    0 before any limit"]);
    }
}
