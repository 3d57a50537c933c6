//! `gantry timeline`: prints or follows what happened. Must not know what entries mean.

use std::time::{Duration, SystemTime};

use futures::StreamExt;
use gantry_client::{
    v1::{self, watch_timeline_response::Event},
    watch::Update,
};

use super::{
    Context,
    read::READ,
    watch::{Model, watch},
};
use crate::{
    args::{self, Format},
    failure::{Exit, Failure},
    proto,
    render::{rows::timeline, table, terminal, text::Paint},
};

/// Entries as they come: each is printed once, like a line of a log.
struct Entries;

/// `gantry timeline`
pub(super) async fn timeline(context: &mut Context, flags: &args::Timeline) -> Result<Exit, Failure> {
    let request = v1::WatchTimelineRequest {
        parent: context.app(&flags.name)?.to_string(),
        after: Some(ago(flags.since)),
        follow: flags.follow,
        ..Default::default()
    };
    let client = context.connect(READ).await?;
    if flags.follow {
        return watch(context, client.watch_timeline(request), Entries).await;
    }
    let stream = client.timeline(request).await?;
    watch(context, stream.map(|message| message.map(Update::Message)), Entries).await
}

/// Returns the time so long ago, by the clock of this machine.
pub(super) fn ago(time: Duration) -> prost_types::Timestamp {
    SystemTime::now().checked_sub(time).unwrap_or(SystemTime::UNIX_EPOCH).into()
}

// === impl Entries ===

impl Model for Entries {
    type Message = v1::WatchTimelineResponse;
    const IS_PICTURE: bool = false;

    fn heading(&self) -> Option<String> {
        Some(table::aligned(&timeline::HEADINGS.map(str::to_owned), &timeline::WIDTHS))
    }

    fn lines(&mut self, format: Format, message: &Self::Message) -> Result<Vec<String>, Failure> {
        let row = match &message.event {
            Some(Event::Entry(entry)) => timeline::row(entry),
            Some(Event::Gap(gap)) => timeline::gap(gap),
            Some(Event::Synced(_) | Event::Heartbeat(_)) | None => return Ok(Vec::new()),
        };
        Ok(match format {
            Format::Table => {
                let paint = terminal::stdout_paint();
                let painted = |column, cell: &str| timeline::painted(column, cell, paint);
                vec![table::columns(&row, &timeline::WIDTHS, painted)]
            }
            Format::Name => match &message.event {
                Some(Event::Entry(entry)) => vec![entry.object.clone()],
                _ => Vec::new(),
            },
            Format::Json => vec![proto::to_json(message)?],
            Format::Yaml => vec!["---".to_owned(), proto::to_yaml(message)?.trim_end().to_owned()],
        })
    }

    fn interrupted(&mut self) {}

    fn view(&self, _: Paint) -> Vec<String> {
        Vec::new()
    }
}
