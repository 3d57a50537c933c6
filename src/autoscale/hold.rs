//! A hold: a replica count set by a caller that overrides the autoscaler until a given time. It is stored as
//! an annotation of the Deployment (`domain::scaling::HOLD_ANNOTATION`), which this file must not know.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A replica count that a caller sets for a limited time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// The replica count.
    pub replicas: i32,
    /// When the autoscaler takes over again.
    pub until: Timestamp,
    /// The Kubernetes user who set the hold.
    pub actor: String,
    /// The reason that the caller gave.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When it began.
    pub since: Timestamp,
    /// `metadata.generation` of the Deployment when the hold was stored, which is before `spec.replicas` is
    /// set. 0 means unknown, or that the hold was created for a count that was set outside Gantry.
    #[serde(default)]
    pub generation: i64,
}

/// The current `spec.replicas` and what is known about its last write. It decides whether the count of a hold
/// must still be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaCount {
    /// The replica count.
    pub replicas: i32,
    /// The latest time in the managed fields of an owner of `spec.replicas`, in whole seconds. `None` if no
    /// field manager owns it; the Unix epoch if the entry has no time, as for the scale subresource.
    pub set: Option<Timestamp>,
    /// Whether it was last set outside Gantry.
    pub set_outside: bool,
    /// Generation of the Deployment. Setting a count increases it.
    pub generation: i64,
}

// === impl Hold ===

impl Hold {
    /// Returns whether the hold is in force at this time.
    pub fn holds(&self, now: Timestamp) -> bool {
        now < self.until
    }

    /// Returns whether the hold's count was never set. The hold is stored before the count is set, and the
    /// daemon may have ended in between.
    pub fn needs_apply(&self, count: ReplicaCount, now: Timestamp) -> bool {
        let later = count.set.is_some_and(|at| at.as_second() >= self.since.as_second());
        // A new generation alone proves nothing, because a deploy increases it too and sets no count. An
        // unchanged generation proves that the count was not set.
        let set_since = (later || count.set_outside) && count.generation != self.generation;
        self.holds(now) && count.replicas != self.replicas && !set_since
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    proptest! {
        #[test]
        fn a_hold_survives_being_written_down(replicas in 0..10_000, since in 0i64..1_000_000, length in 1i64..2_592_000, reason in ".{0,20}") {
            let hold = Hold { replicas, since: at(since), until: at(since + length), actor: "ann".into(), reason, generation: since };
            let text = serde_json::to_string(&hold).unwrap();
            prop_assert_eq!(serde_json::from_str::<Hold>(&text).unwrap(), hold);
        }

        #[test]
        fn it_is_finished_by_others_only_while_it_holds_and_nobody_set_a_count_since(
            is in 0..5, wanted in 0..5, set in proptest::option::of(0i64..20), set_outside in any::<bool>(), generation in 1i64..4, now in 0i64..20,
        ) {
            let hold = Hold { replicas: wanted, since: at(5), until: at(15), actor: String::new(), reason: String::new(), generation: 2 };
            let due = now < 15 && is != wanted && (generation == 2 || (!set_outside && set.is_none_or(|set| set < 5)));
            let count = ReplicaCount { replicas: is, set: set.map(at), set_outside, generation };
            prop_assert_eq!(hold.needs_apply(count, at(now)), due);
        }
    }
}
