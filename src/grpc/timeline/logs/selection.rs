//! Which logs a call reads, and the types that the readers of past and of new lines share.

use std::sync::Arc;

use crate::{
    domain::{
        logs::{Line, LogRequest, Position},
        name,
    },
    index::{Index, LogSource},
};

/// The largest number of logs that one call reads.
pub(super) const MAX_LOGS: usize = 500;

/// Which logs a call is about.
#[derive(Clone)]
pub(super) struct Selection {
    pub(super) app: name::App,
    pub(super) rollout: Option<u64>,
    pub(super) pod: String,
    pub(super) container: Option<Arc<str>>,
}

/// A message of a log.
pub(super) enum LogMessage {
    Line(Arc<LogSource>, Line),
    /// A notice about the log of a pod, for people to read.
    Notice(Arc<str>, String),
}

/// The point at which the reader of past lines left a log and the reader of new lines continues.
#[derive(Clone, Copy, Default)]
pub(super) struct ResumePoint {
    pub(super) position: Position,
    /// The number of past lines that the caller wanted.
    pub(super) tail: Option<u32>,
    /// Whether the log could not be opened.
    pub(super) unread: bool,
}

// === impl Selection ===

impl Selection {
    /// Returns the current logs, the youngest replica first.
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

/// Returns the notice about logs beyond [`MAX_LOGS`].
pub(super) fn describe_left_out(left_out: usize) -> String {
    format!(
        "the logs of {left_out} more replicas are not read, because a call reads at most {MAX_LOGS}; select a rollout or a pod"
    )
}
