//! The command line against the daemon: what it prints and how it exits.

use std::process::Output;

use crate::support::{Env, program, run, web};

async fn gantry(env: &Env, args: &[&str]) -> Output {
    let mut command = program("gantry");
    command.env("GANTRY_ADDR", &env.daemon.address).env("GANTRY_NAMESPACE", &env.namespace).args(args);
    command.output().await.unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test]
async fn the_demo_works_by_hand() {
    run(|env| async move {
        let (image, port) = (web().image, web().ports[0].number);
        let bad = format!("{}:does-not-exist", image.split(':').next().unwrap());
        let port = format!("http={port}");
        let run = async |args: &[&str], expected: i32| {
            let output = gantry(&env, args).await;
            assert_eq!(output.status.code(), Some(expected), "gantry {args:?}\n{}", text(&output));
            output
        };
        run(&["info"], 0).await;
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
        run(&deploy, 0).await;
        assert!(
            text(&run(&deploy, 0).await).contains("nothing"),
            "a second time changes nothing, and says so"
        );
        assert!(text(&run(&["list"], 0).await).contains("my-app"));
        let json: serde_json::Value =
            serde_json::from_slice(&run(&["get", "my-app", "-o", "json"], 0).await.stdout).unwrap();
        assert_eq!(json["status"]["readyReplicas"], 3, "{json}");
        run(&["wait", "my-app"], 0).await;

        let failed = run(&["deploy", "my-app", "--image", &bad], 1).await;
        assert!(text(&failed).contains("IMAGE_PULL_FAILED"), "{}", text(&failed));
        run(&["wait", "my-app"], 1).await;
        assert!(text(&run(&["get", "my-app"], 0).await).contains('3'));

        run(&["delete", "my-app"], 0).await;
        let gone = run(&["get", "my-app"], 1).await;
        assert!(text(&gone).contains("APP_NOT_FOUND"), "{}", text(&gone));
        run(&["deploy"], 2).await;
        run(&["deploy", "my-app", "--image", &image, "--port", "http=0"], 2).await;
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
