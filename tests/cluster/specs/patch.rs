//! Arbitrary patches of the pod template that are valid for a spec: containers of each kind, volumes,
//! variables, scheduling, what a null removes. A patch touches nothing that a field of the spec sets.

use gantry::pb;
use serde_json::{Map, Value, json};

use super::any;
use crate::support::Numbers;

/// A random patch that fits the spec, mostly of several parts.
pub fn any(n: &mut Numbers, spec: &pb::AppSpec) -> Option<Value> {
    if n.percent(35) {
        return None;
    }
    let (mut metadata, mut pod) = (Map::new(), Map::new());
    if n.percent(40) {
        let annotations = json!({"example.com/note": any::text(n), "a.b": any::text(n)});
        metadata.insert("annotations".into(), annotations);
    }
    if n.percent(30) {
        metadata.insert("labels".into(), json!({"patch.example.com/x": n.of(&["", "A_1"])}));
    }
    if n.percent(50) {
        pod.insert("initContainers".into(), init_containers(n));
    }
    let mut containers = Vec::new();
    if n.percent(50) {
        containers.push(own_container(n, spec));
    }
    if n.percent(35) {
        containers.push(json!({"name": "patch-side", "image": "side:1", "args": [any::text(n)],
            "resources": {"limits": {"cpu": quantity(n), "memory": 67_108_864}},
            "readinessProbe": {"httpGet": {"port": 15_021, "path": "/"}, "periodSeconds": 1}}));
    }
    if !containers.is_empty() {
        pod.insert("containers".into(), Value::Array(containers));
    }
    if n.percent(40) {
        pod.insert("volumes".into(), volumes(n));
    }
    for _ in 0..n.below(5) {
        let (key, value) = pod_part(n, spec);
        if !key.is_empty() {
            pod.insert(key.into(), value);
        }
    }
    if pod.contains_key("hostNetwork") {
        // Kubernetes allows the node's network only with the node's users.
        pod.remove("hostUsers");
    }
    let mut patch = Map::new();
    for (key, part) in [("metadata", metadata), ("spec", pod)] {
        if !part.is_empty() {
            patch.insert(key.into(), Value::Object(part));
        }
    }
    // An empty patch is valid, too.
    Some(Value::Object(patch))
}

fn init_containers(n: &mut Numbers) -> Value {
    let env = json!([{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "A", "value": any::text(n)}, {"name": "B", "value": "$(POD)-$(A)"}]);
    let init = json!({"name": "patch-init", "image": "init:1", "command": ["sh", "-c", any::text(n)], "env": env,
        "resources": {"requests": {"cpu": n.of(&["1e-2", "10m", ".01"])}}});
    // A native sidecar.
    let mut side = json!({"name": "patch-sidecar", "image": "sidecar:1", "restartPolicy": "Always"});
    if n.percent(50) {
        side["startupProbe"] = json!({"exec": {"command": ["true"]}, "failureThreshold": 9});
    }
    if n.percent(50) {
        side["ports"] = json!([{"containerPort": 15_090, "name": "metrics"}, {"containerPort": 15_053, "protocol": "UDP"}]);
    }
    match n.below(4) {
        0 => json!([init]),
        1 => json!([side]),
        2 => json!([init, side]),
        _ => json!([side, init]),
    }
}

/// A quantity as a text or a number.
fn quantity(n: &mut Numbers) -> Value {
    match n.below(4) {
        0 => json!(1),
        1 => json!(0.1),
        2 => json!("0.1"),
        _ => json!("100m"),
    }
}

