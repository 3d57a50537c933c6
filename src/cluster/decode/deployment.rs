//! Deployments and ReplicaSets as rows.

use std::{borrow::Cow, collections::BTreeMap};

use k8s_openapi::{
    NamespaceResourceScope,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use serde::Deserialize;

use super::{
    Decode, controller, created,
    managers::{COUNT, NOT_OTHERS, TEMPLATE, last_touch},
    meta, meta_with_managers, number, or_default, resource, shared_key, version,
};
use crate::{
    domain::{
        manifest::REVISION,
        name, observed,
        spec::{Port, Protocol, Resources, Spec},
    },
    index,
};

/// Kubernetes' own count of pod templates.
const TEMPLATE_REVISION: &str = "deployment.kubernetes.io/revision";

/// The slim form of an apps/v1 Deployment.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Deployment {
    #[serde(deserialize_with = "meta_with_managers")]
    metadata: ObjectMeta,
    #[serde(deserialize_with = "or_default")]
    spec: DeploymentSpec,
    #[serde(deserialize_with = "or_default")]
    status: DeploymentStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DeploymentSpec {
    replicas: Option<i32>,
    progress_deadline_seconds: Option<i32>,
    #[serde(deserialize_with = "or_default")]
    paused: bool,
    #[serde(deserialize_with = "or_default")]
    template: Template,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Template {
    #[serde(deserialize_with = "or_default")]
    spec: PodSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PodSpec {
    #[serde(deserialize_with = "or_default")]
    containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Container {
    #[serde(deserialize_with = "or_default")]
    name: String,
    #[serde(deserialize_with = "or_default")]
    image: String,
    #[serde(deserialize_with = "or_default")]
    command: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    args: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    env: Vec<Env>,
    #[serde(deserialize_with = "or_default")]
    ports: Vec<ContainerPort>,
    #[serde(deserialize_with = "or_default")]
    resources: ContainerResources,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Env {
    #[serde(deserialize_with = "or_default")]
    name: String,
    value: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ContainerPort {
    #[serde(deserialize_with = "or_default")]
    name: String,
    #[serde(deserialize_with = "or_default")]
    container_port: u16,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerResources {
    #[serde(deserialize_with = "or_default")]
    requests: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    limits: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DeploymentStatus {
    #[serde(deserialize_with = "or_default")]
    observed_generation: i64,
    #[serde(deserialize_with = "or_default")]
    replicas: i32,
    #[serde(deserialize_with = "or_default")]
    updated_replicas: i32,
    #[serde(deserialize_with = "or_default")]
    ready_replicas: i32,
    #[serde(deserialize_with = "or_default")]
    available_replicas: i32,
    #[serde(deserialize_with = "or_default")]
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Condition {
    #[serde(deserialize_with = "or_default")]
    r#type: String,
    #[serde(deserialize_with = "or_default")]
    status: String,
    #[serde(deserialize_with = "or_default")]
    reason: String,
    #[serde(deserialize_with = "or_default")]
    message: String,
    last_update_time: Option<Time>,
    last_transition_time: Option<Time>,
}

fn condition<'a>(conditions: &'a [Condition], kind: &str, is: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.r#type == kind && c.status == is)
}

resource!(Deployment, "Deployment", "apps", "deployments");

impl Decode for Deployment {
    type Row = observed::Deployment;
    const KIND: index::Kind = index::Kind::Deployments;

    fn key(&self) -> Option<name::App> {
        Some(name::App::new(self.metadata.namespace.clone()?, self.metadata.name.clone()?))
    }

    fn row(self) -> Option<observed::Deployment> {
        let name = self.key()?;
        let Self { metadata, spec, status } = self;
        let stalled = condition(&status.conditions, "Progressing", "False")
            .filter(|c| c.reason == "ProgressDeadlineExceeded");
        let completed = condition(&status.conditions, "Progressing", "True")
            .filter(|c| c.reason == "NewReplicaSetAvailable");
        Some(observed::Deployment {
            name,
            uid: metadata.uid.clone().unwrap_or_default(),
            resource_version: version(&metadata),
            revision: number(&metadata, REVISION),
            template_revision: number(&metadata, TEMPLATE_REVISION).unwrap_or_default(),
            generation: metadata.generation.unwrap_or_default(),
            observed_generation: status.observed_generation,
            desired: spec.replicas.unwrap_or(1),
            current: status.replicas,
            updated: status.updated_replicas,
            ready: status.ready_replicas,
            available: status.available_replicas,
            stalled: stalled.and_then(|c| c.last_update_time.as_ref()).map(|t| t.0),
            completed: completed.and_then(|c| c.last_update_time.as_ref()).map(|t| t.0),
            // The largest number is Kubernetes' word for never.
            deadline: spec
                .progress_deadline_seconds
                .filter(|seconds| *seconds != i32::MAX)
                .and_then(|seconds| seconds.try_into().ok()),
            template_by: last_touch(&metadata, TEMPLATE, &NOT_OTHERS),
            count_by: last_touch(&metadata, COUNT, &[]),
            paused: spec.paused,
            created: created(&metadata),
            deleting: metadata.deletion_timestamp.is_some(),
            spec: to_spec(spec.replicas, spec.template.spec.containers),
            labels: metadata.labels.unwrap_or_default(),
        })
    }
}

/// The part of a foreign pod template that the API has words for. Of several containers, the first is the app's.
fn to_spec(replicas: Option<i32>, containers: Vec<Container>) -> Spec {
    let Some(c) = containers.into_iter().next() else { return Spec { replicas, ..Spec::default() } };
    let has_resources = !(c.resources.requests.is_empty() && c.resources.limits.is_empty());
    Spec {
        image: c.image,
        replicas,
        ports: c
            .ports
            .into_iter()
            .map(|p| Port { name: p.name, number: p.container_port, protocol: Protocol::Tcp })
            .collect(),
        command: c.command,
        args: c.args,
        env: c.env.into_iter().filter_map(|e| Some((e.name, e.value?))).collect(),
        resources: has_resources
            .then_some(Resources { requests: c.resources.requests, limits: c.resources.limits }),
        container: c.name,
        ..Spec::default()
    }
}

/// The slim form of an apps/v1 ReplicaSet.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ReplicaSet {
    #[serde(deserialize_with = "meta")]
    metadata: ObjectMeta,
    #[serde(deserialize_with = "or_default")]
    status: ReplicaSetStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ReplicaSetStatus {
    #[serde(deserialize_with = "or_default")]
    conditions: Vec<Condition>,
}

resource!(ReplicaSet, "ReplicaSet", "apps", "replicasets");

impl Decode for ReplicaSet {
    type Row = observed::ReplicaSet;
    const KIND: index::Kind = index::Kind::ReplicaSets;

    fn key(&self) -> Option<<Self::Row as index::Row>::Key> {
        shared_key(&self.metadata)
    }

    fn row(self) -> Option<observed::ReplicaSet> {
        let (namespace, name) = self.key()?;
        Some(observed::ReplicaSet {
            namespace,
            name,
            deployment: controller(&self.metadata, "Deployment")?.into(),
            template_revision: number(&self.metadata, TEMPLATE_REVISION).unwrap_or_default(),
            revision: number(&self.metadata, REVISION),
            created: created(&self.metadata),
            create_failure: condition(&self.status.conditions, "ReplicaFailure", "True").map(|c| {
                observed::CreateFailure {
                    message: c.message.clone(),
                    since: c.last_transition_time.as_ref().map(|t| t.0),
                }
            }),
        })
    }
}
