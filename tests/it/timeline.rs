//! WatchTimeline: one ordered history of an app, each entry sent once, however often the stream is
//! interrupted.

use std::{sync::Arc, time::Duration};

use gantry::{
    autoscale::{Evaluation, Memory, Policy},
    domain::{
        name, observed,
        revision::{End, Outcome},
    },
    index::{Decision, TimelineEvent},
    pb::{self, timeline_entry::Detail, watch_timeline_response::Event},
};
use jiff::{SignedDuration, Timestamp};
use tonic::{Code, Status, Streaming};

use crate::{
    printed::Printed,
    support::{Server, mk_deployment, mk_managed, mk_pod, mk_replica_set, mk_revision, now, reason},
};

const WEB: &str = "namespaces/shop/apps/web";

fn ask(token: &str) -> pb::WatchTimelineRequest {
    let after = now() - SignedDuration::from_hours(1);
    pb::WatchTimelineRequest {
        parent: WEB.into(),
        after: Some(prost_types::Timestamp { seconds: after.as_second(), nanos: 0 }),
        follow: true,
        resume_token: token.into(),
    }
}

fn web() -> name::App {
    name::App::new("shop", "web")
}

/// An event about a separate pod, because the index stores only the latest few events of one object.
fn mk_event(id: &str, second: i64, count: i32) -> observed::Event {
    let pod = id.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) % 100_000;
    observed::Event {
        id: id.into(),
        about: observed::About {
            namespace: "shop".into(),
            kind: observed::Kind::Pod,
            name: format!("web-1-{pod:05}").into(),
        },
        container: None,
        warning: true,
        reason: "BackOff".into(),
        note: id.into(),
        count,
        time: now() + SignedDuration::from_secs(second),
        version: 0,
    }
}

/// A server with an app whose first rollout has ended, and whose second one runs.
async fn start() -> Server {
    start_as(1, now()).await
}

/// The same, with a server that read the cluster at this time.
async fn start_as(epoch: u64, time: Timestamp) -> Server {
    let printed = Arc::new(Printed::default());
    let server = Server::start_as(epoch, printed.clone(), printed).await;
    let end = End {
        outcome: Outcome::Succeeded,
        message: "1 replica ready.".into(),
        time: now() + SignedDuration::from_secs(5),
        problem: None,
        untried: false,
    };
    let first = observed::Revision { end: Some(end), ..mk_revision("web", 1) };
    let start = now() + SignedDuration::from_secs(20);
    let second = observed::Revision { created: start, ..mk_revision("web", 2) };
    server.index.update_rows(vec![first, second], vec![], now());
    let set = observed::ReplicaSet { revision: Some(2), ..mk_replica_set("web") };
    server.index.update_rows(vec![set], vec![], now());
    // The pod is gone, but its event is not.
    server.index.update_rows(vec![mk_event("old", 10, 1)], vec![], now());
    server.apply(observed::Deployment { revision: Some(2), ..mk_managed("web", 2, 0) });
    fill(&server, time);
    server
}

/// Marks every kind as read, with the rows that the index has.
fn fill(server: &Server, time: Timestamp) {
    use gantry::index::{Kind, Row};
    fn keep<R: Row>(server: &Server, kind: Kind, time: Timestamp) {
        let rows = server.index.diff_rows::<R>(vec![]).into_values().filter_map(|d| d.held).collect();
        server.index.reset_rows::<R>(kind, rows, time);
    }
    keep::<observed::Deployment>(server, Kind::Deployments, time);
    keep::<observed::ReplicaSet>(server, Kind::ReplicaSets, time);
    keep::<observed::Pod>(server, Kind::Pods, time);
    keep::<observed::Event>(server, Kind::Events, time);
    keep::<observed::Revision>(server, Kind::Revisions, time);
    keep::<observed::EndpointSlice>(server, Kind::EndpointSlices, time);
    keep::<observed::Node>(server, Kind::Nodes, time);
    keep::<observed::HorizontalPodAutoscaler>(server, Kind::HorizontalPodAutoscalers, time);
    keep::<observed::ScaledObject>(server, Kind::ScaledObjects, time);
    server.index.tick(time);
}

async fn open(server: &Server, request: pb::WatchTimelineRequest) -> Streaming<pb::WatchTimelineResponse> {
    server.timelines().watch_timeline(request).await.unwrap().into_inner()
}

