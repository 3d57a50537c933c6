//! State of the call that is being answered: its id, which is in the log and in the answer, and what the
//! audit records about it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::http::HeaderName;
use parking_lot::Mutex;

/// Header or trailer with the id of the call.
pub(super) const CALL_ID: HeaderName = HeaderName::from_static("gantry-call-id");
/// Header or trailer with the age of the cache that a read was answered from, in seconds.
pub(super) const CACHE_AGE: HeaderName = HeaderName::from_static("gantry-cache-age");

/// The id of a call, in the extensions of its answer. A layer that answers in another form than gRPC reads it
/// there.
#[derive(Clone, Debug)]
pub(super) struct CallId(pub(super) Arc<str>);

tokio::task_local! {
    static CALL: Arc<str>;
    static ASKED: Arc<Mutex<AuditSubject>>;
}

/// What the audit records about the request of a call.
#[derive(Clone, Debug, Default)]
pub(super) struct AuditSubject {
    /// Resource name that the call is about. Empty until the request was read.
    pub(super) subject: String,
    /// The reason that the caller gave.
    pub(super) reason: String,
    /// Whether the call is a dry run.
    pub(super) validate_only: bool,
    /// Whether the request was read.
    pub(super) is_read: bool,
}

/// Records what the call that is being answered asks for.
pub(super) fn set_audit_subject(asked: AuditSubject) {
    // Fails outside a call, where a client in this process decodes an answer.
    let _ = ASKED.try_with(|known| *known.lock() = asked);
}

/// Returns whether the call that is being answered may change something: its request was read, and asks for
/// more than a dry run.
pub(super) fn may_change() -> bool {
    ASKED.try_with(|asked| asked.lock().clone()).is_ok_and(|asked| asked.is_read && !asked.validate_only)
}

/// Returns the id of the call that is being answered, as it appears in the log.
pub(super) fn current_id() -> Arc<str> {
    CALL.try_with(Clone::clone).unwrap_or_else(|_| "none".into())
}

/// Returns an id that is unique within the process. The timestamps of the log tell equal ids of different
/// processes apart.
pub(super) fn next_id() -> Arc<str> {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let count = LAST.fetch_add(1, Ordering::Relaxed);
    format!("{:08x}-{count:x}", std::process::id()).into()
}

/// Runs a part of an answer under the id of its call.
pub(super) fn in_call<T>(id: &Arc<str>, part: impl FnOnce() -> T) -> T {
    CALL.sync_scope(Arc::clone(id), part)
}

/// Runs a call under its id.
pub(super) async fn scope_call<T>(id: Arc<str>, answer: impl Future<Output = T>) -> T {
    CALL.scope(id, answer).await
}

/// Runs a call and records in `asked` what it asks for.
pub(super) async fn scope_audit_subject<T>(
    asked: Arc<Mutex<AuditSubject>>,
    answer: impl Future<Output = T>,
) -> T {
    ASKED.scope(asked, answer).await
}
