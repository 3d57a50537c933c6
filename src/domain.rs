//! Pure data and functions: names, specs, observed rows, diagnosis, rollouts and plans.
//!
//! This module must not depend on Kubernetes clients, gRPC, clocks or any I/O. Callers pass in the time, and
//! manifests are returned as JSON values.

pub mod annotations;
pub mod api_texts;
pub mod app;
pub mod caller;
pub mod change;
pub mod check;
pub mod checks;
pub mod commands;
pub mod diagnosis;
pub mod diff;
mod digest;
pub mod endpoint;
pub mod error;
pub mod evidence;
pub mod fields_v1;
pub mod image;
pub mod keyed_lists;
pub mod labels;
pub mod logs;
pub mod managed;
pub mod manifest;
pub mod mask;
pub mod name;
pub mod object;
pub mod observed;
pub mod plan;
pub mod pod_template_patch;
pub mod problem;
pub mod quantity;
pub mod replica;
pub mod replica_ownership;
pub mod replica_state;
pub mod revision;
pub mod rollout;
pub mod scaling;
pub mod scheduling;
pub mod selector;
pub mod service_ports;
pub mod similar;
pub mod spec;
pub mod timeline;
pub mod unmodelled;

pub use self::error::Error;
