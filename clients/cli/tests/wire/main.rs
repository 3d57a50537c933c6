//! The program against a server of its own making, over a real connection: what it prints, and how it ends.

#![allow(clippy::expect_used)] // helpers of tests are tests too

mod server;

use std::{process::Output, time::Duration};

use tokio::{io::AsyncWriteExt, process::Command, time};

struct Ran {
    exit: Option<i32>,
    out: String,
    err: String,
}

/// Runs `gantry` with these words against the stand-in.
async fn gantry(line: &str) -> Ran {
    run(line, "").await
}

async fn run(line: &str, input: &str) -> Ran {
    let server = server::Server::bind();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gantry"));
    command.args(line.split(' ')).env("GANTRY_ADDR", server.address()).env("GANTRY_NAMESPACE", "prod");
    command.env_remove("CI").kill_on_drop(true);
    command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let program = async {
        let mut child = command.spawn().expect("the program starts");
        let mut stdin = child.stdin.take().expect("it is piped");
        stdin.write_all(input.as_bytes()).await.expect("the program reads");
        drop(stdin);
        time::timeout(Duration::from_secs(20), child.wait_with_output())
            .await
            .expect("it ends")
            .expect("it ran")
    };
    let Output { status, stdout, stderr } = tokio::select! {
        output = program => output,
        ended = server.serve() => panic!("the server ended: {ended:?}"),
    };
    let text = |bytes| String::from_utf8(bytes).expect("it prints UTF-8");
    Ran { exit: status.code(), out: text(stdout), err: text(stderr) }
}

#[tokio::test]
async fn a_rollout_is_followed_over_a_broken_stream() {
    let Ran { exit, out, err } = gantry("deploy good --image shop:1").await;
    assert_eq!(exit, Some(0), "{err}");
    assert!(
        out.starts_with("good rollout 7 succeeded in ")
            && out.trim_end().ends_with("s: 3 of 3 replicas ready"),
        "{out}"
    );
    for said in ["1/3 ready", "trying again", "pod/good-x: pulled", "3/3 ready"] {
        assert!(err.contains(said), "{said} is missing in: {err}");
    }
    assert!(!err.contains('\u{1b}'), "{err}");
}

#[tokio::test]
async fn a_failed_rollout_fails_with_its_reason() {
    let Ran { exit, out, err } = gantry("deploy bad --image shop:9").await;
    assert_eq!((exit, out.as_str()), (Some(1), ""));
    for said in
        ["error: bad rollout 7 failed", "IMAGE_PULL_FAILED", "pod/bad-x", "push it", "manifest unknown"]
    {
        assert!(err.contains(said), "{said} is missing in: {err}");
    }
    let Ran { exit, out, .. } = gantry("deploy bad --image shop:9 -o json --progress none").await;
    assert_eq!(exit, Some(1));
    assert!(out.contains("\"state\": \"ROLLOUT_STATE_FAILED\""), "{out}");
}

#[tokio::test]
async fn the_time_limit_says_how_to_go_on() {
    let Ran { exit, err, .. } = gantry("deploy slow --image shop:1 --timeout 1s").await;
    assert_eq!(exit, Some(3), "{err}");
    assert!(err.contains("gantry wait prod/slow --rollout 7"), "{err}");
    let Ran { exit, err, .. } = gantry("wait slow --timeout 1s").await;
    assert_eq!(exit, Some(3), "{err}");
}

#[tokio::test]
async fn an_unchanged_app_is_done() {
    let Ran { exit, out, err } = gantry("deploy same --image shop:1").await;
    assert_eq!(
        (exit, out.as_str(), err.as_str()),
        (Some(0), "same: nothing changed\n", "warning: REPLICAS: the count stays\n")
    );
}

#[tokio::test]
async fn a_file_is_everything() {
    let Ran { exit, out, .. } =
        run("deploy -f - --no-wait -o json", "name: good\nspec: {image: 'shop:1'}\n").await;
    assert_eq!(exit, Some(0));
    assert!(out.contains("namespaces/prod/apps/good") && out.contains("mask: *"), "{out}");
    let Ran { exit, err, .. } = run("deploy -f -", "name: good\nspec: {imagee: 'shop:1'}\n").await;
    assert_eq!(exit, Some(2));
    assert!(err.contains("standard input holds no app: spec") && err.contains("imagee"), "{err}");
}

#[tokio::test]
async fn what_the_server_refuses_is_explained() {
    let Ran { exit, err, .. } = gantry("deploy refused --image shop:1").await;
    assert_eq!(exit, Some(1));
    assert_eq!(
        err,
        "error: volumes come later\n  reason:   NOT_IMPLEMENTED\n  field:    app.spec.volumes: not there yet\n"
    );
    let Ran { exit, err, .. } = gantry("get missing").await;
    assert_eq!(exit, Some(1));
    assert!(err.contains("reason:   APP_NOT_FOUND"), "{err}");
}

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
async fn wait_and_delete_end_with_the_thing_itself() {
    let Ran { exit, out, err } = gantry("wait good").await;
    assert_eq!((exit, out.as_str()), (Some(0), "good rollout 7 succeeded: 3 of 3 replicas ready\n"), "{err}");
    let Ran { exit, out, err } = gantry("delete good").await;
    assert!(exit == Some(0) && out.starts_with("good deleted in "), "{out}{err}");
    assert!(err.contains("DELETING"), "{err}");
    let Ran { exit, out, .. } = gantry("delete missing --allow-missing").await;
    assert_eq!((exit, out.as_str()), (Some(0), "missing does not exist\n"));
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
async fn a_missing_server_is_named() {
    let Ran { exit, err, .. } = gantry("info --server 127.0.0.1:1").await;
    assert_eq!(exit, Some(1));
    assert!(err.contains("http://127.0.0.1:1") && err.contains("gantryd --insecure-loopback"), "{err}");
    let Ran { exit, .. } = gantry("get a/b/c/d").await;
    assert_eq!(exit, Some(2));
}

#[tokio::test]
async fn completion_needs_no_server() {
    let Ran { exit, out, .. } = gantry("completion bash --server 127.0.0.1:1").await;
    assert!(exit == Some(0) && out.contains("_gantry"), "{out}");
}
