//! `gantry logs`: prints lines as they come, until the end or until interrupted. Must not know what is in
//! them.

use std::{pin::pin, time::Duration};

use futures::StreamExt;
use gantry_client::{
    Client, Error,
    v1::{self, stream_logs_response::Event},
};
use prost_types::Timestamp;
use tokio::time::{self, Instant};

use super::{Context, interrupted, read::READ, timeline::ago};
use crate::{
    args::{self, Format},
    failure::{Exit, Failure},
    proto,
    render::{terminal, text},
};

/// Pause before the logs are followed again after the stream broke off.
const AGAIN: Duration = Duration::from_secs(1);

/// `gantry logs`
pub(super) async fn logs(context: &mut Context, flags: &args::Logs) -> Result<Exit, Failure> {
    let app = context.app(&flags.name)?;
    let rollout =
        flags.rollout.as_ref().map(|number| app.rollout(number).map_err(Error::from)).transpose()?;
    let request = v1::StreamLogsRequest {
        parent: app.to_string(),
        pod: flags.pod.clone(),
        rollout: rollout.map(|rollout| rollout.to_string()).unwrap_or_default(),
        container: flags.container.clone(),
        previous: flags.previous,
        after: flags.since.map(ago),
        tail_lines: flags.tail,
        follow: flags.follow,
    };
    let client = context.connect(READ).await?;
    let end = Instant::now() + context.timeout.unwrap_or(Duration::from_hours(24 * 365));
    let mut stop = pin!(interrupted());
    tokio::select! {
        ended = read(context, &client, request, flags) => ended.map(|()| Exit::Done),
        () = time::sleep_until(end) => Ok(Exit::Done),
        () = &mut stop => Ok(Exit::Interrupted),
    }
}

async fn read(
    context: &Context,
    client: &Client,
    mut request: v1::StreamLogsRequest,
    flags: &args::Logs,
) -> Result<(), Failure> {
    loop {
        let mut latest = None;
        let broken = match client.stream_logs(request.clone()).await {
            Ok(stream) => show(context, stream, flags, &mut latest).await?,
            Err(error) => Some(error),
        };
        let Some(error) = broken else { return Ok(()) };
        // Repeat only with `--follow`, and only from a known time: that of the last line, or `--since`.
        let resumable = request.follow && error.is_passing() && (latest.is_some() || request.after.is_some());
        if !resumable {
            return Err(error.into());
        }
        if latest.is_some() {
            (request.after, request.tail_lines) = (latest, None);
        }
        let line =
            format!("{error}; trying again in {}; lines of this moment may be missing", text::took(AGAIN));
        context.screen.note(&text::line(&line));
        time::sleep(AGAIN).await;
    }
}

/// Prints what comes. Returns the error with which the stream broke off, if it did.
async fn show(
    context: &Context,
    stream: impl futures::Stream<Item = Result<v1::StreamLogsResponse, Error>>,
    flags: &args::Logs,
    latest: &mut Option<Timestamp>,
) -> Result<Option<Error>, Failure> {
    let mut stream = pin!(stream);
    while let Some(message) = stream.next().await {
        let message = match message {
            Ok(message) => message,
            Err(error) => return Ok(Some(error)),
        };
        let line = match &message.event {
            Some(Event::Line(line)) => {
                *latest = line.time.or(*latest);
                Some(line)
            }
            Some(Event::Notice(notice)) => {
                if matches!(context.output, Format::Table | Format::Name) {
                    let pod = if notice.pod.is_empty() { String::new() } else { format!("{}: ", notice.pod) };
                    let line = text::line(&format!("{pod}{}", notice.message));
                    context.screen.note(&context.screen.paint.warn(&line));
                    continue;
                }
                None
            }
            Some(Event::Heartbeat(_)) | None => continue,
        };
        let shown = match (context.output, line) {
            (Format::Table, Some(line)) => vec![plain(line, flags.timestamps)],
            (Format::Name, Some(line)) => vec![line.pod.clone()],
            (Format::Table | Format::Name, None) => Vec::new(),
            (Format::Json, _) => vec![proto::to_json(&message)?],
            (Format::Yaml, _) => vec!["---".to_owned(), proto::to_yaml(&message)?.trim_end().to_owned()],
        };
        terminal::lines(&shown)?;
    }
    Ok(None)
}

fn plain(line: &v1::LogLine, timestamps: bool) -> String {
    // Text for another program stays unchanged. Text on a terminal must not control it.
    let said = if terminal::is_watched() { text::line(&line.text) } else { line.text.clone() };
    let time = match &line.time {
        Some(time) if timestamps => format!("{time} "),
        _ => String::new(),
    };
    format!("{} {time}{said}", terminal::stdout_paint().told_apart(&line.pod))
}
