//! Completes work without a caller: finishes changes that were cut off because the daemon that began them
//! ended, removes from Services what only earlier replicas needed, rolls back failed rollouts whose policy
//! asks for it, repairs the owner of revisions, and deletes what is no longer needed.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::{
    cluster::Writer,
    domain::{
        Error,
        caller::Caller,
        commands::{Commands, RequestMeta, Rollback},
        name,
        revision::Request,
    },
    index::Index,
};

/// Time between two rounds.
const PERIOD: Duration = Duration::from_secs(1);

/// Pause after a failed attempt. It doubles with each failure, up to the second value.
const PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// Interval of garbage collection, and the delay before the first run. The first run is early so that a
/// daemon that never runs for long collects too. Every daemon collects; if another one has already deleted an
/// object, nothing happens.
const TIDY: Duration = Duration::from_mins(5);
const TIDY_FIRST: Duration = Duration::from_secs(10);

/// Actor of an automatic rollback.
const ACTOR: &str = "gantry";

/// Completes unfinished work, until dropped.
pub(super) async fn resume_loop(index: Index, writer: Writer) {
    let (mut finishing, mut owning, mut removing) =
        (Attempts::default(), Attempts::default(), Attempts::default());
    let mut done: HashSet<(name::App, u64)> = HashSet::new();
    loop {
        tokio::time::sleep(PERIOD).await;
        let cut_off = index.incomplete_changes(Timestamp::now());
        roll_back(&index, &writer, &mut done).await;
        for app in finishing.due(cut_off) {
            let finished = writer.resume_incomplete(app.clone()).await;
            if let Err(error) = &finished {
                warn!(%app, %error, "cannot finish a change that was cut off; trying again");
            }
            finishing.settle(app, finished.is_ok());
        }
        for app in owning.due(index.ownerless_apps(Timestamp::now())) {
            let owned = writer.repair_revision_owners(app.clone()).await;
            if let Err(error) = &owned {
                warn!(%app, %error, "cannot set the owners of revisions; trying again");
            }
            owning.settle(app, owned.is_ok());
        }
        for app in removing.due(index.kept_ports()) {
            let removed = writer.remove_earlier_ports(app.clone()).await;
            match &removed {
                // Another daemon, or a deploy, writes the Service at the same moment.
                Ok(()) | Err(Error::WriteConflict { .. }) => {}
                Err(error) => {
                    warn!(%app, %error, "cannot remove ports that only earlier replicas needed; trying again");
                }
            }
            removing.settle(app, removed.is_ok());
        }
    }
}

/// The last failed attempt for each app, so that an attempt that fails is not repeated every second.
#[derive(Default)]
struct Attempts(HashMap<name::App, (Instant, Duration)>);

impl Attempts {
    /// Returns those of these apps that may be tried now.
    fn due(&mut self, apps: Vec<name::App>) -> Vec<name::App> {
        self.0.retain(|app, _| apps.contains(app));
        let waits = |app: &name::App| self.0.get(app).is_some_and(|(next, _)| Instant::now() < *next);
        apps.into_iter().filter(|app| !waits(app)).collect()
    }

    fn settle(&mut self, app: name::App, done: bool) {
        if done {
            self.0.remove(&app);
            return;
        }
        let last = self.0.get(&app);
        let pause = last.map_or(PAUSE, |(_, pause)| (*pause * 2).min(LONGEST_PAUSE));
        self.0.insert(app, (Instant::now() + pause, pause));
    }
}

/// Collects garbage, until dropped. A separate task, so that a slow list delays no change that was cut off.
pub(super) async fn collect_garbage(writer: Writer) {
    tokio::time::sleep(TIDY_FIRST).await;
    let mut warned = false;
    loop {
        match writer.collect_garbage(Timestamp::now()).await {
            Ok(()) => warned = false,
            // Logged as a warning, because the objects would accumulate unnoticed without this permission.
            Err(error @ Error::DaemonForbidden { .. }) if !warned => {
                warn!(%error, "cannot delete the ids of earlier deletions");
                warned = true;
            }
            Err(error) => debug!(%error, "cannot delete the ids of earlier deletions; trying again"),
        }
        tokio::time::sleep(TIDY).await;
    }
}

/// Rolls back each failed rollout whose policy asks for it, once. `done` are the rollouts that have been
/// handled.
async fn roll_back(index: &Index, writer: &Writer, done: &mut HashSet<(name::App, u64)>) {
    let due = index.due_rollbacks(Timestamp::now());
    done.retain(|of| due.contains(of));
    for (app, number) in due {
        if done.contains(&(app.clone(), number)) {
            continue;
        }
        let rollout = app.rollout(number);
        // Every daemon sends the same request id, so that only one of them rolls back.
        let request = Request { id: format!("on-failure-of-{number}"), digest: rollout.clone() };
        let meta = RequestMeta {
            caller: Caller::named(ACTOR),
            reason: format!("{rollout} failed, and its policy is to roll back."),
            time: Timestamp::now(),
            request: Some(request),
            validate_only: false,
            etag: None,
        };
        let request = Rollback {
            name: app.clone(),
            to: None,
            force: false,
            keep_autoscaler: true,
            failed: Some(number),
            meta,
        };
        match writer.rollback(request).await {
            Ok(back) => info!(%app, failed = number, rollout = ?back.rollout, "rolled back after a failure"),
            // These errors may be temporary. Any other error would occur again.
            Err(
                error @ (Error::Unreachable { .. }
                | Error::Deadline { .. }
                | Error::Throttled { .. }
                | Error::WriteConflict { .. }),
            ) => {
                warn!(%app, failed = number, %error, "cannot roll back after a failure; trying again");
                continue;
            }
            Err(error) => warn!(%app, failed = number, %error, "cannot roll back after a failure"),
        }
        done.insert((app, number));
    }
}
