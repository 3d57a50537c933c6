//! The daemon's services in this process: the real router and accept loop on a free port, rows instead of
//! watches, and commands that only record what they were asked for. Must not know Kubernetes.

use std::{
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use gantry::{
    autoscale::Policy,
    domain::{
        Error,
        commands::{
            CommandResult, Commands, Delete, Deploy, ObservedVersion, Position, Restart, Rollback, Scale,
            SetPaused, UpdateAutoscaler,
        },
        logs::Logs,
        name, observed,
        revision::{Cause, Record},
        scaling,
        spec::{Content, Spec},
    },
    grpc::{self, Connection, Context, Health, IdempotencyCache, Turns},
    index::{AutoscalerState, Index, Kind, Leader},
    pb::{
        app_service_client::AppServiceClient, autoscaler_service_client::AutoscalerServiceClient,
        discovery_service_client::DiscoveryServiceClient, rollout_service_client::RolloutServiceClient,
        server_service_client::ServerServiceClient, timeline_service_client::TimelineServiceClient,
    },
};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Status, transport::Channel};
use tonic_types::StatusExt;

use crate::printed::Printed;

/// The only web site whose pages may call.
pub const ORIGIN: &str = "https://console.example";

/// A running server.
pub struct Server {
    pub index: Index,
    pub scaling: AutoscalerState,
    pub act: Arc<Recorded>,
    pub logs: Arc<Printed>,
    pub health: Health,
    pub channel: Channel,
    pub address: String,
    pub drain: CancellationToken,
    pub accept: CancellationToken,
    pub ended: tokio::task::JoinHandle<()>,
}

/// Commands that only record requests and give a prepared answer.
#[derive(Default)]
pub struct Recorded {
    pub deploys: Mutex<Vec<Deploy>>,
    pub answer: Mutex<Option<Error>>,
    pub tunes: Mutex<Vec<UpdateAutoscaler>>,
    /// The namespaces that exist. If there are none, nothing is known of namespaces.
    pub namespaces: Mutex<Vec<String>>,
    /// How long a write takes.
    pub delay: Mutex<Duration>,
}

impl Commands for Recorded {
    fn deploy(&self, request: Deploy) -> BoxFuture<'_, Result<CommandResult, Error>> {
        let delay = *self.delay.lock().unwrap();
        async move {
            tokio::time::sleep(delay).await;
            assert_ne!(request.meta.reason, "panic", "as asked");
            self.deploys.lock().unwrap().push(request.clone());
            if let Some(error) = self.answer.lock().unwrap().clone() {
                return Err(error);
            }
            let seen = ObservedVersion::Version { deployment: 0, revision: 1, spelled: 0 };
            // A dry run writes nothing, so there is nothing to wait for.
            let writes = !request.meta.validate_only;
            let position = Position { app: request.name, seen };
            Ok(CommandResult {
                rollout: writes.then_some(1),
                content: Some(request.content),
                position: writes.then_some(position),
                ..CommandResult::default()
            })
        }
        .boxed()
    }

    fn restart(&self, request: Restart) -> BoxFuture<'_, Result<CommandResult, Error>> {
        async move { Err(Error::no_app(&request.name)) }.boxed()
    }

    fn rollback(&self, request: Rollback) -> BoxFuture<'_, Result<CommandResult, Error>> {
        async move { Err(Error::no_app(&request.name)) }.boxed()
    }

    fn scale(&self, request: Scale) -> BoxFuture<'_, Result<CommandResult, Error>> {
        async move { Err(Error::no_app(&request.name)) }.boxed()
    }

    fn set_paused(&self, request: SetPaused) -> BoxFuture<'_, Result<CommandResult, Error>> {
        async move { Err(Error::no_app(&request.name)) }.boxed()
    }

    fn update_autoscaler(&self, request: UpdateAutoscaler) -> BoxFuture<'_, Result<CommandResult, Error>> {
        self.tunes.lock().unwrap().push(request.clone());
        let policy = Policy::default().with_change(&request.change, &request.meta.caller.user);
        async move { Ok(CommandResult { policy: Some(Arc::new(policy)), ..CommandResult::default() }) }
            .boxed()
    }

    fn delete(&self, request: Delete) -> BoxFuture<'_, Result<CommandResult, Error>> {
        async move { Err(Error::no_app(&request.name)) }.boxed()
    }

    fn has_namespace(&self, namespace: String) -> BoxFuture<'_, Option<bool>> {
        async move {
            let all = self.namespaces.lock().unwrap();
            (!all.is_empty()).then(|| all.contains(&namespace))
        }
        .boxed()
    }
}

impl Server {
    /// A server whose index is filled, with no app.
    pub async fn start() -> Self {
        let server = Self::start_unfilled().await;
        server.fill();
        server
    }

    pub async fn start_unfilled() -> Self {
        let printed = Arc::new(Printed::default());
        Self::start_with(printed.clone(), printed).await
    }

    /// Reads logs from a source other than `printed`.
    pub async fn start_with(logs: Arc<dyn Logs>, printed: Arc<Printed>) -> Self {
        Self::start_as(1, logs, printed).await
    }

