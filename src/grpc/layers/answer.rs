//! What several layers do with an answer: build one from a status, observe how it ends, and end it early.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::HeaderMap,
    response::Response,
};
use http_body::Frame;
use http_body_util::BodyExt;
use tonic::{Code, Status};

/// Returns an answer that consists of a status only.
pub(super) fn to_response(status: &Status) -> Response {
    status.clone().into_http::<Body>()
}

/// Returns the last frame of a stream that ends with this status.
pub(super) fn to_trailers(status: &Status) -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    // Fails only for a message that is not a valid header. The code alone is always valid.
    if status.add_header(&mut trailers).is_err() {
        let _ = Status::new(status.code(), "").add_header(&mut trailers);
    }
    Frame::trailers(trailers)
}

/// Returns the status in the head of an answer. Only an error without a body has one there. Messages and
/// streams have it in the trailers.
pub(super) fn status_in_head(answer: &Response) -> Option<Status> {
    read_status(answer.headers())
}

/// Returns the status in these headers. For a success only the code is read, because every layer calls this
/// and tonic copies the headers.
pub(super) fn read_status(headers: &HeaderMap) -> Option<Status> {
    match headers.get(Status::GRPC_STATUS)?.as_bytes() {
        b"0" => Some(Status::new(Code::Ok, "")),
        _ => Status::from_header_map(headers),
    }
}

/// Wraps the body of an answer, unless the answer is an error without a body.
pub(super) fn map_body(answer: Response, wrap: impl FnOnce(Body) -> Body) -> Response {
    if status_in_head(&answer).is_some() { answer } else { answer.map(wrap) }
}

/// Calls `end` with the status of an answer and the headers that carry it (head or trailers), before they are
/// sent. If the caller leaves before the end, `end` is dropped without a call.
pub(super) fn on_end(
    mut answer: Response,
    end: impl FnOnce(Status, &mut HeaderMap) + Send + 'static,
) -> Response {
    if let Some(status) = status_in_head(&answer) {
        end(status, answer.headers_mut());
        return answer;
    }
    let mut end = Some(end);
    let see = move |frame: Frame<Bytes>| match frame.into_trailers() {
        Ok(mut trailers) => {
            if let Some(status) = read_status(&trailers)
                && let Some(end) = end.take()
            {
                end(status, &mut trailers);
            }
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    };
    answer.map(|body| Body::new(body.map_frame(see)))
}

/// Ends an answer that is still being sent when `status` resolves. The body is polled first, because its own
/// status says better why it ends.
pub(super) fn end_early(answer: Response, status: impl Future<Output = Status> + Send + 'static) -> Response {
    let mut status = Box::pin(status);
    map_body(answer, |body| {
        poll_body(body, move |body, cx| {
            let polled = Pin::new(&mut *body).poll_frame(cx);
            if polled.is_pending()
                && let Poll::Ready(status) = status.as_mut().poll(cx)
            {
                *body = Body::empty();
                return Poll::Ready(Some(Ok(to_trailers(&status))));
            }
            polled
        })
    })
}

/// Returns a body whose frames `poll` makes from the frames of `body`. To end it, `poll` replaces `body` by
/// an empty one. That also drops what `body` was made from, for example a watch or an open log.
pub(super) fn poll_body(
    body: Body,
    poll: impl FnMut(&mut Body, &mut Context<'_>) -> PolledFrame + Send + Unpin + 'static,
) -> Body {
    Body::new(PolledBody { body, poll })
}

/// The next frame of an answer's body.
pub(super) type PolledFrame = Poll<Option<Result<Frame<Bytes>, axum::Error>>>;

struct PolledBody<F> {
    body: Body,
    poll: F,
}

impl<F: FnMut(&mut Body, &mut Context<'_>) -> PolledFrame + Unpin> HttpBody for PolledBody<F> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PolledFrame {
        let Self { body, poll } = &mut *self;
        poll(body, cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}
