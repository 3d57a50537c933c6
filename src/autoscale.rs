//! The autoscaler's decisions: pure functions from measurements to a replica count, with the limits that
//! affected it.
//!
//! Owns the policy, the rate law, the decision with its record and its explanation, and the load that callers
//! report. Forecasts, their margins and the simulation will be added here. Must not know Kubernetes, gRPC,
//! tasks, files or a clock: time and state are arguments, and results are returned. This is why a recorded
//! decision can be replayed bit for bit.
//!
//! ```text
//! figures, usage --measure--> Evaluation --decide--> Verdict --explain--> one sentence
//! ```

mod decision;
mod explain;
mod hold;
mod load_figures;
mod measurement;
mod policy;
mod rate_law;

pub use self::{
    decision::{Evaluation, Memory, Outcome, Verdict},
    hold::{Hold, ReplicaCount},
    load_figures::{LoadFigure, LoadFigures, RejectedFigure},
    measurement::{Measurement, Missing, PodUsage, Replica, Source, Start, measure_cpu_and_memory},
    policy::{Field, Forecast, Mode, Policy, PolicyChange, RuleViolation, Signal},
    rate_law::{AppliedLimit, Limit, Observation, RateLaw, State, Step},
};
