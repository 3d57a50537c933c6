//! Renders the pod template.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    owned::{owned_fields, when_unsatisfiable},
    variables::put_in_order,
    volume,
};
use crate::domain::{
    labels::{APP_LABEL, MANAGED_BY_LABEL, MANAGER, RESTARTED_AT_ANNOTATION},
    name, pod_template_patch,
    revision::FIRST_RENDERER,
    spec::{Check, Content, KeyRef, Port, Probe, SecurityProfile, Spec, Spread, Toleration, whole_seconds},
};

/// The input of a rendering besides the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderContext {
    /// Number of the revision.
    pub revision: u64,
    /// Version of the renderer, see [`crate::domain::revision::RENDERER`].
    pub renderer: u32,
    /// The replica count; `None` where another field manager owns it.
    pub replicas: Option<i32>,
    /// Labels that select the pods.
    pub selector: BTreeMap<String, String>,
    /// Time of the last restart that a caller asked for.
    pub restarted: Option<Timestamp>,
}

/// Returns the labels of every object of an app: those of the caller and those of Gantry.
pub(super) fn app_labels(name: &name::App, content: &Content) -> BTreeMap<String, String> {
    let mut labels = content.labels.clone();
    labels.insert("app.kubernetes.io/name".to_owned(), name.app.clone());
    labels.insert(MANAGED_BY_LABEL.to_owned(), MANAGER.to_owned());
    labels.insert(APP_LABEL.to_owned(), name.app.clone());
    labels
}

/// Renders the pod template.
pub fn render_template(
    name: &name::App,
    content: &Content,
    context: &RenderContext,
) -> Result<Value, pod_template_patch::Invalid> {
    let spec = &content.spec;
    let placement = spec.placement.as_deref().cloned().unwrap_or_default();
    let spreads = if placement.spread.is_empty() { Spread::default_spread() } else { placement.spread };
    let mut pod = json!({
        "containers": [container(spec, context.renderer)],
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "terminationGracePeriodSeconds": spec.grace_seconds(),
        "topologySpreadConstraints": spreads.iter().map(|s| spread(s, context)).collect::<Vec<_>>(),
        // Always set, even if no field asks for it. If it were left out, the API server would restore an
        // earlier account from `serviceAccount`, a deprecated copy that no field manager owns.
        "serviceAccountName": if spec.service_account.is_empty() { "default" } else { &spec.service_account },
    });
    // With an account that the caller named, the account itself decides whether its token is mounted.
    if spec.service_account.is_empty() {
        pod["automountServiceAccountToken"] = json!(false);
    }
    if spec.security_profile == Some(SecurityProfile::Restricted) {
        pod["securityContext"]["runAsNonRoot"] = json!(true);
    }
    if !spec.volumes.is_empty() {
        pod["volumes"] = spec.volumes.iter().map(|v| volume::render_volume(v, context.renderer)).collect();
    }
    if !placement.node_selector.is_empty() {
        pod["nodeSelector"] = json!(placement.node_selector);
    }
    if !placement.tolerations.is_empty() {
        pod["tolerations"] = placement.tolerations.iter().map(toleration).collect();
    }
    if !placement.priority_class.is_empty() {
        pod["priorityClassName"] = json!(placement.priority_class);
    }
    if !spec.image_pull_secrets.is_empty() {
        pod["imagePullSecrets"] = spec.image_pull_secrets.iter().map(|name| json!({"name": name})).collect();
    }
    // An adopted app keeps its selector, so the pods must have the labels that it selects.
    let mut labels = app_labels(name, content);
    labels.extend(context.selector.clone());
    let mut template = json!({"metadata": {"labels": labels}, "spec": pod});
    if let Some(restarted) = context.restarted {
        template["metadata"]["annotations"] = json!({RESTARTED_AT_ANNOTATION: restarted.to_string()});
    }
    if let Some(patch) = &spec.pod_template_patch {
        template =
            pod_template_patch::apply_patch(&template, patch, &owned_fields(content, context.renderer))?;
    }
    if context.renderer > FIRST_RENDERER {
        let containers = template["spec"]["containers"].as_array_mut();
        let app = containers.into_iter().flatten().find(|c| c["name"] == spec.container());
        // Other containers keep the order that the patch gives them.
        if let Some(Value::Array(variables)) = app.and_then(|app| app.get_mut("env")) {
            *variables = put_in_order(variables);
        }
    }
    Ok(template)
}

fn spread(spread: &Spread, context: &RenderContext) -> Value {
    json!({
        "topologyKey": spread.topology_key,
        "maxSkew": spread.max_skew.max(1),
        "whenUnsatisfiable": when_unsatisfiable(spread),
        "labelSelector": {"matchLabels": context.selector},
        "matchLabelKeys": ["pod-template-hash"],
    })
}

