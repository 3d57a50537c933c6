//! Translates a gRPC answer into the protocol of the caller: one message, or a stream whose messages are
//! translated one by one as the caller reads them.

use std::{
    collections::BTreeMap,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
use http_body::Frame;
use http_body_util::BodyExt;
use prost::bytes::{Buf, BytesMut};
use prost_reflect::{DynamicMessage, MessageDescriptor};
use serde::Serialize;
use tonic::{Code, Status};

use super::{
    error,
    form::{Encoding, Form, PREFIX, Translation, frame_message},
    write::Sorted,
};
use crate::{
    domain::Error,
    grpc::{
        call::{CALL_ID, CallId},
        status as grpc_status,
    },
};

/// Flag of Connect's last frame.
const END: u8 = 2;
/// Flag of gRPC-Web's last frame, which holds the trailers as text.
const TRAILERS: u8 = 0x80;

/// Returns the error of a call that failed before it was sent on as gRPC.
pub(super) fn failed_response(form: Form, status: &Status) -> Response {
    match form {
        Form::Plain(_) => error::error_response(status, None),
        Form::Framed(_) => {
            respond(form.content_type(), Body::from(end_of_stream(&HeaderMap::new(), Some(status))))
        }
        Form::Web => respond(form.content_type(), Body::from(web_trailers(HeaderMap::new(), Some(status)))),
    }
}

/// Returns the answer for a path that no method has.
pub(super) fn unknown_method(answer: Response) -> Response {
    let (head, _) = answer.into_parts();
    let status = status(&head.headers).unwrap_or_else(no_end);
    let mut response = error::error_response(&status, Some(StatusCode::NOT_FOUND));
    copy_head(&head.headers, &mut response);
    response
}

/// Translates an answer that is one message.
pub(super) async fn unary_response(
    translation: &Translation,
    encoding: Encoding,
    answer: Response,
) -> Response {
    let (head, body) = answer.into_parts();
    let fail = |status: Status| error::error_response(&translation.respell(status), None);
    if let Some(failed) = status(&head.headers).filter(|status| status.code() != Code::Ok) {
        let mut response = fail(failed);
        copy_head(&head.headers, &mut response);
        return response;
    }
    let (trailers, message) = match body.collect().await {
        Ok(collected) => (collected.trailers().cloned().unwrap_or_default(), collected.to_bytes()),
        Err(error) => return fail(broken(&error)),
    };
    let ended = status(&trailers).unwrap_or_else(no_end);
    let message = (message.len() >= PREFIX).then(|| message.slice(PREFIX..));
    let mut response = match (ended.code(), message) {
        (Code::Ok, Some(message)) => match render(encoding, &translation.method.output, message) {
            Ok(bytes) => respond(Form::Plain(encoding).content_type(), Body::from(bytes)),
            Err(status) => fail(status),
        },
        (Code::Ok, None) => fail(no_end()),
        _ => fail(ended),
    };
    copy_head(&head.headers, &mut response);
    copy_trailers(&trailers, &mut response);
    response
}

/// Translates an answer into lines of JSON, the frames of Connect, or those of gRPC-Web in JSON.
pub(super) fn stream_response(translation: Translation, format: StreamFormat, answer: Response) -> Response {
    let (head, body) = answer.into_parts();
    let form = translation.form;
    let mut response = if let Some(failed) = status(&head.headers).filter(|s| s.code() != Code::Ok) {
        failed_response(form, &translation.respell(failed))
    } else {
        let kind = match format {
            StreamFormat::Lines => "application/x-ndjson",
            StreamFormat::Frames(_) | StreamFormat::Web => form.content_type(),
        };
        respond(kind, Body::new(TranscodedBody::new(format, translation, body)))
    };
    copy_head(&head.headers, &mut response);
    copy_id(&head.extensions, &mut response);
    response
}

/// The format of a translated stream.
#[derive(Clone, Copy)]
pub(super) enum StreamFormat {
    /// Lines of JSON.
    Lines,
    /// Frames of Connect.
    Frames(Encoding),
    /// JSON in the frames of gRPC-Web.
    Web,
}

/// The messages of a gRPC stream in another format. Reads the next message only when the caller has taken the
/// last one.
struct TranscodedBody {
    format: StreamFormat,
    translation: Translation,
    body: Body,
    read: BytesMut,
    ended: bool,
}

// === impl TranscodedBody ===

impl TranscodedBody {
    fn new(format: StreamFormat, translation: Translation, body: Body) -> Self {
        Self { format, translation, body, read: BytesMut::new(), ended: false }
    }

    /// Takes the next complete message out of the bytes read so far.
    fn take(&mut self) -> Option<Bytes> {
        let &[_, a, b, c, d] = self.read.first_chunk::<PREFIX>()?;
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;
        if self.read.len() < PREFIX + length {
            return None;
        }
        self.read.advance(PREFIX);
        Some(self.read.split_to(length).freeze())
    }

    fn message(&mut self, message: Bytes) -> Option<Bytes> {
        let output = &self.translation.method.output;
        let rendered = match self.format {
            StreamFormat::Lines => render(Encoding::Json, output, message).map(|mut line| {
                line.push(b'\n');
                line
            }),
            StreamFormat::Frames(encoding) => {
                render(encoding, output, message).map(|message| frame_message(0, &message))
            }
            StreamFormat::Web => {
                render(Encoding::Json, output, message).map(|message| frame_message(0, &message))
            }
        };
        match rendered {
            Ok(bytes) => Some(bytes.into()),
            Err(status) => self.end(&HeaderMap::new(), &status),
        }
    }

    /// Ends the stream. Returns the bytes that tell the caller so, or `None` if the end of the body is
    /// enough.
    fn end(&mut self, trailers: &HeaderMap, status: &Status) -> Option<Bytes> {
        (self.ended, self.body) = (true, Body::empty());
        let failed = (status.code() != Code::Ok).then(|| self.translation.respell(status.clone()));
        let failed = failed.as_ref();
        match self.format {
            StreamFormat::Lines => {
                let line = |status| error::to_text(&LastLine { error: error::to_json(status) });
                failed.map(|status| (line(status) + "\n").into())
            }
            StreamFormat::Frames(_) => Some(end_of_stream(trailers, failed).into()),
            StreamFormat::Web => Some(web_trailers(trailers.clone(), failed).into()),
        }
    }
}

impl HttpBody for TranscodedBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let bytes = loop {
            if self.ended {
                return Poll::Ready(None);
            }
            if let Some(message) = self.take() {
                break self.message(message);
            }
            match std::task::ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.read.extend_from_slice(&data),
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        let status = status(&trailers).unwrap_or_else(no_end);
                        break self.end(&trailers, &status);
                    }
                },
                Some(Err(error)) => break self.end(&HeaderMap::new(), &broken(&error)),
                None => break self.end(&HeaderMap::new(), &no_end()),
            }
        };
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

