//! All communication with Kubernetes: the client, the watches that feed the index, and the writes. Must not
//! know gRPC.

pub mod api_health;
mod apply_body;
pub mod client;
pub mod decode;
mod error;
mod last_log_lines;
pub mod lease;
pub mod logs;
pub mod metrics_api;
pub mod watch;
pub mod watch_audit;
mod watch_status;
pub mod writer;

pub use self::{client::Cluster, writer::Writer};
