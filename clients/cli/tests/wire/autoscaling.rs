//! The autoscaler: shown, set, followed and fed.

use super::{Ran, gantry, json};

#[tokio::test]
async fn an_autoscaler_is_shown_with_its_app() {
    let Ran { exit, out, err } = gantry("autoscale good").await;
    assert_eq!(exit, Some(0), "{err}");
    for line in [
        "Mode:        ACTIVE",
        "Message:     It follows the demand.",
        "Replicas:    3 of 3 ready",
        "Bounds:      1 to 20 replicas",
        "Acts for:    eve",
    ] {
        assert!(out.lines().any(|shown| shown == line), "{line} is missing in:\n{out}");
    }
    let Ran { exit, out, .. } = gantry("autoscale good -o json").await;
    assert_eq!((exit, &json(&out)["status"]["actsFor"]), (Some(0), &"eve".into()), "{out}");
    let Ran { exit, out, .. } = gantry("autoscale good -o name").await;
    assert_eq!((exit, out.as_str()), (Some(0), "namespaces/prod/apps/good/autoscaler\n"));
    let Ran { exit, err, .. } = gantry("autoscale missing").await;
    assert!(exit == Some(1) && err.contains("APP_NOT_FOUND"), "{err}");
}

#[tokio::test]
async fn only_what_is_named_is_set() {
    let line = "autoscale good --mode shadow --max 9 --cpu 60 --reason why";
    let Ran { exit, out, err } = gantry(line).await;
    assert_eq!((exit, err.as_str()), (Some(0), ""));
    assert_eq!(
        out,
        "The autoscaler of good is SHADOW: 1 to 9 replicas, CPU at 60 % of the request, up at once, down over 2 min 0 s\n\
         see what it decides with: gantry decisions --follow prod/good\n"
    );
    let Ran { exit, out, .. } = gantry(&format!("{line} -o json")).await;
    let answer = json(&out);
    let scaler = &answer["autoscaler"];
    assert_eq!((exit, &answer["position"]), (Some(0), &"p1".into()));
    assert_eq!(scaler["status"]["message"], "mode,max_replicas,targets for why; 1 with 1 ids of 36 letters");
    assert_eq!(scaler["minReplicas"], serde_json::Value::Null);
    let Ran { exit, out, .. } = gantry("autoscale good --mode off").await;
    assert_eq!((exit, out.as_str()), (Some(0), "The autoscaler of good is OFF\n"));
    let Ran { exit, out, .. } = gantry("autoscale good --mode active --max 9 --dry-run").await;
    assert!(exit == Some(0) && out.starts_with("Dry run: nothing was changed."), "{out}");
}

#[tokio::test]
async fn setting_is_repeated_with_the_same_id() {
    let Ran { exit, out, err } = gantry("autoscale flaky --mode off -o json").await;
    assert_eq!(exit, Some(0), "{err}");
    assert_eq!(json(&out)["autoscaler"]["status"]["message"], "mode for ; 2 with 1 ids of 36 letters");
    assert!(err.contains("too much to do; trying again in"), "{err}");
}

#[tokio::test]
async fn whoever_meets_another_autoscaler_learns_what_works() {
    let Ran { exit, err, .. } = gantry("autoscale foreign --mode active").await;
    assert_eq!(exit, Some(1));
    assert!(err.contains("reason:   FOREIGN_AUTOSCALER") && err.contains("--mode shadow"), "{err}");
    let Ran { exit, err, .. } = gantry("scale scaled 3").await;
    assert!(exit == Some(1) && err.contains("try:      `--hold-for 1h`"), "{err}");
}

#[tokio::test]
async fn a_hold_says_when_it_ends() {
    let held = "the count is held until 1970-01-01T00:01:00Z by eve (sale), then set by the autoscaler";
    for line in ["scale scaled 3 --hold-for 1h", "scale scaled 3 --hold-for 1h --no-wait"] {
        let Ran { exit, out, err } = gantry(line).await;
        assert_eq!((exit, out.lines().last()), (Some(0), Some(held)), "{line}: {err}");
    }
    let Ran { out, .. } = gantry("scale good 3").await;
    assert!(!out.contains("held"), "{out}");
}

