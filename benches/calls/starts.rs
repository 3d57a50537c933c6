//! What a start takes and how much memory a pod needs, while the cluster is filled: with a quarter of its
//! pods, with half, and with all of them. The daemon is compared with a plain reflector of typed pods. Their
//! heaps are counted by `benches/heap`, in processes in which nothing else is measured.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use gantry::pb;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::ListParams};
use tokio::process::{Child, Command};

use crate::{
    Size,
    counted::{self, Counted},
    place::{Daemon, Memory, Place, given, memory},
    stats::{Goal, Ratio, Series, Table, Unit, micros},
};

const ANSWER: &str = "gantryd, to the first right answer";
const READY: &str = "gantryd, to its word that it is ready";
const REFLECTOR: &str = "reflector of typed pods, to all pods read";
const LISTS: &str = "bare LIST of the cluster's pods, in pages of 500";

const HEAP_WITH_EVENTS: &str = "gantryd, counted, with the Events of new pods";
const HEAP: &str = "gantryd, counted in its heap";
const HEAP_OF_REFLECTOR: &str = "reflector, counted in its heap";
const RSS: &str = "gantryd, by its RSS";
const RSS_OF_REFLECTOR: &str = "reflector, by its RSS";

/// Pods in a page, as clients usually ask for them.
const PAGE: u32 = 500;

/// A reflector in a separate process; it ends when this is dropped.
struct Reflector {
    process: Child,
    counted: Counted,
    filled: f64,
}

/// Contenders of memory.
const CONTENDERS: [&str; 5] = [HEAP_WITH_EVENTS, HEAP, HEAP_OF_REFLECTOR, RSS, RSS_OF_REFLECTOR];

/// What the contenders held with this many pods, in bytes.
struct Weighed {
    pods: f64,
    bytes: [f64; 5],
}

pub async fn measure(place: &Place, daemon: &Daemon, size: Size) -> [Table; 2] {
    let (mut starts, mut weights) = tables(size);
    let counts = [(size.replicas / 4).max(1), (size.replicas / 2).max(2), size.replicas];
    let mut weighed: Vec<Vec<Weighed>> = (0..size.rounds).map(|_| Vec::new()).collect();
    for (n, replicas) in counts.into_iter().enumerate() {
        let begun = Instant::now();
        if n == 0 {
            place.fill(daemon, size, replicas).await;
        } else {
            place.grow(daemon, size, replicas).await;
        }
        println!("{replicas} replicas of each app after {:.0?}", begun.elapsed());
        let last = replicas == size.replicas;
        let mut with_events = Vec::new();
        for _ in 0..size.rounds {
            with_events.push(counted::daemon().await.1.rest().await);
        }
        place.forget_events().await;
        for (this, with_events) in weighed.iter_mut().zip(with_events) {
            if last {
                starts.begin_round();
            }
            this.push(round(place, size, replicas, with_events, last.then_some(&mut starts)).await);
        }
    }
    for this in &weighed {
        weights.begin_round();
        for (n, name) in CONTENDERS.into_iter().enumerate() {
            weights.push(name, slope(this, n));
        }
    }
    [starts, weights]
}

fn tables(size: Size) -> (Table, Table) {
    let (pods, apps) = (size.pods(), size.apps);
    let goal = (pods >= 10_000).then(|| Ratio::alone(ANSWER, ANSWER, Goal::AtMost(1e6)));
    let starts = Table {
        title: "Cold start",
        about: format!(
            "From the start of the process, with {pods} pods in {apps} apps. The first right answer: GetApp says how many replicas are ready. \
             The goal is 1 s with 10,000 pods."
        ),
        unit: Unit::Micros,
        series: [ANSWER, READY, REFLECTOR, LISTS].map(Series::new).into(),
        ratios: goal
            .into_iter()
            .chain([
                Ratio::of("first right answer to the bare LIST", ANSWER, LISTS, None),
                Ratio::of("first right answer to the reflector", ANSWER, REFLECTOR, None),
            ])
            .collect(),
    };
    let weights = Table {
        title: "Memory of a pod",
        about: format!(
            "By how much it grows with each pod: the slope over {}, {} and {pods} pods in {apps} apps, each measured in processes started \
             anew. What the heap holds is counted at every allocation and is exact; the RSS has in it what the allocator keeps of the pages that \
             were read at the start. The daemon's figures include the pod's entry in its EndpointSlice, the reflector's do not. A new pod also \
             has two or three Events, which the daemon keeps for the hour that Kubernetes keeps them; they are deleted before all rows \
             but the first, since the reflector does not read them.",
            pods / 4,
            pods / 2,
        ),
        unit: Unit::Bytes,
        series: CONTENDERS.map(Series::new).into(),
        ratios: vec![
            Ratio::alone("gantryd's heap, for each pod", HEAP, Goal::AtMost(550.0)),
            Ratio::of("reflector's heap to gantryd's", HEAP_OF_REFLECTOR, HEAP, None),
            Ratio::of("reflector's RSS to gantryd's", RSS_OF_REFLECTOR, RSS, None),
        ],
    };
    (starts, weights)
}

