//! Follows a rollout to its end, or waits for it. Must not know what started it.

use std::{pin::pin, time::Duration};

use futures::StreamExt;
use gantry_client::{Client, Error, name, v1};
use prost::{Message, Name};
use tokio::time::{self, Instant};

use super::{Context, interrupted};
use crate::{
    args::{self, Format},
    failure::{Exit, Failure},
    outcome,
    progress::Progress,
    terminal, text,
};

const BEAT: Duration = Duration::from_millis(100);
/// One call of `wait`: shorter than the 60 s after which many proxies give up on a silent call.
const SLICE: Duration = Duration::from_secs(30);
const WAIT: Duration = Duration::from_mins(5);
const PAUSE: Duration = Duration::from_secs(1);

/// Shows a rollout until it has ended.
pub(super) async fn follow(
    context: &mut Context,
    client: &Client,
    rollout: v1::Rollout,
    end: Instant,
) -> Result<v1::Rollout, Failure> {
    let name = name::Rollout::parse(&rollout.name).map_err(Error::from)?;
    let how = format!("{} --rollout {}", context.command("wait", &name.app), name.revision);
    let mut progress = Progress::new(rollout, &context.global.namespace);
    let mut stream = pin!(client.watch_rollout(&name));
    let mut stop = pin!(interrupted());
    let mut beat = time::interval(BEAT);
    let title = outcome::title(&progress.rollout().name, &context.global.namespace);
    context.screen.say(&[format!("{title} begins")]);
    loop {
        tokio::select! {
            item = stream.next() => {
                let lines = progress.apply(item.ok_or(Error::Ended)??);
                context.screen.say(&lines);
                if outcome::has_ended(progress.rollout()) {
                    context.screen.print(&[]);
                    return Ok(progress.rollout().clone());
                }
            }
            _ = beat.tick(), if context.screen.is_live() => {}
            () = time::sleep_until(end) => {
                let what = format!("{title} has not ended after {}; it goes on without you.", text::took(context.screen.elapsed()));
                return Err(Failure::Waiting { what, how });
            }
            () = &mut stop => {
                let what = format!("Interrupted. {title} goes on without you.");
                return Err(Failure::Interrupted { what, how });
            }
        }
        context.screen.draw(|elapsed, beat, paint| progress.view(elapsed, beat, paint));
    }
}

/// Prints how a rollout ended. `answer` is what formats other than the table show, `name` what it is about.
pub(super) fn conclude<M: Message + Name>(
    context: &mut Context,
    rollout: &v1::Rollout,
    took: Option<Duration>,
    (answer, name): (&M, &str),
) -> Result<Exit, Failure> {
    let (format, namespace) = (context.global.output, context.global.namespace.clone());
    let outcome = outcome::of(rollout, took, &namespace, context.screen.paint);
    if outcome.exit == Exit::Done {
        terminal::print(format, answer, name, |paint| outcome::of(rollout, took, &namespace, paint).lines)?;
    } else {
        // Programs read the answer, people the reason; a table would only say the same again.
        if format != Format::Table {
            terminal::print(format, answer, name, |_| Vec::new())?;
        }
        context.screen.print(&outcome.lines);
    }
    Ok(outcome.exit)
}

/// `gantry wait`
pub(super) async fn wait(context: &mut Context, flags: &args::Wait) -> Result<Exit, Failure> {
    let app = context.app(&flags.name)?;
    let mut name = app.rollout(&flags.rollout).map_err(Error::from)?;
    let client = context.connect(WAIT).await?;
    let end = Instant::now() + context.global.timeout.unwrap_or(WAIT);
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
        // What was the latest at the beginning is what is waited for.
        name = name::Rollout::parse(&rollout.name).map_err(Error::from)?;
        let ended = outcome::has_ended(&rollout);
        if ended || Instant::now() >= end {
            break (rollout, ended);
        }
        let line = format!(
            "{}: {}",
            outcome::title(&rollout.name, &context.global.namespace),
            text::line(&rollout.message)
        );
        if line != said {
            context.screen.say(std::slice::from_ref(&line));
            said = line;
        }
    };
    if ended {
        return conclude(context, &rollout, None, (&rollout, &rollout.name));
    }
    let what = outcome::of(&rollout, None, &context.global.namespace, context.screen.paint).lines.concat();
    let how = format!("{} --rollout {}", context.command("wait", &app), name.revision);
    Err(Failure::Waiting { what, how })
}
