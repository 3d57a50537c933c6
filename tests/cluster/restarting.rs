//! The daemon stops and starts: its knowledge survives, and it shuts down in order.

use std::time::Duration;

use gantry::pb::{self, server_service_client::ServerServiceClient};
use tokio::process::Command;

use crate::support::{Daemon, follow, kubeconfig, reason, run, until, web};

#[tokio::test]
async fn a_verdict_outlives_the_daemon_that_gave_it() {
    run(|mut env| async move {
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        let bad = pb::AppSpec { image: format!("{}:does-not-exist", "web"), ..pb::AppSpec::default() };
        let failed = env.deploy_and_follow(env.deploy_request("web", bad)).await;
        assert_eq!(failed.state(), pb::RolloutState::Failed);
        // A separate task stores the verdict, and is given time before the daemon is killed, because only
        // verdicts that were reported long ago are promised to survive.
        tokio::time::sleep(Duration::from_millis(500)).await;
        env.daemon.kill().await;

        env.daemon = Daemon::start().await;
        let kept = follow(&env.daemon, &failed.name).await;
        assert_eq!((kept.state(), &kept.error), (pb::RolloutState::Failed, &failed.error));
        assert_eq!(kept.end_time, failed.end_time);
        let first = follow(&env.daemon, &(env.name("web") + "/rollouts/1")).await;
        assert_eq!(first.state(), pb::RolloutState::Succeeded);
    })
    .await;
}

#[tokio::test]
async fn a_rollout_goes_on_without_the_daemon_and_is_judged_by_the_next() {
    run(|mut env| async move {
        let response = env.deploy("web", web()).await.unwrap();
        env.daemon.kill().await;
        env.daemon = Daemon::start().await;
        let rollout = follow(&env.daemon, &response.rollout.unwrap().name).await;
        assert_eq!(rollout.state(), pb::RolloutState::Succeeded);
    })
    .await;
}

#[tokio::test]
async fn on_sigterm_it_ends_its_streams_with_a_reason_and_exits_well() {
    run(|mut env| async move {
        let request = pb::WatchAppsRequest { parent: "namespaces/-".into(), ..Default::default() };
        let mut stream = env.daemon.watch_apps(request).await.unwrap();
        stream.message().await.unwrap().unwrap();
        let pid = env.daemon.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
        let status = loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ended without an error"),
                Err(status) => break status,
            }
        };
        assert_eq!(reason(&status), "SHUTTING_DOWN");
        let exit =
            tokio::time::timeout(Duration::from_secs(15), env.daemon.child.wait()).await.unwrap().unwrap();
        assert!(exit.success(), "{exit}");
        env.daemon = Daemon::start().await;
        until("the next one answers", async || {
            env.daemon
                .list_apps(pb::ListAppsRequest { parent: "namespaces/-".into(), ..Default::default() })
                .await
                .is_ok()
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn without_a_cluster_it_answers_that_it_waits_for_one() {
    let dir = tempfile::tempdir().unwrap();
    let kubeconfig = dir.path().join("kubeconfig");
    // A port on which nothing listens.
    let file = "{apiVersion: v1, kind: Config, current-context: x, clusters: [{name: x, cluster: {server: 'http://127.0.0.1:9'}}], \
                users: [{name: x, user: {}}], contexts: [{name: x, context: {cluster: x, user: x}}]}";
    std::fs::write(&kubeconfig, file).unwrap();
    let daemon = Daemon::start_with(&["--kubeconfig", kubeconfig.to_str().unwrap()], "listening on ").await;
    let request = pb::ListAppsRequest { parent: "namespaces/-".into(), ..Default::default() };
    let status = daemon.list_apps(request).await.unwrap_err();
    assert_eq!(reason(&status), "WARMING_UP");
}

#[tokio::test]
async fn a_right_that_is_missing_is_named() {
    let mut file = kubeconfig();
    for user in &mut file.auth_infos {
        user.auth_info.get_or_insert_default().impersonate = Some("nobody-with-any-right".to_owned());
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kubeconfig");
    // JSON is valid YAML.
    std::fs::write(&path, serde_json::to_vec(&file).unwrap()).unwrap();
    let daemon = Daemon::start_with(&["--kubeconfig", path.to_str().unwrap()], "connected").await;
    let mut server = ServerServiceClient::new(daemon.channel().await);
    until("the warnings name the right", async || {
        let info = server.get_server_info(pb::GetServerInfoRequest {}).await.unwrap().into_inner();
        info.warnings
            .iter()
            .any(|w| w.contains("may not list and watch pods") && w.contains("nobody-with-any-right"))
    })
    .await;
}
