//! Logs and timelines: printed, followed over a broken stream, for people and for programs.

use super::{Ran, gantry, json};

#[tokio::test]
async fn logs_are_lines_with_the_name_of_their_pod() {
    let Ran { exit, out, err } =
        gantry("logs good --pod p --rollout 3 --container side --tail 5 --previous").await;
    assert_eq!(exit, Some(0), "{err}");
    assert_eq!(
        out, "good-a p namespaces/prod/apps/good/rollouts/3 side Some(5) true\ngood-b \u{1b}[31mtwo\n",
        "as they were written"
    );
    assert_eq!(err, "good-a: 2 lines were dropped here\n");
    let Ran { out, .. } = gantry("logs good --timestamps").await;
    assert!(out.starts_with("good-a 1970-01-01T00:00:01Z   "), "{out}");
    let Ran { out, err, .. } = gantry("logs good -o json").await;
    let lines: Vec<_> = out.lines().map(json).collect();
    assert_eq!((lines.len(), err.as_str()), (3, ""));
    assert_eq!(lines[0]["line"]["pod"], "good-a");
    assert_eq!(lines[1]["notice"]["message"], "2 lines were dropped here");
    let Ran { exit, err, .. } = gantry("logs missing").await;
    assert!(exit == Some(1) && err.contains("APP_NOT_FOUND"), "{err}");
    let Ran { exit, .. } = gantry("logs good -f --previous").await;
    assert_eq!(exit, Some(2));
}

#[tokio::test]
async fn logs_are_followed_over_a_broken_stream() {
    let Ran { exit, out, err } = gantry("logs good -f").await;
    assert_eq!(out.lines().last(), Some("good-a after 2"), "{out}");
    assert!(
        err.contains("shutting down; trying again in 1.0 s; lines of this moment may be missing"),
        "{err}"
    );
    assert!(exit == Some(1) && err.contains("APP_NOT_FOUND"), "{err}");
}

#[tokio::test]
async fn what_happened_is_a_table() {
    let Ran { exit, out, err } = gantry("timeline good --since 5m").await;
    assert_eq!(exit, Some(0), "{err}");
    let rows: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["TIME", "WHAT", "WHO", "MESSAGE"]);
    assert_eq!(rows[1][..2], ["1970-01-01T00:00:01Z", "GAP"]);
    assert_eq!(rows[2], ["1970-01-01T00:00:03Z", "ROLLOUT", "ann", "Rollout", "3", "begins."]);
    let Ran { out, .. } = gantry("timeline good -o json").await;
    assert_eq!(json(out.lines().nth(1).unwrap())["entry"]["rollout"]["name"], "r");
    let Ran { exit, err, .. } = gantry("timeline missing").await;
    assert!(exit == Some(1) && err.contains("APP_NOT_FOUND"), "{err}");
}

#[tokio::test]
async fn what_happens_is_followed_where_it_broke_off() {
    let Ran { exit, out, err } = gantry("timeline good -f").await;
    let last: Vec<_> = out.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(last, ["1970-01-01T00:00:04Z", "REFUSED", "ann", "after", "1"]);
    assert!(exit == Some(1) && err.contains("trying again in") && err.contains("APP_NOT_FOUND"), "{err}");
}
