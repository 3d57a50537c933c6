//! Stands between a daemon and the real API server. It forwards everything and counts the writes. After a
//! given write it can stop answering, as a daemon that is killed at that moment would see it, or break off
//! every answer, as a killed API server would. It can also answer one request in place of the API server.

use std::{
    convert::Infallible,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    body::Body,
    extract::{Request, State},
    http::Method,
    response::Response,
    routing::any,
};
use kube::Client;
use serde_json::json;
use tokio::{net::TcpListener, sync::Notify};

use crate::support::Daemon;

/// A running proxy; it ends with the test.
#[derive(Clone)]
pub struct Proxy {
    shared: Arc<Shared>,
    /// The address for a kubeconfig.
    pub address: String,
}

/// What happens to a chosen request.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// It is refused, as by an overloaded API server.
    Busy,
    /// It is carried out, but its answer is lost.
    Silent,
    /// It is forwarded only after this time.
    Late(Duration),
    /// It is refused as if the object had changed since it was read. Unlike the other faults, this one is
    /// repeated for every chosen request.
    Conflict,
}

/// Chooses a request by its method and its path.
type Choice = Box<dyn Fn(&str) -> bool + Send>;

struct Shared {
    client: Client,
    fault: Mutex<Option<(Choice, Fault)>>,
    written: AtomicUsize,
    /// The writes, for messages.
    log: Mutex<Vec<String>>,
    /// Only writes to the objects of this namespace and name count.
    scope: Mutex<(String, String)>,
    /// After this many writes no request is answered.
    last: AtomicUsize,
    /// Whether answers then break off instead of never coming.
    breaks: AtomicBool,
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
            breaks: AtomicBool::new(false),
            stopped: Notify::new(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().fallback(any(pass)).with_state(shared.clone());
        #[allow(clippy::disallowed_methods)] // ends with the test's runtime
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { shared, address }
    }

    /// Writes a kubeconfig that leads to the proxy.
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
        self.daemon_like(dir, &[]).await
    }

    /// A daemon that reaches the cluster through the proxy, with these arguments too.
    pub async fn daemon_like(&self, dir: &std::path::Path, args: &[&str]) -> Daemon {
        let kubeconfig = self.kubeconfig(dir);
        let args = [&["--kubeconfig", kubeconfig.to_str().unwrap()], args].concat();
        Daemon::start_with(&args, "ready apps=").await
    }

    /// Counts the writes of an app from zero, and stops answering after `writes`.
    pub fn stop_after(&self, namespace: &str, app: &str, writes: usize) {
        *self.shared.scope.lock().unwrap() = (namespace.to_owned(), app.to_owned());
        self.shared.written.store(0, Ordering::SeqCst);
        self.shared.log.lock().unwrap().clear();
        self.shared.breaks.store(false, Ordering::SeqCst);
        self.shared.last.store(writes, Ordering::SeqCst);
    }

    /// Counts the writes of an app from zero, and after `writes` behaves as a killed API server until
    /// [`Self::back`].
    pub fn gone_after(&self, namespace: &str, app: &str, writes: usize) {
        self.stop_after(namespace, app, writes);
        self.shared.breaks.store(true, Ordering::SeqCst);
    }

    /// Answers again.
    pub fn back(&self) {
        self.shared.last.store(usize::MAX, Ordering::SeqCst);
    }

    /// Applies the fault to the next chosen request only; [`Fault::Conflict`] applies to every chosen
    /// request.
    pub fn spoil(&self, fault: Fault, choice: impl Fn(&str) -> bool + Send + 'static) {
        *self.shared.fault.lock().unwrap() = Some((Box::new(choice), fault));
    }

    /// Waits until the proxy has stopped answering.
    pub async fn stopped(&self) {
        self.shared.stopped.notified().await;
    }

    /// The writes since counting began.
    pub fn writes(&self) -> Vec<String> {
        self.shared.log.lock().unwrap().clone()
    }
}

impl Shared {
    /// The answer to a request after the last write.
    async fn stop(&self) -> Response {
        self.stopped.notify_one();
        if !self.breaks.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        // A body that fails closes the connection.
        let gone = futures::stream::once(async { Err::<Vec<u8>, _>(std::io::Error::other("gone")) });
        Response::new(Body::from_stream(gone))
    }
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Result<Response, Infallible> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let reads = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
    let is_write = !reads && !path.contains("dryRun=All") && {
        let (namespace, name) = &*shared.scope.lock().unwrap();
        // The path of a creation does not contain the object's name.
        path.contains(namespace) && (parts.method == Method::POST || path.contains(name))
    };
    if shared.written.load(Ordering::SeqCst) >= shared.last.load(Ordering::SeqCst) {
        return Ok(shared.stop().await);
    }
    let method = parts.method.clone();
    let fault = {
        let mut fault = shared.fault.lock().unwrap();
        let text = format!("{method} {path}");
        match &*fault {
            Some((chosen, Fault::Conflict)) if chosen(&text) => {
                let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Conflict", "code": 409,
                    "message": "the object has been modified; please apply your changes to the latest version and try again"});
                let answer = Response::builder().status(409).header("content-type", "application/json");
                return Ok(answer.body(status.to_string().into()).unwrap());
            }
            Some((chosen, _)) if chosen(&text) => fault.take(),
            _ => None,
        }
    };
    if let Some((_, Fault::Busy)) = fault {
        // The fair queueing of Kubernetes answers with a header and without a Status.
        let text = "Too many requests, please try again later.\n";
        return Ok(Response::builder().status(429).header("retry-after", "1").body(text.into()).unwrap());
    }
    if let Some((_, Fault::Late(time))) = fault {
        tokio::time::sleep(time).await;
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
            // The write is done, but its answer does not arrive.
            return Ok(shared.stop().await);
        }
    }
    Ok(response)
}
