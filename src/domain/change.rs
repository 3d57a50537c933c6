//! What differs after a change: objects, and fields within them. Kept with revisions for ever.

use serde::{Deserialize, Serialize};

/// A change of one object, or of one field of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The object, for example `deployment.apps/shop`.
    pub object: String,
    /// What is done to it.
    pub action: Action,
    /// Path within the object; empty for a whole object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Value before, as JSON; empty if there was none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub old: String,
    /// Value after, as JSON; empty if there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub new: String,
    /// It replaces the replicas.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restarts: bool,
}

/// What is done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is new.
    Create,
    /// It changes.
    Update,
    /// It goes.
    Delete,
}

// === impl Change ===

impl Change {
    /// A change of a whole object.
    pub fn whole(object: String, action: Action) -> Self {
        Self { object, action, path: String::new(), old: String::new(), new: String::new(), restarts: false }
    }
}
