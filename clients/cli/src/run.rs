//! Carries commands out: connects, calls, and passes the answers through the pure modules to the terminal.

mod autoscale;
mod change;
mod context;
mod decisions;
mod deploy;
mod follow;
mod list;
mod logs;
mod read;
mod settle;
mod timeline;
mod wait;
mod watch;

use std::{
    future::pending,
    io,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::CommandFactory;

use self::context::Context;
use crate::{
    args::{Cli, Command, Rollout},
    failure::{Exit, Failure},
    render::terminal::Screen,
};

/// The interval at which live views are redrawn.
const BEAT: Duration = Duration::from_millis(100);

/// Runs a command. It has printed everything, errors included, when it returns.
pub(crate) async fn run(cli: Cli) -> Exit {
    let mut screen = Screen::new(cli.global.progress);
    let done = if let Command::Completion { shell } = cli.command {
        completion(shell)
    } else {
        match Context::new(&cli.global, screen.clone()) {
            Ok(mut context) => {
                let done = Box::pin(dispatch(&mut context, &cli.command)).await;
                // Only this copy knows the size of the live view that must be removed.
                screen = context.screen;
                done
            }
            Err(failure) => Err(failure),
        }
    };
    done.unwrap_or_else(|failure| {
        let lines = failure.lines(screen.paint);
        screen.print(&lines);
        failure.exit()
    })
}

async fn dispatch(context: &mut Context, command: &Command) -> Result<Exit, Failure> {
    match command {
        Command::Deploy(flags) => deploy::deploy(context, flags).await,
        Command::Get(flags) => read::get(context, flags).await,
        Command::List(flags) => read::list(context, flags).await,
        Command::Replicas(flags) => read::replicas(context, flags).await,
        Command::Watch(flags) => watch::apps(context, flags).await,
        Command::Scale(flags) => change::scale(context, flags).await,
        Command::Autoscale(flags) => autoscale::autoscale(context, flags).await,
        Command::Decisions(flags) if flags.follow => decisions::follow(context, flags).await,
        Command::Decisions(flags) => decisions::list_decisions(context, flags).await,
        Command::Report(flags) => autoscale::report(context, flags).await,
        Command::Restart(flags) => change::restart(context, flags).await,
        Command::Rollouts(flags) => read::rollouts(context, flags).await,
        Command::Rollout(Rollout::Watch { name, rollout }) => follow::watch(context, name, rollout).await,
        Command::Rollback(flags) => change::rollback(context, flags).await,
        Command::Pause(flags) => change::pause(context, flags).await,
        Command::Resume(flags) => change::resume(context, flags).await,
        Command::Wait(flags) => wait::wait(context, flags).await,
        Command::Endpoints(flags) if flags.watch => watch::endpoints(context, flags).await,
        Command::Endpoints(flags) => read::endpoints(context, flags).await,
        Command::Logs(flags) => logs::logs(context, flags).await,
        Command::Timeline(flags) => timeline::timeline(context, flags).await,
        Command::Delete(flags) => change::delete(context, flags).await,
        Command::Info => read::info(context).await,
        Command::Completion { shell } => completion(*shell),
    }
}

fn completion(shell: clap_complete::Shell) -> Result<Exit, Failure> {
    // clap_complete panics where it cannot write, so it writes into memory.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "gantry", &mut script);
    io::Write::write_all(&mut io::stdout().lock(), &script)?;
    Ok(Exit::Done)
}

/// Completes at Ctrl-C.
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        pending::<()>().await;
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
