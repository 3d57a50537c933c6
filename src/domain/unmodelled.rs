//! Finds the fields of a live Deployment that `AppSpec` cannot express. The live object is decoded to an
//! `AppSpec` and rendered again. A field that differs from the rendering and is not a default of the API
//! server is reported. Pure; works on JSON.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    keyed_lists::{entry_id, join_entry, key_field, list_name},
    pod_template_patch::join_path,
};

/// Returns the paths of the fields of `live` that `rendered` does not contain with the same value and that
/// are not defaults. Both values are whole Deployments.
pub fn find_unmodelled(live: &Value, rendered: &Value) -> Vec<String> {
    let mut comparison =
        Comparison { live, rendered, names: volume_names(live, rendered), found: Vec::new() };
    for (field, value) in live["spec"].as_object().into_iter().flatten() {
        // The replica count and pausing have their own calls, and the selector never changes.
        if !matches!(field.as_str(), "replicas" | "paused" | "selector") {
            comparison.value(&format!("spec.{field}"), value, rendered["spec"].get(field));
        }
    }
    comparison.found
}

struct Comparison<'a> {
    live: &'a Value,
    rendered: &'a Value,
    /// For each volume of the live object: the names that Gantry's rendering gives it, one for each mount.
    names: BTreeMap<String, Vec<String>>,
    found: Vec<String>,
}

impl Comparison<'_> {
    fn value(&mut self, path: &str, live: &Value, rendered: Option<&Value>) {
        if is_empty(live) || rendered.is_some_and(|rendered| self.is_same(path, live, rendered)) {
            return;
        }
        match (live, rendered) {
            (Value::Object(live), Some(Value::Object(rendered))) => self.map(path, live, rendered),
            (Value::Array(live), Some(Value::Array(rendered))) if key_field(list_name(path)).is_some() => {
                self.entries(path, live, rendered);
            }
            (_, None) if self.is_default(path, live) => {}
            // An object that contains only defaults is not a difference.
            (Value::Object(live), None) if self.is_all_default(path, live) => {}
            _ => self.found.push(path.to_owned()),
        }
    }

    fn map(&mut self, path: &str, live: &Map<String, Value>, rendered: &Map<String, Value>) {
        for (key, value) in live {
            self.value(&join_path(path, key), value, rendered.get(key));
        }
    }

    fn entries(&mut self, path: &str, live: &[Value], rendered: &[Value]) {
        let list = list_name(path);
        let id_of = |entry: &Value| entry_id(list, entry);
        for (i, entry) in live.iter().enumerate() {
            let id = id_of(entry).unwrap_or_else(|| i.to_string());
            let wanted = match list {
                "volumes" => self.names.get(&id).and_then(|names| names.first()).unwrap_or(&id),
                _ => &id,
            };
            let same = rendered.iter().find(|r| id_of(r).as_ref() == Some(wanted));
            // Of two entries with the same key, Kubernetes uses the last.
            let shadowed = live[i + 1..].iter().any(|later| id_of(later).as_ref() == Some(&id));
            self.value(&join_entry(path, &id), entry, same.filter(|_| !shadowed));
        }
    }

    fn is_same(&self, path: &str, live: &Value, rendered: &Value) -> bool {
        if live == rendered {
            return true;
        }
        match path.rsplit_once('.').map(|(at, field)| (at.rsplit('.').next().unwrap_or_default(), field)) {
            // Another name for the same volume.
            Some((at, "name")) if at.starts_with("volumes[") || at.starts_with("volumeMounts[") => {
                let names = self.names.get(text(live)).into_iter().flatten();
                names.into_iter().any(|name| rendered == name.as_str())
            }
            // All pods of the app, even if the labels differ.
            Some((at, "labelSelector")) if at.starts_with("topologySpreadConstraints[") => {
                *live == self.live["spec"]["selector"]
            }
            // The same port, by number on one side and by name on the other.
            Some((_, "port")) => {
                self.port_number(live).is_some_and(|port| self.port_number(rendered) == Some(port))
            }
            Some((_, "tolerations")) => with_operators(live) == with_operators(rendered),
            // The items of a ConfigMap, in any order.
            Some((_, "items")) => sorted(live) == sorted(rendered),
            _ => false,
        }
    }

    /// Returns whether the value is a default of the API server or has the same meaning as an absent field.
    fn is_default(&self, path: &str, live: &Value) -> bool {
        let (at, field) = path.rsplit_once('.').unwrap_or(("", path));
        let pod = &self.live["spec"]["template"]["spec"];
        let container =
            at == format!("spec.template.spec.containers[{}]", text(&pod["containers"][0]["name"]));
        let profile =
            format!("spec.template.spec.containers[{}].securityContext", text(&pod["containers"][0]["name"]));
        match field {
            _ if path.starts_with("spec.template.metadata.labels") => self.is_selected(live, path),
            "serviceAccount" => *live == pod["serviceAccountName"],
            "imagePullPolicy" if container => text(live) == pull_policy(text(&pod["containers"][0]["image"])),
            // Set on the container, and rendered for the whole pod.
            "runAsNonRoot" | "seccompProfile" if at == profile => {
                self.rendered["spec"]["template"]["spec"]["securityContext"].get(field) == Some(live)
            }
            _ => DEFAULTS.contains(&(field, text(live))) || is_default_scalar(field, live),
        }
    }

    /// Returns the number of a port of the app's container, given by name or number.
    fn port_number(&self, port: &Value) -> Option<u64> {
        let ports = self.rendered["spec"]["template"]["spec"]["containers"][0]["ports"].as_array();
        let named = |name: &str| ports.into_iter().flatten().find(|p| p["name"] == name);
        port.as_u64().or_else(|| named(port.as_str()?)?["containerPort"].as_u64())
    }

    /// Returns whether the selector requires this label. Such labels are not reported, because they stay with
    /// the selector.
    fn is_selected(&self, live: &Value, path: &str) -> bool {
        let selected = self.live["spec"]["selector"]["matchLabels"].as_object().into_iter().flatten();
        selected
            .into_iter()
            .any(|(key, value)| value == live && join_path("spec.template.metadata.labels", key) == path)
    }

    fn is_all_default(&self, path: &str, live: &Map<String, Value>) -> bool {
        // These have no effect if every field has its default. A volume source or a probe handler (for
        // example `emptyDir: {}`) takes effect by its presence, so it counts even then.
        let no_op_when_default = ["rollingUpdate", "securityContext", "capabilities", "lifecycle"];
        no_op_when_default.contains(&list_name(path))
            && live
                .iter()
                .all(|(key, value)| is_empty(value) || self.is_default(&join_path(path, key), value))
    }
}

