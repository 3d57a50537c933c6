//! Commands that change nothing: tables for people, JSON for programs.

use super::{Ran, gantry, json};

#[tokio::test]
async fn reads_show_every_page_and_survive_a_busy_server() {
    let Ran { exit, out, err } = gantry("list").await;
    assert_eq!((exit, out.lines().count()), (Some(0), 3), "{out}{err}");
    assert!(out.starts_with("NAMESPACE") && out.contains("good") && out.contains("bad"), "{out}");
    let Ran { exit, out, .. } = gantry("list -o name").await;
    assert_eq!((exit, out.as_str()), (Some(0), "namespaces/prod/apps/bad\nnamespaces/prod/apps/good\n"));
    let Ran { exit, out, .. } = gantry("get good").await;
    assert!(exit == Some(0) && out.contains("3 of 3 ready") && out.contains("7 SUCCEEDED"), "{out}");
    let Ran { exit, out, .. } = gantry("info -o yaml").await;
    assert!(exit == Some(0) && out.contains("version: stand-in"), "{out}");
}

#[tokio::test]
async fn watched_apps_come_line_by_line() {
    let Ran { exit, out, .. } = gantry("watch --timeout 1s").await;
    assert_eq!(exit, Some(0));
    let rows: Vec<Vec<&str>> =
        out.lines().map(|line| line.split_whitespace().skip(1).take(4).collect()).collect();
    assert_eq!(
        rows,
        [
            ["NAMESPACE", "NAME", "STATE", "READY"],
            ["prod", "good", "UPDATING", "1/3"],
            ["prod", "good", "ACTIVE", "3/3"],
            ["prod", "good", "DELETED", "-"]
        ]
    );
}

#[tokio::test]
async fn completion_needs_no_server() {
    let Ran { exit, out, .. } = gantry("completion bash --server 127.0.0.1:1").await;
    assert!(exit == Some(0) && out.contains("_gantry"), "{out}");
}

#[tokio::test]
async fn lists_have_a_table_names_and_json() {
    for (line, cells, names, list) in [
        ("replicas good", "good-x   READY", "good-x\ngood-y\n", "replicas"),
        (
            "rollouts good",
            "7         SUCCEEDED   DEPLOY   shop:7",
            "namespaces/prod/apps/good/rollouts/7\nnamespaces/prod/apps/good/rollouts/6\n",
            "rollouts",
        ),
        (
            "endpoints good --all",
            "10.0.0.2:80   DRAINING   a      n1",
            "10.0.0.1:80\n10.0.0.2:80\n",
            "endpoints",
        ),
    ] {
        let Ran { exit, out, err } = gantry(line).await;
        assert_eq!((exit, out.lines().count()), (Some(0), 3), "{line}: {out}{err}");
        assert!(out.lines().any(|row| row.starts_with(cells)), "{line}: {out}");
        let Ran { exit, out, .. } = gantry(&format!("{line} -o name")).await;
        assert_eq!((exit, out.as_str()), (Some(0), names), "{line}");
        let Ran { exit, out, .. } = gantry(&format!("{line} -o json")).await;
        assert_eq!((exit, json(&out)[list].as_array().map(Vec::len)), (Some(0), Some(2)), "{line}: {out}");
        let Ran { exit, out, .. } = gantry(&format!("{line} -o yaml")).await;
        assert!(exit == Some(0) && out.starts_with(&format!("{list}:\n")), "{line}: {out}");
    }
}

#[tokio::test]
async fn what_is_empty_says_so_to_people_only() {
    for (line, said) in [
        ("endpoints stopped", "stopped has no endpoints that take traffic\n"),
        ("endpoints stopped --all", "stopped has no endpoints\n"),
    ] {
        let Ran { exit, out, err } = gantry(line).await;
        assert_eq!((exit, out.as_str(), err.as_str()), (Some(0), "", said));
    }
    let Ran { exit, out, err } = gantry("endpoints stopped -o json").await;
    assert_eq!((exit, out.as_str(), err.as_str()), (Some(0), "{}\n", ""));
    let Ran { exit, err, .. } = gantry("endpoints missing").await;
    assert!(exit == Some(1) && err.contains("APP_NOT_FOUND"), "{err}");
}

#[tokio::test]
async fn rollouts_are_as_many_and_as_full_as_asked_for() {
    let Ran { exit, out, .. } = gantry("rollouts good --limit 1 -o json").await;
    let rollouts = &json(&out)["rollouts"];
    assert_eq!(
        (exit, rollouts.as_array().map(Vec::len), &rollouts[0]["spec"]),
        (Some(0), Some(1), &serde_json::Value::Null)
    );
    let Ran { out, .. } = gantry("rollouts good --limit 1 --full -o json").await;
    assert_eq!(json(&out)["rollouts"][0]["spec"]["image"], "shop:7");
    let Ran { exit, out, .. } = gantry("rollouts bad --rollout 7").await;
    assert!(
        exit == Some(0) && out.contains("State:       FAILED") && out.contains("remedy:   push it"),
        "{out}"
    );
}

#[tokio::test]
async fn watched_endpoints_come_line_by_line() {
    let Ran { exit, out, .. } = gantry("endpoints good --watch --timeout 1s").await;
    assert_eq!(exit, Some(0));
    let rows: Vec<Vec<&str>> =
        out.lines().map(|line| line.split_whitespace().skip(1).take(3).collect()).collect();
    assert_eq!(
        rows,
        [
            ["CHANGE", "ADDRESS", "STATE"],
            ["new", "10.0.0.1:80", "READY"],
            ["new", "10.0.0.2:80", "READY"],
            ["gone", "10.0.0.1:80", "-"],
            ["gone", "10.0.0.2:80", "-"],
            ["missing", "the", "app"]
        ]
    );
    let Ran { exit, out, .. } = gantry("endpoints good --watch --timeout 1s -o json").await;
    let lines: Vec<_> = out.lines().map(json).collect();
    assert_eq!((exit, lines.len()), (Some(0), 3), "{out}");
    assert_eq!(lines[1]["snapshot"]["endpoints"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn watched_apps_are_lines_of_json_for_programs() {
    let Ran { exit, out, .. } = gantry("watch --timeout 1s -o json").await;
    let lines: Vec<_> = out.lines().map(json).collect();
    assert_eq!((exit, lines.len()), (Some(0), 5), "{out}");
    assert_eq!(lines[0]["updated"]["status"]["state"], "APP_STATE_UPDATING");
}
