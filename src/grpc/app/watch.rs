//! WatchApps: sends every matching app, then the latest state of an app after each change.

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

/// The number of apps taken from the change log at a time. This bounds what a slow reader holds in memory.
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
    /// A digest of parent and selector. It is part of the resume token, because a token of another watch is
    /// not valid here.
    watched: String,
    filter: AppFilter,
    /// With a selector: the names of the apps that were sent. When one of them no longer matches, the reader
    /// gets a deletion.
    sent: Option<HashSet<name::App>>,
    cursor: Option<ChangeCursor>,
    /// Whether this stream continues an earlier one.
    resumed: bool,
    synced: bool,
    /// Whether the change log has more to read at once. The last batch may have matched nothing.
    more: bool,
    /// Changes taken from the change log. Each is converted to a message only when it is sent, so a reader
    /// that does not read holds no copies.
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

    /// Whether the reader must get a deletion for an app that is gone or no longer matches.
    fn forgets(&mut self, name: &name::App) -> bool {
        let known = self.sent.as_mut().is_some_and(|sent| sent.remove(name));
        // What an earlier stream sent is not known here, so a resumed reader gets one deletion too many
        // rather than one too few.
        known || self.sent.is_some() && self.resumed
    }

    fn push(&mut self, item: PendingEvent) {
        self.pending.push_back((self.cursor, item));
    }
}

/// Parses a resume token. Returns `None` for a token of a watch with another parent or selector, because it
/// does not say which apps this reader has.
fn parse_token(watched: &str, token: &str) -> Option<ChangeCursor> {
    let (cursor, of) = token.split_once('~')?;
    ChangeCursor::parse(cursor).filter(|_| of == watched)
}
