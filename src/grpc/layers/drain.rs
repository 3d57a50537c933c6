//! Ends the streams of health and reflection when the daemon shuts down. They do not know about the shutdown
//! and would delay it. The streams of Gantry's own services end themselves, each with a resume token.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use tokio_util::sync::CancellationToken;

use super::answer::end_early;
use crate::domain::Error;

/// Ends the answer when the daemon shuts down.
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