/// The app's own container, with what no field of the spec sets.
fn own_container(n: &mut Numbers, spec: &pb::AppSpec) -> Value {
    let name = if spec.container.is_empty() { "app" } else { &spec.container };
    let mut own = json!({"name": name});
    let mut add = |key: &str, value: Value| own[key] = value;
    if n.percent(40) {
        let mut env = json!([{"name": "P1", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "P2", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": n.of(&["1m", "1"])}}}]);
        if n.percent(50) {
            env.as_array_mut().unwrap().reverse();
        }
        add("env", env);
    }
    if n.percent(30) {
        let from = json!([{"configMapRef": {"name": "web", "optional": true}}, {"prefix": "X_", "secretRef": {"name": "web"}}]);
        add("envFrom", from);
    }
    if n.percent(30) {
        // The number of a port of the app, with other protocols.
        let number = spec.ports.first().map_or(53, |port| port.number);
        add(
            "ports",
            json!([{"containerPort": number, "protocol": "UDP"}, {"containerPort": number, "name": "patch-sctp", "protocol": "SCTP"}]),
        );
    }
    if n.percent(25) {
        add("lifecycle", json!({"postStart": {"exec": {"command": ["true", any::text(n)]}}}));
    }
    match n.below(14) {
        0 => add("workingDir", json!("/srv/ü")),
        1 => add("tty", json!(true)),
        2 => add("imagePullPolicy", json!("Always")),
        3 => add("terminationMessagePolicy", json!("FallbackToLogsOnError")),
        4 => add("resizePolicy", json!([{"resourceName": "cpu", "restartPolicy": "RestartContainer"}])),
        5 => add("resources", json!({})),
        6 => add("env", json!([])),
        7 => add("lifecycle", json!({})),
        8 => add("volumeDevices", json!([])),
        9 => add("stdin", json!(false)),
        10 => add("securityContext", json!({})),
        _ => {}
    }
    let unset = |probe: fn(&pb::Probes) -> &Option<pb::Probe>| {
        spec.probes.as_ref().is_none_or(|probes| probe(probes).is_none())
    };
    if n.percent(15) && unset(|probes| &probes.readiness) {
        // Switches the default probe off.
        add("readinessProbe", Value::Null);
    }
    if n.percent(15) && unset(|probes| &probes.liveness) {
        add(
            "livenessProbe",
            json!({"tcpSocket": {"port": 15_021}, "terminationGracePeriodSeconds": 5, "periodSeconds": 600}),
        );
    }
    if n.percent(15) && spec.security_profile == 0 {
        add(
            "securityContext",
            json!({"readOnlyRootFilesystem": true, "runAsUser": 1000, "capabilities": {"add": ["NET_BIND_SERVICE"]}}),
        );
    }
    own
}

fn volumes(n: &mut Numbers) -> Value {
    let all = [
        json!({"name": "patch-api", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}),
        json!({"name": "patch-all", "projected": {"sources": [
            {"serviceAccountToken": {"path": "token", "audience": "x"}}, {"configMap": {"name": "web", "optional": true}}]}}),
        json!({"name": "patch-own", "ephemeral": {"volumeClaimTemplate": {"spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": n.of(&["1Gi", "1024Mi", "1e9"])}}}}}}),
        json!({"name": "patch-dir", "emptyDir": {"sizeLimit": n.of(&["0.5Gi", "512Mi"])}}),
        json!({"name": "patch-csi", "csi": {"driver": "secrets-store.csi.k8s.io", "readOnly": true, "volumeAttributes": {"a": "b"}}}),
        json!({"name": "patch-host", "hostPath": {"path": "/run"}}),
        json!({"name": "patch-mode", "secret": {"secretName": "web", "defaultMode": 256}}),
    ];
    let first = usize::try_from(n.below(all.len() as u64)).unwrap();
    Value::Array(all.into_iter().skip(first).take(usize::try_from(1 + n.below(3)).unwrap()).collect())
}

