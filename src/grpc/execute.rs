//! Runs the commands of callers: to their end even if the caller leaves, once per `request_id`, and one at a
//! time for each app. The answer shows the app after the command.

use std::{pin::pin, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::Status;

use super::{
    context::{Call, Context, Deadline},
    convert,
    turns::Turn,
};
use crate::{
    autoscale::Policy,
    domain::{
        Error,
        commands::{CommandResult, Commands, RequestMeta},
        error::Missing,
        labels::MANAGER,
        name::{self, Scope, Which},
    },
    pb,
};

/// Longest wait until the index has seen a write. After it, the answer is made from what was written, not
/// from the index.
const OWN_WRITE: Duration = Duration::from_secs(2);

/// Longest wait for unrecorded verdicts while the connection to the cluster has problems.
const IN_TROUBLE: Duration = Duration::from_millis(300);

/// Longest wait for the API server to say whether a namespace exists.
const NAMESPACE: Duration = Duration::from_secs(1);
/// Longest wait for the earlier changes of an app, and longest time in which a change may keep the next one
/// waiting, if the caller's deadline is not earlier.
const TURN: Duration = Duration::from_secs(30);

/// The outcome of a change, for the answer.
pub(super) struct Changed {
    pub(super) app: Option<pb::App>,
    pub(super) rollout: Option<pb::Rollout>,
    pub(super) plan: pb::Plan,
    /// The policy of an autoscaler that was changed.
    pub(super) policy: Option<Arc<Policy>>,
    pub(super) position: String,
}

impl Context {
    /// Carries out a command, and waits up to 2 s until the index has seen the change.
    pub(super) async fn execute<F>(
        &self,
        call: &Call<'_>,
        name: &name::App,
        meta: &RequestMeta,
        command: impl FnOnce(Arc<dyn Commands>) -> F + Send + 'static,
    ) -> Result<Changed, Status>
    where
        F: Future<Output = Result<CommandResult, Error>> + Send,
    {
        let commands = call.connection.commands.clone();
        if !meta.validate_only {
            self.wait_until_recorded(name, &*commands).await;
        }
        let request = meta.request.as_ref().filter(|_| !meta.validate_only);
        let (deadline, queues) = (call.deadline, !meta.validate_only);
        let run = async move || {
            let turn = if queues { Some(self.wait_for_turn(name, deadline).await?) } else { None };
            let until = Instant::now() + deadline.within(TURN);
            self.finish(async move { in_turn(turn, until, command(commands)).await }).await
        };
        let result = self.idempotency.run(request, run).await;
        let result = result.map_err(|error| self.with_hint(name, error))?;
        if let Some(position) = &result.position {
            let _ = self.wait_for(position, call.deadline, OWN_WRITE).await;
        }
        Ok(self.to_changed(name, &result))
    }

    /// Waits until the earlier changes of the app by this process have ended.
    async fn wait_for_turn(&self, name: &name::App, deadline: Deadline) -> Result<Turn, Error> {
        let turn = timeout(deadline.within(TURN), self.turns.wait(name)).await;
        turn.unwrap_or_else(|_| {
            let waiting_for = format!("earlier changes of {name} to finish");
            Err(Error::Deadline { waiting_for, may_have_happened: false })
        })
    }

    /// Waits briefly until every verdict on the app is stored in the cluster. A rollback chooses its target
    /// by the verdicts, and the change may delete the replicas that a failure is about.
    async fn wait_until_recorded(&self, name: &name::App, commands: &dyn Commands) {
        // Look before subscribing, because a subscription allocates a channel.
        if !self.index.has_unrecorded_verdict(name) {
            return;
        }
        let mut news = self.index.watch_verdicts(name);
        let kept = async { while self.index.has_unrecorded_verdict(name) && news.changed().await.is_ok() {} };
        // If the cluster does not answer, no verdict can be stored, and the change must fail soon.
        let well = commands.health_warnings(Timestamp::now()).is_empty();
        let _ = timeout(if well { OWN_WRITE } else { IN_TROUBLE }, kept).await;
    }

    /// Returns the newest rollout of an app that is not managed by Gantry, once Kubernetes has begun a later
    /// one than `before`.
    pub(super) async fn begun_since(&self, name: &name::App, before: Option<u64>) -> Option<pb::Rollout> {
        let which = name::Rollout { app: name.clone(), revision: Which::Latest };
        let mut news = self.index.watch_changes(&Scope::App(name.clone()));
        let begun = async {
            loop {
                match self.index.get_rollout(&which) {
                    Ok(rollout) if Some(rollout.number) != before => {
                        return Some(convert::to_rollout(&rollout));
                    }
                    Ok(_) | Err(_) => news.changed().await.ok()?,
                }
            }
        };
        timeout(OWN_WRITE, begun).await.ok().flatten()
    }

    /// Fails if a namespace without apps does not exist. Asks the API server, because gantryd does not watch
    /// namespaces. If it does not answer soon, or gantryd may not ask, the namespace counts as existing.
    pub(super) async fn check_namespace(&self, call: &Call<'_>, namespace: &str) -> Result<(), Error> {
        if self.index.has_app_in(namespace) {
            return Ok(());
        }
        let asked = call.connection.commands.has_namespace(namespace.to_owned());
        match timeout(call.deadline.within(NAMESPACE), asked).await {
            Ok(Some(false)) => Err(self.index.missing_namespace(namespace)),
            Ok(Some(true) | None) | Err(_) => Ok(()),
        }
    }

    /// Replaces the error for a missing app or namespace by one that suggests a similar name from the index.
    fn with_hint(&self, name: &name::App, error: Error) -> Error {
        let Error::NotFound { kind, .. } = &error else { return error };
        match kind {
            Missing::App => self.index.get_app(name).err().unwrap_or(error),
            Missing::Namespace => self.index.missing_namespace(&name.namespace),
            Missing::AppOfEtag | Missing::Rollout => error,
        }
    }

    fn to_changed(&self, name: &name::App, result: &CommandResult) -> Changed {
        let seen = result.position.as_ref().is_none_or(|position| self.index.has_seen(position));
        let app = self.index.get_app(name).ok().filter(|_| seen);
        let as_written =
            || result.content.as_ref().map(|content| convert::to_app_from_content(name, content, MANAGER));
        let rollout = result.rollout.map(|number| {
            let which = name::Rollout { app: name.clone(), revision: Which::Number(number) };
            let known = self.index.get_rollout(&which).ok();
            known.map_or_else(
                // Not in the index yet. The name is enough for the caller to follow the rollout.
                || pb::Rollout {
                    name: which.to_string(),
                    state: pb::RolloutState::Pending.into(),
                    ..pb::Rollout::default()
                },
                |rollout| convert::to_rollout(&rollout),
            )
        });
        Changed {
            app: app.map(|app| convert::to_app(&app)).or_else(as_written),
            rollout,
            plan: convert::to_plan(result),
            policy: result.policy.clone(),
            position: result.position.as_ref().map(ToString::to_string).unwrap_or_default(),
        }
    }
}

/// Runs a change in its turn. At the deadline of its caller the turn ends, although the change still runs to
/// its end: a slow change must not use up the time of the next one.
async fn in_turn<T>(turn: Option<Turn>, until: Instant, change: impl Future<Output = T>) -> T {
    let mut change = pin!(change);
    if let Ok(result) = timeout_at(until, &mut change).await {
        return result;
    }
    drop(turn);
    change.await
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::{super::turns::Turns, *};

    #[tokio::test(start_paused = true)]
    async fn a_slow_change_keeps_the_next_one_waiting_until_its_deadline_alone() {
        let (turns, shop) = (Turns::default(), name::App::new("prod", "shop"));
        let turn = turns.wait(&shop).await.unwrap();
        let until = Instant::now() + Duration::from_secs(2);
        let slow = async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            "done"
        };
        let mut slow = pin!(in_turn(Some(turn), until, slow));
        assert!(timeout(Duration::from_secs(1), &mut slow).await.is_err());
        assert!(turns.wait(&shop).now_or_never().is_none(), "it has its turn");
        assert!(timeout(Duration::from_secs(2), &mut slow).await.is_err());
        assert!(turns.wait(&shop).now_or_never().is_some(), "its turn is over");
        assert_eq!(slow.await, "done", "and it still runs to its end");
    }

    #[tokio::test]
    async fn a_change_that_ends_lets_the_next_one_begin() {
        let (turns, shop) = (Turns::default(), name::App::new("prod", "shop"));
        let turn = turns.wait(&shop).await.unwrap();
        in_turn(Some(turn), Instant::now() + TURN, async {}).await;
        assert!(turns.wait(&shop).now_or_never().is_some());
    }
}
