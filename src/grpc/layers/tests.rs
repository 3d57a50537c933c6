//! Tests that the layers together say why a stream ended, however it ended.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    http::{HeaderMap, Request},
    middleware::{from_fn, from_fn_with_state},
    response::Response,
};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tower::{ServiceBuilder, ServiceExt};

use super::{drain, errors, limits, span};
use crate::{grpc::call::CallId, index::Index};

/// What the stream of a service does next.
#[derive(Clone, Copy)]
enum Step {
    Data,
    Panic,
    Fail,
    Trailers(Code),
    Wait,
}

#[derive(Clone)]
struct Scripted(VecDeque<Step>);

impl HttpBody for Scripted {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let frame = match self.0.pop_front() {
            Some(Step::Data) => Ok(Frame::data(Bytes::from_static(b"x"))),
            Some(Step::Panic) => panic!("on purpose"),
            Some(Step::Fail) => Err(io::Error::other("broke")),
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

async fn end(method: &str, steps: &[Step], drain: CancellationToken) -> (Code, String) {
    let body = Scripted(steps.iter().copied().collect());
    let layers = ServiceBuilder::new()
        .layer(from_fn_with_state(Index::new(1), span::enter_span))
        .layer(from_fn(limits::enforce_limits))
        .layer(from_fn(errors::complete_errors))
        .layer(from_fn_with_state(drain, drain::end_on_drain));
    let router = Router::new().fallback(|| async { Response::new(Body::new(body)) }).layer(layers);
    let request = Request::post(format!("/{method}")).header("grpc-timeout", "5S").body(Body::empty());
    let answer = router.oneshot(request.unwrap()).await.unwrap();
    let id = answer.extensions().get::<CallId>().expect("an id").0.clone();
    let collected = answer.into_body().collect().await.unwrap();
    let trailers = collected.trailers().expect("an end");
    assert_eq!(trailers["gantry-call-id"], *id);
    let status = Status::from_header_map(trailers).unwrap();
    let info = status.get_details_error_info();
    (status.code(), info.map(|info| info.reason).unwrap_or_default())
}

#[tokio::test(start_paused = true)]
async fn however_a_stream_ends_it_says_why() {
    const WATCH: &str = "gantry.v1.AppService/WatchApps";
    use Step::{Data, Fail, Panic, Trailers, Wait};
    for (steps, code, reason) in [
        (vec![Data, Trailers(Code::Ok)], Code::Ok, ""),
        (vec![Data, Panic], Code::Internal, "BUG"),
        (vec![Data, Fail], Code::Internal, "BUG"),
        (vec![Trailers(Code::Unavailable)], Code::Unavailable, "THROTTLED"),
        (vec![Data, Wait], Code::DeadlineExceeded, "DEADLINE"),
    ] {
        assert_eq!(end(WATCH, &steps, CancellationToken::new()).await, (code, reason.to_owned()));
    }
    let drain = CancellationToken::new();
    drain.cancel();
    let health = "grpc.health.v1.Health/Watch";
    assert_eq!(end(health, &[Wait], drain).await, (Code::Unavailable, "SHUTTING_DOWN".to_owned()));
}
