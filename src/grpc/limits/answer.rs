//! The body of an answer while it is sent: it ends with details if it ends with an error, with the call's id, at the deadline, and
//! when the server goes.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::HeaderMap,
};
use http_body::Frame;
use tokio::time::{Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Code, Status};
use tracing::{debug, info};

use super::{Call, call, status};
use crate::domain::Error;

/// A body with an end that is always told.
pub(super) struct Answer {
    body: Body,
    call: Call,
    deadline: Option<Pin<Box<Sleep>>>,
    drained: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    ended: bool,
}

// === impl Answer ===

impl Answer {
    pub(super) fn new(body: Body, call: Call, drain: Option<CancellationToken>) -> Self {
        let deadline = call.deadline.map(|at| Box::pin(sleep_until(at)));
        let drained = drain.map(|drain| Box::pin(drain.cancelled_owned()));
        Self { body, call, deadline, drained, ended: false }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(drained) = &mut self.drained
            && drained.as_mut().poll(cx).is_ready()
        {
            return self.end(&Error::ShuttingDown.into());
        }
        // A panic here would take the connection with it, and all other calls on it.
        let Ok(polled) = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut self.body).poll_frame(cx))) else {
            return self.end(&self.call.panicked().into());
        };
        match polled {
            Poll::Ready(Some(Ok(frame))) => match frame.into_trailers() {
                Ok(trailers) => self.end_with(trailers),
                Err(frame) => Poll::Ready(Some(Ok(frame))),
            },
            Poll::Ready(Some(Err(error))) => {
                self.end(&Error::Bug(format!("{}: the answer broke off: {error}", self.call.name)).into())
            }
            Poll::Ready(None) => {
                self.ended = true;
                Poll::Ready(None)
            }
            // The stream itself comes first: it knows better what it was waiting for.
            Poll::Pending => match self.deadline.as_mut().map(|deadline| deadline.as_mut().poll(cx)) {
                Some(Poll::Ready(())) => self.end(&self.call.out_of_time().into()),
                Some(Poll::Pending) | None => Poll::Pending,
            },
        }
    }

    fn end(&mut self, status: &Status) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut trailers = HeaderMap::new();
        // Fails only for text that is no header; the code alone always is one.
        if status.add_header(&mut trailers).is_err() {
            let _ = Status::new(status.code(), "").add_header(&mut trailers);
        }
        self.end_with(trailers)
    }

    fn end_with(&mut self, mut trailers: HeaderMap) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match Status::from_header_map(&trailers).filter(|status| status.code() != Code::Ok) {
            None => {
                debug!("ended");
                self.call.audit.end(None);
            }
            Some(failed) => {
                let completed = status::complete_status(&failed, &self.call.name);
                info!(code = ?completed.code(), message = completed.message(), "ended");
                self.call.audit.end(Some(&completed));
                let _ = completed.add_header(&mut trailers);
            }
        }
        self.call.note(&mut trailers);
        // What it was made from may hold a watch or a place in the log.
        (self.ended, self.body) = (true, Body::empty());
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let (id, span) = (self.call.id.clone(), self.call.span.clone());
        span.in_scope(|| call::in_call(&id, || self.poll_next(cx)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use http_body_util::BodyExt;
    use tracing::Span;

    use super::{super::audit::Audit, *};
    use crate::{grpc::schema, index::Index};

    /// What a service's stream does next.
    #[derive(Clone, Copy)]
    enum Step {
        Data,
        Panic,
        Fail,
        Trailers(Code),
        Wait,
    }

    struct Scripted(VecDeque<Step>);

    impl HttpBody for Scripted {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
            let frame = match self.0.pop_front() {
                Some(Step::Data) => Ok(Frame::data(Bytes::from_static(b"x"))),
                Some(Step::Panic) => panic!("on purpose"),
                Some(Step::Fail) => Err(std::io::Error::other("broke")),
                Some(Step::Trailers(code)) => {
                    let mut trailers = HeaderMap::new();
                    Status::new(code, "bare").add_header(&mut trailers).unwrap();
                    Ok(Frame::trailers(trailers))
                }
                Some(Step::Wait) => {
                    self.0.push_front(Step::Wait);
                    return Poll::Pending;
                }
                None => return Poll::Ready(None),
            };
            Poll::Ready(Some(frame))
        }
    }

    async fn end(steps: &[Step], drain: Option<CancellationToken>) -> (Code, String) {
        let name = "gantry.v1.AppService/WatchApps".to_owned();
        let call = Call {
            id: "call-1".into(),
            method: schema::method(&name),
            name,
            deadline: Some(tokio::time::Instant::now() + std::time::Duration::from_secs(5)),
            index: Index::new(1),
            span: Span::none(),
            audit: Audit::default(),
        };
        let body = Body::new(Scripted(steps.iter().copied().collect()));
        let collected = Answer::new(body, call, drain).collect().await.unwrap();
        let trailers = collected.trailers().cloned().expect("an end");
        assert_eq!(trailers["gantry-call-id"], "call-1");
        let status = Status::from_header_map(&trailers).unwrap();
        let info = tonic_types::StatusExt::get_details_error_info(&status);
        (status.code(), info.map(|info| info.reason).unwrap_or_default())
    }

    #[tokio::test(start_paused = true)]
    async fn however_a_stream_ends_it_says_why() {
        use Step::{Data, Fail, Panic, Trailers, Wait};
        for (steps, code, reason) in [
            (vec![Data, Trailers(Code::Ok)], Code::Ok, ""),
            (vec![Data, Panic], Code::Internal, "BUG"),
            (vec![Data, Fail], Code::Internal, "BUG"),
            (vec![Trailers(Code::Unavailable)], Code::Unavailable, "THROTTLED"),
            (vec![Data, Wait], Code::DeadlineExceeded, "DEADLINE"),
        ] {
            assert_eq!(end(&steps, None).await, (code, reason.to_owned()));
        }
        let drain = CancellationToken::new();
        drain.cancel();
        assert_eq!(end(&[Wait], Some(drain)).await, (Code::Unavailable, "SHUTTING_DOWN".to_owned()));
    }
}
