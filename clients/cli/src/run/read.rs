//! The commands that change nothing: get, list, watch and info. Must not know how rollouts are followed.

use std::{pin::pin, time::Duration};

use futures::StreamExt;
use gantry_client::{
    name,
    v1::{self, watch_apps_response::Event},
    watch::Update,
};
use tokio::time::{self, Instant};

use super::{Context, now};
use crate::{
    args::{self, Format},
    describe,
    failure::{Exit, Failure},
    proto,
    rows::{self, Watched},
    table, terminal, text,
};

const READ: Duration = Duration::from_secs(30);

/// `gantry get`
pub(super) async fn get(context: &Context, flags: &args::Name) -> Result<Exit, Failure> {
    let name = context.app(&flags.name)?;
    let client = context.connect(READ).await?;
    let app = client.get_app(&name).await?;
    // The rollout only adds to the picture: the app is shown without it too.
    let rollout = app.status.as_ref().and_then(|status| name::Rollout::parse(&status.rollout).ok());
    let rollout = match rollout {
        Some(rollout) if context.global.output == Format::Table => client.get_rollout(&rollout).await.ok(),
        _ => None,
    };
    let table = |paint| describe::app(&app, rollout.as_ref(), now(), paint);
    terminal::print(context.global.output, &app, &app.name, table)?;
    Ok(Exit::Done)
}

/// `gantry list`
pub(super) async fn list(context: &mut Context, flags: &args::List) -> Result<Exit, Failure> {
    let namespace = if flags.all_namespaces { "-" } else { &context.global.namespace };
    let client = context.connect(READ).await?;
    let apps = client.list_apps(namespace, &flags.selector).await?;
    match context.global.output {
        Format::Table if apps.is_empty() => {
            let place = if flags.all_namespaces {
                "any namespace".to_owned()
            } else {
                format!("namespace {namespace}")
            };
            let which =
                if flags.selector.is_empty() { String::new() } else { format!(" with {}", flags.selector) };
            context.screen.print(&[format!("no apps{which} in {place}")]);
        }
        Format::Table => {
            let now = now();
            let rows: Vec<_> = apps.iter().map(|app| rows::list(app, now)).collect();
            terminal::lines(&table::render(&rows::LIST, &rows))?;
        }
        Format::Name => terminal::lines(&apps.into_iter().map(|app| app.name).collect::<Vec<_>>())?,
        other @ (Format::Json | Format::Yaml) => {
            let whole = v1::ListAppsResponse { apps, next_page_token: String::new() };
            terminal::print(other, &whole, "", |_| Vec::new())?;
        }
    }
    Ok(Exit::Done)
}

/// `gantry watch`; it ends by Ctrl-C, or at the time limit if one is set.
pub(super) async fn watch(context: &mut Context, flags: &args::Watch) -> Result<Exit, Failure> {
    let parent = match (&flags.name, flags.all_namespaces) {
        (Some(name), _) => context.app(name)?.to_string(),
        (None, true) => name::namespace("-"),
        (None, false) => name::namespace(&context.global.namespace),
    };
    let client = context.connect(READ).await?;
    let end = context.global.timeout.map(|limit| Instant::now() + limit);
    let mut stream = pin!(client.watch_apps(parent, flags.selector.clone()));
    let mut watched = Watched::new();
    if context.global.output == Format::Table {
        let headings = rows::WATCH.map(str::to_owned);
        terminal::lines(&[table::aligned(&headings, &rows::WATCH_WIDTHS)])?;
    }
    loop {
        let next = match end {
            Some(end) => time::timeout_at(end, stream.next()).await,
            None => Ok(stream.next().await),
        };
        match next {
            Err(_) | Ok(None) => return Ok(Exit::Done),
            Ok(Some(Err(error))) => return Err(error.into()),
            Ok(Some(Ok(Update::Interrupted { error, retry_in }))) => {
                watched.interrupted();
                context
                    .screen
                    .print(&[text::line(&format!("{error}; trying again in {}", text::took(retry_in)))]);
            }
            Ok(Some(Ok(Update::Message(message)))) => show(context.global.output, &mut watched, &message)?,
        }
    }
}

fn show(format: Format, watched: &mut Watched, message: &v1::WatchAppsResponse) -> Result<(), Failure> {
    let Some(event) = message.event.clone().filter(|event| !matches!(event, Event::Heartbeat(_))) else {
        return Ok(());
    };
    let lines = match format {
        Format::Table => {
            let rows = watched.apply(event, now());
            rows.iter().map(|row| table::aligned(row, &rows::WATCH_WIDTHS)).collect()
        }
        Format::Name => match event {
            Event::Updated(v1::App { name, .. }) | Event::Deleted(name) => vec![name],
            Event::Synced(_) | Event::Heartbeat(_) => Vec::new(),
        },
        Format::Json => vec![proto::to_json(message)?],
        // Documents of one stream.
        Format::Yaml => vec!["---".to_owned(), proto::to_yaml(message)?.trim_end().to_owned()],
    };
    terminal::lines(&lines)
}

/// `gantry info`
pub(super) async fn info(context: &Context) -> Result<Exit, Failure> {
    let client = context.connect(READ).await?;
    let info = client.server_info().await?;
    let address = &context.global.server;
    terminal::print(context.global.output, &info, address, |paint| describe::server(address, &info, paint))?;
    Ok(Exit::Done)
}
