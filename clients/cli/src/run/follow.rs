//! Follows a rollout to its end. Must not know what started it.

use std::{pin::pin, time::Duration};

use futures::StreamExt;
use gantry_client::{Client, Error, name, v1};
use prost::{Message, Name};
use tokio::time::{self, Instant};

use super::{BEAT, Context, interrupted};
use crate::{
    args::Format,
    failure::{Exit, Failure},
    outcome,
    progress::Progress,
    terminal, text,
};

/// What is said about a rollout that nobody waits for.
pub(super) fn begun(context: &Context, rollout: &v1::Rollout) -> Result<String, Failure> {
    let name = name::Rollout::parse(&rollout.name).map_err(Error::from)?;
    Ok(format!("rollout {} has begun; wait for it with: {}", name.revision, context.wait_command(&name)))
}

/// Shows a rollout until it has ended.
pub(super) async fn follow(
    context: &mut Context,
    client: &Client,
    rollout: v1::Rollout,
    end: Instant,
) -> Result<v1::Rollout, Failure> {
    let name = name::Rollout::parse(&rollout.name).map_err(Error::from)?;
    let how = context.wait_command(&name);
    let mut progress = Progress::new(rollout, context.namespace());
    let mut stream = pin!(client.watch_rollout(&name));
    let mut stop = pin!(interrupted());
    let mut beat = time::interval(BEAT);
    let title = context.title(&progress.rollout().name);
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
    let (format, namespace) = (context.output, context.namespace().to_owned());
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
