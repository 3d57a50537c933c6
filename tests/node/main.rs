//! Tests on a node with a real kubelet, containerd and runc: what a simulated pod is only told to do. Knows nothing of how the node is made.
//!
//! `make test-node` starts a cluster with one and runs them; tests/run-node says what it tells them. Each case leaves in `recorded/`, when
//! asked to, what the kubelet wrote about it, so that tests without a cluster read real words.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::large_futures, // a future here is a whole test, awaited once
    clippy::too_many_lines, // a table of cases is long
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm
)]

mod case;
mod config;
mod crashing;
mod draining;
mod images;
mod logs;
mod probes;
#[allow(dead_code, unused_imports)] // of the tests on simulated nodes, which use all of it
#[path = "../cluster/support.rs"]
mod support;