/// One field of the pod. The key is empty if a field of the spec sets it.
fn pod_part(n: &mut Numbers, spec: &pb::AppSpec) -> (&'static str, Value) {
    let no_placement = spec.placement.is_none();
    match n.below(30) {
        0 => ("dnsConfig", json!({"nameservers": ["10.0.0.10"]})),
        1 => ("dnsConfig", json!({"options": [{"name": "ndots", "value": "2"}], "searches": ["a.b"]})),
        2 => (
            "hostAliases",
            json!([{"ip": "10.1.2.3", "hostnames": ["a", "b"]}, {"ip": "fd00::1", "hostnames": ["c"]}]),
        ),
        3 => ("affinity", affinity(n)),
        4 => ("schedulerName", json!("other")),
        5 => ("shareProcessNamespace", json!(true)),
        6 => ("enableServiceLinks", json!(false)),
        7 => ("subdomain", json!("x")),
        8 => ("readinessGates", json!([{"conditionType": "example.com/Gate"}])),
        9 => ("schedulingGates", json!([{"name": "example.com/gate"}])),
        10 => ("hostUsers", json!(false)),
        11 => ("automountServiceAccountToken", json!(n.percent(50))),
        12 => (
            "securityContext",
            json!({"fsGroup": 1000, "sysctls": [{"name": "net.ipv4.tcp_syncookies", "value": "1"}]}),
        ),
        13 if spec.security_profile == 0 => ("securityContext", json!({"seccompProfile": null})),
        14 if no_placement => ("topologySpreadConstraints", Value::Null),
        15 if no_placement => {
            ("topologySpreadConstraints", json!([{"topologyKey": "kubernetes.io/hostname", "maxSkew": 2}]))
        }
        16 if no_placement => {
            ("tolerations", json!([{"operator": "Exists", "tolerationSeconds": 60, "effect": "NoExecute"}]))
        }
        17 if no_placement => ("nodeSelector", json!({"disk": "ssd"})),
        18 if spec.termination_grace.is_none() && spec.drain_delay.is_none() => {
            ("terminationGracePeriodSeconds", json!(45))
        }
        19 if spec.image_pull_secrets.is_empty() => {
            ("imagePullSecrets", json!([{"name": "a"}, {"name": "b.c"}]))
        }
        20 => ("os", json!({"name": "linux"})),
        21 => ("preemptionPolicy", Value::Null),
        // Empty values, which the API server keeps or drops.
        22 => ("affinity", json!({})),
        23 => ("securityContext", json!({})),
        24 => ("hostAliases", json!([])),
        25 if no_placement => ("nodeSelector", json!({})),
        26 if no_placement => ("tolerations", json!([])),
        27 if spec.image_pull_secrets.is_empty() => ("imagePullSecrets", json!([])),
        28 => ("hostNetwork", json!(true)),
        29 => ("dnsConfig", json!({"nameservers": [], "options": [{"name": "debug", "value": null}]})),
        _ => ("", Value::Null),
    }
}

fn affinity(n: &mut Numbers) -> Value {
    let terms = json!({"matchExpressions": [{"key": "disk", "operator": n.of(&["Exists", "DoesNotExist"])}]});
    json!({"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [terms]},
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": terms}]},
        "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": {
            "topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"a": "b"}}}}]}})
}

/// Whether the patch has a part that this field would set, too.
pub fn overlaps(spec: &pb::AppSpec, field: &str) -> bool {
    let Some(patch) = &spec.pod_template_patch else { return false };
    let patch = to_json(patch);
    let pod = &patch["spec"];
    let has = |keys: &[&str]| keys.iter().any(|key| pod.get(*key).is_some());
    let containers = pod["containers"].as_array().map_or(&[][..], Vec::as_slice);
    let own: Vec<_> = containers.iter().filter(|c| c["name"] != "patch-side").collect();
    let own_has = |keys: &[&str]| own.iter().any(|c| keys.iter().any(|key| c.get(*key).is_some()));
    match field {
        "spec.container" => !own.is_empty(),
        "spec.placement" => has(&["tolerations", "nodeSelector", "topologySpreadConstraints"]),
        "spec.termination_grace" | "spec.drain_delay" => has(&["terminationGracePeriodSeconds"]),
        "spec.image_pull_secrets" => has(&["imagePullSecrets"]),
        "spec.security_profile" => has(&["securityContext"]) || own_has(&["securityContext"]),
        "spec.probes" => own_has(&["readinessProbe", "livenessProbe"]),
        _ => false,
    }
}

pub fn to_struct(value: Value) -> prost_types::Struct {
    let Value::Object(map) = value else { panic!("{value} is not a map") };
    prost_types::Struct { fields: map.into_iter().map(|(key, value)| (key, to_value(value))).collect() }
}

fn to_value(value: Value) -> prost_types::Value {
    use prost_types::value::Kind;
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(value),
        Value::Number(value) => Kind::NumberValue(value.as_f64().unwrap()),
        Value::String(value) => Kind::StringValue(value),
        Value::Array(values) => {
            Kind::ListValue(prost_types::ListValue { values: values.into_iter().map(to_value).collect() })
        }
        Value::Object(_) => Kind::StructValue(to_struct(value)),
    };
    prost_types::Value { kind: Some(kind) }
}

pub fn to_json(value: &prost_types::Struct) -> Value {
    value.fields.iter().map(|(key, value)| (key.clone(), value_to_json(value))).collect()
}

fn value_to_json(value: &prost_types::Value) -> Value {
    use prost_types::value::Kind;
    match value.kind.as_ref().unwrap() {
        Kind::NullValue(_) => Value::Null,
        Kind::BoolValue(value) => json!(value),
        Kind::NumberValue(value) => json!(value),
        Kind::StringValue(value) => json!(value),
        Kind::ListValue(list) => list.values.iter().map(value_to_json).collect(),
        Kind::StructValue(map) => to_json(map),
    }
}
