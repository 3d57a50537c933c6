//! WatchApps: the matching apps as they are, then each in its latest state after each change.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use tonic::Status;

use super::super::{
    context::{Context, Deadline},
    convert, pagination, parse,
    stream::{self, Answers, News, Source, Wakeup},
};
use crate::{
    domain::{
        app::App,
        name::{self, Scope},
    },
    index::{AppChange, AppFilter, ChangeBatch, ChangeCursor},
    pb::{self, watch_apps_response::Event},
};

/// Apps taken from the change log at a time: what a slow reader may hold.
const BATCH: usize = 64;

pub(super) fn watch_apps(
    context: &Context,
    request: &pb::WatchAppsRequest,
    deadline: Deadline,
) -> Result<Answers<pb::WatchAppsResponse>, Status> {
    let scope = parse::parse_scope("parent", &request.parent)?;
    let selector = parse::parse_selector(&request.label_selector)?;
    let subject = format!("changes of {}", request.parent);
    let watched = pagination::query_digest(&format!("{}\n{}", request.parent, request.label_selector));
    Ok(stream::to_stream(Watch {
        news: News::new(context, &scope, deadline, subject),
        context: context.clone(),
        scope,
        sent: (!request.label_selector.is_empty()).then(HashSet::new),
        filter: AppFilter { selector, ..AppFilter::default() },
        cursor: parse_token(&watched, &request.resume_token),
        watched,
        resumed: true,
        synced: false,
        more: false,
        pending: VecDeque::new(),
    }))
}

struct Watch {
    context: Context,
    news: News,
    scope: Scope,
    /// Tells the tokens of this watch from those of watches of other apps.
    watched: String,
    filter: AppFilter,
    /// Names that matched when they were sent: with a selector, an app that matches no more is gone for this
    /// reader.
    sent: Option<HashSet<name::App>>,
    cursor: Option<ChangeCursor>,
    /// It goes on where an earlier stream ended.
    resumed: bool,
    synced: bool,
    /// More of the change log is there already: what was looked at last may not have matched at all.
    more: bool,
    /// What was taken from the change log. The messages are made one by one: a reader that does not read
    /// holds no copies.
    pending: VecDeque<(Option<ChangeCursor>, PendingEvent)>,
}

enum PendingEvent {
    Updated(Arc<App>),
    Deleted(name::App),
    Synced(pb::Synced),
    Heartbeat(pb::Heartbeat),
}

impl Source for Watch {
    type Message = pb::WatchAppsResponse;

    async fn next(&mut self) -> Result<Option<Self::Message>, Status> {
        loop {
            if let Some((cursor, item)) = self.pending.pop_front() {
                let event = match item {
                    PendingEvent::Updated(app) => Event::Updated(convert::to_app(&app)),
                    PendingEvent::Deleted(name) => Event::Deleted(name.to_string()),
                    PendingEvent::Synced(synced) => Event::Synced(synced),
                    PendingEvent::Heartbeat(heartbeat) => Event::Heartbeat(heartbeat),
                };
                let resume_token = cursor.map(|c| format!("{c}~{}", self.watched)).unwrap_or_default();
                return Ok(Some(pb::WatchAppsResponse { resume_token, event: Some(event) }));
            }
            let batch = self.context.index.changes_after(&self.scope, self.cursor, BATCH);
            self.take(batch);
            if self.pending.is_empty()
                && !self.more
                && let Wakeup::Silence = self.news.wait().await?
            {
                self.push(PendingEvent::Heartbeat(stream::make_heartbeat(&self.context)));
            }
        }
    }
}

impl Watch {
    fn take(&mut self, batch: ChangeBatch) {
        if batch.fresh {
            (self.synced, self.resumed) = (false, false);
            if let Some(sent) = &mut self.sent {
                sent.clear();
            }
        }
        for (cursor, change) in batch.changes {
            self.cursor = Some(cursor);
            let item = match change {
                AppChange::Updated(app) if self.filter.matches(&app) => {
                    if let Some(sent) = &mut self.sent {
                        sent.insert(app.name.clone());
                    }
                    PendingEvent::Updated(app)
                }
                AppChange::Updated(app) if self.forgets(&app.name) => PendingEvent::Deleted(app.name.clone()),
                AppChange::Deleted(name) if self.sent.is_none() || self.forgets(&name) => {
                    PendingEvent::Deleted(name)
                }
                AppChange::Updated(_) | AppChange::Deleted(_) => continue,
            };
            self.push(item);
        }
        self.cursor = Some(batch.next);
        self.more = batch.more;
        if !batch.more && !self.synced {
            self.synced = true;
            self.push(PendingEvent::Synced(pb::Synced { resumed: self.resumed }));
        }
    }

    /// Whether the reader must be told that an app is gone for it.
    fn forgets(&mut self, name: &name::App) -> bool {
        let known = self.sent.as_mut().is_some_and(|sent| sent.remove(name));
        // What a resumed reader was sent earlier is not known here: better told once too often than never.
        known || self.sent.is_some() && self.resumed
    }

    fn push(&mut self, item: PendingEvent) {
        self.pending.push_back((self.cursor, item));
    }
}

/// Where to go on. A token of a watch of other apps says nothing about what this reader has.
fn parse_token(watched: &str, token: &str) -> Option<ChangeCursor> {
    let (cursor, of) = token.split_once('~')?;
    ChangeCursor::parse(cursor).filter(|_| of == watched)
}
