//! The rule of `AppSpec.replicas`: who may set the replica count, and what an apply must contain so that it
//! never resets a count that another field manager owns.

/// The replica count before a deploy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicasField<'a> {
    /// The current count; `None` for a new app.
    pub live: Option<i32>,
    /// Field managers that own `spec.replicas` of the Deployment, including those that set it through the
    /// scale subresource.
    pub owners: &'a [String],
}

/// What a deploy does with the replica count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Applies the count.
    Apply {
        /// The count.
        replicas: i32,
        /// Takes it over from another field manager, because the caller named the field.
        force: bool,
    },
    /// Leaves the field out of the apply, because another field manager owns it.
    Leave {
        /// The count in the spec that is not applied, if it differs from the current one.
        ignored: Option<i32>,
    },
}

/// Decides for one deploy. `wanted` is the count of the new content. `named` says that `update_mask` names
/// the field. `ours` is Gantry's field manager.
pub fn decide_replicas(count: &ReplicasField<'_>, wanted: Option<i32>, named: bool, ours: &str) -> Decision {
    let Some(live) = count.live else {
        return Decision::Apply { replicas: wanted.unwrap_or(1), force: false };
    };
    let owned_by_other = count.owners.iter().any(|owner| owner != ours);
    if named && let Some(replicas) = wanted {
        return Decision::Apply { replicas, force: owned_by_other };
    }
    if owned_by_other {
        return Decision::Leave { ignored: wanted.filter(|w| *w != live) };
    }
    // Gantry is the sole owner, so leaving the field out would reset it to Kubernetes' default of 1.
    Decision::Apply { replicas: wanted.unwrap_or(live), force: false }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn owners(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    #[test]
    fn a_new_app_gets_what_it_asks_for_or_one() {
        let count = ReplicasField { live: None, owners: &[] };
        assert_eq!(
            decide_replicas(&count, None, false, "gantry"),
            Decision::Apply { replicas: 1, force: false }
        );
        assert_eq!(
            decide_replicas(&count, Some(0), false, "gantry"),
            Decision::Apply { replicas: 0, force: false }
        );
    }

    proptest! {
        #[test]
        fn what_somebody_else_set_stays_unless_named(live in 0..100, wanted in proptest::option::of(0..100), ours_too: bool) {
            let names = if ours_too { owners(&["gantry", "kubectl"]) } else { owners(&["kubectl"]) };
            let count = ReplicasField { live: Some(live), owners: &names };
            let left = matches!(decide_replicas(&count, wanted, false, "gantry"), Decision::Leave { .. });
            prop_assert!(left);
            if let Some(replicas) = wanted {
                prop_assert_eq!(decide_replicas(&count, wanted, true, "gantry"), Decision::Apply { replicas, force: true });
            }
        }

        #[test]
        fn without_a_count_in_the_spec_ours_stays_what_it_is(live in 0..100, named: bool) {
            let names = owners(&["gantry"]);
            let count = ReplicasField { live: Some(live), owners: &names };
            prop_assert_eq!(decide_replicas(&count, None, named, "gantry"), Decision::Apply { replicas: live, force: false });
        }
    }
}
