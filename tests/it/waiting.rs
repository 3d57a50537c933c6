//! WaitApp, and reads after a write: the outcome is known, the app is gone, or the time is up.

use std::time::{Duration, Instant};

use gantry::{domain::observed, pb};
use tonic::{Request, Status};

use crate::support::{Server, mk_deployment, mk_managed, mk_pod, mk_replica_set, mk_revision, now, reason};

const WEB: &str = "namespaces/shop/apps/web";

fn ask(read_after: &str, millis: i32) -> pb::WaitAppRequest {
    let timeout =
        prost_types::Duration { seconds: i64::from(millis / 1000), nanos: millis % 1000 * 1_000_000 };
    pb::WaitAppRequest { name: WEB.into(), read_after: read_after.into(), timeout: Some(timeout) }
}

async fn wait(
    server: &Server,
    request: impl tonic::IntoRequest<pb::WaitAppRequest>,
) -> Result<(bool, Option<pb::AppState>), Status> {
    let answer = server.apps().wait_app(request).await?.into_inner();
    Ok((answer.settled, answer.app.map(|app| app.status.unwrap().state())))
}

/// Makes a change during a wait; returns the answer. The change must end the wait, not the timeout.
async fn wait_while(
    server: &Server,
    read_after: &str,
    change: impl FnOnce(),
) -> (bool, Option<pb::AppState>) {
    let started = Instant::now();
    let later = async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        change();
    };
    let (answer, ()) = tokio::join!(wait(server, ask(read_after, 9000)), later);
    assert!(started.elapsed() < Duration::from_secs(8), "woken by the change, not by the time");
    answer.unwrap()
}

fn mk_rolling(number: u64) -> observed::Deployment {
    observed::Deployment { revision: Some(number), resource_version: 7, ..mk_managed("web", 1, 0) }
}

#[tokio::test]
async fn waiting_for_an_app_ends_when_nothing_is_under_way_or_with_the_time() {
    let server = Server::start().await;
    assert_eq!(reason(&wait(&server, ask("", 100)).await.unwrap_err()), "APP_NOT_FOUND");
    server.apply(mk_deployment("web", 2, 1));
    assert_eq!(wait(&server, ask("", 50)).await.unwrap(), (false, Some(pb::AppState::Updating)));
    assert_eq!(wait(&server, ask("", 0)).await.unwrap(), (false, Some(pb::AppState::Updating)));
    // The caller's deadline counts too, and leaves time for the answer.
    let mut brief = Request::new(pb::WaitAppRequest { timeout: None, ..ask("", 0) });
    brief.set_timeout(Duration::from_millis(1500));
    assert_eq!(wait(&server, brief).await.unwrap(), (false, Some(pb::AppState::Updating)));

    let ready = || server.apply(mk_deployment("web", 2, 2));
    assert_eq!(wait_while(&server, "", ready).await, (true, Some(pb::AppState::Active)));
    assert_eq!(wait(&server, ask("", 0)).await.unwrap(), (true, Some(pb::AppState::Active)));

    let gone = || server.delete("web");
    server.apply(mk_deployment("web", 2, 1));
    assert_eq!(wait_while(&server, "", gone).await, (true, Some(pb::AppState::Updating)), "as it was last");
    let negative =
        pb::WaitAppRequest { timeout: Some(prost_types::Duration { seconds: -1, nanos: 0 }), ..ask("", 0) };
    assert_eq!(reason(&wait(&server, negative).await.unwrap_err()), "INVALID_FIELD");
}

#[tokio::test]
async fn waiting_after_a_deploy_ends_with_the_end_of_its_rollout() {
    let server = Server::start().await;
    let position = format!("v1:{WEB}@7.1");
    // The write is not seen yet. So neither is it known that the app is missing.
    assert_eq!(wait(&server, ask(&position, 50)).await.unwrap(), (false, None));
    server.apply(mk_managed("web", 1, 1));
    assert_eq!(
        wait(&server, ask(&position, 50)).await.unwrap(),
        (false, Some(pb::AppState::Active)),
        "before it"
    );

    server.index.update_rows(vec![mk_revision("web", 1)], vec![], now());
    server.index.update_rows(vec![mk_replica_set("web")], vec![], now());
    server.apply(mk_rolling(1));
    assert_eq!(wait(&server, ask(&position, 50)).await.unwrap(), (false, Some(pb::AppState::Updating)));
    let done = || {
        server.apply(observed::Deployment { ready: 1, available: 1, ..mk_rolling(1) });
        server.index.update_rows(vec![mk_pod("web", "a", true)], vec![], now());
    };
    assert_eq!(wait_while(&server, &position, done).await, (true, Some(pb::AppState::Active)));
}

