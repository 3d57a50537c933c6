//! Decodes the spec of a Deployment into Gantry's `AppSpec`: the inverse of `domain::manifest`. Fields that
//! `AppSpec` cannot express are dropped here and reported by `domain::unmodelled`. Values that equal Gantry's
//! default are left unset. Where Gantry's default differs from the Deployment (probe, preStop sleep, token of
//! the service account), the value is explicit.

mod json;
mod probe;
mod volume;

use std::{
    cell::LazyCell,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use serde_json::Value;

use self::json::{non_default_seconds, read_list, read_map, read_text, read_texts};
use crate::domain::{
    manifest::variables::{name_of, put_in_order, references},
    scheduling::TEMPLATE_HASH,
    spec::{
        KeyRef, Placement, Port, Protocol, Resources, RolloutPolicy, SecurityProfile, Spec, Spread, Strategy,
        Toleration,
    },
};

/// Decodes `spec` of a Deployment. Of several containers, the first is the app's.
pub(super) fn to_spec(deployment: &Value) -> Spec {
    let pod = &deployment["template"]["spec"];
    let container = &pod["containers"][0];
    let replicas = deployment["replicas"].as_i64().and_then(|n| n.try_into().ok());
    let rollout_policy = rollout_policy(deployment);
    if !container.is_object() {
        return Spec { replicas, rollout_policy, ..Spec::default() };
    }
    let mut spec = Spec {
        image: read_text(&container["image"]),
        replicas,
        ports: decode_ports(container),
        command: read_texts(&container["command"]),
        args: read_texts(&container["args"]),
        resources: resources(container),
        rollout_policy,
        volumes: volume::decode_volumes(pod),
        placement: placement(deployment).map(Box::new),
        service_account: service_account(pod),
        security_profile: security_profile(pod),
        termination_grace: non_default_seconds(
            pod["terminationGracePeriodSeconds"].as_u64(),
            Spec::GRACE_SECONDS,
        ),
        image_pull_secrets: read_list(&pod["imagePullSecrets"]).map(|s| read_text(&s["name"])).collect(),
        container: Some(read_text(&container["name"])).filter(|n| n != Spec::CONTAINER).unwrap_or_default(),
        ..Spec::default()
    };
    env(container, &mut spec);
    spec.probes = probe::decode_probes(container, &spec.ports).map(Box::new);
    let drain = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap_or_default();
    spec.drain_delay = non_default_seconds(Some(drain), spec.default_drain_seconds());
    spec
}

/// A hash that distinguishes pod templates. The Deployment controller adds one label to the copy of the
/// template in a ReplicaSet. The hash ignores that label, as the controller's own comparison does.
pub fn template_hash(template: &Value) -> u64 {
    let mut template = template.clone();
    if let Some(Value::Object(labels)) = template.pointer_mut("/metadata/labels") {
        labels.remove(TEMPLATE_HASH);
    }
    let mut hasher = DefaultHasher::new();
    template.hash(&mut hasher);
    hasher.finish()
}

/// Returns the TCP ports of a container.
pub(super) fn decode_ports(container: &Value) -> Vec<Port> {
    let mut ports: Vec<Port> = Vec::new();
    for port in read_list(&container["ports"]) {
        let number = port["containerPort"].as_u64().and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0);
        let Some(number) = number.filter(|n| ports.iter().all(|p| p.number != *n)) else { continue };
        if !matches!(port["protocol"].as_str(), None | Some("" | "TCP")) {
            continue;
        }
        // `AppSpec` requires a name for each port, Kubernetes does not.
        let named =
            Some(read_text(&port["name"])).filter(|n| Port::is_name(n) && ports.iter().all(|p| p.name != *n));
        let name = named.unwrap_or_else(|| format!("port-{number}"));
        ports.push(Port { name, number, protocol: Protocol::Tcp });
    }
    ports
}

fn env(container: &Value, spec: &mut Spec) {
    let entries: Vec<&Value> = read_list(&container["env"]).collect();
    let names: Vec<String> = entries.iter().map(|e| read_text(&e["name"])).collect();
    // Few variables refer to others.
    let rendered = LazyCell::new(|| {
        let mut sorted: Vec<Value> = entries.iter().copied().cloned().collect();
        sorted.sort_by_key(|variable| name_of(variable).to_owned());
        put_in_order(&sorted)
    });
    let place = |name: &str| rendered.iter().position(|variable| name_of(variable) == name);
    for (i, (entry, name)) in entries.iter().zip(&names).enumerate() {
        // In Kubernetes the last variable of a name wins.
        if name.is_empty() || names[i + 1..].contains(name) {
            continue;
        }
        let from = &entry["valueFrom"];
        if from.is_null() {
            let value = read_text(&entry["value"]);
            // A value may refer to variables that precede it in the list. Gantry puts those first that others
            // refer to, so skip a value whose references would resolve differently.
            let moved = |other: &str| {
                names
                    .iter()
                    .position(|name| name == other)
                    .is_some_and(|j| (j < i) != (place(other) < place(name)))
            };
            if !references(&value).into_iter().any(moved) {
                spec.env.insert(name.clone(), value);
            }
        } else if let Some(reference) = key_ref(&from["secretKeyRef"]) {
            spec.secret_env.insert(name.clone(), reference);
        } else if let Some(reference) = key_ref(&from["configMapKeyRef"]) {
            spec.config_map_env.insert(name.clone(), reference);
        }
    }
}

