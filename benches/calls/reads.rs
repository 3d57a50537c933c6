//! What it costs to read the state of an app: from the daemon, from an echo that knows nothing, and from the
//! API server.

use std::time::{Duration, Instant};

use gantry::pb;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{Api, api::ListParams};
use prost::{Message, bytes::Bytes};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::{
    Size,
    echo::{self, Echo},
    place::{Daemon, Place, connect},
    stats::{Goal, Ratio, Series, Table, Unit, micros},
};

const GET_APP: &str = "GetApp";
const ECHO: &str = "bare gRPC echo of the same bytes";
const GET: &str = "bare GET of the Deployment";
const LIST: &str = "bare LIST of the app's pods";
const LIST_NEAR: &str = "bare LIST of the pods of its namespace";
const LIST_ALL: &str = "bare LIST of the pods of the cluster";

const CALLER: &str = "/gantry.v1.AppService/GetApp";
const APP: &str = "app-0";

/// Turns in a round, and calls in a turn. Turns are short, so that a busy moment of the machine affects all
/// contenders alike.
const TURNS: usize = 40;
const CALLS: usize = 25;
const CALLS_OF_API_SERVER: usize = 3;
/// Lists of many pods in a round, after the turns. Each list takes as long as a turn.
const LONG_LISTS: usize = 3;

const CALLERS: usize = 32;
const SPELL: Duration = Duration::from_secs(1);

fn question(place: &Place) -> pb::GetAppRequest {
    pb::GetAppRequest { name: place.name(APP), ..pb::GetAppRequest::default() }
}

async fn get_app(channel: &Channel, request: &pb::GetAppRequest) -> pb::GetAppResponse {
    echo::call(channel, CALLER, request.clone()).await
}

/// Starts an echo whose messages are as long as those of the daemon.
async fn fitting_echo(place: &Place, daemon: &Channel) -> (Echo, Bytes, usize) {
    let request = question(place);
    let answer = get_app(daemon, &request).await.encoded_len();
    // The answer of the echo has a field around its bytes, as the daemon's answer has.
    let echo = Echo::start(answer.saturating_sub(3)).await;
    let sent = Bytes::from(vec![b'x'; request.encoded_len() - 2]);
    (echo, sent, answer)
}

pub async fn latency(place: &Place, daemon: &Daemon, size: Size) -> Table {
    let channel = daemon.channel().await;
    let (echo, sent, bytes) = fitting_echo(place, &channel).await;
    let bare = connect(&echo.address).await;
    let request = question(place);
    let deployments = Api::<Deployment>::namespaced(place.client.clone(), &place.namespace);
    let pods = Api::<Pod>::namespaced(place.client.clone(), &place.namespace);
    let of_app = ListParams::default().labels(&format!("gantry.dev/app={APP}"));

    let all_pods = Api::<Pod>::all(place.client.clone());
    let everything = ListParams::default();
    let mut table = Table {
        title: "Read one app, one caller",
        about: format!(
            "An app of {} replicas among {}, of which its namespace has {}; the answer has {bytes} bytes. One call at a time; client, \
             server and API server share the machine.",
            size.replicas,
            size.pods(),
            size.pods() / size.apps * Place::near(size),
        ),
        unit: Unit::Micros,
        series: [GET_APP, ECHO, GET, LIST, LIST_NEAR, LIST_ALL].map(Series::new).into(),
        ratios: vec![
            Ratio::of("GetApp to echo", GET_APP, ECHO, Some(Goal::AtMost(2.0))),
            Ratio::of("GET to GetApp", GET, GET_APP, Some(Goal::AtLeast(25.0))),
            Ratio::of("LIST of its pods to GetApp", LIST, GET_APP, None),
            Ratio::of("LIST of its namespace's pods to GetApp", LIST_NEAR, GET_APP, None),
            Ratio::of("LIST of the cluster's pods to GetApp", LIST_ALL, GET_APP, None),
        ],
    };
    // The first round is a warm-up and is thrown away.
    for round in 0..=size.rounds {
        table.begin_round();
        for _ in 0..TURNS {
            for _ in 0..CALLS {
                let start = Instant::now();
                get_app(&channel, &request).await;
                table.push(GET_APP, micros(start.elapsed()));
            }
            for _ in 0..CALLS {
                let start = Instant::now();
                echo::call::<Bytes, Bytes>(&bare, echo::PATH, sent.clone()).await;
                table.push(ECHO, micros(start.elapsed()));
            }
            for _ in 0..CALLS_OF_API_SERVER {
                let start = Instant::now();
                deployments.get(APP).await.unwrap();
                table.push(GET, micros(start.elapsed()));
                let start = Instant::now();
                pods.list(&of_app).await.unwrap();
                table.push(LIST, micros(start.elapsed()));
            }
        }
        for _ in 0..LONG_LISTS {
            for (name, pods) in [(LIST_NEAR, &pods), (LIST_ALL, &all_pods)] {
                let start = Instant::now();
                pods.list(&everything).await.unwrap();
                table.push(name, micros(start.elapsed()));
            }
        }
        if round == 0 {
            table.forget();
        }
    }
    table
}

/// Calls per second of many callers who share these connections.
async fn rate<F: Future<Output = ()> + Send + 'static>(
    channels: &[Channel],
    call: impl Fn(Channel) -> F + Clone + Send + 'static,
) -> f64 {
    let start = Instant::now();
    let mut callers = JoinSet::new();
    for n in 0..CALLERS {
        let (channel, call) = (channels[n % channels.len()].clone(), call.clone());
        callers.spawn(async move {
            let mut done = 0_u32;
            while start.elapsed() < SPELL {
                call(channel.clone()).await;
                done += 1;
            }
            done
        });
    }
    let done: u32 = callers.join_all().await.iter().sum();
    f64::from(done) / start.elapsed().as_secs_f64()
}

pub async fn throughput(place: &Place, daemon: &Daemon, size: Size) -> Table {
    let first = daemon.channel().await;
    let (echo, sent, _) = fitting_echo(place, &first).await;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        ours.push(daemon.channel().await);
        bare.push(connect(&echo.address).await);
    }
    let request = question(place);
    let get_app = move |channel: Channel| {
        let request = request.clone();
        async move { drop(get_app(&channel, &request).await) }
    };
    let answer = move |channel: Channel| {
        let sent = sent.clone();
        async move { drop(echo::call::<Bytes, Bytes>(&channel, echo::PATH, sent).await) }
    };
    let names =
        ["GetApp, 1 connection", "echo, 1 connection", "GetApp, 4 connections", "echo, 4 connections"];
    let ratio = |what, of, to| Ratio::of(what, of, to, Some(Goal::AtLeast(0.7)));
    let mut table = Table {
        title: "Read one app, 32 callers",
        about:
            "Each caller asks again as soon as it is answered; callers and server share the machine's cores."
                .to_owned(),
        unit: Unit::PerSecond,
        series: names.map(Series::new).into(),
        ratios: vec![
            ratio("GetApp to echo, 1 connection", names[0], names[1]),
            ratio("GetApp to echo, 4 connections", names[2], names[3]),
        ],
    };
    for _ in 0..size.rounds {
        table.begin_round();
        table.push(names[0], rate(&ours[..1], get_app.clone()).await);
        table.push(names[1], rate(&bare[..1], answer.clone()).await);
        table.push(names[2], rate(&ours, get_app.clone()).await);
        table.push(names[3], rate(&bare, answer.clone()).await);
    }
    table
}
