//! WatchTimeline: sends what happened to an app in time order, then new entries as they become known.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use tonic::Status;

use super::super::{
    context::{Context, Deadline},
    convert::{self, timeline::to_entry},
    parse,
    stream::{self, Answers, News, Source, Wakeup},
};
use crate::{
    domain::{name, timeline::Position},
    index::{TimelineEntry, TimelineStart},
    pb::{self, watch_timeline_response::Event},
};

/// The time before now at which the stream begins, if the request does not say.
const PAST: SignedDuration = SignedDuration::from_hours(1);

/// The number of entries taken at a time. This bounds what a slow reader holds in memory.
const BATCH: usize = 64;

pub(super) fn watch_timeline(
    context: &Context,
    request: &pb::WatchTimelineRequest,
    deadline: Deadline,
) -> Result<Answers<pb::WatchTimelineResponse>, Status> {
    let app = parse::parse_app_name("parent", &request.parent)?;
    let now = Timestamp::now();
    let after = match parse::parse_time("after", request.after.as_ref())? {
        Some(after) => after,
        None => now.checked_sub(PAST).unwrap_or(Timestamp::MIN),
    };
    // Subscribe before the past is read, so that nothing is missed in between.
    let subject = format!("the timeline of {app}");
    let news = News::on(context.index.watch_timeline(&app), context, deadline, subject);
    let mut watch = Watch {
        context: context.clone(),
        news,
        position: Position::new(context.index.epoch(), 0, after),
        after,
        until: 0,
        entries: VecDeque::new(),
        gap: None,
        follow: request.follow,
        synced: false,
        resumed: false,
        parent: app.to_string(),
        app,
    };
    // An invalid token starts a fresh stream, as in all streams.
    let resumed = Position::parse(&watch.parent, &request.resume_token);
    let fresh = resumed.is_none();
    if let Some(position) = resumed {
        watch.position = position;
    }
    watch.read(fresh)?;
    Ok(stream::to_stream(watch))
}

struct Watch {
    context: Context,
    news: News,
    app: name::App,
    /// Its resource name.
    parent: String,
    position: Position,
    after: Timestamp,
    /// The last entry that was known when the past was read. Without `follow` the stream ends with it.
    until: u64,
    /// Entries that were read but not sent yet.
    entries: VecDeque<TimelineEntry>,
    gap: Option<pb::Gap>,
    follow: bool,
    synced: bool,
    /// Whether the stream continues at a resume token. What was lost in between is sent as a gap.
    resumed: bool,
}

impl Source for Watch {
    type Message = pb::WatchTimelineResponse;

    async fn next(&mut self) -> Result<Option<Self::Message>, Status> {
        loop {
            if let Some(gap) = self.gap.take() {
                return Ok(Some(self.message(Event::Gap(gap))));
            }
            if let Some(entry) = self.entries.pop_front() {
                self.position.pass(&entry.place());
                self.end_past();
                let entry = to_entry(&self.app.app, &entry);
                return Ok(Some(self.message(Event::Entry(entry))));
            }
            self.end_past();
            if self.follow && !std::mem::replace(&mut self.synced, true) {
                return Ok(Some(self.message(Event::Synced(pb::Synced { resumed: self.resumed }))));
            }
            self.news.latest();
            let index = &self.context.index;
            let Some(mut news) = index.timeline_after(&self.app, self.position.sequence, BATCH) else {
                // The caller was so slow that entries were dropped.
                self.read(false)?;
                continue;
            };
            if !self.follow {
                news.retain(|entry| entry.sequence <= self.until);
            }
            self.entries = news.into();
            if self.entries.is_empty() {
                if !self.follow {
                    return Ok(None);
                }
                if let Wakeup::Silence = self.news.wait().await? {
                    let heartbeat = stream::make_heartbeat(&self.context);
                    return Ok(Some(self.message(Event::Heartbeat(heartbeat))));
                }
            }
        }
    }
}

impl Watch {
    /// Reads the entries after the position, and finds out what may be missing.
    fn read(&mut self, fresh: bool) -> Result<(), Status> {
        let index = &self.context.index;
        let past = index.get_timeline(&self.app)?;
        self.resumed = !fresh;
        self.until = past.sequence;
        if fresh || !index.can_resume_timeline(&self.app, &self.position) {
            let dropped = !fresh && self.position.epoch == index.epoch();
            let from = if fresh { self.after } else { self.position.last() };
            self.gap = gap(from, &past, dropped);
            self.position.begin_again(index.epoch(), past.sequence);
        }
        if self.position.in_past {
            self.entries = self.position.unsent(past.entries, TimelineEntry::place).into();
        }
        Ok(())
    }

    /// The last entry of the past carries a position after the past, so that a reader who comes back with it
    /// needs no entry to be found again.
    fn end_past(&mut self) {
        if self.position.in_past && self.entries.is_empty() {
            self.position.end_past();
        }
    }

    fn message(&self, event: Event) -> pb::WatchTimelineResponse {
        pb::WatchTimelineResponse { resume_token: self.position.to_token(&self.parent), event: Some(event) }
    }
}

/// Returns the gap between `from` and the time since which everything is known, if there is one, or if
/// entries were `dropped` that were not sent.
fn gap(from: Timestamp, past: &TimelineStart, dropped: bool) -> Option<pb::Gap> {
    (dropped || from < past.known_since).then(|| pb::Gap {
        start_time: Some(convert::to_timestamp(from.min(past.known_since))),
        end_time: Some(convert::to_timestamp(past.known_since)),
        message: "Calls, decisions of the autoscaler, changes of endpoints, problems and pauses of rollouts are missing for this time, \
                  because gantryd keeps only the latest ones in memory, and started later or had too many of them. Rollouts are \
                  shown from their records, and Kubernetes events as long as Kubernetes keeps them, which is about an hour."
            .to_owned(),
    })
}
