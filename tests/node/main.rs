//! Tests on a node with a real kubelet, containerd and runc, for behaviour that a simulated pod only
//! imitates. Knows nothing of how the node is made.
//!
//! `make test-node` starts a cluster with such a node and runs them. The environment that it gives them is
//! described in tests/run-node. With RECORD=1 each case writes to `recorded/` what the kubelet wrote about
//! it, so that tests without a cluster read real messages.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::large_futures, // a future here is a whole test, awaited once
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
mod starting;
#[allow(dead_code, unused_imports)] // of the tests on simulated nodes, which use all of it
#[path = "../cluster/support.rs"]
mod support;
