//! Decodes Deployments and ReplicaSets into rows.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Decode,
    condition::{Condition, find_condition},
    controller, created, decode_meta, decode_meta_with_managers, decode_scaling,
    managed_fields::{COUNT, TEMPLATE, last_update},
    namespaced_name, or_default, parse_annotation, parse_resource_version, resource, slim, template,
};
use crate::{
    domain::{
        labels::{KNOWN_FIELD_MANAGERS, REVISION_ANNOTATION},
        managed::is_labelled,
        manifest::{self, RenderContext},
        name, observed,
        revision::RENDERER,
        scaling::Scaling,
        spec::{Content, Port, Spec},
        unmodelled,
    },
    index,
};

/// The finalizer of a Deployment that is deleted without its dependents (`--cascade=orphan`).
const ORPHAN: &str = "orphan";

/// The highest revision number that is accepted. The annotation can be changed by hand, and the number after
/// it must still be valid.
const HIGHEST: u64 = 1 << 53;

/// The Deployment controller's number of the pod template.
const TEMPLATE_REVISION_ANNOTATION: &str = "deployment.kubernetes.io/revision";

/// The slim form of an apps/v1 Deployment.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "FullDeployment")]
pub struct Deployment {
    metadata: ObjectMeta,
    paused: bool,
    deadline: Option<i32>,
    spec: Spec,
    template: u64,
    unmodelled: Vec<String>,
    scaling: Scaling,
    status: DeploymentStatus,
}

/// A Deployment with its whole spec. It is dropped as soon as the slim form is made, because a page of a list
/// holds hundreds.
#[derive(Default, Deserialize)]
#[serde(default)]
struct FullDeployment {
    #[serde(deserialize_with = "decode_meta_with_managers")]
    metadata: ObjectMeta,
    spec: Value,
    #[serde(deserialize_with = "or_default")]
    status: DeploymentStatus,
}

impl From<FullDeployment> for Deployment {
    fn from(full: FullDeployment) -> Self {
        let FullDeployment { metadata, spec, status } = full;
        let scaling = decode_scaling(&metadata, &spec["template"]);
        let (paused, words) = (spec["paused"] == true, template::to_spec(&spec));
        let template = template::template_hash(&spec["template"]);
        let deadline = spec["progressDeadlineSeconds"].as_i64();
        // Skipped for a Deployment managed by Gantry: its revision describes everything, including the pod
        // template patch.
        let ours =
            metadata.name.as_ref().zip(metadata.labels.as_ref()).is_some_and(|(n, l)| is_labelled(n, l));
        let unmodelled = if ours { Vec::new() } else { find_rest(&metadata, spec, &words) };
        let deadline = deadline.and_then(|seconds| seconds.try_into().ok());
        Self { metadata, paused, deadline, spec: words, template, unmodelled, scaling, status }
    }
}

/// Returns the fields of the Deployment's spec that a Deployment rendered from `words` would not have.
fn find_rest(metadata: &ObjectMeta, spec: Value, words: &Spec) -> Vec<String> {
    let name = name::App::new(
        metadata.namespace.clone().unwrap_or_default(),
        metadata.name.clone().unwrap_or_default(),
    );
    let labels = metadata.labels.clone().unwrap_or_default();
    let content = Content { labels, spec: words.clone(), ..Content::default() };
    let selector = serde_json::from_value(spec["selector"]["matchLabels"].clone()).unwrap_or_default();
    let context =
        RenderContext { revision: 0, renderer: RENDERER, replicas: None, selector, restarted: None };
    // Without a pod template patch, rendering cannot fail.
    let rendered = manifest::render_deployment(&name, &content, &context)
        .map(|object| object.manifest)
        .unwrap_or_default();
    let live = Value::Object([("spec".to_owned(), spec)].into_iter().collect());
    unmodelled::find_unmodelled(&live, &rendered)
}

slim! {
    struct DeploymentStatus {
        observed_generation: i64,
        replicas: i32,
        updated_replicas: i32,
        ready_replicas: i32,
        available_replicas: i32,
        conditions: Vec<Condition>,
    }
}

resource!(Deployment, "Deployment", "apps", "deployments");

impl Decode for Deployment {
    type Row = observed::Deployment;
    const KIND: index::Kind = index::Kind::Deployments;

    fn key(&self) -> Option<name::App> {
        Some(name::App::new(self.metadata.namespace.clone()?, self.metadata.name.clone()?))
    }

