//! The autoscaler settings of a Deployment: the policy and a caller's hold, each in an annotation, and the
//! resource requests of its replicas. Must not know who reads or writes the Deployment.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    change::{Action, Change},
    quantity,
};
use crate::autoscale::{Hold, Mode, Policy};

/// The annotation of a Deployment with the policy of its autoscaler.
pub const AUTOSCALER_ANNOTATION: &str = "gantry.dev/autoscaler";

/// The annotation of a Deployment with a caller's hold.
pub const HOLD_ANNOTATION: &str = "gantry.dev/hold";

/// The autoscaler settings of a Deployment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scaling {
    /// The policy of its autoscaler; `None` if it never had one.
    pub policy: Option<Arc<Policy>>,
    /// A caller's hold over the autoscaler, which may have ended.
    pub hold: Option<Arc<Hold>>,
    /// The field manager that set the count, if it is neither Gantry nor one of Kubernetes' own controllers.
    pub set_outside: Option<Arc<str>>,
    /// The CPU request of a replica in cores; `None` if one of its containers has no request.
    pub cpu_request: Option<f64>,
    /// The memory request of a replica in bytes; `None` if one of its containers has no request.
    pub memory_request: Option<f64>,
}

// === impl Scaling ===

impl Scaling {
    /// Reads the annotations and the pod template of a Deployment, but not who set its count. An unreadable
    /// annotation counts as absent, because an autoscaler must not act on a policy that was not understood.
    pub fn read(annotations: Option<&BTreeMap<String, String>>, template: &Value) -> Self {
        Self {
            policy: read(annotations, AUTOSCALER_ANNOTATION),
            hold: read(annotations, HOLD_ANNOTATION),
            set_outside: None,
            cpu_request: request(template, "cpu"),
            memory_request: request(template, "memory"),
        }
    }

    /// Returns the policy in force. Without one it is the default policy, which is off.
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.clone().unwrap_or_default()
    }

    /// Returns whether Gantry's autoscaler controls the count at this time.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.policy.as_ref().is_some_and(|policy| policy.mode_at(now) == Mode::Active)
    }

    /// Returns the hold that overrides the autoscaler at this time.
    pub fn active_hold(&self, now: Timestamp) -> Option<&Arc<Hold>> {
        let owns = self.policy.as_ref().is_some_and(|policy| policy.owns_count(now));
        self.hold.as_ref().filter(|hold| owns && hold.holds(now))
    }

    /// Returns the hold for a count that was set outside Gantry, if the autoscaler would revert that count. A
    /// person who scales by hand means it. `length` is how long the hold lasts.
    ///
    /// If that hold already exists and is in force, it is returned again until Gantry owns the count.
    pub fn hold_for_outside_count(&self, replicas: i32, length: Duration, now: Timestamp) -> Option<Hold> {
        let (policy, by) = (self.policy.as_ref()?, self.set_outside.as_ref()?);
        if policy.mode_at(now) != Mode::Active {
            return None;
        }
        let same = |hold: &&Arc<Hold>| hold.actor == **by && hold.replicas == replicas;
        if let Some(hold) = self.active_hold(now).filter(same) {
            return Some((**hold).clone());
        }
        // The hold begins now, because Kubernetes does not record when a count was set through the scale
        // subresource.
        let until = now.checked_add(length).ok().filter(|until| *until > now)?;
        let reason = "the count was set outside Gantry, which counts as a hold".to_owned();
        Some(Hold { replicas, until, actor: by.to_string(), reason, since: now, generation: 0 })
    }

    /// Returns when control of the count changes without a write: at the end of a hold or of a freeze.
    pub fn changes_at(&self, now: Timestamp) -> Option<Timestamp> {
        let freeze = self.policy.as_ref().filter(|p| p.mode == Mode::Frozen).and_then(|p| p.freeze_end);
        let hold = self.active_hold(now).map(|hold| hold.until);
        [freeze.filter(|end| *end > now), hold].into_iter().flatten().min()
    }
}

fn read<T: DeserializeOwned>(annotations: Option<&BTreeMap<String, String>>, key: &str) -> Option<Arc<T>> {
    serde_json::from_str(annotations?.get(key)?).ok().map(Arc::new)
}

/// Returns the sum of the requests of the containers of a pod template. Init containers that keep running
/// count too. The other init containers have ended when use is measured.
fn request(template: &Value, resource: &str) -> Option<f64> {
    let spec = &template["spec"];
    let all = |key: &str| spec[key].as_array().into_iter().flatten();
    let sidecars = all("initContainers").filter(|c| c["restartPolicy"] == "Always");
    let mut sum = None;
    for container in all("containers").chain(sidecars) {
        let resources = &container["resources"];
        // Kubernetes uses the limit as the request where only the limit is set.
        let asked = [&resources["requests"][resource], &resources["limits"][resource]];
        let asked = asked.into_iter().find_map(Value::as_str).and_then(quantity::parse_quantity)?;
        sum = Some(sum.unwrap_or(0.0) + asked);
    }
    sum
}

