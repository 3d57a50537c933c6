//! What holds for every call: its id, its deadline, its log line, a panic's answer, the bounds of its request, and details on every
//! error. One layer around all services, so that no service can forget it.

mod answer;
mod arrival;
mod audit;

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use futures::FutureExt;
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tracing::{Instrument, Span, debug, field, info, info_span};

use self::{answer::Answer, arrival::Arrival, audit::Audit};
use super::{
    call,
    context::{Connection, Deadline},
    schema::{self, Does, Method},
    status,
};
use crate::{domain::Error, index::Index};

/// Time for a call that is not a stream and not a wait, if the caller sets none: nobody waits longer for one answer.
const DEADLINE: Duration = Duration::from_secs(30);
/// Time that a request gets to arrive whole.
const ARRIVAL: Duration = Duration::from_secs(30);
/// Bytes of all headers of a call.
const HEADERS: usize = 16 * 1024;

/// Header or trailer with the id of the call.
pub(super) const CALL_ID: HeaderName = HeaderName::from_static("gantry-call-id");
/// Header or trailer with the age of the cache that a read was answered from, in seconds.
pub(super) const CACHE_AGE: HeaderName = HeaderName::from_static("gantry-cache-age");

/// What the layer needs.
#[derive(Clone)]
pub(super) struct Limits {
    pub(super) drain: CancellationToken,
    pub(super) index: Index,
    pub(super) connection: Arc<OnceLock<Connection>>,
}

/// The id of a call, for those who answer in another form than gRPC.
#[derive(Clone, Debug)]
pub(super) struct CallId(pub(super) String);

/// What is known of a call while it is answered.
struct Call {
    id: String,
    /// `package.Service/Method`.
    name: String,
    method: Option<&'static Method>,
    deadline: Option<Instant>,
    index: Index,
    span: Span,
    /// What is kept of it.
    audit: Audit,
}

/// Answers one call.
pub(super) async fn layer(State(limits): State<Limits>, mut request: Request, next: Next) -> Response {
    let id = call::next_id();
    let name = request.uri().path().trim_start_matches('/').to_owned();
    let method = schema::method(&name);
    let span = info_span!("call", method = %name, id, app = field::Empty);
    let own = method.filter(|m| !m.streams && !m.takes_stream && m.does != Does::Wait).map(|_| DEADLINE);
    let deadline = timeout(&request).or(own).map(|left| Instant::now() + left);
    request.extensions_mut().insert(Deadline(deadline));
    if method.is_some_and(|method| !method.takes_stream) {
        request = request.map(|body| Body::new(Arrival::new(body, ARRIVAL)));
    }
    // Health's and reflection's streams know nothing of a drain, and would hold it up.
    let foreign = name == "grpc.health.v1.Health/Watch" || name.starts_with("grpc.reflection.");
    let drain = foreign.then_some(limits.drain);
    let asked = Arc::default();
    let audit = Audit::new(&limits.index, limits.connection, Arc::clone(&asked), (&id, &name), method);
    let call = Call { id, name, method, deadline, index: limits.index, span: span.clone(), audit };
    call::scope_call(call.id.clone(), asked, call.answer(request, next, drain).instrument(span)).await
}

// === impl Call ===

impl Call {
    async fn answer(mut self, request: Request, next: Next, drain: Option<CancellationToken>) -> Response {
        let started = Instant::now();
        let response = match headers_too_large(request.headers()) {
            Some(status) => Ok(to_response(&status)),
            None => self.within_deadline(next.run(request)).await,
        };
        let response = response.unwrap_or_else(|error| to_response(&error.into()));
        // A status in the head is an error without a body; streams and answers carry theirs in the trailers.
        let failed = Status::from_header_map(response.headers()).filter(|s| s.code() != Code::Ok);
        let millis = started.elapsed().as_millis();
        let id = CallId(self.id.clone());
        let mut response = match failed {
            None => {
                debug!(millis, "answered");
                response.map(|body| Body::new(Answer::new(body, self, drain)))
            }
            Some(failed) => {
                let completed = status::complete_status(&failed, &self.name);
                info!(millis, code = ?completed.code(), message = ?completed.message(), "refused");
                self.audit.end(Some(&completed));
                let mut response = to_response(&completed);
                self.note(response.headers_mut());
                response
            }
        };
        response.extensions_mut().insert(id);
        response
    }

    async fn within_deadline(&self, running: impl Future<Output = Response>) -> Result<Response, Error> {
        let called = AssertUnwindSafe(running).catch_unwind();
        let outcome = match self.deadline {
            Some(at) => tokio::time::timeout_at(at, called).await,
            None => Ok(called.await),
        };
        match outcome {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(_panic)) => Err(self.panicked()),
            Err(_) => Err(self.out_of_time()),
        }
    }

    fn panicked(&self) -> Error {
        Error::Bug(format!("panic in {}", self.name))
    }

    fn out_of_time(&self) -> Error {
        // A read leaves nothing behind; of a write that was cut off nobody knows.
        let may_have_happened = self.method.is_some_and(|method| method.does == Does::Write);
        Error::Deadline { waiting_for: format!("{} to finish", self.name), may_have_happened }
    }

    /// What every answer says at its end: under which id the log knows the call, and how old the cache was that it came from.
    fn note(&self, trailers: &mut HeaderMap) {
        if let Ok(id) = HeaderValue::from_str(&self.id) {
            trailers.insert(CALL_ID, id);
        }
        if self.method.is_some_and(|method| method.cached) && self.index.is_filled() {
            let oldest = self.index.kind_ages(Timestamp::now()).into_values().max().unwrap_or_default();
            if let Ok(age) = HeaderValue::from_str(&format!("{:.3}", oldest.as_secs_f64())) {
                trailers.insert(CACHE_AGE, age);
            }
        }
    }
}

fn headers_too_large(headers: &HeaderMap) -> Option<Status> {
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    (bytes > HEADERS)
        .then(|| status::too_large(&format!("the headers have {bytes} bytes; {HEADERS} are allowed")))
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
