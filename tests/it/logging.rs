//! StreamLogs: past lines, new lines, replicas that come and go, slow readers.

mod load;

use std::time::Duration;

use gantry::{
    domain::{Error, logs::LogError, observed},
    pb::{self, stream_logs_response::Event},
};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;

use crate::support::{Server, mk_managed, mk_pod, mk_replica_set, mk_revision, now, reason};

const WEB: &str = "namespaces/shop/apps/web";

/// A server with an app of these replicas.
async fn start(replicas: &[&str]) -> Server {
    let server = Server::start().await;
    server.index.update_rows(vec![mk_revision("web", 1)], vec![], now());
    server.index.update_rows(vec![mk_replica_set("web")], vec![], now());
    server.index.update_rows(replicas.iter().map(|id| mk_pod("web", id, true)).collect(), vec![], now());
    server.apply(mk_managed("web", 1, 1));
    server
}

fn ask() -> pb::StreamLogsRequest {
    pb::StreamLogsRequest { parent: WEB.into(), ..Default::default() }
}

async fn open(server: &Server, request: pb::StreamLogsRequest) -> Streaming<pb::StreamLogsResponse> {
    server.timelines().stream_logs(request).await.unwrap().into_inner()
}

/// The next message: a line as `a: text`, a notice about a log in brackets.
async fn next(stream: &mut Streaming<pb::StreamLogsResponse>) -> Option<Result<String, Status>> {
    let message = tokio::time::timeout(Duration::from_secs(10), stream.message()).await.expect("it comes");
    let event = match message {
        Ok(message) => message?.event.unwrap(),
        Err(status) => return Some(Err(status)),
    };
    Some(Ok(match event {
        Event::Line(line) => {
            assert!(line.time.is_some());
            format!("{}: {}", line.pod.strip_prefix("web-1-").unwrap(), line.text)
        }
        Event::Notice(notice) => format!("[{}] {}", notice.pod.trim_start_matches("web-1-"), notice.message),
        Event::Heartbeat(_) => panic!("not within ten seconds"),
    }))
}

async fn some(stream: &mut Streaming<pb::StreamLogsResponse>, count: usize) -> Vec<String> {
    let mut got = Vec::new();
    for _ in 0..count {
        got.push(next(stream).await.expect("more").unwrap());
    }
    got
}

async fn all(server: &Server, request: pb::StreamLogsRequest) -> Result<Vec<String>, Status> {
    let mut stream = server.timelines().stream_logs(request).await?.into_inner();
    let mut got = Vec::new();
    while let Some(item) = next(&mut stream).await {
        got.push(item?);
    }
    Ok(got)
}

#[tokio::test]
async fn past_lines_of_all_replicas_come_in_the_order_of_their_time() {
    let server = start(&["a", "b"]).await;
    for (pod, second, text) in [("a", 1, "one"), ("b", 2, "two"), ("a", 3, "three"), ("b", 3, "four")] {
        server.logs.print(&format!("web-1-{pod}"), &format!("2026-01-02T03:00:0{second}.5Z"), text);
    }
    assert_eq!(all(&server, ask()).await.unwrap(), ["a: one", "b: two", "a: three", "b: four"]);
    let tail = pb::StreamLogsRequest { tail_lines: Some(1), ..ask() };
    assert_eq!(all(&server, tail).await.unwrap(), ["a: three", "b: four"]);
    let none = pb::StreamLogsRequest { tail_lines: Some(0), ..ask() };
    assert_eq!(all(&server, none).await.unwrap(), Vec::<String>::new());
    let time: jiff::Timestamp = "2026-01-02T03:00:02.5Z".parse().unwrap();
    let after = Some(prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() });
    let late = pb::StreamLogsRequest { after, ..ask() };
    assert_eq!(all(&server, late).await.unwrap(), ["a: three", "b: four"]);
    let one = pb::StreamLogsRequest { pod: "web-1-b".into(), ..ask() };
    assert_eq!(all(&server, one).await.unwrap(), ["b: two", "b: four"]);
    let rollout = |n: u64| pb::StreamLogsRequest { rollout: format!("{WEB}/rollouts/{n}"), ..ask() };
    assert_eq!(all(&server, rollout(1)).await.unwrap().len(), 4);

    let opened = server.logs.opened.lock().unwrap();
    assert!(opened.iter().all(|wanted| &*wanted.container == "app" && !wanted.follow && !wanted.previous));
    assert!(opened[..2].iter().all(|wanted| wanted.tail == Some(100)), "{:?}", &opened[..2]);
    assert!(opened[4..6].iter().all(|wanted| wanted.tail.is_none()), "with a time, all");
}

