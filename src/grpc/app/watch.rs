//! WatchApps: the matching apps as they are, then each in its latest state after each change.

use std::collections::{HashSet, VecDeque};

use tonic::Status;

use super::super::{
    Context, Deadline, convert, parse,
    stream::{self, Answers, News, Source, Woken},
};
use crate::{
    domain::name::{self, Scope},
    index::{Batch, Change, Cursor, Filter},
    pb::{self, watch_apps_response::Event},
};

/// Apps taken from the change log at a time: what a slow reader may hold.
const BATCH: usize = 64;

pub(super) fn start(
    context: &Context,
    request: &pb::WatchAppsRequest,
    deadline: Deadline,
) -> Result<Answers<pb::WatchAppsResponse>, Status> {
    let scope = parse::scope("parent", &request.parent)?;
    let selector = parse::selector(&request.label_selector)?;
    let subject = format!("changes of {}", request.parent);
    Ok(stream::answers(Watch {
        news: News::new(context, &scope, deadline, subject),
        context: context.clone(),
        scope,
        sent: (!request.label_selector.is_empty()).then(HashSet::new),
        filter: Filter { selector, ..Filter::default() },
        cursor: Cursor::parse(&request.resume_token),
        resumed: true,
        synced: false,
        pending: VecDeque::new(),
    }))
}

struct Watch {
    context: Context,
    news: News,
    scope: Scope,
    filter: Filter,
    /// Names that matched when they were sent: with a selector, an app that matches no more is gone for this reader.
    sent: Option<HashSet<name::App>>,
    cursor: Option<Cursor>,
    /// It goes on where an earlier stream ended.
    resumed: bool,
    synced: bool,
    pending: VecDeque<pb::WatchAppsResponse>,
}

impl Source for Watch {
    type Message = pb::WatchAppsResponse;

    async fn next(&mut self) -> Result<Option<Self::Message>, Status> {
        loop {
            if let Some(message) = self.pending.pop_front() {
                return Ok(Some(message));
            }
            let batch = self.context.index.changes(&self.scope, self.cursor, BATCH);
            self.take(batch);
            if self.pending.is_empty()
                && let Woken::Silence = self.news.wait().await?
            {
                self.push(Event::Heartbeat(stream::heartbeat(&self.context)));
            }
        }
    }
}

impl Watch {
    fn take(&mut self, batch: Batch) {
        if batch.fresh {
            (self.synced, self.resumed) = (false, false);
            if let Some(sent) = &mut self.sent {
                sent.clear();
            }
        }
        for (cursor, change) in batch.changes {
            self.cursor = Some(cursor);
            let event = match change {
                Change::Updated(app) if self.filter.matches(&app) => {
                    if let Some(sent) = &mut self.sent {
                        sent.insert(app.name.clone());
                    }
                    Event::Updated(convert::app(&app))
                }
                Change::Updated(app) => match self.forget(&app.name) {
                    Some(event) => event,
                    None => continue,
                },
                Change::Deleted(name) if self.sent.is_some() => match self.forget(&name) {
                    Some(event) => event,
                    None => continue,
                },
                Change::Deleted(name) => Event::Deleted(name.to_string()),
            };
            self.push(event);
        }
        self.cursor = Some(batch.next);
        if !batch.more && !self.synced {
            self.synced = true;
            self.push(Event::Synced(pb::Synced { resumed: self.resumed }));
        }
    }

    fn forget(&mut self, name: &name::App) -> Option<Event> {
        let known = self.sent.as_mut().is_some_and(|sent| sent.remove(name));
        // What a resumed reader was sent earlier is not known here: better told once too often than never.
        (known || self.resumed).then(|| Event::Deleted(name.to_string()))
    }

    fn push(&mut self, event: Event) {
        let resume_token = self.cursor.map(|c| c.to_string()).unwrap_or_default();
        self.pending.push_back(pb::WatchAppsResponse { resume_token, event: Some(event) });
    }
}
