//! Tests on a real Kubernetes API: the daemon and the command line as processes, each test in a separate
//! namespace.
//!
//! `make test-cluster` starts a cluster and runs them. The environment that it gives them is described in
//! tests/run-cluster.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::large_futures, // a helper holds the requests of several calls, and is awaited once
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
mod languages;
mod managed;
mod many;
mod outage;
mod owning;
mod placing;
mod planned;
mod planning;
mod ports;
mod proxy;
mod refusing;
mod repeating;
mod restarting;
mod restoring;
mod rights;
mod sameness;
mod slow;
mod spec;
mod specs;
mod support;
mod texts;
mod timeline;
mod traps;
mod upgrading;
mod wrong;