    /// A server that counts as another process if `epoch` differs.
    pub async fn start_as(epoch: u64, logs: Arc<dyn Logs>, printed: Arc<Printed>) -> Self {
        let index = Index::new(epoch);
        let scaling = AutoscalerState::new(now());
        scaling.set_leader(Leader::Local, now());
        let act = Arc::new(Recorded::default());
        let (drain, accept) = (CancellationToken::new(), CancellationToken::new());
        let connection = Connection {
            commands: act.clone(),
            logs,
            kubernetes_version: "v1.36.3".into(),
            user: "ann".into(),
        };
        let context = Context {
            index: index.clone(),
            scaling: scaling.clone(),
            connection: Arc::new(OnceLock::from(connection)),
            drain: drain.clone(),
            idempotency: IdempotencyCache::default(),
            turns: Turns::default(),
            writes: TaskTracker::new(),
            readers: TaskTracker::new(),
        };
        let health = Health::default();
        let router = grpc::router(&context, &health, &[ORIGIN.parse().unwrap()]).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        #[allow(clippy::disallowed_methods)] // the test joins it
        let ended = tokio::spawn(grpc::serve(listener, router, accept.clone(), Duration::from_secs(5)));
        let channel = Channel::from_shared(address.clone()).unwrap().connect().await.unwrap();
        Self { index, scaling, act, logs: printed, health, channel, address, drain, accept, ended }
    }

    /// Marks every kind as read and empty.
    pub fn fill(&self) {
        self.index.reset_rows::<observed::Deployment>(Kind::Deployments, vec![], now());
        self.index.reset_rows::<observed::ReplicaSet>(Kind::ReplicaSets, vec![], now());
        self.index.reset_rows::<observed::Pod>(Kind::Pods, vec![], now());
        self.index.reset_rows::<observed::Event>(Kind::Events, vec![], now());
        self.index.reset_rows::<observed::Revision>(Kind::Revisions, vec![], now());
        self.index.reset_rows::<observed::EndpointSlice>(Kind::EndpointSlices, vec![], now());
        self.index.reset_rows::<observed::Node>(Kind::Nodes, vec![], now());
        let hpas = Kind::HorizontalPodAutoscalers;
        self.index.reset_rows::<observed::HorizontalPodAutoscaler>(hpas, vec![], now());
        self.index.reset_rows::<observed::ScaledObject>(Kind::ScaledObjects, vec![], now());
    }

    pub fn apps(&self) -> AppServiceClient<Channel> {
        AppServiceClient::new(self.channel.clone())
    }

    pub fn autoscalers(&self) -> AutoscalerServiceClient<Channel> {
        AutoscalerServiceClient::new(self.channel.clone())
    }

    pub fn discovery(&self) -> DiscoveryServiceClient<Channel> {
        DiscoveryServiceClient::new(self.channel.clone())
    }

    pub fn rollouts(&self) -> RolloutServiceClient<Channel> {
        RolloutServiceClient::new(self.channel.clone())
    }

    pub fn server(&self) -> ServerServiceClient<Channel> {
        ServerServiceClient::new(self.channel.clone())
    }

    pub fn timelines(&self) -> TimelineServiceClient<Channel> {
        TimelineServiceClient::new(self.channel.clone())
    }

    pub fn apply(&self, deployment: observed::Deployment) {
        self.index.update_rows(vec![deployment], vec![], now());
    }

    pub fn delete(&self, name: &str) {
        self.index.update_rows::<observed::Deployment>(vec![], vec![name::App::new("shop", name)], now());
    }
}

pub fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

/// The same Deployment as Gantry would make it. It counts as managed once a revision confirms it.
pub fn mk_managed(name: &str, desired: i32, ready: i32) -> observed::Deployment {
    let labels = [("app", name), ("app.kubernetes.io/managed-by", "gantry"), ("gantry.dev/app", name)];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    observed::Deployment { labels, ..mk_deployment(name, desired, ready) }
}

/// A Deployment `shop/{name}` that is not managed by Gantry, with this many desired and ready replicas.
pub fn mk_deployment(name: &str, desired: i32, ready: i32) -> observed::Deployment {
    observed::Deployment {
        name: name::App::new("shop", name),
        uid: format!("uid-{name}"),
        resource_version: 1,
        labels: [("app".to_owned(), name.to_owned())].into(),
        revision: None,
        template_revision: 1,
        template: 0,
        generation: 1,
        observed_generation: 1,
        desired,
        current: desired,
        updated: desired,
        ready,
        available: ready,
        stalled: None,
        completed: None,
        progressed: None,
        create_failure: None,
        deadline: None,
        template_by: None,
        count_by: None,
        scaling: scaling::Scaling::default(),
        paused: false,
        created: now(),
        deleting: false,
        orphans: false,
        spec: Spec { image: format!("{name}:1"), ..Spec::default() },
        unmodelled: Vec::new(),
    }
}

pub fn mk_revision(name: &str, number: u64) -> observed::Revision {
    let content =
        Content { spec: Spec { image: format!("{name}:{number}"), ..Spec::default() }, ..Content::default() };
    let record = Record::new(Cause::Deploy, content, "ann".into(), String::new(), now());
    observed::Revision::new(name::App::new("shop", name), number, record)
}

pub fn mk_replica_set(name: &str) -> observed::ReplicaSet {
    observed::ReplicaSet {
        namespace: "shop".into(),
        name: format!("{name}-1").into(),
        deployment: name.into(),
        template_revision: 1,
        template: 0,
        revision: Some(1),
        created: now(),
        create_failure: None,
        ports: vec![],
    }
}

pub fn mk_pod(name: &str, id: &str, ready: bool) -> observed::Pod {
    observed::Pod {
        namespace: "shop".into(),
        name: format!("{name}-1-{id}").into(),
        replica_set: format!("{name}-1").into(),
        node: None,
        address: None,
        created: now(),
        deleting: false,
        ready,
        ready_changed: None,
        was_ready: false,
        once_ready: false,
        running: true,
        restarts: 0,
        own_restarts: 0,
        stop: None,
        waits: None,
        ended: None,
        trouble: None,
    }
}

/// Waits until something holds.
pub async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), waiting).await.expect("it holds in time");
}

/// The reason of an error. Every error must have one.
pub fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, "gantry.dev");
    info.reason.clone()
}
