//! The example of each language, with code generated from the contract, against the daemon: it deploys,
//! waits, reads errors, and gets over a daemon that is killed. `clients/*/check` made the programs before.

use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use gantry::pb;
use tokio::process::Command;

use crate::support::{Daemon, annotate, run, until, web};

/// Longest wait for one program.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long no daemon runs between two. The program tries more than once in this time.
const AWAY: Duration = Duration::from_secs(2);

/// How a program ended.
struct Ended {
    language: &'static str,
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    /// Checks the exit status, and that the last lines begin so.
    fn with(&self, code: i32, last: &[&str]) {
        let Self { language, stdout, stderr, .. } = self;
        let all = format!("{language}: {:?}\n{stdout}\n{stderr}", self.code);
        assert_eq!(self.code, Some(code), "{all}");
        let lines: Vec<&str> = stdout.lines().collect();
        assert_eq!(lines.len(), last.len(), "{all}");
        for (line, expected) in lines.iter().zip(last) {
            assert!(line.starts_with(expected), "{line:?} should begin with {expected:?}\n{all}");
        }
    }
}

fn path(language: &str) -> PathBuf {
    if language == "curl" {
        return Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/curl/wait");
    }
    let clients = env::var_os("GANTRY_TEST_CLIENTS");
    PathBuf::from(clients.expect("tests/run-cluster sets GANTRY_TEST_CLIENTS")).join(language).join("wait")
}

/// Runs the example of a language to its end.
async fn wait(language: &'static str, address: &str, app: &str, image: &str) -> Ended {
    let output = Command::new(path(language)).args([address, app, image]).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, output).await;
    let output =
        output.unwrap_or_else(|_| panic!("{language}: {app} {image}: still runs after {PATIENCE:?}"));
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", path(language).display()));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended { language, code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

/// Runs the example of a language through everything that can happen to it.
async fn speaks(language: &'static str) {
    run(|mut env| async move {
        let address = env.daemon.address.clone();
        let app = env.name("app");
        let rollout = |number: u32| format!("{app}/rollouts/{number}");
        wait(language, &address, &app, "app:1").await.with(0, &[&format!("succeeded {}", rollout(1))]);
        wait(language, &address, &app, "app:1").await.with(0, &["unchanged"]);
        let failed = format!("failed {} IMAGE_PULL_FAILED: ", rollout(2));
        wait(language, &address, &app, "app:does-not-exist").await.with(1, &[&failed]);
        let wrong = wait(language, &address, &env.name("Wrong_Name"), "app:1").await;
        wrong.with(1, &["  app.name: ", "error INVALID_ARGUMENT INVALID_FIELD: app.name: "]);

        let patch = annotate("sim/ready-after", "5s");
        let slow = pb::AppSpec { image: "slow:1".into(), pod_template_patch: Some(patch), ..web() };
        env.deploy("slow", slow).await.unwrap();
        let name = env.name("slow");
        let second = pb::GetRolloutRequest { name: format!("{name}/rollouts/2"), ..Default::default() };
        env.daemon.kill().await;
        let daemons = async {
            // The program begins without a daemon,
            tokio::time::sleep(AWAY).await;
            env.daemon = Daemon::start_at(&address).await;
            until("the rollout begins", async || env.daemon.get_rollout(second.clone()).await.is_ok()).await;
            // and loses it again while it waits.
            env.daemon.kill().await;
            tokio::time::sleep(AWAY).await;
            env.daemon = Daemon::start_at(&address).await;
        };
        let (ended, ()) = tokio::join!(wait(language, &address, &name, "slow:2"), daemons);
        ended.with(0, &[&format!("succeeded {}", second.name)]);
        assert!(!ended.stderr.is_empty(), "{language}: it says that it tries again");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs simulated pods"]
async fn a_program_in_python_deploys_and_waits() {
    speaks("python").await;
}

#[tokio::test]
#[ignore = "needs simulated pods"]
async fn a_program_in_typescript_deploys_and_waits() {
    speaks("typescript").await;
}

#[tokio::test]
#[ignore = "needs simulated pods"]
async fn a_program_in_go_deploys_and_waits() {
    speaks("go").await;
}

#[tokio::test]
#[ignore = "needs simulated pods"]
async fn a_program_in_java_deploys_and_waits() {
    speaks("java").await;
}

#[tokio::test]
#[ignore = "needs simulated pods"]
async fn a_script_with_curl_deploys_and_waits() {
    speaks("curl").await;
}
