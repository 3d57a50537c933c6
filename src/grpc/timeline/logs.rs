//! StreamLogs: the past lines of all replicas in the order of their time, as fast as the caller takes them, then with `follow` the new
//! ones, which do not wait for the caller.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use jiff::Timestamp;
use tokio::sync::watch;
use tonic::Status;

use super::{
    super::{
        context::{Call, Context, Deadline},
        convert, parse,
        stream::{self, Answers, News, Source, Woken},
    },
    follow::{FollowEnd, Following},
};
use crate::{
    domain::{
        Error,
        logs::{Line, Lines, LogError, LogRequest, Logs, Past, Position},
        name,
    },
    index::{Index, LogSource},
    pb::{self, stream_logs_response::Event},
};

/// Logs that one call reads at a time.
pub(super) const MOST: usize = 500;
/// Past lines of each replica, if the caller says nothing.
const TAIL: u32 = 100;
/// Logs that are opened at once: the first lines of many replicas must not cost the API server as many requests at a time.
const AT_ONCE: usize = 32;

/// Which logs a call is about.
#[derive(Clone)]
pub(super) struct Selection {
    pub(super) app: name::App,
    rollout: Option<u64>,
    pod: String,
    container: Option<Arc<str>>,
}

/// What a log gives.
pub(super) enum LogMessage {
    Line(Arc<LogSource>, Line),
    /// Something about it.
    Word(Arc<str>, String),
}

pub(super) fn stream_logs(
    context: &Context,
    request: &pb::StreamLogsRequest,
    call: &Call<'_>,
) -> Result<Answers<pb::StreamLogsResponse>, Status> {
    let app = parse::parse_app_name("parent", &request.parent)?;
    let after = parse::parse_time("after", request.after.as_ref())?;
    if request.follow && request.previous {
        let why = "is set beside previous, which is a log that has ended; leave one of them out";
        return Err(Error::invalid("follow", why).into());
    }
    context.index.get_app(&app)?;
    let rollout = rollout_of(&context.index, &app, &request.rollout)?;
    let container = Some(request.container.as_str()).filter(|name| !name.is_empty()).map(Into::into);
    let selection = Selection { app: app.clone(), rollout, pod: request.pod.clone(), container };
    let mut found = selection.logs(&context.index);
    if found.is_empty() && !request.pod.is_empty() {
        let why =
            format!("is no replica of {app}{}", if rollout.is_some() { " in this rollout" } else { "" });
        return Err(Error::invalid("pod", why).into());
    }
    let left_out = found.len().saturating_sub(MOST);
    found.truncate(MOST);
    let tail = match (request.tail_lines, after) {
        (Some(lines), _) => Some(lines.unsigned_abs()),
        (None, Some(_)) => None,
        (None, None) => Some(TAIL),
    };
    let logs = call.connection.logs.clone();
    let mut past = Reading::new(logs.clone(), &selection, found, after, tail, request.previous);
    if left_out > 0 {
        past.words.push_back((Arc::from(""), too_many(left_out)));
    }
    // News come from the logs; before they are followed nothing but the caller is waited for.
    let quiet = watch::Sender::new(0);
    let news = News::on(quiet.subscribe(), context, call.deadline, format!("the logs of {app}"));
    Ok(stream::to_stream(Logging {
        context: context.clone(),
        logs,
        deadline: call.deadline,
        news,
        phase: Phase::Past(Box::new(past)),
        selection,
        follow: request.follow,
        _quiet: quiet,
    }))
}

pub(super) fn too_many(left_out: usize) -> String {
    format!(
        "the logs of {left_out} more replicas are not read: at most {MOST} at a time; choose by rollout or pod"
    )
}

/// The rollout that is meant, by its number.
fn rollout_of(index: &Index, app: &name::App, text: &str) -> Result<Option<u64>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let rollout = parse::parse_rollout_name("rollout", text)?;
    if rollout.app != *app {
        return Err(Error::invalid("rollout", format!("{text} is no rollout of {app}")));
    }
    index.get_rollout(&rollout).map(|rollout| Some(rollout.number))
}