#[tokio::test]
async fn what_cannot_be_read_is_named() {
    let server = start(&["a"]).await;
    server.logs.print("web-1-a", "2026-01-02T03:00:00Z", "x");
    let refused = async |request| reason(&all(&server, request).await.unwrap_err());
    let parent = "namespaces/shop/apps/none".into();
    assert_eq!(refused(pb::StreamLogsRequest { parent, ..ask() }).await, "APP_NOT_FOUND");
    let rollout = format!("{WEB}/rollouts/7");
    assert_eq!(refused(pb::StreamLogsRequest { rollout, ..ask() }).await, "ROLLOUT_NOT_FOUND");
    let fields = async |request| {
        let status = all(&server, request).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
        status.get_error_details().bad_request().unwrap().field_violations[0].field.clone()
    };
    assert_eq!(fields(pb::StreamLogsRequest { pod: "web-1-z".into(), ..ask() }).await, "pod");
    assert_eq!(
        fields(pb::StreamLogsRequest { rollout: "namespaces/shop/apps/b/rollouts/1".into(), ..ask() }).await,
        "rollout"
    );
    assert_eq!(fields(pb::StreamLogsRequest { previous: true, follow: true, ..ask() }).await, "follow");
    assert_eq!(fields(pb::StreamLogsRequest { tail_lines: Some(-1), ..ask() }).await, "tail_lines");

    let refuse = |why| *server.logs.refuse.lock().unwrap() = Some(why);
    refuse(LogError::NoContainer("container proxy is not valid for pod web-1-a".into()));
    assert_eq!(fields(pb::StreamLogsRequest { container: "proxy".into(), ..ask() }).await, "container");
    let (object, message) = ("pods/log of shop/web-1-a".into(), "forbidden".into());
    refuse(LogError::Failed(Error::DaemonForbidden { verb: "get", object, message }));
    assert_eq!(refused(ask()).await, "DAEMON_RBAC_MISSING");
    refuse(LogError::Failed(Error::Unreachable { message: "gone".into() }));
    assert_eq!(refused(ask()).await, "CLUSTER_UNREACHABLE");
    // A replica without a readable log is no error, because other replicas may have one.
    refuse(LogError::NotNow("container \"app\" in pod \"web-1-a\" is waiting to start".into()));
    let got = all(&server, ask()).await.unwrap();
    assert!(got.len() == 1 && got[0].starts_with("[a] its log cannot be read: container"), "{got:?}");
}

#[tokio::test]
async fn the_log_before_the_last_restart_is_another_one() {
    let server = start(&["a"]).await;
    server.logs.print("web-1-a", "2026-01-02T03:00:00Z", "last words");
    let request = pb::StreamLogsRequest { previous: true, container: "side".into(), ..ask() };
    assert_eq!(all(&server, request).await.unwrap(), ["a: last words"]);
    let opened = server.logs.opened.lock().unwrap();
    assert!(opened[0].previous && &*opened[0].container == "side");
}

#[tokio::test]
async fn replicas_that_come_are_read_from_their_beginning_and_those_that_go_to_their_end() {
    let server = start(&["a"]).await;
    server.logs.print("web-1-a", "2026-01-02T03:00:00Z", "before");
    let mut stream =
        open(&server, pb::StreamLogsRequest { follow: true, tail_lines: Some(5), ..ask() }).await;
    assert_eq!(some(&mut stream, 1).await, ["a: before"]);
    server.logs.print("web-1-a", "2026-01-02T03:00:00Z", "after, in the same second");
    assert_eq!(some(&mut stream, 1).await, ["a: after, in the same second"]);

    for text in ["first", "second"] {
        server.logs.print("web-1-b", "2026-01-02T03:00:01Z", text);
    }
    server.index.update_rows(vec![mk_pod("web", "b", false)], vec![], now());
    assert_eq!(some(&mut stream, 3).await, ["[b] its log begins", "b: first", "b: second"]);

    // The replica is deleted, and prints a line before it ends.
    server.index.update_rows::<observed::Pod>(vec![], vec![("shop".into(), "web-1-a".into())], now());
    server.logs.print("web-1-a", "2026-01-02T03:00:02Z", "last words");
    assert_eq!(some(&mut stream, 1).await, ["a: last words"]);
    server.logs.end("web-1-a");
    assert_eq!(some(&mut stream, 1).await, ["[a] its log has ended: the replica is gone"]);

    server.drain.cancel();
    assert_eq!(reason(&next(&mut stream).await.unwrap().unwrap_err()), "SHUTTING_DOWN");
}

