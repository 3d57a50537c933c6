//! The autoscaler's decisions: pure functions from what was measured to a replica count and the limits that shaped it.
//!
//! Owns the rate law now; the estimate of demand, the margin, the decision record, its replay and the simulation come to live beside it.
//! Must not know Kubernetes, gRPC, tasks, files or a clock: time and state come in as arguments and go out as results. That is what makes a
//! recorded decision replay bit for bit.

mod law;

pub use law::{Hold, Law, Limit, Limited, Observation, Step};
