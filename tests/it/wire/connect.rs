//! Connect and lines of JSON.

use std::time::Duration;

use axum::{body::Bytes, http::Request};
use gantry::pb;
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use prost::Message;
use serde_json::{Value, json as value};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{APPS, JSON, code_and_reason, framed, frames, json, post};
use crate::support::{Server, mk_deployment};

const WEB: &str = r#"{"name": "namespaces/shop/apps/web"}"#;

#[tokio::test]
async fn a_unary_call_in_json() {
    let server = Server::start().await;
    server.apply(mk_deployment("web", 2, 1));
    for http2 in [false, true] {
        let reply = post(&server, http2, &format!("{APPS}/GetApp"), &[JSON], WEB).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
        let app = &reply.json()["app"];
        assert_eq!(app["name"], "namespaces/shop/apps/web");
        assert_eq!(app["status"]["desiredReplicas"], 2, "{app}");
        assert!(reply.header("gantry-cache-age").unwrap().parse::<f64>().is_ok());
        assert_eq!(reply.header("trailer-gantry-cache-age"), reply.header("gantry-cache-age"));
        assert!(reply.header("gantry-call-id").is_some());
    }
}

#[tokio::test]
async fn a_unary_call_in_binary() {
    let server = Server::start().await;
    server.apply(mk_deployment("web", 2, 1));
    let request = pb::GetAppRequest { name: "namespaces/shop/apps/web".into(), ..Default::default() };
    let binary = [("content-type", "application/proto"), ("connect-protocol-version", "1")];
    let reply = post(&server, false, &format!("{APPS}/GetApp"), &binary, request.encode_to_vec()).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/proto")));
    let app = pb::GetAppResponse::decode(reply.body).unwrap().app.unwrap();
    assert_eq!(app.name, request.name);
}

#[tokio::test]
async fn an_error_is_connects_error() {
    let server = Server::start().await;
    let reply = json(&server, &format!("{APPS}/GetApp"), WEB).await;
    assert_eq!((reply.status, reply.header("content-type")), (404, Some("application/json")));
    assert_eq!(reply.error(), ("not_found".into(), "APP_NOT_FOUND".into()));
    assert!(reply.json()["message"].as_str().unwrap().contains("namespaces/shop/apps/web"));
    assert!(reply.header("gantry-call-id").is_some());

    let path = format!("{APPS}/DeployApp");
    let reply = json(
        &server,
        &path,
        r#"{"app": {"name": "namespaces/shop/apps/web", "spec": {"ports": [{"name": "a"}]}}}"#,
    )
    .await;
    assert_eq!((reply.status, reply.error()), (400, ("invalid_argument".into(), "INVALID_FIELD".into())));
    assert!(reply.json().to_string().contains("app.spec.ports[0].number"), "{}", reply.json());
}

#[tokio::test]
async fn what_is_not_in_the_contract_is_refused_by_name() {
    let server = Server::start().await;
    let reply = json(&server, &format!("{APPS}/GetApp"), r#"{"nam": "x", "readAfter": ""}"#).await;
    assert_eq!((reply.status, reply.error()), (400, ("invalid_argument".into(), "INVALID_FIELD".into())));
    let bad = reply.json()["details"]
        .as_array()
        .unwrap()
        .iter()
        .find(|d| d["type"] == "google.rpc.BadRequest")
        .cloned();
    assert_eq!(bad.unwrap()["debug"]["fieldViolations"][0]["field"], "nam");

    for (path, http, reason) in [
        ("/gantry.v1.AppService/Nonsense", 404, "METHOD_NOT_FOUND"),
        ("/nothing", 404, "METHOD_NOT_FOUND"),
        ("/gantry.v1.AutoscalerService/SimulateAutoscaler", 501, "NOT_IMPLEMENTED"),
    ] {
        let body = if http == 501 { r#"{"name": "namespaces/shop/apps/web/autoscaler"}"# } else { "{}" };
        let reply = json(&server, path, body).await;
        assert_eq!((reply.status, reply.error()), (http, ("unimplemented".into(), reason.into())), "{path}");
    }
    let reply = json(&server, "/gantry.v1.AppService/GetApps", "{}").await;
    let message = reply.json()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("did you mean gantry.v1.AppService/GetApp?"), "{message}");
}

#[tokio::test]
async fn other_forms_are_refused_with_a_reason() {
    let server = Server::start().await;
    let path = format!("{APPS}/GetApp");
    for (kind, http) in [
        ("text/plain", 415),
        ("application/connect+json", 415),
        ("application/grpc+json", 415),
        ("application/grpc", 426),
    ] {
        let reply = post(&server, false, &path, &[("content-type", kind)], "{}").await;
        assert_eq!((reply.status, reply.error().1.as_str()), (http, "NOT_IMPLEMENTED"), "{kind}");
    }
    for header in
        [("content-encoding", "br"), ("connect-protocol-version", "2"), ("connect-timeout-ms", "soon")]
    {
        let reply = post(&server, false, &path, &[JSON, header], "{}").await;
        assert!([400, 501].contains(&reply.status), "{header:?}");
        reply.error();
    }
    let streamed = ("content-type", "application/proto");
    let reply = post(&server, false, &format!("{APPS}/WatchApps"), &[streamed], framed(&[])).await;
    assert!([400, 415].contains(&reply.status), "{}", reply.status);
}

/// Reads the lines of a stream as they come.
struct Lines {
    body: hyper::body::Incoming,
    read: Vec<u8>,
}

impl Lines {
    async fn open(server: &Server, request: &str) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let request = Request::post(format!("{}{APPS}/WatchApps", server.address))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(request.to_owned())))
            .unwrap();
        let reply = client.request(request).await.unwrap();
        assert_eq!(reply.headers()["content-type"], "application/x-ndjson");
        assert!(reply.headers().contains_key("gantry-call-id"));
        Self { body: reply.into_body(), read: vec![] }
    }

    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.read.iter().position(|b| *b == b'\n') {
                let line: Vec<_> = self.read.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = tokio::time::timeout(Duration::from_secs(5), self.body.frame());
            self.read.extend(frame.await.expect("a line in time")?.unwrap().into_data().unwrap());
        }
    }
}

