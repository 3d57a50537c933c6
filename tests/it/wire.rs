//! The wire: every protocol in which the API can be called, what is refused before a method is called, and
//! the limits of a call. Speaks plain HTTP, so that no client library stands between.

mod connect;
mod corpus;
mod fuzz;
mod get;
mod grpc;
mod guard;
mod limits;
pub mod rules;
mod web;

use std::time::Duration;

use axum::{
    body::Bytes,
    http::{HeaderMap, Method, Request},
};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use prost::Message;
use serde_json::Value;
use tonic_types::pb as rpc;

use crate::support::Server;

const APPS: &str = "/gantry.v1.AppService";
const JSON: (&str, &str) = ("content-type", "application/json");

/// The answer to one request.
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
}

/// Sends one request and reads the whole answer.
pub async fn send(http2: bool, request: Request<Full<Bytes>>) -> Reply {
    let client = Client::builder(TokioExecutor::new()).http2_only(http2).build_http();
    let sent = tokio::time::timeout(Duration::from_secs(10), client.request(request));
    let (head, body) = sent.await.expect("an answer in time").unwrap().into_parts();
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().cloned().unwrap_or_default();
    Reply { status: head.status.as_u16(), headers: head.headers, body: collected.to_bytes(), trailers }
}

fn request(
    server: &Server,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(format!("{}{path}", server.address));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(body)).unwrap()
}

/// Sends a request with POST.
pub async fn post(
    server: &Server,
    http2: bool,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Reply {
    send(http2, request(server, Method::POST, path, headers, body.into())).await
}

/// Sends a request with GET.
pub async fn get(server: &Server, path: &str, headers: &[(&str, &str)]) -> Reply {
    send(false, request(server, Method::GET, path, headers, Bytes::new())).await
}

/// Sends JSON over HTTP/1.1, as `curl` does.
pub async fn json(server: &Server, path: &str, body: &str) -> Reply {
    post(server, false, path, &[JSON], body.to_owned()).await
}

// === impl Reply ===

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e} in {:?}", self.body))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Code and reason of an error, as a Connect client reads them.
    pub fn error(&self) -> (String, String) {
        code_and_reason(&self.json())
    }
}

/// Code and reason of an error in JSON. Its details must be readable and decodable.
pub fn code_and_reason(error: &Value) -> (String, String) {
    use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
    let details = error["details"].as_array().unwrap_or_else(|| panic!("no details in {error}"));
    let info = details.iter().find(|detail| detail["type"] == "google.rpc.ErrorInfo");
    let info = info.unwrap_or_else(|| panic!("no ErrorInfo in {error}"));
    let value = BASE64_STANDARD_NO_PAD.decode(info["value"].as_str().unwrap()).unwrap();
    let decoded = rpc::ErrorInfo::decode(value.as_slice()).unwrap();
    assert_eq!(decoded.domain, "gantry.dev");
    assert_eq!(info["debug"]["reason"], decoded.reason.as_str(), "{error}");
    (error["code"].as_str().unwrap().to_owned(), decoded.reason)
}

/// Reason of an error in gRPC's headers or trailers.
pub fn grpc_reason(headers: &HeaderMap) -> (i32, String) {
    let status =
        tonic::Status::from_header_map(headers).unwrap_or_else(|| panic!("no status in {headers:?}"));
    (status.code() as i32, crate::support::reason(&status))
}

/// A message in gRPC's frame.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(message);
    frame
}

/// The frames in a body, as flags and content.
pub fn frames(mut body: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    while let Some((&[flags, a, b, c, d], rest)) = body.split_first_chunk::<5>() {
        let (content, rest) = rest.split_at(u32::from_be_bytes([a, b, c, d]) as usize);
        found.push((flags, content.to_vec()));
        body = rest;
    }
    assert!(body.is_empty(), "{body:?} is left");
    found
}