fn key_ref(value: &Value) -> Option<KeyRef> {
    let (name, key) = (read_text(&value["name"]), read_text(&value["key"]));
    let there = !name.is_empty() && !key.is_empty();
    there.then(|| KeyRef { name, key, optional: value["optional"] == true })
}

fn resources(container: &Value) -> Option<Resources> {
    let (requests, limits) =
        (read_map(&container["resources"]["requests"]), read_map(&container["resources"]["limits"]));
    (!requests.is_empty() || !limits.is_empty()).then_some(Resources { requests, limits })
}

fn rollout_policy(deployment: &Value) -> Option<RolloutPolicy> {
    let strategy = &deployment["strategy"];
    let recreate = strategy["type"] == "Recreate";
    let part = |field: &str, default: &str| {
        let value = &strategy["rollingUpdate"][field];
        let text = value.as_u64().map_or_else(|| read_text(value), |n| n.to_string());
        // The default that Kubernetes fills in.
        let text = if text.is_empty() && !recreate { "25%".to_owned() } else { text };
        if text == default { String::new() } else { text }
    };
    let policy = RolloutPolicy {
        max_surge: part("maxSurge", "25%"),
        max_unavailable: part("maxUnavailable", "0"),
        strategy: if recreate { Strategy::Recreate } else { Strategy::Rolling },
        progress_timeout: non_default_seconds(deployment["progressDeadlineSeconds"].as_u64(), 600),
        ..RolloutPolicy::default()
    };
    (policy != RolloutPolicy::default()).then_some(policy)
}

fn placement(deployment: &Value) -> Option<Placement> {
    let pod = &deployment["template"]["spec"];
    // The list is all or nothing: with only some of the tolerations, a deploy would remove the rest.
    let tolerations: Option<Vec<_>> = read_list(&pod["tolerations"]).map(toleration).collect();
    let spread: Vec<_> = read_list(&pod["topologySpreadConstraints"])
        .filter(|constraint| {
            !constraint["labelSelector"].is_null() && constraint["labelSelector"] == deployment["selector"]
        })
        .map(spread)
        .collect();
    let placement = Placement {
        node_selector: read_map(&pod["nodeSelector"]),
        tolerations: tolerations.unwrap_or_default(),
        spread: if spread == Spread::default_spread() { Vec::new() } else { spread },
        priority_class: read_text(&pod["priorityClassName"]),
    };
    (placement != Placement::default()).then_some(placement)
}

fn toleration(value: &Value) -> Option<Toleration> {
    let toleration = Toleration {
        key: read_text(&value["key"]),
        value: read_text(&value["value"]),
        effect: read_text(&value["effect"]),
    };
    let exists = value["operator"] == "Exists";
    let equal = matches!(value["operator"].as_str(), None | Some("" | "Equal"));
    // In `AppSpec` an empty value tolerates every value, in Kubernetes only the empty one.
    let sayable = (exists && toleration.value.is_empty()) || (equal && !toleration.value.is_empty());
    (sayable && value["tolerationSeconds"].is_null()).then_some(toleration)
}

fn spread(value: &Value) -> Spread {
    let skew = value["maxSkew"].as_i64().and_then(|n| i32::try_from(n).ok()).unwrap_or(1);
    Spread {
        topology_key: read_text(&value["topologyKey"]),
        max_skew: if skew == 1 { 0 } else { skew },
        required: value["whenUnsatisfiable"] == "DoNotSchedule",
    }
}

/// Returns an empty name only for the account `default` without its token, because that is what an empty name
/// means.
fn service_account(pod: &Value) -> String {
    let named = [&pod["serviceAccountName"], &pod["serviceAccount"]]
        .map(read_text)
        .into_iter()
        .find(|n| !n.is_empty());
    let name = named.unwrap_or_else(|| "default".to_owned());
    if name == "default" && pod["automountServiceAccountToken"] == false { String::new() } else { name }
}

fn security_profile(pod: &Value) -> Option<SecurityProfile> {
    let container = &pod["containers"][0]["securityContext"];
    let effective = |field: &str| {
        if container[field].is_null() { &pod["securityContext"][field] } else { &container[field] }
    };
    let restricted = *effective("runAsNonRoot") == true
        && effective("seccompProfile")["type"] == "RuntimeDefault"
        && container["allowPrivilegeEscalation"] == false
        && read_list(&container["capabilities"]["drop"]).any(|c| c == "ALL");
    restricted.then_some(SecurityProfile::Restricted)
}
