//! Tests without a cluster: the daemon's services in this process with an index that is filled by hand, and
//! the dependency rules of `src/`.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm
)]

mod autoscaling;
mod backlog;
mod coverage;
mod daemon;
mod discovery;
mod documents;
mod errors;
mod history;
mod logging;
mod observing;
mod pod_states;
mod printed;
mod prose;
mod reading;
mod recorded;
mod reflection;
mod repeating;
mod shutdown;
mod support;
mod timeline;
mod turns;
mod waiting;
mod walls;
mod watching;
mod wire;
