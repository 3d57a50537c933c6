//! A diagnosed cause of trouble, with a sentence for people and a reason for programs.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One diagnosed cause of trouble.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Its reason, for programs.
    pub reason: Reason,
    /// What happened, in one sentence.
    pub message: String,
    /// What to do about it, in one sentence.
    pub remedy: String,
    /// The Kubernetes object to blame, for example `pod/shop-6f7c-x2x`.
    pub object: String,
    /// The container of that pod whose log may explain it; empty if no log does.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub container: String,
    /// The number of affected replicas.
    pub affected: i32,
    /// The Kubernetes events that matter, at most two, oldest first.
    #[serde(default)]
    pub events: Vec<String>,
    /// The last lines of that log, oldest first. Only in stored evidence and verdicts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_tail: Vec<String>,
    /// When it was first seen.
    pub start: Option<Timestamp>,
    /// Whether it cannot recover without a change.
    pub fatal: bool,
}

/// Reasons of problems, with the names of `gantry.v1.ErrorReason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Reason {
    /// The image does not exist, is not allowed, or its registry does not answer.
    ImagePullFailed,
    /// A ConfigMap, Secret, key or setting is missing or wrong.
    ConfigMissing,
    /// A volume cannot be mounted.
    VolumeFailed,
    /// The container was killed for using too much memory.
    OutOfMemory,
    /// The container keeps ending.
    CrashLoop,
    /// Admission refused the replicas.
    AdmissionDenied,
    /// A quota refused the replicas.
    QuotaExceeded,
    /// The node stopped answering.
    NodeLost,
    /// No node can take the replica.
    Unschedulable,
    /// A probe fails.
    ProbeFailing,
    /// No progress for `progress_timeout`.
    ProgressTimeout,
}

// === impl Problem ===

impl Problem {
    /// Creates a problem of one replica, without events and log lines.
    pub(super) fn new(reason: Reason, message: String, remedy: &str, object: String, fatal: bool) -> Self {
        Self {
            reason,
            message,
            remedy: remedy.to_owned(),
            object,
            container: String::new(),
            affected: 1,
            events: Vec::new(),
            log_tail: Vec::new(),
            start: None,
            fatal,
        }
    }

    /// Returns every text in it that may quote Kubernetes or a program.
    pub fn texts(&mut self) -> impl Iterator<Item = &mut String> {
        std::iter::once(&mut self.message).chain(&mut self.events).chain(&mut self.log_tail)
    }

    /// Returns the pod whose log may explain the problem, if its container ran.
    pub fn logging_pod(&self) -> Option<&str> {
        let ran = match self.reason {
            Reason::CrashLoop | Reason::OutOfMemory | Reason::ProbeFailing | Reason::ProgressTimeout => true,
            Reason::ImagePullFailed
            | Reason::ConfigMissing
            | Reason::VolumeFailed
            | Reason::AdmissionDenied
            | Reason::QuotaExceeded
            | Reason::NodeLost
            | Reason::Unschedulable => false,
        };
        self.object.strip_prefix("pod/").filter(|_| ran && !self.container.is_empty())
    }
}

// === impl Reason ===

impl Reason {
    /// Returns the name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ImagePullFailed => "IMAGE_PULL_FAILED",
            Self::ConfigMissing => "CONFIG_MISSING",
            Self::VolumeFailed => "VOLUME_FAILED",
            Self::NodeLost => "NODE_LOST",
            Self::OutOfMemory => "OUT_OF_MEMORY",
            Self::CrashLoop => "CRASH_LOOP",
            Self::AdmissionDenied => "ADMISSION_DENIED",
            Self::QuotaExceeded => "QUOTA_EXCEEDED",
            Self::Unschedulable => "UNSCHEDULABLE",
            Self::ProbeFailing => "PROBE_FAILING",
            Self::ProgressTimeout => "PROGRESS_TIMEOUT",
        }
    }
}

/// Shortens a text that Kubernetes or a program wrote, because an answer with a hundred problems must stay
/// small.
pub(super) fn shorten_text(text: &str) -> String {
    const MAX_CHARS: usize = 400;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
