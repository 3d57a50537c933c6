//! Writes errors as the Connect protocol has them: the code as text, the message, and the details both
//! encoded and readable.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
use prost::Message;
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::pb;

use crate::grpc::{schema, status};

/// Returns the error as JSON.
pub(super) fn to_json(status: &Status) -> Value {
    let details = pb::Status::decode(status.details()).map(|status| status.details).unwrap_or_default();
    let details: Vec<_> = details
        .iter()
        .map(|detail| {
            let name = detail.type_url.rsplit('/').next().unwrap_or_default();
            let mut shown = json!({"type": name, "value": BASE64_STANDARD_NO_PAD.encode(&detail.value)});
            if let Some(debug) = readable(name, &detail.value) {
                shown["debug"] = debug;
            }
            shown
        })
        .collect();
    json!({"code": name(status.code()), "message": status.message(), "details": details})
}

fn readable(name: &str, value: &[u8]) -> Option<Value> {
    serde_json::to_value(schema::schema().ok()?.decode(name, value)?).ok()
}

/// Returns an error as an HTTP response. Connect has one HTTP status for each code. `http` overrides it for a
/// call that is refused before it is translated.
pub(super) fn error_response(status: &Status, http: Option<StatusCode>) -> Response {
    let mut response = Response::new(Body::from(to_json(status).to_string()));
    *response.status_mut() = http.unwrap_or_else(|| to_http(status.code()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
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
