//! Keeps what the index found out: each verdict is written to its revision, and each change that was made past this server
//! becomes one, so that both outlive this process.

use std::{collections::HashMap, hash::Hash, sync::Arc, time::Duration};

use tokio::time::Instant;
use tracing::{debug, warn};

use crate::{
    domain::{Error, act::Act, name, name::Scope, revision::Outcome},
    index::Index,
    metrics::METRICS,
};

/// Time that a write gets to come back by the watch before it is done again.
const ECHO: Duration = Duration::from_secs(5);

/// Writes each new finding, until dropped. What cannot be written now is tried again.
pub(super) async fn run(index: Index, act: Arc<dyn Act>) {
    let mut news = index.subscribe(&Scope::All);
    let (mut noted, mut recorded) = (Written::default(), Written::default());
    loop {
        let _ = tokio::time::timeout(Duration::from_secs(1), news.changed()).await;
        for (app, number, record) in index.unnoted() {
            // A second change may come before the first one is kept; the ReplicaSet tells them apart.
            let key = (app.clone(), number, record.replica_set.clone());
            if noted.is_new(&key) {
                let outcome = act.note(app.clone(), number, record).await;
                noted.settle(&key, &outcome);
                tell(&app, number, "change made past this server", outcome);
            }
        }
        for (app, number, end) in index.unrecorded() {
            let key = (app.clone(), number);
            if recorded.is_new(&key) {
                let ended = match end.outcome {
                    Outcome::Succeeded => "succeeded",
                    Outcome::Failed => "failed",
                    Outcome::Superseded => "superseded",
                };
                let outcome = act.record(app.clone(), number, end).await;
                recorded.settle(&key, &outcome);
                if outcome.is_ok() {
                    METRICS.rollout_ended(ended);
                }
                tell(&app, number, "verdict", outcome);
            }
        }
    }
}

fn tell(app: &name::App, number: u64, what: &str, outcome: Result<(), Error>) {
    match outcome {
        Ok(()) => debug!(%app, number, "{what} kept"),
        // Deleted meanwhile: nothing to keep it with.
        Err(Error::NotFound { .. }) => debug!(%app, number, "{what}: nothing to keep it with"),
        // Somebody else wrote the revision at the same moment, mostly this server itself.
        Err(Error::EtagMismatch { .. }) => {
            debug!(%app, number, "{what}: written at the same moment; trying again");
        }
        // The link has said so, once.
        Err(error @ Error::Unreachable { .. }) => debug!(%app, number, %error, "cannot keep a {what} now"),
        Err(error) => warn!(%app, number, %error, "cannot keep a {what}; trying again"),
    }
}

/// What was written a moment ago.
struct Written<K>(HashMap<K, Instant>);

impl<K> Default for Written<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Clone + Eq + Hash> Written<K> {
    fn is_new(&mut self, key: &K) -> bool {
        self.0.retain(|_, at| at.elapsed() < ECHO);
        if self.0.contains_key(key) {
            return false;
        }
        self.0.insert(key.clone(), Instant::now());
        true
    }

    /// What was not written is tried again at the next beat, not only when its echo is overdue: until it is kept it can be
    /// lost with this process.
    fn settle(&mut self, key: &K, outcome: &Result<(), Error>) {
        if outcome.is_err() {
            self.0.remove(key);
        }
    }
}