/// Starts each contender once, one after the other, and reads its memory once that no longer changes.
async fn round(
    place: &Place,
    size: Size,
    replicas: i32,
    with_events: f64,
    starts: Option<&mut Table>,
) -> Weighed {
    let start = Instant::now();
    let (daemon, ready) = Daemon::listening(Command::new(env!("CARGO_BIN_EXE_gantryd"))).await;
    let answered = first_right_answer(place, &daemon, replicas).await;
    let times = (micros(answered - start), micros(ready.await.expect("the daemon becomes ready") - start));

    let reflector = Reflector::start().await;
    let (_counted_daemon, mut of_daemon) = counted::daemon().await;

    if let Some(starts) = starts {
        starts.push(ANSWER, times.0);
        starts.push(READY, times.1);
        starts.push(REFLECTOR, reflector.filled);
        starts.push(LISTS, list_all(place).await);
    }
    let Reflector { process, counted: mut of_reflector, .. } = reflector;
    let heaps = (of_daemon.rest().await, of_reflector.rest().await);
    let bytes = [with_events, heaps.0, heaps.1, rss(daemon.memory()), rss(memory(&process))];
    #[allow(clippy::cast_precision_loss)] // some thousands
    let pods = size.apps as f64 * f64::from(replicas);
    Weighed { pods, bytes }
}

/// Asks for the last app. Until the daemon has read everything it answers that it is not ready, so the first
/// answer shows that it has.
async fn first_right_answer(place: &Place, daemon: &Daemon, replicas: i32) -> Instant {
    let mut apps = daemon.apps().await;
    loop {
        let request = pb::GetAppRequest { name: place.filler(0), ..pb::GetAppRequest::default() };
        if let Ok(answer) = apps.get_app(request).await {
            let ready =
                answer.into_inner().app.and_then(|app| app.status).map(|status| status.ready_replicas);
            assert_eq!(ready, Some(replicas), "the first answer is right");
            return Instant::now();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn list_all(place: &Place) -> f64 {
    let pods = Api::<Pod>::all(place.client.clone());
    let start = Instant::now();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = pods.list(&params).await.unwrap();
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return micros(start.elapsed()),
        }
    }
}

#[allow(clippy::cast_precision_loss)] // far below 2^52
fn rss(memory: Memory) -> f64 {
    (memory.resident * 1024) as f64
}

/// Bytes for each pod: the slope of the least-squares line through the measurements.
fn slope(weighed: &[Weighed], contender: usize) -> f64 {
    #[allow(clippy::cast_precision_loss)] // three
    let count = weighed.len() as f64;
    let pods = weighed.iter().map(|w| w.pods).sum::<f64>() / count;
    let bytes = weighed.iter().map(|w| w.bytes[contender]).sum::<f64>() / count;
    let both: f64 = weighed.iter().map(|w| (w.pods - pods) * (w.bytes[contender] - bytes)).sum();
    both / weighed.iter().map(|w| (w.pods - pods).powi(2)).sum::<f64>()
}

// === impl Reflector ===

impl Reflector {
    /// Starts a reflector and waits until it has read all pods.
    async fn start() -> Self {
        let start = Instant::now();
        let mut process = Command::new(given("GANTRY_BENCH_HEAP"))
            .arg("reflector")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut counted = Counted::of(&mut process);
        assert_eq!(counted.line().await, "filled");
        Self { process, counted, filled: micros(start.elapsed()) }
    }
}
