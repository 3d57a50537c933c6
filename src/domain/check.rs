//! A check made before a change, and its result. Decides nothing.

/// One check made before a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was checked.
    pub kind: Kind,
    /// Its result.
    pub result: Finding,
    /// What was found and what to do, one sentence each.
    pub message: String,
    /// The Kubernetes object that it is about; empty for the change as a whole.
    pub object: String,
}

/// Kinds of checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whether the replica count of the spec is applied, and if not, who owns it.
    Replicas,
    /// Whether the API server admits the objects.
    Admission,
    /// Whether another field manager owns fields that would be set.
    FieldOwnership,
    /// Whether the caller may do each write.
    Permission,
    /// How earlier rollouts of the same content ended.
    History,
    /// Whether the objects that the replicas refer to exist.
    References,
    /// Whether quotas and limits of the namespace leave room.
    Quota,
    /// Whether the replicas fit onto the nodes.
    Fit,
    /// Whether disruption budgets allow evictions.
    Disruption,
    /// How autoscalers react to the change.
    Autoscaler,
    /// Whether the image names are valid, and whether nodes have the images.
    Image,
    /// Whether environment variables refer to others that are there, and come after them.
    Env,
}

/// The result of a check, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// Will not work.
    Fail,
    /// Will work, but needs attention.
    Warn,
    /// Was not checked.
    Skipped,
    /// No problem found.
    Pass,
}

// === impl Check ===

impl Check {
    /// Creates a check of the change as a whole.
    pub fn new(kind: Kind, result: Finding, message: impl Into<String>) -> Self {
        Self { kind, result, message: message.into(), object: String::new() }
    }

    /// Makes it a check of one object.
    #[must_use]
    pub fn of(self, object: impl Into<String>) -> Self {
        Self { object: object.into(), ..self }
    }
}

// === impl Kind ===

impl Kind {
    /// Returns the name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Replicas => "REPLICAS",
            Self::Admission => "ADMISSION",
            Self::FieldOwnership => "FIELD_OWNERSHIP",
            Self::Permission => "PERMISSION",
            Self::History => "HISTORY",
            Self::References => "REFERENCES",
            Self::Quota => "QUOTA",
            Self::Fit => "FIT",
            Self::Disruption => "DISRUPTION",
            Self::Autoscaler => "AUTOSCALER",
            Self::Image => "IMAGE",
            Self::Env => "ENV",
        }
    }
}
