//! Stores what the index found out, so that it outlives this process. Each verdict is written to its
//! revision, and each change made outside Gantry is stored as a revision.

use std::{collections::HashMap, hash::Hash, time::Duration};

use futures::{StreamExt, future::join_all, stream};
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::{
    cluster::Writer,
    domain::{
        Error,
        evidence::Evidence,
        name::{self, Scope},
        problem::Problem,
        revision::Outcome,
    },
    index::{Index, UnrecordedVerdict},
    metrics::METRICS,
};

/// Time within which a write should come back through the watch. After that it is repeated.
const ECHO: Duration = Duration::from_secs(5);

/// Time limit for reading logs. A caller that follows the rollout waits for the verdict meanwhile.
const LOGS_WITHIN: Duration = Duration::from_millis(700);

/// Number of verdicts that are stored concurrently.
const AT_ONCE: usize = 16;

/// Writes each new finding, until dropped. A write that fails is repeated.
pub(super) async fn record_loop(index: Index, writer: Writer) {
    let mut news = index.watch_changes(&Scope::All);
    let (mut noted, mut recorded) = (Written::default(), Written::default());
    loop {
        let _ = tokio::time::timeout(Duration::from_secs(1), news.changed()).await;
        for (app, number, record) in index.unrecorded_external_changes() {
            // A second change may come before the first one is stored. The ReplicaSet distinguishes them.
            let key = (app.clone(), number, record.replica_set.clone());
            if noted.is_new(&key) {
                let outcome = writer.record_external_change(app.clone(), number, record).await;
                noted.settle(&key, &outcome);
                tell(&app, number, "change made outside Gantry", outcome);
            }
        }
        let due: Vec<_> = index
            .unrecorded_verdicts()
            .into_iter()
            .filter(|due| recorded.is_new(&(due.app.clone(), due.number)))
            .collect();
        // Reading logs takes a moment, and many apps may fail at the same time.
        let mut outcomes = stream::iter(due)
            .map(|due| async {
                let of = (due.app.clone(), due.number);
                (of, keep(&writer, due).await)
            })
            .buffer_unordered(AT_ONCE);
        while let Some((of, outcome)) = outcomes.next().await {
            recorded.settle(&of, &outcome);
            tell(&of.0, of.1, "verdict", outcome);
        }
    }
}

/// Stores a verdict, with its evidence if it is a failure.
async fn keep(writer: &Writer, due: UnrecordedVerdict) -> Result<(), Error> {
    let UnrecordedVerdict { app, number, end, evidence } = due;
    let ended = match end.outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::Failed => "failed",
        Outcome::Superseded => "superseded",
    };
    let evidence = match evidence {
        Some(seen) => Some(with_logs(writer, &app, (*seen).clone()).await),
        None => None,
    };
    if writer.record_verdict(app, number, end, evidence).await? {
        METRICS.rollout_ended(ended);
    }
    Ok(())
}

/// Adds the last log lines of the containers with problems, as far as they can be read in time.
async fn with_logs(writer: &Writer, app: &name::App, mut evidence: Evidence) -> Evidence {
    let read = async |problem: &mut Problem| {
        let Some(pod) = problem.logging_pod().map(str::to_owned) else { return };
        let words = writer.last_log_lines(&app.namespace, &pod, &problem.container);
        match tokio::time::timeout(LOGS_WITHIN, words).await {
            Ok(Ok(lines)) => problem.log_tail = lines,
            Ok(Err(error)) => debug!(%app, %error, "cannot read the last lines of a replica that failed"),
            Err(_) => debug!(%app, "the last lines of a replica that failed did not come in time"),
        }
    };
    join_all(evidence.problems.iter_mut().map(read)).await;
    evidence
}

fn tell(app: &name::App, number: u64, what: &str, outcome: Result<(), Error>) {
    match outcome {
        Ok(()) => debug!(%app, number, "{what} stored"),
        // The app was deleted meanwhile.
        Err(Error::NotFound { .. } | Error::ObjectMissing { .. }) => {
            debug!(%app, number, "{what} not stored: the app is gone");
        }
        // Another writer changed the revision at the same moment, usually this process itself.
        Err(Error::WriteConflict { .. }) => {
            debug!(%app, number, "{what}: written at the same moment; trying again");
        }
        // The lost connection is already logged, once.
        Err(error @ Error::Unreachable { .. }) => debug!(%app, number, %error, "cannot store a {what} now"),
        Err(error) => warn!(%app, number, %error, "cannot store a {what}; trying again"),
    }
}

/// Keys of the writes within the last [`ECHO`].
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

    /// Allows a failed write to be repeated at the next round, and not only after [`ECHO`]. Until it is
    /// stored, the finding is lost if this process ends.
    fn settle(&mut self, key: &K, outcome: &Result<(), Error>) {
        if outcome.is_err() {
            self.0.remove(key);
        }
    }
}
