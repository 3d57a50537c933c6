//! Converts flags to requests about autoscaling. Pure: the time is an argument.

use std::time::Duration;

use gantry_client::{name, v1};
use prost_types::{FieldMask, Timestamp};
use v1::scaling_target::Signal;

use super::time;
use crate::args::{
    self,
    autoscale::{Mode, Policy},
    value::Startup,
};

/// Makes the request of `autoscale`, or returns `None` if no flag sets anything, which shows the autoscaler.
/// `now` is in Unix seconds and is the start of a freeze.
pub(crate) fn update(
    name: &name::App,
    flags: &args::Autoscale,
    now: i64,
) -> Option<v1::UpdateAutoscalerRequest> {
    let (policy, paths) = policy(&flags.policy, now);
    let request = v1::UpdateAutoscalerRequest {
        autoscaler: Some(v1::Autoscaler {
            name: name.autoscaler(),
            etag: flags.guard.etag.clone(),
            ..policy
        }),
        update_mask: Some(FieldMask { paths: paths.iter().map(|&path| path.to_owned()).collect() }),
        validate_only: flags.guard.dry_run,
        reason: flags.call.reason.clone(),
        request_id: flags.call.request_id.clone(),
    };
    (!paths.is_empty()).then_some(request)
}

/// Makes the request of `decisions`, for one page after the other.
pub(crate) fn list(name: &name::App, flags: &args::Decisions) -> v1::ListScalingDecisionsRequest {
    v1::ListScalingDecisionsRequest {
        parent: name.autoscaler(),
        outcomes: outcomes(flags),
        ..Default::default()
    }
}

/// Makes the request of `decisions --follow`; without an app it is for all apps.
pub(crate) fn watch(name: Option<&name::App>, flags: &args::Decisions) -> v1::WatchScalingDecisionsRequest {
    v1::WatchScalingDecisionsRequest {
        parent: name.map_or_else(|| name::ALL_AUTOSCALERS.to_owned(), name::App::autoscaler),
        outcomes: outcomes(flags),
        ..Default::default()
    }
}

/// Makes the request of `report`. The time is left to the daemon, because it measures ages by its own clock.
pub(crate) fn report(name: &name::App, flags: &args::Report) -> v1::ReportLoadRequest {
    let figure = |(metric, value): &(String, f64)| v1::LoadFigure {
        app: name.to_string(),
        metric: metric.clone(),
        value: *value,
        source: flags.source.clone(),
        time: None,
    };
    v1::ReportLoadRequest { figures: flags.figures.iter().map(figure).collect() }
}

fn outcomes(flags: &args::Decisions) -> Vec<i32> {
    flags.outcomes.iter().map(|outcome| v1::ScalingOutcome::from(*outcome).into()).collect()
}

/// Returns the policy that the flags describe, and the paths of the fields that they name.
fn policy(flags: &Policy, now: i64) -> (v1::Autoscaler, Vec<&'static str>) {
    let targets = targets(flags);
    let freeze_end_time = flags.freeze_for.map(|time| Timestamp {
        seconds: now.saturating_add(i64::try_from(time.as_secs()).unwrap_or(i64::MAX)),
        nanos: 0,
    });
    let mode = if freeze_end_time.is_some() { Some(Mode::Frozen) } else { flags.mode };
    let named = [
        ("mode", mode.is_some()),
        // The end of an earlier freeze must not end this one.
        ("freeze_end_time", mode == Some(Mode::Frozen)),
        ("min_replicas", flags.min.is_some()),
        ("max_replicas", flags.max.is_some()),
        ("targets", flags.clear_targets || !targets.is_empty()),
        ("scale_up_duration", flags.scale_up_duration.is_some()),
        ("scale_down_duration", flags.scale_down_duration.is_some()),
        ("idle_timeout", flags.idle_timeout.is_some()),
        ("startup_duration", flags.startup_duration.is_some()),
    ];
    let startup = flags.startup_duration.and_then(|startup| match startup {
        Startup::Measured => None,
        Startup::Set(time) => Some(time),
    });
    let of = |duration: Option<Duration>| duration.and_then(time);
    let policy = v1::Autoscaler {
        mode: mode.map_or(v1::AutoscalerMode::Unspecified, v1::AutoscalerMode::from).into(),
        min_replicas: flags.min,
        max_replicas: flags.max.unwrap_or_default(),
        targets,
        scale_up_duration: of(flags.scale_up_duration),
        scale_down_duration: of(flags.scale_down_duration),
        idle_timeout: of(flags.idle_timeout),
        startup_duration: of(startup),
        freeze_end_time,
        ..Default::default()
    };
    (policy, named.into_iter().filter(|(_, is_named)| *is_named).map(|(path, _)| path).collect())
}