/// Returns the changed fields of the policy, by their names in JSON.
pub fn policy_changes(id: &str, before: &Policy, after: &Policy) -> Vec<Change> {
    let fields = |policy: &Policy| serde_json::to_value(policy).unwrap_or_default();
    let (old, new) = (fields(before), fields(after));
    let all =
        |value: &Value| value.as_object().into_iter().flatten().map(|(k, _)| k.clone()).collect::<Vec<_>>();
    let mut keys = [all(&old), all(&new)].concat();
    keys.sort();
    keys.dedup();
    let text = |value: &Value| if value.is_null() { String::new() } else { value.to_string() };
    let change = |key: String| {
        (old[&key] != new[&key]).then(|| Change {
            path: format!("metadata.annotations[{AUTOSCALER_ANNOTATION}].{key}"),
            old: text(&old[&key]),
            new: text(&new[&key]),
            ..Change::whole(id.to_owned(), Action::Update)
        })
    };
    keys.into_iter().filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::autoscale::Signal;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn mk_annotations(policy: &str, hold: &str) -> BTreeMap<String, String> {
        [(AUTOSCALER_ANNOTATION.to_owned(), policy.to_owned()), (HOLD_ANNOTATION.to_owned(), hold.to_owned())]
            .into()
    }

    #[test]
    fn requests_of_all_containers_add_up() {
        let template = json!({"spec": {
            "containers": [
                {"resources": {"requests": {"cpu": "250m", "memory": "1Gi"}}},
                {"resources": {"limits": {"cpu": "1"}}},
            ],
            "initContainers": [
                {"resources": {"requests": {"cpu": "8"}}},
                {"restartPolicy": "Always", "resources": {"requests": {"cpu": "0.5"}}},
            ],
        }});
        let scaling = Scaling::read(None, &template);
        assert_eq!((scaling.cpu_request, scaling.memory_request), (Some(1.75), None));
        assert_eq!(Scaling::read(None, &Value::Null), Scaling::default());
    }

    #[test]
    fn a_count_set_past_this_server_counts_as_a_hold_and_for_a_time() {
        let taken = |policy: &str, hold: &str, by: Option<&str>, length, now| {
            let read = Scaling::read(Some(&mk_annotations(policy, hold)), &Value::Null);
            let scaling = Scaling { set_outside: by.map(Into::into), ..read };
            scaling.hold_for_outside_count(7, Duration::from_secs(length), at(now))
        };
        let active = r#"{"mode": "ACTIVE", "max": 3}"#;
        let hold = taken(active, "", Some("kubectl"), 60, 20).unwrap();
        assert_eq!(
            (hold.replicas, hold.actor.as_str(), hold.since, hold.until),
            (7, "kubectl", at(20), at(80))
        );
        let text = serde_json::to_string(&hold).unwrap();
        assert_eq!(
            taken(active, &text, Some("kubectl"), 60, 25),
            Some(hold.clone()),
            "the hold is not extended"
        );
        let other = text.replace("kubectl", "ann");
        assert_eq!(
            taken(active, &other, Some("kubectl"), 60, 25).unwrap().until,
            at(85),
            "the latest count wins"
        );
        assert_eq!(taken(active, "", None, 60, 20), None, "Gantry set the count");
        assert_eq!(taken(active, "", Some("kubectl"), 0, 20), None, "a length of zero makes no hold");
        assert_eq!(
            taken(r#"{"mode": "SHADOW", "max": 3}"#, "", Some("kubectl"), 60, 20),
            None,
            "the autoscaler would not revert it"
        );
    }

    #[test]
    fn what_is_not_understood_does_not_act() {
        for policy in ["", "{", r#"{"mode": "TURBO"}"#, r#"{"mode": "ACTIVE", "targets": [{"gpu": 1}]}"#] {
            let scaling = Scaling::read(Some(&mk_annotations(policy, "{")), &Value::Null);
            assert_eq!(scaling, Scaling::default(), "{policy}");
        }
    }

    #[test]
    fn a_hold_stands_over_an_autoscaler_alone_and_ends() {
        let hold = r#"{"replicas": 3, "until": "1970-01-01T00:01:00Z", "actor": "ann", "since": "1970-01-01T00:00:00Z"}"#;
        let read = |policy: &str| Scaling::read(Some(&mk_annotations(policy, hold)), &Value::Null);
        let active = read(r#"{"mode": "ACTIVE", "max": 3}"#);
        assert_eq!(active.active_hold(at(59)).map(|hold| hold.replicas), Some(3));
        assert_eq!(
            (active.active_hold(at(60)), active.changes_at(at(0)), active.changes_at(at(60))),
            (None, Some(at(60)), None)
        );
        assert_eq!(read(r#"{"mode": "SHADOW", "max": 3}"#).active_hold(at(0)), None);
        let frozen = read(r#"{"mode": "FROZEN", "max": 3, "freezeEnd": "1970-01-01T00:00:30Z"}"#);
        assert_eq!(
            (frozen.changes_at(at(0)), frozen.is_active(at(29)), frozen.is_active(at(30))),
            (Some(at(30)), false, true)
        );
    }

    #[test]
    fn changes_are_told_field_by_field() {
        let after =
            Policy { mode: Mode::Active, max: 5, targets: vec![Signal::CpuPercent(60)], ..Policy::default() };
        let told: Vec<_> = policy_changes("deployment.apps/shop", &Policy::default(), &after)
            .into_iter()
            .map(|c| (c.path.rsplit('.').next().unwrap_or_default().to_owned(), c.old, c.new))
            .collect();
        let expected = [
            ("max", "0", "5"),
            ("mode", "\"OFF\"", "\"ACTIVE\""),
            ("targets", "[]", "[{\"cpuPercent\":60}]"),
        ];
        let expected: Vec<_> = expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())).into();
        assert_eq!(told, expected);
        assert!(policy_changes("x", &after, &after).is_empty());
    }
}
