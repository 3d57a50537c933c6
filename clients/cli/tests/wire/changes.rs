//! Commands that change something: what they send, how they follow it, and how they end.

use std::process::Stdio;

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time,
};

use super::{LIMIT, Ran, gantry, json, output, program, run, server};

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
    assert!(err.contains("standard input does not describe an app: spec") && err.contains("imagee"), "{err}");
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
async fn wait_and_delete_end_with_the_thing_itself() {
    let Ran { exit, out, err } = gantry("wait good --rollout latest").await;
    assert_eq!((exit, out.as_str()), (Some(0), "good rollout 7 succeeded: 3 of 3 replicas ready\n"), "{err}");
    let Ran { exit, out, err } = gantry("delete good").await;
    assert!(exit == Some(0) && out.starts_with("good deleted in "), "{out}{err}");
    assert!(err.contains("DELETING"), "{err}");
    let Ran { exit, out, .. } = gantry("delete missing --allow-missing").await;
    assert_eq!((exit, out.as_str()), (Some(0), "missing does not exist\n"));
}

#[tokio::test]
async fn a_dry_run_prints_a_diff_and_changes_nothing() {
    let Ran { exit, out, err } = gantry("deploy good --image shop:2 --dry-run").await;
    assert_eq!((exit, err.as_str()), (Some(0), ""));
    assert_eq!(
        out,
        "~ deployment.apps/shop\n    ~ spec.image: \"shop:1\" -> \"shop:2\"  (replaces the replicas)\nwarning: old field\n\
         Checks:\n  PASS     FIT\nDry run: nothing was changed. It would replace the replicas.\n"
    );
    let Ran { out, .. } = gantry("deploy good --image shop:2 --dry-run --verbose").await;
    assert!(out.contains("\n  PASS     FIT              1 of 3 replicas fits\n"), "{out}");
    let Ran { exit, out, err } = gantry("deploy bad --image shop:2 --dry-run -o json").await;
    assert_eq!((exit, err.as_str()), (Some(1), "error: it would not work: 1 check fails\n"));
    assert_eq!(json(&out)["plan"]["checks"][0]["result"], "CHECK_RESULT_FAIL");
    for line in [
        "scale good 3 --dry-run",
        "restart good --dry-run",
        "rollback good --dry-run",
        "delete good --dry-run",
    ] {
        let Ran { exit, out, err } = gantry(line).await;
        assert!(
            exit == Some(0) && out.contains("~ spec.image") && out.contains("Dry run"),
            "{line}: {out}{err}"
        );
    }
}

#[tokio::test]
async fn a_change_is_repeated_with_the_same_id() {
    let Ran { exit, out, err } = gantry("deploy flaky --image shop:1 -o json").await;
    assert_eq!(exit, Some(0), "{err}");
    assert_eq!(json(&out)["app"]["annotations"]["tries"], "3 with 1 ids of 36 letters");
    assert_eq!(err.matches("too much to do; trying again in").count(), 2, "{err}");
}

#[tokio::test]
async fn a_server_that_knows_no_ids_is_asked_without() {
    let Ran { exit, out, .. } = gantry("deploy old --image shop:1").await;
    assert_eq!((exit, out.as_str()), (Some(0), "old: nothing changed\n"));
    // An id that the caller chose must not be dropped.
    let chosen = "deploy old --image shop:1 --request-id 0b0e5a2c-0000-4000-8000-000000000000";
    let Ran { exit, err, .. } = gantry(chosen).await;
    assert!(exit == Some(1) && err.contains("request_id"), "{err}");
}

#[tokio::test]
async fn what_get_prints_can_be_deployed() {
    for format in ["yaml", "json"] {
        let Ran { exit, out: shown, .. } = gantry(&format!("get good -o {format}")).await;
        assert!(exit == Some(0) && shown.contains("status"), "{shown}");
        let Ran { exit, out, err } = run("deploy -f - --no-wait -o json", &shown).await;
        assert_eq!(exit, Some(0), "{err}");
        let answer = json(&out);
        assert_eq!(answer["app"]["annotations"]["seen"], "mask: *, status: false");
        assert_eq!(answer["app"]["spec"]["image"], "shop:1");
    }
}

