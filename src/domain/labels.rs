//! Labels and annotations that Gantry sets, and which of an object's labels are its callers'.

use std::collections::BTreeMap;

/// Value of the label `app.kubernetes.io/managed-by` on what Gantry made.
pub const MANAGER: &str = "gantry";

/// The label that says who made an object.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";

/// The label that selects an app's pods. Callers cannot set it, and revisions do not carry it (see
/// [`REVISIONS_OF_LABEL`]).
pub const APP_LABEL: &str = "gantry.dev/app";

/// The label of an app's revisions. Another one than the pods', so that no StatefulSet whose selector matches
/// our pods can adopt our revisions.
pub const REVISIONS_OF_LABEL: &str = "gantry.dev/revisions-of";

/// The annotation of a Deployment that says which revision was applied last.
pub const REVISION_ANNOTATION: &str = "gantry.dev/revision";

/// The annotation of a pod template that replaces the replicas when it changes: when they were last told to
/// restart.
pub const RESTARTED_AT_ANNOTATION: &str = "gantry.dev/restarted-at";

/// The labels of an object that its callers set: without those that this server and Kubernetes keep for
/// themselves.
pub fn caller_labels(labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    labels.iter().filter(|(key, _)| !is_reserved(key)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// Whether callers may not set this label.
pub fn is_reserved(key: &str) -> bool {
    ["app.kubernetes.io/name", MANAGED_BY_LABEL, "pod-template-hash"].contains(&key)
        || key.starts_with("gantry.dev/")
}

/// Field managers of this server and of Kubernetes' own controllers: what they set is no change outside
/// Gantry.
pub const KNOWN_FIELD_MANAGERS: [&str; 4] =
    ["gantry", "gantry-meta", "gantry-scale", "kube-controller-manager"];