/// Maps live volumes to rendered ones. Two volumes correspond if the app's container mounts them at the same
/// path.
fn volume_names(live: &Value, rendered: &Value) -> BTreeMap<String, Vec<String>> {
    let mounts = |object: &Value| -> BTreeMap<String, String> {
        let mounts = object["spec"]["template"]["spec"]["containers"][0]["volumeMounts"].as_array();
        let entry = |m: &Value| (text(&m["mountPath"]).to_owned(), text(&m["name"]).to_owned());
        mounts.into_iter().flatten().map(entry).collect()
    };
    let (theirs, mut ours) = (mounts(live), mounts(rendered));
    let mut names = BTreeMap::<_, Vec<_>>::new();
    for (path, name) in theirs {
        names.entry(name).or_default().extend(ours.remove(&path));
    }
    names
}

/// Returns the tolerations with the default operator filled in.
fn with_operators(tolerations: &Value) -> Vec<Value> {
    let mut all = tolerations.as_array().cloned().unwrap_or_default();
    for toleration in all.iter_mut().filter_map(Value::as_object_mut) {
        toleration.entry("operator").or_insert_with(|| "Equal".into());
        toleration.retain(|_, value| !is_empty(value));
    }
    all
}

/// Fields whose default is a text.
const DEFAULTS: [(&str, &str); 15] = [
    ("dnsPolicy", "ClusterFirst"),
    ("restartPolicy", "Always"),
    ("schedulerName", "default-scheduler"),
    ("terminationMessagePath", "/dev/termination-log"),
    ("terminationMessagePolicy", "File"),
    ("protocol", "TCP"),
    ("scheme", "HTTP"),
    ("path", "/"),
    ("operator", "Equal"),
    ("nodeAffinityPolicy", "Honor"),
    ("nodeTaintsPolicy", "Ignore"),
    ("procMount", "Default"),
    ("preemptionPolicy", "PreemptLowerPriority"),
    ("recursiveReadOnly", "Disabled"),
    ("mountPropagation", "None"),
];

