//! What is wrong with an app, in lines for people. Must not know where it was found.

use gantry_client::v1;

use crate::{
    failure::detail,
    render::text::{self, Paint},
};

/// Formats `IMAGE_PULL_FAILED: the image does not exist (2 replicas, pod/shop-x)`.
pub(crate) fn headline(problem: &v1::Problem) -> String {
    let whom = [
        (problem.affected_replicas > 0).then(|| text::count(problem.affected_replicas, "replica")),
        (!problem.object.is_empty()).then(|| problem.object.clone()),
    ];
    let whom: Vec<String> = whom.into_iter().flatten().collect();
    let whom = if whom.is_empty() { String::new() } else { format!(" ({})", whom.join(", ")) };
    text::line(&format!("{}: {}{whom}", problem.reason, problem.message))
}

/// Lists what to do, the events that matter, and the last log lines of the container.
pub(crate) fn evidence(problem: &v1::Problem, paint: Paint) -> Vec<String> {
    let mut lines = Vec::new();
    if !problem.remedy.is_empty() {
        lines.push(detail("remedy", &problem.remedy, paint));
    }
    lines.extend(distinct(&problem.events).into_iter().map(|event| detail("event", event, paint)));
    lines.extend(problem.log_tail.iter().map(|line| detail("log", line, paint)));
    lines
}

/// A short form of [`evidence`]: what to do, and at most `most` last log lines of the container.
pub(crate) fn advice(problem: &v1::Problem, most: usize, paint: Paint) -> Vec<String> {
    let first = problem.log_tail.len().saturating_sub(most);
    let log_tail = problem.log_tail[first..].to_vec();
    evidence(&v1::Problem { remedy: problem.remedy.clone(), log_tail, ..Default::default() }, paint)
}

/// Returns the events, each once. `Failed: Error: ErrImagePull` is left out if a `Failed` event of the same
/// object says why, because the kubelet reports both.
pub(crate) fn distinct(events: &[String]) -> Vec<&str> {
    let explains = |object: &str, event: &String| {
        code(event).is_none()
            && event.split_once("Failed: ").is_some_and(|(before, _)| ends_alike(before, object))
    };
    let is_explained =
        |event: &str| code(event).is_some_and(|object| events.iter().any(|other| explains(object, other)));
    text::unique(events.iter().map(String::as_str).filter(|event| !is_explained(event)))
}

/// Returns the text before `Failed: Error: ErrImagePull`, if the event says no more than such a code.
fn code(event: &str) -> Option<&str> {
    let (before, code) = event.split_once("Failed: Error: ")?;
    code.chars().all(char::is_alphanumeric).then_some(before)
}

/// Whether both texts end with the same object; the time before it may differ.
fn ends_alike(a: &str, b: &str) -> bool {
    a.split_whitespace().next_back() == b.split_whitespace().next_back()
}

#[cfg(test)]
pub(crate) fn mk_problem() -> v1::Problem {
    v1::Problem {
        reason: "IMAGE_PULL_FAILED".into(),
        message: "shop:9 does not exist in its registry".into(),
        remedy: "Push the tag, or deploy one that exists.".into(),
        object: "pod/shop-7d4-x2x".into(),
        affected_replicas: 1,
        log_tail: vec!["\u{1b}[31mlast words".into()],
        events: vec!["Failed: manifest unknown".into()],
        fatal: true,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headline_says_what_and_whom() {
        let text = headline(&mk_problem());
        assert_eq!(
            text,
            "IMAGE_PULL_FAILED: shop:9 does not exist in its registry (1 replica, pod/shop-7d4-x2x)"
        );
        let bare = v1::Problem { reason: "NODE_LOST".into(), message: "gone".into(), ..Default::default() };
        assert_eq!(headline(&bare), "NODE_LOST: gone");
    }

    #[test]
    fn the_evidence_cannot_steer_the_terminal() {
        assert_eq!(
            evidence(&mk_problem(), Paint::default()),
            [
                "  remedy:   Push the tag, or deploy one that exists.",
                "  event:    Failed: manifest unknown",
                "  log:      last words"
            ]
        );
    }

    #[test]
    fn an_event_that_another_explains_is_left_out() {
        let events = |events: &[&str]| events.iter().map(|event| (*event).to_owned()).collect::<Vec<_>>();
        let why = "Failed: Failed to pull image \"shop:9\": not found";
        let both = events(&[why, "Failed: Error: ErrImagePull", why]);
        assert_eq!(distinct(&both), [why]);
        let alone =
            events(&["Failed: Error: ImagePullBackOff", "BackOff: Back-off pulling image \"shop:9\""]);
        assert_eq!(distinct(&alone), alone);
        let [of_a, of_b] = [
            "2026-12-01T02:19:36Z pod/a Failed: Failed to pull",
            "2026-12-01T02:19:37Z pod/b Failed: Error: ErrImagePull",
        ];
        assert_eq!(distinct(&events(&[of_a, of_b])), [of_a, of_b]);
        assert_eq!(
            distinct(&events(&[of_a, "2026-12-01T02:19:37Z pod/a Failed: Error: ErrImagePull"])),
            [of_a]
        );
    }
}
