//! A caller that follows the endpoints loses no request, neither during a rollout nor during a scale-down:
//! the replicas that end finish their requests and get no new ones.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use gantry::pb::{self, watch_endpoints_response::Event};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::ListParams};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use crate::{
    case::{REGISTRY, serving},
    support::{Env, run, until},
};

/// What the callers saw.
#[derive(Default)]
struct Seen {
    endpoints: Vec<SocketAddr>,
    answers: Vec<String>,
    lost: Vec<String>,
}

/// Sends one request that is answered after `wait`; returns the answer.
async fn ask(at: SocketAddr, wait: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(at).await?;
    let request = format!("GET /?for={wait} HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(body.trim().to_owned()),
        _ => Err(std::io::Error::other(format!("answer {answer:?}"))),
    }
}

/// Follows the endpoints until stopped.
async fn follow(env: &Env, seen: &Mutex<Seen>, stop: &AtomicBool) {
    let request =
        pb::WatchEndpointsRequest { parent: env.name("web"), ..pb::WatchEndpointsRequest::default() };
    let mut stream = env.daemon.discovery().await.watch_endpoints(request).await.unwrap().into_inner();
    while !stop.load(Ordering::Relaxed) {
        let next = tokio::time::timeout(Duration::from_millis(200), stream.message()).await;
        let Ok(message) = next else { continue };
        if let Some(Event::Snapshot(set)) = message.unwrap().unwrap().event {
            let at =
                |e: &pb::Endpoint| SocketAddr::new(e.address.parse().unwrap(), e.port.try_into().unwrap());
            seen.lock().endpoints = set.endpoints.iter().map(at).collect();
        }
    }
}

/// Asks one endpoint after the other. Each request takes longer than an endpoint takes to leave the list.
async fn call(number: usize, seen: Arc<Mutex<Seen>>, stop: Arc<AtomicBool>) {
    let mut turn = number;
    while !stop.load(Ordering::Relaxed) {
        let at = {
            let seen = seen.lock();
            seen.endpoints.get(turn % seen.endpoints.len().max(1)).copied()
        };
        turn += 1;
        let Some(at) = at else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        match ask(at, "800ms").await {
            Ok(answer) => seen.lock().answers.push(answer),
            Err(error) => {
                seen.lock().lost.push(format!("{at}: {error}"));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

#[tokio::test]
async fn no_request_is_lost_over_a_rollout_and_a_scale_down() {
    run(|env| async move {
        // The program accepts no request after SIGTERM. The drain delay before it must ensure that none
        // comes.
        let spec = |tag: u8| pb::AppSpec {
            image: format!("{REGISTRY}/sample:{tag}"),
            replicas: Some(3),
            ..serving(&["-linger=0s"])
        };
        let first = env.deploy_and_follow(env.deploy_request("web", spec(1))).await;
        assert_eq!(first.state(), pb::RolloutState::Succeeded, "{first:?}");

        let (seen, stop) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
        let mut callers = JoinSet::new();
        for number in 0..8 {
            callers.spawn(call(number, Arc::clone(&seen), Arc::clone(&stop)));
        }
        let changes = async {
            until("all answer", async || seen.lock().answers.len() >= 16).await;
            let second = env.deploy_and_follow(env.deploy_request("web", spec(2))).await;
            assert_eq!(second.state(), pb::RolloutState::Succeeded, "{second:?}");
            let before = seen.lock().answers.len();
            let request = pb::ScaleAppRequest {
                name: env.name("web"),
                replicas: Some(1),
                ..pb::ScaleAppRequest::default()
            };
            env.daemon.apps().await.scale_app(request).await.unwrap();
            let pods = Api::<Pod>::namespaced(env.client.clone(), &env.namespace);
            until("one replica is left", async || {
                pods.list(&ListParams::default()).await.unwrap().items.len() == 1
            })
            .await;
            let meanwhile = seen.lock().answers.len() - before;
            assert!(meanwhile >= 16, "callers go on meanwhile: {meanwhile}, lost {:?}", seen.lock().lost);
            stop.store(true, Ordering::Relaxed);
        };
        tokio::join!(follow(&env, &seen, &stop), changes);
        callers.join_all().await;
        let seen = seen.lock();
        let of = |tag| seen.answers.iter().filter(|a| a.starts_with(&format!("sample {tag} "))).count();
        let (old, new) = (of(1), of(2));
        eprintln!("answered by the old version: {old}, by the new one: {new}, lost: {}", seen.lost.len());
        assert_eq!(seen.lost, Vec::<String>::new());
        assert_eq!(old + new, seen.answers.len());
        assert!(old >= 16 && new >= 16, "{old} {new}");
    })
    .await;
}
