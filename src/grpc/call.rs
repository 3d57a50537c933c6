//! The call that is being answered: its id, which is in the log and in the answer; and what it asks for, as
//! far as the audit tells it.

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

/// The id of a call, in the extensions of its answer: for a layer that answers in another form than gRPC.
#[derive(Clone, Debug)]
pub(super) struct CallId(pub(super) Arc<str>);

tokio::task_local! {
    static CALL: Arc<str>;
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
    // Also a client in this process reads messages, outside of any call.
    let _ = ASKED.try_with(|known| *known.lock() = asked);
}

/// Id of the call that is being answered, as it stands in the log.
pub(super) fn current_id() -> Arc<str> {
    CALL.try_with(Clone::clone).unwrap_or_else(|_| "none".into())
}

/// Makes ids that differ within a process; the log's own time tells processes apart.
pub(super) fn next_id() -> Arc<str> {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let count = LAST.fetch_add(1, Ordering::Relaxed);
    format!("{:08x}-{count:x}", std::process::id()).into()
}

/// Makes a part of an answer under its call's id.
pub(super) fn in_call<T>(id: &Arc<str>, part: impl FnOnce() -> T) -> T {
    CALL.sync_scope(Arc::clone(id), part)
}

/// Answers a call under its id.
pub(super) async fn scope_call<T>(id: Arc<str>, answer: impl Future<Output = T>) -> T {
    CALL.scope(id, answer).await
}

/// Answers a call; what it asks for is noted in `asked`.
pub(super) async fn scope_audit_subject<T>(
    asked: Arc<Mutex<AuditSubject>>,
    answer: impl Future<Output = T>,
) -> T {
    ASKED.scope(asked, answer).await
}
