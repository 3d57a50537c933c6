//! Does what is left to do by itself: finishes changes that were cut off, because the daemon that began them ended in between,
//! goes back from rollouts that failed and whose policy says so, gives revisions their owner back, and lets go of what need not be
//! remembered any more.

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

/// How often it looks.
const PERIOD: Duration = Duration::from_secs(1);

/// Pause after an attempt that failed; doubled with each, up to the second.
const PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// How often it is looked for what need not be remembered any more, and how soon for the first time: also a server that never runs for long
/// does it. By every server: whoever deletes second finds nothing.
const TIDY: Duration = Duration::from_mins(5);
const TIDY_FIRST: Duration = Duration::from_secs(10);

/// Whom a rollback by itself names as its actor.
const ACTOR: &str = "gantry";

/// Looks for what is left to do, until dropped.
pub(super) async fn resume_loop(index: Index, writer: Writer) {
    let (mut finishing, mut owning) = (Attempts::default(), Attempts::default());
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
    }
}

/// When each app was last tried in vain, so that what cannot be done is not tried every second.
#[derive(Default)]
struct Attempts(HashMap<name::App, (Instant, Duration)>);

impl Attempts {
    /// Those of these apps that may be tried now.
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

/// Lets go of what need not be remembered any more, until dropped. On its own, so that a list which takes long delays no change that was
/// cut off.
pub(super) async fn collect_garbage(writer: Writer) {
    tokio::time::sleep(TIDY_FIRST).await;
    let mut warned = false;
    loop {
        match writer.collect_garbage(Timestamp::now()).await {
            Ok(()) => warned = false,
            // Without the right to it they would pile up, and nobody would know.
            Err(error @ Error::DaemonForbidden { .. }) if !warned => {
                warn!(%error, "cannot let go of the ids of earlier deletions");
                warned = true;
            }
            Err(error) => debug!(%error, "cannot let go of the ids of earlier deletions; trying again"),
        }
        tokio::time::sleep(TIDY).await;
    }
}

/// Goes back from each rollout that asks for it, once: `done` are those that were dealt with.
async fn roll_back(index: &Index, writer: &Writer, done: &mut HashSet<(name::App, u64)>) {
    let due = index.due_rollbacks(Timestamp::now());
    done.retain(|of| due.contains(of));
    for (app, number) in due {
        if done.contains(&(app.clone(), number)) {
            continue;
        }
        let rollout = app.rollout(number);
        // The same request from every daemon, so that only one of them does it.
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
            // Reaching the cluster may work the next time; everything else would be refused again.
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
