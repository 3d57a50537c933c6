//! How much memory the daemon needs for many pods and many subscribers, and whether it releases the memory
//! afterwards.

use std::time::{Duration, Instant};

use gantry::pb::{
    self, app_service_client::AppServiceClient, discovery_service_client::DiscoveryServiceClient,
};
use tokio::task::JoinSet;

use crate::{
    Size,
    counted::{self, Counted},
    place::{Daemon, Memory, Place},
    report::Report,
};

/// Streams that the daemon allows on one connection.
const STREAMS: usize = 100;
/// Pause between two changes of the churn.
const PAUSE: Duration = Duration::from_millis(200);
/// Longest wait for memory to be released.
const REST: Duration = Duration::from_secs(20);

/// Subscribers that read everything until they are dropped.
type Readers = JoinSet<()>;

pub async fn measure(place: &Place, size: Size, report: &mut Report) {
    let few = size.watchers.div_ceil(STREAMS);
    let watchers = size.watchers;
    for (connections, what) in [(few, "few"), (watchers, "one each")] {
        let (daemon, mut counted) = counted::daemon().await;
        report.memory("restarted", weigh(&daemon, &mut counted).await);
        let apps = watch_apps(&daemon, watchers, connections).await;
        let state = format!("and {watchers} WatchApps over {connections} connections");
        report.memory(&state, weigh(&daemon, &mut counted).await);
        if what != "few" {
            continue;
        }
        let endpoints = watch_endpoints(place, &daemon, size, connections).await;
        let state = format!("and {watchers} WatchEndpoints over {connections} more");
        report.memory(&state, weigh(&daemon, &mut counted).await);
        let (most, changes) = churn(place, &daemon, size).await;
        report.memory(&format!("most during {changes} changes of size in {} s", size.churn_seconds), most);
        place.settled(&daemon).await;
        report.memory("after them, all subscribers still there", weigh(&daemon, &mut counted).await);
        drop((apps, endpoints));
        report.memory("all subscribers gone", weigh(&daemon, &mut counted).await);
        // Memory that the allocator retains is used again by the second round; leaked memory is not.
        let _again = watch_apps(&daemon, watchers, connections).await;
        report.memory(&format!("{watchers} WatchApps once more"), weigh(&daemon, &mut counted).await);
    }
}

/// Reads the memory of the daemon once it no longer changes.
async fn weigh(daemon: &Daemon, counted: &mut Counted) -> Memory {
    rest(daemon).await;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a count of bytes
    let heap = (counted.rest().await / 1024.0) as u64;
    Memory { heap: Some(heap), ..daemon.memory() }
}

/// Waits until the memory of the daemon no longer changes.
async fn rest(daemon: &Daemon) {
    let start = Instant::now();
    let mut last = 0;
    while start.elapsed() < REST {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now = daemon.memory().resident;
        if now.abs_diff(last) < 64 {
            return;
        }
        last = now;
    }
}

/// Subscribers of all apps. Each has read the current state.
async fn watch_apps(daemon: &Daemon, watchers: usize, connections: usize) -> Readers {
    let mut readers = Readers::new();
    for share in shares(watchers, connections) {
        let channel = daemon.channel().await;
        for _ in 0..share {
            let mut apps = AppServiceClient::new(channel.clone());
            let request =
                pb::WatchAppsRequest { parent: "namespaces/-".to_owned(), ..pb::WatchAppsRequest::default() };
            let mut stream = apps.watch_apps(request).await.unwrap().into_inner();
            readers.spawn(async move { while let Ok(Some(_)) = stream.message().await {} });
        }
    }
    readers
}

/// Subscribers of one app each.
async fn watch_endpoints(place: &Place, daemon: &Daemon, size: Size, connections: usize) -> Readers {
    let mut readers = Readers::new();
    let mut count = 0;
    for share in shares(size.watchers, connections) {
        let channel = daemon.channel().await;
        for _ in 0..share {
            let mut discovery = DiscoveryServiceClient::new(channel.clone());
            let request = pb::WatchEndpointsRequest {
                parent: place.filler(count % size.apps),
                ..pb::WatchEndpointsRequest::default()
            };
            count += 1;
            let mut stream = discovery.watch_endpoints(request).await.unwrap().into_inner();
            readers.spawn(async move { while let Ok(Some(_)) = stream.message().await {} });
        }
    }
    readers
}

/// How many subscribers each connection carries.
fn shares(all: usize, connections: usize) -> impl Iterator<Item = usize> {
    (0..connections).map(move |n| all / connections + usize::from(n < all % connections))
}

/// Scales apps up and down, one after the other. Returns the most memory seen meanwhile, and the number of
/// changes.
async fn churn(place: &Place, daemon: &Daemon, size: Size) -> (Memory, usize) {
    let mut apps = daemon.apps().await;
    let mut most = daemon.memory();
    let start = Instant::now();
    let mut done = 0;
    while start.elapsed() < Duration::from_secs(size.churn_seconds) {
        let up = (done / size.apps).is_multiple_of(2);
        let replicas = if up { size.replicas / 2 } else { size.replicas };
        let name = place.filler(done % size.apps);
        let request =
            pb::ScaleAppRequest { name, replicas: Some(replicas), ..pb::ScaleAppRequest::default() };
        apps.scale_app(request).await.unwrap();
        done += 1;
        tokio::time::sleep(PAUSE).await;
        let now = daemon.memory();
        if now.resident > most.resident {
            most = now;
        }
    }
    place.grow(daemon, size, size.replicas).await;
    (most, done)
}
