//! The commands that show changes until they are interrupted. Must not know what the changes mean.

use std::{pin::pin, time::Duration};

use futures::{Stream, StreamExt};
use gantry_client::{
    Error, name,
    v1::{self, watch_apps_response::Event, watch_endpoints_response::Event as EndpointEvent},
    watch::Update,
};
use tokio::time::{self, Instant};

use super::{BEAT, Context, interrupted, now, read::READ};
use crate::{
    args::{self, Format},
    failure::{Exit, Failure},
    proto,
    render::{
        rows, table, terminal,
        text::{self, Paint},
    },
};

/// What a watch shows: lines that come one by one, or a view that is redrawn.
pub(super) trait Model {
    type Message;
    /// Whether a terminal shows the view instead of the lines.
    const IS_PICTURE: bool = true;
    /// Returns the first line, if there is one before the first message.
    fn heading(&self) -> Option<String>;
    /// Takes in a message, and returns what is new as lines.
    fn lines(&mut self, format: Format, message: &Self::Message) -> Result<Vec<String>, Failure>;
    /// Notes that the stream broke off.
    fn interrupted(&mut self);
    /// Returns the view of the current state, if there is a view.
    fn view(&self, paint: Paint) -> Vec<String>;
}

struct Apps(rows::Watched);

struct Endpoints {
    title: String,
    watched: rows::endpoints::Watched,
    /// Whether a message came yet.
    heard: bool,
}

/// `gantry watch`
pub(super) async fn apps(context: &mut Context, flags: &args::Watch) -> Result<Exit, Failure> {
    let parent = match (&flags.name, flags.scope.all_namespaces) {
        (Some(name), _) => context.app(name)?.to_string(),
        (None, true) => name::namespace("-"),
        (None, false) => name::namespace(context.namespace()),
    };
    let stream = context.connect(READ).await?.watch_apps(parent, flags.scope.selector.clone());
    watch(context, stream, Apps(rows::Watched::new())).await
}

/// `gantry endpoints --watch`
pub(super) async fn endpoints(context: &mut Context, flags: &args::Endpoints) -> Result<Exit, Failure> {
    let parent = context.app(&flags.name)?.to_string();
    let title = context.short(&parent);
    let request = v1::WatchEndpointsRequest { parent, port: flags.port.clone(), include_unready: flags.all };
    let stream = context.connect(READ).await?.watch_endpoints(request);
    watch(context, stream, Endpoints { title, watched: rows::endpoints::Watched::default(), heard: false })
        .await
}

/// Shows changes until Ctrl-C, or until the time limit if one is set.
pub(super) async fn watch<M: Model>(
    context: &mut Context,
    stream: impl Stream<Item = Result<Update<M::Message>, Error>>,
    mut model: M,
) -> Result<Exit, Failure> {
    let is_live = M::IS_PICTURE
        && context.screen.is_live()
        && terminal::is_watched()
        && context.output == Format::Table;
    let mut stream = pin!(stream);
    let mut stop = pin!(interrupted());
    // A watch without a limit ends after a year.
    let end = Instant::now() + context.timeout.unwrap_or(Duration::from_hours(24 * 365));
    // At most one redraw per beat, because a first snapshot may hold thousands of apps.
    let mut beat = time::interval(BEAT);
    let (mut trouble, mut is_stale) = (None, true);
    let is_table = context.output == Format::Table;
    let heading = model.heading().filter(|_| is_table);
    // An entry of a timeline or a decision is printed once, and its message is what it is for.
    let wide = context.wide || !is_table || !M::IS_PICTURE;
    if !is_live {
        terminal::table(&heading.into_iter().collect::<Vec<_>>(), wide)?;
    }
    let exit = loop {
        tokio::select! {
            item = stream.next() => match item {
                None => break Exit::Done,
                Some(Err(error)) => return Err(error.into()),
                Some(Ok(Update::Interrupted { error, retry_in })) => {
                    model.interrupted();
                    let line = text::line(&format!("{error}; trying again in {}", text::took(retry_in)));
                    if !is_live {
                        context.screen.print(std::slice::from_ref(&line));
                    }
                    (trouble, is_stale) = (Some(line), true);
                }
                Some(Ok(Update::Message(message))) => {
                    let lines = model.lines(context.output, &message)?;
                    (trouble, is_stale) = (None, true);
                    if !is_live {
                        terminal::table(&lines, wide)?;
                    }
                }
            },
            _ = beat.tick(), if is_live && is_stale => {
                is_stale = false;
                context.screen.draw(|_, _, paint| {
                    let mut lines = model.view(paint);
                    lines.extend(trouble.iter().map(|line| paint.warn(line)));
                    lines
                });
            }
            () = time::sleep_until(end) => break Exit::Done,
            () = &mut stop => break Exit::Interrupted,
        }
    };
    if is_live {
        // The last view stays on the terminal.
        context.screen.print(&[]);
        terminal::table(&model.view(terminal::stdout_paint()), context.wide)?;
    }
    Ok(exit)
}

