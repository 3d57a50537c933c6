//! Signals: the first SIGTERM or SIGINT ends the process in order, a second one at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// Exit status of a process that was told twice: 128 + SIGTERM, what a shell reports for one that the signal ended.
const TOLD_TWICE: i32 = 143;

/// Cancels `stop` at the first signal, and goes on listening for the second.
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
    info!("{name}: stopping; once more stops at once");
    stop.cancel();
    // Ending here would be seen as the first task that ended, which is what starts the drain; the process lives on for it.
    let second = async move {
        let name = either(&mut terminate, &mut interrupt).await;
        warn!("{name} again: stopped at once");
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
