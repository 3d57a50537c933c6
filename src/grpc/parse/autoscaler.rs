//! Parses messages of AutoscalerService into domain values.

use std::time::Duration;

use super::{given, request_meta, to_request};
use crate::{
    autoscale::{Field, Forecast, LoadFigure, Mode, PolicyChange, Signal},
    domain::{
        Error,
        caller::Caller,
        commands::{RequestMeta, UpdateAutoscaler},
        error::Violation,
        name::{self, Scope},
    },
    pb::{self, scaling_target::Signal as Target},
};

/// Longest name of a metric and of a source, in bytes.
const METRIC: usize = 128;
const SOURCE: usize = 256;

/// Parses the name of an autoscaler. Returns its app.
pub(in crate::grpc) fn name(field: &str, text: &str) -> Result<name::App, Error> {
    name::parse_autoscaler(text).map_err(|e| Error::invalid(field, e))
}

/// Parses the parent of a stream: one autoscaler, or those of all apps of a namespace or of all namespaces.
pub(in crate::grpc) fn scope(field: &str, text: &str) -> Result<Scope, Error> {
    Scope::parse_autoscalers(text).map_err(|e| Error::invalid(field, e))
}

pub(in crate::grpc) fn outcomes(numbers: &[i32]) -> Result<Vec<pb::ScalingOutcome>, Error> {
    let known = |(i, number): (usize, &i32)| match pb::ScalingOutcome::try_from(*number) {
        Ok(pb::ScalingOutcome::Unspecified) | Err(_) => {
            Err(Error::invalid(format!("outcomes[{i}]"), format!("{number} is not a valid ScalingOutcome")))
        }
        Ok(outcome) => Ok(outcome),
    };
    numbers.iter().enumerate().map(known).collect()
}

/// Parses a change of an autoscaler.
pub(in crate::grpc) fn tune(
    request: pb::UpdateAutoscalerRequest,
    caller: &Caller,
) -> Result<UpdateAutoscaler, Error> {
    let autoscaler = request.autoscaler.ok_or_else(|| Error::invalid("autoscaler", "is required"))?;
    let app = name("autoscaler.name", &autoscaler.name)?;
    let paths = request.update_mask.map(|mask| mask.paths).unwrap_or_default();
    let fields = fields(&paths, &autoscaler)?;
    let change = change(fields, &autoscaler)?;
    let etag = given(&autoscaler.etag);
    let what = format!("{app} {change:?} {etag:?}");
    let meta = RequestMeta {
        etag,
        validate_only: request.validate_only,
        ..request_meta(caller, request.reason, to_request(&request.request_id, "UpdateAutoscaler", &what))
    };
    Ok(UpdateAutoscaler { name: app, change, meta })
}

/// Returns the fields that an update changes: those in the mask, or those that are set if there is no mask.
fn fields(paths: &[String], autoscaler: &pb::Autoscaler) -> Result<Vec<Field>, Error> {
    if paths.is_empty() {
        return Ok(Field::ALL.into_iter().filter(|field| is_set(*field, autoscaler)).collect());
    }
    if paths.iter().any(|path| path == "*") {
        return Ok(Field::ALL.to_vec());
    }
    let field = |path: &String| {
        Field::ALL.into_iter().find(|field| field.as_str() == path).ok_or_else(|| {
            let known = Field::ALL.map(Field::as_str).join(", ");
            Error::invalid(
                "update_mask",
                format!("\"{path}\" is not a field that can be set; expected {known}, or * for all"),
            )
        })
    };
    paths.iter().map(field).collect()
}

fn is_set(field: Field, autoscaler: &pb::Autoscaler) -> bool {
    match field {
        Field::Mode => autoscaler.mode != 0,
        Field::MinReplicas => autoscaler.min_replicas.is_some(),
        Field::MaxReplicas => autoscaler.max_replicas != 0,
        Field::Targets => !autoscaler.targets.is_empty(),
        Field::ScaleUpDuration => autoscaler.scale_up_duration.is_some(),
        Field::ScaleDownDuration => autoscaler.scale_down_duration.is_some(),
        Field::ViolationObjective => autoscaler.violation_objective.is_some(),
        Field::Forecast => autoscaler.forecast != 0,
        Field::IdleTimeout => autoscaler.idle_timeout.is_some(),
        Field::StartupDuration => autoscaler.startup_duration.is_some(),
        Field::FreezeEndTime => autoscaler.freeze_end_time.is_some(),
    }
}

