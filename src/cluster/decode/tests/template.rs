//! Reads back what is rendered. Of Deployments that are not managed by Gantry, everything that the API models
//! is read, and the rest is reported.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{mk_deployment, row};
use crate::{
    cluster::decode::Deployment,
    domain::{
        diff, keyed_lists,
        labels::{APP_LABEL, MANAGED_BY_LABEL},
        manifest, name, observed,
        revision::RENDERER,
        spec::{
            Check, Content, EmptyDir, Placement, Probe, Probes, RolloutPolicy, SecurityProfile, Source, Spec,
            Toleration, Volume,
            arbitrary::{mk_any_content, normalize_spec},
        },
    },
};

/// What the API server stores for a Deployment: with the defaults of Kubernetes' `SetDefaults_*`, and without
/// empty fields.
fn with_defaults(deployment: &mut Value) {
    fill(&mut deployment["spec"], &json!({"replicas": 1, "revisionHistoryLimit": 10}));
    deployment["spec"]["template"]["metadata"]["creationTimestamp"] = Value::Null;
    let pod = &mut deployment["spec"]["template"]["spec"];
    let account = pod["serviceAccountName"].clone();
    fill(
        pod,
        &json!({"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
            "securityContext": {}, "serviceAccount": account, "terminationGracePeriodSeconds": 30}),
    );
    for volume in pod.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        for source in
            ["configMap", "secret"].into_iter().filter(|s| volume.get(*s).is_some()).collect::<Vec<_>>()
        {
            fill(&mut volume[source], &json!({"defaultMode": 420}));
        }
    }
    for container in pod["containers"].as_array_mut().into_iter().flatten() {
        if let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut) {
            resources.retain(|_, quantities| quantities != &json!({}));
        }
        let image = container["image"].as_str().unwrap_or_default();
        let latest = image.ends_with(":latest") || !image.contains([':', '@']);
        fill(
            container,
            &json!({"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File", "resources": {},
                "imagePullPolicy": if latest { "Always" } else { "IfNotPresent" }}),
        );
        for probe in ["readinessProbe", "livenessProbe", "startupProbe"] {
            let Some(probe) = container.get_mut(probe) else { continue };
            fill(
                probe,
                &json!({"periodSeconds": 10, "timeoutSeconds": 1, "failureThreshold": 3, "successThreshold": 1}),
            );
            if probe.get("httpGet").is_some() {
                fill(&mut probe["httpGet"], &json!({"scheme": "HTTP", "path": "/"}));
            }
            if probe.get("grpc").is_some() {
                fill(&mut probe["grpc"], &json!({"service": ""}));
            }
        }
    }
}

fn fill(value: &mut Value, defaults: &Value) {
    for (key, default) in defaults.as_object().unwrap() {
        value.as_object_mut().unwrap().entry(key).or_insert_with(|| default.clone());
    }
}

fn mk_live(content: &Content, replicas: Option<i32>, by: &str) -> Value {
    let name = name::App::new("prod", "shop");
    let selector = [(APP_LABEL.to_owned(), name.app.clone())].into();
    let context =
        manifest::RenderContext { revision: 1, renderer: RENDERER, replicas, selector, restarted: None };
    let mut live = manifest::render_deployment(&name, content, &context).unwrap().manifest;
    with_defaults(&mut live);
    live["metadata"]["labels"][MANAGED_BY_LABEL] = json!(by);
    live
}

fn read(live: Value) -> observed::Deployment {
    row::<Deployment>(live).unwrap()
}

proptest! {
    // Adopting an app retains its content: what was read is rendered again unchanged.
    #[test]
    fn what_is_rendered_is_read_back(content in mk_any_content(), replicas in 0..9) {
        let found = read(mk_live(&content, Some(replicas), "helm"));
        let expected = Spec { replicas: Some(replicas), ..normalize_spec(&content.spec) };
        prop_assert_eq!(found.unmodelled, Vec::<String>::new());
        prop_assert_eq!(&found.spec.canonical(), &expected);
        let again = Content { spec: found.spec, ..content.clone() };
        let (before, after) = (mk_live(&content, Some(replicas), "helm"), mk_live(&again, Some(replicas), "helm"));
        prop_assert_eq!(diff::diff_objects(&before, &after), []);
    }

    #[test]
    fn what_was_read_can_be_deployed(content in mk_any_content()) {
        prop_assert!(content.spec.check().is_ok());
        prop_assert!(read(mk_live(&content, None, "helm")).spec.check().is_ok());
    }

    // Every field that is added outside Gantry is reported by its path.
    #[test]
    fn no_field_that_is_added_goes_unnoticed(content in mk_any_content(), which in 0..ADDED.len()) {
        let (path, value, told) = ADDED[which];
        let mut live = mk_live(&content, Some(1), "helm");
        let path = path.replace("APP", content.spec.container());
        let value: Value = serde_json::from_str(value).unwrap();
        put(&mut live, &path, value);
        let told = if told == "VOLUMES" && content.spec.volumes.is_empty() { "spec.template.spec.volumes".to_owned() } else if told.is_empty() || told == "VOLUMES" { path } else { told.replace("APP", content.spec.container()) };
        prop_assert_eq!(read(live).unmodelled, [told]);
    }
}