#[tokio::test]
async fn a_file_may_hold_several_apps() {
    let apps = "name: good\nspec: {image: 'shop:1'}\n---\nname: same\nspec: {image: 'shop:1'}\n";
    let Ran { exit, out, err } = run("deploy -f -", apps).await;
    assert_eq!((exit, out.lines().count()), (Some(0), 2), "{out}{err}");
    assert!(out.starts_with("good rollout 7 succeeded") && out.ends_with("same: nothing changed\n"), "{out}");
    let apps = apps.replace("name: good", "name: bad");
    let Ran { exit, out, .. } = run("deploy -f -", &apps).await;
    assert_eq!((exit, out.as_str()), (Some(1), ""));
}

#[tokio::test]
async fn a_scaling_is_followed_until_it_is_settled() {
    let Ran { exit, out, err } = gantry("scale good 3").await;
    assert!(exit == Some(0) && out.starts_with("good is ACTIVE after "), "{out}{err}");
    assert!(out.ends_with(": 3 of 3 replicas ready\n"), "{out}");
    let Ran { exit, out, .. } = gantry("scale good 3 -o json --progress none").await;
    assert_eq!((exit, &json(&out)["app"]["annotations"]["after"]), (Some(0), &"p1".into()), "{out}");

    let Ran { exit, out, err } = gantry("scale bad 3").await;
    assert!(exit == Some(1) && out.is_empty() && err.contains("error: bad is DEGRADED"), "{out}{err}");
    let Ran { exit, out, err } = gantry("scale weak 3").await;
    assert_eq!((exit, out.as_str()), (Some(0), "weak has 3 replicas, all ready\n"));
    assert!(err.contains("warning: weak is DEGRADED"), "{err}");

    let Ran { exit, err, .. } = gantry("scale slow 3 --timeout 1s").await;
    assert!(exit == Some(3) && err.contains("go on:    gantry wait prod/slow"), "{err}");
    let Ran { exit, out, .. } = gantry("scale slow 3 --no-wait").await;
    assert!(exit == Some(0) && out.contains("gantry wait prod/slow"), "{out}");

    let Ran { exit, err, .. } = gantry("scale scaled 3").await;
    assert!(exit == Some(1) && err.contains("reason:   AUTOSCALER_ACTIVE"), "{err}");
    let Ran { exit, .. } = gantry("scale scaled 3 --hold-for 1h").await;
    assert_eq!(exit, Some(0));
}

#[tokio::test]
async fn restarts_rollbacks_and_holds_are_followed() {
    for line in ["restart good", "rollback good --to 5", "resume good"] {
        let Ran { exit, out, err } = gantry(line).await;
        assert!(exit == Some(0) && out.starts_with("good rollout 7 succeeded"), "{line}: {out}{err}");
        let Ran { exit, out, .. } = gantry(&format!("{line} --no-wait")).await;
        assert!(exit == Some(0) && out.contains("gantry wait prod/good --rollout 7"), "{line}: {out}");
        let Ran { exit, out, .. } = gantry(&format!("{line} -o json --progress none")).await;
        assert_eq!((exit, &json(&out)["rollout"]["state"]), (Some(0), &"ROLLOUT_STATE_SUCCEEDED".into()));
        let failing = line.replace("good", "bad");
        let Ran { exit, err, .. } = gantry(&failing).await;
        assert!(exit == Some(1) && err.contains("IMAGE_PULL_FAILED"), "{failing}: {err}");
    }
    let Ran { exit, out, .. } = gantry("rollback same").await;
    assert_eq!((exit, out.as_str()), (Some(0), "same: nothing changed, it runs that already\n"));
    let Ran { exit, out, .. } = gantry("rollback good --to 5 --no-wait -o json").await;
    let source = &json(&out)["rollout"]["sourceRollout"];
    assert_eq!((exit, source), (Some(0), &"namespaces/prod/apps/good/rollouts/5".into()));
    let Ran { exit, .. } = gantry("rollback good --to five").await;
    assert_eq!(exit, Some(2));
    let Ran { exit, out, .. } = gantry("pause good").await;
    let held = "good rollout 7 is held; let it go on with: gantry resume prod/good\n";
    assert_eq!((exit, out.as_str()), (Some(0), held));
    let Ran { exit, err, .. } = gantry("resume ended").await;
    assert!(exit == Some(1) && err.contains("ROLLOUT_ENDED"), "{err}");
}

