//! The id of the call that is being answered: in the log, and in the answer when there is something to look up.

use std::sync::atomic::{AtomicU64, Ordering};

tokio::task_local! {
    static CALL: String;
}

/// Id of the call that is being answered, as it stands in the log.
pub(super) fn id() -> String {
    CALL.try_with(Clone::clone).unwrap_or_else(|_| "none".to_owned())
}

/// Makes ids that differ within a process; the log's own time tells processes apart.
pub(super) fn next_id() -> String {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let count = LAST.fetch_add(1, Ordering::Relaxed);
    format!("{:08x}-{count:x}", std::process::id())
}

/// Makes a part of an answer under its call's id.
pub(super) fn under_id<T>(id: &str, part: impl FnOnce() -> T) -> T {
    CALL.sync_scope(id.to_owned(), part)
}

/// Answers a call under its id.
pub(super) async fn with_id<T>(id: String, answer: impl Future<Output = T>) -> T {
    CALL.scope(id, answer).await
}
