//! Ends the streams of health and reflection when the server goes. They know nothing of a drain, and would
//! hold it up; the streams of Gantry's own services end themselves, each with a resume token.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use tokio_util::sync::CancellationToken;

use super::{answer::end_early, method_name};
use crate::domain::Error;

pub(in crate::grpc) async fn end_on_drain(
    State(drain): State<CancellationToken>,
    request: Request,
    next: Next,
) -> Response {
    let method = method_name(&request);
    let knows_drain = method != "grpc.health.v1.Health/Watch" && !method.starts_with("grpc.reflection.");
    let answer = next.run(request).await;
    if knows_drain {
        return answer;
    }
    end_early(answer, async move {
        drain.cancelled_owned().await;
        Error::ShuttingDown.into()
    })
}
