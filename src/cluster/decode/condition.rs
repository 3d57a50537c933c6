//! Conditions, as the status of Deployments, ReplicaSets, pods and nodes has them.

use jiff::Timestamp;

use super::slim;

slim! {
    pub(super) struct Condition {
        pub(super) r#type: String,
        pub(super) status: String,
        pub(super) reason: String,
        pub(super) message: String,
        pub(super) last_update_time: Option<Timestamp>,
        pub(super) last_transition_time: Option<Timestamp>,
    }
}

/// Returns the condition of this type, if it has this status.
pub(super) fn find_condition<'a>(all: &'a [Condition], kind: &str, status: &str) -> Option<&'a Condition> {
    all.iter().find(|c| c.r#type == kind && c.status == status)
}
