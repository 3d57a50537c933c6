//! Tests on a real Kubernetes API: the daemon and the command line as processes, each test in a namespace of its own.
//!
//! `make test-cluster` starts a cluster and runs them; tests/run-cluster says what it tells them.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::too_many_lines, // a table of wrong calls is long
    clippy::unnecessary_wraps, // fields of messages are optional
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm
)]

mod blocked;
mod changing;
mod commands;
mod deploying;
mod diagnosing;
mod discovering;
mod external;
mod killing;
mod many;
mod outage;
mod proxy;
mod refusing;
mod restarting;
mod rights;
mod spec;
mod support;
mod traps;
mod wrong;
