//! Logs of real pods through the API server, and the timeline of an app across a restart of the daemon.

use std::{collections::BTreeSet, time::Duration};

use gantry::pb::{
    self, stream_logs_response::Event as LogEvent, timeline_entry::Detail, watch_timeline_response::Event,
};
use tokio::time::Instant;
use tonic::Streaming;

use crate::support::{Daemon, Env, run, web};

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

/// Reads a timeline without `follow`; returns its entries and its last token.
async fn read(env: &Env, resume_token: String, end: Instant) -> (Vec<pb::TimelineEntry>, String) {
    let request = pb::WatchTimelineRequest { parent: env.name("web"), resume_token, ..Default::default() };
    let mut token = request.resume_token.clone();
    let mut stream = env.daemon.watch_timeline(request).await.unwrap();
    let mut entries = Vec::new();
    while let Some(message) = next(&mut stream, end).await {
        assert!(message.resume_token.len() < 80, "{}", message.resume_token);
        token = message.resume_token;
        if let Some(Event::Entry(entry)) = message.event {
            entries.push(entry);
        }
    }
    (entries, token)
}

/// What an entry is the beginning of, and what must have come before it if that was in the same second.
fn links(entry: &pb::TimelineEntry) -> (Option<String>, Vec<String>) {
    let pod = entry.object.strip_prefix("pod/").unwrap_or_default();
    match &entry.detail {
        Some(Detail::Rollout(rollout)) => {
            let number: u64 = rollout.name.rsplit('/').next().unwrap().parse().unwrap();
            let ends = (1..number).map(|earlier| format!("end {earlier}"));
            match rollout.state() {
                pb::RolloutState::Pending => (Some(format!("begin {number}")), ends.collect()),
                pb::RolloutState::Succeeded | pb::RolloutState::Failed | pb::RolloutState::Superseded => {
                    (Some(format!("end {number}")), vec![format!("begin {number}")])
                }
                _ => (None, vec![]),
            }
        }
        Some(Detail::KubernetesEvent(event)) => match (event.reason.as_str(), event.note.split_once("pod: "))
        {
            ("SuccessfulCreate", Some((_, pod))) => (Some(format!("create {pod}")), vec![]),
            ("Scheduled", _) => (Some(format!("schedule {pod}")), vec![format!("create {pod}")]),
            ("Pulling" | "Pulled" | "Created" | "Started", _) => {
                (None, vec![format!("create {pod}"), format!("schedule {pod}")])
            }
            _ => (None, vec![]),
        },
        _ => (None, vec![]),
    }
}

#[tokio::test]
async fn entries_of_one_second_are_in_order_and_a_token_brings_what_came_since() {
    run(|env| async move {
        let end = soon();
        for version in 1..=3 {
            let spec = pb::AppSpec {
                replicas: Some(3),
                image: format!("registry.example/web:{version}"),
                ..web()
            };
            env.deploy_and_follow(env.deploy_request("web", spec)).await;
        }
        let (entries, token) = read(&env, String::new(), end).await;
        let seconds: Vec<_> = entries.iter().map(|entry| entry.time.unwrap().seconds).collect();
        assert!(seconds.is_sorted(), "{seconds:?}");
        let links: Vec<_> = entries.iter().map(links).collect();
        for (at, (name, _)) in links.iter().enumerate() {
            let Some(name) = name else { continue };
            let is_effect = |effect: &usize| seconds[*effect] == seconds[at] && links[*effect].1.contains(name);
            let effect = (0..at).find(is_effect);
            assert!(effect.is_none(), "{name} comes after {:?}", effect.map(|effect| &entries[effect]));
        }
        // No entry comes twice, and none is left out.
        let (mut since, token) = read(&env, token, end).await;
        env.scale("web", 4).await.unwrap();
        let scaled = |entries: &[pb::TimelineEntry]| {
            entries.iter().any(|entry| matches!(&entry.detail, Some(Detail::Call(call)) if call.method.ends_with("ScaleApp")))
        };
        let mut token = token;
        while !scaled(&since) {
            let (more, next) = read(&env, token, end).await;
            since.extend(more);
            token = next;
        }
        let all = entries.into_iter().chain(since);
        let mut keys: Vec<_> = all.map(|entry| (entry.object.clone(), key(entry))).collect();
        let all = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), all);
    })
    .await;
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
