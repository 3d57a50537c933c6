//! Logs of containers, as a trait that `grpc` calls and `cluster` implements. Also the pure parts of reading
//! logs: the position of a reader ([`Position`]), past lines in order of time ([`Past`]), and live lines,
//! bounded and in order of time as far as their delays allow ([`Live`]). Must not know how lines travel.

mod live;
mod past;
mod position;

use std::sync::Arc;

use futures::{future::BoxFuture, stream::BoxStream};
use jiff::Timestamp;

use super::Error;

pub use self::{
    live::{Bounds, Live, NextEntry},
    past::Past,
    position::Position,
};

/// The maximum length of a line in bytes. A longer line is cut, and marked as cut.
pub const LONGEST_LINE: usize = 16 * 1024;

/// Reads logs of containers.
pub trait Logs: Send + Sync + 'static {
    /// Opens one log. The lines end at the end of the log or, with `follow`, when the container ends or the
    /// connection breaks.
    fn open(&self, wanted: LogRequest) -> BoxFuture<'_, Result<Lines, LogError>>;
}

/// Lines of one log, in the order in which they were written. An error is the last item.
pub type Lines = BoxStream<'static, Result<Line, Error>>;

/// A request for lines of one log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogRequest {
    /// Namespace of the pod.
    pub namespace: String,
    /// Its name.
    pub pod: Arc<str>,
    /// The container.
    pub container: Arc<str>,
    /// Whether to read the container before its last restart.
    pub previous: bool,
    /// Whether to continue with new lines.
    pub follow: bool,
    /// Only lines from this time on. Kubernetes uses whole seconds, so earlier lines of the same second may
    /// come.
    pub since: Option<Timestamp>,
    /// The maximum number of existing lines.
    pub tail: Option<u32>,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When it was written, by the clock of the node.
    pub time: Timestamp,
    /// The text without its line end. Invalid UTF-8 is replaced.
    pub text: String,
}

/// Why a log cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogError {
    /// There is nothing to read yet, with the message of Kubernetes.
    NotNow(String),
    /// The pod has no such container, with the message of Kubernetes.
    NoContainer(String),
    /// The pod does not exist any more.
    Gone,
    /// `gantryd` has its maximum number of logs open.
    Full {
        /// That number.
        open: usize,
    },
    /// The API server did not answer as expected.
    Failed(Error),
}

impl std::fmt::Display for LogError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotNow(said) | Self::NoContainer(said) => f.write_str(said),
            Self::Gone => f.write_str("the pod does not exist any more"),
            Self::Full { open } => {
                write!(f, "gantryd already has {open} logs open, the most that it allows at a time")
            }
            Self::Failed(error) => error.fmt(f),
        }
    }
}
