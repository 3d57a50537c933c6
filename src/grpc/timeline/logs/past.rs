//! Reads the past lines of all logs of a call in time order, as fast as the caller takes them.

use std::{collections::VecDeque, sync::Arc};

use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use jiff::Timestamp;

use super::selection::{LogMessage, ResumePoint, Selection};
use crate::{
    domain::{
        Error,
        logs::{Line, Lines, LogError, LogRequest, Logs, Past, Position},
    },
    index::LogSource,
};

/// The number of logs opened at once. It is bounded, so that a call about many replicas does not send the API
/// server as many requests at the same time.
const AT_ONCE: usize = 32;

/// Reads past lines.
pub(super) struct PastReader {
    reader: Arc<dyn Logs>,
    selection: Selection,
    previous: bool,
    pub(super) logs: Vec<PastLog>,
    merge: Past,
    queued: VecDeque<usize>,
    opening: FuturesUnordered<BoxFuture<'static, (usize, Result<Lines, LogError>)>>,
    pub(super) notices: VecDeque<(Arc<str>, String)>,
    /// The number of logs that could be opened.
    opened: usize,
    /// Why the first log that failed could not be opened.
    refused: Option<LogError>,
}

pub(super) struct PastLog {
    pub(super) source: Arc<LogSource>,
    pub(super) resume: ResumePoint,
    lines: Option<Lines>,
    /// Whether it broke off and was opened again. If it breaks off once more, the caller gets a notice.
    again: bool,
}

// === impl PastReader ===

impl PastReader {
    pub(super) fn new(
        reader: Arc<dyn Logs>,
        selection: &Selection,
        found: Vec<LogSource>,
        after: Option<Timestamp>,
        tail: Option<u32>,
        previous: bool,
    ) -> Self {
        let resume = ResumePoint { position: Position::new(after), tail, unread: false };
        let log = |source| PastLog { source: Arc::new(source), resume, lines: None, again: false };
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
            notices: VecDeque::new(),
            opened: 0,
            refused: None,
        }
    }

    /// Returns the next message, `None` at the end. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<Option<LogMessage>, Error> {
        loop {
            if let Some((pod, notice)) = self.notices.pop_front() {
                return Ok(Some(LogMessage::Notice(pod, notice)));
            }
            while self.opening.len() < AT_ONCE
                && let Some(i) = self.queued.pop_front()
            {
                let opening = self.open(i);
                self.opening.push(opening);
            }
            if let Some((i, lines)) = self.opening.next().await {
                self.take_opened(i, lines)?;
                continue;
            }
            if let Some(i) = self.merge.missing() {
                let lines = match &mut self.logs[i].lines {
                    Some(lines) => lines.next().await,
                    None => None,
                };
                self.take_line(i, lines);
                continue;
            }
            return Ok(self.merge.pop().map(|(i, line)| LogMessage::Line(self.logs[i].source.clone(), line)));
        }
    }

    fn open(&mut self, i: usize) -> BoxFuture<'static, (usize, Result<Lines, LogError>)> {
        let log = &mut self.logs[i];
        let since = log.resume.position.reopen();
        let wanted = LogRequest {
            previous: self.previous,
            since,
            tail: log.resume.tail.filter(|_| !log.resume.position.has_begun()),
            ..self.selection.request_for(&log.source)
        };
        let reader = self.reader.clone();
        Box::pin(async move { (i, reader.open(wanted).await) })
    }

    fn take_opened(&mut self, i: usize, lines: Result<Lines, LogError>) -> Result<(), Error> {
        match lines {
            Ok(lines) => {
                self.logs[i].lines = Some(lines);
                self.opened += 1;
            }
            // No other log can be read either.
            Err(LogError::Failed(error @ Error::DaemonForbidden { .. })) => return Err(error),
            Err(why) => {
                self.logs[i].resume.unread = true;
                self.merge.end(i);
                self.notices
                    .push_back((self.logs[i].source.pod.clone(), format!("its log cannot be read: {why}")));
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

    fn take_line(&mut self, i: usize, line: Option<Result<Line, Error>>) {
        let log = &mut self.logs[i];
        match line {
            Some(Ok(line)) => {
                if log.resume.position.admits(&line) {
                    self.merge.put(i, line);
                }
            }
            Some(Err(_)) if !log.again => {
                (log.again, log.lines) = (true, None);
                self.queued.push_back(i);
            }
            Some(Err(error)) => {
                self.notices.push_back((log.source.pod.clone(), format!("its log broke off: {error}")));
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
