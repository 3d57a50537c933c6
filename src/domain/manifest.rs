//! From content to Kubernetes manifests, as JSON. A pure function of content and [`super::revision::RENDERER`]: the same content rendered by
//! another daemon of the same renderer version gives the same bytes, so an upgrade replaces no pod.

use std::collections::BTreeMap;

mod owned;
mod template;
mod volume;

use jiff::Timestamp;
use serde_json::{Value, json};

use self::template::render_template;
use super::{
    labels::{MANAGED_BY, MANAGER},
    name, pod_template_patch,
    spec::{Content, Port, Protocol, Strategy, whole_seconds},
};

/// The label that selects an app's pods. Callers cannot set it, and revisions do not carry it (see [`REVISIONS_OF`]).
pub const APP_LABEL: &str = "gantry.dev/app";

/// The label of an app's revisions. Another one than the pods', so that no StatefulSet whose selector matches our pods can
/// adopt our revisions.
pub const REVISIONS_OF: &str = "gantry.dev/revisions-of";

/// The annotation of a Deployment that says which revision was applied last.
pub const REVISION: &str = "gantry.dev/revision";

/// The annotation of a pod template that replaces the replicas when it changes: when they were last told to restart.
pub const RESTARTED: &str = "gantry.dev/restarted-at";

/// What a Deployment is rendered with besides its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Number of the revision.
    pub revision: u64,
    /// The count; left out where others own it.
    pub replicas: Option<i32>,
    /// Labels that select the pods.
    pub selector: BTreeMap<String, String>,
    /// When the replicas were last told to restart.
    pub restarted: Option<Timestamp>,
}

/// One object to apply.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// What it is.
    pub kind: Kind,
    /// The whole manifest.
    pub manifest: Value,
}

/// Kinds of objects that make an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// apps/v1 Deployment.
    Deployment,
    /// v1 Service.
    Service,
    /// policy/v1 PodDisruptionBudget.
    Budget,
}

// === impl Kind ===

impl Kind {
    /// How the API writes it in front of an object's name.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Deployment => "deployment.apps",
            Self::Service => "service",
            Self::Budget => "poddisruptionbudget.policy",
        }
    }

    /// Group and resource as Kubernetes' authorization names them.
    pub const fn resource(self) -> (&'static str, &'static str) {
        match self {
            Self::Deployment => ("apps", "deployments"),
            Self::Service => ("", "services"),
            Self::Budget => ("policy", "poddisruptionbudgets"),
        }
    }

    /// The app's object of this kind as the API writes it, for example `service/shop`.
    pub fn object_of(self, app: &name::App) -> String {
        format!("{}/{}", self.prefix(), app.app)
    }
}

/// Labels of every object of an app: the caller's and ours.
fn labels(name: &name::App, content: &Content) -> BTreeMap<String, String> {
    let mut labels = content.labels.clone();
    labels.insert("app.kubernetes.io/name".to_owned(), name.app.clone());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels.insert(APP_LABEL.to_owned(), name.app.clone());
    labels
}

/// The Deployment.
pub fn render_deployment(
    name: &name::App,
    content: &Content,
    frame: &Frame,
) -> Result<Object, pod_template_patch::Invalid> {
    let policy = content.spec.policy();
    let mut annotations = content.annotations.clone();
    annotations.insert(REVISION.to_owned(), frame.revision.to_string());
    let strategy = match policy.strategy {
        Strategy::Rolling => json!({"type": "RollingUpdate", "rollingUpdate": {
            "maxSurge": int_or_percent(&policy.max_surge), "maxUnavailable": int_or_percent(&policy.max_unavailable)}}),
        Strategy::Recreate => json!({"type": "Recreate"}),
    };
    let mut spec = json!({
        "selector": {"matchLabels": frame.selector},
        "strategy": strategy,
        "progressDeadlineSeconds": whole_seconds(policy.progress_timeout).max(1),
        "template": render_template(name, content, frame)?,
    });
    if let Some(replicas) = frame.replicas {
        spec["replicas"] = json!(replicas);
    }
    let manifest = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name.app, "namespace": name.namespace, "labels": labels(name, content), "annotations": annotations},
        "spec": spec,
    });
    Ok(Object { kind: Kind::Deployment, manifest })
}

/// The Service, for an app with ports. `taken` are ports that others put into it: those stay theirs, and so do their names.
pub fn render_service(
    name: &name::App,
    content: &Content,
    selector: &BTreeMap<String, String>,
    taken: &[(String, u16)],
) -> Option<Object> {
    if content.spec.ports.is_empty() {
        return None;
    }
    let free = |p: &&Port| !taken.iter().any(|(name, number)| *name == p.name || *number == p.number);
    let ports: Vec<Value> = content
        .spec
        .ports
        .iter()
        .filter(free)
        .map(|p| {
            let mut port = json!({"name": p.name, "port": p.number, "targetPort": p.name, "protocol": "TCP"});
            match p.protocol {
                Protocol::Tcp => {}
                Protocol::Http => port["appProtocol"] = json!("http"),
                Protocol::Grpc => port["appProtocol"] = json!("kubernetes.io/h2c"),
            }
            port
        })
        .collect();
    let manifest = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name.app, "namespace": name.namespace, "labels": labels(name, content)},
        "spec": {"selector": selector, "ports": ports},
    });
    Some(Object { kind: Kind::Service, manifest })
}

/// The budget: one replica at a time may be evicted, unhealthy ones always.
pub fn render_budget(name: &name::App, content: &Content, selector: &BTreeMap<String, String>) -> Object {
    let manifest = json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name.app, "namespace": name.namespace, "labels": labels(name, content)},
        "spec": {"selector": {"matchLabels": selector}, "maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow"},
    });
    Object { kind: Kind::Budget, manifest }
}

/// `25%` stays a text, `3` becomes a number, as Kubernetes' IntOrString wants it.
fn int_or_percent(text: &str) -> Value {
    text.parse::<u32>().map_or_else(|_| json!(text), |n| json!(n))
}

#[cfg(test)]
mod tests;
