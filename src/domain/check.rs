//! What was looked at before a change, and how it came out. Decides nothing.

/// One thing that was checked before anything is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was checked.
    pub kind: Kind,
    /// How it came out.
    pub result: Finding,
    /// What was found and what to do, in one sentence each.
    pub message: String,
    /// Kubernetes object it concerns; empty for the change as a whole.
    pub object: String,
}

/// Kinds of checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whether the count in the spec is applied, and if not, who owns it.
    Replicas,
    /// Whether the API server takes the objects.
    Admission,
    /// Whether another field manager owns what would be set.
    FieldOwnership,
    /// Whether the caller may do each write.
    Permission,
    /// What became of the same content before.
    History,
    /// Whether what the replicas refer to exists.
    References,
    /// Whether quotas and limits of the namespace leave room.
    Quota,
    /// Whether the replicas fit onto the nodes.
    Fit,
    /// Whether budgets let replicas be evicted.
    Disruption,
    /// What autoscalers make of the change.
    Autoscaler,
    /// Whether the images have names that a registry can have, and whether nodes have them.
    Image,
}

/// How a check came out, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// Will not work.
    Fail,
    /// Will work, but look at it.
    Warn,
    /// Could not be checked.
    Skipped,
    /// In order.
    Pass,
}

// === impl Check ===

impl Check {
    /// A check of the change as a whole.
    pub fn new(kind: Kind, result: Finding, message: impl Into<String>) -> Self {
        Self { kind, result, message: message.into(), object: String::new() }
    }

    /// A check of one object.
    #[must_use]
    pub fn of(self, object: impl Into<String>) -> Self {
        Self { object: object.into(), ..self }
    }
}

// === impl Kind ===

impl Kind {
    /// The name as the API writes it.
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
        }
    }
}
