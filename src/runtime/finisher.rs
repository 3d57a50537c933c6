//! Finishes what was cut off: a revision that nobody carried out, because the daemon that wrote it ended in between.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::{
    domain::{act::Act, name},
    index::Index,
};

/// How often it looks.
const PERIOD: Duration = Duration::from_secs(1);

/// Pause after an attempt that failed; doubled with each, up to the second.
const PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// Looks for changes that were cut off, until dropped.
pub(super) async fn run(index: Index, act: Arc<dyn Act>) {
    let mut failed: HashMap<name::App, (Instant, Duration)> = HashMap::new();
    loop {
        tokio::time::sleep(PERIOD).await;
        let cut_off = index.cut_off(Timestamp::now());
        failed.retain(|app, _| cut_off.contains(app));
        for app in cut_off {
            let last = failed.get(&app).copied();
            if last.is_some_and(|(next, _)| Instant::now() < next) {
                continue;
            }
            match act.finish(app.clone()).await {
                Ok(()) => debug!(%app, "nothing is left to finish"),
                Err(error) => {
                    warn!(%app, %error, "cannot finish a change that was cut off; trying again");
                    let pause = last.map_or(PAUSE, |(_, pause)| (pause * 2).min(LONGEST_PAUSE));
                    failed.insert(app, (Instant::now() + pause, pause));
                }
            }
        }
    }
}
