//! `gantry wait`. Must not know how single states are shown.

use std::time::Duration;

use gantry_client::{Client, Error, name, v1};
use tokio::time::{self, Instant};

use super::{
    Context, follow, interrupted,
    settle::{self, PAUSE, SLICE},
};
use crate::{
    args,
    failure::{Exit, Failure},
    render::{outcome, settling, text},
};

const WAIT: Duration = Duration::from_mins(5);

/// `gantry wait`
pub(super) async fn wait(context: &mut Context, flags: &args::Wait) -> Result<Exit, Failure> {
    let app = context.app(&flags.name)?;
    let end = Instant::now() + context.timeout.unwrap_or(WAIT);
    let client = context.connect(WAIT).await?;
    match &flags.rollout {
        Some(number) => {
            let rollout = app.rollout(number).map_err(Error::from)?;
            let (title, how) = (context.title(&rollout.to_string()), context.wait_command(&rollout));
            tokio::select! {
                exit = for_rollout(context, &client, rollout, end) => exit,
                () = interrupted() => {
                    let what = format!("Interrupted. {title} goes on without you.");
                    Err(Failure::Interrupted { what, how })
                }
            }
        }
        None => for_app(context, &client, &app, end).await,
    }
}

async fn for_app(
    context: &mut Context,
    client: &Client,
    name: &name::App,
    end: Instant,
) -> Result<Exit, Failure> {
    let app = settle::settle(context, client, name, "", end).await?;
    let full = name.to_string();
    let verdict = settling::verdict(app.as_ref(), &context.short(&full), None, context.screen.paint);
    let rollout = app.iter().filter_map(|app| app.status.as_ref()).map(|status| &status.rollout).next();
    let rollout = rollout.and_then(|rollout| name::Rollout::parse(rollout).ok());
    let app = app.unwrap_or_default();
    if verdict.exit == Exit::Failed
        && let Some(rollout) = rollout
        && let Ok(rollout) = client.get_rollout(&rollout).await
        && rollout.state() == v1::RolloutState::Failed
    {
        // The rollout knows the reason best, also after its replicas are gone.
        return follow::conclude(context, &rollout, None, (&app, &full));
    }
    settle::conclude(context, &verdict, (&app, &full))
}

async fn for_rollout(
    context: &mut Context,
    client: &Client,
    mut name: name::Rollout,
    end: Instant,
) -> Result<Exit, Failure> {
    let mut said = String::new();
    let (rollout, ended) = loop {
        let left = end.saturating_duration_since(Instant::now());
        let rollout = match client.wait_rollout(&name, left.min(SLICE)).await {
            Ok(rollout) => rollout,
            Err(error) if error.is_passing() && left > PAUSE => {
                context.screen.say(&[format!("{error}; trying again")]);
                time::sleep(error.retry_after().unwrap_or(PAUSE).min(left)).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        // Wait for the rollout that was the latest at the beginning.
        name = name::Rollout::parse(&rollout.name).map_err(Error::from)?;
        let ended = outcome::has_ended(&rollout);
        if ended || Instant::now() >= end {
            break (rollout, ended);
        }
        let line = format!(
            "{}: {}",
            outcome::title(&rollout.name, context.namespace()),
            text::line(&rollout.message)
        );
        if line != said {
            context.screen.say(std::slice::from_ref(&line));
            said = line;
        }
    };
    if ended {
        return follow::conclude(context, &rollout, None, (&rollout, &rollout.name));
    }
    let what = outcome::of(&rollout, None, context.namespace(), context.screen.paint).lines.concat();
    let how = context.wait_command(&name);
    Err(Failure::Waiting { what, how })
}
