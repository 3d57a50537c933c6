//! The call in logs and traces: its id, its span within the caller's trace, and a line about how it ended.

use std::pin::Pin;

use axum::{
    body::HttpBody,
    extract::Request,
    http::{HeaderMap, HeaderName},
    middleware::Next,
    response::Response,
};
use opentelemetry::{global, propagation::Extractor};
use tokio::time::Instant;
use tonic::{Code, Status};
use tracing::{Instrument, debug, field, info, info_span};

use super::{
    answer::{map_body, on_end, poll_body, status_in_head},
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
    // The parts of the body are made within the span and under the id, too.
    map_body(answer, |body| {
        poll_body(body, move |body, cx| {
            span.in_scope(|| call::in_call(&id, || Pin::new(body).poll_frame(cx)))
        })
    })
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

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}
