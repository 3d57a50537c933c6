//! Where the measurements run: the cluster that the run was given, separate namespaces, the daemon as a
//! process, and the apps.

use std::{
    collections::BTreeMap,
    env, fs,
    process::Stdio,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use gantry::pb::{self, app_service_client::AppServiceClient};
use k8s_openapi::api::core::v1::{Event, Namespace};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, ObjectMeta, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::oneshot,
    task::JoinHandle,
};
use tonic::transport::Channel;

use crate::Size;

/// Longest wait for anything that the cluster does.
const PATIENCE: Duration = Duration::from_secs(180);

/// One in this many of the filler apps is in the namespace where everything is measured.
const NEAR: usize = 5;

/// The cluster, the namespace where everything is measured, and the namespace with most of the pods.
pub struct Place {
    pub client: Client,
    pub namespace: String,
    pub elsewhere: String,
}

/// A running gantryd; it ends when this is dropped.
pub struct Daemon {
    pub address: String,
    child: Child,
    _log: JoinHandle<()>,
}

/// Memory of a process, in KiB.
#[derive(Clone, Copy)]
pub struct Memory {
    pub resident: u64,
    pub proportional: u64,
    /// Bytes that the heap holds, if they are counted.
    pub heap: Option<u64>,
}

pub fn given(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run this with `make bench`"))
}

// === impl Place ===

