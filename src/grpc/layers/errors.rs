//! Gives details to every error, and turns panics into errors, both in services and in the streams that they
//! return.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, HttpBody},
    extract::Request,
    http::HeaderMap,
    middleware::Next,
    response::Response,
};
use futures::FutureExt;
use tonic::{Code, Status};

use super::{
    answer::{PolledFrame, poll_body, read_status, status_in_head, to_response, to_trailers},
    method_name,
};
use crate::{domain::Error, grpc::status};

/// Answers a panic, and gives details to every error that has none.
pub(in crate::grpc) async fn complete_errors(request: Request, next: Next) -> Response {
    let method = method_name(&request).to_owned();
    let Ok(mut answer) = AssertUnwindSafe(next.run(request)).catch_unwind().await else {
        return to_response(&panicked(&method));
    };
    if let Some(status) = status_in_head(&answer) {
        complete_headers(&status, &method, answer.headers_mut());
        return answer;
    }
    answer.map(|body| poll_body(body, move |body, cx| poll_to_end(body, cx, &method)))
}

/// Polls the next frame. The last one is always a status with details, even if the body panics or breaks off.
fn poll_to_end(body: &mut Body, cx: &mut Context<'_>, method: &str) -> PolledFrame {
    // An uncaught panic would end the connection and all other calls on it.
    let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut *body).poll_frame(cx)));
    let mut last = match polled {
        Ok(Poll::Ready(Some(Ok(frame)))) if frame.is_trailers() => frame,
        Ok(Poll::Ready(Some(Err(error)))) => {
            to_trailers(&Error::Bug(format!("{method}: the answer broke off: {error}")).into())
        }
        Ok(polled) => return polled,
        Err(_panic) => to_trailers(&panicked(method)),
    };
    *body = Body::empty();
    if let Some(trailers) = last.trailers_mut()
        && let Some(status) = read_status(trailers)
    {
        complete_headers(&status, method, trailers);
    }
    Poll::Ready(Some(Ok(last)))
}

fn complete_headers(status: &Status, method: &str, headers: &mut HeaderMap) {
    if status.code() != Code::Ok {
        let _ = status::complete_status(status, method).add_header(headers);
    }
}

fn panicked(method: &str) -> Status {
    Error::Bug(format!("panic in {method}")).into()
}
