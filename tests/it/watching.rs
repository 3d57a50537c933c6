//! Streams on the wire: a snapshot, `synced`, changes in their latest state, resuming, and the course of a
//! rollout.

use std::{sync::Arc, time::Duration};

use gantry::{
    domain::{
        evidence::Secrets,
        observed::{Pod, Trouble, TroubleKind},
    },
    pb::{self, watch_apps_response::Event, watch_rollout_response::Event as RolloutEvent},
};
use tokio_stream::StreamExt as _;
use tonic::Streaming;

use crate::support::{Server, mk_deployment, mk_managed, mk_pod, mk_replica_set, mk_revision, now};

async fn next(stream: &mut Streaming<pb::WatchAppsResponse>) -> (String, Event) {
    let message =
        tokio::time::timeout(Duration::from_secs(5), stream.next()).await.unwrap().unwrap().unwrap();
    (message.resume_token, message.event.unwrap())
}

async fn watch(
    server: &Server,
    parent: &str,
    selector: &str,
    token: &str,
) -> Streaming<pb::WatchAppsResponse> {
    let request = pb::WatchAppsRequest {
        parent: parent.into(),
        label_selector: selector.into(),
        resume_token: token.into(),
    };
    server.apps().watch_apps(request).await.unwrap().into_inner()
}

fn updated(event: &Event) -> (&str, i32) {
    match event {
        Event::Updated(app) => {
            (app.name.rsplit('/').next().unwrap(), app.status.as_ref().unwrap().ready_replicas)
        }
        other => panic!("{other:?} is no update"),
    }
}

#[tokio::test]
async fn a_snapshot_comes_first_then_synced_then_changes() {
    let server = Server::start().await;
    server.apply(mk_deployment("a", 1, 0));
    server.apply(mk_deployment("b", 1, 1));
    let mut stream = watch(&server, "namespaces/shop", "", "").await;
    assert_eq!(updated(&next(&mut stream).await.1), ("a", 0));
    assert_eq!(updated(&next(&mut stream).await.1), ("b", 1));
    let (token, event) = next(&mut stream).await;
    assert_eq!(event, Event::Synced(pb::Synced::default()));

    server.apply(mk_deployment("a", 1, 1));
    assert_eq!(updated(&next(&mut stream).await.1), ("a", 1));
    server.delete("b");
    assert_eq!(next(&mut stream).await.1, Event::Deleted("namespaces/shop/apps/b".into()));
    drop(stream);

    // Resumed at `synced`: the changes since then, each app once, and no second snapshot.
    let mut stream = watch(&server, "namespaces/shop", "", &token).await;
    assert_eq!(updated(&next(&mut stream).await.1), ("a", 1));
    assert_eq!(next(&mut stream).await.1, Event::Deleted("namespaces/shop/apps/b".into()));
    assert_eq!(next(&mut stream).await.1, Event::Synced(pb::Synced { resumed: true }));
    // A token of another process, or of a watch of other apps, gives a new snapshot.
    let (_, of) = token.split_once('~').unwrap();
    for (parent, token) in [("namespaces/shop", format!("w1.99.3~{of}")), ("namespaces/-", token.clone())] {
        let mut stream = watch(&server, parent, "", &token).await;
        assert_eq!(updated(&next(&mut stream).await.1), ("a", 1));
        assert_eq!(next(&mut stream).await.1, Event::Synced(pb::Synced::default()));
    }
}

#[tokio::test]
async fn an_app_that_no_longer_matches_is_gone_for_its_reader() {
    let server = Server::start().await;
    server.apply(mk_deployment("a", 1, 1));
    server.apply(mk_deployment("b", 1, 1));
    let mut stream = watch(&server, "namespaces/-", "app=a", "").await;
    assert_eq!(updated(&next(&mut stream).await.1), ("a", 1));
    assert_eq!(next(&mut stream).await.1, Event::Synced(pb::Synced::default()));
    server.delete("b");
    let mut relabelled = mk_deployment("a", 1, 1);
    relabelled.labels.clear();
    server.apply(relabelled);
    assert_eq!(next(&mut stream).await.1, Event::Deleted("namespaces/shop/apps/a".into()));
}

#[tokio::test]
async fn a_snapshot_of_few_among_many_comes_at_once() {
    let server = Server::start().await;
    for i in 0..300 {
        server.apply(mk_deployment(&format!("app-{i:03}"), 1, 1));
    }
    let mut stream = watch(&server, "namespaces/-", "app=app-299", "").await;
    assert_eq!(updated(&next(&mut stream).await.1), ("app-299", 1));
    assert_eq!(next(&mut stream).await.1, Event::Synced(pb::Synced::default()));
}

