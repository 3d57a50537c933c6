//! Readers that do not read: each costs its place in the log of changes and nothing else, however many
//! changes follow.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use gantry::{
    domain::observed,
    pb::{self, app_service_client::AppServiceClient, watch_apps_response::Event},
};
use tonic::{Streaming, transport::Channel};

use crate::support::{Server, mk_deployment};

const APPS: i32 = 50;
const CHANGES: i32 = 10_000;
/// The least bytes of one message. All messages together are so large that a stored copy would be noticed.
const SIZE: usize = 20_000;

/// The app that changes last.
const LAST: &str = "last";

/// A change that makes a large message.
fn mk_change(number: i32) -> observed::Deployment {
    let mut deployment = mk_deployment(&format!("app-{:02}", number % APPS), CHANGES, number);
    deployment.spec.env = [("BIG".to_owned(), "x".repeat(SIZE))].into();
    deployment
}

/// Memory of this process in bytes.
fn resident() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

async fn watch(server: &Server) -> Streaming<pb::WatchAppsResponse> {
    // A separate connection, so that the unread bytes of one reader do not block another.
    let channel = Channel::from_shared(server.address.clone()).unwrap().connect().await.unwrap();
    let request = pb::WatchAppsRequest { parent: "namespaces/shop".into(), ..Default::default() };
    AppServiceClient::new(channel).watch_apps(request).await.unwrap().into_inner()
}

/// Reads until the change of the last app; returns the number of messages. By then every other app must be in
/// its last state.
async fn read_to_the_end(stream: &mut Streaming<pb::WatchAppsResponse>) -> usize {
    let (mut last, mut messages) = (BTreeMap::new(), 0);
    loop {
        let message = stream.message().await.unwrap().unwrap();
        messages += 1;
        let Some(Event::Updated(app)) = message.event else { continue };
        if app.name.ends_with(LAST) {
            break;
        }
        let ready = app.status.unwrap().ready_replicas;
        let before = last.insert(app.name.clone(), ready).unwrap_or_default();
        assert!(before <= ready, "{}: {ready} after {before}", app.name);
    }
    assert_eq!(last.len(), usize::try_from(APPS).unwrap());
    assert!(last.values().all(|ready| *ready > CHANGES - APPS), "{last:?}");
    messages
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_messages_to_readers_that_sleep_are_stored_nowhere_and_delay_no_call() {
    let server = Server::start().await;
    (1..=APPS).for_each(|number| server.apply(mk_change(number)));
    let mut sleepers = Vec::new();
    for _ in 0..3 {
        let mut stream = watch(&server).await;
        stream.message().await.unwrap().unwrap();
        sleepers.push(stream);
    }
    let mut awake = watch(&server).await;

    let before = resident();
    let (mut most, mut slowest) = (before, Duration::ZERO);
    let changing = async {
        for number in APPS + 1..=CHANGES {
            server.apply(mk_change(number));
            if number % 1000 == 0 {
                let asked = Instant::now();
                let name = "namespaces/shop/apps/app-00".to_owned();
                let got =
                    server.apps().get_app(pb::GetAppRequest { name, ..Default::default() }).await.unwrap();
                slowest = slowest.max(asked.elapsed());
                let ready = got.into_inner().app.unwrap().status.unwrap().ready_replicas;
                assert_eq!(ready, number, "a read is answered from the latest state");
                most = most.max(resident());
            }
        }
        server.apply(mk_deployment(LAST, 1, 1));
        Instant::now()
    };
    let reading = async {
        let messages = read_to_the_end(&mut awake).await;
        (messages, Instant::now())
    };
    let (changed, (messages, read)) = tokio::join!(changing, reading);
    let late = read.saturating_duration_since(changed);
    assert!(late < Duration::from_secs(5), "the reader has the last states {late:?} after the change");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    assert!(messages >= usize::try_from(APPS).unwrap());
    let kept = u64::try_from(CHANGES).unwrap() * u64::try_from(SIZE).unwrap();
    let grown = most.max(resident()).saturating_sub(before);
    // A copy of every message, wherever it was stored, would be as large as `kept`. The other tests of this
    // process take up to 100 MB while they run beside this one.
    eprintln!(
        "memory grew by {grown} bytes, {messages} messages were read, the last {late:?} after its change"
    );
    assert!(grown < kept / 8 * 7, "memory grew by {grown} bytes");

    // A reader that wakes up gets the latest state of each app, and of earlier states only those that were in
    // the connection.
    for mut stream in sleepers {
        let messages =
            tokio::time::timeout(Duration::from_secs(20), read_to_the_end(&mut stream)).await.unwrap();
        assert!(messages < 5_000, "{messages} messages for {CHANGES} changes");
    }
}
