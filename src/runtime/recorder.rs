//! Keeps verdicts: what the index decided is written to its revision, so that it outlives this process.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;
use tracing::{debug, warn};

use crate::{
    domain::{Error, act::Act, name, name::Scope, revision::Outcome},
    index::Index,
    metrics::METRICS,
};

/// Time that a verdict gets to come back by the watch before it is written again.
const ECHO: Duration = Duration::from_secs(5);

/// Writes each new verdict, until dropped. What cannot be written now is tried again.
pub(super) async fn run(index: Index, act: Arc<dyn Act>) {
    let mut news = index.subscribe(&Scope::All);
    let mut written: HashMap<(name::App, u64), Instant> = HashMap::new();
    loop {
        let _ = tokio::time::timeout(Duration::from_secs(1), news.changed()).await;
        written.retain(|_, at| at.elapsed() < ECHO);
        for (app, number, end) in index.unrecorded() {
            if written.contains_key(&(app.clone(), number)) {
                continue;
            }
            written.insert((app.clone(), number), Instant::now());
            let outcome = match end.outcome {
                Outcome::Succeeded => "succeeded",
                Outcome::Failed => "failed",
                Outcome::Superseded => "superseded",
            };
            match act.record(app.clone(), number, end).await {
                Ok(()) => {
                    METRICS.rollout_ended(outcome);
                    debug!(%app, number, "verdict kept");
                }
                // Deleted meanwhile: nothing to keep it with.
                Err(Error::NotFound { .. }) => debug!(%app, number, "no revision to keep a verdict with"),
                // The link has said so, once.
                Err(error @ Error::Unreachable { .. }) => {
                    debug!(%app, number, %error, "cannot keep a verdict now");
                }
                Err(error) => warn!(%app, number, %error, "cannot keep a verdict; trying again"),
            }
        }
    }
}
