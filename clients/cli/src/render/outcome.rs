//! How a rollout ended, as lines for people and as exit status. Must not know how it was followed.

use std::time::Duration;

use gantry_client::{name, v1};

use crate::{
    failure::{Exit, detail},
    render::{
        problem,
        text::{self, Paint},
    },
};

/// How a rollout ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The exit status.
    pub(crate) exit: Exit,
    /// The first line says how it ended. After a failure the other lines say why and what to do.
    pub(crate) lines: Vec<String>,
}

/// Formats `shop rollout 3`, with the namespace unless it is the caller's own.
pub(crate) fn title(rollout: &str, own_namespace: &str) -> String {
    match name::Rollout::parse(rollout) {
        Ok(name::Rollout { app, revision }) if app.namespace == own_namespace => {
            format!("{} rollout {revision}", app.app)
        }
        Ok(name::Rollout { app, revision }) => format!("{}/{} rollout {revision}", app.namespace, app.app),
        Err(_) => text::line(rollout),
    }
}

/// Whether the rollout has reached a final state.
pub(crate) fn has_ended(rollout: &v1::Rollout) -> bool {
    match rollout.state() {
        v1::RolloutState::Succeeded | v1::RolloutState::Failed | v1::RolloutState::Superseded => true,
        v1::RolloutState::Unspecified
        | v1::RolloutState::Pending
        | v1::RolloutState::Running
        | v1::RolloutState::Paused => false,
    }
}

/// Returns the time from start to end by the daemon's clock, if both are known.
pub(crate) fn duration(rollout: &v1::Rollout) -> Option<Duration> {
    let (start, end) = (rollout.start_time.as_ref()?, rollout.end_time.as_ref()?);
    let millis = |time: &prost_types::Timestamp| {
        time.seconds.checked_mul(1000)?.checked_add(i64::from(time.nanos / 1_000_000))
    };
    u64::try_from(millis(end)?.checked_sub(millis(start)?)?).ok().map(Duration::from_millis)
}

/// Describes how a rollout ended. `took` is the time that the caller measured.
pub(crate) fn of(
    rollout: &v1::Rollout,
    took: Option<Duration>,
    own_namespace: &str,
    paint: Paint,
) -> Outcome {
    let title = title(&rollout.name, own_namespace);
    let progress = rollout.progress.unwrap_or_default();
    let (ready, desired) = (progress.ready, text::count(progress.desired, "replica"));
    let took = |word: &str| {
        took.or_else(|| duration(rollout)).map_or_else(String::new, |t| format!(" {word} {}", text::took(t)))
    };
    match rollout.state() {
        v1::RolloutState::Succeeded => Outcome {
            exit: Exit::Done,
            lines: vec![format!(
                "{title} {}{}: {ready} of {desired} ready",
                paint.good("succeeded"),
                took("in")
            )],
        },
        v1::RolloutState::Failed => {
            Outcome { exit: Exit::Failed, lines: failed(&title, &took("after"), rollout, progress, paint) }
        }
        v1::RolloutState::Superseded => Outcome {
            exit: Exit::Failed,
            lines: vec![format!(
                "{} {title} was superseded by a later one{}",
                paint.bad("error:"),
                took("after")
            )],
        },
        v1::RolloutState::Unspecified
        | v1::RolloutState::Pending
        | v1::RolloutState::Running
        | v1::RolloutState::Paused => Outcome {
            exit: Exit::Waiting,
            lines: vec![format!(
                "{title} still runs: {ready} of {desired} ready; {}",
                text::line(&rollout.message)
            )],
        },
    }
}

fn failed(
    title: &str,
    took: &str,
    rollout: &v1::Rollout,
    progress: v1::RolloutProgress,
    paint: Paint,
) -> Vec<String> {
    let error = rollout.error.clone().unwrap_or_default();
    let message = if error.message.is_empty() { &rollout.message } else { &error.message };
    let mut lines = vec![format!("{} {title} failed{took}: {}", paint.bad("error:"), text::line(message))];
    if !error.reason.is_empty() {
        lines.push(detail("reason", &error.reason, paint));
    }
    if let Some(problem) = &error.problem {
        if !problem.object.is_empty() {
            lines.push(detail("object", &problem.object, paint));
        }
        if problem.affected_replicas > 0 {
            lines.push(detail("affected", &text::count(problem.affected_replicas, "replica"), paint));
        }
        lines.extend(problem::evidence(problem, paint));
    }
    for other in rollout.failure.iter().flat_map(|failure| &failure.problems) {
        let decided =
            error.problem.as_ref().is_some_and(|p| (&p.reason, &p.object) == (&other.reason, &other.object));
        if !decided {
            lines.push(detail("also", &problem::headline(other), paint));
        }
    }
    if progress.old > 0 {
        let still = format!("{} of the earlier revision", text::count(progress.old, "replica"));
        lines.push(detail("serving", &still, paint));
    }
    lines
}

