//! StreamLogs: sends the past lines of all replicas in time order, as fast as the caller reads them. With
//! `follow` it then sends new lines, which are read from the replicas even if the caller is slow.

mod follow;
mod past;
mod selection;

use std::{collections::HashMap, sync::Arc};

use tokio::sync::watch;
use tonic::Status;

use self::{
    follow::LiveReader,
    past::PastReader,
    selection::{LogMessage, MAX_LOGS, Selection, describe_left_out},
};
use super::super::{
    context::{Call, Context, Deadline},
    convert, parse,
    stream::{self, Answers, News, Source, Wakeup},
};
use crate::{
    domain::{Error, logs::Logs, name},
    index::Index,
    pb::{self, stream_logs_response::Event},
};

/// Past lines of each replica, if the request limits them neither by number nor by time.
const TAIL: u32 = 100;

pub(super) fn stream_logs(
    context: &Context,
    request: &pb::StreamLogsRequest,
    call: &Call<'_>,
) -> Result<Answers<pb::StreamLogsResponse>, Status> {
    let app = parse::parse_app_name("parent", &request.parent)?;
    let after = parse::parse_time("after", request.after.as_ref())?;
    if request.follow && request.previous {
        let why = "cannot be combined with previous, because a previous log has ended; leave one of them out";
        return Err(Error::invalid("follow", why).into());
    }
    context.index.get_app(&app)?;
    let rollout = rollout_of(&context.index, &app, &request.rollout)?;
    let container = Some(request.container.as_str()).filter(|name| !name.is_empty()).map(Into::into);
    let selection = Selection { app: app.clone(), rollout, pod: request.pod.clone(), container };
    let mut found = selection.find_logs(&context.index);
    if found.is_empty() && !request.pod.is_empty() {
        let why =
            format!("is not a replica of {app}{}", if rollout.is_some() { " in this rollout" } else { "" });
        return Err(Error::invalid("pod", why).into());
    }
    let left_out = found.len().saturating_sub(MAX_LOGS);
    found.truncate(MAX_LOGS);
    let tail = match (request.tail_lines, after) {
        (Some(lines), _) => Some(lines.unsigned_abs()),
        (None, Some(_)) => None,
        (None, None) => Some(TAIL),
    };
    let logs = call.connection.logs.clone();
    let mut past = PastReader::new(logs.clone(), &selection, found, after, tail, request.previous);
    if left_out > 0 {
        past.notices.push_back((Arc::from(""), describe_left_out(left_out)));
    }
    // Nothing is sent on this channel. While past lines are read, `News` serves only for heartbeats, the
    // deadline and the shutdown.
    let quiet = watch::Sender::new(0);
    let news = News::on(quiet.subscribe(), context, call.deadline, format!("the logs of {app}"));
    Ok(stream::to_stream(LogStream {
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

/// Returns the number of the rollout that the request names, if it names one.
fn rollout_of(index: &Index, app: &name::App, text: &str) -> Result<Option<u64>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let rollout = parse::parse_rollout_name("rollout", text)?;
    if rollout.app != *app {
        return Err(Error::invalid("rollout", format!("{text} is not a rollout of {app}")));
    }
    index.get_rollout(&rollout).map(|rollout| Some(rollout.number))
}

struct LogStream {
    context: Context,
    logs: Arc<dyn Logs>,
    deadline: Deadline,
    news: News,
    phase: Phase,
    selection: Selection,
    follow: bool,
    /// Keeps the channel of `news` open while past lines are read.
    _quiet: watch::Sender<u64>,
}

enum Phase {
    Past(Box<PastReader>),
    Live(LiveReader),
}

// === impl LogStream ===

impl Source for LogStream {
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
                        Wakeup::News => continue,
                        Wakeup::Silence => None,
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
                Some(LogMessage::Notice(pod, message)) => {
                    Event::Notice(pb::LogNotice { pod: pod.to_string(), message })
                }
                None => Event::Heartbeat(stream::make_heartbeat(&self.context)),
            };
            return Ok(Some(pb::StreamLogsResponse { event: Some(event) }));
        }
    }
}

impl LogStream {
    /// Switches from past lines to new ones.
    fn follow(&mut self) {
        let Phase::Past(past) = &mut self.phase else { return };
        let read = std::mem::take(&mut past.logs);
        let read: HashMap<_, _> = read.into_iter().map(|log| (log.source.pod.clone(), log.resume)).collect();
        let live = LiveReader::start(&self.context, self.logs.clone(), self.selection.clone(), read);
        let subject = format!("the logs of {}", self.selection.app);
        self.news = News::on(live.changed(), &self.context, self.deadline, subject);
        self.phase = Phase::Live(live);
    }
}