#[tokio::test]
async fn decisions_come_newest_first_as_many_as_asked_for() {
    let Ran { exit, out, err } = gantry("decisions good").await;
    assert_eq!(exit, Some(0), "{err}");
    assert_eq!(
        out,
        "TIME                   OUTCOME   REPLICAS   REQUIRED   MESSAGE\n\
         1970-01-01T00:00:17Z   SCALED    3 -> 5     7          decision 17\n\
         1970-01-01T00:00:16Z   HELD      3 -> 5     7          decision 16\n"
    );
    let Ran { out, .. } = gantry("decisions good --outcome held -o name").await;
    assert_eq!(out, "namespaces/prod/apps/good/autoscaler/decisions/16\n");
    let Ran { out, .. } = gantry("decisions good --limit 1 -o json").await;
    let decisions = &json(&out)["decisions"];
    assert_eq!(decisions.as_array().map(Vec::len), Some(1));
    assert_eq!(decisions[0]["limits"][0]["limit"], "RATE_UP");
    let Ran { exit, out, err } = gantry("decisions idle").await;
    assert_eq!((exit, out.as_str()), (Some(0), ""));
    assert_eq!(err, "idle has no decisions; what its autoscaler does: gantry autoscale prod/idle\n");
}

#[tokio::test]
async fn a_decision_is_explained() {
    let Ran { exit, out, .. } = gantry("decisions good --explain").await;
    assert!(exit == Some(0) && out.contains("Message:     decision 17"), "{out}");
    assert!(out.contains("  RATE_UP   7 -> 5") && !out.contains("decision 16"), "{out}");
    let Ran { out, .. } = gantry("decisions good --explain --limit 2").await;
    assert!(out.contains("7 -> 5\n\nDecision:") && out.contains("decision 16"), "{out}");
}

#[tokio::test]
async fn decisions_are_followed_over_a_broken_stream() {
    // The stream ends with a permanent error, so that no time limit decides what is seen.
    let Ran { exit, out, err } = gantry("decisions good --follow").await;
    let rows: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        rows,
        [
            ["TIME", "OUTCOME", "REPLICAS", "REQUIRED", "MESSAGE"].as_slice(),
            ["00:01:01", "SCALED", "3", "->", "5", "7", "decision", "61"].as_slice(),
            ["00:01:02", "HELD", "3", "->", "5", "7", "decision", "62"].as_slice(),
        ]
    );
    assert!(exit == Some(1) && err.contains("shutting down; trying again in"), "{err}");
    assert!(err.contains("reason:   APP_NOT_FOUND") && !err.contains("OFF"), "{err}");
    let Ran { err, .. } = gantry("decisions idle --follow").await;
    assert!(err.contains("is OFF") && err.contains("gantry autoscale --mode shadow prod/idle\n"), "{err}");

    let Ran { out, .. } = gantry("decisions -A -f").await;
    let second: Vec<_> = out.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(second[..4], ["00:01:01", "stage", "other", "SCALED"], "of several apps each is named");
    let Ran { out, .. } = gantry("decisions -A -f -o json").await;
    let lines: Vec<_> = out.lines().map(json).collect();
    assert_eq!(lines.len(), 2, "{out}");
    assert_eq!(lines[0]["decision"]["name"], "namespaces/stage/apps/other/autoscaler/decisions/61");
    let Ran { out, .. } = gantry("decisions -A -f -o name").await;
    assert!(out.ends_with("/decisions/61\nnamespaces/stage/apps/other/autoscaler/decisions/62\n"), "{out}");
    let Ran { out, .. } = gantry("decisions good -f --explain").await;
    assert!(out.starts_with("Decision:") && out.matches("RATE_UP   7 -> 5").count() == 2, "{out}");
}

#[tokio::test]
async fn figures_are_reported() {
    let Ran { exit, out, err } = gantry("report good queue_depth=420 concurrency=0 --source q").await;
    assert_eq!((exit, out.as_str(), err.as_str()), (Some(0), "2 figures accepted for good\n", ""));
    let Ran { exit, out, err } = gantry("report good queue_depth=420 strange=1").await;
    assert_eq!((exit, out.as_str()), (Some(1), "1 figure accepted for good\n"));
    assert_eq!(err, "error: 1 figure not accepted\n");
    let Ran { exit, err, .. } = gantry("report missing queue_depth=420").await;
    assert!(exit == Some(1) && err.contains("APP_NOT_FOUND"), "{err}");
    let Ran { exit, err, .. } = gantry("report good queue_depth=NaN").await;
    assert!(exit == Some(2) && err.contains("`NaN` is not a number of 0 or more"), "{err}");
}
