//! Rollouts as rows. Pure: must not know clocks nor terminals.

use gantry_client::v1;

use super::{number, word};
use crate::render::{
    outcome,
    text::{self, Paint},
};

/// Headings of the list.
pub(crate) const HEADINGS: [&str; 8] =
    ["ROLLOUT", "STATE", "CAUSE", "IMAGE", "ACTOR", "STARTED", "TOOK", "WHY"];

/// Returns a row of the list. WHY is the error if there is one, else the caller's reason, else the daemon's
/// message.
pub(crate) fn row(rollout: &v1::Rollout, now: i64) -> Vec<String> {
    let ago = text::age(rollout.start_time.as_ref(), now);
    let source = number(&rollout.source_rollout);
    let cause = word(rollout.cause().as_str_name(), "ROLLOUT_CAUSE_");
    let error = rollout.error.as_ref().map(|error| format!("{}: {}", error.reason, error.message));
    let why = error.unwrap_or_else(|| {
        let said = if rollout.reason.is_empty() { &rollout.message } else { &rollout.reason };
        said.clone()
    });
    vec![
        number(&rollout.name),
        word(rollout.state().as_str_name(), "ROLLOUT_STATE_"),
        if source.is_empty() { cause } else { format!("{cause} to {source}") },
        rollout.spec.as_ref().map(|spec| spec.image.clone()).unwrap_or_default(),
        rollout.actor.clone(),
        if ago.is_empty() { ago } else { format!("{ago} ago") },
        outcome::duration(rollout).map_or_else(String::new, text::took),
        why,
    ]
}

/// Colours the state.
pub(crate) fn painted(column: usize, cell: &str, paint: Paint) -> String {
    match (column, cell) {
        (1, "SUCCEEDED") => paint.good(cell),
        (1, "FAILED") => paint.bad(cell),
        (1, "PENDING" | "RUNNING" | "PAUSED") => paint.warn(cell),
        _ => cell.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::outcome::mk_rollout;

    #[test]
    fn a_rollout_says_how_it_came_and_how_it_went() {
        let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let mut rollout = v1::Rollout {
            cause: v1::RolloutCause::Rollback.into(),
            source_rollout: "namespaces/prod/apps/shop/rollouts/1".into(),
            spec: Some(v1::AppSpec { image: "shop:1".into(), ..Default::default() }),
            actor: "ann".into(),
            reason: "slow".into(),
            message: "all is well".into(),
            start_time: time(40),
            end_time: time(44),
            ..mk_rollout(v1::RolloutState::Succeeded, 3, 3)
        };
        assert_eq!(
            row(&rollout, 100),
            ["3", "SUCCEEDED", "ROLLBACK to 1", "shop:1", "ann", "60s ago", "4.0 s", "slow"]
        );
        rollout.reason.clear();
        assert_eq!(row(&rollout, 100)[7], "all is well");
        let (reason, message) = ("CRASH_LOOP".into(), "it ends".into());
        rollout.error = Some(v1::RolloutError { reason, message, problem: None });
        assert_eq!(row(&rollout, 100)[7], "CRASH_LOOP: it ends");
        assert_eq!(row(&v1::Rollout::default(), 0).len(), HEADINGS.len());
    }
}