#[cfg(test)]
pub(crate) fn mk_rollout(state: v1::RolloutState, ready: i32, desired: i32) -> v1::Rollout {
    v1::Rollout {
        name: "namespaces/prod/apps/shop/rollouts/3".into(),
        state: state.into(),
        progress: Some(v1::RolloutProgress { desired, ready, updated: ready, ..Default::default() }),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::problem::mk_problem;

    const FOUR: Option<Duration> = Some(Duration::from_secs(4));

    #[test]
    fn success_is_one_line() {
        let outcome = of(&mk_rollout(v1::RolloutState::Succeeded, 3, 3), FOUR, "prod", Paint::default());
        let lines = vec!["shop rollout 3 succeeded in 4.0 s: 3 of 3 replicas ready".into()];
        assert_eq!(outcome, Outcome { exit: Exit::Done, lines });
    }

    #[test]
    fn failure_says_why_and_what_to_do() {
        let mut rollout = mk_rollout(v1::RolloutState::Failed, 0, 3);
        let problem = mk_problem();
        rollout.error = Some(v1::RolloutError {
            reason: problem.reason.clone(),
            message: "the image cannot be pulled".into(),
            problem: Some(problem.clone()),
        });
        let other = v1::Problem { reason: "NODE_LOST".into(), message: "gone".into(), ..Default::default() };
        rollout.failure = Some(v1::Failure { problems: vec![problem, other], ..Default::default() });
        rollout.progress = Some(v1::RolloutProgress { desired: 3, old: 3, ..Default::default() });
        let outcome = of(&rollout, FOUR, "default", Paint::default());
        assert_eq!(outcome.exit, Exit::Failed);
        assert_eq!(
            outcome.lines,
            [
                "error: prod/shop rollout 3 failed after 4.0 s: the image cannot be pulled",
                "  reason:   IMAGE_PULL_FAILED",
                "  object:   pod/shop-7d4-x2x",
                "  affected: 1 replica",
                "  remedy:   Push the tag, or deploy one that exists.",
                "  event:    Failed: manifest unknown",
                "  log:      last words",
                "  also:     NODE_LOST: gone",
                "  serving:  3 replicas of the earlier revision",
            ]
        );
    }

    #[test]
    fn a_failure_without_details_still_says_something() {
        let mut rollout = mk_rollout(v1::RolloutState::Failed, 0, 3);
        rollout.message = "it did not work".into();
        let outcome = of(&rollout, None, "prod", Paint::default());
        assert_eq!(outcome.lines, ["error: shop rollout 3 failed: it did not work"]);
    }

    #[test]
    fn only_success_is_success() {
        for (state, exit) in [
            (v1::RolloutState::Succeeded, Exit::Done),
            (v1::RolloutState::Failed, Exit::Failed),
            (v1::RolloutState::Superseded, Exit::Failed),
            (v1::RolloutState::Running, Exit::Waiting),
            (v1::RolloutState::Paused, Exit::Waiting),
            (v1::RolloutState::Unspecified, Exit::Waiting),
        ] {
            let rollout = mk_rollout(state, 1, 1);
            assert_eq!(of(&rollout, None, "prod", Paint::default()).exit, exit);
            assert_eq!(has_ended(&rollout), exit != Exit::Waiting);
        }
    }

    #[test]
    fn the_servers_clock_tells_the_duration() {
        let mut rollout = mk_rollout(v1::RolloutState::Succeeded, 1, 1);
        let time = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
        (rollout.start_time, rollout.end_time) = (time(10, 900_000_000), time(12, 400_000_000));
        assert_eq!(duration(&rollout), Some(Duration::from_millis(1500)));
        (rollout.start_time, rollout.end_time) = (time(12, 0), time(10, 0));
        assert_eq!(duration(&rollout), None);
    }
}
