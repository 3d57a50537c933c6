//! Ends the streams of health and reflection when the server goes. They know nothing of a drain, and would
//! hold it up; the streams of Gantry's own services end themselves, each with a resume token.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use tokio_util::sync::CancellationToken;

use super::{answer::end_early, method_name};
use crate::domain::Error;

/// The token is shared, because each layer around this one clones it for each call, and a token locks to be cloned.
pub(in crate::grpc) async fn end_on_drain(
    State(drain): State<Arc<CancellationToken>>,
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
        drain.cancelled().await;
        Error::ShuttingDown.into()
    })
}
