//! Writes errors as the Connect protocol has them: the code as text, the message, and the details both
//! encoded and readable.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
use prost::Message;
use serde::Serialize;
use serde_json::Value;
use tonic::{Code, Status};
use tonic_types::{StatusExt as _, pb};

use super::write::Sorted;
use crate::grpc::{schema, status};

/// An error as the Connect protocol writes it, in the order in which people read it.
#[derive(Serialize)]
pub(super) struct ConnectError {
    code: String,
    message: String,
    details: Vec<Detail>,
}

#[derive(Serialize)]
struct Detail {
    /// Full name of the message.
    r#type: String,
    /// The encoded message in base64.
    value: String,
    /// The message as JSON, if its type is known here.
    #[serde(skip_serializing_if = "Option::is_none")]
    debug: Option<Value>,
}

/// Returns the error as JSON.
pub(super) fn to_json(status: &Status) -> ConnectError {
    let details = pb::Status::decode(status.details()).map(|status| status.details).unwrap_or_default();
    let details = details.iter().map(|detail| {
        let name = detail.type_url.rsplit('/').next().unwrap_or_default();
        Detail {
            r#type: name.to_owned(),
            value: BASE64_STANDARD_NO_PAD.encode(&detail.value),
            debug: readable(name, &detail.value),
        }
    });
    let (code, details) = (name(status.code()), details.collect());
    ConnectError { code, message: status.message().to_owned(), details }
}

fn readable(name: &str, value: &[u8]) -> Option<Value> {
    serde_json::to_value(Sorted(&schema::schema().ok()?.decode(name, value)?)).ok()
}

/// Returns an error as an HTTP response. Connect has one HTTP status for each code. `http` overrides it for a
/// call that is refused before it is translated.
pub(super) fn error_response(status: &Status, http: Option<StatusCode>) -> Response {
    let mut response = Response::new(Body::from(to_text(&to_json(status))));
    *response.status_mut() = http.unwrap_or_else(|| to_http(status.code()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let delay = status.get_error_details().retry_info().and_then(|retry| retry.retry_delay);
    if let Some(delay) = delay {
        // Whole seconds, rounded up: HTTP has no parts of them.
        let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Returns an answer's JSON text.
pub(super) fn to_text(value: &impl Serialize) -> String {
    // Fails only for maps whose keys are no strings.
    serde_json::to_string(value).unwrap_or_default()
}

/// Connect writes the codes of gRPC in lower case, and one of them with another spelling.
fn name(code: Code) -> String {
    if code == Code::Cancelled { "canceled".to_owned() } else { status::code_name(code).to_ascii_lowercase() }
}

/// Returns the HTTP status of a code, by the table of the Connect protocol.
fn to_http(code: Code) -> StatusCode {
    let number = match code {
        Code::Ok => 200,
        Code::Cancelled => 499,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => 400,
        Code::Unauthenticated => 401,
        Code::PermissionDenied => 403,
        Code::NotFound => 404,
        Code::AlreadyExists | Code::Aborted => 409,
        Code::ResourceExhausted => 429,
        Code::Unknown | Code::Internal | Code::DataLoss => 500,
        Code::Unimplemented => 501,
        Code::Unavailable => 503,
        Code::DeadlineExceeded => 504,
    };
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
