//! Changes of one app at the same time: they take turns, and a call that waits keeps its deadline.

use std::time::{Duration, Instant};

use futures::future::join_all;
use gantry::pb;
use tonic::{Code, Request};

use crate::support::{Server, reason};

fn deploy(app: &str, image: &str) -> pb::DeployAppRequest {
    let spec = pb::AppSpec { image: image.into(), ..Default::default() };
    let name = format!("namespaces/shop/apps/{app}");
    let app = pb::App { name, spec: Some(spec), ..Default::default() };
    pb::DeployAppRequest { app: Some(app), ..Default::default() }
}

#[tokio::test]
async fn deploys_of_one_app_at_once_are_made_one_by_one_and_those_of_other_apps_are_not() {
    const EACH: Duration = Duration::from_millis(30);
    let server = Server::start().await;
    *server.act.delay.lock().unwrap() = EACH;
    let calls = |of: fn(u32) -> String| {
        let apps = server.apps();
        (0..30).map(move |i| {
            let mut apps = apps.clone();
            async move { apps.deploy_app(deploy(&of(i), &format!("web:{i}"))).await.unwrap() }
        })
    };
    let begin = Instant::now();
    join_all(calls(|_| "web".to_owned())).await;
    assert!(begin.elapsed() >= EACH * 30, "{:?}", begin.elapsed());
    let begin = Instant::now();
    join_all(calls(|i| format!("web-{i}"))).await;
    assert!(begin.elapsed() < EACH * 30, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_call_that_waits_for_its_turn_ends_at_its_deadline_and_a_dry_run_does_not_wait() {
    let server = Server::start().await;
    *server.act.delay.lock().unwrap() = Duration::from_secs(4);
    let mut apps = server.apps();
    let slow = async { apps.deploy_app(deploy("web", "web:1")).await };
    let others = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        *server.act.delay.lock().unwrap() = Duration::ZERO;
        let plan = pb::DeployAppRequest { validate_only: true, ..deploy("web", "web:2") };
        server.apps().deploy_app(plan).await.unwrap();
        let mut hasty = Request::new(deploy("web", "web:3"));
        hasty.set_timeout(Duration::from_millis(500));
        let late = server.apps().deploy_app(hasty).await.unwrap_err();
        assert_eq!((late.code(), reason(&late)), (Code::DeadlineExceeded, "DEADLINE".into()), "{late:?}");
        assert!(late.message().contains("earlier changes of namespaces/shop/apps/web"), "{late:?}");
        server.apps().deploy_app(deploy("web", "web:4")).await.unwrap();
    };
    let (slow, ()) = tokio::join!(slow, others);
    slow.unwrap();
    let images: Vec<_> =
        server.act.deploys.lock().unwrap().iter().map(|d| d.content.spec.image.clone()).collect();
    assert_eq!(images, ["web:2", "web:1", "web:4"]);
}

#[tokio::test]
async fn a_call_that_is_given_up_keeps_the_next_one_waiting_until_its_deadline_alone() {
    let server = Server::start().await;
    *server.act.delay.lock().unwrap() = Duration::from_secs(20);
    let mut slow = Request::new(deploy("web", "web:1"));
    slow.set_timeout(Duration::from_secs(1));
    let begin = Instant::now();
    server.apps().deploy_app(slow).await.unwrap_err();
    *server.act.delay.lock().unwrap() = Duration::ZERO;
    server.apps().deploy_app(deploy("web", "web:2")).await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}
