//! What it costs to follow 200 replicas that print 100 lines a second each. A measurement without assertions.
//! It runs only when asked for, ends after half a minute, and prints its figures.

use std::{fs, sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use gantry::{
    domain::logs::{Line, Lines, LogError, LogRequest, Logs},
    pb::{self, stream_logs_response::Event},
};
use jiff::Timestamp;
use tokio::time::{Instant, interval};

use crate::{
    printed::Printed,
    support::{Server, mk_deployment, mk_pod, mk_replica_set, mk_revision, now},
};

const REPLICAS: usize = 200;
const TIME: Duration = Duration::from_secs(10);

/// Every pod prints 100 lines a second, each of 100 bytes, in bursts of five.
struct Chatty;

impl Logs for Chatty {
    fn open(&self, wanted: LogRequest) -> BoxFuture<'_, Result<Lines, LogError>> {
        let clock = interval(Duration::from_millis(50));
        let bursts = stream::unfold(clock, |mut clock| async {
            clock.tick().await;
            let line = |_| Ok(Line { time: Timestamp::now(), text: "x".repeat(100) });
            Some((stream::iter((0..5).map(line).collect::<Vec<_>>()), clock))
        });
        let lines = if wanted.follow { bursts.flatten().boxed() } else { stream::empty().boxed() };
        async { Ok(lines) }.boxed()
    }
}

/// Seconds of processor time, and bytes of memory, that this process has used.
fn used() -> (f64, u64) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    #[allow(clippy::cast_precision_loss)] // some thousand ticks, a hundredth of a second each
    (ticks as f64 / 100.0, kilobytes / 1024)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: cargo test --test it logging::load -- --ignored --nocapture"]
async fn two_hundred_replicas_of_a_hundred_lines_a_second() {
    let server = Server::start_with(Arc::new(Chatty), Arc::new(Printed::default())).await;
    server.fill();
    server.index.update_rows(vec![mk_revision("web", 1)], vec![], now());
    server.index.update_rows(vec![mk_replica_set("web")], vec![], now());
    server.index.update_rows(
        (0..REPLICAS).map(|n| mk_pod("web", &n.to_string(), true)).collect(),
        vec![],
        now(),
    );
    server.apply(mk_deployment("web", 200, 200));
    let request = || pb::StreamLogsRequest {
        parent: "namespaces/shop/apps/web".into(),
        follow: true,
        tail_lines: Some(0),
        ..Default::default()
    };
    for (who, pause) in [
        ("a quick reader", Duration::ZERO),
        ("a reader of some 1,000 lines a second", Duration::from_millis(1)),
    ] {
        let (before, _) = used();
        let began = Instant::now();
        let mut stream = server.timelines().stream_logs(request()).await.unwrap().into_inner();
        let (mut lines, mut dropped, mut late) = (0_u64, 0_u64, Duration::ZERO);
        while began.elapsed() < TIME {
            let message = stream.message().await.unwrap().unwrap();
            match message.event.unwrap() {
                Event::Line(line) => {
                    lines += 1;
                    let time = line.time.unwrap();
                    let written = Timestamp::new(time.seconds, time.nanos).unwrap();
                    late = late.max(Timestamp::now().duration_since(written).unsigned_abs());
                    if !pause.is_zero() {
                        tokio::time::sleep(pause).await;
                    }
                }
                Event::Notice(notice) => {
                    let count = notice.message.split(' ').next().and_then(|word| word.parse::<u64>().ok());
                    dropped += count.unwrap_or_default();
                }
                Event::Heartbeat(_) => {}
            }
        }
        let (after, memory) = used();
        let seconds = began.elapsed().as_secs_f64();
        println!(
            "{who}: {lines} lines in {seconds:.1} s, {dropped} reported as dropped, at most {late:.1?} after they were written; \
             {:.0} % of a core for server, reader and the replicas together, {memory} MB",
            (after - before) / seconds * 100.0
        );
        assert!(lines > 0);
    }
}
