//! Stores the answer to each `request_id` while the process runs, so that repeated or simultaneous calls make
//! one change. What must outlive the process is stored in the cluster by `cluster::writer::idempotency`.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::domain::{Error, commands::CommandResult, revision::Request};

/// Age above which answers are dropped first when the cache is full. The contract promises one hour.
const KEPT_FOR: Duration = Duration::from_hours(2);

/// The largest number of stored answers.
const MOST: usize = 10_000;

/// Answers by request id.
#[derive(Clone, Default)]
pub struct IdempotencyCache(Arc<Mutex<HashMap<String, Entry>>>);

struct Entry {
    digest: String,
    answer: Arc<OnceCell<CommandResult>>,
    since: Instant,
}

// === impl IdempotencyCache ===

impl IdempotencyCache {
    /// Makes the change, or returns the stored answer of an earlier call with the same id. Errors are not
    /// stored, so a failed request can be repeated.
    pub(super) async fn run<F: Future<Output = Result<CommandResult, Error>>>(
        &self,
        request: Option<&Request>,
        change: impl FnOnce() -> F,
    ) -> Result<CommandResult, Error> {
        let Some(request) = request else { return change().await };
        let answer = self.enter(request)?;
        let done = answer.get_or_try_init(change).await.cloned();
        if done.is_err() {
            let mut entries = self.0.lock();
            // Other calls with the same id may be waiting for this entry. The last one removes it.
            if entries
                .get(&request.id)
                .is_some_and(|e| !e.answer.initialized() && Arc::strong_count(&e.answer) <= 2)
            {
                entries.remove(&request.id);
            }
        }
        done
    }

    fn enter(&self, request: &Request) -> Result<Arc<OnceCell<CommandResult>>, Error> {
        let mut entries = self.0.lock();
        if let Some(entry) = entries.get(&request.id) {
            if entry.digest != request.digest {
                return Err(Error::RequestIdReused { id: request.id.clone() });
            }
            return Ok(entry.answer.clone());
        }
        if entries.len() >= MOST {
            entries.retain(|_, entry| entry.since.elapsed() < KEPT_FOR);
        }
        if entries.len() >= MOST
            && let Some(oldest) = entries.iter().min_by_key(|(_, e)| e.since).map(|(id, _)| id.clone())
        {
            entries.remove(&oldest);
        }
        let answer = Arc::new(OnceCell::new());
        let entry = Entry { digest: request.digest.clone(), answer: answer.clone(), since: Instant::now() };
        entries.insert(request.id.clone(), entry);
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn mk_request(digest: &str) -> Request {
        Request { id: "a".into(), digest: digest.into() }
    }

    #[tokio::test]
    async fn equal_calls_at_once_are_one() {
        let (once, count) = (IdempotencyCache::default(), AtomicU64::new(0));
        let change = || async {
            tokio::task::yield_now().await;
            let rollout = Some(count.fetch_add(1, Ordering::SeqCst));
            Ok(CommandResult { rollout, ..CommandResult::default() })
        };
        let request = mk_request("x");
        let calls = (0..100).map(|_| once.run(Some(&request), change));
        let answers = futures::future::join_all(calls).await;
        assert!(answers.iter().all(|a| a.as_ref().unwrap().rollout == Some(0)));
        assert_eq!(count.load(Ordering::SeqCst), 1);
        assert!(matches!(once.run(Some(&mk_request("y")), change).await, Err(Error::RequestIdReused { .. })));
    }

    #[tokio::test]
    async fn an_error_leaves_the_id_free() {
        let once = IdempotencyCache::default();
        let failed = once.run(Some(&mk_request("x")), || async { Err(Error::WarmingUp) }).await;
        assert_eq!(failed, Err(Error::WarmingUp));
        assert!(once.run(Some(&mk_request("y")), || async { Ok(CommandResult::default()) }).await.is_ok());
    }

    #[tokio::test]
    async fn calls_without_an_id_are_each_their_own() {
        let (once, count) = (IdempotencyCache::default(), AtomicU64::new(0));
        for _ in 0..2 {
            let change = || async {
                Ok(CommandResult {
                    rollout: Some(count.fetch_add(1, Ordering::SeqCst)),
                    ..CommandResult::default()
                })
            };
            once.run(None, change).await.unwrap();
        }
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }
}
