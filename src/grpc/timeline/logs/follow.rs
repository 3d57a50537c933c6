//! Follows the logs of all replicas. One task per call reads them, whether the caller takes the lines or not,
//! and buffers as many lines as there is room for. New replicas are read from their beginning, deleted ones
//! to their end.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{
    StreamExt,
    stream::{self, BoxStream, SelectAll},
};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use super::selection::{LogMessage, MAX_LOGS, ResumePoint, Selection, describe_left_out};
use crate::{
    domain::{
        Error,
        logs::{Bounds, Lines, Live, LogError, LogRequest, Logs, Position},
        name::Scope,
    },
    grpc::{
        Context,
        stream::{News, Wakeup, sleep_until_due},
    },
    index::{Index, LogSource},
    metrics::METRICS,
};

/// The time that a line waits for earlier lines of other replicas. A node and the API server need less time
/// to pass a line on.
const WINDOW: Duration = Duration::from_millis(250);
/// What is buffered of each log for a slow caller: one second at 1,000 lines a second. For all 500 logs that
/// is some 30 MB.
const BOUNDS: Bounds = Bounds { window: WINDOW, lines: 1000, bytes: 64 * 1024 };

/// Pauses before a log is opened again. The pause doubles each time that the log gives nothing.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The most that the clock of a node may be behind.
const SKEW: Duration = Duration::from_secs(2);
/// The time that the log of a deleted replica may take to end.
const LAST_WORDS: Duration = Duration::from_secs(30);

/// The new lines of a call.
pub(super) struct LiveReader {
    queue: Arc<LineQueue>,
    task: AbortOnDropHandle<()>,
    began: Instant,
    /// The message to return next, after the notice about lines that were dropped before it.
    next: Option<LogMessage>,
}

/// The buffer between the task and the call: new lines in time order, as many as there is room for.
struct LineQueue {
    live: Mutex<Live<LogMessage>>,
    changed: watch::Sender<u64>,
    began: Instant,
}

/// What a reader must know about its replica.
struct ReplicaState {
    exists: AtomicBool,
    /// Notified when the replica is gone, or its container started, stopped or restarted.
    changed: Notify,
}

// === impl LiveReader ===

impl LiveReader {
    /// Starts to follow where the past lines ended.
    pub(super) fn start(
        context: &Context,
        logs: Arc<dyn Logs>,
        selection: Selection,
        read: HashMap<Arc<str>, ResumePoint>,
    ) -> Self {
        let began = Instant::now();
        let live = Mutex::new(Live::new(BOUNDS));
        let queue = Arc::new(LineQueue { live, changed: watch::Sender::new(0), began });
        let follower = Follower {
            index: context.index.clone(),
            logs,
            selection,
            queue: queue.clone(),
            readers: SelectAll::new(),
            known: HashMap::new(),
            next_id: 0,
            left_out: 0,
            first: true,
        };
        let task = AbortOnDropHandle::new(context.readers.spawn(follower.run(read)));
        Self { queue, task, began, next: None }
    }

    /// Wakes when the buffer was empty and gets a message.
    pub(super) fn changed(&self) -> watch::Receiver<u64> {
        self.queue.changed.subscribe()
    }

    /// Returns the next message, or `None` if it was quiet for a while.
    pub(super) async fn next(&mut self, news: &mut News) -> Result<Option<LogMessage>, Status> {
        if let Some(said) = self.next.take() {
            return Ok(Some(said));
        }
        loop {
            let (popped, due) = {
                let mut live = self.queue.live.lock();
                (live.pop(self.began.elapsed()), live.due())
            };
            if let Some(popped) = popped {
                if popped.dropped == 0 {
                    return Ok(Some(popped.item));
                }
                METRICS.log_lines_dropped.inc_by(popped.dropped);
                let notice = describe_dropped(popped.dropped);
                let pod = match &popped.item {
                    LogMessage::Line(log, _) => log.pod.clone(),
                    LogMessage::Notice(pod, _) => pod.clone(),
                };
                self.next = Some(popped.item);
                return Ok(Some(LogMessage::Notice(pod, notice)));
            }
            if self.task.is_finished() {
                return Err(Error::Bug("the task that reads logs ended".to_owned()).into());
            }
            tokio::select! {
                woken = news.wait() => if let Wakeup::Silence = woken? {
                    return Ok(None);
                },
                () = sleep_until_due(due.map(|due| self.began + due)) => {}
            }
        }
    }
}

