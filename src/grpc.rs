//! The side that callers see: one file per service, parsing in, converting out, and the one translation of errors. Must not
//! know Kubernetes: it reads the index and asks [`crate::domain::commands::Commands`] to change things.

mod app;
mod autoscaler;
mod call;
mod change;
mod codec;
mod convert;
mod discovery;
mod idempotency;
mod info;
mod json;
mod layers;
mod loopback;
mod pagination;
mod parse;
mod replica_list;
mod rollout;
mod schema;
mod serve;
mod server;
mod status;
mod stream;
mod timeline;
mod validate;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Request, Status};
use tracing::Instrument;

pub(crate) use self::codec::Codec;
pub use self::idempotency::IdempotencyCache;
pub use self::layers::origin::{InvalidOrigin, Origin};
pub use self::loopback::is_loopback_host;
pub use self::serve::{Args, serve};
pub use self::server::{Health, RouterError, router};
use crate::{
    domain::{
        Error,
        commands::{Commands, Position},
        logs::Logs,
        name::Scope,
    },
    index::{AutoscalerState, Index},
};

/// What every service needs.
#[derive(Clone)]
pub struct Context {
    /// Where reads come from.
    pub index: Index,
    /// What the autoscaling loop knows.
    pub scaling: AutoscalerState,
    /// Who does the writes.
    pub act: Arc<dyn Commands>,
    /// Who reads logs.
    pub logs: Arc<dyn Logs>,
    /// What this server says of itself, once it knows.
    pub identity: Arc<OnceLock<Identity>>,
    /// Ends every stream when the server goes.
    pub drain: CancellationToken,
    /// Answers to requests that may be repeated.
    pub once: IdempotencyCache,
    /// Writes that run. A caller that hangs up or runs out of time does not cut them off between two objects.
    pub writes: TaskTracker,
    /// What reads logs ahead of callers that follow them; each ends with its call.
    pub readers: TaskTracker,
}

/// What this server says of itself.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// Version of Kubernetes.
    pub kubernetes_version: String,
    /// The Kubernetes user that callers act as.
    pub user: String,
}

/// When a call must be answered; put into each request by [`layers::deadline`].
#[derive(Clone, Copy, Debug)]
struct Deadline(Option<Instant>);

/// Longest wait for a `read_after` without a deadline of the caller.
const READ_AFTER: Duration = Duration::from_secs(10);

/// How often a reader that waits for a write looks without being woken: not every write changes what its watchers see.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl Context {
    /// What this server says of itself; empty until it has reached the cluster.
    fn identity(&self) -> Identity {
        self.identity.get().cloned().unwrap_or_default()
    }

    /// Runs a write to its end, even if the caller no longer waits for it.
    async fn finish<T: Send + 'static>(
        &self,
        write: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let running = self.writes.spawn(write.in_current_span());
        running
            .await
            .unwrap_or_else(|error| Err(Error::Bug(format!("a write ended without an answer: {error}"))))
    }

    /// Waits until this server sees the write that gave the position. An empty text waits for nothing.
    async fn wait_until_seen(
        &self,
        read_after: &str,
        scope: &Scope,
        deadline: Deadline,
    ) -> Result<(), Status> {
        match position(read_after, scope)? {
            Some(position) => self.wait_for(&position, deadline, READ_AFTER).await,
            None => Ok(()),
        }
    }

    async fn wait_for(
        &self,
        position: &Position,
        deadline: Deadline,
        longest: Duration,
    ) -> Result<(), Status> {
        let mut news = self.index.subscribe(&Scope::App(position.app.clone()));
        let seen = async {
            while !self.index.has_seen(position) {
                let _ = tokio::time::timeout(LOOK_AGAIN, news.changed()).await;
            }
        };
        tokio::time::timeout(deadline.within(longest), seen).await.map_err(|_| {
            let waiting_for = format!("this server to see the change of {}", position.app);
            Status::from(Error::Deadline { waiting_for, may_have_happened: false })
        })
    }
}

/// The position of an earlier write to an app that the answer is about; `None` if the text is empty.
fn position(read_after: &str, scope: &Scope) -> Result<Option<Position>, Error> {
    if read_after.is_empty() {
        return Ok(None);
    }
    let wrong = |why| Error::invalid("read_after", why);
    let position = Position::parse(read_after).ok_or_else(|| {
        wrong("is no position that this API gave; send the `position` of a write as it came")
    })?;
    if scope.holds(&position.app) {
        Ok(Some(position))
    } else {
        Err(wrong("is the position of a write to another app; this answer would not show it"))
    }
}

impl Deadline {
    fn of<T>(request: &Request<T>) -> Self {
        request.extensions().get::<Self>().copied().unwrap_or(Self(None))
    }

    /// The time left, at most `longest`. A tenth of it, at most 100 ms, is kept for the answer itself.
    fn within(self, longest: Duration) -> Duration {
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
