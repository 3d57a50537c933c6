//! Which logs a call reads, and what a log gives: what the readers of past and of new lines both use.

use std::sync::Arc;

use crate::{
    domain::{
        logs::{Line, LogRequest, Position},
        name,
    },
    index::{Index, LogSource},
};

/// Logs that one call reads at a time.
pub(super) const MAX_LOGS: usize = 500;

/// Which logs a call is about.
#[derive(Clone)]
pub(super) struct Selection {
    pub(super) app: name::App,
    pub(super) rollout: Option<u64>,
    pub(super) pod: String,
    pub(super) container: Option<Arc<str>>,
}

/// What a log gives.
pub(super) enum LogMessage {
    Line(Arc<LogSource>, Line),
    /// Something about it, for the caller to read.
    Notice(Arc<str>, String),
}

/// Where the reader of past lines left a log, and the reader of new lines goes on.
#[derive(Clone, Copy, Default)]
pub(super) struct ResumePoint {
    pub(super) position: Position,
    /// How many of the past lines the caller wanted.
    pub(super) tail: Option<u32>,
    /// It could not be opened.
    pub(super) unread: bool,
}

// === impl Selection ===

impl Selection {
    /// The logs as they are now, the youngest replica first.
    pub(super) fn find_logs(&self, index: &Index) -> Vec<LogSource> {
        let mut found = index.log_sources(&self.app, self.rollout);
        found.retain(|log| self.pod.is_empty() || *log.pod == *self.pod);
        if let Some(container) = &self.container {
            for log in &mut found {
                log.container = container.clone();
            }
        }
        found
    }

    pub(super) fn request_for(&self, log: &LogSource) -> LogRequest {
        LogRequest {
            namespace: self.app.namespace.clone(),
            pod: log.pod.clone(),
            container: log.container.clone(),
            ..LogRequest::default()
        }
    }
}

/// Tells the caller about logs beyond [`MAX_LOGS`].
pub(super) fn describe_left_out(left_out: usize) -> String {
    format!(
        "the logs of {left_out} more replicas are not read: at most {MAX_LOGS} at a time; choose by rollout or pod"
    )
}