fn change(fields: Vec<Field>, from: &pb::Autoscaler) -> Result<PolicyChange, Error> {
    let count = |n: i32| u32::try_from(n).unwrap_or_default();
    let time = |name: &str, value: Option<&prost_types::Duration>| -> Result<Option<Duration>, Error> {
        super::parse_duration(&format!("autoscaler.{name}"), value)
    };
    let mode = match pb::AutoscalerMode::try_from(from.mode) {
        Ok(pb::AutoscalerMode::Unspecified | pb::AutoscalerMode::Off) => Mode::Off,
        Ok(pb::AutoscalerMode::Shadow) => Mode::Shadow,
        Ok(pb::AutoscalerMode::Active) => Mode::Active,
        Ok(pb::AutoscalerMode::Frozen) => Mode::Frozen,
        Err(_) => {
            return Err(Error::invalid(
                "autoscaler.mode",
                format!("{} is not a value of AutoscalerMode", from.mode),
            ));
        }
    };
    let forecast = match pb::Forecast::try_from(from.forecast) {
        Ok(pb::Forecast::Unspecified | pb::Forecast::Auto) => Forecast::Auto,
        Ok(pb::Forecast::None) => Forecast::None,
        Err(_) => {
            return Err(Error::invalid(
                "autoscaler.forecast",
                format!("{} is not a value of Forecast", from.forecast),
            ));
        }
    };
    let targets = if fields.contains(&Field::Targets) { targets(&from.targets)? } else { Vec::new() };
    Ok(PolicyChange {
        mode: Some(mode),
        min: from.min_replicas.map(count),
        max: Some(count(from.max_replicas)),
        targets,
        up: time("scale_up_duration", from.scale_up_duration.as_ref())?,
        down: time("scale_down_duration", from.scale_down_duration.as_ref())?,
        violation: from.violation_objective,
        forecast: Some(forecast),
        idle: time("idle_timeout", from.idle_timeout.as_ref())?,
        startup: time("startup_duration", from.startup_duration.as_ref())?,
        freeze_end: super::parse_time("autoscaler.freeze_end_time", from.freeze_end_time.as_ref())?,
        fields,
    })
}

fn targets(from: &[pb::ScalingTarget]) -> Result<Vec<Signal>, Error> {
    let percent = |n: i32| u32::try_from(n).unwrap_or_default();
    let target = |(i, target): (usize, &pb::ScalingTarget)| {
        let field = format!("autoscaler.targets[{i}]");
        match &target.signal {
            Some(Target::CpuPercent(n)) => Ok(Signal::CpuPercent(percent(*n))),
            Some(Target::MemoryPercent(n)) => Ok(Signal::MemoryPercent(percent(*n))),
            Some(Target::RequestsPerSecond(n)) => Ok(Signal::RequestsPerSecond(*n)),
            Some(Target::Concurrency(n)) => Ok(Signal::Concurrency(*n)),
            Some(Target::Reported(reported)) => {
                check_metric(&format!("{field}.reported.metric"), &reported.metric)?;
                Ok(Signal::Reported { metric: reported.metric.clone(), per_replica: reported.per_replica })
            }
            Some(Target::Prometheus(_)) => Err(Error::NotImplemented { what: format!("{field}.prometheus") }),
            None => Err(Error::invalid(field, "needs a signal, for example cpu_percent")),
        }
    };
    from.iter().enumerate().map(target).collect()
}

fn check_metric(field: &str, metric: &str) -> Result<(), Error> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "_.:/-".contains(c);
    if metric.is_empty() || metric.len() > METRIC || !metric.chars().all(fine) {
        let why = format!("must be 1 to {METRIC} letters, digits, '_', '.', ':', '/' or '-'");
        return Err(Error::invalid(field, why));
    }
    Ok(())
}

