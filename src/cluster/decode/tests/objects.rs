//! Objects as the API server of Kubernetes 1.33 sends them.

use serde_json::{Value, json};

use super::{CREATED, VERDICT_ANNOTATION, time};
use crate::domain::{
    labels::{MANAGER, REVISIONS_OF_LABEL},
    revision::{Cause, End, Outcome, Record, form},
    spec::{Content, Spec},
};

/// Metadata that every object has, managed fields included.
fn mk_meta(name: &str, owner: &Value) -> Value {
    json!({
        "name": name,
        "namespace": "prod",
        "uid": "0c9f1a34-7b1e-4a39-9f0e-2f4f3c1d5e60",
        "resourceVersion": "48211",
        "generation": 2,
        "creationTimestamp": CREATED,
        "labels": {"gantry.dev/app": "shop", "pod-template-hash": "6f7c"},
        "ownerReferences": [owner],
        "managedFields": [{"manager": "kubelet", "operation": "Update", "apiVersion": "v1", "time": CREATED,
            "fieldsType": "FieldsV1", "fieldsV1": {"f:status": {"f:phase": {}}}, "subresource": "status"}],
    })
}

pub(super) fn mk_owner(kind: &str, name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "5a1c", "controller": true, "blockOwnerDeletion": true})
}

pub(super) fn mk_pod(container: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": mk_meta("shop-6f7c-x2x", &mk_owner("ReplicaSet", "shop-6f7c")),
        "spec": {"nodeName": "node-1", "restartPolicy": "Always", "serviceAccountName": "default",
            "containers": [{"name": "app", "image": "shop:1", "resources": {}, "imagePullPolicy": "IfNotPresent"}]},
        "status": {
            "phase": "Running",
            "conditions": [
                {"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": CREATED},
                {"type": "Initialized", "status": "True", "lastProbeTime": null, "lastTransitionTime": CREATED},
                {"type": "Ready", "status": "False", "lastProbeTime": null, "lastTransitionTime": CREATED,
                    "reason": "ContainersNotReady", "message": "containers with unready status: [app]"},
            ],
            "hostIP": "192.168.1.7",
            "podIP": "10.1.0.9",
            "podIPs": [{"ip": "10.1.0.9"}],
            "startTime": CREATED,
            "qosClass": "BestEffort",
            "containerStatuses": [container],
        },
    })
}

pub(super) fn mk_running() -> Value {
    let mut pod = mk_pod(
        &json!({"name": "app", "ready": true, "started": true, "restartCount": 1, "image": "docker.io/library/shop:1",
        "imageID": "docker.io/library/shop@sha256:0a1b", "containerID": "containerd://0a1b",
        "state": {"running": {"startedAt": CREATED}},
        "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "startedAt": CREATED, "finishedAt": CREATED}}}),
    );
    pod["status"]["conditions"][2] =
        json!({"type": "Ready", "status": "True", "lastTransitionTime": CREATED});
    pod
}

pub(super) fn mk_waiting(reason: &str, message: &str) -> Value {
    mk_pod(
        &json!({"name": "app", "ready": false, "started": false, "restartCount": 0, "image": "shop:1", "imageID": "",
        "state": {"waiting": {"reason": reason, "message": message}}, "lastState": {}}),
    )
}

pub(super) fn mk_crashing() -> Value {
    mk_pod(
        &json!({"name": "app", "ready": false, "started": false, "restartCount": 4, "image": "shop:1", "imageID": "",
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 1m20s restarting failed container=app"}},
        "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled", "startedAt": CREATED, "finishedAt": "2026-01-02T03:05:00Z",
            "containerID": "containerd://0a1b"}}}),
    )
}

pub(super) fn mk_deployment() -> Value {
    let mut metadata = mk_meta("shop", &json!({}));
    metadata["ownerReferences"].take();
    metadata["annotations"] = json!({"deployment.kubernetes.io/revision": "3", "gantry.dev/revision": "5"});
    let condition = |kind: &str, status: &str, reason: &str| {
        json!({"type": kind, "status": status, "reason": reason, "message": format!("{kind} says so"),
            "lastUpdateTime": "2026-01-02T03:14:05Z", "lastTransitionTime": "2026-01-02T03:10:00Z"})
    };
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"gantry.dev/app": "shop"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
            "progressDeadlineSeconds": 600,
            "template": {
                "metadata": {"creationTimestamp": null, "labels": {"gantry.dev/app": "shop"}},
                "spec": {"containers": [
                    {"name": "main", "image": "shop:1", "command": ["/shop"], "args": ["-v"],
                        "env": [{"name": "MODE", "value": "live"}, {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
                        "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}, {"containerPort": 9090}],
                        "resources": {"requests": {"cpu": "250m"}}},
                    {"name": "proxy", "image": "proxy:2"},
                ]},
            },
        },
        "status": {
            "observedGeneration": 2, "replicas": 4, "updatedReplicas": 2, "readyReplicas": 3, "availableReplicas": 1,
            "unavailableReplicas": 1,
            "conditions": [
                condition("Available", "True", "MinimumReplicasAvailable"),
                condition("Progressing", "False", "ProgressDeadlineExceeded"),
                condition("ReplicaFailure", "True", "FailedCreate"),
            ],
        },
    })
}

