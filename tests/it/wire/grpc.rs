//! gRPC as the protocol has it, below what client libraries show: messages of errors, compression, many calls
//! on one connection, and health.

use std::io::Write as _;

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use gantry::pb;
use prost::Message;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_stream::StreamExt as _;
use tonic::{Code, codec::CompressionEncoding};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{APPS, framed, frames, grpc_reason, post};
use crate::support::{Server, mk_deployment};

const GRPC: (&str, &str) = ("content-type", "application/grpc");

fn gzip(message: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(message).unwrap();
    let mut frame = framed(&packed.finish().unwrap());
    frame[0] = 1;
    frame
}

/// The definition of Percent-Encoded in gRPC over HTTP/2.
#[tokio::test]
async fn the_message_of_an_error_escapes_what_the_specification_says() {
    let server = Server::start().await;
    for (name, escaped) in [
        ("namespaces/shop/apps/a?b#c d", "a?b#c d"),
        ("namespaces/shop/apps/{a}<b>`c`\\", "{a}<b>`c`\\"),
        ("namespaces/shop/apps/100%", "100%25"),
        ("namespaces/shop/apps/h\u{e4}user", "h%C3%A4user"),
        ("namespaces/shop/apps/\u{1f600}", "%F0%9F%98%80"),
    ] {
        let request = pb::GetAppRequest { name: name.into(), ..Default::default() };
        let body = framed(&request.encode_to_vec());
        let reply = post(&server, true, &format!("{APPS}/GetApp"), &[GRPC], body).await;
        let sent = reply.header("grpc-message").unwrap();
        assert!(sent.contains(escaped), "{sent}");
        assert!(!sent.contains("%20") && !sent.contains("%22"), "{sent}");
        let status = tonic::Status::from_header_map(&reply.headers).unwrap();
        assert!(status.message().contains(name.rsplit('/').next().unwrap()), "{}", status.message());
    }
}

#[tokio::test]
async fn requests_and_answers_may_be_packed() {
    let server = Server::start().await;
    server.apply(mk_deployment("web", 1, 1));
    let request = pb::GetAppRequest { name: "namespaces/shop/apps/web".into(), ..Default::default() };
    let path = format!("{APPS}/GetApp");
    let headers = [GRPC, ("grpc-encoding", "gzip"), ("grpc-accept-encoding", "identity,gzip")];
    let reply = post(&server, true, &path, &headers, gzip(&request.encode_to_vec())).await;
    assert_eq!(reply.header("grpc-encoding"), Some("gzip"));
    let (flags, packed) = frames(&reply.body).remove(0);
    assert_eq!(flags, 1);
    let mut message = Vec::new();
    std::io::Read::read_to_end(&mut GzDecoder::new(packed.as_slice()), &mut message).unwrap();
    assert_eq!(pb::GetAppResponse::decode(message.as_slice()).unwrap().app.unwrap().name, request.name);

    // A caller that does not say that it takes gzip gets none.
    let reply = post(&server, true, &path, &[GRPC], framed(&request.encode_to_vec())).await;
    assert_eq!((reply.header("grpc-encoding"), frames(&reply.body)[0].0), (None, 0));

    // A library does all of it by itself.
    let mut apps =
        server.apps().send_compressed(CompressionEncoding::Gzip).accept_compressed(CompressionEncoding::Gzip);
    apps.get_app(request).await.unwrap();
    let parent = "namespaces/shop".to_owned();
    let watch = apps.watch_apps(pb::WatchAppsRequest { parent, ..Default::default() });
    watch.await.unwrap().into_inner().next().await.unwrap().unwrap();
}

/// A few kilobytes of gzip can hold gigabytes.
#[tokio::test]
async fn a_request_is_bounded_after_it_is_unpacked() {
    let server = Server::start().await;
    let bomb = pb::DeployAppRequest { reason: "x".repeat(64 << 20), ..Default::default() }.encode_to_vec();
    let bomb = gzip(&bomb);
    assert!(bomb.len() < 100_000);
    let path = format!("{APPS}/DeployApp");
    let reply = post(&server, true, &path, &[GRPC, ("grpc-encoding", "gzip")], bomb.clone()).await;
    assert_eq!(grpc_reason(&reply.headers), (8, "MESSAGE_TOO_LARGE".into()));
    let headers = [("content-type", "application/proto"), ("content-encoding", "gzip")];
    let reply = post(&server, false, &path, &headers, bomb[5..].to_vec()).await;
    assert_eq!(reply.error().1, "MESSAGE_TOO_LARGE");
    // What is no gzip is said, too.
    let reply = post(&server, false, &path, &headers, "{}").await;
    assert_eq!(reply.error().1, "INVALID_FIELD");
}