fn describe_dropped(lines: u64) -> String {
    let lines = if lines == 1 { "1 line was".to_owned() } else { format!("{lines} lines were") };
    format!("{lines} dropped here, because they were not read in time")
}

/// The task that reads the new lines of all logs of a call.
struct Follower {
    index: Index,
    logs: Arc<dyn Logs>,
    selection: Selection,
    queue: Arc<LineQueue>,
    readers: SelectAll<BoxStream<'static, (u64, LogMessage)>>,
    known: HashMap<Arc<str>, FollowedReplica>,
    next_id: u64,
    /// The number of replicas beyond [`MAX_LOGS`].
    left_out: usize,
    /// Whether this is the first look. The reader of past lines has reported what was left out then.
    first: bool,
}

/// A replica whose log is read, as last seen.
struct FollowedReplica {
    replica: Arc<ReplicaState>,
    restarts: i32,
    running: bool,
}

// === impl Follower ===

impl Follower {
    async fn run(mut self, mut read: HashMap<Arc<str>, ResumePoint>) {
        let mut news = self.index.watch_changes(&Scope::App(self.selection.app.clone()));
        loop {
            self.look(&mut read);
            loop {
                tokio::select! {
                    changed = news.changed() => {
                        // The index is dropped last.
                        if changed.is_err() {
                            return;
                        }
                        break;
                    }
                    Some((id, said)) = self.readers.next() => self.queue.push(id, said),
                }
            }
        }
    }

    /// Starts to read new replicas, and updates the state that the readers of known replicas see.
    fn look(&mut self, read: &mut HashMap<Arc<str>, ResumePoint>) {
        let found = self.selection.find_logs(&self.index);
        let there: HashSet<_> = found.iter().map(|log| log.pod.clone()).collect();
        self.known.retain(|pod, known| {
            let exists = there.contains(pod);
            if !exists {
                known.replica.exists.store(false, Ordering::Relaxed);
                known.replica.changed.notify_one();
            }
            exists
        });
        let mut left_out = 0;
        for log in found {
            if let Some(known) = self.known.get_mut(&log.pod) {
                if (known.restarts, known.running) != (log.restarts, log.running) {
                    (known.restarts, known.running) = (log.restarts, log.running);
                    known.replica.changed.notify_one();
                }
            } else if self.readers.len() < MAX_LOGS {
                let from = read.remove(&log.pod);
                self.read(log, from);
            } else {
                left_out += 1;
            }
        }
        if left_out > self.left_out && !self.first {
            self.queue.push(self.next_id, LogMessage::Notice(Arc::from(""), describe_left_out(left_out)));
        }
        (self.left_out, self.first) = (left_out, false);
        // Replicas that were deleted while their past lines were read.
        for (pod, _) in read.drain() {
            self.queue.push(self.next_id, LogMessage::Notice(pod, ENDED.to_owned()));
        }
    }

    fn read(&mut self, log: LogSource, from: Option<ResumePoint>) {
        let replica = Arc::new(ReplicaState { exists: AtomicBool::new(true), changed: Notify::new() });
        let known =
            FollowedReplica { replica: replica.clone(), restarts: log.restarts, running: log.running };
        self.known.insert(log.pod.clone(), known);
        self.next_id += 1;
        let id = self.next_id;
        let from = from.unwrap_or_else(|| ResumePoint { unread: true, ..ResumePoint::default() });
        let begins = from.unread.then(|| "its log begins".to_owned());
        let reader = LogReader {
            logs: self.logs.clone(),
            wanted: LogRequest { follow: true, ..self.selection.request_for(&log) },
            log: Arc::new(log),
            // With a tail of 0 the caller wants no line from before the call.
            tail: from.tail.filter(|tail| *tail == 0),
            position: from.position,
            replica,
            lines: None,
            pause: None,
            next_pause: FIRST_PAUSE,
            gave: false,
            told: None,
            begins,
            ended: false,
        };
        let said = stream::unfold(reader, move |mut reader| async move {
            reader.next().await.map(|said| ((id, said), reader))
        });
        self.readers.push(said.boxed());
    }
}

const ENDED: &str = "its log has ended: the replica is gone";