/// An external autoscaler of either kind for the Deployment `shop`.
pub(super) fn mk_scaler() -> Value {
    let mut metadata = mk_meta("by-hand", &json!({}));
    metadata["ownerReferences"].take();
    json!({"metadata": metadata, "spec": {"maxReplicas": 5, "metrics": [],
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"}}})
}

pub(super) fn mk_replica_set() -> Value {
    let mut metadata = mk_meta("shop-6f7c", &mk_owner("Deployment", "shop"));
    metadata["annotations"] = json!({"deployment.kubernetes.io/revision": "3", "gantry.dev/revision": "5",
        "deployment.kubernetes.io/desired-replicas": "3"});
    let containers = json!([{"name": "main", "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]}, {"name": "proxy"}]);
    json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata,
        "spec": {"replicas": 3, "template": {"metadata": {"labels": {}}, "spec": {"containers": containers}}},
        "status": {"replicas": 2, "fullyLabeledReplicas": 2, "observedGeneration": 1,
            "conditions": [{"type": "ReplicaFailure", "status": "True", "lastTransitionTime": "2026-01-02T03:10:00Z",
                "reason": "FailedCreate", "message": "exceeded quota: compute"}]}})
}

pub(super) fn mk_slice() -> Value {
    let mut metadata = mk_meta("shop-x7k2p", &mk_owner("Service", "shop"));
    metadata["labels"] = json!({"kubernetes.io/service-name": "shop", "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"});
    let target = |name: &str| json!({"kind": "Pod", "namespace": "prod", "name": name, "uid": "9"});
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata, "addressType": "IPv4",
        "ports": [{"name": "web", "port": 8080, "protocol": "TCP"}, {"name": "all", "port": null}],
        "endpoints": [
            {"addresses": ["10.1.0.8"], "conditions": {"ready": false, "serving": true, "terminating": true},
                "nodeName": "node-1", "zone": "zone-a", "targetRef": target("shop-6f7c-b")},
            {"addresses": ["10.1.0.7"], "conditions": {"ready": true, "serving": true, "terminating": false},
                "nodeName": "node-1", "zone": "zone-a", "targetRef": target("shop-6f7c-a")},
            {"addresses": ["10.1.0.9"], "conditions": {}, "targetRef": target("shop-6f7c-c")},
            {"addresses": ["10.9.0.9"], "conditions": {"ready": true}},
        ],
    })
}

pub(super) fn mk_node() -> Value {
    let mut metadata = mk_meta("node-1", &json!({}));
    metadata["ownerReferences"].take();
    metadata["namespace"].take();
    metadata["labels"] = json!({"kubernetes.io/hostname": "node-1", "topology.kubernetes.io/zone": "zone-a"});
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {"podCIDR": "10.1.0.0/24"},
        "status": {"capacity": {"cpu": "32"}, "conditions": [
            {"type": "MemoryPressure", "status": "False", "lastTransitionTime": CREATED},
            {"type": "Ready", "status": "True", "lastTransitionTime": CREATED},
        ]},
    })
}

/// As the kubelet writes it, with the first generation of the events API.
pub(super) fn mk_event() -> Value {
    let mut metadata = mk_meta("shop-6f7c-x2x.1862aa", &json!({}));
    metadata["ownerReferences"].take();
    json!({
        "apiVersion": "v1", "kind": "Event", "metadata": metadata,
        "involvedObject": {"kind": "Pod", "namespace": "prod", "name": "shop-6f7c-x2x", "uid": "9", "fieldPath": "spec.containers{app}"},
        "reason": "Failed", "message": "Failed to pull image", "type": "Warning", "count": 4,
        "source": {"component": "kubelet", "host": "node-1"},
        "firstTimestamp": CREATED, "lastTimestamp": "2026-01-02T03:06:00Z", "eventTime": null,
        "reportingComponent": "kubelet", "reportingInstance": "node-1",
    })
}

/// As the scheduler writes it, with the second generation.
pub(super) fn mk_series() -> Value {
    let mut event = mk_event();
    for field in ["count", "firstTimestamp", "lastTimestamp"] {
        event[field].take();
    }
    event["eventTime"] = json!("2026-01-02T03:04:05.123456Z");
    event["series"] = json!({"count": 7, "lastObservedTime": "2026-01-02T03:07:00.500000Z"});
    event
}

pub(super) fn mk_end() -> End {
    End {
        outcome: Outcome::Succeeded,
        message: "3 of 3 replicas are ready.".into(),
        time: time(CREATED),
        problem: None,
        untried: false,
    }
}

pub(super) fn mk_record() -> Record {
    let spec = Spec { image: "shop:1".into(), replicas: Some(3), ..Spec::default() };
    let content = Content { spec, ..Content::default() };
    Record::new(Cause::Deploy, content, "ann".into(), "why not".into(), time("2026-01-02T03:04:05.75Z"))
}

pub(super) fn mk_revision() -> Value {
    let mut metadata = mk_meta("gantry-shop-5", &mk_owner("Deployment", "shop"));
    metadata["labels"] = json!({REVISIONS_OF_LABEL: "shop", "app.kubernetes.io/managed-by": MANAGER});
    metadata["annotations"] = json!({VERDICT_ANNOTATION: serde_json::to_string(&mk_end()).unwrap()});
    json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": metadata, "revision": 5,
        "data": form::to_data(&mk_record()).unwrap()})
}

/// The record of [`mk_revision`] as text.
pub(super) fn mk_text() -> String {
    form::to_data(&mk_record()).unwrap()["record"].as_str().unwrap().to_owned()
}
