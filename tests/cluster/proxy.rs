//! Stands between a daemon and the API server: passes everything on, counts the writes, and can stop answering after one of
//! them, as a daemon that is killed there would see it, or answer one request in place of the API server. The API server behind
//! it is the real one.

use std::{
    convert::Infallible,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    body::Body,
    extract::{Request, State},
    http::Method,
    response::Response,
    routing::any,
};
use kube::Client;
use tokio::{net::TcpListener, sync::Notify};

use crate::support::Daemon;

/// A running proxy; it ends with the test.
#[derive(Clone)]
pub struct Proxy {
    shared: Arc<Shared>,
    /// Its address, for a kubeconfig.
    pub address: String,
}

/// What happens to one request.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// It is refused as an API server does that has too much to do.
    Busy,
    /// It is carried out, and its answer gets lost.
    Silent,
}

/// Chooses a request by its method and its path.
type Choice = Box<dyn Fn(&str) -> bool + Send>;

struct Shared {
    client: Client,
    fault: Mutex<Option<(Choice, Fault)>>,
    written: AtomicUsize,
    /// What was written, for messages.
    log: Mutex<Vec<String>>,
    /// Writes to the objects of this namespace and name count.
    scope: Mutex<(String, String)>,
    /// After this many writes nothing is answered any more.
    last: AtomicUsize,
    stopped: Notify,
}

impl Proxy {
    pub async fn start(client: Client) -> Self {
        let shared = Arc::new(Shared {
            client,
            fault: Mutex::default(),
            written: AtomicUsize::new(0),
            log: Mutex::default(),
            scope: Mutex::default(),
            last: AtomicUsize::new(usize::MAX),
            stopped: Notify::new(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().fallback(any(pass)).with_state(shared.clone());
        #[allow(clippy::disallowed_methods)] // ends with the test's runtime
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { shared, address }
    }

    /// A kubeconfig for a daemon behind it.
    fn kubeconfig(&self, dir: &std::path::Path) -> PathBuf {
        let path = dir.join("kubeconfig");
        let file = format!(
            "{{apiVersion: v1, kind: Config, current-context: x, clusters: [{{name: x, cluster: {{server: '{}'}}}}], \
             users: [{{name: x, user: {{}}}}], contexts: [{{name: x, context: {{cluster: x, user: x}}}}]}}",
            self.address
        );
        std::fs::write(&path, file).unwrap();
        path
    }

    /// A daemon that reaches the cluster through the proxy.
    pub async fn daemon(&self, dir: &std::path::Path) -> Daemon {
        let kubeconfig = self.kubeconfig(dir);
        Daemon::start_with(&["--kubeconfig", kubeconfig.to_str().unwrap()], "ready apps=").await
    }

    /// Begins to count anew what is written for an app, and stops after `writes`.
    pub fn stop_after(&self, namespace: &str, app: &str, writes: usize) {
        *self.shared.scope.lock().unwrap() = (namespace.to_owned(), app.to_owned());
        self.shared.written.store(0, Ordering::SeqCst);
        self.shared.log.lock().unwrap().clear();
        self.shared.last.store(writes, Ordering::SeqCst);
    }

    /// Spoils the next request that is chosen, and no other.
    pub fn spoil(&self, fault: Fault, choice: impl Fn(&str) -> bool + Send + 'static) {
        *self.shared.fault.lock().unwrap() = Some((Box::new(choice), fault));
    }

    /// Waits until it has stopped.
    pub async fn stopped(&self) {
        self.shared.stopped.notified().await;
    }

    /// What was written since it began to count.
    pub fn writes(&self) -> Vec<String> {
        self.shared.log.lock().unwrap().clone()
    }
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Result<Response, Infallible> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let reads = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
    let is_write = !reads && !path.contains("dryRun=All") && {
        let (namespace, name) = &*shared.scope.lock().unwrap();
        // What is new has no name in its path.
        path.contains(namespace) && (parts.method == Method::POST || path.contains(name))
    };
    if shared.written.load(Ordering::SeqCst) >= shared.last.load(Ordering::SeqCst) {
        shared.stopped.notify_one();
        std::future::pending::<()>().await;
    }
    let method = parts.method.clone();
    let fault = {
        let mut fault = shared.fault.lock().unwrap();
        let text = format!("{method} {path}");
        if fault.as_ref().is_some_and(|(chosen, _)| chosen(&text)) { fault.take() } else { None }
    };
    if let Some((_, Fault::Busy)) = fault {
        // As Kubernetes' fair queueing says it: no Status, but a header.
        let text = "Too many requests, please try again later.\n";
        return Ok(Response::builder().status(429).header("retry-after", "1").body(text.into()).unwrap());
    }
    parts.uri = path.parse().unwrap();
    parts.headers.remove("host");
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let request = axum::http::Request::from_parts(parts, kube::client::Body::from(body.to_vec()));
    let response = shared.client.send(request).await;
    let response = match response {
        Ok(response) => response.map(Body::new),
        Err(error) => Response::builder().status(502).body(Body::from(error.to_string())).unwrap(),
    };
    if let Some((_, Fault::Silent)) = fault {
        std::future::pending::<()>().await;
    }
    if is_write && response.status().is_success() {
        let count = shared.written.fetch_add(1, Ordering::SeqCst) + 1;
        shared.log.lock().unwrap().push(format!("{method} {path}"));
        if count >= shared.last.load(Ordering::SeqCst) {
            // The write is done and nobody hears of it.
            shared.stopped.notify_one();
            std::future::pending::<()>().await;
        }
    }
    Ok(response)
}
