//! Refuses web pages as long as callers are not authenticated: only programs on this machine may call. A page
//! can make its visitor's browser send requests to this port, either through its own host name that resolves
//! to this machine (DNS rebinding) or directly across sites. Both show in headers that a page cannot change.

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

/// The time for which a browser may cache what it is allowed to do.
const REMEMBER: std::time::Duration = std::time::Duration::from_hours(2);

/// A web site whose pages may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(HeaderValue);

/// The error for a text that is not an origin.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "an origin looks like https://example.org or http://localhost:3000: scheme, host and port, and nothing after them"
)]
pub struct InvalidOrigin;

/// The allowed origins.
pub(in crate::grpc) type Origins = Arc<[Origin]>;

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let (scheme, host) = text.split_once("://").ok_or(InvalidOrigin)?;
        let known = ["http", "https"].contains(&scheme);
        let authority = Authority::from_str(host).map_err(|_| InvalidOrigin)?;
        // Must be written as browsers write it, because it is compared as text.
        let plain = !host.contains('@') && host == authority.as_str() && host == host.to_ascii_lowercase();
        if !known || !plain || authority.host().is_empty() || host.contains('*') {
            return Err(InvalidOrigin);
        }
        HeaderValue::from_str(text).map(Self).map_err(|_| InvalidOrigin)
    }
}

/// Refuses requests from web pages that are not allowed.
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

/// Returns the layer that answers the preflight requests of browsers for the allowed origins.
pub(in crate::grpc) fn cors_layer(origins: &Origins) -> CorsLayer {
    let exposed = [
        "grpc-status",
        "grpc-message",
        "grpc-status-details-bin",
        "retry-after",
        "trailer-gantry-call-id",
        "trailer-gantry-cache-age",
    ];
    let exposed = exposed.map(HeaderName::from_static).into_iter();
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins.iter().map(|origin| origin.0.clone())))
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(exposed.chain([CALL_ID, CACHE_AGE]).collect::<Vec<_>>())
        // Browsers ask separately whether a public page may call into a private network.
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
    // Every browser names the host that it calls. In HTTP/2 the name is optional, and some clients send none.
    if named.is_empty() && version < Version::HTTP_2 {
        return Some("the request has no Host header".to_owned());
    }
    if let Some(host) = named.into_iter().find(|host| !is_loopback_host(host)) {
        return Some(format!(
            "the request is for the host {host:?}; gantryd answers only to localhost, 127.0.0.1 and [::1]"
        ));
    }
    let mut sent = headers.get_all(header::ORIGIN).iter().peekable();
    if sent.peek().is_some() {
        let origin = sent.find(|sent| origins.iter().all(|allowed| allowed.0 != *sent))?;
        return Some(format!(
            "web pages of {origin:?} may not call gantryd; allow them with its flag --allow-origin"
        ));
    }
    // Browsers send this header also where they send no origin.
    let site = headers.get("sec-fetch-site").map_or("none", |site| site.to_str().unwrap_or_default());
    (!["none", "same-origin"].contains(&site))
        .then(|| format!("a web page of another site (Sec-Fetch-Site: {site:?}) may not call gantryd"))
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
