//! Who may call at all while callers are not told apart: programs on this machine, and no web page. A page
//! can make its visitor's browser send requests to this port, by a name of its own that points here or
//! straight across sites; both leave their mark in headers that a page cannot change.

use std::{str::FromStr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header, uri::Authority},
    middleware::Next,
    response::Response,
};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};
use tracing::info;

use crate::grpc::{
    call::{CACHE_AGE, CALL_ID},
    json,
    loopback::is_loopback_host,
    status,
};

/// How long a browser may remember what it was allowed.
const REMEMBER: std::time::Duration = std::time::Duration::from_hours(2);

/// A web site whose pages may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(HeaderValue);

/// What is no origin.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "an origin looks like https://example.org or http://localhost:3000: scheme, host and port, and nothing after them"
)]
pub struct InvalidOrigin;

/// The origins that are allowed.
pub(in crate::grpc) type Origins = Arc<[Origin]>;

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let (scheme, host) = text.split_once("://").ok_or(InvalidOrigin)?;
        let known = ["http", "https"].contains(&scheme);
        let authority = Authority::from_str(host).map_err(|_| InvalidOrigin)?;
        // As a browser writes it, or it would never match.
        let plain = !host.contains('@') && host == authority.as_str() && host == host.to_ascii_lowercase();
        if !known || !plain || authority.host().is_empty() || host.contains('*') {
            return Err(InvalidOrigin);
        }
        HeaderValue::from_str(text).map(Self).map_err(|_| InvalidOrigin)
    }
}

/// Refuses what comes from a web page that is not allowed.
pub(in crate::grpc) async fn check_origin(
    State(origins): State<Origins>,
    request: Request,
    next: Next,
) -> Response {
    let authority = request.uri().authority().map(Authority::as_str);
    match refusal(authority, request.version(), request.headers(), &origins) {
        None => next.run(request).await,
        Some(why) => {
            info!(path = request.uri().path(), why, "refused");
            json::refuse_request(request.headers(), StatusCode::FORBIDDEN, &status::not_allowed(&why))
        }
    }
}

/// What browsers ask before a page of another site may call, for the allowed ones.
pub(in crate::grpc) fn cors_layer(origins: &Origins) -> CorsLayer {
    let exposed = ["grpc-status", "grpc-message", "grpc-status-details-bin", "trailer-gantry-call-id"];
    let exposed = exposed.map(HeaderName::from_static).into_iter();
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins.iter().map(|origin| origin.0.clone())))
        .allow_methods([Method::POST])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(exposed.chain([CALL_ID, CACHE_AGE]).collect::<Vec<_>>())
        // A page of the Internet that calls into this machine is asked for once more.
        .allow_private_network(true)
        .max_age(REMEMBER)
}

fn refusal(
    authority: Option<&str>,
    version: Version,
    headers: &HeaderMap,
    origins: &[Origin],
) -> Option<String> {
    let hosts = headers.get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or_default());
    let named: Vec<_> = authority.into_iter().chain(hosts).collect();
    // Every browser names the host it believes to speak to. HTTP/2 leaves it to the client, and some name
    // none.
    if named.is_empty() && version < Version::HTTP_2 {
        return Some("the request names no host".to_owned());
    }
    if let Some(host) = named.into_iter().find(|host| !is_loopback_host(host)) {
        return Some(format!(
            "the request is for the host {host:?}; this server answers as localhost, 127.0.0.1 or [::1] only"
        ));
    }
    let mut sent = headers.get_all(header::ORIGIN).iter().peekable();
    if sent.peek().is_some() {
        let origin = sent.find(|sent| origins.iter().all(|allowed| allowed.0 != *sent))?;
        return Some(format!(
            "web pages of {origin:?} may not call this server; --allow-origin of gantryd names those that may"
        ));
    }
    // Sent by browsers also where they send no origin.
    let site = headers.get("sec-fetch-site").map_or("none", |site| site.to_str().unwrap_or_default());
    (!["none", "same-origin"].contains(&site))
        .then(|| format!("a web page of another site (Sec-Fetch-Site: {site:?}) may not call this server"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        for origin in ["http://localhost:3000", "https://example.org", "http://[::1]:80"] {
            assert!(origin.parse::<Origin>().is_ok(), "{origin}");
        }
        for origin in [
            "*",
            "null",
            "localhost:3000",
            "http://",
            "https://a.b/",
            "https://a.b/c",
            "https://A.b",
            "ftp://a.b",
            "https://*.b",
            "https://u@a.b",
            "",
        ] {
            assert!(origin.parse::<Origin>().is_err(), "{origin}");
        }
    }
}
