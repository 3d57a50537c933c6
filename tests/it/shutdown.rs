//! The shutdown of the daemon: streams end with a reason, running calls end, new calls are refused.

use std::time::Duration;

use gantry::pb;
use tokio::net::TcpStream;
use tokio_stream::StreamExt as _;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::support::{Server, reason};

#[tokio::test]
async fn the_server_drains_in_order() {
    let server = Server::start().await;
    *server.act.delay.lock().unwrap() = Duration::from_millis(300);
    let request = pb::WatchAppsRequest { parent: "namespaces/-".into(), ..Default::default() };
    let mut stream = server.apps().watch_apps(request).await.unwrap().into_inner();
    stream.next().await.unwrap().unwrap();
    // Neither a health check that watches nor a silent connection delays the shutdown.
    let mut health = HealthClient::new(server.channel.clone());
    let mut health = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    health.next().await.unwrap().unwrap();
    let _silent = TcpStream::connect(server.address.trim_start_matches("http://")).await.unwrap();
    let app = pb::App {
        name: "namespaces/shop/apps/web".into(),
        spec: Some(pb::AppSpec { image: "web:1".into(), ..Default::default() }),
        ..Default::default()
    };
    let mut client = server.apps();
    let running = client.deploy_app(pb::DeployAppRequest { app: Some(app), ..Default::default() });
    let stop = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.drain.cancel();
        server.accept.cancel();
    };
    let (running, ()) = tokio::join!(running, stop);
    running.expect("a running call is answered");
    let status = stream.next().await.unwrap().unwrap_err();
    assert_eq!(reason(&status), "SHUTTING_DOWN");
    assert_eq!(reason(&health.next().await.unwrap().unwrap_err()), "SHUTTING_DOWN");
    tokio::time::timeout(Duration::from_secs(3), server.ended).await.expect("the server ends").unwrap();
    assert!(tonic::transport::Channel::from_shared(server.address).unwrap().connect().await.is_err());
}
