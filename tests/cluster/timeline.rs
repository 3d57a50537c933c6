//! Logs of real pods through the API server, and what happened to an app, across a restart of the server.

use std::{collections::BTreeSet, time::Duration};

use gantry::pb::{
    self, stream_logs_response::Event as LogEvent, timeline_entry::Detail, watch_timeline_response::Event,
};
use tokio::time::Instant;
use tonic::Streaming;

use crate::support::{Daemon, run, run_alone, web};

/// The next message; heartbeats may keep a stream alive for ever that has nothing to tell.
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

#[tokio::test]
async fn what_happened_is_told_once_across_a_restart() {
    run_alone(|mut env| async move {
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
        let (mut told, mut token) = (Vec::new(), String::new());
        let mut kinds = BTreeSet::new();
        let wanted = BTreeSet::from(["rollout", "event", "call", "endpoints"]);
        while !wanted.is_subset(&kinds) {
            let message = next(&mut stream, end).await.expect("it goes on");
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
            told.push((entry.time.map(|time| (time.seconds, time.nanos)), entry.message));
        }
        env.daemon.kill().await;
        let request = ask(token);
        env.daemon = Daemon::start().await;

        let mut stream = env.daemon.watch_timeline(request).await.unwrap();
        let Some(Event::Gap(gap)) = next(&mut stream, end).await.unwrap().event else {
            panic!("a gap comes first")
        };
        assert!(gap.start_time.unwrap().seconds <= gap.end_time.unwrap().seconds);
        loop {
            match next(&mut stream, end).await.expect("it goes on").event.unwrap() {
                Event::Entry(entry) => {
                    let entry = (entry.time.map(|time| (time.seconds, time.nanos)), entry.message);
                    assert!(!told.contains(&entry), "{entry:?} was told before");
                }
                Event::Synced(synced) => break assert!(synced.resumed),
                Event::Gap(_) | Event::Heartbeat(_) => {}
            }
        }
        // Whoever comes anew is told of the rollout by its record.
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
