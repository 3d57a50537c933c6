//! The limits of a call: bytes, headers and time; and the metadata of its answer.

use std::time::Duration;

use gantry::pb;
use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};
use tonic::{Code, Request};
use tonic_types::StatusExt;

use super::{APPS, JSON, framed, frames, grpc_reason, json, post};
use crate::support::{Server, mk_deployment, mk_replica_set, mk_revision, now, reason};

const GRPC: (&str, &str) = ("content-type", "application/grpc");

#[tokio::test]
async fn a_large_request_is_refused_in_every_form() {
    let server = Server::start().await;
    let path = format!("{APPS}/DeployApp");
    let big = format!(r#"{{"reason": "{}"}}"#, "x".repeat(1 << 20));
    let reply = json(&server, &path, &big).await;
    assert_eq!(
        (reply.status, reply.error()),
        (429, ("resource_exhausted".into(), "MESSAGE_TOO_LARGE".into()))
    );
    let message =
        framed(&pb::DeployAppRequest { reason: "x".repeat(1 << 20), ..Default::default() }.encode_to_vec());
    let reply = post(&server, true, &path, &[GRPC], message.clone()).await;
    assert_eq!(grpc_reason(&reply.headers), (8, "MESSAGE_TOO_LARGE".into()));
    let web = ("content-type", "application/grpc-web");
    let reply = post(&server, false, &path, &[web], message.clone()).await;
    assert_eq!(grpc_reason(&reply.headers), (8, "MESSAGE_TOO_LARGE".into()));
    let connect = ("content-type", "application/connect+proto");
    let reply = post(&server, false, &format!("{APPS}/WatchApps"), &[connect], message).await;
    assert!(String::from_utf8_lossy(&frames(&reply.body)[0].1).contains("MESSAGE_TOO_LARGE"));
}

#[tokio::test]
async fn large_headers_are_refused_with_a_reason() {
    let server = Server::start().await;
    let path = format!("{APPS}/GetApp");
    let big = "x".repeat(20 * 1024);
    for http2 in [false, true] {
        let reply = post(&server, http2, &path, &[JSON, ("x-big", &big)], "{}").await;
        assert_eq!(reply.error(), ("resource_exhausted".into(), "MESSAGE_TOO_LARGE".into()));
    }
    let reply = post(&server, true, &path, &[GRPC, ("x-big", &big)], framed(&[])).await;
    assert_eq!(grpc_reason(&reply.headers), (8, "MESSAGE_TOO_LARGE".into()));
}

#[tokio::test]
async fn a_compression_that_is_not_spoken_is_named() {
    let server = Server::start().await;
    let headers = [GRPC, ("grpc-encoding", "snappy")];
    let reply = post(&server, true, &format!("{APPS}/GetApp"), &headers, framed(&[])).await;
    assert_eq!(grpc_reason(&reply.headers), (12, "NOT_IMPLEMENTED".into()));
    // A compressed frame without a header that announces compression.
    let reply = post(&server, true, &format!("{APPS}/GetApp"), &[GRPC], vec![1, 0, 0, 0, 0]).await;
    assert_eq!(grpc_reason(&reply.headers), (3, "INVALID_FIELD".into()));
}

#[tokio::test]
async fn every_answer_says_under_which_id_the_log_knows_it() {
    let server = Server::start().await;
    server.apply(mk_deployment("web", 1, 1));
    let get =
        |name: &str| pb::GetAppRequest { name: format!("namespaces/shop/apps/{name}"), ..Default::default() };
    let reply =
        post(&server, true, &format!("{APPS}/GetApp"), &[GRPC], framed(&get("web").encode_to_vec())).await;
    assert_eq!(reply.trailers["grpc-status"], "0");
    assert!(reply.trailers.contains_key("gantry-call-id"));
    assert!(reply.trailers["gantry-cache-age"].to_str().unwrap().contains('.'));
    let status = server.apps().get_app(get("wed")).await.unwrap_err();
    assert!(
        status.metadata().contains_key("gantry-call-id")
            && status.metadata().contains_key("gantry-cache-age")
    );
    // An answer that does not come from the cache has no age.
    let info = server.server().get_server_info(pb::GetServerInfoRequest {}).await.unwrap();
    assert!(
        info.metadata().contains_key("gantry-call-id") && !info.metadata().contains_key("gantry-cache-age")
    );
}

#[tokio::test]
async fn a_deadline_is_kept_in_json_and_says_what_was_waited_for() {
    let server = Server::start().await;
    *server.act.delay.lock().unwrap() = Duration::from_millis(500);
    let body = r#"{"app": {"name": "namespaces/shop/apps/web", "spec": {"image": "web:1"}}}"#;
    for header in [("connect-timeout-ms", "100"), ("grpc-timeout", "100m")] {
        let reply = post(&server, false, &format!("{APPS}/DeployApp"), &[JSON, header], body).await;
        assert_eq!((reply.status, reply.error()), (504, ("deadline_exceeded".into(), "DEADLINE".into())));
        let text = reply.json().to_string();
        assert!(text.contains("DeployApp") && text.contains(r#""mayHaveHappened":"true""#), "{text}");
    }
}

#[tokio::test]
async fn without_a_deadline_a_call_has_half_a_minute_and_a_wait_what_it_asks_for() {
    let server = Server::start().await;
    server.index.update_rows(vec![mk_revision("web", 1)], vec![], now());
    server.index.update_rows(vec![mk_replica_set("web")], vec![], now());
    let mut deployment = mk_deployment("web", 2, 1);
    deployment.revision = Some(1);
    server.apply(deployment);
    *server.act.delay.lock().unwrap() = Duration::from_secs(100);
    tokio::time::pause();
    let began = Instant::now();
    let app = pb::App {
        name: "namespaces/shop/apps/web".into(),
        spec: Some(pb::AppSpec { image: "web:1".into(), ..Default::default() }),
        ..Default::default()
    };
    let deploy = pb::DeployAppRequest { app: Some(app), ..Default::default() };
    let status = server.apps().deploy_app(deploy).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::DeadlineExceeded, "DEADLINE"));
    assert_eq!(began.elapsed().as_secs(), 30);
    assert_eq!(status.get_error_details().error_info().unwrap().metadata["mayHaveHappened"], "true");

    let began = Instant::now();
    let timeout = Some(prost_types::Duration { seconds: 45, nanos: 0 });
    let name = "namespaces/shop/apps/web/rollouts/1".to_owned();
    let waited = server.rollouts().wait_rollout(Request::new(pb::WaitRolloutRequest { name, timeout })).await;
    assert!(waited.unwrap().into_inner().rollout.is_some());
    assert!((40..50).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

/// Sends the beginning of something, then nothing. Returns what came until the server closed the connection,
/// and the time that passed.
async fn dawdle(server: &Server, begin: &str) -> (String, Duration) {
    let mut stream = TcpStream::connect(server.address.trim_start_matches("http://")).await.unwrap();
    stream.write_all(begin.as_bytes()).await.unwrap();
    // From here on the clock jumps to the next timer whenever no task can run.
    tokio::time::pause();
    let began = Instant::now();
    let mut answer = String::new();
    let _ = tokio::time::timeout(Duration::from_secs(120), stream.read_to_string(&mut answer)).await;
    let took = began.elapsed();
    tokio::time::resume();
    (answer, took)
}

#[tokio::test]
async fn a_connection_that_dawdles_is_ended() {
    let server = Server::start().await;
    for begin in ["", "P", "PRI * HTTP/2.0\r\n", "POST /x HTTP/1.1\r\nhost: localhost\r\nx-slow"] {
        let (_, took) = dawdle(&server, begin).await;
        assert!(took <= Duration::from_secs(21), "{begin:?} {took:?}");
    }
    // A connection on which no further request comes.
    let info = "POST /gantry.v1.ServerService/GetServerInfo HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    let (answer, took) = dawdle(&server, &format!("{info}content-length: 2\r\n\r\n{{}}")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(took <= Duration::from_secs(21), "{took:?}");
    // Only the head of a request comes, for a method without its own deadline.
    let wait = info.replace("ServerService/GetServerInfo", "RolloutService/WaitRollout");
    let (answer, took) =
        dawdle(&server, &format!("{wait}connection: close\r\ncontent-length: 2\r\n\r\n{{")).await;
    assert!(answer.starts_with("HTTP/1.1 504") && answer.contains("the rest of the request"), "{answer}");
    assert!(took <= Duration::from_secs(31), "{took:?}");
}

/// Collects the log.
#[derive(Clone, Default)]
struct Log(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_names_method_app_and_call() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    // Set for the whole process. With a subscriber on one thread only, events of code that another thread ran
    // first would be missed.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let server = Server::start().await;
    let name = "namespaces/shop/apps/web".to_owned();
    let status = server.apps().get_app(pb::GetAppRequest { name, ..Default::default() }).await.unwrap_err();
    let id = status.metadata().get("gantry-call-id").unwrap().to_str().unwrap();
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let line = logged
        .lines()
        .find(|line| line.contains(id) && line.contains("refused"))
        .unwrap_or_else(|| panic!("{logged}"));
    for part in ["method=gantry.v1.AppService/GetApp", "app=\"namespaces/shop/apps/web\""] {
        assert!(line.contains(part), "{part} in {line}");
    }
}
