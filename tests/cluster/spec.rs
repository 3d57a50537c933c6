//! Every field of an app on a real Kubernetes: it is accepted, read back unchanged, and writes nothing when
//! it is sent again.

use std::collections::BTreeMap;

use gantry::pb;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Pod, Secret, ServiceAccount},
    scheduling::v1::PriorityClass,
};
use kube::{
    Api, Resource,
    api::{DeleteParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::support::{Env, run, until, web};

fn api<K>(env: &Env) -> Api<K>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
{
    Api::namespaced(env.client.clone(), &env.namespace)
}

async fn create<K>(env: &Env, object: serde_json::Value)
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + Serialize
        + DeserializeOwned,
{
    api::<K>(env).create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}

const fn duration(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

fn one<T>(key: &str, value: T) -> BTreeMap<String, T> {
    [(key.to_owned(), value)].into()
}

fn key_ref(name: &str, key: &str, optional: bool) -> pb::KeyRef {
    pb::KeyRef { name: name.into(), key: key.into(), optional }
}

fn probe(check: pb::probe::Check) -> pb::Probe {
    pb::Probe { check: Some(check), ..pb::Probe::default() }
}

fn volumes() -> Vec<pb::Volume> {
    use pb::volume::Source;
    let files = |name: &str, key: &str| pb::Files {
        name: name.into(),
        items: one(key, format!("sub/{key}")),
        optional: false,
    };
    let at =
        |path: &str, source| pb::Volume { mount_path: path.into(), source: Some(source), read_only: false };
    vec![
        at("/etc/web", Source::ConfigMap(files("web", "level"))),
        at("/etc/secret", Source::Secret(pb::Files { name: "web".into(), ..pb::Files::default() })),
        at(
            "/etc/maybe",
            Source::ConfigMap(pb::Files { name: "none".into(), optional: true, ..pb::Files::default() }),
        ),
        pb::Volume { read_only: true, ..at("/data", Source::Claim("web".into())) },
        at("/tmp", Source::EmptyDir(pb::EmptyDir { size_limit: "1Gi".into(), in_memory: true })),
        at("/cache", Source::EmptyDir(pb::EmptyDir::default())),
    ]
}

fn placement(priority_class: &str) -> pb::Placement {
    pb::Placement {
        node_selector: one("kubernetes.io/os", "linux".to_owned()),
        tolerations: vec![
            pb::Toleration { key: "gpu".into(), value: "yes".into(), effect: "NoSchedule".into() },
            pb::Toleration { key: "spot".into(), ..pb::Toleration::default() },
        ],
        spread: vec![
            pb::Spread { topology_key: "kubernetes.io/hostname".into(), max_skew: 2, required: false },
            pb::Spread { topology_key: "kubernetes.io/hostname".into(), max_skew: 9, required: true },
        ],
        priority_class: priority_class.into(),
    }
}

/// A spec with every field set.
fn full(priority_class: &str) -> pb::AppSpec {
    use pb::probe::Check;
    let number = web().ports[0].number;
    let get = pb::HttpGet { port: "http".into(), path: "/".into() };
    pb::AppSpec {
        ports: vec![
            pb::Port { name: "http".into(), number, protocol: pb::Protocol::Http.into() },
            pb::Port { name: "rpc".into(), number: 9000, protocol: pb::Protocol::Grpc.into() },
            pb::Port { name: "raw".into(), number: 9001, protocol: pb::Protocol::Tcp.into() },
        ],
        command: vec!["/web".into()],
        args: vec!["--verbose".into()],
        env: one("MODE", "live".to_owned()),
        secret_env: [
            ("TOKEN".to_owned(), key_ref("web", "token", false)),
            ("MAYBE".to_owned(), key_ref("none", "x", true)),
        ]
        .into(),
        config_map_env: one("LEVEL", key_ref("web", "level", false)),
        probes: Some(pb::Probes {
            readiness: Some(pb::Probe {
                period: Some(duration(5)),
                timeout: Some(duration(2)),
                failure_threshold: 4,
                initial_delay: Some(duration(1)),
                ..probe(Check::HttpGet(get))
            }),
            liveness: Some(probe(Check::Grpc(pb::GrpcHealth { port: "rpc".into(), service: "web".into() }))),
            startup: Some(probe(Check::TcpPort("raw".into()))),
        }),
        rollout_policy: Some(pb::RolloutPolicy {
            max_surge: "1".into(),
            max_unavailable: "50%".into(),
            progress_timeout: Some(duration(120)),
            verdict: pb::Verdict::Wait.into(),
            tolerated_restarts: Some(1),
            on_failure: pb::OnFailure::RollBack.into(),
            transient_grace: Some(duration(30)),
            ..pb::RolloutPolicy::default()
        }),
        volumes: volumes(),
        placement: Some(placement(priority_class)),
        service_account: "web".into(),
        security_profile: pb::SecurityProfile::Restricted.into(),
        termination_grace: Some(duration(20)),
        image_pull_secrets: vec!["registry".into(), "other".into()],
        container: "main".into(),
        drain_delay: Some(duration(3)),
        traffic: Some(pb::Traffic { timeout: Some(duration(2)), max_attempts: 3 }),
        ..web()
    }
}

async fn prepare(env: &Env) {
    create::<ConfigMap>(env, json!({"metadata": {"name": "web"}, "data": {"level": "info"}})).await;
    create::<Secret>(env, json!({"metadata": {"name": "web"}, "stringData": {"token": "t"}})).await;
    create::<ServiceAccount>(env, json!({"metadata": {"name": "web"}})).await;
    let claim = json!({"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}});
    create::<PersistentVolumeClaim>(env, json!({"metadata": {"name": "web"}, "spec": claim})).await;
}

#[tokio::test]
async fn an_app_with_every_field_is_read_back_and_sent_again_changes_nothing() {
    run(|env| async move {
        prepare(&env).await;
        // A PriorityClass has no namespace, so it gets the name of the test's namespace and is deleted by the
        // test.
        let classes = Api::<PriorityClass>::all(env.client.clone());
        let class = json!({"metadata": {"name": &env.namespace}, "value": 10});
        classes.create(&PostParams::default(), &serde_json::from_value(class).unwrap()).await.unwrap();
        let spec = full(&env.namespace);
        let answer = env.deploy("web", spec.clone()).await;
        classes.delete(&env.namespace, &DeleteParams::default()).await.unwrap();
        let plan = answer.unwrap().plan.unwrap();
        assert_eq!(plan.changes.len(), 3, "{plan:?}");
        assert_eq!(env.get("web").await.unwrap().spec.unwrap(), spec);

        let generation = || async { api::<Deployment>(&env).get("web").await.unwrap().metadata.generation };
        let before = generation().await;
        let again = env.deploy("web", spec).await.unwrap();
        assert_eq!(again.plan.unwrap().changes, []);
        assert!(
            again.rollout.is_none_or(|r| r.name == env.name("web") + "/rollouts/1"),
            "it may be under way"
        );
        assert_eq!(generation().await, before);
    })
    .await;
}

#[tokio::test]
async fn the_restricted_profile_passes_pod_security() {
    run(|env| async move {
        prepare(&env).await;
        let restricted = format!("{}-restricted", env.namespace);
        let namespaces = Api::<Namespace>::all(env.client.clone());
        let labels = json!({"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "latest"});
        let namespace = json!({"metadata": {"name": restricted, "labels": labels}});
        namespaces.create(&PostParams::default(), &serde_json::from_value(namespace).unwrap()).await.unwrap();
        let accounts = Api::<ServiceAccount>::namespaced(env.client.clone(), &restricted);
        let account = json!({"metadata": {"name": "web"}});
        accounts.create(&PostParams::default(), &serde_json::from_value(account).unwrap()).await.unwrap();
        let pods = Api::<Pod>::namespaced(env.client.clone(), &restricted);
        let mut answers = Vec::new();
        for profile in [pb::SecurityProfile::Restricted, pb::SecurityProfile::Baseline] {
            let spec = pb::AppSpec { security_profile: profile.into(), ..full("") };
            env.deploy("web", spec).await.unwrap();
            let template = api::<Deployment>(&env).get("web").await.unwrap().spec.unwrap().template;
            let mut pod = json!({"metadata": {"name": "web"}, "spec": template.spec});
            pod["spec"]["topologySpreadConstraints"].take();
            let dry = PostParams { dry_run: true, ..PostParams::default() };
            answers.push(pods.create(&dry, &serde_json::from_value(pod).unwrap()).await.map(|_| ()));
        }
        namespaces.delete(&restricted, &DeleteParams::default()).await.unwrap();
        assert!(answers[0].is_ok(), "{answers:?}");
        assert!(answers[1].as_ref().unwrap_err().to_string().contains("PodSecurity"), "{answers:?}");
    })
    .await;
}

#[tokio::test]
async fn an_unmanaged_app_is_read_as_far_as_the_contract_has_fields_for_it() {
    run(|env| async move {
        let foreign = json!({"metadata": {"name": "other"}, "spec": {
            "replicas": 0, "minReadySeconds": 5, "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {
                "initContainers": [{"name": "init", "image": "init:1"}],
                "volumes": [{"name": "config", "configMap": {"name": "x"}}, {"name": "sock", "hostPath": {"path": "/run"}}],
                "containers": [
                    {"name": "main", "image": "main:1", "ports": [{"name": "http", "containerPort": 80}],
                        "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                        "livenessProbe": {"httpGet": {"port": "http", "path": "/"}},
                        "volumeMounts": [{"name": "config", "mountPath": "/etc/x"}, {"name": "sock", "mountPath": "/run"}]},
                    {"name": "sidecar", "image": "sidecar:1"}]}}}});
        create::<Deployment>(&env, foreign).await;
        until("it is seen", async || env.get("other").await.is_ok()).await;
        let app = env.get("other").await.unwrap();
        let spec = app.spec.unwrap();
        assert_eq!((spec.volumes.len(), spec.secret_env.len(), spec.container.as_str()), (1, 1, "main"));
        assert!(spec.probes.unwrap().liveness.is_some());
        let at = |rest: &str| format!("spec.template.spec.{rest}");
        let expected = [
            "spec.minReadySeconds".to_owned(),
            at("containers[main].env[IP]"),
            at("containers[main].volumeMounts[/run]"),
            at("containers[sidecar]"),
            at("initContainers"),
            at("volumes[sock]"),
        ];
        assert_eq!(app.status.unwrap().unmodelled_fields, expected);
        // A minimal Deployment has only defaults of the API server, and these are not listed.
        let plain = json!({"metadata": {"name": "plain"}, "spec": {"replicas": 0, "selector": {"matchLabels": {"a": "c"}},
            "template": {"metadata": {"labels": {"a": "c"}}, "spec": {"containers": [{"name": "app", "image": "x"}]}}}});
        create::<Deployment>(&env, plain).await;
        until("it is seen", async || env.get("plain").await.is_ok()).await;
        let status = env.get("plain").await.unwrap().status.unwrap();
        assert_eq!(status.unmodelled_fields, Vec::<String>::new());
    })
    .await;
}
