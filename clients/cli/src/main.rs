//! `gantry`: reads the command line, runs the command, and exits with its status.
//!
//! A command goes through `args`, `settings` and `request` (pure) to the daemon, and its answer through
//! `render` to the terminal. Every failure goes through `failure`. `run` carries the commands out.

mod args;
mod failure;
mod proto;
mod render;
mod request;
mod run;
mod settings;

use std::process::ExitCode;

use clap::Parser;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let exit = run::run(args::Cli::parse()).await;
    ExitCode::from(exit as u8)
}
