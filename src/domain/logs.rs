//! Logs of containers, as a trait: the side that answers callers asks for lines, the side that talks to
//! Kubernetes reads them. Beside it what is pure about logs: where a reader stands ([`Position`]), past lines
//! in the order of their time ([`Past`]), live lines in the same order as far as their delays allow, bounded
//! ([`Live`]). Must not know how lines travel.

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

/// Bytes of a line beyond which it is cut, and says so.
pub const LONGEST_LINE: usize = 16 * 1024;

/// Reads logs of containers.
pub trait Logs: Send + Sync + 'static {
    /// Opens one log. The lines end with the log; with `follow`, when its container ends, or when the
    /// connection does.
    fn open(&self, wanted: LogRequest) -> BoxFuture<'_, Result<Lines, LogError>>;
}

/// Lines of one log, in the order in which they were written. An error is the last item.
pub type Lines = BoxStream<'static, Result<Line, Error>>;

/// Which lines of which log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogRequest {
    /// Namespace of the pod.
    pub namespace: String,
    /// Its name.
    pub pod: Arc<str>,
    /// The container.
    pub container: Arc<str>,
    /// The one before its last restart.
    pub previous: bool,
    /// Go on with new lines.
    pub follow: bool,
    /// Only lines from this time on. Kubernetes counts whole seconds, so earlier ones of the same second may
    /// come.
    pub since: Option<Timestamp>,
    /// At most so many lines of what is there.
    pub tail: Option<u32>,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When it was written, by the clock of the node.
    pub time: Timestamp,
    /// The text, without the end of the line; what is not UTF-8 is replaced.
    pub text: String,
}

/// Why a log cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogError {
    /// There is nothing to read now, and there may be later: Kubernetes' words.
    NotNow(String),
    /// The pod has no such container: Kubernetes' words.
    NoContainer(String),
    /// There is no such pod any more.
    Gone,
    /// This server has as many logs open as it may.
    Full {
        /// How many.
        open: usize,
    },
    /// It was not answered as it should be.
    Failed(Error),
}

impl std::fmt::Display for LogError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotNow(said) | Self::NoContainer(said) => f.write_str(said),
            Self::Gone => f.write_str("there is no such pod any more"),
            Self::Full { open } => {
                write!(f, "this server reads {open} logs already, which is as many as it may at a time")
            }
            Self::Failed(error) => error.fmt(f),
        }
    }
}
