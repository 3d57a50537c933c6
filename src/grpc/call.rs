//! The call that is being answered: its id, which is in the log, and in the answer when there is something to look up; and what it asks
//! for, as far as the audit tells it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;

tokio::task_local! {
    static CALL: String;
    static ASKED: Arc<Mutex<AuditSubject>>;
}

/// What a call asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct AuditSubject {
    /// Resource name that it is about; empty until the request was read.
    pub(super) subject: String,
    /// Why, as the caller says.
    pub(super) reason: String,
    /// It changes nothing.
    pub(super) validate_only: bool,
}

/// Notes what the call that is being answered asks for.
pub(super) fn set_audit_subject(asked: AuditSubject) {
    // A message that is read outside of a call, by a client in this process, is nobody's business.
    let _ = ASKED.try_with(|known| *known.lock() = asked);
}

/// Id of the call that is being answered, as it stands in the log.
pub(super) fn current_id() -> String {
    CALL.try_with(Clone::clone).unwrap_or_else(|_| "none".to_owned())
}

/// Makes ids that differ within a process; the log's own time tells processes apart.
pub(super) fn next_id() -> String {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let count = LAST.fetch_add(1, Ordering::Relaxed);
    format!("{:08x}-{count:x}", std::process::id())
}

/// Makes a part of an answer under its call's id.
pub(super) fn in_call<T>(id: &str, part: impl FnOnce() -> T) -> T {
    CALL.sync_scope(id.to_owned(), part)
}

/// Answers a call under its id; what it asks for is noted there.
pub(super) async fn scope_call<T>(
    id: String,
    asked: Arc<Mutex<AuditSubject>>,
    answer: impl Future<Output = T>,
) -> T {
    CALL.scope(id, ASKED.scope(asked, answer)).await
}