struct Logging {
    context: Context,
    logs: Arc<dyn Logs>,
    deadline: Deadline,
    news: News,
    phase: Phase,
    selection: Selection,
    follow: bool,
    /// Keeps the channel of the news open while there are none.
    _quiet: watch::Sender<u64>,
}

enum Phase {
    Past(Box<Reading>),
    Live(Following),
}

// === impl Selection ===

impl Selection {
    /// The logs as they are now, the youngest replica first.
    pub(super) fn logs(&self, index: &Index) -> Vec<LogSource> {
        let mut found = index.log_sources(&self.app, self.rollout);
        found.retain(|log| self.pod.is_empty() || *log.pod == *self.pod);
        if let Some(container) = &self.container {
            for log in &mut found {
                log.container = container.clone();
            }
        }
        found
    }

    pub(super) fn wanted(&self, log: &LogSource) -> LogRequest {
        LogRequest {
            namespace: self.app.namespace.clone(),
            pod: log.pod.clone(),
            container: log.container.clone(),
            ..LogRequest::default()
        }
    }
}

// === impl Logging ===

impl Source for Logging {
    type Message = pb::StreamLogsResponse;

    async fn next(&mut self) -> Result<Option<Self::Message>, Status> {
        loop {
            let said = match &mut self.phase {
                Phase::Past(past) => tokio::select! {
                    biased;
                    said = past.next() => match said? {
                        Some(said) => Some(said),
                        None if self.follow => {
                            self.follow();
                            continue;
                        }
                        None => return Ok(None),
                    },
                    woken = self.news.wait() => match woken? {
                        Woken::News => continue,
                        Woken::Silence => None,
                    },
                },
                Phase::Live(live) => live.next(&mut self.news).await?,
            };
            let event = match said {
                Some(LogMessage::Line(log, line)) => Event::Line(pb::LogLine {
                    time: Some(convert::to_timestamp(line.time)),
                    pod: log.pod.to_string(),
                    container: log.container.to_string(),
                    text: line.text,
                }),
                Some(LogMessage::Word(pod, message)) => {
                    Event::Notice(pb::LogNotice { pod: pod.to_string(), message })
                }
                None => Event::Heartbeat(stream::heartbeat(&self.context)),
            };
            return Ok(Some(pb::StreamLogsResponse { event: Some(event) }));
        }
    }
}

impl Logging {
    /// Goes over from the past to what comes.
    fn follow(&mut self) {
        let Phase::Past(past) = &mut self.phase else { return };
        let read = std::mem::take(&mut past.logs);
        let read: HashMap<_, _> = read.into_iter().map(|log| (log.of.pod.clone(), log.left)).collect();
        let live = Following::start(&self.context, self.logs.clone(), self.selection.clone(), read);
        let subject = format!("the logs of {}", self.selection.app);
        self.news = News::on(live.changed(), &self.context, self.deadline, subject);
        self.phase = Phase::Live(live);
    }
}

/// Reads past lines.
struct Reading {
    reader: Arc<dyn Logs>,
    selection: Selection,
    previous: bool,
    logs: Vec<OneLog>,
    merge: Past,
    queued: VecDeque<usize>,
    opening: FuturesUnordered<BoxFuture<'static, (usize, Result<Lines, LogError>)>>,
    words: VecDeque<(Arc<str>, String)>,
    /// Logs that could be opened.
    opened: usize,
    /// Why the first one could not.
    refused: Option<LogError>,
}

struct OneLog {
    of: Arc<LogSource>,
    left: FollowEnd,
    lines: Option<Lines>,
    /// It broke off and was opened again; a second time is told.
    again: bool,
}

// === impl Reading ===

