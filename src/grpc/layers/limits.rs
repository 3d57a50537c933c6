//! The limits of a call: the size of its headers, the time in which its request must arrive, and its
//! deadline. The deadline is the caller's own, or a default for calls that are neither streams nor waits.

use std::time::Duration;

use axum::{body::Body, extract::Request, middleware::Next, response::Response};
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::Status;

use super::{
    answer::{end_early, to_response},
    arrival::Arrival,
    method_name,
};
use crate::{
    domain::Error,
    grpc::{
        call,
        context::Deadline,
        schema::{self, Does},
        status,
    },
};

/// Largest size of all headers of a call, in bytes.
const HEADERS: usize = 16 * 1024;
/// Deadline of a call that is neither a stream nor a wait, if the caller sets none. No caller waits longer
/// for one answer.
const DEADLINE: Duration = Duration::from_secs(30);
/// Time within which a request must arrive completely.
const ARRIVAL: Duration = Duration::from_secs(30);

/// Refuses a call whose headers are too large, and ends a call at its deadline, whether it is still being
/// answered or its stream is being sent.
pub(in crate::grpc) async fn enforce_limits(mut request: Request, next: Next) -> Response {
    let bytes: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > HEADERS {
        let text = format!("the headers have {bytes} bytes; at most {HEADERS} are allowed");
        return to_response(&status::too_large(&text));
    }
    let name = method_name(&request).to_owned();
    let method = schema::method(&name);
    let own = method.filter(|m| !m.streams && !m.takes_stream && m.does != Does::Wait).map(|_| DEADLINE);
    let deadline = timeout(&request).or(own).map(|left| Instant::now() + left);
    request.extensions_mut().insert(Deadline(deadline));
    if method.is_some_and(|method| !method.takes_stream) {
        request = request.map(|body| Body::new(Arrival::new(body, ARRIVAL)));
    }
    let Some(at) = deadline else { return next.run(request).await };
    // A write may have been made although its answer was cut off. A read, a dry run and a request that did
    // not arrive change nothing.
    let writes = method.is_some_and(|method| method.does == Does::Write);
    let out_of_time = move || {
        let may_have_happened = writes && call::may_change();
        Status::from(Error::Deadline { waiting_for: format!("{name} to finish"), may_have_happened })
    };
    match timeout_at(at, next.run(request)).await {
        Ok(answer) => end_early(answer, async move {
            sleep_until(at).await;
            out_of_time()
        }),
        Err(_) => to_response(&out_of_time()),
    }
}

/// Returns the timeout that the caller sent in `grpc-timeout`: at most eight digits and a unit.
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