/// Fields that the API does not model: path, value, and the reported path if it is another one.
const ADDED: &[(&str, &str, &str)] = &[
    ("spec.minReadySeconds", "5", ""),
    ("spec.revisionHistoryLimit", "3", ""),
    ("spec.template.metadata.annotations", r#"{"a": "b"}"#, ""),
    ("spec.template.metadata.labels.tier", r#""web""#, ""),
    ("spec.template.spec.initContainers", r#"[{"name": "init"}]"#, ""),
    ("spec.template.spec.containers[sidecar]", r#"{"name": "sidecar", "image": "x"}"#, ""),
    ("spec.template.spec.volumes[sock]", r#"{"name": "sock", "hostPath": {"path": "/run"}}"#, "VOLUMES"),
    ("spec.template.spec.hostNetwork", "true", ""),
    ("spec.template.spec.enableServiceLinks", "false", ""),
    ("spec.template.spec.dnsPolicy", r#""None""#, ""),
    ("spec.template.spec.affinity", r#"{"nodeAffinity": {"x": "y"}}"#, ""),
    ("spec.template.spec.runtimeClassName", r#""gvisor""#, ""),
    ("spec.template.spec.securityContext.fsGroup", "0", ""),
    ("spec.template.spec.containers[APP].imagePullPolicy", r#""Never""#, ""),
    ("spec.template.spec.containers[APP].workingDir", r#""/srv""#, ""),
    ("spec.template.spec.containers[APP].envFrom", r#"[{"secretRef": {"name": "x"}}]"#, ""),
    ("spec.template.spec.containers[APP].securityContext.readOnlyRootFilesystem", "true", ""),
    ("spec.template.spec.containers[APP].tty", "true", ""),
    ("spec.template.spec.containers[APP].terminationMessagePolicy", r#""FallbackToLogsOnError""#, ""),
];

/// Like `lists::path::set`, but also creates the list that an entry is put into.
fn put(live: &mut Value, path: &str, value: Value) {
    if path.ends_with("volumes[sock]") && live["spec"]["template"]["spec"].get("volumes").is_none() {
        live["spec"]["template"]["spec"]["volumes"] = json!([]);
    }
    keyed_lists::path::set(live, path, Some(value));
}

fn changed(change: impl FnOnce(&mut Value)) -> (Spec, Vec<String>) {
    let mut live = mk_deployment();
    live["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().truncate(1);
    change(&mut live["spec"]);
    with_defaults(&mut live);
    let found = read(live);
    (found.spec, found.unmodelled)
}

fn container(spec: &mut Value) -> &mut Value {
    &mut spec["template"]["spec"]["containers"][0]
}

fn in_container(path: &str) -> String {
    format!("spec.template.spec.containers[main].{path}")
}

#[test]
fn what_the_contract_names_as_examples_is_told_like_this() {
    let (_, told) = changed(|spec| {
        spec["minReadySeconds"] = json!(5);
        container(spec)["lifecycle"] = json!({"postStart": {"exec": {"command": ["x"]}}});
        spec["template"]["spec"]["initContainers"] = json!([{"name": "init", "image": "x"}]);
        spec["template"]["spec"]["containers"]
            .as_array_mut()
            .unwrap()
            .push(json!({"name": "sidecar", "image": "x"}));
    });
    let expected = [
        "spec.minReadySeconds".to_owned(),
        in_container("lifecycle"),
        "spec.template.spec.containers[sidecar]".to_owned(),
        "spec.template.spec.initContainers".to_owned(),
    ];
    assert_eq!(told, expected);
    // A field beside one that the API models.
    let (spec, told) = changed(|spec| {
        container(spec)["lifecycle"] =
            json!({"postStart": {"exec": {"command": ["x"]}}, "preStop": {"sleep": {"seconds": 7}}});
    });
    assert_eq!(
        (spec.drain_delay, told),
        (Some(std::time::Duration::from_secs(7)), vec![in_container("lifecycle.postStart")])
    );
    let (spec, told) =
        changed(|spec| container(spec)["lifecycle"] = json!({"preStop": {"exec": {"command": ["x"]}}}));
    assert_eq!((spec.drain_delay, told), (Some(std::time::Duration::ZERO), vec![in_container("lifecycle")]));
}

#[test]
fn a_probe_by_number_is_one_by_name() {
    let (spec, told) = changed(|spec| {
        container(spec)["readinessProbe"] =
            json!({"httpGet": {"port": 9090, "path": "/ready"}, "periodSeconds": 3});
        container(spec)["livenessProbe"] = json!({"tcpSocket": {"port": "http"}});
        container(spec)["startupProbe"] = json!({"grpc": {"port": 8080}});
    });
    let port = || "http".to_owned();
    let ready = Check::HttpGet { port: "port-9090".into(), path: "/ready".into() };
    let expected = Probes {
        readiness: Some(Probe { period: Some(std::time::Duration::from_secs(3)), ..Probe::new(ready) }),
        liveness: Some(Probe::new(Check::TcpPort(port()))),
        startup: Some(Probe::new(Check::Grpc { port: port(), service: String::new() })),
    };
    assert_eq!((spec.probes.as_deref(), told), (Some(&expected), vec![]));
    // A port that the container does not list has no name, so the probe is reported and none replaces it.
    let (spec, told) = changed(|spec| container(spec)["readinessProbe"] = json!({"tcpSocket": {"port": 7}}));
    assert_eq!(spec.probes.unwrap().readiness, Some(Probe::new(Check::None)));
    assert_eq!(told, [in_container("readinessProbe")]);
    let (_, told) = changed(|spec| {
        container(spec)["livenessProbe"] = json!({"httpGet": {"port": 8080, "scheme": "HTTPS", "httpHeaders": [{"name": "a", "value": "b"}]}, "terminationGracePeriodSeconds": 3});
    });
    let expected = ["httpGet.httpHeaders", "httpGet.scheme", "terminationGracePeriodSeconds"];
    assert_eq!(told, expected.map(|field| in_container(&format!("livenessProbe.{field}"))));
}

#[test]
fn variables_that_need_their_order_are_left_as_they_are() {
    let vars = |env: Value| {
        let (spec, told) = changed(|spec| container(spec)["env"] = env);
        (spec.env.into_keys().collect::<Vec<_>>(), told)
    };
    let var = |name: &str, value: &str| json!({"name": name, "value": value});
    assert_eq!(vars(json!([var("A", "1"), var("B", "$(A)")])), (vec!["A".into(), "B".into()], vec![]));
    assert_eq!(vars(json!([var("Z", "1"), var("B", "$(Z)")])), (vec!["B".into(), "Z".into()], vec![]));
    assert_eq!(vars(json!([var("B", "$$(Z)"), var("Z", "1")])), (vec!["B".into(), "Z".into()], vec![]));
    // Kubernetes leaves `$(Z)` as text here, and would fill it in if Z came first.
    assert_eq!(
        vars(json!([var("B", "$(Z)"), var("Z", "1")])),
        (vec!["Z".into()], vec![in_container("env[B]")])
    );
    // The last variable of a name wins.
    let (keys, told) = vars(json!([var("A", "1"), var("A", "2")]));
    assert_eq!((keys, told), (vec!["A".into()], vec![in_container("env[A]")]));
    let field =
        json!([{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}, var("A", "1")]);
    assert_eq!(vars(field), (vec!["A".into()], vec![in_container("env[IP]")]));
}

#[test]
fn an_empty_directory_that_is_shared_stays_shared() {
    let dir = |mounts: Value, sidecar: Value| {
        changed(|spec| {
            container(spec)["volumeMounts"] = mounts;
            spec["template"]["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
            spec["template"]["spec"]["containers"].as_array_mut().unwrap().push(sidecar);
        })
    };
    let mount = json!({"name": "data", "mountPath": "/data"});
    let (spec, told) = dir(json!([mount]), json!({"name": "b"}));
    let source = Source::EmptyDir(EmptyDir::default());
    assert_eq!(spec.volumes, [Volume { mount_path: "/data".into(), source, read_only: false }]);
    assert_eq!(told, ["spec.template.spec.containers[b]"]);
    let (spec, told) = dir(json!([mount]), json!({"name": "b", "volumeMounts": [mount]}));
    assert_eq!(spec.volumes, []);
    let expected = [
        in_container("volumeMounts"),
        "spec.template.spec.containers[b]".into(),
        "spec.template.spec.volumes".into(),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_config_map_may_be_mounted_twice_and_not_in_part() {
    let (spec, told) = changed(|spec| {
        container(spec)["volumeMounts"] = json!([{"name": "c", "mountPath": "/a"}, {"name": "c", "mountPath": "/b"},
            {"name": "c", "mountPath": "/f", "subPath": "f"}]);
        spec["template"]["spec"]["volumes"] = json!([{"name": "c", "configMap": {"name": "x"}}]);
    });
    assert_eq!(spec.volumes.iter().map(|v| v.mount_path.as_str()).collect::<Vec<_>>(), ["/a", "/b"]);
    assert_eq!(told, [in_container("volumeMounts[/f]")]);
}

#[test]
fn tolerations_are_read_all_or_none() {
    let tolerations = |list: Value| {
        let (spec, told) = changed(|spec| spec["template"]["spec"]["tolerations"] = list);
        (spec.placement.map(|p| p.tolerations).unwrap_or_default(), told)
    };
    let toleration = |key: &str, value: &str, effect: &str| Toleration {
        key: key.into(),
        value: value.into(),
        effect: effect.into(),
    };
    let plain = json!([{"key": "a", "value": "b", "effect": "NoSchedule"}, {"operator": "Exists"}]);
    assert_eq!(
        tolerations(plain),
        (vec![toleration("a", "b", "NoSchedule"), toleration("", "", "")], vec![])
    );
    let all = vec!["spec.template.spec.tolerations".to_owned()];
    assert_eq!(
        tolerations(json!([{"operator": "Exists"}, {"operator": "Exists", "tolerationSeconds": 0}])),
        (vec![], all.clone())
    );
    assert_eq!(tolerations(json!([{"key": "a"}])), (vec![], all), "the taint with an empty value alone");
}

#[test]
fn what_kubernetes_fills_in_is_said_where_ours_is_another_default() {
    let (spec, told) = changed(|spec| {
        spec["strategy"] =
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}});
    });
    let expected = RolloutPolicy { max_unavailable: "25%".into(), ..RolloutPolicy::default() };
    assert_eq!((spec.rollout_policy, told), (Some(expected), vec![]));
    let (spec, told) = changed(|spec| {
        spec["template"]["spec"]["serviceAccountName"] = json!("shop");
        spec["template"]["spec"]["automountServiceAccountToken"] = json!(false);
    });
    assert_eq!(
        (spec.service_account.as_str(), told),
        ("shop", vec!["spec.template.spec.automountServiceAccountToken".to_owned()])
    );
}

#[test]
fn restricted_is_read_wherever_it_is_said() {
    let (spec, told) = changed(|spec| {
        container(spec)["securityContext"] = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"},
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    });
    assert_eq!((spec.security_profile, told), (Some(SecurityProfile::Restricted), vec![]));
    let (spec, told) = changed(|spec| {
        container(spec)["securityContext"] =
            json!({"runAsNonRoot": true, "runAsUser": 0, "allowPrivilegeEscalation": true});
    });
    assert_eq!(spec.security_profile, None);
    let expected = ["allowPrivilegeEscalation", "runAsNonRoot", "runAsUser"];
    assert_eq!(told, expected.map(|field| in_container(&format!("securityContext.{field}"))));
}

#[test]
fn a_spread_over_the_apps_own_pods_is_read() {
    let spread = |selector: Value| {
        changed(|spec| {
            spec["selector"] = json!({"matchLabels": {"app": "x"}});
            spec["template"]["metadata"]["labels"] = json!({"app": "x"});
            spec["template"]["spec"]["topologySpreadConstraints"] = json!([{"topologyKey": "rack", "maxSkew": 1,
                "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector}]);
        })
    };
    let (spec, told) = spread(json!({"matchLabels": {"app": "x"}}));
    let placement: Placement = *spec.placement.unwrap();
    assert_eq!((placement.spread.len(), placement.spread[0].required, told), (1, true, vec![]));
    let (spec, told) = spread(json!({"matchLabels": {"app": "y"}}));
    assert_eq!(
        (spec.placement, told),
        (None, vec!["spec.template.spec.topologySpreadConstraints[rack,DoNotSchedule]".to_owned()])
    );
}

#[test]
fn ours_is_not_searched() {
    let content = Content { spec: Spec { image: "x".into(), ..Spec::default() }, ..Content::default() };
    let mut live = mk_live(&content, None, "gantry");
    live["spec"]["minReadySeconds"] = json!(5);
    assert_eq!(read(live).unmodelled, Vec::<String>::new());
}
