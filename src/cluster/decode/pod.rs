//! Decodes pods into rows: whether they are ready, and if not, the one problem that prevents it.

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::{
    Decode, annotation,
    condition::{Condition, find_condition},
    controller, created, decode_meta_with_last_write, namespaced_name, or_default, resource, slim,
};
use crate::{
    domain::observed::{self, Ended, Exit, Stop, Trouble, TroubleKind, Wait},
    index,
};

/// The annotation that names the default container of a pod.
const DEFAULT_CONTAINER_ANNOTATION: &str = "kubectl.kubernetes.io/default-container";

/// Kubernetes' times are whole seconds, rounded down, so two readings of the same moment may differ by this
/// much.
const ROUNDING: SignedDuration = SignedDuration::from_secs(1);

/// The slim form of a v1 Pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pod {
    #[serde(deserialize_with = "decode_meta_with_last_write")]
    metadata: ObjectMeta,
    #[serde(deserialize_with = "or_default")]
    spec: PodSpec,
    #[serde(deserialize_with = "or_default")]
    status: PodStatus,
}

slim! {
    struct PodSpec {
        node_name: Option<String>,
        containers: Vec<Container>,
        init_containers: Vec<Container>,
        readiness_gates: Vec<ReadinessGate>,
        scheduling_gates: Vec<SchedulingGate>,
    }

    struct Container {
        name: String,
        restart_policy: Option<String>,
    }

    struct ReadinessGate {
        condition_type: String,
    }

    struct SchedulingGate {
        name: String,
    }

    struct PodStatus {
        phase: Option<String>,
        reason: String,
        message: String,
        #[serde(rename = "podIP")]
        pod_ip: Option<String>,
        start_time: Option<Timestamp>,
        conditions: Vec<Condition>,
        init_container_statuses: Vec<ContainerStatus>,
        container_statuses: Vec<ContainerStatus>,
    }

    struct ContainerStatus {
        name: String,
        ready: bool,
        started: Option<bool>,
        restart_count: i32,
        state: State,
        last_state: State,
    }

    struct State {
        waiting: Option<Waiting>,
        running: Option<Running>,
        terminated: Option<Terminated>,
    }

    struct Running {
        started_at: Option<Timestamp>,
    }

    struct Waiting {
        reason: String,
        message: String,
    }

    struct Terminated {
        exit_code: i32,
        signal: i32,
        reason: String,
        message: String,
        finished_at: Option<Timestamp>,
    }
}

resource!(Pod, "Pod", "", "pods");

impl Decode for Pod {
    type Row = observed::Pod;
    const KIND: index::Kind = index::Kind::Pods;

    fn key(&self) -> Option<<Self::Row as index::Row>::Key> {
        namespaced_name(&self.metadata)
    }