fn toleration(toleration: &Toleration) -> Value {
    let mut rendered = Map::new();
    let mut set = |key: &str, text: &str| {
        if !text.is_empty() {
            rendered.insert(key.to_owned(), json!(text));
        }
    };
    set("key", &toleration.key);
    set("operator", if toleration.value.is_empty() { "Exists" } else { "Equal" });
    set("value", &toleration.value);
    set("effect", &toleration.effect);
    Value::Object(rendered)
}

fn container(spec: &Spec, renderer: u32) -> Value {
    let mut c = Map::new();
    let mut set = |key: &str, value: Value| c.insert(key.to_owned(), value);
    set("name", json!(spec.container()));
    set("image", json!(spec.image));
    set(
        "securityContext",
        match spec.security_profile {
            None | Some(SecurityProfile::Baseline) => json!({"allowPrivilegeEscalation": false}),
            Some(SecurityProfile::Restricted) => {
                json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}})
            }
        },
    );
    if !spec.command.is_empty() {
        set("command", json!(spec.command));
    }
    if !spec.args.is_empty() {
        set("args", json!(spec.args));
    }
    let env = env(spec);
    if !env.is_empty() {
        set("env", Value::Array(env));
    }
    if let Some(resources) = &spec.resources {
        set("resources", json!({"requests": resources.requests, "limits": resources.limits}));
    }
    if !spec.ports.is_empty() {
        let port = |p: &Port| json!({"name": p.name, "containerPort": p.number, "protocol": "TCP"});
        set("ports", spec.ports.iter().map(port).collect());
    }
    let probes = spec.probes.as_deref().cloned().unwrap_or_default();
    let default = || spec.ports.first().map(|first| Probe::new(Check::TcpPort(first.name.clone())));
    for (key, asked) in [
        ("readinessProbe", probes.readiness.or_else(default)),
        ("livenessProbe", probes.liveness),
        ("startupProbe", probes.startup),
    ] {
        if let Some(rendered) = asked.and_then(|p| probe(&p, &spec.ports)) {
            set(key, rendered);
        }
    }
    if !spec.volumes.is_empty() {
        set("volumeMounts", spec.volumes.iter().map(|v| volume::render_mount(v, renderer)).collect());
    }
    let drain = spec.drain_seconds();
    if drain > 0 {
        set("lifecycle", json!({"preStop": {"sleep": {"seconds": drain}}}));
    }
    Value::Object(c)
}

/// Returns all environment variables, from every source, sorted by name. Their final order is decided later,
/// because a patch may add more.
fn env(spec: &Spec) -> Vec<Value> {
    let from = |name: &str, source: &str, r: &KeyRef| {
        let mut reference = json!({"name": r.name, "key": r.key});
        if r.optional {
            reference["optional"] = json!(true);
        }
        json!({"name": name, "valueFrom": {source: reference}})
    };
    let plain = spec.env.iter().map(|(name, value)| (name, json!({"name": name, "value": value})));
    let secret = spec.secret_env.iter().map(|(name, r)| (name, from(name, "secretKeyRef", r)));
    let config = spec.config_map_env.iter().map(|(name, r)| (name, from(name, "configMapKeyRef", r)));
    let mut all: Vec<_> = plain.chain(secret).chain(config).collect();
    all.sort_by_key(|(name, _)| *name);
    all.into_iter().map(|(_, rendered)| rendered).collect()
}

/// Renders a probe; `None` for the check that switches a default off.
fn probe(probe: &Probe, ports: &[Port]) -> Option<Value> {
    let mut rendered = match &probe.check {
        Check::None => return None,
        Check::HttpGet { port, path } => {
            json!({"httpGet": {"port": port, "path": if path.is_empty() { "/" } else { path }}})
        }
        Check::Grpc { port, service } => {
            // The only check for which Kubernetes accepts no port name.
            let number = ports.iter().find(|p| p.name == *port).map_or(0, |p| p.number);
            let mut grpc = json!({"port": number});
            if !service.is_empty() {
                grpc["service"] = json!(service);
            }
            json!({"grpc": grpc})
        }
        Check::TcpPort(port) => json!({"tcpSocket": {"port": port}}),
        Check::Exec(command) => json!({"exec": {"command": command}}),
    };
    // Kubernetes reads 0 as unset for the first two, so they are at least 1. An initial delay of 0 is left
    // out.
    for (key, time) in [("periodSeconds", probe.period), ("timeoutSeconds", probe.timeout)] {
        if let Some(time) = time {
            rendered[key] = json!(whole_seconds(time).max(1));
        }
    }
    if let Some(delay) = probe.initial_delay.filter(|delay| !delay.is_zero()) {
        rendered["initialDelaySeconds"] = json!(whole_seconds(delay));
    }
    if probe.failure_threshold > 0 {
        rendered["failureThreshold"] = json!(probe.failure_threshold);
    }
    Some(rendered)
}