#[tokio::test]
async fn a_log_that_breaks_goes_on_where_it_was() {
    let server = start(&["a", "b"]).await;
    for text in ["1", "2"] {
        server.logs.print("web-1-a", "2026-01-02T03:00:00.7Z", text);
    }
    let mut stream = open(&server, pb::StreamLogsRequest { follow: true, ..ask() }).await;
    // The other replica has no log yet, which must not delay this one.
    let first = some(&mut stream, 3).await;
    assert!(first[0].starts_with("[b] its log cannot be read: container"), "{first:?}");
    assert_eq!(first[1..], ["a: 1", "a: 2"]);
    let said = some(&mut stream, 1).await;
    assert!(said[0].starts_with("[b] its log cannot be read and is opened again"), "{said:?}");

    server.logs.print("web-1-a", "2026-01-02T03:00:00.8Z", "3");
    assert_eq!(some(&mut stream, 1).await, ["a: 3"]);
    server.logs.cut("web-1-a");
    let said = some(&mut stream, 1).await;
    assert!(said[0].starts_with("[a] its log broke off and is opened again"), "{said:?}");
    server.logs.print("web-1-a", "2026-01-02T03:00:00.9Z", "4");
    assert_eq!(some(&mut stream, 1).await, ["a: 4"]);
    server.logs.print("web-1-b", "2026-01-02T03:00:01Z", "there");
    assert_eq!(some(&mut stream, 2).await, ["[b] its log begins", "b: there"]);
}

#[tokio::test]
async fn a_slow_reader_loses_what_it_is_told_and_holds_nobody() {
    const LINES: usize = 20_000;
    let server = start(&["a", "b"]).await;
    server.logs.print_many("web-1-a", std::iter::once("not wanted".to_owned()));
    server.logs.print_many("web-1-b", std::iter::once("not wanted".to_owned()));
    let follow = || pb::StreamLogsRequest { follow: true, tail_lines: Some(0), ..ask() };
    let mut slow = open(&server, follow()).await;
    let mut quick = open(&server, follow()).await;
    let opened = || server.logs.opened.lock().unwrap().iter().filter(|wanted| wanted.follow).count();
    crate::support::until(|| opened() >= 4).await;

    server.logs.print_many("web-1-a", (0..LINES).map(|n| format!("{n} {}", "x".repeat(1000))));
    server.logs.print_many("web-1-b", std::iter::once("bye".to_owned()));
    // A reader gets the line of the quiet replica, however much the other replica prints.
    let mut of_b = Vec::new();
    while of_b.last().is_none_or(|line| line != "b: bye") {
        let got = next(&mut quick).await.unwrap().unwrap();
        if got.starts_with('b') {
            of_b.push(got);
        }
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.logs.print_many("web-1-a", std::iter::once("end".to_owned()));

    let (mut lines, mut dropped, mut last) = (0, 0, None);
    loop {
        let got = next(&mut slow).await.unwrap().unwrap();
        if let Some(word) = got.strip_prefix("[a] ").filter(|word| word.contains("dropped")) {
            dropped += word.split(' ').next().unwrap().parse::<usize>().unwrap();
        } else if got == "a: end" {
            break;
        } else if let Some(number) =
            got.strip_prefix("a: ").and_then(|line| line.split(' ').next()?.parse().ok())
        {
            assert!(last.replace(number).is_none_or(|last: usize| last < number), "in order");
            lines += 1;
        }
    }
    assert!(dropped > 0, "it was slow");
    assert_eq!(lines + dropped, LINES);
}
