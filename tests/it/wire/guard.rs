//! Calls that a web page can cause are refused; calls of programs are answered.

use axum::http::Version;
use gantry::pb;
use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{framed, grpc_reason, json, post};
use crate::support::{ORIGIN, Server};

const INFO: &str = "/gantry.v1.ServerService/GetServerInfo";

/// Sends these header lines unchanged; returns the status and the whole answer.
async fn raw(server: &Server, head: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(server.address.trim_start_matches("http://")).await.unwrap();
    let request = format!("{head}connection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

#[tokio::test]
async fn only_programs_on_this_machine_are_answered() {
    let server = Server::start().await;
    let json = "content-type: application/json\r\n";
    for (headers, expected) in [
        ("host: localhost\r\n", 200),
        ("host: LOCALHOST:7420\r\n", 200),
        ("host: 127.0.0.1:7420\r\n", 200),
        ("host: [::1]:7420\r\n", 200),
        // DNS rebinding: the page's host name resolves to this machine.
        ("host: evil.example:7420\r\n", 403),
        ("host: localhost.evil.example\r\n", 403),
        ("host: 192.168.0.1\r\n", 403),
        ("", 403),
        ("host: localhost\r\nhost: evil.example\r\n", 403),
        // Cross-site: the browser sends the origin of the page.
        ("host: localhost\r\norigin: https://evil.example\r\n", 403),
        ("host: localhost\r\norigin: http://localhost:3000\r\n", 403),
        ("host: localhost\r\norigin: http://127.0.0.1:7420\r\n", 403),
        ("host: localhost\r\norigin: null\r\n", 403),
        ("host: localhost\r\norigin: https://console.example\r\n", 200),
        ("host: localhost\r\norigin: https://console.example:444\r\n", 403),
        ("host: localhost\r\norigin: https://console.example\r\norigin: https://evil.example\r\n", 403),
        ("host: evil.example\r\norigin: https://console.example\r\n", 403),
        ("host: localhost\r\nsec-fetch-site: cross-site\r\n", 403),
        ("host: localhost\r\nsec-fetch-site: same-site\r\n", 403),
        ("host: localhost\r\nsec-fetch-site: none\r\n", 200),
        ("host: localhost\r\norigin: https://console.example\r\nsec-fetch-site: cross-site\r\n", 200),
    ] {
        let (status, answer) = raw(&server, &format!("POST {INFO} HTTP/1.1\r\n{json}{headers}"), "{}").await;
        assert_eq!(status, expected, "{headers}: {answer}");
        if status == 403 {
            assert!(answer.contains("permission_denied") && answer.contains("NOT_ALLOWED"), "{answer}");
            assert!(!answer.contains("access-control-allow-origin"), "{answer}");
        }
        assert!(!answer.contains("allow-origin: *"), "{answer}");
    }
}

#[tokio::test]
async fn a_refusal_comes_in_the_form_that_is_spoken() {
    let server = Server::start().await;
    let foreign = ("origin", "https://evil.example");
    let message = framed(&pb::GetServerInfoRequest {}.encode_to_vec());
    for (kind, http2) in [("application/grpc", true), ("application/grpc-web+proto", false)] {
        let reply = post(&server, http2, INFO, &[("content-type", kind), foreign], message.clone()).await;
        assert_eq!(reply.status, 403);
        assert_eq!(grpc_reason(&reply.headers), (7, "NOT_ALLOWED".into()), "{kind}");
    }
}

#[tokio::test]
async fn a_page_that_may_call_is_told_so_before() {
    let server = Server::start().await;
    let asks =
        "access-control-request-method: POST\r\naccess-control-request-headers: content-type,x-grpc-web\r\n";
    let preflight =
        |origin: &str| format!("OPTIONS {INFO} HTTP/1.1\r\nhost: localhost\r\norigin: {origin}\r\n{asks}");
    let (status, answer) = raw(&server, &preflight(ORIGIN), "").await;
    assert_eq!(status, 200, "{answer}");
    for header in [
        "allow-origin: https://console.example",
        "allow-methods: GET,POST",
        "allow-headers: content-type,x-grpc-web",
    ] {
        assert!(answer.contains(&format!("access-control-{header}")), "{answer}");
    }
    let (status, answer) = raw(&server, &preflight("https://evil.example"), "").await;
    assert_eq!(status, 403);
    assert!(!answer.contains("access-control-allow"), "{answer}");

    let headers = [("content-type", "application/json"), ("origin", ORIGIN)];
    let reply = post(&server, false, INFO, &headers, "{}").await;
    assert_eq!(reply.header("access-control-allow-origin"), Some(ORIGIN));
    let exposed = reply.header("access-control-expose-headers").unwrap();
    for header in ["grpc-status", "grpc-message", "grpc-status-details-bin", "gantry-call-id"] {
        assert!(exposed.contains(header), "{exposed}");
    }
}

#[tokio::test]
async fn over_http_2_the_authority_counts() {
    let server = Server::start().await;
    let address = server.address.trim_start_matches("http://").to_owned();
    for (authority, expected) in [("localhost:1", 200), ("127.0.0.1", 200), ("evil.example", 403)] {
        let stream = TcpStream::connect(&address).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let executor = hyper_util::rt::TokioExecutor::new();
        let (mut send, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
        let request = axum::http::Request::post(format!("http://{authority}{INFO}"))
            .version(Version::HTTP_2)
            .header("content-type", "application/json")
            .body(http_body_util::Full::new(axum::body::Bytes::from_static(b"{}")))
            .unwrap();
        let reply = tokio::select! {
            reply = send.send_request(request) => reply.unwrap(),
            ended = connection => panic!("the connection ended: {ended:?}"),
        };
        assert_eq!(reply.status(), expected, "{authority}");
    }
    assert_eq!(json(&server, INFO, "{}").await.status, 200);
}
