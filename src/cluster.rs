//! All talk with Kubernetes: the client, the watches that feed the index, and the writes. Must not know gRPC.

pub mod act;
pub mod audit;
pub mod client;
pub mod decode;
mod error;
mod feeds;
pub mod lease;
pub mod link;
pub mod logs;
mod tail;
pub mod usage;
pub mod watch;
mod yaml;

pub use self::{act::Actor, client::Cluster};