/// Fields whose default is a number or a boolean. The defaults are those of `SetDefaults_*` in Kubernetes, or
/// the meaning of an unset field.
fn is_default_scalar(field: &str, live: &Value) -> bool {
    match field {
        "hostNetwork"
        | "hostPID"
        | "hostIPC"
        | "shareProcessNamespace"
        | "setHostnameAsFQDN"
        | "stdin"
        | "stdinOnce"
        | "tty"
        | "optional"
        | "readOnly"
        | "privileged"
        | "readOnlyRootFilesystem" => *live == false,
        "allowPrivilegeEscalation" | "enableServiceLinks" | "hostUsers" => *live == true,
        "minReadySeconds" | "initialDelaySeconds" | "hostPort" => *live == 0,
        "successThreshold" | "timeoutSeconds" => *live == 1,
        "failureThreshold" => *live == 3,
        "periodSeconds" | "revisionHistoryLimit" => *live == 10,
        "terminationGracePeriodSeconds" => *live == 30,
        "progressDeadlineSeconds" => *live == 600,
        "defaultMode" => *live == 0o644,
        _ => false,
    }
}

/// Returns the default of the API server: an image without a tag, or with `latest`, is always pulled.
fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let tag = name.rsplit('/').next().and_then(|last| last.split_once(':')).map(|(_, tag)| tag);
    match (tag, digest) {
        (Some("latest"), _) | (None, None) => "Always",
        (Some(_), _) | (None, Some(_)) => "IfNotPresent",
    }
}

fn sorted(list: &Value) -> Option<Vec<String>> {
    let mut texts: Vec<_> = list.as_array()?.iter().map(Value::to_string).collect();
    texts.sort();
    Some(texts)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(is_empty),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mk_deployment(container: &Value) -> Value {
        json!({"spec": {"selector": {"matchLabels": {"app": "x"}}, "template": {
            "metadata": {"labels": {"app": "x"}}, "spec": {"containers": [container]}}}})
    }

    #[test]
    fn an_object_without_anything_has_nothing_to_tell() {
        for live in [json!({}), json!(null), json!({"spec": null}), json!({"spec": {"template": 3}})] {
            assert!(find_unmodelled(&live, &json!({})).len() <= 1, "{live}");
        }
    }

    #[test]
    fn the_policy_for_pulling_is_told_where_it_is_not_the_one_that_follows_from_the_image() {
        for (image, policy, told) in [
            ("shop:1", "IfNotPresent", false),
            ("shop:1", "Always", true),
            ("shop", "Always", false),
            ("shop:latest", "Always", false),
            ("shop:latest", "IfNotPresent", true),
            ("shop@sha256:0a", "IfNotPresent", false),
            ("shop:1@sha256:0a", "IfNotPresent", false),
            ("registry:5000/shop", "Always", false),
            ("registry:5000/shop", "IfNotPresent", true),
        ] {
            let mut container = json!({"name": "app", "image": image});
            let rendered = mk_deployment(&container);
            container["imagePullPolicy"] = json!(policy);
            let found = find_unmodelled(&mk_deployment(&container), &rendered);
            assert_eq!(!found.is_empty(), told, "{image} {policy}");
        }
    }

    #[test]
    fn what_is_empty_or_a_default_is_not_told_and_another_value_is() {
        let rendered = mk_deployment(&json!({"name": "app"}));
        for (field, quiet, loud) in [
            ("tty", json!(false), json!(true)),
            ("terminationMessagePath", json!("/dev/termination-log"), json!("/x")),
            ("args", json!([]), json!(["x"])),
            ("securityContext", json!({"privileged": false}), json!({"privileged": true})),
            ("securityContext", json!({"capabilities": {}}), json!({"capabilities": {"add": ["X"]}})),
            ("securityContext", json!({"allowPrivilegeEscalation": true}), json!({"runAsUser": 0})),
            ("lifecycle", json!({"preStop": null}), json!({"preStop": {"exec": {}, "x": 1}})),
        ] {
            let live =
                |value| find_unmodelled(&mk_deployment(&json!({"name": "app", field: value})), &rendered);
            assert_eq!(live(quiet), Vec::<String>::new(), "{field}");
            assert_eq!(live(loud), [format!("spec.template.spec.containers[app].{field}")]);
        }
    }

    #[test]
    fn labels_that_select_the_pods_stay_with_the_selector() {
        let rendered = json!({"spec": {"template": {"metadata": {"labels": {"team": "a"}}}}});
        let mut live = mk_deployment(&json!({"name": "app"}));
        live["spec"]["template"]["spec"] = json!(null);
        live["spec"]["template"]["metadata"]["labels"]["tier"] = json!("web");
        live["spec"]["template"]["metadata"]["labels"]["team"] = json!("b");
        let expected = ["spec.template.metadata.labels.team", "spec.template.metadata.labels.tier"];
        assert_eq!(find_unmodelled(&live, &rendered), expected);
    }
}
