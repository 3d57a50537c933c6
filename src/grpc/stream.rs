//! Server streams: the latest state after each change, a heartbeat during silence, and an orderly end. The
//! next message is made only when the reader asks for it, so a slow reader costs no memory for messages.

use std::{pin::Pin, time::Duration};

use futures::{Stream, stream};
use jiff::Timestamp;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::context::{Context, Deadline};
use crate::{
    domain::{Error, name::Scope},
    pb,
};

/// Time without news after which a stream sends a heartbeat.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(15);

/// What a method with a streamed answer returns.
pub(super) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send + 'static>>;

/// What ends a wait for news.
pub(super) enum Wakeup {
    /// Something changed.
    News,
    /// Nothing changed for a while.
    Silence,
}

/// Waits for news on one channel, until the daemon shuts down or the caller's deadline passes.
pub(super) struct News<T = u64> {
    changed: watch::Receiver<T>,
    drain: CancellationToken,
    deadline: Deadline,
    subject: String,
}

/// Makes the messages of one stream, one at a time. `Ok(None)` ends it.
pub(super) trait Source: Send + 'static {
    /// Type of the messages.
    type Message: Send + 'static;
    /// Returns the next message.
    fn next(&mut self) -> impl Future<Output = Result<Option<Self::Message>, Status>> + Send;
}

/// Returns the stream of a source.
pub(super) fn to_stream<S: Source>(source: S) -> Answers<S::Message> {
    Box::pin(stream::unfold(Some(source), |source| async {
        let mut source = source?;
        match source.next().await {
            Ok(Some(message)) => Some((Ok(message), Some(source))),
            Ok(None) => None,
            Err(status) => Some((Err(status), None)),
        }
    }))
}

/// Sleeps until this time, or for ever without one.
pub(super) async fn sleep_until_due(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Returns a heartbeat with the age of the cache.
pub(super) fn make_heartbeat(context: &Context) -> pb::Heartbeat {
    let ages = context.index.kind_ages(Timestamp::now());
    let oldest = ages.into_values().max().unwrap_or_default();
    pb::Heartbeat { cache_age: prost_types::Duration::try_from(oldest).ok() }
}

// === impl News ===

impl News {
    /// Waits for changes of the apps of a scope.
    pub(super) fn new(context: &Context, scope: &Scope, deadline: Deadline, subject: String) -> Self {
        Self::on(context.index.watch_changes(scope), context, deadline, subject)
    }
}

impl<T> News<T> {
    pub(super) fn on(
        changed: watch::Receiver<T>,
        context: &Context,
        deadline: Deadline,
        subject: String,
    ) -> Self {
        Self { changed, drain: context.drain.clone(), deadline, subject }
    }

    /// Returns the value of the channel, and marks it as seen.
    pub(super) fn latest(&mut self) -> T
    where
        T: Clone,
    {
        self.changed.borrow_and_update().clone()
    }

    pub(super) async fn wait(&mut self) -> Result<Wakeup, Status> {
        let heartbeat = Instant::now() + HEARTBEAT;
        let until = self.deadline.0.map_or(heartbeat, |at| at.min(heartbeat));
        tokio::select! {
            () = self.drain.cancelled() => Err(Error::ShuttingDown.into()),
            // The channel closes only with the index, which is dropped last.
            _ = self.changed.changed() => Ok(Wakeup::News),
            () = tokio::time::sleep_until(until) => match self.deadline.0 {
                Some(at) if Instant::now() >= at => {
                    Err(Error::Deadline { waiting_for: self.subject.clone(), may_have_happened: false }.into())
                }
                Some(_) | None => Ok(Wakeup::Silence),
            },
        }
    }
}
