//! The cluster that the tests were given, a namespace for each test, the daemon as a process, and the calls
//! that most tests make.

#[path = "support/daemon.rs"] // tests/node has this file too, from another folder
mod daemon;

use std::{
    env,
    future::Future,
    panic::AssertUnwindSafe,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use futures::FutureExt;
use gantry::pb::{self, watch_rollout_response::Event};
use k8s_openapi::api::{
    apps::v1::ControllerRevision,
    authentication::v1::TokenRequest,
    core::v1::{Namespace, ResourceQuota, Service, ServiceAccount},
    rbac::v1::{ClusterRole, ClusterRoleBinding},
};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, ObjectMeta, PostParams, ResourceExt},
    config::{KubeConfigOptions, Kubeconfig},
};
use tonic::Status;
use tonic_types::StatusExt;

pub use self::daemon::{Daemon, program};

/// Longest wait for anything that the cluster does.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a test gets.
pub struct Env {
    pub client: Client,
    pub namespace: String,
    pub daemon: Daemon,
}

fn given(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run these tests with `make test-cluster`"))
}

/// Whether the sim/* annotations steer the pods.
pub fn simulated() -> bool {
    given("GANTRY_TEST_SIMULATED") == "1"
}

/// Runs a test in a new namespace with its own daemon, which the test may stop, and removes both even if the
/// test fails.
pub async fn run<F: Future<Output = ()>>(test: impl FnOnce(Env) -> F) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = client().await;
    let namespace = format!("gantry-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let namespaces = Api::<Namespace>::all(client.clone());
    let metadata = ObjectMeta { name: Some(namespace.clone()), ..ObjectMeta::default() };
    let object = Namespace { metadata, ..Namespace::default() };
    namespaces.create(&PostParams::default(), &object).await.unwrap();
    let env = Env { client, namespace: namespace.clone(), daemon: Daemon::start().await };
    let outcome = AssertUnwindSafe(test(env)).catch_unwind().await;
    namespaces.delete(&namespace, &DeleteParams::default()).await.unwrap();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// The kubeconfig of the cluster, with its context as the current one.
pub fn kubeconfig() -> Kubeconfig {
    let files = given("GANTRY_TEST_KUBECONFIG");
    let merged = env::split_paths(&files)
        .map(|path| Kubeconfig::read_from(path).unwrap())
        .reduce(|all, next| all.merge(next).unwrap())
        .unwrap();
    Kubeconfig { current_context: Some(given("GANTRY_TEST_CONTEXT")), ..merged }
}

async fn client() -> Client {
    let options =
        KubeConfigOptions { context: Some(given("GANTRY_TEST_CONTEXT")), ..KubeConfigOptions::default() };
    Client::try_from(kube::Config::from_custom_kubeconfig(kubeconfig(), &options).await.unwrap()).unwrap()
}

/// A kubeconfig for the same cluster with another user's token. It is JSON, which is valid YAML.
pub fn kubeconfig_with_token(token: &str) -> String {
    let mut file = kubeconfig();
    let context = given("GANTRY_TEST_CONTEXT");
    let named = file.contexts.iter().find(|c| c.name == context).and_then(|c| c.context.as_ref()).unwrap();
    let user = named.user.clone().unwrap();
    for known in file.auth_infos.iter_mut().filter(|known| known.name == user) {
        known.auth_info = Some(serde_json::from_value(serde_json::json!({ "token": token })).unwrap());
    }
    file.current_context = Some(context);
    serde_json::to_string(&file).unwrap()
}

impl Env {
    pub fn name(&self, app: &str) -> String {
        format!("namespaces/{}/apps/{app}", self.namespace)
    }

    /// A deploy of these fields.
    pub fn deploy_request(&self, app: &str, spec: pb::AppSpec) -> pb::DeployAppRequest {
        let app = pb::App { name: self.name(app), spec: Some(spec), ..pb::App::default() };
        pb::DeployAppRequest { app: Some(app), ..pb::DeployAppRequest::default() }
    }

    /// Refuses every pod in the namespace from here on, for tests of the other objects.
    pub async fn refuse_pods(&self) {
        let quota = serde_json::json!({"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}});
        let quotas = Api::<ResourceQuota>::namespaced(self.client.clone(), &self.namespace);
        quotas.create(&PostParams::default(), &serde_json::from_value(quota).unwrap()).await.unwrap();
    }

    /// Sets a quota for the namespace, and waits until it is in force.
    pub async fn limit(&self, hard: serde_json::Value) {
        let quota = serde_json::json!({"metadata": {"name": "limits"}, "spec": {"hard": hard}});
        let quotas = Api::<ResourceQuota>::namespaced(self.client.clone(), &self.namespace);
        quotas.create(&PostParams::default(), &serde_json::from_value(quota).unwrap()).await.unwrap();
        until("the quota is in force", async || {
            quotas.get("limits").await.unwrap().status.is_some_and(|s| s.hard.is_some())
        })
        .await;
    }

    /// Waits until the API server refuses to create a Service here. The dry run does not show it.
    pub async fn services_are_refused(&self, why: &str) {
        let probe = Api::<Service>::namespaced(self.client.clone(), &self.namespace);
        until(why, async || {
            let service =
                serde_json::json!({"metadata": {"name": "probe"}, "spec": {"ports": [{"port": 1}]}});
            let made = probe.create(&PostParams::default(), &serde_json::from_value(service).unwrap()).await;
            if made.is_ok() {
                probe.delete("probe", &DeleteParams::default()).await.unwrap();
            }
            made.is_err()
        })
        .await;
    }

    /// A daemon under a separate account with only these rights. The directory holds its kubeconfig.
    pub async fn daemon_with(&self, rules: serde_json::Value) -> (Daemon, tempfile::TempDir) {
        let name = &self.namespace;
        // The role and its binding are owned by the namespace, so they are deleted with it even if the test
        // fails.
        let owner = Api::<Namespace>::all(self.client.clone()).get(name).await.unwrap().uid().unwrap();
        let owners =
            serde_json::json!([{"apiVersion": "v1", "kind": "Namespace", "name": name, "uid": owner}]);
        let role: ClusterRole = serde_json::from_value(
            serde_json::json!({"metadata": {"name": name, "ownerReferences": owners}, "rules": rules}),
        )
        .unwrap();
        let binding: ClusterRoleBinding = serde_json::from_value(serde_json::json!({
            "metadata": {"name": name, "ownerReferences": owners},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": name}]}))
        .unwrap();
        let account: ServiceAccount =
            serde_json::from_value(serde_json::json!({"metadata": {"name": name}})).unwrap();
        let (create, client) = (PostParams::default(), || self.client.clone());
        let accounts = Api::<ServiceAccount>::namespaced(client(), name);
        accounts.create(&create, &account).await.unwrap();
        Api::<ClusterRole>::all(client()).create(&create, &role).await.unwrap();
        Api::<ClusterRoleBinding>::all(client()).create(&create, &binding).await.unwrap();
        let token = accounts.create_token_request(name, &create, &TokenRequest::default()).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let kubeconfig = dir.path().join("kubeconfig");
        std::fs::write(&kubeconfig, kubeconfig_with_token(&token.status.unwrap().token)).unwrap();
        let args = ["--kubeconfig", kubeconfig.to_str().unwrap()];
        (Daemon::start_with(&args, "ready apps=").await, dir)
    }

    /// A daemon that runs the autoscaling loop, beside those of other tests.
    pub async fn scaler(&self) -> Daemon {
        self.daemon_like(&["--autoscaler", "on", "--lease-namespace", &self.namespace]).await
    }

    /// A daemon with these arguments too.
    pub async fn daemon_like(&self, args: &[&str]) -> Daemon {
        let context = given("GANTRY_TEST_CONTEXT");
        Daemon::start_with(&[&["--context", context.as_str()], args].concat(), "ready apps=").await
    }

    /// Every object in the namespace that Gantry writes, with its resourceVersion, once none of them changes
    /// any more.
    pub async fn settled(&self) -> Vec<String> {
        let mut last = self.objects().await;
        until("nothing moves any more", async || {
            tokio::time::sleep(Duration::from_millis(700)).await;
            let now = self.objects().await;
            let same = std::mem::replace(&mut last, now.clone()) == now;
            same && !self.has_ports_to_remove(None, false).await
        })
        .await;
        last
    }

    /// Whether the Service of this app, or of any app, still has ports that only earlier replicas needed,
    /// although the newest rollout succeeded. `soon` counts a newest rollout without a verdict, too.
    pub async fn has_ports_to_remove(&self, app: Option<&str>, soon: bool) -> bool {
        let revisions = Api::<ControllerRevision>::namespaced(self.client.clone(), &self.namespace);
        let label = app.map_or_else(
            || "gantry.dev/revisions-of".to_owned(),
            |app| format!("gantry.dev/revisions-of={app}"),
        );
        let all = revisions.list(&ListParams::default().labels(&label)).await.unwrap().items;
        let app = |revision: &ControllerRevision| revision.labels()["gantry.dev/revisions-of"].clone();
        let is_open = |revision: &ControllerRevision| {
            let data = revision.data.as_ref().map(|data| data.0.to_string()).unwrap_or_default();
            data.contains("earlierPorts")
                && !revision.annotations().contains_key("gantry.dev/earlier-ports-removed")
        };
        let succeeded = |open: &ControllerRevision| {
            let newest = all.iter().filter(|r| app(r) == app(open)).max_by_key(|r| r.revision).unwrap();
            newest.annotations().get("gantry.dev/end").map_or(soon, |end| end.contains("succeeded"))
        };
        all.iter().filter(|revision| is_open(revision)).any(succeeded)
    }

    /// Every object in the namespace that Gantry writes, with its resourceVersion.
    pub async fn objects(&self) -> Vec<String> {
        let mut all = Vec::new();
        for (group, version, kind) in [
            ("apps", "v1", "Deployment"),
            ("", "v1", "Service"),
            ("policy", "v1", "PodDisruptionBudget"),
            ("apps", "v1", "ControllerRevision"),
        ] {
            let gvk = kube::api::GroupVersionKind::gvk(group, version, kind);
            let resource = kube::api::ApiResource::from_gvk(&gvk);
            let api: Api<kube::api::DynamicObject> =
                Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
            for object in api.list(&ListParams::default()).await.unwrap() {
                let version = object.resource_version().unwrap();
                all.push(format!("{kind}/{} {version}", object.name_any()));
            }
        }
        all
    }

    /// Deploys these fields.
    pub async fn deploy(&self, app: &str, spec: pb::AppSpec) -> Result<pb::DeployAppResponse, Status> {
        self.daemon.deploy_app(self.deploy_request(app, spec)).await
    }

    /// Sets the replica count.
    pub async fn scale(&self, app: &str, replicas: i32) -> Result<pb::ScaleAppResponse, Status> {
        let request = pb::ScaleAppRequest {
            name: self.name(app),
            replicas: Some(replicas),
            ..pb::ScaleAppRequest::default()
        };
        self.daemon.scale_app(request).await
    }

    /// Deploys, and follows the rollout to its end.
    pub async fn deploy_and_follow(&self, request: pb::DeployAppRequest) -> pb::Rollout {
        let response = self.daemon.deploy_app(request).await.unwrap();
        let rollout = response.rollout.expect("something changed");
        follow(&self.daemon, &rollout.name).await
    }

    pub async fn get(&self, app: &str) -> Result<pb::App, Status> {
        let request = pb::GetAppRequest { name: self.name(app), ..pb::GetAppRequest::default() };
        Ok(self.daemon.get_app(request).await?.app.unwrap())
    }
}

/// Follows a rollout to its end.
pub async fn follow(daemon: &Daemon, rollout: &str) -> pb::Rollout {
    let request = pb::WatchRolloutRequest { name: rollout.into(), ..pb::WatchRolloutRequest::default() };
    let mut stream = daemon.watch_rollout(request).await.unwrap();
    let end = async {
        loop {
            let message = stream.message().await.unwrap().expect("the outcome comes before the end");
            if let Some(Event::Completed(rollout)) = message.event {
                return rollout;
            }
        }
    };
    tokio::time::timeout(PATIENCE, end).await.expect("the rollout ends")
}

/// Waits until something holds.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// An app of the demo's size. On a real cluster the image must exist, and listen on its port.
pub fn web() -> pb::AppSpec {
    let (image, number) = if simulated() { ("web:1", 8080) } else { ("nginx:1.29-alpine", 80) };
    let quantities = |cpu: &str, memory: &str| {
        [("cpu".to_owned(), cpu.to_owned()), ("memory".to_owned(), memory.to_owned())].into()
    };
    pb::AppSpec {
        image: image.into(),
        replicas: Some(2),
        ports: vec![pb::Port { name: "http".into(), number, protocol: pb::Protocol::Http.into() }],
        resources: Some(pb::Resources {
            requests: quantities("10m", "16Mi"),
            limits: quantities("500m", "128Mi"),
        }),
        ..pb::AppSpec::default()
    }
}

/// A patch that puts an annotation on the pods.
pub fn annotate(key: &str, value: &str) -> prost_types::Struct {
    annotate_all(&[(key, value)])
}

pub fn annotate_all(annotations: &[(&str, &str)]) -> prost_types::Struct {
    use prost_types::{Struct, Value, value::Kind};
    let text = |value: &str| Value { kind: Some(Kind::StringValue(value.into())) };
    let fields = |fields| Value { kind: Some(Kind::StructValue(Struct { fields })) };
    let annotations = annotations.iter().map(|(key, value)| ((*key).to_owned(), text(value))).collect();
    let metadata = fields([("annotations".to_owned(), fields(annotations))].into());
    Struct { fields: [("metadata".to_owned(), metadata)].into() }
}

pub fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    details.error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}")).reason.clone()
}

/// A number that the environment may set, for example a seed. It is printed, so that a run can be repeated.
pub fn setting(name: &str, default: u64) -> u64 {
    let number = env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    eprintln!("{name}={number}");
    number
}

/// A random number generator with the same sequence on every machine (`SplitMix64`).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    pub fn small(&mut self, n: u64) -> i32 {
        i32::try_from(self.below(n)).unwrap()
    }

    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    pub fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }
}
