//! Renders content into Kubernetes manifests, as JSON. A pure function of the content and the version of the
//! renderer that the revision names, see [`super::revision::RENDERER`]: another daemon with the same renderer
//! version renders the same content to the same bytes, so an upgrade replaces no pod.

use std::collections::BTreeMap;

mod owned;
mod template;
pub mod variables;
mod volume;

use serde_json::{Value, json};

pub(in crate::domain) use self::owned::owned_fields;
use self::template::app_labels;
pub use self::template::{RenderContext, render_template};
use super::{
    labels::REVISION_ANNOTATION,
    name,
    object::Kind,
    pod_template_patch,
    service_ports::{Entry, Target},
    spec::{Content, Protocol, Strategy, canonical_size, whole_seconds},
};

/// One object to apply.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Its kind.
    pub kind: Kind,
    /// The whole manifest.
    pub manifest: Value,
}

/// Renders the Deployment.
pub fn render_deployment(
    name: &name::App,
    content: &Content,
    context: &RenderContext,
) -> Result<Object, pod_template_patch::Invalid> {
    let policy = content.spec.policy();
    let mut annotations = content.annotations.clone();
    annotations.insert(REVISION_ANNOTATION.to_owned(), context.revision.to_string());
    let strategy = match policy.strategy {
        Strategy::Rolling => json!({"type": "RollingUpdate", "rollingUpdate": {
            "maxSurge": int_or_percent(&policy.max_surge), "maxUnavailable": int_or_percent(&policy.max_unavailable)}}),
        Strategy::Recreate => json!({"type": "Recreate"}),
    };
    let mut spec = json!({
        "selector": {"matchLabels": context.selector},
        "strategy": strategy,
        "progressDeadlineSeconds": whole_seconds(policy.progress_timeout).max(1),
        "template": render_template(name, content, context)?,
    });
    if let Some(replicas) = context.replicas {
        spec["replicas"] = json!(replicas);
    }
    let manifest = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name.app, "namespace": name.namespace, "labels": app_labels(name, content), "annotations": annotations},
        "spec": spec,
    });
    Ok(Object { kind: Kind::Deployment, manifest })
}

/// Renders the Service with these ports.
pub fn render_service(
    name: &name::App,
    content: &Content,
    selector: &BTreeMap<String, String>,
    entries: &[Entry],
) -> Object {
    let ports: Vec<Value> = entries.iter().map(render_port).collect();
    let manifest = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name.app, "namespace": name.namespace, "labels": app_labels(name, content)},
        "spec": {"selector": selector, "ports": ports},
    });
    Object { kind: Kind::Service, manifest }
}

fn render_port(entry: &Entry) -> Value {
    let target = match &entry.target {
        Target::Name(name) => json!(name),
        Target::Number(number) => json!(number),
    };
    let mut port = json!({"port": entry.number, "targetPort": target, "protocol": "TCP"});
    if let Some(name) = &entry.name {
        port["name"] = json!(name);
    }
    match entry.protocol {
        None | Some(Protocol::Tcp) => {}
        Some(Protocol::Http) => port["appProtocol"] = json!("http"),
        Some(Protocol::Grpc) => port["appProtocol"] = json!("kubernetes.io/h2c"),
    }
    port
}

/// Renders the PodDisruptionBudget: one replica at a time may be evicted, and unhealthy replicas always.
pub fn render_budget(name: &name::App, content: &Content, selector: &BTreeMap<String, String>) -> Object {
    let manifest = json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name.app, "namespace": name.namespace, "labels": app_labels(name, content)},
        "spec": {"selector": {"matchLabels": selector}, "maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow"},
    });
    Object { kind: Kind::Budget, manifest }
}

/// Converts to Kubernetes' IntOrString: `25%` stays a text, `3` becomes a number.
fn int_or_percent(text: &str) -> Value {
    let size = canonical_size(text);
    size.parse::<u32>().map_or_else(|_| json!(size), |n| json!(n))
}

#[cfg(test)]
mod tests;