impl Reading {
    fn new(
        reader: Arc<dyn Logs>,
        selection: &Selection,
        found: Vec<LogSource>,
        after: Option<Timestamp>,
        tail: Option<u32>,
        previous: bool,
    ) -> Self {
        let left = FollowEnd { position: Position::new(after), tail, unread: false };
        let log = |of| OneLog { of: Arc::new(of), left, lines: None, again: false };
        let logs: Vec<_> = found.into_iter().map(log).collect();
        let mut merge = Past::new(logs.len());
        let mut queued = VecDeque::new();
        for i in 0..logs.len() {
            if tail == Some(0) {
                merge.end(i);
            } else {
                queued.push_back(i);
            }
        }
        Self {
            reader,
            selection: selection.clone(),
            previous,
            logs,
            merge,
            queued,
            opening: FuturesUnordered::new(),
            words: VecDeque::new(),
            opened: 0,
            refused: None,
        }
    }

    /// What comes next; `None` at the end. Nothing is lost if it is not waited for.
    async fn next(&mut self) -> Result<Option<LogMessage>, Error> {
        loop {
            if let Some((pod, word)) = self.words.pop_front() {
                return Ok(Some(LogMessage::Word(pod, word)));
            }
            while self.opening.len() < AT_ONCE
                && let Some(i) = self.queued.pop_front()
            {
                let opening = self.open(i);
                self.opening.push(opening);
            }
            if let Some((i, lines)) = self.opening.next().await {
                self.opened(i, lines)?;
                continue;
            }
            if let Some(i) = self.merge.missing() {
                let lines = match &mut self.logs[i].lines {
                    Some(lines) => lines.next().await,
                    None => None,
                };
                self.take(i, lines);
                continue;
            }
            return Ok(self.merge.pop().map(|(i, line)| LogMessage::Line(self.logs[i].of.clone(), line)));
        }
    }

    fn open(&mut self, i: usize) -> BoxFuture<'static, (usize, Result<Lines, LogError>)> {
        let log = &mut self.logs[i];
        let since = log.left.position.reopen();
        let wanted = LogRequest {
            previous: self.previous,
            since,
            tail: log.left.tail.filter(|_| !log.left.position.has_begun()),
            ..self.selection.wanted(&log.of)
        };
        let reader = self.reader.clone();
        Box::pin(async move { (i, reader.open(wanted).await) })
    }

    fn opened(&mut self, i: usize, lines: Result<Lines, LogError>) -> Result<(), Error> {
        match lines {
            Ok(lines) => {
                self.logs[i].lines = Some(lines);
                self.opened += 1;
            }
            // No other log could be read either.
            Err(LogError::Failed(error @ Error::DaemonForbidden { .. })) => return Err(error),
            Err(why) => {
                self.logs[i].left.unread = true;
                self.merge.end(i);
                self.words.push_back((self.logs[i].of.pod.clone(), format!("its log cannot be read: {why}")));
                self.refused.get_or_insert(why);
            }
        }
        if self.opened == 0 && self.opening.is_empty() && self.queued.is_empty() {
            match self.refused.take() {
                Some(LogError::Failed(error)) => return Err(error),
                Some(LogError::NoContainer(said)) if self.selection.container.is_some() => {
                    return Err(Error::invalid("container", said));
                }
                Some(
                    LogError::NoContainer(_) | LogError::NotNow(_) | LogError::Gone | LogError::Full { .. },
                )
                | None => {}
            }
        }
        Ok(())
    }

    fn take(&mut self, i: usize, line: Option<Result<Line, Error>>) {
        let log = &mut self.logs[i];
        match line {
            Some(Ok(line)) => {
                if log.left.position.admits(&line) {
                    self.merge.put(i, line);
                }
            }
            Some(Err(_)) if !log.again => {
                (log.again, log.lines) = (true, None);
                self.queued.push_back(i);
            }
            Some(Err(error)) => {
                self.words.push_back((log.of.pod.clone(), format!("its log broke off: {error}")));
                log.lines = None;
                self.merge.end(i);
            }
            None => {
                log.lines = None;
                self.merge.end(i);
            }
        }
    }
}
