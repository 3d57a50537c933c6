//! Bounds the headers of a call.

use axum::{extract::Request, middleware::Next, response::Response};

use super::answer::to_response;
use crate::grpc::status;

/// Bytes of all headers of a call.
const LARGEST: usize = 16 * 1024;

pub(in crate::grpc) async fn limit_headers(request: Request, next: Next) -> Response {
    let bytes: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > LARGEST {
        let text = format!("the headers have {bytes} bytes; {LARGEST} are allowed");
        return to_response(&status::too_large(&text));
    }
    next.run(request).await
}
