//! The timeline of an app: what identifies an entry, the order of entries, and the position of a reader.
//! Pure, so that tests can try every interruption and resumption. Must not know where entries are stored.

pub mod order;
mod position;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

pub use self::position::{Place, Position};

/// Identifies an entry. An entry read from the cluster gets the same mark in every `gantryd`, each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark {
    /// When it happened.
    pub time: Timestamp,
    /// The digest of its key.
    pub id: u64,
}

// === impl Mark ===

impl Mark {
    /// Creates the mark of the entry with this key.
    pub fn new(time: Timestamp, key: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(key).into();
        let id = digest.iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte));
        Self { time, id }
    }
}
