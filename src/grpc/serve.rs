//! The accept loop: connections, their limits and their end. It uses hyper directly, because tonic's server
//! answers an exceeded deadline with CANCELLED and cannot limit connections.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use super::layers::origin::Origin;

/// Connections at a time. A further one waits until one ends.
const CONNECTIONS: usize = 1024;
/// Calls at a time on one connection. The Watch methods of the contract name this number. A client library
/// holds all its streams on one connection, and a call above the limit would wait in the client without a
/// word. An open stream takes some 20 KiB.
const STREAMS: u32 = 1000;
/// Largest size of all headers of a call that is read at all, in bytes. Headers above the limit of a call
/// (`layers::limits`) but below this one are refused with a reason.
const HEADERS: usize = 64 * 1024;
/// The interval at which an idle connection is pinged. Load balancers in clouds close connections after 60 s
/// of silence.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// The time that the answer to a ping may take.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time within which a connection must send its first bytes.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time within which an HTTP/1.1 connection must send the head of its next request, because it cannot be
/// pinged.
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);
/// The bytes with which every HTTP/2 connection begins (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Pause after the system refused to accept a connection, mostly because file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The flags that say where to listen and whom to serve.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    /// Address of the API
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7420", env = "GANTRYD_LISTEN")]
    pub listen: SocketAddr,
    /// Serve without authentication, on a loopback address only: every caller acts as the user of the
    /// kubeconfig
    #[arg(long)]
    pub insecure_loopback: bool,
    /// Web site whose pages may call, for example `http://localhost:3000`; may be given several times
    #[arg(long, value_name = "ORIGIN")]
    pub allow_origin: Vec<Origin>,
}

/// The HTTP version of a connection.
#[derive(Clone, Copy)]
enum Http {
    One,
    Two,
}

/// Why the daemon cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Callers are not authenticated yet.
    #[error(
        "this version does not authenticate callers; start it with --insecure-loopback, which lets every local process act \
         as the user of the kubeconfig"
    )]
    Insecure,
    /// Other machines could reach the address.
    #[error("--insecure-loopback serves only loopback addresses, and {0} is not one; listen on 127.0.0.1")]
    NotLoopback(SocketAddr),
    /// The system refused the address.
    #[error("cannot listen on {0} (choose another address with --listen)")]
    Bind(SocketAddr, #[source] io::Error),
}

// === impl Args ===

impl Args {
    /// Checks that only processes on this machine can call, and binds the address.
    pub async fn bind(&self) -> Result<TcpListener, BindError> {
        if !self.insecure_loopback {
            return Err(BindError::Insecure);
        }
        if !self.listen.ip().is_loopback() {
            return Err(BindError::NotLoopback(self.listen));
        }
        TcpListener::bind(self.listen).await.map_err(|e| BindError::Bind(self.listen, e))
    }
}

/// Detects the HTTP version by peeking at the first bytes. Returns `None` if none come.
async fn detect_http(stream: &TcpStream) -> Option<Http> {
    let mut begin = [0; PREFACE.len()];
    loop {
        match stream.peek(&mut begin).await {
            Ok(0) | Err(_) => return None,
            Ok(n) if n == PREFACE.len() && begin == PREFACE => return Some(Http::Two),
            // A part of the preface, whose rest is on its way. Sleep, because peeking would return the same
            // part at once.
            Ok(n) if n < PREFACE.len() && begin[..n] == PREFACE[..n] => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Ok(_) => return Some(Http::One),
        }
    }
}

fn http_1() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEADERS);
    builder
}

fn http_2() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new()).http2_only();
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        // Calls that are cancelled before they are read. A client may cancel all of its calls at once, and
        // the default of 20 would end the connection with all other calls on it.
        .max_pending_accept_reset_streams(Some(STREAMS as usize))
        .max_header_list_size(u32::try_from(HEADERS).unwrap_or(u32::MAX))
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    builder
}

/// Serves until `stop`, then waits up to `grace` for running calls to end.
pub async fn serve(listener: TcpListener, router: axum::Router, stop: CancellationToken, grace: Duration) {
    let (http_1, http_2) = (http_1(), http_2());
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let tasks = TaskTracker::new();
    loop {
        let accepted = async {
            let slot = slots.clone().acquire_owned().await.ok();
            (slot, listener.accept().await)
        };
        let (slot, stream) = tokio::select! {
            () = stop.cancelled() => break,
            (slot, accepted) = accepted => match accepted {
                Ok((stream, _)) => (slot, stream),
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        // Messages are small in both directions, and waiting to fill a packet would cost 40 ms.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        let (http_1, http_2) = (http_1.clone(), http_2.clone());
        let (watcher, stopped) = (graceful.watcher(), stop.clone());
        tasks.spawn(async move {
            // Without this timeout, a thousand silent connections would leave no room for callers.
            let http = tokio::select! {
                http = tokio::time::timeout(PREFACE_TIMEOUT, detect_http(&stream)) => http.unwrap_or_default(),
                () = stopped.cancelled() => None,
            };
            let builder = match http {
                Some(Http::One) => http_1,
                Some(Http::Two) => http_2,
                None => return debug!("connection closed, because it sent nothing"),
            };
            let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
            if let Err(error) = watcher.watch(connection).await {
                debug!(%error, "connection ended");
            }
            drop(slot);
        });
    }
    drop(listener);
    if tokio::time::timeout(grace, graceful.shutdown()).await.is_err() {
        warn!("calls were still running at the end of the grace period");
    }
}
