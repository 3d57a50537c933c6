//! Carries commands out: connects, calls, and hands what comes to the pure parts and on to the terminal.

mod change;
mod follow;
mod read;

use std::{
    env,
    future::pending,
    io,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::CommandFactory;
use gantry_client::{Client, name};

use crate::{
    args::{Cli, Command, Global},
    failure::{Exit, Failure},
    terminal::Screen,
    text,
};

/// What a command needs to do its work.
struct Context {
    global: Global,
    screen: Screen,
}

/// Runs a command; whatever there is to say has been said when it returns.
pub(crate) async fn run(cli: Cli) -> Exit {
    let mut context = Context { screen: Screen::new(cli.global.progress), global: cli.global };
    match dispatch(&mut context, &cli.command).await {
        Ok(exit) => exit,
        Err(failure) => {
            let lines = failure.lines(context.screen.paint);
            context.screen.print(&lines);
            failure.exit()
        }
    }
}

async fn dispatch(context: &mut Context, command: &Command) -> Result<Exit, Failure> {
    match command {
        Command::Deploy(flags) => change::deploy(context, flags).await,
        Command::Get(flags) => read::get(context, flags).await,
        Command::List(flags) => read::list(context, flags).await,
        Command::Watch(flags) => read::watch(context, flags).await,
        Command::Wait(flags) => follow::wait(context, flags).await,
        Command::Delete(flags) => change::delete(context, flags).await,
        Command::Info => read::info(context).await,
        Command::Completion { shell } => {
            // clap_complete panics where it cannot write, so it writes into memory.
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "gantry", &mut script);
            io::Write::write_all(&mut io::stdout().lock(), &script)?;
            Ok(Exit::Done)
        }
    }
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

// === impl Context ===

impl Context {
    /// Connects; every answer has to come within the time limit, or within `patience` if none is set.
    async fn connect(&self, patience: Duration) -> Result<Client, Failure> {
        let client = Client::connect(&self.global.server).await?;
        Ok(client.with_call_timeout(self.global.timeout.unwrap_or(patience)))
    }

    fn app(&self, text: &str) -> Result<name::App, Failure> {
        name::App::parse(text, &self.global.namespace).map_err(|error| Failure::Client(error.into()))
    }

    /// A command line that reaches the same server.
    fn command(&self, words: &str, app: &name::App) -> String {
        let known = ["127.0.0.1:7420"].map(str::to_owned).into_iter().chain(env::var("GANTRY_ADDR"));
        let server = match known.last() {
            Some(known) if known == self.global.server => String::new(),
            _ => format!(" --server {}", text::shell(&self.global.server)),
        };
        format!("gantry{server} {words} {}", text::shell(&format!("{}/{}", app.namespace, app.app)))
    }
}
