//! Logs of containers, read line by line through the API server. Each open log is a separate connection, and
//! their number is limited. Must not know which logs are wanted, nor what becomes of the lines.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt, StreamExt, future::BoxFuture, io::AsyncBufRead, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{client::Cluster, error::root_cause};
use crate::{
    domain::{
        Error,
        logs::{LONGEST_LINE, Line, Lines, LogError, LogRequest, Logs},
    },
    metrics::METRICS,
};

/// Logs that are open at the same time, for all callers together. Each is a connection to the API server and
/// one from there to a node.
pub const MOST_OPEN: usize = 2000;

/// Longest wait for the next bytes of a log that is not followed.
const STALL: Duration = Duration::from_secs(10);

/// Reads logs with gantryd's own account.
#[derive(Clone)]
pub struct Reader {
    cluster: Cluster,
    open: Arc<Semaphore>,
}

/// A log that is open.
struct OpenLog {
    bytes: Pin<Box<dyn AsyncBufRead + Send>>,
    lines: LineAssembler,
    follow: bool,
    cluster: Cluster,
    /// The name of the log in errors.
    what: String,
    ended: bool,
    _permit: OpenLogPermit,
}

/// A permit for one open log.
struct OpenLogPermit(#[allow(dead_code)] OwnedSemaphorePermit);

/// Assembles lines from bytes.
#[derive(Default)]
struct LineAssembler {
    line: Vec<u8>,
    /// Bytes of the line that were left out.
    left_out: usize,
    /// Time of the line before, used for a line without a time.
    last: Timestamp,
}

/// Space for the time in front of a line.
const PREFIX: usize = 40;

// === impl Reader ===

impl Reader {
    /// Reads the logs of this cluster.
    pub fn new(cluster: Cluster) -> Self {
        Self { cluster, open: Arc::new(Semaphore::new(MOST_OPEN)) }
    }

    async fn begin(&self, wanted: LogRequest) -> Result<Lines, LogError> {
        let Ok(permit) = self.open.clone().try_acquire_owned() else {
            return Err(LogError::Full { open: MOST_OPEN });
        };
        let what = format!("pods/log of {}/{}", wanted.namespace, wanted.pod);
        let params = LogParams {
            container: Some(wanted.container.to_string()),
            follow: wanted.follow,
            previous: wanted.previous,
            since_time: wanted.since,
            tail_lines: wanted.tail.map(i64::from),
            timestamps: true,
            ..LogParams::default()
        };
        let pods = self.cluster.namespaced::<Pod>(&wanted.namespace);
        let bytes = match pods.stream_log(&wanted.pod, &params).await.map_err(LogError::Failed)? {
            Ok(bytes) => Box::pin(bytes),
            Err(status) if status.code == 404 => return Err(LogError::Gone),
            Err(status) => return Err(to_log_error(&status.message)),
        };
        let (cluster, follow) = (self.cluster.clone(), wanted.follow);
        let lines = LineAssembler::default();
        let open = OpenLog {
            bytes,
            lines,
            follow,
            cluster,
            what,
            ended: false,
            _permit: OpenLogPermit::new(permit),
        };
        let lines = stream::unfold(open, |mut open| async { open.next().await.map(|line| (line, open)) });
        Ok(lines.boxed())
    }
}

impl Logs for Reader {
    fn open(&self, wanted: LogRequest) -> BoxFuture<'_, Result<Lines, LogError>> {
        self.begin(wanted).boxed()
    }
}

/// Explains a 400 of the API server: either there is no such container, or its log cannot be read yet.
fn to_log_error(message: &str) -> LogError {
    if message.contains("is not valid for pod") {
        LogError::NoContainer(message.to_owned())
    } else {
        LogError::NotNow(message.to_owned())
    }
}

// === impl OpenLogPermit ===

impl OpenLogPermit {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        METRICS.log_streams.inc();
        Self(permit)
    }
}

impl Drop for OpenLogPermit {
    fn drop(&mut self) {
        METRICS.log_streams.dec();
    }
}

// === impl OpenLog ===

impl OpenLog {
    async fn next(&mut self) -> Option<Result<Line, Error>> {
        if self.ended {
            return None;
        }
        let Self { bytes, lines, cluster, follow, .. } = self;
        let stall = async {
            if *follow {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(STALL).await;
        };
        let broken = tokio::select! {
            biased;
            line = std::future::poll_fn(|cx| lines.poll_line(bytes.as_mut(), cx)) => match line {
                Ok(Some(line)) => return Some(Ok(line)),
                Ok(None) => {
                    self.ended = true;
                    return None;
                }
                Err(error) => root_cause(&error),
            },
            outage = cluster.api_health.wait_for_outage() => outage.to_string(),
            () = stall => format!("no byte came for {} s", STALL.as_secs()),
        };
        self.ended = true;
        Some(Err(Error::Unreachable { message: format!("{} broke off: {broken}", self.what) }))
    }
}

// === impl LineAssembler ===

impl LineAssembler {
    fn poll_line(
        &mut self,
        mut bytes: Pin<&mut (dyn AsyncBufRead + Send)>,
        cx: &mut Context<'_>,
    ) -> Poll<std::io::Result<Option<Line>>> {
        loop {
            let Poll::Ready(read) = bytes.as_mut().poll_fill_buf(cx) else { return Poll::Pending };
            let read = read?;
            let (used, line) = if read.is_empty() { (0, self.finish()) } else { self.take(read) };
            let at_end = read.is_empty();
            bytes.as_mut().consume(used);
            if line.is_some() || at_end {
                return Poll::Ready(Ok(line));
            }
        }
    }

