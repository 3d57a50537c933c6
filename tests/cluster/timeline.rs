//! Logs of real pods through the API server, and the timeline of an app across a restart of the daemon.

use std::{collections::BTreeSet, time::Duration};

use gantry::pb::{
    self, stream_logs_response::Event as LogEvent, timeline_entry::Detail, watch_timeline_response::Event,
};
use tokio::time::Instant;
use tonic::Streaming;

use crate::support::{Daemon, run, web};

/// The next message. There is a time limit, because heartbeats keep an idle stream open for ever.
async fn next<T>(stream: &mut Streaming<T>, until: Instant) -> Option<T> {
    tokio::time::timeout_at(until, stream.message()).await.expect("it comes").unwrap()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(90)
}

#[tokio::test]
async fn logs_of_all_replicas_are_followed_through_a_rollout() {
    run(|env| async move {
        let end = soon();
        let three = |image: &str| pb::AppSpec { replicas: Some(3), image: image.into(), ..web() };
        env.deploy_and_follow(env.deploy_request("web", three("registry.example/web:1"))).await;
        let request = pb::StreamLogsRequest { parent: env.name("web"), ..Default::default() };
        let mut past = env.daemon.stream_logs(request.clone()).await.unwrap();
        let (mut pods, mut times) = (BTreeSet::new(), Vec::new());
        while let Some(message) = next(&mut past, end).await {
            let Some(LogEvent::Line(line)) = message.event else { panic!("{message:?}") };
            assert!(!line.container.is_empty() && !line.text.is_empty(), "{line:?}");
            let time = line.time.unwrap();
            times.push((time.seconds, time.nanos));
            pods.insert(line.pod);
        }
        assert_eq!(pods.len(), 3);
        assert!(times.is_sorted(), "{times:?}");

        let request = pb::StreamLogsRequest { follow: true, ..request };
        let mut live = env.daemon.stream_logs(request).await.unwrap();
        let later = env.deploy_request("web", three("registry.example/web:2"));
        env.daemon.deploy_app(later).await.unwrap();
        let (mut began, mut ended, mut spoke) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        while began.len() < 3 || ended.len() < 3 || !began.is_subset(&spoke) {
            match next(&mut live, end).await.expect("it goes on").event.unwrap() {
                LogEvent::Line(line) => drop(spoke.insert(line.pod)),
                LogEvent::Notice(notice) if notice.message.contains("begins") => {
                    began.insert(notice.pod);
                }
                LogEvent::Notice(notice) if notice.message.contains("is gone") => {
                    ended.insert(notice.pod);
                }
                LogEvent::Notice(_) | LogEvent::Heartbeat(_) => {}
            }
        }
        assert_eq!(ended, pods, "those of before went");
        assert!(began.is_disjoint(&pods));
    })
    .await;
}

/// Identifies an entry: its time and message.
type Key = (Option<(i64, i32)>, String);

fn key(entry: pb::TimelineEntry) -> Key {
    (entry.time.map(|time| (time.seconds, time.nanos)), entry.message)
}

/// Reads until a rollout, an event, a call and endpoints came; returns the entries and the last resume token.
async fn read_until_every_kind_came(
    stream: &mut Streaming<pb::WatchTimelineResponse>,
    end: Instant,
) -> (Vec<Key>, String) {
    let (mut sent, mut token) = (Vec::new(), String::new());
    let mut kinds = BTreeSet::new();
    let wanted = BTreeSet::from(["rollout", "event", "call", "endpoints"]);
    while !wanted.is_subset(&kinds) {
        let message = next(stream, end).await.expect("it goes on");
        token = message.resume_token;
        let Some(Event::Entry(entry)) = message.event else { continue };
        kinds.insert(match &entry.detail {
            Some(Detail::Rollout(_)) => "rollout",
            Some(Detail::KubernetesEvent(_)) => "event",
            Some(Detail::Call(call)) => {
                assert!(call.method.ends_with("/DeployApp") && call.code == 0, "{call:?}");
                "call"
            }
            Some(Detail::Endpoints(_)) => "endpoints",
            _ => "other",
        });
        sent.push(key(entry));
    }
    (sent, token)
}

async fn resumes_with_a_gap_and_repeats_nothing(
    stream: &mut Streaming<pb::WatchTimelineResponse>,
    end: Instant,
    sent: &[Key],
) {
    let Some(Event::Gap(gap)) = next(stream, end).await.unwrap().event else { panic!("a gap comes first") };
    assert!(gap.start_time.unwrap().seconds <= gap.end_time.unwrap().seconds);
    loop {
        match next(stream, end).await.expect("it goes on").event.unwrap() {
            Event::Entry(entry) => {
                let entry = key(entry);
                assert!(!sent.contains(&entry), "{entry:?} was sent before");
            }
            Event::Synced(synced) => break assert!(synced.resumed),
            Event::Gap(_) | Event::Heartbeat(_) => {}
        }
    }
}

#[tokio::test]
async fn what_happened_is_sent_once_across_a_restart() {
    run(|mut env| async move {
        let end = soon();
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        let parent = env.name("web");
        let ask = |resume_token: String| pb::WatchTimelineRequest {
            parent: parent.clone(),
            follow: true,
            resume_token,
            ..Default::default()
        };
        let mut stream = env.daemon.watch_timeline(ask(String::new())).await.unwrap();
        let (sent, token) = read_until_every_kind_came(&mut stream, end).await;
        env.daemon.kill().await;
        env.daemon = Daemon::start().await;

        let mut stream = env.daemon.watch_timeline(ask(token)).await.unwrap();
        resumes_with_a_gap_and_repeats_nothing(&mut stream, end, &sent).await;
        // A new reader gets the rollout from its record.
        let request = pb::WatchTimelineRequest { follow: false, ..ask(String::new()) };
        let mut stream = env.daemon.watch_timeline(request).await.unwrap();
        let mut ended = false;
        while let Some(message) = next(&mut stream, end).await {
            if let Some(Event::Entry(entry)) = message.event {
                ended |= entry.message.starts_with("Rollout 1 succeeded");
            }
        }
        assert!(ended);
    })
    .await;
}