/// The next message, with its resume token.
async fn next(stream: &mut Streaming<pb::WatchTimelineResponse>) -> Option<Result<(String, String), Status>> {
    let message = tokio::time::timeout(Duration::from_secs(10), stream.message()).await.expect("it comes");
    let message = match message {
        Ok(message) => message?,
        Err(status) => return Some(Err(status)),
    };
    let said = match message.event.unwrap() {
        Event::Entry(entry) => entry.message,
        Event::Synced(synced) => format!("[synced {}]", synced.resumed),
        Event::Gap(_) => "[gap]".into(),
        Event::Heartbeat(_) => panic!("not within ten seconds"),
    };
    Some(Ok((message.resume_token, said)))
}

async fn some(stream: &mut Streaming<pb::WatchTimelineResponse>, count: usize) -> Vec<String> {
    let mut got = Vec::new();
    for _ in 0..count {
        got.push(next(stream).await.expect("more").unwrap().1);
    }
    got
}

const PAST: [&str; 4] = [
    "Rollout 1 began, caused by a deploy.",
    "Rollout 1 succeeded: 1 replica ready.",
    "BackOff: old",
    "Rollout 2 began, caused by a deploy.",
];

#[tokio::test]
async fn the_past_is_read_from_what_the_cluster_stores_and_the_rest_is_a_gap() {
    let server = start().await;
    let mut stream = open(&server, pb::WatchTimelineRequest { follow: false, ..ask("") }).await;
    assert_eq!(some(&mut stream, 5).await, [&["[gap]"], PAST.as_slice()].concat());
    assert!(next(&mut stream).await.is_none(), "without follow it ends");
    let late =
        prost_types::Timestamp { seconds: (now() + SignedDuration::from_secs(15)).as_second(), nanos: 0 };
    let request = pb::WatchTimelineRequest { after: Some(late), follow: false, ..ask("") };
    let mut stream = open(&server, request).await;
    assert_eq!(some(&mut stream, 1).await, PAST[3..], "only what is later, all of which is known");
    assert!(next(&mut stream).await.is_none());
    let none = pb::WatchTimelineRequest { parent: "namespaces/shop/apps/none".into(), ..ask("") };
    assert_eq!(reason(&server.timelines().watch_timeline(none).await.unwrap_err()), "APP_NOT_FOUND");
}

/// Calls that change an app are entries, and refused calls too. Accepted dry runs are not.
async fn calls_come_with_their_outcome(server: &Server, stream: &mut Streaming<pb::WatchTimelineResponse>) {
    let scale = |replicas, validate_only| pb::ScaleAppRequest {
        name: WEB.into(),
        replicas: Some(replicas),
        reason: "sale".into(),
        validate_only,
        ..Default::default()
    };
    let refused = server.apps().scale_app(scale(3, false)).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "the answer of the stand-in for the cluster");
    server.apps().scale_app(scale(-3, true)).await.unwrap_err();
    let said = some(stream, 2).await;
    assert!(said[0].starts_with("ScaleApp (sale) ended with NotFound: "), "{said:?}");
    assert!(said[1].starts_with("ScaleApp (sale) ended with InvalidArgument: replicas"), "{said:?}");
    let app = pb::App {
        name: WEB.into(),
        spec: Some(pb::AppSpec { image: "web:1".into(), ..Default::default() }),
        ..Default::default()
    };
    let deploy =
        |validate_only| pb::DeployAppRequest { app: Some(app.clone()), validate_only, ..Default::default() };
    server.apps().deploy_app(deploy(true)).await.unwrap();
    server.apps().deploy_app(deploy(false)).await.unwrap();
    assert_eq!(some(stream, 1).await, ["DeployApp was carried out."], "a plan is no entry");
}

/// The calls in the timeline by method, code and reason. Each has its caller and its call id.
async fn calls_of_ann(server: &Server) -> Vec<(String, i32, String)> {
    let mut stream = open(server, pb::WatchTimelineRequest { follow: false, ..ask("") }).await;
    let mut calls = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        if let Some(Event::Entry(pb::TimelineEntry { actor, detail: Some(Detail::Call(call)), .. })) =
            message.event
        {
            assert!(actor == "ann" && !call.call_id.is_empty());
            calls.push((call.method, call.code, call.reason));
        }
    }
    calls
}