impl Place {
    pub async fn new() -> Self {
        let client = Self::client().await;
        let namespace = format!("bench-{}", std::process::id());
        let elsewhere = format!("{namespace}-more");
        for name in [&namespace, &elsewhere] {
            let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
            let object = Namespace { metadata, ..Namespace::default() };
            Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &object).await.unwrap();
        }
        Self { client, namespace, elsewhere }
    }

    /// A bare client, configured as the daemon configures its client.
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
        for name in [&self.namespace, &self.elsewhere] {
            namespaces.delete(name, &DeleteParams::default()).await.unwrap();
        }
    }

    pub fn parent(&self) -> String {
        format!("namespaces/{}", self.namespace)
    }

    pub fn name(&self, app: &str) -> String {
        format!("{}/apps/{app}", self.parent())
    }

    /// Name of the n-th filler app.
    pub fn filler(&self, n: usize) -> String {
        let namespace = if n.is_multiple_of(NEAR) { &self.namespace } else { &self.elsewhere };
        format!("namespaces/{namespace}/apps/app-{n}")
    }

    /// How many filler apps are in the namespace where everything is measured.
    pub fn near(size: Size) -> usize {
        size.apps.div_ceil(NEAR)
    }

    /// A deploy of an app of the usual shape.
    pub fn deploy(&self, app: &str, image: &str, replicas: i32) -> pb::DeployAppRequest {
        let quantities = |cpu: &str| -> BTreeMap<_, _> { [("cpu".to_owned(), cpu.to_owned())].into() };
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

    /// Deploys the filler apps through the daemon, with this many replicas each, and waits until they are
    /// ready.
    pub async fn fill(&self, daemon: &Daemon, size: Size, replicas: i32) {
        let channel = daemon.channel().await;
        let deploys = (0..size.apps).map(|n| {
            let mut request = self.deploy("", "web:1", replicas);
            request.app.as_mut().unwrap().name = self.filler(n);
            let mut apps = AppServiceClient::new(channel.clone());
            async move { apps.deploy_app(request).await.unwrap() }
        });
        stream::iter(deploys).buffer_unordered(4).collect::<Vec<_>>().await;
        self.settled(daemon).await;
    }

    /// Gives each filler app another number of replicas, and waits until they are ready.
    pub async fn grow(&self, daemon: &Daemon, size: Size, replicas: i32) {
        let channel = daemon.channel().await;
        let scales = (0..size.apps).map(|n| {
            let name = self.filler(n);
            let mut apps = AppServiceClient::new(channel.clone());
            let replicas = Some(replicas);
            let request = pb::ScaleAppRequest { name, replicas, ..pb::ScaleAppRequest::default() };
            async move { apps.scale_app(request).await.unwrap() }
        });
        stream::iter(scales).buffer_unordered(4).collect::<Vec<_>>().await;
        self.settled(daemon).await;
    }

    /// Deletes all Events, as Kubernetes does after an hour.
    pub async fn forget_events(&self) {
        for namespace in [&self.namespace, &self.elsewhere] {
            let events = Api::<Event>::namespaced(self.client.clone(), namespace);
            events.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
        }
    }

    /// Waits until no app has anything under way.
    pub async fn settled(&self, daemon: &Daemon) {
        let mut apps = daemon.apps().await;
        let mut start = Instant::now();
        let (mut quiet, mut last) = (0, usize::MAX);
        // Looks several times, because a change made outside Gantry a moment ago may not have arrived yet.
        while quiet < 4 {
            let busy = busy(&mut apps).await;
            quiet = if busy == 0 { quiet + 1 } else { 0 };
            if busy < last {
                (start, last) = (Instant::now(), busy);
            }
            assert!(
                start.elapsed() < PATIENCE,
                "{busy} apps are still busy, {PATIENCE:?} after the last one came to rest"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// How many apps have something under way.
async fn busy(apps: &mut AppServiceClient<Channel>) -> usize {
    let (mut busy, mut page_token) = (0, String::new());
    loop {
        let parent = "namespaces/-".to_owned();
        let request =
            pb::ListAppsRequest { parent, page_size: 1000, page_token, ..pb::ListAppsRequest::default() };
        let page = apps.list_apps(request).await.unwrap().into_inner();
        busy += page.apps.iter().filter(|app| app.status.as_ref().is_none_or(|s| s.reconciling)).count();
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return busy;
        }
    }
}

// === impl Daemon ===

impl Daemon {
    /// Starts a daemon and waits until it is ready.
    pub async fn start() -> Self {
        Self::ready(Command::new(env!("CARGO_BIN_EXE_gantryd"))).await
    }

    /// Starts this program, which is the daemon with something around it, and waits until it is ready.
    pub async fn ready(program: Command) -> Self {
        let (daemon, ready) = Self::listening(program).await;
        tokio::time::timeout(PATIENCE, ready).await.expect("in time").expect("the daemon becomes ready");
        daemon
    }

    /// Starts a daemon and waits until it listens. The receiver gets the time at which the daemon says that
    /// it is ready.
    pub async fn listening(mut program: Command) -> (Self, oneshot::Receiver<Instant>) {
        let mut child = program
            .args(["--insecure-loopback", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .args(["--context", &given("GANTRY_TEST_CONTEXT")])
            .env("KUBECONFIG", given("GANTRY_TEST_KUBECONFIG"))
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (send_address, address) = oneshot::channel();
        let (send_ready, ready) = oneshot::channel();
        // The log is read to the end, because a full pipe would stop the daemon.
        #[allow(clippy::disallowed_methods)] // ends with the daemon's standard error
        let log = tokio::spawn(async move {
            let (mut send_address, mut send_ready) = (Some(send_address), Some(send_ready));
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some((_, at)) = line.split_once("listening on ") {
                    send_address.take().map(|send| send.send(at.to_owned()));
                }
                if line.contains("ready apps=") {
                    send_ready.take().map(|send| send.send(Instant::now()));
                }
            }
        });
        let address = tokio::time::timeout(PATIENCE, address).await.expect("in time");
        let address = address.expect("the daemon says where it listens");
        (Self { address, child, _log: log }, ready)
    }

    pub async fn channel(&self) -> Channel {
        connect(&self.address).await
    }

    pub async fn apps(&self) -> AppServiceClient<Channel> {
        AppServiceClient::new(self.channel().await)
    }

    pub fn memory(&self) -> Memory {
        memory(&self.child)
    }

    /// The process, for callers that talk with it.
    pub fn process(&mut self) -> &mut Child {
        &mut self.child
    }
}

/// Memory of a running process.
pub fn memory(process: &Child) -> Memory {
    let id = process.id().expect("the process runs");
    let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap();
    let sizes: BTreeMap<_, u64> = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter_map(|(name, size)| Some((name, size.trim().strip_suffix(" kB")?.parse().ok()?)))
        .collect();
    Memory { resident: sizes["Rss"], proportional: sizes["Pss"], heap: None }
}

pub async fn connect(address: &str) -> Channel {
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}
