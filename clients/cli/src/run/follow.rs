//! Follows a rollout to its end. Must not know what started it.

use std::{future::pending, pin::pin, time::Duration};

use futures::{Stream, StreamExt, stream};
use gantry_client::{Client, Error, name, v1};
use prost::{Message, Name};
use tokio::time::{self, Instant};

use super::{BEAT, Context, interrupted, now};
use crate::{
    args::Format,
    failure::{Exit, Failure},
    render::{outcome, progress::Progress, terminal, text},
};

/// Default time limit for following a rollout.
pub(super) const LIMIT: Duration = Duration::from_mins(10);

/// Shortest pause between two reads of the replicas for a live view. The counts come from the stream of the
/// rollout; the replicas only add their own lines.
const LOOK: Duration = Duration::from_millis(200);

/// Pause after a read of the replicas that failed.
const AFTER_ERROR: Duration = Duration::from_secs(2);

/// `gantry rollout watch`
pub(super) async fn watch(context: &mut Context, app: &str, number: &str) -> Result<Exit, Failure> {
    let name = context.app(app)?.rollout(number).map_err(Error::from)?;
    let end = Instant::now() + context.timeout.unwrap_or(LIMIT);
    let client = context.connect(LIMIT).await?;
    // Follow the rollout that is the latest now, even if another one begins meanwhile.
    let rollout = client.get_rollout(&name).await?;
    let rollout = Box::pin(attend(context, &client, rollout, end)).await?;
    conclude(context, &rollout, None, (&rollout, &rollout.name))
}

/// Formats the line about a rollout that is not followed.
pub(super) fn begun(context: &Context, rollout: &v1::Rollout) -> Result<String, Failure> {
    let name = name::Rollout::parse(&rollout.name).map_err(Error::from)?;
    Ok(format!("rollout {} has begun; wait for it with: {}", name.revision, context.wait_command(&name)))
}

/// Shows a rollout that has just begun until it has ended.
pub(super) async fn follow(
    context: &mut Context,
    client: &Client,
    rollout: v1::Rollout,
    end: Instant,
) -> Result<v1::Rollout, Failure> {
    context.screen.say(&[format!("{} begins", context.title(&rollout.name))]);
    Box::pin(attend(context, client, rollout, end)).await
}

async fn attend(
    context: &mut Context,
    client: &Client,
    rollout: v1::Rollout,
    end: Instant,
) -> Result<v1::Rollout, Failure> {
    let name = name::Rollout::parse(&rollout.name).map_err(Error::from)?;
    let how = context.wait_command(&name);
    let mut progress = Progress::new(rollout, context.namespace());
    let mut stream = pin!(client.watch_rollout(&name));
    let mut replicas = pin!(replicas(client, &name, context.screen.is_live()));
    let mut stop = pin!(interrupted());
    let mut beat = time::interval(BEAT);
    let title = context.title(&progress.rollout().name);
    loop {
        tokio::select! {
            item = stream.next() => {
                let lines = progress.apply(item.ok_or(Error::Ended)??);
                context.screen.say(&lines);
                if progress.is_completed() {
                    context.screen.print(&[]);
                    return Ok(progress.rollout().clone());
                }
            }
            Some(seen) = replicas.next() => progress.look(seen),
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
        context.screen.draw(|elapsed, beat, paint| progress.view(elapsed, beat, now(), paint));
    }
}

/// Reads the replicas of the app again and again if the view is live. The list is empty while they cannot be
/// read, because the stream of the rollout reports problems with the daemon.
fn replicas(client: &Client, name: &name::Rollout, is_live: bool) -> impl Stream<Item = Vec<v1::Replica>> {
    let app = name.app.clone();
    // The pause grows with the time that a read takes, because many replicas take long to list. After an
    // error it is longer, to spare a daemon in trouble.
    stream::unfold(Duration::ZERO, move |pause| {
        let app = app.clone();
        async move {
            if !is_live {
                pending::<()>().await;
            }
            time::sleep(pause).await;
            let began = Instant::now();
            let seen = client.list_replicas(&app).await;
            let pause = if seen.is_ok() { LOOK.max(10 * began.elapsed()) } else { AFTER_ERROR };
            Some((seen.unwrap_or_default(), pause))
        }
    })
}

/// Prints how a rollout ended. Formats other than the table print `answer`, and `name` is its resource name.
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
        // Programs read the answer, people the reason; a table would only repeat the reason.
        if format != Format::Table {
            terminal::print(format, answer, name, |_| Vec::new())?;
        }
        context.screen.print(&outcome.lines);
    }
    Ok(outcome.exit)
}
