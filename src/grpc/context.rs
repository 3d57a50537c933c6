//! What every service needs, and how a call begins: readiness, deadline, caller. Must not know any method.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Request, Status};
use tracing::Instrument;

use super::{idempotency::IdempotencyCache, turns::Turns};
use crate::{
    domain::{
        Error,
        caller::Caller,
        commands::{Commands, Position},
        logs::Logs,
        name::Scope,
    },
    index::{AutoscalerState, Index},
};

/// What every service needs.
#[derive(Clone)]
pub struct Context {
    /// The index that reads are answered from.
    pub index: Index,
    /// What the autoscaling loop knows.
    pub scaling: AutoscalerState,
    /// The connection to the cluster, set once the cluster was reached.
    pub connection: Arc<OnceLock<Connection>>,
    /// Cancelled when the daemon shuts down. This ends every stream.
    pub drain: CancellationToken,
    /// Stored answers to requests with a `request_id`.
    pub idempotency: IdempotencyCache,
    /// The queues of changes, one for each app that is being changed.
    pub turns: Turns,
    /// Running writes. A caller that hangs up or runs out of time does not stop a write between two objects.
    pub writes: TaskTracker,
    /// Tasks that read logs ahead of callers that follow them. Each ends with its call.
    pub readers: TaskTracker,
}

/// What is available once the cluster was reached.
pub struct Connection {
    /// Carries out what callers ask for.
    pub commands: Arc<dyn Commands>,
    /// Reads logs.
    pub logs: Arc<dyn Logs>,
    /// Version of Kubernetes.
    pub kubernetes_version: String,
    /// The Kubernetes user of the daemon, as which all callers act.
    pub user: String,
}

/// A call that was admitted.
pub(super) struct Call<'a> {
    pub(super) deadline: Deadline,
    /// The caller on whose behalf it is answered.
    pub(super) caller: Caller,
    pub(super) connection: &'a Connection,
}

/// When a call must be answered. The limits layer puts it into each request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(pub(super) Option<Instant>);

/// Longest wait for a `read_after`. Nearly every call has an earlier deadline, its caller's or the default.
const READ_AFTER: Duration = Duration::from_mins(10);

/// The interval at which a reader that waits for a write checks without being woken. It has to, because not
/// every write changes a view and wakes the watchers.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl Context {
    /// Begins a call: refuses it until the whole cluster was read once, and returns the request with its
    /// caller and deadline.
    pub(super) fn begin<T>(&self, request: Request<T>) -> Result<(T, Call<'_>), Error> {
        let call = self.begin_with(&request)?;
        Ok((request.into_inner(), call))
    }

    /// Like `begin`, for a handler that needs the original request.
    pub(super) fn begin_with<T>(&self, request: &Request<T>) -> Result<Call<'_>, Error> {
        self.index.check_filled()?;
        let connection = self.connection.get().ok_or(Error::WarmingUp)?;
        Ok(Call { deadline: Deadline::of(request), caller: Caller::named(&connection.user), connection })
    }

    /// Runs a write to its end, even if the caller no longer waits for it.
    pub(super) async fn finish<T: Send + 'static>(
        &self,
        write: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let running = self.writes.spawn(write.in_current_span());
        running
            .await
            .unwrap_or_else(|error| Err(Error::Bug(format!("a write ended without an answer: {error}"))))
    }

    /// Waits until the index has seen the write that returned this position. Returns at once if `read_after`
    /// is empty.
    pub(super) async fn wait_until_seen(
        &self,
        read_after: &str,
        scope: &Scope,
        deadline: Deadline,
    ) -> Result<(), Status> {
        match parse_position(read_after, scope)? {
            Some(position) => self.wait_for(&position, deadline, READ_AFTER).await,
            None => Ok(()),
        }
    }

    pub(super) async fn wait_for(
        &self,
        position: &Position,
        deadline: Deadline,
        longest: Duration,
    ) -> Result<(), Status> {
        let mut news = self.index.watch_changes(&Scope::App(position.app.clone()));
        let seen = async {
            while !self.index.has_seen(position) {
                let _ = tokio::time::timeout(LOOK_AGAIN, news.changed()).await;
            }
        };
        tokio::select! {
            () = seen => Ok(()),
            () = self.drain.cancelled() => Err(Error::ShuttingDown.into()),
            () = tokio::time::sleep(deadline.within(longest)) => {
                let waiting_for = format!("gantryd to see the change of {}", position.app);
                Err(Error::Deadline { waiting_for, may_have_happened: false }.into())
            }
        }
    }
}

/// Parses `read_after`, the position of an earlier write to an app in `scope`. Returns `None` if it is empty.
pub(super) fn parse_position(read_after: &str, scope: &Scope) -> Result<Option<Position>, Error> {
    if read_after.is_empty() {
        return Ok(None);
    }
    let wrong = |why| Error::invalid("read_after", why);
    let position = Position::parse(read_after)
        .ok_or_else(|| wrong("is not a valid position; send the `position` of an earlier write unchanged"))?;
    if scope.holds(&position.app) {
        Ok(Some(position))
    } else {
        Err(wrong("is the position of a write to another app, which this answer does not show"))
    }
}

impl Deadline {
    pub(super) fn of<T>(request: &Request<T>) -> Self {
        request.extensions().get::<Self>().copied().unwrap_or(Self(None))
    }

    /// Returns the time left, at most `longest`. A tenth of the time left, at most 100 ms, is reserved for
    /// sending the answer.
    pub(super) fn within(self, longest: Duration) -> Duration {
        let Some(at) = self.0 else { return longest };
        let left = at.saturating_duration_since(Instant::now());
        let reserve = (left / 10).min(Duration::from_millis(100));
        longest.min(left.saturating_sub(reserve))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_for_the_answer_is_kept_from_the_callers_deadline_alone() {
        let seconds = Duration::from_secs;
        assert_eq!(Deadline(None).within(seconds(2)), seconds(2));
        assert_eq!(Deadline(Some(Instant::now() + seconds(9))).within(seconds(2)), seconds(2));
        let reserved = Deadline(Some(Instant::now() + seconds(2))).within(seconds(2));
        assert_eq!(reserved, Duration::from_millis(1900));
    }
}
