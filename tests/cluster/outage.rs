//! Losing the API server, on a control plane that this test starts: reads go on, writes fail at once, and
//! afterwards everything catches up without a restart.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use gantry::pb::{self, app_service_client::AppServiceClient, server_service_client::ServerServiceClient};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, Client, Config,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;
use tokio::sync::watch;
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt;

use crate::support::{Daemon, follow, reason, until, web};

/// A control plane that the test stops and starts.
struct Plane {
    dir: tempfile::TempDir,
}

impl Plane {
    async fn start() -> Self {
        let plane = Self { dir: tempfile::tempdir().unwrap() };
        plane.run(&["up", "--detach", "--nodes", "2"]).await;
        plane
    }

    fn command(&self, args: &[&str]) -> Command {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/local/cluster");
        let mut command = Command::new(program);
        command.arg(args[0]).arg("--dir").arg(self.dir.path()).args(&args[1..]).stdout(Stdio::null());
        command
    }

    async fn run(&self, args: &[&str]) {
        let status = tokio::process::Command::from(self.command(args)).status().await.unwrap();
        assert!(status.success(), "cluster {args:?}");
    }

    fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }

    /// Sends a signal to the API server.
    fn signal(&self, signal: &str) {
        let run = std::fs::read(self.dir.path().join("run.json")).unwrap();
        let run: serde_json::Value = serde_json::from_slice(&run).unwrap();
        let parts = run["parts"].as_array().unwrap();
        let server = parts.iter().find(|part| part["name"] == "kube-apiserver").unwrap();
        let pid = server["pid"].to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    async fn client(&self) -> Client {
        let file = Kubeconfig::read_from(self.kubeconfig()).unwrap();
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
        Client::try_from(config).unwrap()
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        if self.kubeconfig().exists() && !std::thread::panicking() {
            assert!(self.command(&["down"]).status().unwrap().success());
        } else {
            // The cluster stops when its folder is removed, and kills a part that is stopped by SIGSTOP.
            eprintln!("the control plane in {} ends with its folder", self.dir.path().display());
        }
    }
}

fn deploy(name: &str, image: &str) -> pb::DeployAppRequest {
    let spec = pb::AppSpec { image: image.into(), ..web() };
    let name = format!("namespaces/default/apps/{name}");
    let app = pb::App { name, spec: Some(spec), ..pb::App::default() };
    pb::DeployAppRequest { app: Some(app), ..pb::DeployAppRequest::default() }
}

async fn get(apps: &mut AppServiceClient<Channel>, name: &str) -> Result<pb::App, Status> {
    let request =
        pb::GetAppRequest { name: format!("namespaces/default/apps/{name}"), ..pb::GetAppRequest::default() };
    Ok(apps.get_app(request).await?.into_inner().app.unwrap())
}

async fn warnings(daemon: &Daemon) -> String {
    let mut server = ServerServiceClient::new(daemon.channel().await);
    let info = server.get_server_info(pb::GetServerInfoRequest {}).await.unwrap().into_inner();
    info.warnings.join("\n")
}

/// What a write answers while the API server is lost.
fn check_unreachable(status: &Status) {
    assert_eq!(
        (status.code(), reason(status).as_str()),
        (Code::Unavailable, "CLUSTER_UNREACHABLE"),
        "{status}"
    );
    assert!(status.message().contains("lost since"), "{status}");
    assert!(
        status.get_error_details().retry_info().is_some_and(|retry| retry.retry_delay.is_some()),
        "{status}"
    );
}

/// Reads one app again and again until stopped; returns the number of reads and the longest read.
async fn read_on(mut apps: AppServiceClient<Channel>, stop: watch::Receiver<bool>) -> (u32, Duration) {
    let (mut reads, mut longest) = (0, Duration::ZERO);
    while !*stop.borrow() {
        let start = Instant::now();
        get(&mut apps, "web").await.expect("a read is answered whatever the API server does");
        longest = longest.max(start.elapsed());
        reads += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    (reads, longest)
}

/// Creates the Deployment `other` outside Gantry.
async fn create_another(plane: &Plane) {
    let other: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "other"},
        "spec": {
            "selector": {"matchLabels": {"app": "other"}},
            "template": {
                "metadata": {"labels": {"app": "other"}},
                "spec": {"containers": [{"name": "main", "image": "other:1"}]},
            },
        },
    }))
    .unwrap();
    let deployments = Api::<Deployment>::default_namespaced(plane.client().await);
    deployments.create(&PostParams::default(), &other).await.unwrap();
}

#[tokio::test]
#[ignore = "starts a separate control plane and needs simulated pods"]
async fn reads_go_on_writes_fail_at_once_and_everything_catches_up() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let plane = Plane::start().await;
    let kubeconfig = plane.kubeconfig();
    let daemon = Daemon::start_with(&["--kubeconfig", kubeconfig.to_str().unwrap()], "ready apps=").await;
    let mut apps = daemon.apps().await;
    let begun = apps.deploy_app(deploy("web", "web:1")).await.unwrap().into_inner();
    follow(&daemon, &begun.rollout.unwrap().name).await;

    let (stop, stopped) = watch::channel(false);
    let reading = read_on(daemon.apps().await, stopped);
    let outages = async {
        // The API server hangs: connections stay open, and nothing is answered.
        plane.signal("-STOP");
        let start = Instant::now();
        check_unreachable(&apps.deploy_app(deploy("web", "web:2")).await.unwrap_err());
        assert!(start.elapsed() < Duration::from_secs(5), "found lost after {:?}", start.elapsed());
        let start = Instant::now();
        check_unreachable(&apps.deploy_app(deploy("web", "web:2")).await.unwrap_err());
        assert!(
            start.elapsed() < Duration::from_secs(1),
            "known to be lost, but answered after {:?}",
            start.elapsed()
        );
        assert!(warnings(&daemon).await.contains("does not answer (lost since"));
        plane.signal("-CONT");
        until("a deploy passes again", async || apps.deploy_app(deploy("web", "web:2")).await.is_ok()).await;
        until("it is seen", async || {
            get(&mut apps, "web").await.is_ok_and(|app| app.spec.is_some_and(|spec| spec.image == "web:2"))
        })
        .await;

        // The API server ends with all connections, and comes back with the same data.
        plane.run(&["down"]).await;
        until("the loss is known", async || warnings(&daemon).await.contains("lost since")).await;
        check_unreachable(&apps.deploy_app(deploy("web", "web:3")).await.unwrap_err());
        plane.run(&["up", "--detach", "--nodes", "2", "--keep"]).await;
        create_another(&plane).await;
        until("the watch has caught up", async || get(&mut apps, "other").await.is_ok()).await;
        until("the warnings are gone", async || warnings(&daemon).await.is_empty()).await;
        let begun = apps.deploy_app(deploy("web", "web:3")).await.unwrap().into_inner();
        let end = follow(&daemon, &begun.rollout.unwrap().name).await;
        assert_eq!(end.state(), pb::RolloutState::Succeeded);
        stop.send_replace(true);
    };
    let ((reads, longest), ()) = tokio::join!(reading, outages);
    // An idle machine makes thousands of reads. The bound is low because it only has to show that reads went
    // on.
    assert!(reads > 100, "{reads}");
    assert!(longest < Duration::from_secs(5), "a read took {longest:?}");
}
