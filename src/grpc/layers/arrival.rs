//! The body of a request while it arrives. It must arrive completely and within a time limit. Without the
//! limit, a caller who begins a call and never finishes the request would occupy its place for ever.

use std::{
    error::Error as StdError,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tonic::Status;

use crate::domain::Error;

/// A body that arrives in time or ends with an error.
pub(super) struct Arrival {
    body: Body,
    until: Pin<Box<Sleep>>,
}

// === impl Arrival ===

impl Arrival {
    pub(super) fn new(body: Body, longest: Duration) -> Self {
        Self { body, until: Box::pin(sleep(longest)) }
    }
}

impl HttpBody for Arrival {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(|error| explain(&error)))),
            Poll::Pending if self.until.as_mut().poll(cx).is_ready() => {
                let waiting_for = "the rest of the request".to_owned();
                Poll::Ready(Some(Err(Error::Deadline { waiting_for, may_have_happened: false }.into())))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Returns the status that a translating layer put into the error. Without one, the connection broke.
fn explain(error: &axum::Error) -> Status {
    let mut source: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(cause) = source {
        if let Some(status) = cause.downcast_ref::<Status>() {
            return Status::with_details(status.code(), status.message(), status.details().to_vec().into());
        }
        source = cause.source();
    }
    Error::invalid("", format!("the request ended before it was complete: {error}")).into()
}