#[tokio::test]
async fn a_stream_comes_as_lines_and_ends_with_the_error() {
    let server = Server::start().await;
    server.apply(mk_deployment("web", 1, 1));
    let mut lines = Lines::open(&server, r#"{"parent": "namespaces/shop"}"#).await;
    assert_eq!(lines.next().await.unwrap()["updated"]["name"], "namespaces/shop/apps/web");
    assert_eq!(lines.next().await.unwrap()["synced"], value!({}));
    // Each line is sent when its change happens; the stream is still open.
    server.apply(mk_deployment("api", 1, 1));
    assert_eq!(lines.next().await.unwrap()["updated"]["name"], "namespaces/shop/apps/api");
    // An idle connection that waits for its next request does not delay the shutdown.
    let mut idle = TcpStream::connect(server.address.trim_start_matches("http://")).await.unwrap();
    idle.write_all(b"POST / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    assert!(idle.read(&mut [0; 4096]).await.unwrap() > 0);
    server.drain.cancel();
    server.accept.cancel();
    let last = lines.next().await.unwrap();
    assert_eq!(code_and_reason(&last["error"]), ("unavailable".into(), "SHUTTING_DOWN".into()));
    assert!(lines.next().await.is_none());
    tokio::time::timeout(Duration::from_secs(3), server.ended).await.expect("the server ends").unwrap();
}

/// A message is made only when the reader takes it. When a slow reader reads on, it gets each app once, in
/// its current state.
#[tokio::test]
async fn a_slow_reader_of_lines_holds_nothing() {
    let server = Server::start().await;
    let change = |n: i32| {
        let mut app = mk_deployment("web", n, 0);
        app.spec.args = vec!["x".repeat(100_000)];
        server.apply(app);
    };
    change(0);
    let mut lines = Lines::open(&server, r#"{"parent": "namespaces/shop"}"#).await;
    lines.next().await.unwrap();
    for n in 1..=400 {
        change(n);
        // Lets the server send what it wants to send.
        tokio::task::yield_now().await;
    }
    let mut count = 0;
    loop {
        let line = lines.next().await.unwrap();
        count += 1;
        if line["updated"]["status"]["desiredReplicas"] == 400 {
            break;
        }
    }
    assert!(count < 200, "{count} of 400 states, 40 MB, were stored for a reader that did not read");
}

#[tokio::test]
async fn a_panic_is_an_error_in_json_too() {
    let server = Server::start().await;
    let body =
        r#"{"reason": "panic", "app": {"name": "namespaces/shop/apps/web", "spec": {"image": "web:1"}}}"#;
    let reply = json(&server, &format!("{APPS}/DeployApp"), body).await;
    assert_eq!((reply.status, reply.error()), (500, ("internal".into(), "BUG".into())));
    assert!(reply.json().to_string().contains("google.rpc.RequestInfo"));
}

#[tokio::test]
async fn a_stream_that_does_not_begin_is_an_error_and_no_stream() {
    let server = Server::start().await;
    let reply = json(&server, &format!("{APPS}/WatchApps"), "{}").await;
    assert_eq!((reply.status, reply.error().1.as_str()), (400, "INVALID_FIELD"));
}

#[tokio::test]
async fn a_stream_in_connects_frames() {
    let server = Server::start().await;
    server.apply(mk_deployment("web", 1, 1));
    let request = framed(br#"{"parent": "namespaces/shop"}"#);
    let headers = [("content-type", "application/connect+json"), ("connect-timeout-ms", "300")];
    let reply = post(&server, false, &format!("{APPS}/WatchApps"), &headers, request).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/connect+json")));
    let frames = frames(&reply.body);
    let parsed: Vec<Value> = frames.iter().map(|(_, m)| serde_json::from_slice(m).unwrap()).collect();
    assert_eq!(frames.iter().map(|(flags, _)| *flags).collect::<Vec<_>>(), [0, 0, 2]);
    assert_eq!(parsed[0]["updated"]["name"], "namespaces/shop/apps/web");
    assert_eq!(code_and_reason(&parsed[2]["error"]), ("deadline_exceeded".into(), "DEADLINE".into()));
    assert!(parsed[2].to_string().contains("changes of namespaces/shop"), "{}", parsed[2]);
    assert!(parsed[2]["metadata"]["gantry-call-id"][0].is_string());
    assert!(parsed[2]["metadata"]["gantry-cache-age"][0].is_string());

    // An error before the first message is the last frame too.
    let reply = post(&server, false, &format!("{APPS}/WatchApps"), &headers, framed(b"{}")).await;
    let end: Value = serde_json::from_slice(&super::frames(&reply.body)[0].1).unwrap();
    assert_eq!((reply.status, code_and_reason(&end["error"]).1.as_str()), (200, "INVALID_FIELD"));
}

#[tokio::test]
async fn health_answers_in_json() {
    let server = Server::start().await;
    let path = "/grpc.health.v1.Health/Check";
    let reply = json(&server, path, r#"{"service": "liveness"}"#).await;
    assert_eq!((reply.status, reply.json()), (200, value!({"status": "SERVING"})));
    let reply = json(&server, path, r#"{"service": "nonsense"}"#).await;
    assert_eq!((reply.status, reply.error()), (404, ("not_found".into(), "INVALID_FIELD".into())));
}
