//! Pods as rows: whether they are ready, and if not, the one thing that keeps them from it.

use std::borrow::Cow;

use k8s_openapi::{
    NamespaceResourceScope,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use serde::{Deserialize, de::IgnoredAny};

use super::{Decode, controller, created, meta, or_default, resource, shared_key};
use crate::{
    domain::observed::{self, Exit, Trouble, TroubleKind},
    index,
};

/// The slim form of a v1 Pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pod {
    #[serde(deserialize_with = "meta")]
    metadata: ObjectMeta,
    #[serde(deserialize_with = "or_default")]
    spec: PodSpec,
    #[serde(deserialize_with = "or_default")]
    status: PodStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodSpec {
    node_name: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodStatus {
    phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(deserialize_with = "or_default")]
    conditions: Vec<Condition>,
    #[serde(deserialize_with = "or_default")]
    init_container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "or_default")]
    container_statuses: Vec<ContainerStatus>,
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
    last_transition_time: Option<Time>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ContainerStatus {
    #[serde(deserialize_with = "or_default")]
    name: String,
    #[serde(deserialize_with = "or_default")]
    restart_count: i32,
    #[serde(deserialize_with = "or_default")]
    state: State,
    #[serde(deserialize_with = "or_default")]
    last_state: State,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct State {
    running: Option<IgnoredAny>,
    waiting: Option<Waiting>,
    terminated: Option<Terminated>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Waiting {
    #[serde(deserialize_with = "or_default")]
    reason: String,
    #[serde(deserialize_with = "or_default")]
    message: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Terminated {
    #[serde(deserialize_with = "or_default")]
    exit_code: i32,
    #[serde(deserialize_with = "or_default")]
    signal: i32,
    #[serde(deserialize_with = "or_default")]
    reason: String,
    #[serde(deserialize_with = "or_default")]
    message: String,
    finished_at: Option<Time>,
}

resource!(Pod, "Pod", "", "pods");

impl Decode for Pod {
    type Row = observed::Pod;
    const KIND: index::Kind = index::Kind::Pods;

    fn key(&self) -> Option<<Self::Row as index::Row>::Key> {
        shared_key(&self.metadata)
    }

    fn row(self) -> Option<observed::Pod> {
        let (namespace, name) = self.key()?;
        // Evicted, or its node was shut down: it stays to be read, but is no replica any more, and another takes its place.
        if matches!(self.status.phase.as_deref(), Some("Failed" | "Succeeded")) {
            return None;
        }
        let Self { metadata, spec, status } = self;
        let readiness = status.conditions.iter().find(|c| c.r#type == "Ready");
        let ready = readiness.is_some_and(|c| c.status == "True");
        let running = |c: &ContainerStatus| c.state.running.is_some();
        let containers = || status.init_container_statuses.iter().chain(&status.container_statuses);
        Some(observed::Pod {
            namespace,
            name,
            replica_set: controller(&metadata, "ReplicaSet")?.into(),
            node: spec.node_name.map(Into::into),
            address: status.pod_ip.as_deref().and_then(|ip| ip.parse().ok()),
            created: created(&metadata),
            deleting: metadata.deletion_timestamp.is_some(),
            ready,
            running: !status.container_statuses.is_empty() && status.container_statuses.iter().all(running),
            unready_since: readiness
                .filter(|_| !ready)
                .and_then(|c| c.last_transition_time.as_ref())
                .map(|t| t.0),
            restarts: containers().map(|c| c.restart_count).max().unwrap_or_default(),
            trouble: trouble(&status).map(Box::new),
        })
    }
}

/// The first thing that keeps the pod from running: no node, then its containers in the order in which they start.
fn trouble(status: &PodStatus) -> Option<Trouble> {
    let unscheduled = status
        .conditions
        .iter()
        .find(|c| c.r#type == "PodScheduled" && c.status == "False" && c.reason == "Unschedulable");
    if let Some(c) = unscheduled {
        return Some(Trouble {
            container: String::new(),
            kind: TroubleKind::Unschedulable,
            reason: c.reason.clone(),
            message: c.message.clone(),
            since: c.last_transition_time.as_ref().map(|t| t.0),
            exit: None,
        });
    }
    status
        .init_container_statuses
        .iter()
        .find_map(|c| container(c, true))
        .or_else(|| status.container_statuses.iter().find_map(|c| container(c, false)))
}

fn container(c: &ContainerStatus, init: bool) -> Option<Trouble> {
    let exit = |t: &Terminated| Exit {
        code: t.exit_code,
        signal: t.signal,
        reason: t.reason.clone(),
        finished: t.finished_at.as_ref().map(|t| t.0),
    };
    let last = c.last_state.terminated.as_ref();
    let found = |kind, reason: &str, message: &str, exit: Option<Exit>| {
        let since = exit.as_ref().and_then(|e| e.finished);
        Some(Trouble {
            container: c.name.clone(),
            kind,
            reason: reason.into(),
            message: message.into(),
            since,
            exit,
        })
    };
    if let Some(waiting) = &c.state.waiting {
        let kind = match waiting.reason.as_str() {
            "ErrImagePull"
            | "ImagePullBackOff"
            | "InvalidImageName"
            | "ErrImageNeverPull"
            | "ImageInspectError"
            | "RegistryUnavailable"
            | "SignatureValidationFailed" => TroubleKind::Image,
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
                TroubleKind::Config
            }
            "CrashLoopBackOff" => TroubleKind::Crash,
            // ContainerCreating, PodInitializing: on its way.
            _ => return None,
        };
        let exit = if kind == TroubleKind::Crash { last.map(exit) } else { None };
        return found(kind, &waiting.reason, &waiting.message, exit);
    }
    let ended = c.state.terminated.as_ref().filter(|t| !(init && t.exit_code == 0))?;
    found(TroubleKind::Crash, &ended.reason, &ended.message, Some(exit(ended)))
}
