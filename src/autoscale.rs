//! The autoscaler's decisions: pure functions from what was measured to a replica count and the limits that shaped it.
//!
//! Owns the policy, the rate law, the decision with its record and its sentence, and the figures that callers report; the forecasts, their
//! margins and the simulation come to live beside them. Must not know Kubernetes, gRPC, tasks, files or a clock: time and state come in as
//! arguments and go out as results. That is what makes a recorded decision replay bit for bit.
//!
//! ```text
//! figures, usage --reading--> Evaluation --decide--> Verdict --words--> one sentence
//! ```

mod decision;
mod figures;
mod hold;
mod law;
mod policy;
mod reading;
mod words;

pub use self::{
    decision::{Evaluation, Memory, Outcome, Verdict},
    figures::{Figure, Figures, Refused},
    hold::{Count, Hold},
    law::{Law, Limit, Limited, Observation, State, Step},
    policy::{Change, Field, Forecast, Mode, Policy, Signal, Wrong},
    reading::{Gap, Reading, Replica, Source, Start, Usage, cpu_and_memory},
};
