//! Streams that outlive a connection: they reconnect with the last resume token. Must not know what the
//! messages mean.

use std::{future::Future, time::Duration};

use futures::{Stream, StreamExt, stream};
use tokio::time;
use tonic::Status;

use crate::{Error, backoff, v1};

/// Three heartbeats of the daemon, which sends one every 15 s.
pub const SILENCE: Duration = Duration::from_secs(45);
/// Tries before the first message. After the first message there is no limit: a caller that no longer wants
/// the stream drops it.
const FIRST_TRIES: u32 = 5;

/// A message of a stream that can be resumed.
pub trait Event {
    /// The token at which to resume after this message.
    fn resume_token(&self) -> &str;
    /// Whether this is the last message of the stream.
    fn is_last(&self) -> bool {
        false
    }
}

/// One item of a watch.
#[derive(Debug)]
pub enum Update<T> {
    /// A message of the daemon, heartbeats included.
    Message(T),
    /// The stream broke off, and is opened again after a delay.
    Interrupted {
        /// Why it broke off.
        error: Error,
        /// How long until the next try.
        retry_in: Duration,
    },
}

struct Watch<T, F, S> {
    open: F,
    running: Option<S>,
    resume_token: String,
    heard: bool,
    failures: u32,
    wait: Duration,
    ended: bool,
    _message: std::marker::PhantomData<T>,
}

/// Opens a stream. Opens it again with the last resume token whenever it breaks off, sends nothing for
/// [`SILENCE`], or the daemon is not available. The stream ends after its last message, and after an error
/// that another try would not change.
pub fn watch<T, S, F, A>(open: F) -> impl Stream<Item = Result<Update<T>, Error>>
where
    T: Event,
    S: Stream<Item = Result<T, Status>> + Unpin,
    F: FnMut(String) -> A,
    A: Future<Output = Result<S, Status>>,
{
    let watch = Watch {
        open,
        running: None,
        resume_token: String::new(),
        heard: false,
        failures: 0,
        wait: Duration::ZERO,
        ended: false,
        _message: std::marker::PhantomData,
    };
    stream::unfold(watch, |mut watch| async move {
        let item = watch.next().await?;
        Some((item, watch))
    })
}

// === impl Watch ===

impl<T, F, S, A> Watch<T, F, S>
where
    T: Event,
    S: Stream<Item = Result<T, Status>> + Unpin,
    F: FnMut(String) -> A,
    A: Future<Output = Result<S, Status>>,
{
    async fn next(&mut self) -> Option<Result<Update<T>, Error>> {
        if self.ended {
            return None;
        }
        match self.message().await {
            Ok(message) => {
                (self.heard, self.failures) = (true, 0);
                // Not every message has a token; the last one seen stays valid.
                if !message.resume_token().is_empty() {
                    message.resume_token().clone_into(&mut self.resume_token);
                }
                self.ended = message.is_last();
                Some(Ok(Update::Message(message)))
            }
            Err(error) => {
                self.running = None;
                self.failures += 1;
                self.ended = !error.is_passing() || (!self.heard && self.failures >= FIRST_TRIES);
                if self.ended {
                    return Some(Err(error));
                }
                self.wait = backoff::delay(self.failures, error.retry_after());
                Some(Ok(Update::Interrupted { error, retry_in: self.wait }))
            }
        }
    }

    async fn message(&mut self) -> Result<T, Error> {
        time::sleep(std::mem::take(&mut self.wait)).await;
        let next = async {
            let running = match &mut self.running {
                Some(running) => running,
                closed => closed.insert((self.open)(self.resume_token.clone()).await?),
            };
            running.next().await.ok_or(Error::Ended)?.map_err(Error::from)
        };
        time::timeout(SILENCE, next).await.unwrap_or(Err(Error::Silent(SILENCE)))
    }
}

// === impl Event ===

impl Event for v1::WatchAppsResponse {
    fn resume_token(&self) -> &str {
        &self.resume_token
    }
}

impl Event for v1::WatchEndpointsResponse {
    /// Always empty, because every message holds the full set.
    fn resume_token(&self) -> &'static str {
        ""
    }
}

impl Event for v1::WatchScalingDecisionsResponse {
    fn resume_token(&self) -> &str {
        &self.resume_token
    }
}

impl Event for v1::WatchTimelineResponse {
    fn resume_token(&self) -> &str {
        &self.resume_token
    }
}

impl Event for v1::WatchRolloutResponse {
    fn resume_token(&self) -> &str {
        &self.resume_token
    }

    fn is_last(&self) -> bool {
        matches!(self.event, Some(v1::watch_rollout_response::Event::Completed(_)))
    }
}

#[cfg(test)]
mod tests;