#[tokio::test]
async fn a_slow_reader_gets_the_latest_state_and_not_the_past() {
    let server = Server::start().await;
    for i in 0..20 {
        server.apply(mk_deployment(&format!("app-{i:02}"), 100_000, 0));
    }
    let mut stream = watch(&server, "namespaces/shop", "", "").await;
    while next(&mut stream).await.1 != Event::Synced(pb::Synced::default()) {}
    for ready in 1..=20_000 {
        server.apply(mk_deployment(&format!("app-{:02}", ready % 20), 100_000, ready));
    }
    let mut messages = 0;
    loop {
        messages += 1;
        if updated(&next(&mut stream).await.1).1 == 20_000 {
            break;
        }
    }
    // Changes that fit into the connection's windows are sent already; the other changes never are.
    assert!(messages < 10_000, "{messages} messages for 20,000 changes");
}

/// A pod whose image does not exist.
fn mk_pod_without_its_image() -> Pod {
    let mut pod = mk_pod("web", "a", false);
    pod.trouble = Some(Box::new(Trouble {
        container: "app".into(),
        kind: TroubleKind::Image,
        reason: "ErrImagePull".into(),
        message: "docker.io/library/web:1: not found".into(),
        since: None,
        restarts: 0,
        exit: None,
    }));
    pod
}

async fn rest_of(mut stream: Streaming<pb::WatchRolloutResponse>) -> Vec<RolloutEvent> {
    let mut events = Vec::new();
    while let Some(message) = stream.next().await {
        events.push(message.unwrap().event.unwrap());
    }
    events
}

/// Stores the verdict with its evidence and this log tail in the revision, as the first daemon that sees it
/// does.
fn store_the_verdict(server: &Server, tail: &str) {
    let due = server.index.unrecorded_verdicts().remove(0);
    let (mut evidence, mut revision) = ((*due.evidence.unwrap()).clone(), mk_revision("web", 1));
    evidence.problems[0].log_tail = vec![tail.to_owned()];
    revision.end = Some(evidence.complete(due.end, &Secrets::default()));
    revision.evidence = Some(Arc::new(evidence));
    server.index.update_rows(vec![revision], vec![], now());
}

#[tokio::test]
async fn a_rollout_is_followed_to_its_failure() {
    let server = Server::start().await;
    let mut deployment = mk_managed("web", 1, 0);
    deployment.revision = Some(1);
    server.index.update_rows(vec![mk_revision("web", 1)], vec![], now());
    server.index.update_rows(vec![mk_replica_set("web")], vec![], now());
    server.apply(deployment);
    let request =
        pb::WatchRolloutRequest { name: "namespaces/shop/apps/web/rollouts/1".into(), ..Default::default() };
    let mut stream = server.rollouts().watch_rollout(request.clone()).await.unwrap().into_inner();
    let first = stream.next().await.unwrap().unwrap().event.unwrap();
    assert!(
        matches!(&first, RolloutEvent::Rollout(r) if r.state() == pb::RolloutState::Running),
        "{first:?}"
    );

    server.index.update_rows(vec![mk_pod_without_its_image()], vec![], now());
    let events = rest_of(stream).await;
    // No daemon stores the verdict in this test, so no log tail comes, and the stream ends without it after a
    // time.
    let [RolloutEvent::Problem(problem), RolloutEvent::Rollout(failed), RolloutEvent::Completed(end)] =
        events.as_slice()
    else {
        panic!("{events:?}");
    };
    assert_eq!(failed.state(), pb::RolloutState::Failed);
    assert_eq!((problem.reason.as_str(), problem.object.as_str()), ("IMAGE_PULL_FAILED", "pod/web-1-a"));
    assert_eq!(end.state(), pb::RolloutState::Failed);
    assert_eq!(end.error.as_ref().unwrap().reason, "IMAGE_PULL_FAILED");

    store_the_verdict(&server, "last words");
    let name = pb::GetRolloutRequest { name: request.name.clone(), ..Default::default() };
    let rollout = server.rollouts().get_rollout(name).await.unwrap().into_inner().rollout.unwrap();
    let failure = rollout.failure.unwrap();
    assert_eq!(
        (failure.problems[0].log_tail.len(), failure.replicas[0].state()),
        (1, pb::ReplicaState::Failing)
    );
    assert_eq!(rollout.error.unwrap().problem.unwrap().log_tail, ["last words"]);

    // A watch that begins later gets the state first and the outcome last.
    let stream = server.rollouts().watch_rollout(request).await.unwrap().into_inner();
    let kinds: Vec<_> = rest_of(stream).await.iter().map(std::mem::discriminant).collect();
    let of = |event| std::mem::discriminant(&event);
    assert_eq!(kinds.first(), Some(&of(RolloutEvent::Rollout(pb::Rollout::default()))));
    assert_eq!(kinds.last(), Some(&of(RolloutEvent::Completed(pb::Rollout::default()))));
}
