//! What Gantry is about, as pure data and functions: names, specs, observed rows, diagnosis, rollouts, plans.
//!
//! Must not know Kubernetes clients, gRPC, clocks or any I/O: time comes in as an argument, manifests go out as JSON values.

pub mod act;
pub mod app;
pub mod change;
pub mod check;
pub mod diagnosis;
pub mod diff;
mod digest;
pub mod endpoint;
pub mod error;
pub mod evidence;
pub mod image;
pub mod labels;
pub mod lists;
pub mod logs;
pub mod managed;
pub mod manifest;
pub mod mask;
pub mod name;
pub mod observed;
pub mod ownership;
pub mod patch;
pub mod placement;
pub mod plan;
pub mod problem;
pub mod prospect;
pub mod quantity;
pub mod replica;
pub mod replicas;
pub mod revision;
pub mod rollout;
pub mod scaling;
pub mod selector;
pub mod spec;
pub mod timeline;
pub mod unmodelled;

pub use self::error::Error;
