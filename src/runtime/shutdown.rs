//! Signals: the first SIGTERM or SIGINT shuts the process down in order, a second one ends it at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// Exit status after a second signal: 128 + SIGTERM, which a shell reports for a process that the signal
/// ended.
const TOLD_TWICE: i32 = 143;

/// Cancels `stop` at the first signal, and keeps listening for the second.
pub(super) async fn on_signal(stop: CancellationToken) {
    let (mut terminate, mut interrupt) =
        match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
            (Err(error), _) | (_, Err(error)) => {
                error!(%error, "cannot listen for signals");
                return;
            }
        };
    let name = either(&mut terminate, &mut interrupt).await;
    info!("{name}: shutting down; send it again to exit immediately");
    stop.cancel();
    // This task ends now, and as the first task that ends it starts the shutdown. The second signal is
    // handled in a thread, because the process is still running.
    let second = async move {
        let name = either(&mut terminate, &mut interrupt).await;
        warn!("{name} again: exiting immediately");
        std::process::exit(TOLD_TWICE);
    };
    drop(std::thread::Builder::new().name("second-signal".to_owned()).spawn({
        let handle = tokio::runtime::Handle::current();
        move || handle.block_on(second)
    }));
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
