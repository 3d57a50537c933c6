//! What every answer says at its end: under which id the log knows the call, and how old the cache was that
//! it was answered from.

use axum::{
    extract::{Request, State},
    http::HeaderValue,
    middleware::Next,
    response::Response,
};
use jiff::Timestamp;

use super::{answer::on_end, method_name};
use crate::{
    grpc::{
        call::{self, CACHE_AGE, CALL_ID, CallId},
        schema,
    },
    index::Index,
};

pub(in crate::grpc) async fn add_trailers(
    State(index): State<Index>,
    request: Request,
    next: Next,
) -> Response {
    let id = call::current_id();
    let cached = schema::method(method_name(&request)).is_some_and(|method| method.cached);
    let mut answer = next.run(request).await;
    answer.extensions_mut().insert(CallId(id.clone()));
    on_end(answer, move |_, trailers| {
        if let Ok(id) = HeaderValue::from_str(&id) {
            trailers.insert(CALL_ID, id);
        }
        if cached && index.is_filled() {
            let oldest = index.kind_ages(Timestamp::now()).into_values().max().unwrap_or_default();
            if let Ok(age) = HeaderValue::from_str(&format!("{:.3}", oldest.as_secs_f64())) {
                trailers.insert(CACHE_AGE, age);
            }
        }
    })
}
