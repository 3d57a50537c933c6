//! The probes, on a port of their own and in plain HTTP, so that they answer whatever the API's port demands.

use axum::{Router, http::StatusCode, routing::get};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::index::Index;

/// Serves `/livez` and `/readyz` until `stop`.
pub(super) async fn serve(listener: TcpListener, index: Index, stop: CancellationToken) {
    let draining = stop.clone();
    let ready = move || {
        let (status, text) = match (draining.is_cancelled(), index.is_filled()) {
            (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            (false, false) => (StatusCode::SERVICE_UNAVAILABLE, "the cluster has not been read whole yet\n"),
            (false, true) => (StatusCode::OK, "ok\n"),
        };
        std::future::ready((status, text))
    };
    let router = Router::new().route("/livez", get(|| async { "ok\n" })).route("/readyz", get(ready));
    let served = axum::serve(listener, router).with_graceful_shutdown(async move {
        // The probes go on answering while calls drain; the process ends them by ending.
        stop.cancelled().await;
        std::future::pending::<()>().await;
    });
    if let Err(error) = served.await {
        error!(%error, "the probes' server ended");
    }
}
