//! Logs and traces a call: its id, its span within the caller's trace, and a line about how it ended. Adds
//! the id, and the age of the cache that was read, to the end of the answer, and writes the message there as
//! gRPC specifies it.

use std::{pin::Pin, sync::Arc};

use axum::{
    body::HttpBody,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use jiff::Timestamp;
use opentelemetry::{global, propagation::Extractor};
use tokio::time::Instant;
use tonic::{Code, Status};
use tracing::{Instrument, debug, field, info, info_span};

use super::{
    answer::{map_body, on_end, poll_body, status_in_head},
    method_name,
};
use crate::{
    grpc::{
        call::{self, CACHE_AGE, CALL_ID, CallId},
        schema, status,
    },
    index::Index,
};

/// Runs a call under a new id and in a new span, including its body.
pub(in crate::grpc) async fn enter_span(
    State(index): State<Index>,
    request: Request,
    next: Next,
) -> Response {
    let id = call::next_id();
    let span = {
        // Does nothing, and costs nothing, unless traces are exported.
        let trace = global::get_text_map_propagator(|known| known.extract(&Headers(request.headers())));
        let _parent = trace.attach();
        info_span!("call", method = %method_name(&request), id = &*id, app = field::Empty)
    };
    let trailers = CallTrailers {
        id: Arc::clone(&id),
        cache: schema::method(method_name(&request)).filter(|method| method.cached).map(|_| index),
    };
    let answer = log_answer(request, next, trailers).instrument(span.clone());
    let mut answer = call::scope_call(Arc::clone(&id), answer).await;
    answer.extensions_mut().insert(CallId(Arc::clone(&id)));
    // The frames of the body are made within the span and under the id, too.
    map_body(answer, |body| {
        poll_body(body, move |body, cx| {
            span.in_scope(|| call::in_call(&id, || Pin::new(body).poll_frame(cx)))
        })
    })
}

async fn log_answer(request: Request, next: Next, trailers: CallTrailers) -> Response {
    let started = Instant::now();
    let answer = next.run(request).await;
    let millis = started.elapsed().as_millis();
    let refusal = status_in_head(&answer).filter(|status| status.code() != Code::Ok);
    let is_refused = refusal.is_some();
    if let Some(failed) = refusal {
        info!(millis, code = ?failed.code(), message = ?failed.message(), "refused");
    } else {
        debug!(millis, "answered");
    }
    on_end(answer, move |status, headers| {
        if !is_refused {
            log_end(&status);
        }
        trailers.add_to(headers);
        status::escape_message(headers);
    })
}

/// What is added to the end of every answer.
struct CallTrailers {
    /// The id of the call in the log.
    id: Arc<str>,
    /// The index, if the call is answered from it.
    cache: Option<Index>,
}

// === impl CallTrailers ===

impl CallTrailers {
    fn add_to(&self, headers: &mut HeaderMap) {
        if let Ok(id) = HeaderValue::from_str(&self.id) {
            headers.insert(CALL_ID, id);
        }
        if let Some(index) = self.cache.as_ref().filter(|index| index.is_filled()) {
            let oldest = index.kind_ages(Timestamp::now()).into_values().max().unwrap_or_default();
            if let Ok(age) = HeaderValue::from_str(&format!("{:.3}", oldest.as_secs_f64())) {
                headers.insert(CACHE_AGE, age);
            }
        }
    }
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