#[tokio::test]
async fn waiting_ends_when_the_app_is_settled() {
    let Ran { exit, out, err } = gantry("wait good").await;
    assert_eq!((exit, out.as_str()), (Some(0), "good is ACTIVE: 3 of 3 replicas ready\n"), "{err}");
    let Ran { exit, out, .. } = gantry("wait gone").await;
    assert_eq!((exit, out.as_str()), (Some(0), "gone is gone\n"));
    // The rollout that failed says why.
    let Ran { exit, err, .. } = gantry("wait bad").await;
    assert!(
        exit == Some(1) && err.contains("error: bad rollout 7 failed") && err.contains("push it"),
        "{err}"
    );
    let Ran { exit, err, .. } = gantry("wait slow --timeout 1s").await;
    assert!(exit == Some(3) && err.contains("slow is not settled after"), "{err}");
    let Ran { exit, err, .. } = gantry("wait missing").await;
    assert!(exit == Some(1) && err.contains("APP_NOT_FOUND"), "{err}");
    let Ran { exit, .. } = gantry("wait good --rollout newest").await;
    assert_eq!(exit, Some(2));
}

#[tokio::test]
async fn a_rollout_is_watched_to_its_end() {
    let Ran { exit, out, err } = gantry("rollout watch good --rollout 7").await;
    assert!(exit == Some(0) && out.contains("good rollout 7 succeeded"), "{out}{err}");
    for said in ["1/3 ready", "pod/good-x: pulled", "3/3 ready"] {
        assert!(err.contains(said), "{said} is missing in: {err}");
    }
    let Ran { exit, err, .. } = gantry("rollout watch bad --rollout 7").await;
    assert!(exit == Some(1) && err.contains("IMAGE_PULL_FAILED") && err.contains("push it"), "{err}");
    let Ran { exit, err, .. } = gantry("rollout watch slow --rollout 7 --timeout 1s").await;
    assert!(exit == Some(3) && err.contains("gantry wait prod/slow --rollout 7"), "{err}");
}

#[tokio::test]
async fn an_interruption_says_what_goes_on() {
    for (line, seen, how) in [
        ("deploy slow --image shop:1", "1/3 ready", "gantry wait prod/slow --rollout 7"),
        ("scale slow 3", "1 of 3 replicas ready", "gantry wait prod/slow"),
    ] {
        let server = server::Server::bind();
        let mut command = program(line);
        command.env("GANTRY_ADDR", server.address()).env("GANTRY_NAMESPACE", "prod").stdin(Stdio::null());
        let program = async {
            let mut child = command.spawn().expect("the program starts");
            let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
            let wait = async {
                while let Some(line) = lines.next_line().await.expect("it prints UTF-8") {
                    if line.contains(seen) {
                        break;
                    }
                }
            };
            time::timeout(LIMIT, wait).await.expect("it shows what happens");
            let id = child.id().expect("it runs").to_string();
            Command::new("kill").args(["-INT", &id]).status().await.expect("there is a kill");
            let mut rest = String::new();
            while let Some(line) = lines.next_line().await.expect("it prints UTF-8") {
                rest = rest + &line + "\n";
            }
            (output(child).await.exit, rest)
        };
        let (exit, err) = tokio::select! {
            ended = program => ended,
            ended = server.serve() => panic!("the server ended: {ended:?}"),
        };
        assert_eq!(exit, Some(130), "{line}: {err}");
        assert!(
            err.contains("goes on without you") && err.contains(&format!("follow:   {how}\n")),
            "{line}: {err}"
        );
    }
}
