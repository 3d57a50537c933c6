//! The command line against the daemon: what it prints and how it exits.

use std::{
    process::{Output, Stdio},
    time::Duration,
};

use gantry::pb;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use crate::support::{Env, kubeconfig, program, run, until, web};

/// Longest wait for a command that follows something.
const PATIENCE: Duration = Duration::from_secs(60);

fn command(env: &Env) -> Command {
    let mut command = program("gantry");
    command.env("GANTRY_ADDR", &env.daemon.address).env("GANTRY_NAMESPACE", &env.namespace);
    command
}

async fn gantry(env: &Env, args: &[&str]) -> Output {
    command(env).args(args).output().await.unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// How often a string is in a JSON answer, at any depth.
fn count(json: &Value, wanted: &str) -> usize {
    match json {
        Value::String(text) => usize::from(text == wanted),
        Value::Array(all) => all.iter().map(|value| count(value, wanted)).sum(),
        Value::Object(all) => all.values().map(|value| count(value, wanted)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// Runs `gantry` and checks its exit code.
async fn exits(env: &Env, args: &[&str], expected: i32) -> Output {
    let output = gantry(env, args).await;
    assert_eq!(output.status.code(), Some(expected), "gantry {args:?}\n{}", text(&output));
    output
}

/// Runs `gantry` with `-o json`.
async fn json(env: &Env, args: &[&str]) -> Value {
    let output = exits(env, &[args, &["-o", "json"]].concat(), 0).await;
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)))
}

/// Deploys an app of three replicas twice and reads it; returns the app.
async fn deploy_by_hand(env: &Env) -> Value {
    let (image, port) = (web().image, format!("http={}", web().ports[0].number));
    let deploy = [
        "deploy",
        "my-app",
        "--image",
        &image,
        "--replicas",
        "3",
        "--port",
        &port,
        "--request",
        "cpu=10m,memory=16Mi",
        "--limit",
        "cpu=500m,memory=512Mi",
    ];
    exits(env, &deploy, 0).await;
    let again = text(&exits(env, &deploy, 0).await);
    assert!(again.contains("nothing"), "a second time changes nothing, and says so");
    assert!(text(&exits(env, &["list"], 0).await).contains("my-app"));
    let app = json(env, &["get", "my-app"]).await;
    assert_eq!(app["status"]["readyReplicas"], 3, "{app}");
    let replicas = json(env, &["replicas", "my-app"]).await;
    assert_eq!(count(&replicas, "REPLICA_STATE_READY"), 3, "{replicas}");
    // EndpointSlices are written a moment after the pods are ready.
    until("all endpoints are ready", async || {
        count(&json(env, &["endpoints", "my-app"]).await, "ENDPOINT_STATE_READY") == 3
    })
    .await;
    exits(env, &["wait", "my-app"], 0).await;
    app
}

/// A dry run prints the change and makes none; the same command without `--dry-run` makes it.
async fn plan_by_hand(env: &Env, etag: &Value) {
    let good = ["deploy", "my-app", "--env", "GREETING=hello"];
    let plan = text(&exits(env, &[&good[..], &["--dry-run"]].concat(), 0).await);
    assert!(plan.contains("GREETING") && plan.contains("replaces the replicas"), "{plan}");
    let unchanged = json(env, &["get", "my-app"]).await;
    assert_eq!(&unchanged["etag"], etag, "a dry run changes nothing");
    exits(env, &good, 0).await;
}

async fn fail_and_roll_back_by_hand(env: &Env) {
    let image = web().image;
    let bad = format!("{}:does-not-exist", image.split(':').next().unwrap());
    let failed = exits(env, &["deploy", "my-app", "--image", &bad], 1).await;
    assert!(text(&failed).contains("IMAGE_PULL_FAILED"), "{}", text(&failed));
    exits(env, &["wait", "my-app"], 1).await;
    let app = json(env, &["get", "my-app"]).await;
    assert_eq!(app["status"]["readyReplicas"], 3, "the earlier replicas still serve: {app}");

    exits(env, &["rollback", "my-app"], 0).await;
    let app = json(env, &["get", "my-app"]).await;
    assert!(app["spec"]["image"] == image && count(&app, "hello") == 1, "{app}");
}

async fn history_by_hand(env: &Env) {
    let history = exits(env, &["rollouts", "my-app", "-o", "name"], 0).await;
    let numbers: String = text(&history).lines().filter_map(|name| name.chars().last()).collect();
    assert_eq!(numbers, "54321", "{}", text(&history));
    for (number, cause, state) in [
        ("1", "DEPLOY", "SUCCEEDED"),
        ("2", "DEPLOY", "SUCCEEDED"),
        ("3", "DEPLOY", "FAILED"),
        ("4", "ROLLBACK", "SUCCEEDED"),
        ("5", "RESTART", "SUCCEEDED"),
    ] {
        let rollout = json(env, &["rollouts", "my-app", "--rollout", number]).await;
        assert_eq!(rollout["cause"], format!("ROLLOUT_CAUSE_{cause}"), "{rollout}");
        assert_eq!(rollout["state"], format!("ROLLOUT_STATE_{state}"), "{rollout}");
    }
}

#[tokio::test]
async fn the_demo_works_by_hand() {
    run(|env| async move {
        exits(&env, &["info"], 0).await;
        let app = deploy_by_hand(&env).await;
        plan_by_hand(&env, &app["etag"]).await;
        fail_and_roll_back_by_hand(&env).await;
        exits(&env, &["restart", "my-app"], 0).await;
        exits(&env, &["scale", "my-app", "4"], 0).await;
        let app = json(&env, &["get", "my-app"]).await;
        assert_eq!(app["status"]["readyReplicas"], 4, "{app}");
        history_by_hand(&env).await;

        exits(&env, &["delete", "my-app"], 0).await;
        let gone = exits(&env, &["get", "my-app"], 1).await;
        assert!(text(&gone).contains("APP_NOT_FOUND"), "{}", text(&gone));
        exits(&env, &["deploy"], 2).await;
        exits(&env, &["deploy", "my-app", "--image", &web().image, "--port", "http=0"], 2).await;
    })
    .await;
}

#[tokio::test]
async fn who_follows_a_rollout_goes_on_with_the_next_daemon() {
    run(|mut env| async move {
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        let follower = command(&env)
            .args(["deploy", "web", "--env", "GREETING=hello", "--pod-annotation", "sim/ready-after=1s"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut rollouts = env.daemon.rollouts().await;
        let request = pb::GetRolloutRequest { name: env.name("web") + "/rollouts/2", ..Default::default() };
        until("the rollout runs", async || {
            let answer = rollouts.get_rollout(request.clone()).await;
            answer.is_ok_and(|a| a.into_inner().rollout.unwrap().state() == pb::RolloutState::Running)
        })
        .await;
        env.daemon.kill().await;

        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("kubeconfig");
        std::fs::write(&file, serde_json::to_string(&kubeconfig()).unwrap()).unwrap();
        let _next = program("gantryd")
            .args(["--insecure-loopback", "--listen", &env.daemon.address, "--admin-listen", "127.0.0.1:0"])
            .arg("--kubeconfig")
            .arg(&file)
            .spawn()
            .unwrap();
        let output = tokio::time::timeout(PATIENCE, follower.wait_with_output()).await.unwrap().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        let said = text(&output);
        assert!(said.contains("trying again") && said.contains("rollout 2 succeeded"), "{said}");
    })
    .await;
}

#[tokio::test]
async fn without_a_server_it_says_which_one_it_looked_for() {
    run(|_| async move {
        let output = program("gantry").args(["--server", "127.0.0.1:1", "list"]).output().await.unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(text(&output).contains("127.0.0.1:1"), "{}", text(&output));
    })
    .await;
}

#[tokio::test]
async fn an_autoscaler_is_set_followed_and_fed_from_the_command_line() {
    run(|mut env| async move {
        env.daemon = env.scaler().await;
        let run = async |args: &[&str], expected: i32| text(&exits(&env, args, expected).await);
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        assert!(run(&["autoscale", "web"], 0).await.contains("OFF"));
        let wrong = run(&["autoscale", "web", "--mode", "active", "--max", "9"], 2).await;
        assert!(wrong.contains("autoscaler.targets"), "{wrong}");
        let set = ["autoscale", "web", "--mode", "active", "--max", "9", "--metric", "queue_depth=10"];
        run(&set, 0).await;
        let mut follow = command(&env);
        follow.args(["decisions", "-f", "--all-apps"]);
        let mut follow = follow.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
        let mut next = async |wanted: &str| {
            let found = async {
                while !lines.next_line().await.unwrap().expect("the stream goes on").contains(wanted) {}
            };
            tokio::time::timeout(PATIENCE, found).await.expect("the decision is printed");
        };
        // There is no report yet, and each decision says so. Once one decision is printed, the stream is
        // open.
        next("no report of queue_depth was received").await;
        run(&["report", "web", "queue_depth=45"], 0).await;
        next("Scaled from 2 to 5").await;
        follow.kill().await.unwrap();
        let explained = run(&["decisions", "web", "--explain", "--outcome", "scaled"], 0).await;
        assert!(explained.contains("queue_depth") && explained.contains("45"), "{explained}");
        let refused = run(&["scale", "web", "3"], 1).await;
        assert!(refused.contains("AUTOSCALER_ACTIVE") && refused.contains("--hold-for"), "{refused}");
        let held = run(&["scale", "web", "3", "--hold-for", "1h", "--reason", "the sale"], 0).await;
        assert!(held.contains("held until") && held.contains("the sale"), "{held}");
        assert!(run(&["get", "web"], 0).await.contains("held until"));
    })
    .await;
}
