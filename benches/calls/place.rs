//! Where it is measured: the cluster that the run was given, a namespace of its own, the daemon as a process, and the apps in it.

use std::{
    collections::BTreeMap,
    env, fs,
    process::Stdio,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use gantry::pb::{self, app_service_client::AppServiceClient};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{DeleteParams, ObjectMeta, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    task::JoinHandle,
};
use tonic::transport::Channel;

use crate::Size;

/// Longest wait for anything that the cluster does.
const PATIENCE: Duration = Duration::from_secs(180);

/// The cluster and the namespace.
pub struct Place {
    pub client: Client,
    pub namespace: String,
}

/// A running gantryd; it ends with its owner.
pub struct Daemon {
    address: String,
    child: Child,
    _log: JoinHandle<()>,
}

/// Memory of a process, in KiB.
#[derive(Clone, Copy)]
pub struct Memory {
    pub resident: u64,
    pub proportional: u64,
}

fn given(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run this with `make bench`"))
}

// === impl Place ===

impl Place {
    pub async fn new() -> Self {
        let client = Self::client().await;
        let namespace = format!("bench-{}", std::process::id());
        let metadata = ObjectMeta { name: Some(namespace.clone()), ..ObjectMeta::default() };
        let object = Namespace { metadata, ..Namespace::default() };
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &object).await.unwrap();
        Self { client, namespace }
    }

    /// A bare client, set up as the daemon sets up its own.
    pub async fn client() -> Client {
        let context = Some(given("GANTRY_TEST_CONTEXT"));
        let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
        let file = Kubeconfig::read_from(given("GANTRY_TEST_KUBECONFIG")).unwrap();
        let mut config = kube::Config::from_custom_kubeconfig(file, &options).await.unwrap();
        config.default_retry = false;
        Client::try_from(config).unwrap()
    }

    pub async fn remove(&self) {
        let namespaces = Api::<Namespace>::all(self.client.clone());
        namespaces.delete(&self.namespace, &DeleteParams::default()).await.unwrap();
    }

    pub fn parent(&self) -> String {
        format!("namespaces/{}", self.namespace)
    }

    pub fn name(&self, app: &str) -> String {
        format!("{}/apps/{app}", self.parent())
    }

    /// A deploy of an app of the usual shape.
    pub fn deploy(&self, app: &str, image: &str, replicas: i32) -> pb::DeployAppRequest {
        let quantities =
            |cpu: &str| -> std::collections::HashMap<_, _> { [("cpu".to_owned(), cpu.to_owned())].into() };
        let spec = pb::AppSpec {
            image: image.into(),
            replicas: Some(replicas),
            ports: vec![pb::Port { name: "http".into(), number: 8080, protocol: pb::Protocol::Http.into() }],
            resources: Some(pb::Resources { requests: quantities("10m"), limits: quantities("500m") }),
            env: ["LEVEL", "REGION", "UPSTREAM"]
                .map(|name| (name.to_owned(), "some-value-of-usual-length".to_owned()))
                .into(),
            ..pb::AppSpec::default()
        };
        let app = pb::App { name: self.name(app), spec: Some(spec), ..pb::App::default() };
        pb::DeployAppRequest { app: Some(app), ..pb::DeployAppRequest::default() }
    }

    /// Deploys the apps of this size through the daemon, and waits for their replicas.
    pub async fn fill(&self, daemon: &Daemon, size: Size) {
        let channel = daemon.channel().await;
        let deploys = (0..size.apps).map(|n| {
            let request = self.deploy(&format!("app-{n}"), "web:1", size.replicas);
            let mut apps = AppServiceClient::new(channel.clone());
            async move { apps.deploy_app(request).await.unwrap() }
        });
        stream::iter(deploys).buffer_unordered(4).collect::<Vec<_>>().await;
        self.settled(daemon).await;
    }

    /// Waits until nothing is under way in any app of the namespace.
    pub async fn settled(&self, daemon: &Daemon) {
        let mut apps = daemon.apps().await;
        let request =
            pb::ListAppsRequest { parent: self.parent(), page_size: 1000, ..pb::ListAppsRequest::default() };
        let start = Instant::now();
        let mut quiet = 0;
        // Several looks: what others changed a moment ago may not have come yet.
        while quiet < 4 {
            let all = apps.list_apps(request.clone()).await.unwrap().into_inner().apps;
            let busy = all.iter().filter(|app| app.status.as_ref().is_none_or(|s| s.reconciling)).count();
            quiet = if busy == 0 { quiet + 1 } else { 0 };
            assert!(start.elapsed() < PATIENCE, "{busy} apps are still busy after {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

// === impl Daemon ===

impl Daemon {
    pub async fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_gantryd"))
            .args(["--insecure-loopback", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .args(["--context", &given("GANTRY_TEST_CONTEXT")])
            .env("KUBECONFIG", given("GANTRY_TEST_KUBECONFIG"))
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut address = None;
        let ready = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if let Some((_, at)) = line.split_once("listening on ") {
                    address = Some(at.to_owned());
                }
                if line.contains("ready apps=") {
                    return;
                }
            }
            panic!("the daemon ended");
        };
        tokio::time::timeout(PATIENCE, ready).await.expect("the daemon becomes ready");
        // Its log is read, so that a full pipe does not stop it.
        #[allow(clippy::disallowed_methods)] // ends with the daemon's standard error
        let log = tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { address: address.expect("the daemon says where it listens"), child, _log: log }
    }

    pub async fn channel(&self) -> Channel {
        connect(&self.address).await
    }

    pub async fn apps(&self) -> AppServiceClient<Channel> {
        AppServiceClient::new(self.channel().await)
    }

    pub fn memory(&self) -> Memory {
        let id = self.child.id().expect("the daemon runs");
        let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap();
        let sizes: BTreeMap<_, u64> = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .filter_map(|(name, size)| Some((name, size.trim().strip_suffix(" kB")?.parse().ok()?)))
            .collect();
        Memory { resident: sizes["Rss"], proportional: sizes["Pss"] }
    }
}

pub async fn connect(address: &str) -> Channel {
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}
