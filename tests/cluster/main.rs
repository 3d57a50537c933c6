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

mod autoscaling;
mod blocked;
mod changing;
mod commands;
mod deploying;
mod diagnosing;
mod discovering;
mod documents;
mod external;
mod healthy;
mod interleaving;
mod keeping;
mod killing;
mod managed;
mod many;
mod outage;
mod owning;
mod placing;
mod planned;
mod planning;
mod proxy;
mod refusing;
mod repeating;
mod restarting;
mod restoring;
mod rights;
mod spec;
mod support;
mod texts;
mod timeline;
mod traps;
mod upgrading;
mod wrong;
