//! Gantry: deploys, scales, watches and discovers applications on Kubernetes for callers in any language.
//!
//! Data flows one way:
//!
//! ```text
//! kube watch -> cluster::watch -> index (rows, synchronous) -> subscription per app -> grpc stream -> client
//! client -> grpc (parse) -> domain (plan, pure) -> cluster::writer (server-side apply) -> Kubernetes
//! ```
//!
//! [`domain`] and [`autoscale`] are pure, [`index`] is synchronous, [`cluster`] alone talks to Kubernetes, [`grpc`] alone
//! talks to callers, and [`runtime`] is the only module that knows all of them; [`metrics`] counts what they do. `tests/it/walls.rs` keeps it so.

pub mod autoscale;
pub mod cluster;
pub mod domain;
pub mod grpc;
pub mod index;
pub mod metrics;
pub mod pb;
pub mod runtime;
