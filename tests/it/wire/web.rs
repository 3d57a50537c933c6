//! gRPC-Web, over HTTP/1.1 as browsers speak it and over HTTP/2, in binary and in text.

use axum::http::{HeaderMap, HeaderName};
use base64::{Engine, prelude::BASE64_STANDARD};
use gantry::pb;
use prost::Message;

use super::{APPS, framed, frames, grpc_reason, post};
use crate::support::{Server, mk_deployment};

const WEB: (&str, &str) = ("content-type", "application/grpc-web+proto");

fn get() -> Vec<u8> {
    framed(
        &pb::GetAppRequest { name: "namespaces/shop/apps/web".into(), ..Default::default() }.encode_to_vec(),
    )
}

/// The trailers in the last frame of an answer.
fn trailers(body: &[u8]) -> HeaderMap {
    let (flags, content) = frames(body).pop().unwrap();
    assert_eq!(flags, 0x80);
    let text = String::from_utf8(content).unwrap();
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.trim().parse().unwrap())).collect()
}

#[tokio::test]
async fn a_unary_call() {
    let server = Server::start().await;
    server.apply(mk_deployment("web", 1, 1));
    for http2 in [false, true] {
        let reply = post(&server, http2, &format!("{APPS}/GetApp"), &[WEB], get()).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/grpc-web+proto")));
        let message = frames(&reply.body).remove(0).1;
        assert_eq!(
            pb::GetAppResponse::decode(message.as_slice()).unwrap().app.unwrap().name,
            "namespaces/shop/apps/web"
        );
        let trailers = trailers(&reply.body);
        assert_eq!(trailers["grpc-status"], "0");
        assert!(trailers.contains_key("gantry-cache-age") && trailers.contains_key("gantry-call-id"));
    }
}

#[tokio::test]
async fn a_unary_call_in_text() {
    let server = Server::start().await;
    server.apply(mk_deployment("web", 1, 1));
    // The form of the answer is that of the request, whatever a browser accepts by default.
    let text = [("content-type", "application/grpc-web-text"), ("accept", "*/*")];
    let reply = post(&server, false, &format!("{APPS}/GetApp"), &text, BASE64_STANDARD.encode(get())).await;
    // Each part has its own padding.
    let body: Vec<u8> = reply
        .body
        .split_inclusive(|b| *b == b'=')
        .fold(Vec::<Vec<u8>>::new(), |mut parts, part| {
            match parts.last_mut() {
                Some(last) if part == b"=" || last.len() % 4 != 0 => last.extend(part),
                _ => parts.push(part.to_vec()),
            }
            parts
        })
        .iter()
        .flat_map(|part| BASE64_STANDARD.decode(part).unwrap())
        .collect();
    assert_eq!(trailers(&body)["grpc-status"], "0");
}

#[tokio::test]
async fn a_stream_and_its_end() {
    let server = Server::start().await;
    server.apply(mk_deployment("web", 1, 1));
    let request = pb::WatchAppsRequest { parent: "namespaces/shop".into(), ..Default::default() };
    let headers = [WEB, ("grpc-timeout", "300m")];
    let body = framed(&request.encode_to_vec());
    let reply = post(&server, false, &format!("{APPS}/WatchApps"), &headers, body).await;
    assert_eq!(frames(&reply.body).len(), 3, "an app, synced, trailers");
    assert_eq!(grpc_reason(&trailers(&reply.body)), (4, "DEADLINE".into()));
}

#[tokio::test]
async fn errors_have_reasons() {
    let server = Server::start().await;
    for (path, body, expected) in [
        ("GetApp", get(), (5, "APP_NOT_FOUND")),
        ("GetApp", framed(&[]), (3, "INVALID_FIELD")),
        ("GetApp", vec![9, 9, 9], (3, "INVALID_FIELD")),
        ("Nonsense", framed(&[]), (12, "METHOD_NOT_FOUND")),
    ] {
        let reply = post(&server, false, &format!("{APPS}/{path}"), &[WEB], body).await;
        let (code, reason) = grpc_reason(&reply.headers);
        assert_eq!((code, reason.as_str()), expected, "{path}");
    }
}

/// JSON in the frames of gRPC-Web, which some proxies and test tools of browsers send.
#[tokio::test]
async fn json_in_frames() {
    let server = Server::start().await;
    server.apply(mk_deployment("web", 1, 1));
    let kind = ("content-type", "application/grpc-web+json");
    for http2 in [false, true] {
        let body = framed(br#"{"name": "namespaces/shop/apps/web"}"#);
        let reply = post(&server, http2, &format!("{APPS}/GetApp"), &[kind], body).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, Some(kind.1)));
        let message: serde_json::Value = serde_json::from_slice(&frames(&reply.body)[0].1).unwrap();
        assert_eq!(message["app"]["name"], "namespaces/shop/apps/web");
        assert_eq!(trailers(&reply.body)["grpc-status"], "0");

        let headers = [kind, ("grpc-timeout", "300m")];
        let body = framed(br#"{"parent": "namespaces/shop"}"#);
        let reply = post(&server, http2, &format!("{APPS}/WatchApps"), &headers, body).await;
        let synced: serde_json::Value = serde_json::from_slice(&frames(&reply.body)[1].1).unwrap();
        assert_eq!(synced["synced"], serde_json::json!({}));
        assert_eq!(grpc_reason(&trailers(&reply.body)), (4, "DEADLINE".into()));
    }
    for (body, expected) in [
        (framed(br#"{"nam": ""}"#), (3, "INVALID_FIELD")),
        (framed(br#"{"name": "namespaces/shop/apps/none"}"#), (5, "APP_NOT_FOUND")),
        (b"{}".to_vec(), (3, "INVALID_FIELD")),
    ] {
        let reply = post(&server, false, &format!("{APPS}/GetApp"), &[kind], body).await;
        assert_eq!(reply.header("content-type"), Some(kind.1));
        let headers =
            if reply.headers.contains_key("grpc-status") { reply.headers } else { trailers(&reply.body) };
        let (code, reason) = grpc_reason(&headers);
        assert_eq!((code, reason.as_str()), expected);
    }
}