#[tokio::test]
async fn waiting_after_a_deletion_ends_when_the_app_is_gone() {
    let server = Server::start().await;
    server.apply(mk_deployment("web", 1, 1));
    let position = format!("d1:{WEB}@uid-web");
    assert_eq!(wait(&server, ask(&position, 50)).await.unwrap(), (false, Some(pb::AppState::Active)));
    server.apply(observed::Deployment { deleting: true, ..mk_deployment("web", 1, 1) });
    assert_eq!(wait(&server, ask(&position, 50)).await.unwrap(), (false, Some(pb::AppState::Deleting)));
    let gone = || server.delete("web");
    assert_eq!(wait_while(&server, &position, gone).await, (true, Some(pb::AppState::Deleting)));
    assert_eq!(wait(&server, ask(&position, 0)).await.unwrap(), (true, None), "gone before");
    // Another app of the same name is not the deleted one.
    server.apply(observed::Deployment { uid: "other".into(), ..mk_deployment("web", 1, 0) });
    assert_eq!(wait(&server, ask(&position, 0)).await.unwrap(), (true, None));
}

#[tokio::test]
async fn a_write_to_an_app_that_was_deleted_since_has_been_seen() {
    let server = Server::start().await;
    let position = format!("v1:{WEB}@7.1");
    let get = || {
        let request = pb::GetAppRequest { name: WEB.into(), read_after: position.clone() };
        let mut request = Request::new(request);
        request.set_timeout(Duration::from_millis(1500));
        request
    };
    assert_eq!(reason(&server.apps().get_app(get()).await.unwrap_err()), "DEADLINE", "perhaps still to come");
    server.index.set_deployments_version(8);
    assert_eq!(reason(&server.apps().get_app(get()).await.unwrap_err()), "APP_NOT_FOUND");
    assert_eq!(wait(&server, ask(&position, 0)).await.unwrap(), (true, None));
}

#[tokio::test]
async fn the_position_of_another_app_is_refused() {
    let server = Server::start().await;
    server.apply(mk_deployment("web", 1, 1));
    let other = || "v1:namespaces/shop/apps/other@0.1".to_owned();
    let (name, read_after) = (WEB.to_owned(), other());
    let mut apps = server.apps();
    let mut refused = vec![
        apps.get_app(pb::GetAppRequest { name, read_after }).await.unwrap_err(),
        wait(&server, ask(&other(), 0)).await.unwrap_err(),
    ];
    let request = pb::ListReplicasRequest { parent: WEB.into(), read_after: other(), ..Default::default() };
    refused.push(apps.list_replicas(request).await.unwrap_err());
    let request = pb::ListEndpointsRequest { parent: WEB.into(), read_after: other(), ..Default::default() };
    refused.push(server.discovery().list_endpoints(request).await.unwrap_err());
    let name = format!("{WEB}/rollouts/latest");
    let request = pb::GetRolloutRequest { name, read_after: other() };
    refused.push(server.rollouts().get_rollout(request).await.unwrap_err());
    let list = |parent: &str| pb::ListAppsRequest {
        parent: parent.into(),
        read_after: "d1:namespaces/shop/apps/other@u".into(),
        ..Default::default()
    };
    refused.push(apps.list_apps(list("namespaces/else")).await.unwrap_err());
    for status in refused {
        assert_eq!(reason(&status), "INVALID_FIELD");
        assert!(status.message().contains("read_after"), "{}", status.message());
    }
    // A list shows every app of its namespace.
    for parent in ["namespaces/shop", "namespaces/-"] {
        apps.list_apps(list(parent)).await.unwrap();
    }
}

/// A change waits until the verdict before it is stored, because a rollback chooses by verdicts. That one is
/// stored changes nothing that readers see, and must wake the change all the same.
#[tokio::test]
async fn a_change_right_after_a_verdict_goes_on_once_the_verdict_is_stored() {
    let server = Server::start().await;
    server.apply(observed::Deployment { revision: Some(1), ..mk_managed("web", 1, 1) });
    server.index.update_rows(vec![mk_replica_set("web")], vec![], now());
    server.index.update_rows(vec![mk_revision("web", 1)], vec![], now());
    server.index.update_rows(vec![mk_pod("web", "a", true)], vec![], now());
    let verdict = server.index.unrecorded_verdicts().remove(0);
    let stored = Duration::from_millis(200);
    let store = async {
        tokio::time::sleep(stored).await;
        let revision = observed::Revision { end: Some(verdict.end), ..mk_revision("web", 1) };
        server.index.update_rows(vec![revision], vec![], now());
    };
    let spec = pb::AppSpec { image: "web:2".into(), ..Default::default() };
    let app = pb::App { name: WEB.into(), spec: Some(spec), ..Default::default() };
    let started = Instant::now();
    let mut apps = server.apps();
    let deploy = async {
        apps.deploy_app(pb::DeployAppRequest { app: Some(app), ..Default::default() }).await.unwrap();
        started.elapsed()
    };
    let (took, ()) = tokio::join!(deploy, store);
    assert!(took >= stored, "not before the verdict is stored, but after {took:?}");
    assert!(took < Duration::from_millis(1500), "woken by the verdict, and not by the time: {took:?}");
}
