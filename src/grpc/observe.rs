//! What is measured of every call: that it began, how long it took, how it ended; and the trace that it belongs to. The outermost
//! layer, so that it sees the status that the caller gets. Must not know what any method does.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::LazyLock,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::Request,
    http::{HeaderMap, HeaderName},
    middleware::Next,
    response::Response,
};
use http_body::{Frame, SizeHint};
use opentelemetry::{context::FutureExt as _, global, propagation::Extractor};
use prometheus_client::metrics::gauge::Gauge;
use prost::Message as _;
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{
    metrics::METRICS,
    pb::{self, ErrorReason},
};

/// A method of any service that is served here.
struct Method {
    name: String,
    streams: bool,
}

/// Whatever else is asked for. Callers choose paths, and a label must not grow by what they choose.
static OTHER: LazyLock<Method> = LazyLock::new(|| Method { name: "other".to_owned(), streams: false });

/// By path.
static METHODS: LazyLock<HashMap<String, Method>> = LazyLock::new(|| {
    let sets = [
        pb::DESCRIPTOR,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let files = sets.iter().filter_map(|set| FileDescriptorSet::decode(*set).ok()).flat_map(|set| set.file);
    files.flat_map(|file| methods_of(&file)).map(|method| (format!("/{}", method.name), method)).collect()
});

fn methods_of(file: &FileDescriptorProto) -> Vec<Method> {
    let mut methods = Vec::new();
    for service in &file.service {
        methods.extend(service.method.iter().map(|method| Method {
            name: format!("{}.{}/{}", file.package(), service.name(), method.name()),
            streams: method.server_streaming(),
        }));
    }
    methods
}

/// Observes one call.
pub(super) async fn layer(request: Request, next: Next) -> Response {
    let call = Call::begin(METHODS.get(request.uri().path()).unwrap_or(&*OTHER));
    // Nothing to continue, and no cost, unless traces are exported.
    let trace = global::get_text_map_propagator(|known| known.extract(&Headers(request.headers())));
    let response = next.run(request).with_context(trace).await;
    if let Some(status) = Status::from_header_map(response.headers()) {
        call.end(&status);
        return response;
    }
    response.map(|body| Body::new(Observed { body, call: Some(call) }))
}

/// A call that runs. If it is dropped without an end, the caller has gone.
struct Call {
    method: &'static Method,
    began: Instant,
    open: Option<Gauge>,
    ended: bool,
}

// === impl Call ===

impl Call {
    fn begin(method: &'static Method) -> Self {
        METRICS.grpc_started(&method.name);
        let open = method.streams.then(|| METRICS.grpc_streams(&method.name));
        if let Some(open) = &open {
            open.inc();
        }
        Self { method, began: Instant::now(), open, ended: false }
    }

    fn end(mut self, status: &Status) {
        self.record(status.code());
        if status.code() != Code::Ok {
            METRICS.error(reason(status));
        }
    }

    fn record(&mut self, code: Code) {
        self.ended = true;
        METRICS.grpc_ended(&self.method.name, name_of(code), self.began.elapsed());
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.ended {
            self.record(Code::Cancelled);
        }
        if let Some(open) = &self.open {
            open.dec();
        }
    }
}

/// A body whose trailers are looked at on their way.
struct Observed {
    body: Body,
    call: Option<Call>,
}

impl HttpBody for Observed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(status) = frame.trailers_ref().and_then(Status::from_header_map)
            && let Some(call) = self.call.take()
        {
            call.end(&status);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The reason of an error, if it is one of the contract.
fn reason(status: &Status) -> &'static str {
    let details = status.get_error_details();
    let known = details.error_info().and_then(|info| ErrorReason::from_str_name(&info.reason));
    known.map_or("none", |reason| reason.as_str_name())
}

/// A code as gRPC's own documents write it.
const fn name_of(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
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
