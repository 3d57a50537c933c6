//! The call in logs and traces: its id, its span within the caller's trace, and a line about how it ended.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::Request,
    http::{HeaderMap, HeaderName},
    middleware::Next,
    response::Response,
};
use http_body::Frame;
use opentelemetry::{global, propagation::Extractor};
use tokio::time::Instant;
use tonic::{Code, Status};
use tracing::{Instrument, Span, debug, field, info, info_span};

use super::{
    answer::{map_body, on_end, status_in_head},
    method_name,
};
use crate::grpc::call;

/// Answers a call under a new id and in a span of its own, body included.
pub(in crate::grpc) async fn enter_span(request: Request, next: Next) -> Response {
    let id = call::next_id();
    let span = {
        // Nothing to continue, and no cost, unless traces are exported.
        let trace = global::get_text_map_propagator(|known| known.extract(&Headers(request.headers())));
        let _parent = trace.attach();
        info_span!("call", method = %method_name(&request), id, app = field::Empty)
    };
    let answer = call::scope_call(id.clone(), log_answer(request, next).instrument(span.clone())).await;
    map_body(answer, |body| Body::new(InSpan { body, id, span }))
}

async fn log_answer(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let answer = next.run(request).await;
    let millis = started.elapsed().as_millis();
    if let Some(failed) = status_in_head(&answer).filter(|status| status.code() != Code::Ok) {
        info!(millis, code = ?failed.code(), message = ?failed.message(), "refused");
        return answer;
    }
    debug!(millis, "answered");
    on_end(answer, |status, _| log_end(&status))
}

fn log_end(status: &Status) {
    if status.code() == Code::Ok {
        debug!("ended");
    } else {
        info!(code = ?status.code(), message = status.message(), "ended");
    }
}

/// A body whose parts are made within the span and under the id of their call.
struct InSpan {
    body: Body,
    id: String,
    span: Span,
}

impl HttpBody for InSpan {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Self { body, id, span } = &mut *self;
        span.in_scope(|| call::in_call(id, || Pin::new(body).poll_frame(cx)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
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
