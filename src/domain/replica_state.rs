//! The states of a replica. Pure; knows no pod.

use serde::{Deserialize, Serialize};

/// The state of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waits for a node.
    Pending,
    /// On a node, but not ready yet.
    Starting,
    /// Takes traffic.
    Ready,
    /// Running, but fails its readiness probe after having passed it.
    Unready,
    /// Cannot start or keeps crashing.
    Failing,
    /// Asked to stop; finishes its current work.
    Draining,
}
