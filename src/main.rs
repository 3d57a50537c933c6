//! gantryd: parses the arguments and runs the daemon.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = gantry::runtime::Args::parse();
    // Several libraries use TLS and must share one cryptography provider. This fails only if one is already
    // installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match gantry::runtime::run_daemon(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gantryd: {error:#}");
            ExitCode::FAILURE
        }
    }
}
