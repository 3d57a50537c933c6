//! Reads on the wire: apps, lists and their pages, rollouts, waiting.

use std::time::{Duration, Instant};

use gantry::pb;
use tonic::{Code, Request};

use crate::support::{Server, mk_deployment, mk_managed, mk_pod, mk_replica_set, mk_revision, now, reason};

#[tokio::test]
async fn an_unmanaged_app_can_be_read() {
    let server = Server::start().await;
    server.apply(mk_deployment("3scale", 2, 1));
    let name = "namespaces/shop/apps/3scale".to_owned();
    let app = server
        .apps()
        .get_app(pb::GetAppRequest { name, ..Default::default() })
        .await
        .unwrap()
        .into_inner()
        .app
        .unwrap();
    let status = app.status.unwrap();
    assert_eq!((status.desired_replicas, status.ready_replicas), (2, 1));
    assert_eq!(status.state(), pb::AppState::Updating);
    assert_eq!(app.spec.unwrap().image, "3scale:1");
    assert_eq!((status.managed_by.as_str(), status.rollout.as_str()), ("", ""));
}

/// A namespace without apps is no error, and one whose existence is unknown is not either.
#[tokio::test]
async fn a_list_of_a_namespace_that_does_not_exist_says_so() {
    let server = Server::start().await;
    let list = async |namespace: &str, label_selector: &str| {
        let parent = format!("namespaces/{namespace}");
        let request =
            pb::ListAppsRequest { parent, label_selector: label_selector.into(), ..Default::default() };
        server.apps().list_apps(request).await.map(|answer| answer.into_inner().apps.len())
    };
    assert_eq!(list("shops", "").await.unwrap(), 0, "unknown");
    *server.act.namespaces.lock().unwrap() = vec!["empty".into()];
    server.apply(mk_deployment("web", 1, 1));
    assert_eq!(list("empty", "").await.unwrap(), 0);
    // Known by its app, so that no question is needed.
    assert_eq!((list("shop", "").await.unwrap(), list("shop", "app=none").await.unwrap()), (1, 0));
    let status = list("shops", "").await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "NAMESPACE_NOT_FOUND"));
    assert_eq!(status.message(), "namespaces/shops does not exist; did you mean namespaces/shop?");
    assert_eq!(list("-", "app=none").await.unwrap(), 0);
    // It may come.
    let watch = pb::WatchAppsRequest { parent: "namespaces/shops".into(), ..Default::default() };
    let mut stream = server.apps().watch_apps(watch).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap().event;
    assert!(matches!(first, Some(pb::watch_apps_response::Event::Synced(_))), "{first:?}");
    server.drain.cancel();
}

#[tokio::test]
async fn pages_hold_every_app_once_in_order() {
    let server = Server::start().await;
    let mut expected: Vec<_> = (0..25).map(|i| format!("namespaces/shop/apps/app-{i:02}")).collect();
    for i in (0..25).rev() {
        server.apply(mk_deployment(&format!("app-{i:02}"), 1, 1));
    }
    let mut names = Vec::new();
    let mut token = String::new();
    let ask = |page_token: String| pb::ListAppsRequest {
        parent: "namespaces/-".into(),
        page_size: 10,
        page_token,
        ..Default::default()
    };
    loop {
        let page = server.apps().list_apps(ask(token)).await.unwrap().into_inner();
        names.extend(page.apps.into_iter().map(|a| a.name));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
        let foreign = pb::ListAppsRequest { parent: "namespaces/shop".into(), ..ask(token.clone()) };
        assert_eq!(reason(&server.apps().list_apps(foreign).await.unwrap_err()), "PAGE_TOKEN_INVALID");
    }
    expected.sort();
    assert_eq!(names, expected);

    let picked =
        pb::ListAppsRequest { label_selector: "app in (app-03, app-04)".into(), ..ask(String::new()) };
    assert_eq!(server.apps().list_apps(picked).await.unwrap().into_inner().apps.len(), 2);
}

#[tokio::test]
async fn waiting_for_a_rollout_ends_with_its_verdict_or_with_the_time() {
    let server = Server::start().await;
    let mut deployment = mk_managed("web", 1, 0);
    deployment.revision = Some(1);
    server.index.update_rows(vec![mk_revision("web", 1)], vec![], now());
    server.index.update_rows(vec![mk_replica_set("web")], vec![], now());
    server.apply(deployment.clone());
    let wait = |millis: i32| pb::WaitRolloutRequest {
        name: "namespaces/shop/apps/web/rollouts/latest".into(),
        timeout: Some(prost_types::Duration {
            seconds: i64::from(millis / 1000),
            nanos: millis % 1000 * 1_000_000,
        }),
    };
    let rollout = server.rollouts().wait_rollout(wait(50)).await.unwrap().into_inner().rollout.unwrap();
    assert_eq!(rollout.state(), pb::RolloutState::Running);

    // The caller's deadline counts too, and leaves time for the answer.
    let mut request = Request::new(pb::WaitRolloutRequest { timeout: None, ..wait(0) });
    request.set_timeout(Duration::from_secs(4));
    let rollout = server.rollouts().wait_rollout(request).await.unwrap().into_inner().rollout.unwrap();
    assert_eq!(rollout.state(), pb::RolloutState::Running);

    let mut client = server.rollouts();
    let waiting = client.wait_rollout(wait(9000));
    let change = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        deployment.ready = 1;
        deployment.available = 1;
        server.apply(deployment);
        server.index.update_rows(vec![mk_pod("web", "a", true)], vec![], now());
    };
    let started = Instant::now();
    let (answer, ()) = tokio::join!(waiting, change);
    assert_eq!(answer.unwrap().into_inner().rollout.unwrap().state(), pb::RolloutState::Succeeded);
    assert!(started.elapsed() < Duration::from_secs(8), "woken by the change, not by the time");
}

#[tokio::test]
async fn a_read_waits_for_the_write_that_it_names() {
    let server = Server::start().await;
    server.apply(mk_deployment("web", 1, 1));
    let ask = |position: &str| pb::GetAppRequest {
        name: "namespaces/shop/apps/web".into(),
        read_after: position.into(),
    };
    let status = server.apps().get_app(ask("yesterday")).await.unwrap_err();
    assert_eq!(reason(&status), "INVALID_FIELD");

    let mut late = Request::new(ask("v1:namespaces/shop/apps/web@7.1"));
    late.set_timeout(Duration::from_secs(4));
    assert_eq!(reason(&server.apps().get_app(late).await.unwrap_err()), "DEADLINE");

    let mut client = server.apps();
    let read = client.get_app(ask("v1:namespaces/shop/apps/web@7.1"));
    let write = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        server.index.update_rows(vec![mk_revision("web", 1)], vec![], now());
        server.apply(gantry::domain::observed::Deployment { resource_version: 8, ..mk_managed("web", 5, 5) });
    };
    let (answer, ()) = tokio::join!(read, write);
    assert_eq!(answer.unwrap().into_inner().app.unwrap().status.unwrap().desired_replicas, 5);
}