#[tokio::test]
async fn everything_that_happens_comes_once_it_is_known() {
    let server = start().await;
    let mut stream = open(&server, ask("")).await;
    some(&mut stream, 5).await;
    assert_eq!(some(&mut stream, 1).await, ["[synced false]"]);

    server.index.update_rows(vec![mk_event("new", 30, 1)], vec![], now());
    assert_eq!(some(&mut stream, 1).await, ["BackOff: new"]);
    server.index.update_rows(vec![mk_event("new", 31, 2)], vec![], now());
    assert_eq!(some(&mut stream, 1).await, ["BackOff: new"], "it was seen again");

    let pod = observed::Pod {
        address: Some("10.0.0.1".parse().unwrap()),
        ready_changed: Some(now()),
        ..mk_pod("web", "a", true)
    };
    server.index.update_rows(vec![pod], vec![], now());
    server.index.tick(now());
    assert_eq!(some(&mut stream, 1).await, ["1 endpoint takes traffic."]);

    let paused = observed::Deployment { revision: Some(2), paused: true, ..mk_managed("web", 2, 1) };
    server.apply(paused);
    let said = some(&mut stream, 1).await;
    assert!(said[0].starts_with("Rollout 2 is paused: "), "{said:?}");

    let seen = mk_evaluation();
    let verdict = seen.decide();
    let decision = Decision { id: 7, app: web(), seen, verdict };
    server.index.record_event(&web(), now(), TimelineEvent::Scaling(Arc::new(decision)));
    let (_, said) = next(&mut stream).await.unwrap().unwrap();
    assert!(!said.is_empty());

    calls_come_with_their_outcome(&server, &mut stream).await;
    let calls = calls_of_ann(&server).await;
    assert_eq!(calls.len(), 3, "{calls:?}");
    assert_eq!(calls[0], ("gantry.v1.AppService/ScaleApp".into(), 5, "sale".into()));

    server.drain.cancel();
}

fn mk_evaluation() -> Evaluation {
    Evaluation {
        now: now(),
        policy: Arc::new(Policy::default()),
        current: 1,
        readings: vec![],
        rollout: false,
        other_autoscaler: None,
        hold: None,
        elapsed: 5.0,
        memory: Memory::default(),
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_anywhere_tells_each_entry_once() {
    for cut in 2..12 {
        let server = start().await;
        let (mut got, mut token) = (Vec::new(), String::new());
        let extra = format!("cut {cut}");
        let mut round = 0;
        while !got.contains(&format!("BackOff: {extra} last")) {
            let mut stream = open(&server, ask(&token)).await;
            for _ in 0..cut {
                let (next, said) = next(&mut stream).await.unwrap().unwrap();
                token = next;
                got.push(said);
                if got.contains(&format!("BackOff: {extra} last")) {
                    break;
                }
                if got.last().is_some_and(|said| said.starts_with("[synced")) && round == 0 {
                    round += 1;
                    for id in ["a", "b", "last"] {
                        server.index.update_rows(
                            vec![mk_event(&format!("{extra} {id}"), 30, 1)],
                            vec![],
                            now(),
                        );
                    }
                }
            }
        }
        got.retain(|said| !said.starts_with('['));
        let mut once = got.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), got.len(), "cut {cut}: {got:?}");
        assert_eq!(got.len(), PAST.len() + 3, "cut {cut}: {got:?}");
    }
}

/// Reads a stream without `follow` to its end; returns what it said, and its last token.
async fn poll(server: &Server, token: &str) -> (Vec<String>, String) {
    let mut stream = open(server, pb::WatchTimelineRequest { follow: false, ..ask(token) }).await;
    let (mut said, mut token) = (Vec::new(), token.to_owned());
    while let Some(message) = next(&mut stream).await {
        let (next, one) = message.unwrap();
        assert!(next.len() < 80, "{next}");
        token = next;
        said.push(one);
    }
    (said, token)
}

