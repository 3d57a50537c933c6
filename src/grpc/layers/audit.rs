//! Records who called what, why, and how it ended, in the timeline of the app. Records only calls that change
//! something, and calls that were denied to the caller.

use std::sync::{Arc, OnceLock};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use jiff::Timestamp;
use parking_lot::Mutex;
use tonic::{Code, Status};

use super::{answer::on_end, method_name};
use crate::{
    domain::name,
    grpc::{
        call::{self, AuditSubject},
        context::Connection,
        schema::{self, Does},
    },
    index::{AuditedCall, Index, TimelineEvent},
};

/// Bytes of an error message that are recorded.
const LONGEST_ERROR: usize = 512;

/// Records the call, once it has ended, in the timeline of its app.
pub(in crate::grpc) async fn audit_call(
    State((index, connection)): State<(Index, Arc<OnceLock<Connection>>)>,
    request: Request,
    next: Next,
) -> Response {
    let name = method_name(&request).to_owned();
    let Some(method) = schema::method(&name) else { return next.run(request).await };
    let asked = Arc::default();
    let mut audit = Audit {
        index: Some(index),
        connection,
        asked: Arc::clone(&asked),
        id: call::current_id(),
        method: name,
        writes: method.does == Does::Write,
    };
    let answer = call::scope_audit_subject(asked, next.run(request)).await;
    on_end(answer, move |status, _| audit.end(&status))
}

/// A call that has not ended yet.
struct Audit {
    /// `None` once the call was recorded.
    index: Option<Index>,
    connection: Arc<OnceLock<Connection>>,
    asked: Arc<Mutex<AuditSubject>>,
    id: Arc<str>,
    method: String,
    writes: bool,
}

// === impl Audit ===

impl Audit {
    fn end(&mut self, status: &Status) {
        let Some(index) = self.index.take() else { return };
        let asked = std::mem::take(&mut *self.asked.lock());
        let code = status.code();
        let denied = matches!(code, Code::PermissionDenied | Code::Unauthenticated);
        let changes = self.writes && !(asked.validate_only && code == Code::Ok);
        let Some(app) = app_of(&asked.subject).filter(|_| changes || denied) else { return };
        let error = if code == Code::Ok { "" } else { status.message() };
        let call = AuditedCall {
            method: std::mem::take(&mut self.method),
            code: code.into(),
            error: error[..error.floor_char_boundary(LONGEST_ERROR)].to_owned(),
            actor: self.connection.get().map(|connection| connection.user.clone()).unwrap_or_default(),
            reason: asked.reason,
            id: self.id.to_string(),
        };
        index.record_event(&app, Timestamp::now(), TimelineEvent::Call(Arc::new(call)));
    }
}

impl Drop for Audit {
    /// Records a write whose caller left early. The write itself goes on.
    fn drop(&mut self) {
        if self.writes {
            self.end(&Status::new(Code::Cancelled, "the caller did not wait for the answer"));
        }
    }
}

/// Returns the app that a resource is or belongs to.
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