// === impl Apps ===

impl Model for Apps {
    type Message = v1::WatchAppsResponse;

    fn heading(&self) -> Option<String> {
        Some(table::aligned(&rows::WATCH.map(str::to_owned), &rows::WATCH_WIDTHS))
    }

    fn lines(&mut self, format: Format, message: &v1::WatchAppsResponse) -> Result<Vec<String>, Failure> {
        let Some(event) = message.event.clone().filter(|event| !matches!(event, Event::Heartbeat(_))) else {
            return Ok(Vec::new());
        };
        Ok(match format {
            Format::Table => {
                let rows = self.0.apply(event, now());
                rows.iter().map(|row| table::aligned(row, &rows::WATCH_WIDTHS)).collect()
            }
            Format::Name => match event {
                Event::Updated(v1::App { name, .. }) | Event::Deleted(name) => vec![name],
                Event::Synced(_) | Event::Heartbeat(_) => Vec::new(),
            },
            Format::Json => vec![proto::to_json(message)?],
            // Each message is one document of a YAML stream.
            Format::Yaml => vec!["---".to_owned(), proto::to_yaml(message)?.trim_end().to_owned()],
        })
    }

    fn interrupted(&mut self) {
        self.0.interrupted();
    }

    fn view(&self, paint: Paint) -> Vec<String> {
        let rows = self.0.rows();
        if rows.is_empty() {
            return vec![paint.dim("no apps")];
        }
        table::render(&rows::LIVE, &rows, |column, cell| rows::painted(column, cell, paint))
    }
}

// === impl Endpoints ===

impl Model for Endpoints {
    type Message = v1::WatchEndpointsResponse;

    fn heading(&self) -> Option<String> {
        Some(table::aligned(&rows::endpoints::WATCH.map(str::to_owned), &rows::endpoints::WATCH_WIDTHS))
    }

    fn lines(
        &mut self,
        format: Format,
        message: &v1::WatchEndpointsResponse,
    ) -> Result<Vec<String>, Failure> {
        let Some(event) = message.event.clone().filter(|event| !matches!(event, EndpointEvent::Heartbeat(_)))
        else {
            return Ok(Vec::new());
        };
        self.heard = true;
        Ok(match format {
            Format::Table => {
                let rows = self.watched.apply(event, now());
                rows.iter().map(|row| table::aligned(row, &rows::endpoints::WATCH_WIDTHS)).collect()
            }
            // The addresses that changed.
            Format::Name => {
                self.watched.apply(event, now()).into_iter().map(|mut row| row.swap_remove(2)).collect()
            }
            Format::Json => vec![proto::to_json(message)?],
            Format::Yaml => vec!["---".to_owned(), proto::to_yaml(message)?.trim_end().to_owned()],
        })
    }

    fn interrupted(&mut self) {}

    fn view(&self, paint: Paint) -> Vec<String> {
        match self.watched.rows() {
            _ if !self.heard => vec![paint.dim("no answer yet")],
            None => vec![paint.warn(&format!("{} does not exist", self.title))],
            Some(rows) if rows.is_empty() => vec![paint.dim(&format!("{} has no endpoints", self.title))],
            Some(rows) => table::render(&rows::endpoints::HEADINGS, &rows, |column, cell| {
                rows::endpoints::painted(column, cell, paint)
            }),
        }
    }
}
