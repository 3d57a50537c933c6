//! The layers that apply to every call of every service, one per file. `server` lists them from the outside
//! to the inside. A layer that refuses a call answers with a bare status, and the layers around it add the
//! call id and the log line.

pub(super) mod audit;
pub(super) mod drain;
pub(super) mod errors;
pub(super) mod limits;
pub(super) mod metrics;
pub(super) mod origin;
pub(super) mod span;

mod answer;
mod arrival;

use axum::extract::Request;

/// Returns the called method as `package.Service/Method`. The path of the caller can also be any other text.
fn method_name(request: &Request) -> &str {
    request.uri().path().trim_start_matches('/')
}

#[cfg(test)]
mod tests;