/// A client library has one connection for everything. Were there no room, a call would wait in the client
/// until its deadline, and nothing would say why.
#[tokio::test]
async fn a_connection_with_many_open_streams_takes_more_calls() {
    let server = Server::start().await;
    server.apply(mk_deployment("web", 1, 1));
    let mut streams = Vec::new();
    for _ in 0..400 {
        let request = pb::WatchAppsRequest { parent: "namespaces/shop".into(), ..Default::default() };
        let mut stream = server.apps().watch_apps(request).await.unwrap().into_inner();
        stream.next().await.unwrap().unwrap();
        streams.push(stream);
    }
    let request = pb::GetAppRequest { name: "namespaces/shop/apps/web".into(), ..Default::default() };
    let mut apps = server.apps();
    let call = tokio::time::timeout(std::time::Duration::from_secs(5), apps.get_app(request));
    call.await.expect("an answer in time").unwrap();
}

#[tokio::test]
async fn health_is_answered_as_its_protocol_says() {
    let server = Server::start().await;
    let mut client = HealthClient::new(server.channel.clone());
    let ask = |service: &str| HealthCheckRequest { service: service.to_owned() };
    for service in ["gantry.v1.Nothing", "AppService", "gantry.v1.AppService/GetApp"] {
        let status = client.check(ask(service)).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
        assert!(status.message().contains(service), "{}", status.message());
        let mut watch = client.watch(ask(service)).await.unwrap().into_inner();
        let first = watch.next().await.unwrap().unwrap();
        assert_eq!(first.status(), ServingStatus::ServiceUnknown);
        // The stream stays open: the service may come.
        assert!(tokio::time::timeout(std::time::Duration::from_millis(50), watch.next()).await.is_err());
    }
    for service in ["liveness", "gantry.v1.AppService", "gantry.v1.TimelineService", "readiness", ""] {
        let mut watch = client.watch(ask(service)).await.unwrap().into_inner();
        let expected = if service == "liveness" { ServingStatus::Serving } else { ServingStatus::NotServing };
        assert_eq!(watch.next().await.unwrap().unwrap().status(), expected, "{service}");
        let checked = client.check(ask(service)).await.unwrap().into_inner();
        assert_eq!(checked.status(), expected, "{service}");
    }
    let mut watch = client.watch(ask("")).await.unwrap().into_inner();
    assert_eq!(watch.next().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    server.health.set_ready(true);
    assert_eq!(watch.next().await.unwrap().unwrap().status(), ServingStatus::Serving);
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;

/// A frame of HTTP/2 (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A client that cancels many calls at once keeps its connection, and all other calls on it. Their frames may
/// arrive together with those that begin them.
#[tokio::test]
async fn many_cancelled_calls_do_not_end_the_connection() {
    let server = Server::start().await;
    let path = format!("{APPS}/WatchApps");
    // HPACK: POST and http are in the static table; path, authority and content type are literals.
    let mut head = vec![0x83, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
    head.extend_from_slice(path.as_bytes());
    head.extend_from_slice(b"\x01\x09localhost\x0f\x10\x10application/grpc");
    let mut burst = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    burst.extend(frame(SETTINGS, 0, 0, &[]));
    for call in 0..400 {
        burst.extend(frame(HEADERS, 4, 2 * call + 1, &head));
        burst.extend(frame(RST_STREAM, 0, 2 * call + 1, &[0, 0, 0, 8]));
    }
    burst.extend(frame(PING, 0, 0, b"are you?"));
    let mut stream = TcpStream::connect(server.address.trim_start_matches("http://")).await.unwrap();
    stream.write_all(&burst).await.unwrap();
    loop {
        let mut head = [0; 9];
        let read = tokio::time::timeout(std::time::Duration::from_secs(5), stream.read_exact(&mut head));
        read.await.expect("an answer in time").expect("the connection is open");
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut payload).await.unwrap();
        assert_ne!(head[3], GOAWAY, "{}", String::from_utf8_lossy(&payload));
        if (head[3], payload.as_slice()) == (PING, b"are you?") {
            return;
        }
    }
}

#[tokio::test]
async fn grpc_is_called_with_post() {
    let server = Server::start().await;
    for kind in ["application/grpc-web", "application/grpc-web-text", "application/grpc-web+proto"] {
        let reply = super::get(&server, &format!("{APPS}/GetApp"), &[("content-type", kind)]).await;
        assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")), "{kind}");
        assert_eq!(grpc_reason(&reply.headers), (12, "NOT_IMPLEMENTED".into()));
    }
}
