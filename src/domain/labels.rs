//! Labels and annotations that Gantry sets, and which labels of an object belong to its callers.

use std::collections::BTreeMap;

/// Value of the label `app.kubernetes.io/managed-by` on objects that Gantry made.
pub const MANAGER: &str = "gantry";

/// The label that says who made an object.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";

/// The label that selects an app's pods. Callers cannot set it, and revisions do not carry it (see
/// [`REVISIONS_OF_LABEL`]).
pub const APP_LABEL: &str = "gantry.dev/app";

/// The label of an app's revisions. It differs from the label of the pods, so that no StatefulSet whose
/// selector matches the pods adopts the revisions.
pub const REVISIONS_OF_LABEL: &str = "gantry.dev/revisions-of";

/// The annotation of a Deployment with the number of the revision that was applied last.
pub const REVISION_ANNOTATION: &str = "gantry.dev/revision";

/// The annotation of a pod template with the time of the last restart. A new value replaces the replicas.
pub const RESTARTED_AT_ANNOTATION: &str = "gantry.dev/restarted-at";

/// Returns the labels of an object that callers set: all except those that Gantry and Kubernetes reserve.
pub fn caller_labels(labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    labels.iter().filter(|(key, _)| !is_reserved(key)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// Returns whether callers must not set this label.
pub fn is_reserved(key: &str) -> bool {
    ["app.kubernetes.io/name", MANAGED_BY_LABEL, "pod-template-hash"].contains(&key)
        || key.starts_with("gantry.dev/")
}

/// Field managers of Gantry and of the controllers of Kubernetes. A change by one of them is not a change
/// outside Gantry.
pub const KNOWN_FIELD_MANAGERS: [&str; 4] =
    ["gantry", "gantry-meta", "gantry-scale", "kube-controller-manager"];