/// Parses reported figures and checks them as far as possible without the cluster. Reports all violations at
/// once.
pub(in crate::grpc) fn figures(
    request: pb::ReportLoadRequest,
    caller: &str,
) -> Result<Vec<LoadFigure>, Error> {
    let mut wrong = Vec::new();
    let mut figures = Vec::with_capacity(request.figures.len());
    for (i, figure) in request.figures.into_iter().enumerate() {
        let at = |field: &str| format!("figures[{i}].{field}");
        let mut check = |error: Option<Error>| {
            if let Some(Error::Invalid(violations)) = error {
                wrong.extend(violations);
            }
        };
        check(super::parse_app_name(&at("app"), &figure.app).err());
        check(check_metric(&at("metric"), &figure.metric).err());
        let time = super::parse_time(&at("time"), figure.time.as_ref());
        check(time.clone().err());
        if figure.source.len() > SOURCE {
            let description = format!("has {} bytes; at most {SOURCE} are allowed", figure.source.len());
            wrong.push(Violation { field: at("source"), description });
        }
        let source = if figure.source.is_empty() { caller.to_owned() } else { figure.source };
        let (app, metric, value) = (figure.app, figure.metric, figure.value);
        figures.push(LoadFigure { app, metric, value, source, time: time.unwrap_or_default() });
    }
    if wrong.is_empty() { Ok(figures) } else { Err(Error::Invalid(wrong)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_request(paths: &[&str]) -> pb::UpdateAutoscalerRequest {
        let autoscaler = pb::Autoscaler {
            name: "namespaces/prod/apps/shop/autoscaler".into(),
            mode: pb::AutoscalerMode::Active.into(),
            max_replicas: 10,
            ..pb::Autoscaler::default()
        };
        let paths = paths.iter().map(|p| (*p).to_owned()).collect();
        let update_mask = Some(prost_types::FieldMask { paths });
        pb::UpdateAutoscalerRequest { autoscaler: Some(autoscaler), update_mask, ..Default::default() }
    }

    fn tuned(paths: &[&str]) -> Result<Vec<Field>, Error> {
        tune(mk_request(paths), &Caller::named("ann")).map(|tune| tune.change.fields)
    }

    #[test]
    fn the_mask_says_which_fields_count() {
        assert_eq!(tuned(&[]), Ok(vec![Field::Mode, Field::MaxReplicas]));
        assert_eq!(tuned(&["min_replicas"]), Ok(vec![Field::MinReplicas]));
        assert_eq!(tuned(&["*"]), Ok(Field::ALL.to_vec()));
        assert!(
            tuned(&["status"]).unwrap_err().to_string().contains("\"status\" is not a field that can be set")
        );
    }

    #[test]
    fn names_say_what_was_expected() {
        assert_eq!(scope("parent", "namespaces/-/apps/-/autoscaler"), Ok(Scope::All));
        assert_eq!(scope("parent", "namespaces/a/apps/-/autoscaler"), Ok(Scope::Namespace("a".into())));
        assert_eq!(
            scope("parent", "namespaces/a/apps/b/autoscaler"),
            Ok(Scope::App(name::App::new("a", "b")))
        );
        for wrong in [
            "",
            "autoscaler",
            "namespaces/a/apps/b",
            "namespaces/a/apps/B/autoscaler",
            "namespaces/-/apps/b/autoscaler",
        ] {
            assert!(name("name", wrong).is_err(), "{wrong}");
            assert!(scope("name", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_wrong_figure_is_named() {
        let figure = |app: &str, metric: &str, seconds| pb::LoadFigure {
            app: app.into(),
            metric: metric.into(),
            time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
            ..pb::LoadFigure::default()
        };
        let figures_of = vec![
            figure("namespaces/a/apps/b", "queue", 1),
            figure("b", "queue", 1),
            figure("namespaces/a/apps/b", "no spaces", i64::MAX),
        ];
        let Err(Error::Invalid(wrong)) = figures(pb::ReportLoadRequest { figures: figures_of }, "ann") else {
            panic!("refused")
        };
        let fields: Vec<_> = wrong.into_iter().map(|v| v.field).collect();
        assert_eq!(fields, ["figures[1].app", "figures[2].metric", "figures[2].time"]);
    }
}
