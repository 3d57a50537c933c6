//! What holds for every call: its id, its deadline, its log line, a panic's answer, and details on every error. One layer around
//! all services, so that no service can forget it.

use std::{
    panic::AssertUnwindSafe,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{Request, State},
    http::HeaderMap,
    middleware::Next,
    response::Response,
};
use futures::FutureExt;
use http_body::Frame;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Code, Status};
use tracing::{Instrument, debug, info, info_span};

use super::{Deadline, call, status};
use crate::domain::Error;

/// Answers one call.
pub(super) async fn layer(
    State(drain): State<CancellationToken>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = call::next_id();
    let method = request.uri().path().trim_start_matches('/').to_owned();
    let span = info_span!("call", %method, id);
    let deadline = timeout(&request).map(|left| Instant::now() + left);
    request.extensions_mut().insert(Deadline(deadline));
    let foreign = method == "grpc.health.v1.Health/Watch" || method.starts_with("grpc.reflection.");
    let response = call::with_id(id, answer(request, next, method, deadline).instrument(span)).await;
    if foreign { end_with(drain, response) } else { response }
}

async fn answer(request: Request, next: Next, method: String, deadline: Option<Instant>) -> Response {
    let started = Instant::now();
    // A read leaves nothing behind; of a write that was cut off nobody knows.
    let may_have_happened = !["Get", "List", "Watch", "Wait"]
        .iter()
        .any(|verb| method.rsplit('/').next().is_some_and(|m| m.starts_with(verb)));
    let called = AssertUnwindSafe(next.run(request)).catch_unwind();
    let outcome = match deadline {
        Some(at) => tokio::time::timeout_at(at, called).await,
        None => Ok(called.await),
    };
    let response = match outcome {
        Ok(Ok(response)) => response,
        Ok(Err(_panic)) => to_response(&Error::Bug(format!("panic in {method}")).into()),
        Err(_) => to_response(
            &Error::Deadline { waiting_for: format!("{method} to finish"), may_have_happened }.into(),
        ),
    };
    // A status in the head is an error without a body; streams and answers carry theirs in the trailers.
    let failed = Status::from_header_map(response.headers()).filter(|s| s.code() != Code::Ok);
    let millis = started.elapsed().as_millis();
    match failed {
        None => {
            debug!(millis, "answered");
            response
        }
        Some(failed) => {
            let completed = status::complete(&failed, &method);
            info!(millis, code = ?completed.code(), message = completed.message(), "refused");
            to_response(&completed)
        }
    }
}

/// Ends the streams of services that are not ours: health's and reflection's know nothing of a drain, and would hold it up.
fn end_with(drain: CancellationToken, response: Response) -> Response {
    response.map(|body| Body::new(UntilDrained { body, drained: Box::pin(drain.cancelled_owned()) }))
}

/// A body that ends when the server goes, with its trailers if it ends by itself.
struct UntilDrained {
    body: Body,
    drained: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl HttpBody for UntilDrained {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.drained.as_mut().poll(cx).is_ready() {
            let mut trailers = HeaderMap::new();
            let told = Status::from(Error::ShuttingDown).add_header(&mut trailers).is_ok();
            self.body = Body::empty();
            self.drained = Box::pin(CancellationToken::new().cancelled_owned());
            if told {
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

fn to_response(status: &Status) -> Response {
    status.clone().into_http::<Body>()
}

/// The caller's deadline: `grpc-timeout`, at most eight digits and a unit.
fn timeout(request: &Request) -> Option<Duration> {
    parse_timeout(request.headers().get("grpc-timeout")?.to_str().ok()?)
}

fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(n * 3600),
        "M" => Duration::from_secs(n * 60),
        "S" => Duration::from_secs(n),
        "m" => Duration::from_millis(n),
        "u" => Duration::from_micros(n),
        "n" => Duration::from_nanos(n),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_read_as_the_protocol_writes_them() {
        for (text, expected) in [
            ("100m", Some(Duration::from_millis(100))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("5S", Some(Duration::from_secs(5))),
            ("", None),
            ("S", None),
            ("123456789S", None),
            ("5x", None),
            ("-5S", None),
            ("5ü", None),
        ] {
            assert_eq!(parse_timeout(text), expected, "{text}");
        }
    }
}