fn targets(flags: &Policy) -> Vec<v1::ScalingTarget> {
    let reported = |(metric, per_replica): &(String, f64)| {
        Signal::Reported(v1::ReportedTarget { metric: metric.clone(), per_replica: *per_replica })
    };
    let signals = [
        flags.cpu.map(Signal::CpuPercent),
        flags.memory.map(Signal::MemoryPercent),
        flags.rps.map(Signal::RequestsPerSecond),
        flags.concurrency.map(Signal::Concurrency),
    ];
    let signals = signals.into_iter().flatten().chain(flags.metrics.iter().map(reported));
    signals.map(|signal| v1::ScalingTarget { signal: Some(signal) }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::tests::{mk_command, mk_name},
        *,
    };
    use crate::args::Command;

    fn mk_update(words: &str) -> Option<v1::UpdateAutoscalerRequest> {
        let line = format!("gantry autoscale shop{words}");
        let Command::Autoscale(flags) = mk_command(&line) else { panic!("`{line}` is about the autoscaler") };
        update(&mk_name(), &flags, 1000)
    }

    fn mk_policy(words: &str) -> (v1::Autoscaler, Vec<String>) {
        let request = mk_update(words).expect("it sets something");
        (request.autoscaler.unwrap_or_default(), request.update_mask.unwrap_or_default().paths)
    }

    #[test]
    fn without_a_flag_nothing_is_set() {
        assert_eq!(mk_update(""), None);
    }

    #[test]
    fn every_flag_arrives_and_is_named() {
        let request = mk_update(
            " --mode shadow --min 0 --max 20 --cpu 60 --memory 70 --rps 100 --concurrency 4.5 --metric q=30 --metric r=1 \
             --scale-up-duration 0s --scale-down-duration 5m --idle-timeout 10m --startup-duration 30s --reason why \
             --request-id id --etag e --dry-run",
        );
        let target = |signal| v1::ScalingTarget { signal: Some(signal) };
        let reported = |metric: &str, per_replica| {
            target(Signal::Reported(v1::ReportedTarget { metric: metric.into(), per_replica }))
        };
        let of = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let paths = [
            "mode",
            "min_replicas",
            "max_replicas",
            "targets",
            "scale_up_duration",
            "scale_down_duration",
            "idle_timeout",
            "startup_duration",
        ];
        let expected = v1::UpdateAutoscalerRequest {
            autoscaler: Some(v1::Autoscaler {
                name: "namespaces/prod/apps/shop/autoscaler".into(),
                mode: v1::AutoscalerMode::Shadow.into(),
                min_replicas: Some(0),
                max_replicas: 20,
                targets: vec![
                    target(Signal::CpuPercent(60)),
                    target(Signal::MemoryPercent(70)),
                    target(Signal::RequestsPerSecond(100.0)),
                    target(Signal::Concurrency(4.5)),
                    reported("q", 30.0),
                    reported("r", 1.0),
                ],
                scale_up_duration: of(0),
                scale_down_duration: of(300),
                idle_timeout: of(600),
                startup_duration: of(30),
                etag: "e".into(),
                ..Default::default()
            }),
            update_mask: Some(FieldMask { paths: paths.map(str::to_owned).into() }),
            validate_only: true,
            reason: "why".into(),
            request_id: "id".into(),
        };
        assert_eq!(request, Some(expected));
    }

    #[test]
    fn a_freeze_has_an_end_or_takes_the_earlier_one_away() {
        let (policy, paths) = mk_policy(" --freeze-for 1h");
        assert_eq!(
            (policy.mode(), paths.join(",").as_str()),
            (v1::AutoscalerMode::Frozen, "mode,freeze_end_time")
        );
        assert_eq!(policy.freeze_end_time, Some(Timestamp { seconds: 4600, nanos: 0 }));
        let (policy, paths) = mk_policy(" --mode frozen");
        assert_eq!((policy.freeze_end_time, paths.join(",").as_str()), (None, "mode,freeze_end_time"));
        let (_, paths) = mk_policy(" --mode off");
        assert_eq!(paths, ["mode"]);
    }

    #[test]
    fn what_is_named_and_empty_is_cleared() {
        let (policy, paths) = mk_policy(" --clear-targets --startup-duration measured");
        assert_eq!((policy.targets.len(), policy.startup_duration), (0, None));
        assert_eq!(paths, ["targets", "startup_duration"]);
    }

    #[test]
    fn decisions_are_asked_for_by_app_and_outcome() {
        let mk_flags = |line: &str| {
            let Command::Decisions(flags) = mk_command(line) else { panic!("`{line}` is about decisions") };
            flags
        };
        let flags = mk_flags("gantry decisions shop --outcome scaled,HELD");
        let outcomes: Vec<i32> = vec![v1::ScalingOutcome::Scaled.into(), v1::ScalingOutcome::Held.into()];
        let request = list(&mk_name(), &flags);
        assert_eq!(
            (request.parent.as_str(), &request.outcomes),
            ("namespaces/prod/apps/shop/autoscaler", &outcomes)
        );
        let request = watch(Some(&mk_name()), &flags);
        assert_eq!(
            (request.parent.as_str(), request.outcomes),
            ("namespaces/prod/apps/shop/autoscaler", outcomes)
        );
        let request = watch(None, &mk_flags("gantry decisions -A -f"));
        assert_eq!(
            (request.parent.as_str(), request.outcomes),
            ("namespaces/-/apps/-/autoscaler", Vec::new())
        );
    }

    #[test]
    fn every_figure_is_of_the_app_and_the_source() {
        let line = "gantry report shop queue_depth=420 concurrency=0 --source q";
        let Command::Report(flags) = mk_command(line) else { panic!("`{line}` reports") };
        let mk_figure = |metric: &str, value| v1::LoadFigure {
            app: "namespaces/prod/apps/shop".into(),
            metric: metric.into(),
            value,
            source: "q".into(),
            time: None,
        };
        let figures = vec![mk_figure("queue_depth", 420.0), mk_figure("concurrency", 0.0)];
        assert_eq!(report(&mk_name(), &flags), v1::ReportLoadRequest { figures });
    }

    proptest! {
        #[test]
        fn whatever_is_set_is_named_and_nothing_else(set in proptest::collection::vec(any::<bool>(), 6)) {
            let flags = [
                (" --min 2", "min_replicas"),
                (" --max 9", "max_replicas"),
                (" --cpu 50", "targets"),
                (" --scale-up-duration 1s", "scale_up_duration"),
                (" --scale-down-duration 1s", "scale_down_duration"),
                (" --idle-timeout 1s", "idle_timeout"),
            ];
            let chosen: Vec<_> = flags.iter().zip(&set).filter(|(_, is_set)| **is_set).map(|(flag, _)| flag).collect();
            let words: String = chosen.iter().map(|(words, _)| *words).collect();
            let paths = mk_update(&words).map(|request| request.update_mask.unwrap_or_default().paths);
            let expected: Vec<_> = chosen.iter().map(|(_, path)| (*path).to_owned()).collect();
            prop_assert_eq!(paths.unwrap_or_default(), expected);
        }
    }
}
