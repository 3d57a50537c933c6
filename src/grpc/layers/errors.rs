//! Every error has details, and a panic is an error: of a service, and of whatever makes the parts of a
//! stream.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::Request,
    middleware::Next,
    response::Response,
};
use futures::FutureExt;
use http_body::Frame;
use tonic::{Code, Status};

use super::{
    answer::{map_body, on_end, to_response, to_trailers},
    method_name,
};
use crate::{domain::Error, grpc::status};

/// Answers a panic, and gives details to every error that has none.
pub(in crate::grpc) async fn complete_errors(request: Request, next: Next) -> Response {
    let method = method_name(&request).to_owned();
    let Ok(answer) = AssertUnwindSafe(next.run(request)).catch_unwind().await else {
        return to_response(&panicked(&method));
    };
    let name = method.clone();
    let answer = map_body(answer, |body| Body::new(Unbroken { body, method, ended: false }));
    on_end(answer, move |status, headers| {
        if status.code() != Code::Ok {
            let _ = status::complete_status(&status, &name).add_header(headers);
        }
    })
}

fn panicked(method: &str) -> Status {
    Error::Bug(format!("panic in {method}")).into()
}

/// A body that ends with a status also where what makes it panics or breaks off.
struct Unbroken {
    body: Body,
    method: String,
    ended: bool,
}

impl HttpBody for Unbroken {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        // A panic here would take the connection with it, and all other calls on it.
        let last = match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut self.body).poll_frame(cx))) {
            Ok(Poll::Ready(Some(Ok(frame)))) if frame.is_trailers() => frame,
            Ok(Poll::Ready(Some(Err(error)))) => {
                let text = format!("{}: the answer broke off: {error}", self.method);
                to_trailers(&Error::Bug(text).into())
            }
            Ok(polled) => return polled,
            Err(_panic) => to_trailers(&panicked(&self.method)),
        };
        // What it was made from may hold a watch or a place in the log.
        (self.ended, self.body) = (true, Body::empty());
        Poll::Ready(Some(Ok(last)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }
}
