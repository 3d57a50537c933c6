//! What is printed about a rollout on its way, and how often.

use gantry_client::Error;
use proptest::prelude::*;

use super::*;
use crate::render::{outcome::mk_rollout, problem::mk_problem};

fn mk_message(event: Event) -> Update<v1::WatchRolloutResponse> {
    Update::Message(v1::WatchRolloutResponse { event: Some(event), ..Default::default() })
}

fn mk_log(text: &str) -> Event {
    Event::Log(v1::RolloutLog { object: "pod/shop-x".into(), message: text.into() })
}

fn mk_progress() -> Progress {
    Progress::new(mk_rollout(v1::RolloutState::Pending, 0, 3), "prod")
}

#[test]
fn every_change_is_said_once() {
    let mut progress = mk_progress();
    let running = mk_rollout(v1::RolloutState::Running, 1, 3);
    assert_eq!(progress.apply(mk_message(Event::Rollout(running.clone()))), ["1/3 ready, 1 updated"]);
    assert!(progress.apply(mk_message(Event::Rollout(running))).is_empty());
    assert!(progress.apply(mk_message(Event::Heartbeat(v1::Heartbeat::default()))).is_empty());
    let mut more = mk_rollout(v1::RolloutState::Running, 2, 3);
    more.message = "one replica to go".into();
    more.progress = more.progress.map(|counts| v1::RolloutProgress { old: 1, ..counts });
    assert_eq!(
        progress.apply(mk_message(Event::Rollout(more))),
        ["2/3 ready, 2 updated, 1 old: one replica to go"]
    );
}

#[test]
fn a_problem_is_said_with_its_log_and_once() {
    let mut progress = mk_progress();
    let lines = progress.apply(mk_message(Event::Problem(mk_problem())));
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("IMAGE_PULL_FAILED: ") && lines[2] == "  log: last words");
    assert_eq!(lines[1], "  remedy: Push the tag, or deploy one that exists.");
    let grown = v1::Problem { affected_replicas: 3, ..mk_problem() };
    assert!(progress.apply(mk_message(Event::Problem(grown))).is_empty());
    let view = progress.view(Duration::ZERO, 0, 0, Paint::default()).join("\n");
    for shown in ["(3 replicas", "remedy:   Push the tag", "log:      last words"] {
        assert!(view.contains(shown), "{shown} is missing in: {view}");
    }
}

#[test]
fn an_interruption_is_shown_until_the_next_message() {
    let mut progress = mk_progress();
    let lines = progress.apply(Update::Interrupted { error: Error::Ended, retry_in: Duration::from_secs(1) });
    assert_eq!(lines, ["the server ended the stream; trying again in 1.0 s"]);
    let shown = |progress: &Progress| {
        progress.view(Duration::ZERO, 0, 0, Paint::default()).join("\n").contains("trying again")
    };
    assert!(shown(&progress));
    progress.apply(mk_message(Event::Heartbeat(v1::Heartbeat::default())));
    assert!(!shown(&progress));
}

#[test]
fn the_picture_shows_bar_counts_and_latest_lines() {
    let mut progress = mk_progress();
    progress.apply(mk_message(Event::Rollout(mk_rollout(v1::RolloutState::Running, 1, 3))));
    for n in 0..9 {
        progress.apply(mk_message(mk_log(&n.to_string())));
    }
    assert_eq!(
        progress.view(Duration::from_millis(4200), 1, 0, Paint::default()),
        [
            "/ shop rollout 3  [########----------------]  1/3 ready  4.2 s",
            "  1 updated, 0 old, 0 draining",
            "  pod/shop-x: 4",
            "  pod/shop-x: 5",
            "  pod/shop-x: 6",
            "  pod/shop-x: 7",
            "  pod/shop-x: 8",
        ]
    );
}

#[test]
fn the_picture_ends_with_a_line_for_each_replica() {
    let mut progress = mk_progress();
    progress.look(vec![v1::Replica { pod: "shop-x".into(), node: "n1".into(), ..Default::default() }]);
    let view = progress.view(Duration::ZERO, 0, 0, Paint::default());
    let replica = view.last().map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(replica, Some(vec!["shop-x", "n1", "0"]), "{view:?}");
}

proptest! {
    #[test]
    fn the_bar_has_one_width(ready in any::<i32>(), desired in any::<i32>()) {
        prop_assert_eq!(bar(ready, desired, Paint::default()).len(), BAR + 2);
    }

    #[test]
    fn the_picture_stays_small_and_in_its_lines(texts in proptest::collection::vec(".*", 0..40)) {
        let mut progress = mk_progress();
        for text in texts {
            progress.apply(mk_message(mk_log(&text)));
            let replica = v1::Replica { pod: text.clone(), message: text.clone(), ..Default::default() };
            progress.look(vec![replica; text.len()]);
            let log_tail = vec![text.clone(); 9];
            let problem = v1::Problem { remedy: text.clone(), reason: text, log_tail, ..Default::default() };
            progress.apply(mk_message(Event::Problem(problem)));
        }
        let view = progress.view(Duration::ZERO, 7, 0, Paint::default());
        prop_assert!(view.len() <= 2 + WORST * (1 + 1 + WORDS) + RECENT + 1 + REPLICAS + 1);
        prop_assert!(view.iter().all(|line| !line.contains(char::is_control)));
    }
}