    /// Returns how many of the bytes were used, and the line that they complete.
    fn take(&mut self, bytes: &[u8]) -> (usize, Option<Line>) {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let part = &bytes[..end.unwrap_or(bytes.len())];
        let room = (LONGEST_LINE + PREFIX).saturating_sub(self.line.len()).min(part.len());
        self.line.extend_from_slice(&part[..room]);
        self.left_out += part.len() - room;
        (part.len() + usize::from(end.is_some()), end.map(|_| self.complete()))
    }

    /// Returns the last line, if it had no line end.
    fn finish(&mut self) -> Option<Line> {
        (!self.line.is_empty()).then(|| self.complete())
    }

    fn complete(&mut self) -> Line {
        let (line, left_out) = (std::mem::take(&mut self.line), std::mem::take(&mut self.left_out));
        let text = String::from_utf8_lossy(&line);
        let (time, text) = match text.split_once(' ').map(|(time, text)| (time.parse(), text)) {
            Some((Ok(time), text)) => (time, text),
            // An empty line may come without the space after its time.
            Some((Err(_), _)) | None => match text.parse() {
                Ok(time) => (time, ""),
                Err(_) => (self.last, &*text),
            },
        };
        self.last = time;
        let cut = &text[..text.floor_char_boundary(LONGEST_LINE)];
        let left_out = left_out + text.len() - cut.len();
        let text = if left_out > 0 { format!("{cut}... ({left_out} more bytes)") } else { cut.to_owned() };
        Line { time, text }
    }
}

#[cfg(test)]
mod tests {
    use futures::io::Cursor;
    use proptest::prelude::*;

    use super::*;

    /// Reads in pieces, as they come from a connection.
    fn read(text: &[u8], piece: usize) -> Vec<(String, String)> {
        let mut lines = LineAssembler::default();
        let mut got = Vec::new();
        for bytes in text.chunks(piece.max(1)) {
            let mut rest = bytes;
            while !rest.is_empty() {
                let (used, line) = lines.take(rest);
                got.extend(line);
                rest = &rest[used..];
            }
        }
        got.extend(lines.finish());
        got.into_iter().map(|line| (line.time.to_string(), line.text)).collect()
    }

    #[test]
    fn a_line_is_a_time_and_a_text() {
        let text = b"2026-01-02T03:04:05.000000006Z hello  world\n2026-01-02T03:04:06Z \n2026-01-02T03:04:07Z\nstray\n2026-01-02T03:04:08Z \xff";
        let expected = [
            ("2026-01-02T03:04:05.000000006Z", "hello  world"),
            ("2026-01-02T03:04:06Z", ""),
            ("2026-01-02T03:04:07Z", ""),
            ("2026-01-02T03:04:07Z", "stray"),
            ("2026-01-02T03:04:08Z", "\u{fffd}"),
        ];
        let expected = expected.map(|(time, text)| (time.to_owned(), text.to_owned()));
        for piece in [1, 7, 1000] {
            assert_eq!(read(text, piece), expected, "{piece}");
        }
    }

    #[test]
    fn a_line_without_end_costs_no_memory_and_says_what_it_lacks() {
        let mut text = b"2026-01-02T03:04:05Z ".to_vec();
        text.extend(std::iter::repeat_n(b'x', 1_000_000));
        text.extend(b"\n2026-01-02T03:04:06Z next\n");
        let mut lines = LineAssembler::default();
        for bytes in text[..900_000].chunks(4096) {
            lines.take(bytes);
            assert!(lines.line.len() <= LONGEST_LINE + PREFIX);
        }
        let got = read(&text, 4096);
        assert_eq!(got.len(), 2);
        let (cut, said) = got[0].1.split_at(LONGEST_LINE);
        assert!(cut.bytes().all(|byte| byte == b'x'), "{cut}");
        assert_eq!(said, format!("... ({} more bytes)", 1_000_000 - LONGEST_LINE));
        assert_eq!(got[1].1, "next");
    }

    #[tokio::test]
    async fn the_end_of_the_bytes_is_the_end_of_the_lines() {
        let mut bytes: Pin<Box<dyn AsyncBufRead + Send>> =
            Box::pin(Cursor::new(b"2026-01-02T03:04:05Z a\nb"));
        let mut lines = LineAssembler::default();
        let mut got = Vec::new();
        while let Some(line) = std::future::poll_fn(|cx| lines.poll_line(bytes.as_mut(), cx)).await.unwrap() {
            got.push(line.text);
        }
        assert_eq!(got, ["a", "b"]);
    }

    #[test]
    fn a_container_that_is_not_there_is_told_from_one_that_does_not_run_yet() {
        assert!(matches!(to_log_error("container x is not valid for pod y"), LogError::NoContainer(_)));
        assert!(matches!(
            to_log_error("container \"x\" in pod \"y\" is waiting to start"),
            LogError::NotNow(_)
        ));
    }

    proptest! {
        #[test]
        fn however_the_bytes_come_the_lines_are_the_same(text in prop::collection::vec(any::<u8>(), 0..300), piece in 1_usize..50) {
            prop_assert_eq!(read(&text, piece), read(&text, 1000));
        }
    }
}
