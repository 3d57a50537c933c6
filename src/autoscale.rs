//! The autoscaler's decisions: pure functions from what was measured to a replica count and the limits that
//! shaped it.
//!
//! Owns the policy, the rate law, the decision with its record and its sentence, and the figures that callers
//! report; the forecasts, their margins and the simulation come to live beside them. Must not know
//! Kubernetes, gRPC, tasks, files or a clock: time and state come in as arguments and go out as results. That
//! is what makes a recorded decision replay bit for bit.
//!
//! ```text
//! figures, usage --reading--> Evaluation --decide--> Verdict --words--> one sentence
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
