//! Random bytes in every protocol get an answer, and an error has a reason.

use proptest::{
    prelude::{Just, Strategy, any},
    prop_oneof,
    strategy::ValueTree,
    test_runner::TestRunner,
};

use super::{APPS, Reply, code_and_reason, framed, frames, grpc_reason, post};
use crate::support::{Server, mk_deployment};

const METHODS: [&str; 5] = ["GetApp", "DeployApp", "ListApps", "ScaleApp", "DeleteApp"];
const CASES: usize = 300;

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let raw = || proptest::collection::vec(any::<u8>(), 0..200);
    // A message that begins like a real one reaches deeper code. It is field 1 with a length, which is the
    // app in a deploy.
    let shaped = raw().prop_map(|tail| {
        let mut message = vec![0x0a, u8::try_from(tail.len().min(127)).unwrap()];
        message.extend_from_slice(&tail[..tail.len().min(127)]);
        framed(&message)
    });
    let json = r#"(\{"(app|name|x)": ?(\{"spec": \{"ports": \[\{"number": -?[0-9]{1,6}\}\]\}\}|"[a-z/]{0,20}"|null|[0-9.e]{1,5})\}|.{0,60})"#;
    prop_oneof![raw(), raw().prop_map(|message| framed(&message)), shaped, json.prop_map(String::into_bytes)]
}

fn check(kind: &str, reply: &Reply) {
    if kind.starts_with("application/grpc") {
        let told = |headers: &axum::http::HeaderMap| {
            headers.get("grpc-status").map(|status| (status != "0").then(|| grpc_reason(headers)))
        };
        // A successful answer of gRPC-Web has its status in the body.
        if let Some(Some((_, reason))) = told(&reply.headers).or_else(|| told(&reply.trailers)) {
            assert_ne!(reason, "BUG");
        }
    } else if kind.contains("connect") {
        let (flags, end) = frames(&reply.body).pop().unwrap();
        assert_eq!(flags, 2);
        let end: serde_json::Value = serde_json::from_slice(&end).unwrap();
        assert_ne!(code_and_reason(&end["error"]).1, "BUG");
    } else if reply.status != 200 {
        assert_ne!(code_and_reason(&reply.json()).1, "BUG");
    }
}

#[tokio::test]
async fn random_bytes_are_answered_with_a_reason() {
    let server = Server::start().await;
    server.apply(mk_deployment("web", 1, 1));
    let mut runner = TestRunner::deterministic();
    let kinds = prop_oneof![
        Just(("application/grpc", true)),
        Just(("application/grpc-web", false)),
        Just(("application/grpc-web-text", false)),
        Just(("application/json", false)),
        Just(("application/proto", false)),
        Just(("application/connect+json", false)),
        Just(("application/connect+proto", false)),
    ];
    let input = (kinds, proptest::sample::select(METHODS.to_vec()), bytes());
    for _ in 0..CASES {
        let ((kind, http2), method, body) = input.new_tree(&mut runner).unwrap().current();
        // A deadline, because a request that happens to be valid must not keep a stream open.
        let headers = [("content-type", kind), ("grpc-timeout", "50m"), ("connect-timeout-ms", "50")];
        let method = if kind.contains("connect") { "WatchApps" } else { method };
        let reply = post(&server, http2, &format!("{APPS}/{method}"), &headers, body).await;
        check(kind, &reply);
    }
    // The server still answers.
    let reply =
        super::json(&server, &format!("{APPS}/GetApp"), r#"{"name": "namespaces/shop/apps/web"}"#).await;
    assert_eq!(reply.status, 200);
}
