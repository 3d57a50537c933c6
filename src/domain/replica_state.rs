//! Where a replica stands. Pure; knows no pod.

use serde::{Deserialize, Serialize};

/// Where a replica stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waits for a node.
    Pending,
    /// On a node, not ready yet.
    Starting,
    /// Takes traffic.
    Ready,
    /// Running, fails its readiness probe after having passed it.
    Unready,
    /// Cannot start or keeps crashing.
    Failing,
    /// Told to stop, finishes what it has.
    Draining,
}
