//! What is kept of a call that changes something, or was refused for who called: who, what, why, and how it ended. It goes to the
//! timeline of the app that the call was about.

use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use parking_lot::Mutex;
use tonic::{Code, Status};

use super::{
    call::AuditSubject,
    schema::{Does, Method},
};
use crate::{
    domain::name,
    grpc::context::Connection,
    index::{AuditedCall, Index, TimelineEvent},
};

/// Bytes of an error's message that are kept.
const LONGEST_ERROR: usize = 512;

/// A call until it has ended. Without an index it leaves nothing.
#[derive(Default)]
pub(super) struct Audit {
    index: Option<Index>,
    connection: Arc<OnceLock<Connection>>,
    asked: Arc<Mutex<AuditSubject>>,
    id: String,
    method: String,
    writes: bool,
}

// === impl Audit ===

impl Audit {
    pub(super) fn new(
        index: &Index,
        connection: Arc<OnceLock<Connection>>,
        asked: Arc<Mutex<AuditSubject>>,
        (id, method): (&str, &str),
        known: Option<&Method>,
    ) -> Self {
        Self {
            index: known.is_some().then(|| index.clone()),
            connection,
            asked,
            id: id.to_owned(),
            method: method.to_owned(),
            writes: known.is_some_and(|method| method.does == Does::Write),
        }
    }

    /// The call ended, with this error if with any.
    pub(super) fn end(&mut self, failed: Option<&Status>) {
        let Some(index) = self.index.take() else { return };
        let asked = std::mem::take(&mut *self.asked.lock());
        let code = failed.map_or(Code::Ok, Status::code);
        let denied = matches!(code, Code::PermissionDenied | Code::Unauthenticated);
        let changes = self.writes && !(asked.validate_only && code == Code::Ok);
        let Some(app) = app_of(&asked.subject).filter(|_| changes || denied) else { return };
        let error = failed.map_or("", Status::message);
        let call = AuditedCall {
            method: std::mem::take(&mut self.method),
            code: code.into(),
            error: error[..error.floor_char_boundary(LONGEST_ERROR)].to_owned(),
            actor: self.connection.get().map(|connection| connection.user.clone()).unwrap_or_default(),
            reason: asked.reason,
            id: std::mem::take(&mut self.id),
        };
        index.record_event(&app, Timestamp::now(), TimelineEvent::Call(Arc::new(call)));
    }
}

impl Drop for Audit {
    /// Whoever called did not wait for the end; what was begun goes on.
    fn drop(&mut self) {
        if self.writes && self.index.is_some() {
            self.end(Some(&Status::new(Code::Cancelled, "the caller did not wait for the answer")));
        }
    }
}

/// The app that a resource is, or belongs to.
fn app_of(subject: &str) -> Option<name::App> {
    let end = subject.match_indices('/').nth(3).map_or(subject.len(), |(at, _)| at);
    name::App::parse(&subject[..end]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_an_app_is_about_it() {
        let shop = Some(name::App::new("prod", "shop"));
        for (subject, app) in [
            ("namespaces/prod/apps/shop", shop.clone()),
            ("namespaces/prod/apps/shop/rollouts/3", shop.clone()),
            ("namespaces/prod/apps/shop/autoscaler", shop),
            ("namespaces/prod", None),
            ("", None),
        ] {
            assert_eq!(app_of(subject), app, "{subject}");
        }
    }
}