    fn into_row(self) -> Option<observed::Deployment> {
        let name = self.key()?;
        let Self { metadata, paused, deadline, spec, template, unmodelled, scaling, status } = self;
        let (stalled, refused) = find_condition(&status.conditions, "Progressing", "False")
            .map(|c| if c.reason == "ProgressDeadlineExceeded" { (Some(c), None) } else { (None, Some(c)) })
            .unwrap_or_default();
        // `Unknown` is a Deployment that is paused or has just been resumed.
        let moves = status.conditions.iter().find(|c| c.r#type == "Progressing" && c.status != "False");
        let completed = find_condition(&status.conditions, "Progressing", "True")
            .filter(|c| c.reason == "NewReplicaSetAvailable");
        Some(observed::Deployment {
            name,
            uid: metadata.uid.clone().unwrap_or_default(),
            resource_version: parse_resource_version(&metadata),
            revision: parse_annotation(&metadata, REVISION_ANNOTATION).filter(|number| *number <= HIGHEST),
            template_revision: parse_annotation(&metadata, TEMPLATE_REVISION_ANNOTATION).unwrap_or_default(),
            template,
            generation: metadata.generation.unwrap_or_default(),
            observed_generation: status.observed_generation,
            desired: spec.replicas.unwrap_or(1),
            current: status.replicas,
            updated: status.updated_replicas,
            ready: status.ready_replicas,
            available: status.available_replicas,
            stalled: stalled.and_then(|c| c.last_update_time),
            completed: completed.and_then(|c| c.last_update_time),
            progressed: moves.and_then(|c| c.last_update_time),
            create_failure: refused
                .map(|c| observed::CreateFailure { message: c.message.clone(), since: c.last_update_time }),
            // Kubernetes uses the largest number for "never".
            deadline: deadline
                .filter(|seconds| *seconds != i32::MAX)
                .and_then(|seconds| seconds.try_into().ok()),
            template_by: last_update(&metadata, TEMPLATE, &KNOWN_FIELD_MANAGERS),
            count_by: last_update(&metadata, COUNT, &[]),
            scaling,
            paused,
            created: created(&metadata),
            deleting: metadata.deletion_timestamp.is_some(),
            orphans: metadata.deletion_timestamp.is_some()
                && metadata.finalizers.as_ref().is_some_and(|all| all.iter().any(|f| f == ORPHAN)),
            spec,
            unmodelled,
            labels: metadata.labels.unwrap_or_default(),
        })
    }
}

/// The slim form of an apps/v1 ReplicaSet.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ReplicaSet {
    #[serde(deserialize_with = "decode_meta")]
    metadata: ObjectMeta,
    #[serde(deserialize_with = "or_default")]
    spec: ReplicaSetSpec,
    #[serde(deserialize_with = "or_default")]
    status: ReplicaSetStatus,
}

/// The part of a ReplicaSet's spec that is needed from the template. The rest is dropped after decoding.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Value")]
struct ReplicaSetSpec {
    template: u64,
    ports: Vec<Port>,
}

impl From<Value> for ReplicaSetSpec {
    fn from(spec: Value) -> Self {
        let template = &spec["template"];
        Self {
            template: template::template_hash(template),
            ports: template::decode_ports(&template["spec"]["containers"][0]),
        }
    }
}

slim! {
    struct ReplicaSetStatus {
        conditions: Vec<Condition>,
    }
}

resource!(ReplicaSet, "ReplicaSet", "apps", "replicasets");

impl Decode for ReplicaSet {
    type Row = observed::ReplicaSet;
    const KIND: index::Kind = index::Kind::ReplicaSets;

    fn key(&self) -> Option<<Self::Row as index::Row>::Key> {
        namespaced_name(&self.metadata)
    }

    fn into_row(self) -> Option<observed::ReplicaSet> {
        let (namespace, name) = self.key()?;
        Some(observed::ReplicaSet {
            namespace,
            name,
            deployment: controller(&self.metadata, "Deployment")?.into(),
            template_revision: parse_annotation(&self.metadata, TEMPLATE_REVISION_ANNOTATION)
                .unwrap_or_default(),
            template: self.spec.template,
            revision: parse_annotation(&self.metadata, REVISION_ANNOTATION),
            created: created(&self.metadata),
            create_failure: find_condition(&self.status.conditions, "ReplicaFailure", "True")
                // The same condition tells that surplus pods cannot be deleted.
                .filter(|c| c.reason != "FailedDelete")
                .map(|c| observed::CreateFailure {
                    message: c.message.clone(),
                    since: c.last_transition_time,
                }),
            ports: self.spec.ports,
        })
    }
}
