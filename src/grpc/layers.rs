//! What holds for every call of every service, one layer a file, so that no service can forget it. `server`
//! lists them from the outside to the inside. A layer that refuses a call answers with a bare status; those
//! outside of it give the answer its id and its log line.

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

/// The method that is called, `package.Service/Method`, as far as the caller's path is one.
fn method_name(request: &Request) -> &str {
    request.uri().path().trim_start_matches('/')
}

#[cfg(test)]
mod tests;