fn render(encoding: Encoding, output: &MessageDescriptor, message: Bytes) -> Result<Vec<u8>, Status> {
    let bug = |error: &dyn std::error::Error| Error::Bug(format!("cannot write {}: {error}", output.name()));
    match encoding {
        Encoding::Binary => Ok(message.into()),
        Encoding::Json => {
            let message = DynamicMessage::decode(output.clone(), message).map_err(|e| bug(&e))?;
            Ok(serde_json::to_vec(&Sorted(&message)).map_err(|e| bug(&e))?)
        }
    }
}

/// The last frame of Connect.
#[derive(Default, Serialize)]
struct EndOfStream {
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<error::ConnectError>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, Vec<String>>,
}

fn end_of_stream(trailers: &HeaderMap, failed: Option<&Status>) -> Vec<u8> {
    let mut end = EndOfStream { error: failed.map(error::to_json), ..EndOfStream::default() };
    for (name, value) in trailers.iter().filter(|(name, _)| is_metadata(name)) {
        let text = value.to_str().map_or_else(|_| BASE64_STANDARD_NO_PAD.encode(value), str::to_owned);
        end.metadata.entry(name.to_string()).or_default().push(text);
    }
    frame_message(END, error::to_text(&end).as_bytes())
}

/// Returns the last frame of gRPC-Web: the trailers as lines of text.
fn web_trailers(mut trailers: HeaderMap, failed: Option<&Status>) -> Vec<u8> {
    let ended = failed.cloned().unwrap_or_else(|| Status::ok(""));
    // Fails only for a message that is no header.
    let _ = ended.add_header(&mut trailers);
    grpc_status::escape_message(&mut trailers);
    let mut text = Vec::new();
    for (name, value) in &trailers {
        text.extend_from_slice(format!("{name}: ").as_bytes());
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    frame_message(TRAILERS, &text)
}

/// The last line of a stream that failed.
#[derive(Serialize)]
struct LastLine {
    error: error::ConnectError,
}

fn status(headers: &HeaderMap) -> Option<Status> {
    Status::from_header_map(headers)
}

fn no_end() -> Status {
    Error::Bug("an answer ended without a status".to_owned()).into()
}

fn broken(error: &axum::Error) -> Status {
    Error::Bug(format!("an answer broke off: {error}")).into()
}

fn respond(kind: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Whether a header is metadata of a service or a layer, and not one of gRPC or of the HTTP transport.
fn is_metadata(name: &HeaderName) -> bool {
    !name.as_str().starts_with("grpc-")
        && ![header::CONTENT_TYPE, header::CONTENT_LENGTH, header::DATE, header::TRAILER].contains(name)
}

fn copy_head(from: &HeaderMap, to: &mut Response) {
    for (name, value) in from.iter().filter(|(name, _)| is_metadata(name)) {
        to.headers_mut().append(name, value.clone());
    }
}

/// Copies trailers into the head under the prefix `trailer-`, because Connect's unary answers have no
/// trailers. Gantry's own trailers are also copied without the prefix, for people who read the head.
fn copy_trailers(from: &HeaderMap, to: &mut Response) {
    for (name, value) in from.iter().filter(|(name, _)| is_metadata(name)) {
        if let Ok(prefixed) = HeaderName::try_from(format!("trailer-{name}")) {
            to.headers_mut().append(prefixed, value.clone());
        }
        if name.as_str().starts_with("gantry-") {
            to.headers_mut().insert(name, value.clone());
        }
    }
}

/// Copies the call id into the head of a stream. The trailers come only at its end, and the caller needs the
/// id to ask about a stream that is still running.
fn copy_id(from: &axum::http::Extensions, to: &mut Response) {
    if let Some(id) = from.get::<CallId>().and_then(|id| HeaderValue::from_str(&id.0).ok()) {
        to.headers_mut().insert(CALL_ID, id);
    }
}
