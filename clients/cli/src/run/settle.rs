//! Follows an app until it is settled. Must not know which change started it.

use std::{pin::pin, time::Duration};

use futures::StreamExt;
use gantry_client::{
    Client, Error, name,
    v1::{self, watch_apps_response::Event},
    watch::Update,
};
use prost::{Message, Name};
use tokio::time::{self, Instant};

use super::{BEAT, Context, interrupted};
use crate::{
    args::Format,
    failure::{Exit, Failure},
    render::{outcome::Outcome, settling::Settling, terminal, text},
};

/// Longest single call of a wait, shorter than the 60 s after which many proxies end a silent call.
pub(super) const SLICE: Duration = Duration::from_secs(30);
/// Pause between two calls of a wait, if the daemon does not name one.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// Shows an app until it is settled after the write at position `read_after`; `None` if the app is gone.
pub(super) async fn settle(
    context: &mut Context,
    client: &Client,
    name: &name::App,
    read_after: &str,
    end: Instant,
) -> Result<Option<v1::App>, Failure> {
    let short = context.short(&name.to_string());
    let how = context.command("wait", name);
    let mut settling = Settling::new(short.clone());
    // The wait decides. The watch only shows what happens meanwhile, so the command works without permission
    // to watch.
    let mut answer = pin!(wait(client, name, read_after, end));
    let mut shown = pin!(client.watch_apps(name.to_string(), String::new()).fuse());
    let mut stop = pin!(interrupted());
    let mut beat = time::interval(BEAT);
    let mut is_watching = true;
    loop {
        tokio::select! {
            answer = &mut answer => {
                let answer = answer?;
                context.screen.print(&[]);
                if answer.settled {
                    return Ok(answer.app);
                }
                let what = format!("{short} is not settled after {}; it goes on without you.", text::took(context.screen.elapsed()));
                return Err(Failure::Waiting { what, how });
            }
            item = shown.next(), if is_watching => match item {
                Some(Ok(Update::Message(v1::WatchAppsResponse { event: Some(Event::Updated(app)), .. }))) => {
                    let lines = settling.apply(app);
                    context.screen.say(&lines);
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => is_watching = false,
            },
            _ = beat.tick(), if context.screen.is_live() => {}
            () = &mut stop => {
                let what = format!("Interrupted. {short} goes on without you.");
                return Err(Failure::Interrupted { what, how });
            }
        }
        context.screen.draw(|elapsed, beat, paint| settling.view(elapsed, beat, paint));
    }
}

/// Prints the state of an app. Formats other than the table print `answer`, and `name` is its resource name.
pub(super) fn conclude<M: Message + Name>(
    context: &mut Context,
    verdict: &Outcome,
    (answer, name): (&M, &str),
) -> Result<Exit, Failure> {
    if verdict.exit == Exit::Done {
        terminal::print(context.output, answer, name, |_| verdict.lines.clone())?;
    } else {
        // Programs read the answer, people the reason.
        if context.output != Format::Table {
            terminal::print(context.output, answer, name, |_| Vec::new())?;
        }
        context.screen.print(&verdict.lines);
    }
    Ok(verdict.exit)
}

async fn wait(
    client: &Client,
    name: &name::App,
    read_after: &str,
    end: Instant,
) -> Result<v1::WaitAppResponse, Error> {
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match client.wait_app(name, read_after, left.min(SLICE)).await {
            Ok(answer) if answer.settled || Instant::now() >= end => return Ok(answer),
            Ok(_) => {}
            Err(error) if error.is_passing() && left > PAUSE => {
                time::sleep(error.retry_after().unwrap_or(PAUSE).min(left)).await;
            }
            Err(error) => return Err(error),
        }
    }
}
