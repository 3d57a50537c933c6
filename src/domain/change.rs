//! The differences that a change makes: objects, and fields within them. They are stored with revisions, so
//! their JSON form must stay readable.

use serde::{Deserialize, Serialize};

/// A change of one object, or of one of its fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The object, for example `deployment.apps/shop`.
    pub object: String,
    /// The action on the object.
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
    /// Whether it replaces the replicas.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restarts: bool,
    /// Whether it is made only after the rollout succeeded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub after_success: bool,
}

/// An action on an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The object is created.
    Create,
    /// The object is changed.
    Update,
    /// The object is deleted.
    Delete,
}

// === impl Change ===

impl Change {
    /// Creates a change of a whole object.
    pub fn whole(object: String, action: Action) -> Self {
        let (path, old, new) = Default::default();
        Self { object, action, path, old, new, restarts: false, after_success: false }
    }
}
