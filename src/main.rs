//! gantryd: parses its arguments and runs.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = gantry::runtime::Args::parse();
    // Several libraries speak TLS; they must all take the same provider of cryptography. Fails only if one is installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match gantry::runtime::run_daemon(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gantryd: {error:#}");
            ExitCode::FAILURE
        }
    }
}
