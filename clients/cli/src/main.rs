//! `gantry`: reads the command line, runs the command, and exits with its status.
//!
//! args -> settings, request (pure) -> gantry-client -> progress, settling, plan, rows, describe, outcome (pure) -> terminal; every
//! failure -> failure (pure).

mod args;
mod describe;
mod failure;
mod outcome;
mod plan;
mod problem;
mod progress;
mod proto;
mod request;
mod rows;
mod run;
mod settings;
mod settling;
mod table;
mod terminal;
mod text;

use std::process::ExitCode;

use clap::Parser;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let exit = run::run(args::Cli::parse()).await;
    ExitCode::from(exit as u8)
}
