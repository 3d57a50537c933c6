//! Processes of `benches/heap`, which report how much their heap holds.

use std::{process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use crate::place::{Daemon, given};

/// Asks one process of `benches/heap`.
pub struct Counted {
    asks: ChildStdin,
    says: Lines<BufReader<ChildStdout>>,
}

/// A daemon whose heap is counted, once it is ready.
pub async fn daemon() -> (Daemon, Counted) {
    let mut program = Command::new(given("GANTRY_BENCH_HEAP"));
    program.arg("gantryd").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut daemon = Daemon::ready(program).await;
    let counted = Counted::of(daemon.process());
    (daemon, counted)
}

// === impl Counted ===

impl Counted {
    pub fn of(process: &mut Child) -> Self {
        let asks = process.stdin.take().expect("its input is ours");
        let says = process.stdout.take().expect("its output is ours");
        Self { asks, says: BufReader::new(says).lines() }
    }

    pub async fn line(&mut self) -> String {
        self.says.next_line().await.unwrap().expect("it goes on")
    }

    /// Bytes that the heap holds.
    pub async fn now(&mut self) -> f64 {
        self.asks.write_all(b"\n").await.unwrap();
        self.line().await.parse().expect("a number")
    }

    /// Bytes that the heap holds, once two readings differ by less than 4 KiB, or after 6 s.
    pub async fn rest(&mut self) -> f64 {
        let mut last = f64::INFINITY;
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let now = self.now().await;
            if (now - last).abs() < 4096.0 {
                break;
            }
            last = now;
        }
        self.now().await
    }
}
