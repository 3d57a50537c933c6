//! Gantry: deploys, scales, watches and discovers applications on Kubernetes for callers in any language.
//!
//! Data flows one way:
//!
//! ```text
//! kube watch -> cluster::watch -> index (rows, synchronous) -> subscription per app -> grpc stream -> client
//! client -> grpc (parse) -> domain (plan, pure) -> cluster::writer (server-side apply) -> Kubernetes
//! ```
//!
//! [`domain`] and [`autoscale`] are pure, and [`index`] is synchronous. Only [`cluster`] talks to Kubernetes,
//! only [`grpc`] talks to callers, and only [`runtime`] knows all modules. [`metrics`] counts what they do.
//! `tests/it/walls.rs` enforces this.

pub mod autoscale;
pub mod cluster;
pub mod domain;
pub mod grpc;
pub mod index;
pub mod metrics;
pub mod pb;
pub mod runtime;
