//! The operator's port: probes, metrics and the log level over plain HTTP, so that they work whatever the API
//! port requires. Listens on loopback only, and rejects web pages.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::{duration::parse_duration, log_levels::Levels};
use crate::{
    cluster::watch,
    grpc::is_loopback_host,
    index::{Index, Kind},
    metrics::METRICS,
};

/// The format of [`METRICS`], which Prometheus and compatible tools can read.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The data of the answers.
#[derive(Clone)]
pub(super) struct Admin {
    pub(super) index: Index,
    pub(super) levels: Levels,
    pub(super) stop: CancellationToken,
}

/// Binds the port, which must be on a loopback address.
pub(super) async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    anyhow::ensure!(
        address.ip().is_loopback(),
        "--admin-listen accepts only loopback addresses, and {address} is not one; listen on 127.0.0.1"
    );
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address} for the probes and metrics; choose another with --admin-listen")
    })
}

/// Serves `/livez`, `/readyz`, `/metrics` and `/log` until the process ends.
pub(super) async fn serve_admin(listener: TcpListener, admin: Admin) {
    let stop = admin.stop.clone();
    let served = axum::serve(listener, router(admin)).with_graceful_shutdown(async move {
        // The probes are answered while calls drain, until the process ends.
        stop.cancelled().await;
        std::future::pending::<()>().await;
    });
    if let Err(error) = served.await {
        error!(%error, "the admin port's server ended");
    }
}

fn router(admin: Admin) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/log", get(level).put(set_level).post(set_level))
        .layer(middleware::from_fn(no_web_pages))
        .with_state(admin)
}

/// Rejects requests that a web page makes a browser send to this port, even through a host name that the page
/// controls. The browser reveals them by `Origin` and `Host`.
async fn no_web_pages(request: Request, next: Next) -> Response {
    match from_web_page(request.headers()) {
        Some(why) => (StatusCode::FORBIDDEN, why).into_response(),
        None => next.run(request).await,
    }
}

fn from_web_page(headers: &HeaderMap) -> Option<&'static str> {
    if headers.contains_key(header::ORIGIN) {
        return Some("this port is not for web pages: the request has an Origin\n");
    }
    let host = headers.get(header::HOST)?.to_str().unwrap_or_default();
    (!is_loopback_host(host))
        .then_some("this port answers as localhost or 127.0.0.1 only: the request has another Host\n")
}

async fn ready(State(admin): State<Admin>) -> (StatusCode, &'static str) {
    match (admin.stop.is_cancelled(), admin.index.is_filled()) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        (false, false) => (StatusCode::SERVICE_UNAVAILABLE, "the cluster has not been read completely yet\n"),
        (false, true) => (StatusCode::OK, "ok\n"),
    }
}

async fn metrics(State(Admin { index, .. }): State<Admin>) -> Response {
    for (kind, age) in index.kind_ages(Timestamp::now()) {
        METRICS.cache_age(kind.as_str(), age);
    }
    for kind in Kind::ALL {
        METRICS.index_rows(kind.as_str(), watch::count_objects(&index, kind));
    }
    METRICS.apps.set(i64::try_from(index.size().apps).unwrap_or(i64::MAX));
    match METRICS.to_text() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn level(State(admin): State<Admin>) -> String {
    admin.levels.get() + "\n"
}

async fn set_level(State(admin): State<Admin>, uri: Uri, filter: String) -> (StatusCode, String) {
    let set = lifetime(uri.query()).and_then(|time| admin.levels.set(&filter, time));
    match set {
        Ok(()) => (StatusCode::OK, admin.levels.get() + "\n"),
        Err(why) => (StatusCode::BAD_REQUEST, why + "\n"),
    }
}

/// Parses the time limit, for example `for=10m`.
fn lifetime(query: Option<&str>) -> Result<Option<Duration>, String> {
    match query.filter(|query| !query.is_empty()) {
        None => Ok(None),
        Some(query) => match query.strip_prefix("for=").map(parse_duration) {
            Some(Ok(time)) => Ok(Some(time)),
            Some(Err(why)) => Err(why),
            None => Err("the only parameter is `for`, as in /log?for=10m".to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn web_pages_are_refused() {
        for host in ["127.0.0.1:7421", "localhost", "LOCALHOST:1", "[::1]:7421", "127.9.9.9"] {
            assert_eq!(from_web_page(&headers(&[(header::HOST, host)])), None, "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example:7421", "10.0.0.1", "", "localhost.evil.example"]
        {
            assert!(from_web_page(&headers(&[(header::HOST, host)])).is_some(), "{host}");
        }
        let page = [(header::HOST, "127.0.0.1:7421"), (header::ORIGIN, "http://127.0.0.1:7421")];
        assert!(from_web_page(&headers(&page)).is_some());
        assert_eq!(from_web_page(&headers(&[])), None, "HTTP/1.0, which no browser speaks");
    }

    #[test]
    fn a_lifetime_is_a_duration() {
        assert_eq!(lifetime(None), Ok(None));
        assert_eq!(lifetime(Some("for=10m")), Ok(Some(Duration::from_secs(600))));
        for bad in ["for=", "for=soon", "for=-5s", "til=10m"] {
            assert!(lifetime(Some(bad)).is_err(), "{bad}");
        }
    }
}
