//! Translates a request of the Connect protocol or of plain HTTP, in JSON or binary, into a gRPC request. The
//! body is translated when the service reads it, so that an error in it becomes an error of the call, with
//! the id and the deadline of the call.

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Version, header},
};
use futures::stream;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use prost::Message;
use tonic::Status;

use super::{
    form::{Encoding, Form, PREFIX, frame_message},
    parse,
};
use crate::{
    domain::Error,
    grpc::{
        schema::{self, Method},
        status,
    },
};

/// Headers of the HTTP transport, which are not passed on as gRPC metadata.
const TRANSPORT_HEADERS: [HeaderName; 9] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::EXPECT,
    header::TE,
    header::TRANSFER_ENCODING,
];

/// Builds a request without a body for an unknown method. The router answers it with UNIMPLEMENTED.
pub(super) fn empty_request(request: Request) -> Request {
    let (mut parts, _) = request.into_parts();
    parts.headers = headers(&parts.headers);
    parts.version = Version::HTTP_2;
    Request::from_parts(parts, Body::empty())
}

/// Translates headers, timeout and body. Refuses an unknown version of Connect, and compression.
pub(super) fn to_grpc(form: Form, method: &'static Method, request: Request) -> Result<Request, Status> {
    let (mut parts, body) = request.into_parts();
    let text = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if let Some(version) = text("connect-protocol-version").filter(|version| *version != "1") {
        let description = format!("is {version:?}; only version 1 is supported");
        return Err(Error::invalid("connect-protocol-version", description).into());
    }
    let encoding = match form {
        Form::Plain(_) => "content-encoding",
        Form::Framed(_) => "connect-content-encoding",
    };
    if let Some(compression) = text(encoding).filter(|compression| *compression != "identity") {
        return Err(status::not_spoken(&format!(
            "the compression {compression:?} is not supported; send the request uncompressed"
        )));
    }
    let timeout = text("connect-timeout-ms").map(parse_timeout).transpose()?;
    parts.headers = headers(&parts.headers);
    if let Some(timeout) = timeout {
        parts.headers.insert("grpc-timeout", timeout);
    }
    parts.version = Version::HTTP_2;
    let largest = schema::largest_request(parts.uri.path());
    let translated = stream::once(transcode_body(form, method, body, largest));
    Ok(Request::from_parts(parts, Body::from_stream(translated)))
}

/// Returns the headers of the caller as gRPC metadata.
fn headers(sent: &HeaderMap) -> HeaderMap {
    let is_transport_header = |name: &HeaderName| {
        TRANSPORT_HEADERS.contains(name)
            || name.as_str().starts_with("connect-")
            || ["grpc-encoding", "grpc-accept-encoding"].contains(&name.as_str())
    };
    let kept = sent.iter().filter(|(name, _)| !is_transport_header(name));
    let mut headers = HeaderMap::new();
    for (name, value) in kept {
        headers.append(name, value.clone());
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers
}

/// Converts a timeout of Connect to `grpc-timeout`. Connect has milliseconds in up to ten digits, gRPC has
/// any unit in up to eight digits.
fn parse_timeout(text: &str) -> Result<HeaderValue, Status> {
    let valid = (1..=10).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let wrong = || {
        Error::invalid(
            "connect-timeout-ms",
            format!("is {text:?}; it must be milliseconds in 1 to 10 digits"),
        )
    };
    let millis: u64 = text.parse().ok().filter(|_| valid).ok_or_else(wrong)?;
    let timeout = if millis < 100_000_000 { format!("{millis}m") } else { format!("{}S", millis / 1000) };
    HeaderValue::from_str(&timeout).map_err(|_| wrong().into())
}

/// Reads the whole body, up to `largest` bytes, and returns it as one length-prefixed message of gRPC.
async fn transcode_body(
    form: Form,
    method: &'static Method,
    body: Body,
    largest: usize,
) -> Result<Bytes, Status> {
    let read = Limited::new(body, largest + PREFIX).collect().await;
    let sent = read.map_err(|error| to_body_error(&*error, largest))?.to_bytes();
    let message = match form {
        Form::Plain(_) => sent,
        Form::Framed(_) => strip_envelope(&sent)?,
    };
    let message = match form.encoding() {
        Encoding::Binary => message,
        Encoding::Json => parse::parse_message(&method.input, &message)?.encode_to_vec().into(),
    };
    Ok(frame_message(0, &message).into())
}

fn to_body_error(error: &(dyn std::error::Error + Send + Sync + 'static), largest: usize) -> Status {
    if error.is::<LengthLimitError>() {
        return status::too_large(&format!("the request is larger than {largest} bytes"));
    }
    Error::invalid("", format!("the request ended before it was complete: {error}")).into()
}

/// Strips the envelope of Connect (one byte of flags, four of length) from a body that must hold exactly one
/// message.
fn strip_envelope(sent: &Bytes) -> Result<Bytes, Status> {
    let wrong = |what: &str| {
        Status::from(Error::invalid("", format!("the request is not a valid frame of Connect: {what}")))
    };
    let Some((&[flags, a, b, c, d], rest)) = sent.split_first_chunk::<PREFIX>() else {
        return Err(wrong("it has fewer than 5 bytes"));
    };
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    match flags {
        0 if rest.len() == length => Ok(sent.slice(PREFIX..)),
        0 => Err(wrong(&format!(
            "it announces {length} bytes but has {}; exactly one frame is expected",
            rest.len()
        ))),
        flags => Err(wrong(&format!("its flags are {flags}; they must be 0 (uncompressed)"))),
    }
}
