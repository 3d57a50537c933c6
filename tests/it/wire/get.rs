//! Calls with HTTP GET.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use gantry::pb;
use prost::Message;

use super::{APPS, JSON, get, post};
use crate::support::{ORIGIN, Server, mk_deployment};

const WEB: &str = "message=%7B%22name%22%3A+%22namespaces%2Fshop%2Fapps%2Fweb%22%7D";

#[tokio::test]
async fn a_method_without_side_effects_can_be_called_with_get() {
    let server = Server::start().await;
    server.apply(mk_deployment("web", 1, 1));
    let request = pb::GetAppRequest { name: "namespaces/shop/apps/web".into(), ..Default::default() };
    let binary = BASE64_URL_SAFE_NO_PAD.encode(request.encode_to_vec());
    for (query, kind) in [
        (format!("connect=v1&encoding=json&{WEB}"), "application/json"),
        (WEB.to_owned(), "application/json"),
        (format!("encoding=proto&base64=1&message={binary}"), "application/proto"),
    ] {
        let reply = get(&server, &format!("{APPS}/GetApp?{query}"), &[]).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, Some(kind)), "{query}");
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(reply.header("vary"), Some("authorization, origin"));
        assert!(reply.header("gantry-call-id").is_some());
        if kind == "application/json" {
            // The same call with POST has the same bytes.
            let path = format!("{APPS}/GetApp");
            let posted = post(&server, false, &path, &[JSON], r#"{"name": "namespaces/shop/apps/web"}"#);
            assert_eq!(posted.await.body, reply.body);
        }
    }
    // The address alone is a call, where every field may be left out.
    let reply = get(&server, "/gantry.v1.ServerService/GetServerInfo", &[]).await;
    assert_eq!((reply.status, reply.json()["apps"].as_i64()), (200, Some(1)));
}

#[tokio::test]
async fn an_error_is_not_kept_by_caches_either() {
    let server = Server::start().await;
    for (path, status, reason) in [
        (format!("GetApp?{WEB}"), 404, "APP_NOT_FOUND"),
        ("GetApp?message=%7B".to_owned(), 400, "INVALID_FIELD"),
        ("GetApp?message=a&base64=1&encoding=proto".to_owned(), 400, "INVALID_FIELD"),
        ("GetApp?encoding=xml".to_owned(), 400, "INVALID_FIELD"),
        ("GetApp?name=web".to_owned(), 400, "INVALID_FIELD"),
        ("GetApp".to_owned(), 400, "INVALID_FIELD"),
    ] {
        let reply = get(&server, &format!("{APPS}/{path}"), &[]).await;
        assert_eq!((reply.status, reply.error().1.as_str()), (status, reason), "{path}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{path}");
    }
}

#[tokio::test]
async fn a_method_with_side_effects_is_called_with_post() {
    let server = Server::start().await;
    let host = server.address.trim_start_matches("http://");
    for path in ["DeployApp", "DeleteApp", "WatchApps"] {
        let reply = get(&server, &format!("{APPS}/{path}?message=%7B%7D"), &[]).await;
        assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")), "{path}");
        assert_eq!(reply.error().1, "NOT_IMPLEMENTED");
        // The hint can be pasted.
        let message = reply.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(&format!("http://{host}{APPS}/{path}")), "{message}");
    }
    assert!(server.act.deploys.lock().unwrap().is_empty());
}

/// The guard is the same as for POST, and what a browser sends by itself is not read.
#[tokio::test]
async fn web_pages_may_not_call_with_get() {
    let server = Server::start().await;
    let path = format!("{APPS}/ListApps?message=%7B%22parent%22%3A%22namespaces%2F-%22%7D");
    for (header, status) in [
        (("origin", "https://evil.example"), 403),
        (("sec-fetch-site", "cross-site"), 403),
        (("host", "evil.example"), 403),
        (("origin", ORIGIN), 200),
        (("sec-fetch-site", "none"), 200),
        (("cookie", "authorization=Bearer%20x; grpc-timeout=1n"), 200),
    ] {
        assert_eq!(get(&server, &path, &[header]).await.status, status, "{header:?}");
    }
}
