//! Ends the streams of health and reflection when the server goes. They know nothing of a drain, and would
//! hold it up; the streams of Gantry's own services end themselves, each with a resume token.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use tokio_util::sync::CancellationToken;

use super::answer::end_early;
use crate::domain::Error;

/// Ends the answer when the server goes.
pub(in crate::grpc) async fn end_on_drain(
    State(drain): State<CancellationToken>,
    request: Request,
    next: Next,
) -> Response {
    end_early(next.run(request).await, async move {
        drain.cancelled().await;
        Error::ShuttingDown.into()
    })
}