impl LineQueue {
    fn push(&self, id: u64, said: LogMessage) {
        let arrived = self.began.elapsed();
        let mut live = self.live.lock();
        let was_empty = match &said {
            LogMessage::Line(_, line) => {
                let (time, bytes) = (line.time, line.text.len());
                live.line(id, time, said, bytes, arrived)
            }
            LogMessage::Notice(..) => live.word(id, Timestamp::now(), said, arrived),
        };
        drop(live);
        if was_empty {
            self.changed.send_modify(|n| *n += 1);
        }
    }
}

/// Reads one log as long as its replica exists, and opens it as often as needed.
struct LogReader {
    logs: Arc<dyn Logs>,
    log: Arc<LogSource>,
    wanted: LogRequest,
    position: Position,
    /// Number of past lines for the first opening.
    tail: Option<u32>,
    replica: Arc<ReplicaState>,
    lines: Option<Lines>,
    /// The time to wait before the log is opened again.
    pause: Option<Duration>,
    next_pause: Duration,
    /// Whether it gave a line since it was opened last.
    gave: bool,
    /// The last notice about why there is nothing to read.
    told: Option<String>,
    begins: Option<String>,
    ended: bool,
}

// === impl LogReader ===

impl LogReader {
    async fn next(&mut self) -> Option<LogMessage> {
        loop {
            if self.ended {
                return None;
            }
            let notice = match &mut self.lines {
                Some(lines) => {
                    let line = tokio::select! {
                        biased;
                        line = lines.next() => line,
                        () = self.replica.gone() => None,
                    };
                    match line {
                        Some(Ok(line)) => {
                            (self.gave, self.next_pause, self.told) = (true, FIRST_PAUSE, None);
                            if self.position.admits(&line) {
                                return Some(LogMessage::Line(self.log.clone(), line));
                            }
                            continue;
                        }
                        Some(Err(error)) => self.broken(&error),
                        None => self.at_end(),
                    }
                }
                None => self.open().await,
            };
            if let Some(notice) = notice {
                return Some(LogMessage::Notice(self.log.pod.clone(), notice));
            }
        }
    }

    async fn open(&mut self) -> Option<String> {
        if let Some(pause) = self.pause.take() {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.replica.changed.notified() => {}
            }
        }
        let since = self.position.reopen();
        let wanted = LogRequest { since, tail: self.tail.take(), ..self.wanted.clone() };
        let skips = wanted.tail.is_some();
        match self.logs.open(wanted).await {
            Ok(lines) => {
                if skips {
                    // If the log breaks off before its first line, it must not begin again with lines that
                    // the caller does not want.
                    self.position = Position::from(Timestamp::now() - SKEW);
                }
                (self.lines, self.gave) = (Some(lines), false);
                self.begins.take()
            }
            Err(LogError::Gone) => Some(self.end()),
            Err(why) => {
                // With `NotNow` there is no log yet, so all lines that come are new.
                if skips && !matches!(why, LogError::NotNow(_)) {
                    self.tail = Some(0);
                }
                if !self.replica.exists.load(Ordering::Relaxed) {
                    return Some(self.end());
                }
                self.wait_longer();
                self.tell(format!("its log cannot be read and is opened again: {why}"))
            }
        }
    }

    fn broken(&mut self, error: &Error) -> Option<String> {
        self.lines = None;
        self.wait_longer();
        self.tell(format!("its log broke off and is opened again: {error}"))
    }

    /// Handles the end of the log: the container ended, or the API server closed the connection, as it does
    /// after some hours.
    fn at_end(&mut self) -> Option<String> {
        self.lines = None;
        if !self.replica.exists.load(Ordering::Relaxed) {
            return Some(self.end());
        }
        self.wait_longer();
        if self.gave {
            return None;
        }
        self.tell("its log has ended; it goes on when its container starts again".to_owned())
    }

    fn end(&mut self) -> String {
        self.ended = true;
        ENDED.to_owned()
    }

    fn wait_longer(&mut self) {
        self.pause = Some(self.next_pause);
        self.next_pause = (self.next_pause * 2).min(LONGEST_PAUSE);
    }

    /// Returns the notice, unless it equals the last one.
    fn tell(&mut self, notice: String) -> Option<String> {
        let news = self.told.as_ref() != Some(&notice);
        self.told = Some(notice.clone());
        news.then_some(notice)
    }
}

// === impl ReplicaState ===

impl ReplicaState {
    /// Returns [`LAST_WORDS`] after the replica is gone.
    async fn gone(&self) {
        while self.exists.load(Ordering::Relaxed) {
            self.changed.notified().await;
        }
        tokio::time::sleep(LAST_WORDS).await;
    }
}
