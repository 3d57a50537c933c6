//! A corpus of JSON requests, good and bad, with the answers that are promised. Each file in `corpus/` has
//! blocks of a comment, the call with its headers, the body, and the answer, whose lines begin with `< `.
//!
//! After a change that is meant, `GANTRY_UPDATE=1` writes the answers into the files. Read what differs.

use std::{fmt::Write as _, fs, path::Path, time::Duration};

use axum::{body::Bytes, http::Request};
use http_body_util::Full;
use serde_json::Value;

use super::{Reply, send};
use crate::support::{Server, mk_deployment, mk_managed, mk_replica_set, mk_revision, now};

/// Headers of an answer that are promised.
const HEADERS: [&str; 5] = ["content-type", "allow", "retry-after", "cache-control", "vary"];

/// One request of the corpus, as it stands in its file.
struct Block<'a> {
    /// Everything but the answer.
    asked: Vec<&'a str>,
    answer: String,
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    text.split("\n\n")
        .filter(|block| !block.trim().is_empty())
        .map(|block| {
            let (answer, asked) = block.lines().partition::<Vec<_>, _>(|line| line.starts_with("< "));
            Block { asked, answer: answer.join("\n") }
        })
        .collect()
}

/// The apps that the requests are about.
async fn serve() -> Server {
    let server = Server::start().await;
    server.index.update_rows(vec![mk_revision("web", 1), mk_revision("web", 2)], vec![], now());
    server.index.update_rows(vec![mk_replica_set("web")], vec![], now());
    server.apply(mk_managed("web", 2, 2));
    server.apply(mk_deployment("api", 3, 1));
    server.apply(mk_deployment("idle", 0, 0));
    server
}

async fn ask(server: &Server, block: &Block<'_>) -> Reply {
    let lines: Vec<_> = block.asked.iter().filter(|line| !line.starts_with('#')).collect();
    let (call, body) = (lines[0], lines[1..].iter().map(|line| **line).collect::<Vec<_>>().join("\n"));
    let (verb, call) = call.split_once(' ').unwrap();
    let (path, headers) = call.split_once(' ').unwrap_or((call, ""));
    let mut request = Request::builder().method(verb).uri(format!("{}/{path}", server.address));
    let headers: Vec<_> = headers.split(" | ").filter_map(|header| header.split_once(':')).collect();
    if verb == "POST" && !headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/json");
    }
    for (name, value) in headers {
        request = request.header(name, value.trim());
    }
    send(false, request.body(Full::new(Bytes::from(body))).unwrap()).await
}

/// The answer as lines. What differs from run to run is left out, and of details what can be read is shown.
fn written(reply: &Reply) -> String {
    let mut text = format!("< {}", reply.status);
    for name in HEADERS {
        // Every answer varies by what browsers send.
        let usual = ["application/json", "origin, access-control-request-headers"];
        if let Some(value) = reply.header(name).filter(|value| !usual.contains(value)) {
            write!(text, " | {name}: {value}").unwrap();
        }
    }
    let body = String::from_utf8_lossy(&reply.body);
    // The trailers of gRPC-Web are in the body.
    let differs =
        |line: &&str| line.starts_with("gantry-call-id: ") || line.starts_with("gantry-cache-age: ");
    for line in body.lines().filter(|line| !differs(line)) {
        let shown = match serde_json::from_str::<Value>(line) {
            Ok(mut value) if value["details"].is_array() => {
                for detail in value["details"].as_array_mut().unwrap() {
                    detail.as_object_mut().unwrap().remove("value");
                    if detail["type"] == "google.rpc.RequestInfo" {
                        detail.as_object_mut().unwrap().remove("debug");
                    }
                }
                // In the order in which the daemon writes them.
                let [code, message, details] = ["code", "message", "details"].map(|key| &value[key]);
                format!(r#"{{"code":{code},"message":{message},"details":{details}}}"#)
            }
            // The prefixes of frames are not text.
            _ => line.replace(char::is_control, "?"),
        };
        write!(text, "\n< {shown}").unwrap();
    }
    text
}

#[tokio::test]
async fn every_request_of_the_corpus_has_its_answer() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/wire/corpus");
    let update = std::env::var_os("GANTRY_UPDATE").is_some();
    let mut files: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let mut rewritten = String::new();
        for block in blocks(&text) {
            // Each request meets the same apps, whatever the one before it asked for.
            let server = serve().await;
            let host = server.address.trim_start_matches("http://");
            let reply = tokio::time::timeout(Duration::from_secs(5), ask(&server, &block)).await;
            let reply = reply.unwrap_or_else(|_| panic!("no answer to {:?}", block.asked));
            let answer = written(&reply).replace(host, "127.0.0.1:7420");
            count += 1;
            let asked = block.asked.join("\n");
            if answer != block.answer {
                wrong.push(format!(
                    "{}\n{asked}\nexpected\n{}\ngot\n{answer}\n",
                    file.display(),
                    block.answer
                ));
            }
            write!(rewritten, "{asked}\n{answer}\n\n").unwrap();
        }
        if update {
            fs::write(&file, rewritten.trim_end().to_owned() + "\n").unwrap();
        }
    }
    assert!(count >= 200, "{count}");
    assert!(update || wrong.is_empty(), "{} of {count} differ:\n{}", wrong.len(), wrong.join("\n"));
}
