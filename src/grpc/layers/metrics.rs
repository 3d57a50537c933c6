//! Measures every call: that it began, how long it took, and how it ended. It is outside all layers that make
//! a status, so that it sees the status that the caller gets. Must not know what any method does.

use std::{collections::HashMap, sync::LazyLock};

use axum::{extract::Request, middleware::Next, response::Response};
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::answer::on_end;
use crate::{
    grpc::{
        schema::{self, Method},
        status,
    },
    metrics::METRICS,
    pb::ErrorReason,
};

/// The label of a method in the metrics, for methods of all services that are served here.
struct MethodLabel {
    name: String,
    streams: bool,
}

/// The label of every other path. Callers choose paths, and must not be able to create labels.
static OTHER: LazyLock<MethodLabel> =
    LazyLock::new(|| MethodLabel { name: "other".to_owned(), streams: false });

/// Labels by path.
static METHODS: LazyLock<HashMap<String, MethodLabel>> = LazyLock::new(|| {
    let schema = schema::schema().ok();
    let methods = schema.iter().flat_map(|schema| schema.methods());
    let label = |(name, method): (&str, &Method)| {
        (format!("/{name}"), MethodLabel { name: name.to_owned(), streams: method.streams })
    };
    methods.map(label).collect()
});

/// Measures one call.
pub(in crate::grpc) async fn measure_call(request: Request, next: Next) -> Response {
    let timer = CallTimer::start(METHODS.get(request.uri().path()).unwrap_or(&*OTHER));
    let answer = next.run(request).await;
    on_end(answer, move |status, _| timer.stop(&status))
}

/// Measures a call until it ends. If it is dropped before that, the caller has left and the call counts as
/// cancelled.
struct CallTimer {
    method: &'static MethodLabel,
    began: Instant,
    open: Option<Gauge>,
    ended: bool,
}

// === impl CallTimer ===

impl CallTimer {
    fn start(method: &'static MethodLabel) -> Self {
        METRICS.grpc_started(&method.name);
        let open = method.streams.then(|| METRICS.grpc_streams(&method.name));
        if let Some(open) = &open {
            open.inc();
        }
        Self { method, began: Instant::now(), open, ended: false }
    }

    fn stop(mut self, status: &Status) {
        self.record(status.code());
        if status.code() != Code::Ok {
            METRICS.error(reason(status));
        }
    }

    fn record(&mut self, code: Code) {
        self.ended = true;
        METRICS.grpc_ended(&self.method.name, status::code_name(code), self.began.elapsed());
    }
}

impl Drop for CallTimer {
    fn drop(&mut self) {
        if !self.ended {
            self.record(Code::Cancelled);
        }
        if let Some(open) = &self.open {
            open.dec();
        }
    }
}

/// Returns the reason of an error, or `none` if it is not a reason of the contract.
fn reason(status: &Status) -> &'static str {
    let details = status.get_error_details();
    let known = details.error_info().and_then(|info| ErrorReason::from_str_name(&info.reason));
    known.map_or("none", |reason| reason.as_str_name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_that_is_served_is_known() {
        let streams = |path: &str| METHODS.get(path).map(|method| method.streams);
        assert_eq!(streams("/gantry.v1.AppService/GetApp"), Some(false));
        assert_eq!(streams("/gantry.v1.AppService/WatchApps"), Some(true));
        assert_eq!(streams("/grpc.health.v1.Health/Watch"), Some(true));
        assert_eq!(streams("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"), Some(true));
        assert_eq!(streams("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"), Some(true));
        assert_eq!(streams("/gantry.v1.AppService/Invented"), None);
    }
}