    fn into_row(self) -> Option<observed::Pod> {
        let (namespace, name) = self.key()?;
        let Self { metadata, spec, status } = self;
        let readiness = status.conditions.iter().find(|c| c.r#type == "Ready");
        let ready = readiness.is_some_and(|c| c.status == "True");
        let ready_changed = readiness.and_then(|c| c.last_transition_time);
        let all_started = started(&status.container_statuses);
        // Every pod starts as not ready. Only a change to not ready after the start of its containers means
        // that it was ready before.
        let was_ready = !ready && all_started.is_some_and(|started| ready_changed > Some(started));
        let containers = || status.init_container_statuses.iter().chain(&status.container_statuses);
        let own = own_container(&metadata, &spec);
        let restarts = containers().map(|c| c.restart_count).max().unwrap_or_default();
        // Without restarts, the start of the containers decides. With restarts, only the start of the pod is
        // left. The kubelet sets a new pod to not ready when it first sees it, which is when it starts the
        // pod. The two times may differ by a second, because they are rounded to whole seconds. A later
        // change means that the pod was ready before.
        let pod_started = status.start_time.filter(|_| !ready && restarts > 0);
        let fell_since = |started| ready_changed.is_some_and(|t| t.duration_since(started) > ROUNDING);
        let of_own = containers().find(|c| Some(c.name.as_str()) == own);
        let ended = ended(&metadata, &status).map(Box::new);
        let trouble = if ended.is_some() { None } else { trouble(&status).map(Box::new) };
        let starts = !ready && trouble.is_none() && ended.is_none();
        let waits = if starts { waits(&spec, &status).map(Box::new) } else { None };
        Some(observed::Pod {
            namespace,
            name,
            replica_set: controller(&metadata, "ReplicaSet")?.into(),
            node: spec.node_name.as_deref().map(Into::into),
            address: status.pod_ip.as_deref().and_then(|ip| ip.parse().ok()),
            created: created(&metadata),
            deleting: metadata.deletion_timestamp.is_some(),
            stop: stop(&metadata).map(Box::new),
            ready,
            ready_changed,
            was_ready,
            once_ready: was_ready || pod_started.is_some_and(fell_since),
            running: all_started.is_some(),
            restarts,
            own_restarts: of_own.map(|c| c.restart_count).unwrap_or_default(),
            trouble,
            waits,
            ended,
        })
    }
}

/// What a terminating pod was told. Kubernetes stores when the grace period ends, not when it began.
fn stop(metadata: &ObjectMeta) -> Option<Stop> {
    let by = metadata.deletion_timestamp.as_ref()?.0;
    let grace = SignedDuration::from_secs(metadata.deletion_grace_period_seconds.unwrap_or_default());
    Some(Stop {
        told: by.checked_sub(grace).unwrap_or(by),
        by,
        finalizers: metadata.finalizers.clone().unwrap_or_default(),
    })
}

/// The app's container: the one that the pod's annotation names, as sidecar injectors set it, or the first.
fn own_container<'a>(metadata: &'a ObjectMeta, spec: &'a PodSpec) -> Option<&'a str> {
    annotation(metadata, DEFAULT_CONTAINER_ANNOTATION)
        .or_else(|| spec.containers.first().map(|c| c.name.as_str()))
}

/// When the last of the containers started, if all of them run.
fn started(containers: &[ContainerStatus]) -> Option<Timestamp> {
    let times = containers.iter().map(|c| {
        let running = c.state.running.as_ref()?;
        Some(running.started_at.unwrap_or(Timestamp::UNIX_EPOCH))
    });
    times.collect::<Option<Vec<_>>>()?.into_iter().max()
}

/// The first problem that prevents the pod from running: no node, then its containers in the order in which
/// they start. Of several that crash, the one that crashed most often.
fn trouble(status: &PodStatus) -> Option<Trouble> {
    let unscheduled = find_condition(&status.conditions, "PodScheduled", "False");
    if let Some(c) = unscheduled.filter(|c| c.reason == "Unschedulable") {
        return Some(Trouble {
            container: String::new(),
            kind: TroubleKind::Unschedulable,
            reason: c.reason.clone(),
            message: c.message.clone(),
            since: c.last_transition_time,
            exit: None,
            restarts: 0,
        });
    }
    let of_init = status.init_container_statuses.iter().filter_map(|c| container(c, true));
    let found = of_init.chain(status.container_statuses.iter().filter_map(|c| container(c, false)));
    found.reduce(|first, next| {
        let worse = first.kind == TroubleKind::Crash
            && (next.kind != TroubleKind::Crash || next.restarts > first.restarts);
        if worse { next } else { first }
    })
}

/// How a pod ended that is no replica any more: its containers ended, its node refused, evicted or preempted
/// it, or the node was shut down.
fn ended(metadata: &ObjectMeta, status: &PodStatus) -> Option<Ended> {
    if !matches!(status.phase.as_deref(), Some("Failed" | "Succeeded")) {
        return None;
    }
    // A pod that failed did so for a container with an error, whatever ended after it. Sidecars end after the
    // others, because they are stopped then.
    let last_of = |containers: &[ContainerStatus]| {
        let exits =
            containers.iter().filter_map(|c| Some((c.name.clone(), exit(c.state.terminated.as_ref()?))));
        exits.max_by_key(|(_, exit)| (exit.code != 0, exit.finished))
    };
    let last = last_of(&status.container_statuses).or_else(|| last_of(&status.init_container_statuses));
    let changed = |kind, status_is: &str| {
        find_condition(&status.conditions, kind, status_is).and_then(|c| c.last_transition_time)
    };
    let written = metadata.managed_fields.iter().flatten().filter_map(|entry| Some(entry.time.as_ref()?.0));
    let time = changed("DisruptionTarget", "True")
        .or_else(|| last.as_ref().and_then(|(_, exit)| exit.finished))
        .or_else(|| changed("Ready", "False"))
        .or_else(|| written.max().max(status.start_time))
        .unwrap_or_else(|| created(metadata));
    Some(Ended { reason: status.reason.clone(), message: status.message.clone(), time, exit: last })
}

fn exit(t: &Terminated) -> Exit {
    Exit { code: t.exit_code, signal: t.signal, reason: t.reason.clone(), finished: t.finished_at }
}

/// What a pod waits for that is not ready and has no trouble.
fn waits(spec: &PodSpec, status: &PodStatus) -> Option<Wait> {
    if spec.node_name.is_none() {
        let gates: Vec<_> = spec.scheduling_gates.iter().map(|gate| gate.name.clone()).collect();
        return (!gates.is_empty()).then_some(Wait::Gates(gates));
    }
    let is_sidecar = |name: &str| {
        let of_spec = spec.init_containers.iter().find(|c| c.name == name);
        of_spec.is_some_and(|c| c.restart_policy.as_deref() == Some("Always"))
    };
    if find_condition(&status.conditions, "Initialized", "True").is_none() {
        return status.init_container_statuses.iter().find_map(|c| {
            let (container, since) = (c.name.clone(), c.state.running.as_ref()?.started_at);
            if !is_sidecar(&container) {
                return Some(Wait::Init { container, since });
            }
            (c.started == Some(false)).then_some(Wait::Sidecar { container, since })
        });
    }
    started(&status.container_statuses)?;
    let sidecars = status.init_container_statuses.iter().filter(|c| is_sidecar(&c.name));
    let mut all = status.container_statuses.iter().chain(sidecars).peekable();
    all.peek()?;
    let unready: Vec<_> = all.filter(|c| !c.ready).map(|c| c.name.clone()).collect();
    if !unready.is_empty() {
        return Some(Wait::Containers(unready));
    }
    let gates = spec.readiness_gates.iter().map(|gate| gate.condition_type.clone());
    let open = gates.filter(|gate| find_condition(&status.conditions, gate, "True").is_none());
    let open: Vec<_> = open.collect();
    (!open.is_empty()).then_some(Wait::Conditions(open))
}

fn container(c: &ContainerStatus, init: bool) -> Option<Trouble> {
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
            restarts: c.restart_count,
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
            "CreateContainerConfigError"
            | "CreateContainerError"
            | "PreCreateHookError"
            | "PreStartHookError"
            | "RunContainerError" => TroubleKind::Config,
            // The kubelet ends a container whose postStart hook fails.
            "CrashLoopBackOff" | "PostStartHookError" => TroubleKind::Crash,
            // ContainerCreating, PodInitializing: in progress.
            _ => return None,
        };
        if let Some(unstarted) = last.filter(|last| kind == TroubleKind::Crash && never_ran(last)) {
            return found(TroubleKind::Config, &unstarted.reason, &unstarted.message, Some(exit(unstarted)));
        }
        let exit = if kind == TroubleKind::Crash { last.map(exit) } else { None };
        return found(kind, &waiting.reason, &waiting.message, exit);
    }
    let ended = c.state.terminated.as_ref().filter(|t| !(init && t.exit_code == 0))?;
    let kind = if never_ran(ended) { TroubleKind::Config } else { TroubleKind::Crash };
    found(kind, &ended.reason, &ended.message, Some(exit(ended)))
}

/// Whether the runtime could not start the container, for example because the program does not exist, is not
/// executable, or is for another processor. Kubernetes reports that alternately as an exit and as a back-off.
/// The runtime's message, the only useful one, is here.
fn never_ran(ended: &Terminated) -> bool {
    matches!(ended.reason.as_str(), "StartError" | "ContainerCannotRun")
}
