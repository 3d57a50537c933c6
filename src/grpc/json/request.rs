//! Translates a request of the Connect protocol, of gRPC-Web in JSON or of plain HTTP into a gRPC request.
//! The body is translated when the service reads it, so that an error in it becomes an error of the call,
//! with the id and the deadline of the call.

use std::io::Read as _;

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Version, header},
};
use flate2::read::MultiGzDecoder;
use futures::stream;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use prost::{
    Message,
    bytes::{Buf, BytesMut},
};
use tonic::Status;

use super::{
    form::{Encoding, Form, PREFIX, Translation, frame_message},
    parse,
};
use crate::{
    domain::Error,
    grpc::{schema, status},
};

/// Flag of a compressed message in every protocol with prefixes.
const COMPRESSED: u8 = 1;

/// Headers of the HTTP transport, which are not passed on as gRPC metadata. No cookie is ever
/// read: a browser sends it by itself, also for a page that may not call.
const TRANSPORT_HEADERS: [HeaderName; 10] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::COOKIE,
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

/// Translates headers, timeout and body. Refuses an unknown version of Connect and unknown compressions.
pub(super) fn to_grpc(translation: &Translation, request: Request) -> Result<Request, Status> {
    let (mut parts, body) = request.into_parts();
    let text = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if let Some(version) = text("connect-protocol-version").filter(|version| *version != "1") {
        let description = format!("is {version:?}; only version 1 is supported");
        return Err(Error::invalid("connect-protocol-version", description).into());
    }
    let encoding = match translation.form {
        Form::Plain(_) => "content-encoding",
        Form::Framed(_) => "connect-content-encoding",
        Form::Web => "grpc-encoding",
    };
    let is_packed = match text(encoding).map(str::to_ascii_lowercase).as_deref() {
        None | Some("identity" | "") => false,
        Some("gzip") => true,
        Some(other) => {
            return Err(status::not_spoken(&format!(
                "the compression {other:?} is not supported; send the request with gzip or uncompressed"
            )));
        }
    };
    let timeout = text("connect-timeout-ms").map(parse_timeout).transpose()?;
    parts.headers = headers(&parts.headers);
    if let Some(timeout) = timeout {
        parts.headers.insert("grpc-timeout", timeout);
    }
    parts.version = Version::HTTP_2;
    let largest = schema::largest_request(parts.uri.path());
    let messages =
        Messages { translation: translation.clone(), body, read: BytesMut::new(), is_packed, largest };
    let body = if translation.method.takes_stream {
        Body::from_stream(stream::try_unfold(messages, |mut messages| async {
            let frame = messages.next().await?;
            Ok::<_, Status>(frame.map(|frame| (frame, messages)))
        }))
    } else {
        Body::from_stream(stream::once(messages.only()))
    };
    Ok(Request::from_parts(parts, body))
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

/// The messages of a request, each translated to a message of gRPC with its prefix.
struct Messages {
    translation: Translation,
    body: Body,
    read: BytesMut,
    /// Whether the caller says that messages are compressed.
    is_packed: bool,
    /// Largest message, in bytes, packed and unpacked.
    largest: usize,
}

// === impl Messages ===

impl Messages {
    /// Reads a request that must have exactly one message.
    async fn only(mut self) -> Result<Bytes, Status> {
        if let Form::Plain(_) = self.translation.form {
            let body = std::mem::take(&mut self.body);
            let read = Limited::new(body, self.largest + PREFIX).collect().await;
            let sent = read.map_err(|error| to_body_error(&*error, self.largest))?.to_bytes();
            let flags = if self.is_packed { COMPRESSED } else { 0 };
            return self.translate(flags, sent);
        }
        let Some(message) = self.next().await? else { return Err(wrong_frame("it has no message")) };
        match self.next().await? {
            None => Ok(message),
            Some(_) => Err(wrong_frame("it has more than one message")),
        }
    }

    /// Reads the next message that has a prefix. Returns `None` at the end of the request.
    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(&[flags, a, b, c, d]) = self.read.first_chunk::<PREFIX>() {
                let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
                if length > self.largest && flags > COMPRESSED {
                    return Err(wrong_frame("it does not begin with five bytes of flags and length"));
                }
                if length > self.largest {
                    return Err(too_large(self.largest));
                }
                if self.read.len() >= PREFIX + length {
                    self.read.advance(PREFIX);
                    let message = self.read.split_to(length).freeze();
                    return self.translate(flags, message).map(Some);
                }
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.read.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(to_body_error(&error, self.largest)),
                None if self.read.is_empty() => return Ok(None),
                None => return Err(wrong_frame("it ends within a message")),
            }
        }
    }

    fn translate(&self, flags: u8, message: Bytes) -> Result<Bytes, Status> {
        let message = match (flags, self.is_packed) {
            (0, _) => message,
            (COMPRESSED, true) => unpack(&message, self.largest)?,
            (COMPRESSED, false) => {
                return Err(wrong_frame("a message is compressed, but no header says with what"));
            }
            (flags, _) => return Err(wrong_frame(&format!("the flags of a message are {flags}"))),
        };
        let Translation { form, method, spelling } = &self.translation;
        let message = match form.encoding() {
            Encoding::Binary => message,
            Encoding::Json => parse::parse_message(&method.input, &message, spelling)?.encode_to_vec().into(),
        };
        Ok(frame_message(0, &message).into())
    }
}

fn too_large(largest: usize) -> Status {
    status::too_large(&format!("the request is larger than {largest} bytes"))
}

fn to_body_error(error: &(dyn std::error::Error + Send + Sync + 'static), largest: usize) -> Status {
    if error.is::<LengthLimitError>() {
        return too_large(largest);
    }
    Error::invalid("", format!("the request ended before it was complete: {error}")).into()
}

fn wrong_frame(what: &str) -> Status {
    Error::invalid("", format!("the request has no valid frames of its protocol: {what}")).into()
}

/// Unpacks gzip, up to `largest` bytes.
fn unpack(packed: &[u8], largest: usize) -> Result<Bytes, Status> {
    let mut message = Vec::new();
    let limit = u64::try_from(largest).unwrap_or(u64::MAX).saturating_add(1);
    MultiGzDecoder::new(packed).take(limit).read_to_end(&mut message).map_err(|error| {
        Status::from(Error::invalid("", format!("the request is not valid gzip: {error}")))
    })?;
    if message.len() > largest {
        return Err(too_large(largest));
    }
    Ok(message.into())
}