#[tokio::test]
async fn a_token_without_follow_brings_what_came_since_and_ends() {
    let server = start().await;
    let (said, token) = poll(&server, "").await;
    assert_eq!(said, [&["[gap]"], PAST.as_slice()].concat());
    assert_eq!(poll(&server, &token).await, (vec![], token.clone()), "nothing came");
    for id in ["a", "b"] {
        server.index.update_rows(vec![mk_event(id, 30, 1)], vec![], now());
    }
    let (said, later) = poll(&server, &token).await;
    assert_eq!(said, ["BackOff: a", "BackOff: b"]);
    assert_eq!(poll(&server, &token).await.0, said, "the earlier token still leads to the same");
    assert_eq!(poll(&server, &later).await.0, [""; 0]);
    // The rest of a past that was cut off, and what came since.
    for cut in 1..=7 {
        let mut stream = open(&server, pb::WatchTimelineRequest { follow: false, ..ask("") }).await;
        let (mut said, mut token) = (Vec::new(), String::new());
        for _ in 0..cut {
            let (next, one) = next(&mut stream).await.unwrap().unwrap();
            token = next;
            said.push(one);
        }
        let id = format!("after {cut}");
        server.index.update_rows(vec![mk_event(&id, 31, 1)], vec![], now());
        said.extend(poll(&server, &token).await.0);
        let earlier: Vec<_> = (1..cut).map(|cut| format!("BackOff: after {cut}")).collect();
        let mut all = [&["[gap]"], PAST.as_slice(), &["BackOff: a", "BackOff: b"]].concat();
        all.extend(earlier.iter().map(String::as_str));
        let new = format!("BackOff: {id}");
        all.push(&new);
        let sorted = |mut said: Vec<String>| {
            said.sort();
            said
        };
        assert_eq!(sorted(said), sorted(all.iter().map(ToString::to_string).collect()), "cut {cut}");
    }
    // A token that was changed, and one of an earlier form, begin a fresh stream.
    for token in ["t1.1.5.l.1767323075000000000.1767323045000000000_1.", &later.replace('A', "B")] {
        assert_eq!(poll(&server, token).await.0[0], "[gap]", "{token}");
    }
}

#[tokio::test]
async fn after_a_restart_nothing_is_repeated_and_the_gap_is_reported() {
    let server = start().await;
    let mut stream = open(&server, ask("")).await;
    some(&mut stream, 6).await;
    server.index.update_rows(vec![mk_event("seen", 30, 1)], vec![], now());
    let (token, said) = next(&mut stream).await.unwrap().unwrap();
    assert_eq!(said, "BackOff: seen");

    // Another process, which finds one more event.
    let other = start_as(99, now() + SignedDuration::from_secs(60)).await;
    let later = [mk_event("seen", 30, 1), mk_event("meanwhile", 30, 1)];
    other.index.update_rows(later.to_vec(), vec![], now() + SignedDuration::from_secs(60));
    let request = pb::WatchTimelineRequest { after: None, ..ask(&token) };
    let mut stream = open(&other, request).await;
    let said = some(&mut stream, 3).await;
    assert_eq!(said, ["[gap]", "BackOff: meanwhile", "[synced true]"]);
}

#[tokio::test]
async fn a_timeline_is_bounded_and_says_what_it_forgot() {
    let server = start().await;
    let after: Timestamp = now() + SignedDuration::from_secs(25);
    for n in 0..1100 {
        let (ready, draining) = (n, 0);
        let time = after + SignedDuration::from_secs(n.into());
        server.index.record_event(&web(), time, TimelineEvent::Endpoints { ready, draining });
    }
    let request = pb::WatchTimelineRequest {
        after: Some(prost_types::Timestamp { seconds: after.as_second(), nanos: 0 }),
        follow: false,
        ..ask("")
    };
    let mut stream = open(&server, request).await;
    let said = some(&mut stream, 1001).await;
    assert_eq!((said[0].as_str(), said[1].as_str()), ("[gap]", "100 endpoints take traffic."));
    assert!(next(&mut stream).await.is_none());
    // Names of apps that do not exist must not fill the memory.
    server.index.record_event(
        &name::App::new("shop", "none"),
        now(),
        TimelineEvent::Endpoints { ready: 1, draining: 0 },
    );
    let none = pb::WatchTimelineRequest { parent: "namespaces/shop/apps/none".into(), ..ask("") };
    assert_eq!(reason(&server.timelines().watch_timeline(none).await.unwrap_err()), "APP_NOT_FOUND");
}

/// Also if no endpoint existed before, so that nothing had been counted.
#[tokio::test]
async fn the_endpoints_of_the_first_app_of_all_are_reported() {
    let server = Server::start().await;
    server.apply(mk_deployment("web", 1, 1));
    server.index.update_rows(vec![mk_replica_set("web")], vec![], now());
    server.index.update_rows(
        vec![observed::Pod { address: Some([10, 0, 0, 1].into()), ..mk_pod("web", "a", true) }],
        vec![],
        now(),
    );
    server.index.tick(now());
    let mut stream = open(&server, pb::WatchTimelineRequest { follow: false, ..ask("") }).await;
    let mut told = Vec::new();
    while let Some(message) = next(&mut stream).await {
        told.push(message.unwrap().1);
    }
    assert!(told.contains(&"1 endpoint takes traffic.".to_owned()), "{told:?}");
}
