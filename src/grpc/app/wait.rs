//! WaitApp: answers when the app has settled, or with its current state when the timeout has passed.

use std::{sync::Arc, time::Duration};

use tonic::Status;

use super::super::{
    context::{Context, Deadline, LOOK_AGAIN, parse_position},
    convert, parse,
};
use crate::{
    domain::{
        Error,
        app::App,
        commands::{ObservedVersion, Position},
        name::{self, Scope},
    },
    pb,
};

/// Timeout when the request has none.
const WAIT: Duration = Duration::from_secs(30);
/// Longest timeout.
const LONGEST_WAIT: Duration = Duration::from_mins(10);

pub(super) async fn wait_for_state(
    context: &Context,
    request: &pb::WaitAppRequest,
    deadline: Deadline,
) -> Result<pb::WaitAppResponse, Status> {
    let name = parse::parse_app_name("name", &request.name)?;
    let scope = Scope::App(name.clone());
    let after = parse_position(&request.read_after, &scope)?;
    let longest =
        parse::parse_duration("timeout", request.timeout.as_ref())?.unwrap_or(WAIT).min(LONGEST_WAIT);
    let mut wait = AppWait { context, name, after, last: None, settled: false };
    if wait.after.is_none() {
        // Look the app up before subscribing, because a subscription allocates a channel and unknown names
        // must not allocate.
        wait.last = Some(context.index.get_app(&wait.name)?);
    }
    tokio::select! {
        // Running out of time is not an error. The answer is the current state of the app.
        _ = tokio::time::timeout(deadline.within(longest), wait.until_settled(&scope)) => {}
        () = context.drain.cancelled() => return Err(Error::ShuttingDown.into()),
    }
    Ok(pb::WaitAppResponse { app: wait.last.as_deref().map(convert::to_app), settled: wait.settled })
}

struct AppWait<'a> {
    context: &'a Context,
    name: name::App,
    /// The write to wait for, from `read_after`.
    after: Option<Position>,
    /// The app as last seen.
    last: Option<Arc<App>>,
    settled: bool,
}

impl AppWait<'_> {
    async fn until_settled(&mut self, scope: &Scope) {
        let mut news = self.context.index.watch_changes(scope);
        loop {
            // Check for the write before reading the app, so that the app read afterwards includes the write.
            let seen = self.after.as_ref().is_none_or(|position| self.context.index.has_seen(position));
            self.look(seen);
            if self.settled {
                return;
            }
            if seen {
                let _ = news.changed().await;
            } else {
                let _ = tokio::time::timeout(LOOK_AGAIN, news.changed()).await;
            }
        }
    }

    fn look(&mut self, seen: bool) {
        match self.context.index.get_app(&self.name) {
            // Another app has taken the name, so the deleted app is gone.
            Ok(app) if seen && self.is_deleted(&app) => self.settled = true,
            Ok(app) => {
                self.settled = seen && !app.reconciling;
                self.last = Some(app);
            }
            // The app is gone. The answer is its last known state.
            Err(_) => self.settled = seen,
        }
    }

    fn is_deleted(&self, app: &App) -> bool {
        let deletes = self.after.as_ref().map(|position| &position.seen);
        matches!(deletes, Some(ObservedVersion::Deleting { uid }) if *uid != app.uid)
    }
}
