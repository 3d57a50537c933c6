//! The forecast of a plan against the real scheduler: the same pods on the same nodes, both ways.
//!
//! Only this test uses the nodes: pods of other tests do not tolerate their taint. They are deleted with the
//! namespace.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use gantry::pb;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, ResourceExt},
};
use serde_json::{Value, json};

use crate::support::{Env, Numbers, run, setting, until};

const NODES: usize = 50;
const PODS: usize = 200;
/// Label of the nodes and key of their taint. The value is the namespace of the test.
const PLACE: &str = "gantry.test/placing";

/// A node of random size, labels, taints and images.
fn node(place: &str, name: &str, owners: &Value, dice: &mut Numbers) -> Value {
    let mut labels = json!({PLACE: place, "kubernetes.io/hostname": name, "kubernetes.io/os": "linux",
        "test/disk": dice.of(&["ssd", "hdd"]), "test/size": dice.below(9).to_string()});
    if dice.percent(90) {
        labels["topology.kubernetes.io/zone"] = json!(dice.of(&["test-a", "test-b", "test-c", "test-d"]));
    }
    let mut taints = vec![json!({"key": PLACE, "value": place, "effect": "NoSchedule"})];
    for (chance, key, effect) in [
        (15, "test/gpu", "NoSchedule"),
        (30, "test/old", "PreferNoSchedule"),
        (10, "test/busy", "PreferNoSchedule"),
    ] {
        if dice.percent(chance) {
            taints.push(json!({"key": key, "value": "yes", "effect": effect}));
        }
    }
    let mut allocatable = json!({"cpu": format!("{}m", 500 * (2 + dice.below(14))), "memory": format!("{}Mi", 512 * (2 + dice.below(30))),
        "ephemeral-storage": format!("{}Gi", 2 + dice.below(20)), "pods": (2 + dice.below(12)).to_string()});
    if dice.percent(20) {
        allocatable["example.com/gpu"] = json!((1 + dice.below(3)).to_string());
    }
    let images: Vec<_> = (0..6)
        .filter(|_| dice.percent(40))
        .map(|n| json!({"names": [format!("test/image:{n}")], "sizeBytes": (n + 1) * 150_000_000_i64}))
        .collect();
    json!({
        "metadata": {"name": name, "labels": labels, "ownerReferences": owners, "annotations": {"kwok.x-k8s.io/node": "fake"}},
        "spec": {"taints": taints, "unschedulable": dice.percent(8)},
        "status": {"allocatable": allocatable, "capacity": allocatable, "images": images}})
}

/// Whether the controllers have set and removed the taints of the node.
fn is_ready(node: &Node) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let cordon = node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
    let marked = taints.iter().any(|taint| taint.key == "node.kubernetes.io/unschedulable");
    cordon == marked && !taints.iter().any(|taint| taint.key.starts_with("node.kubernetes.io/not-ready"))
}

/// Creates fifty nodes of many sizes, some of them so small that hardly anything fits.
async fn make_nodes(env: &Env, dice: &mut Numbers) -> Vec<String> {
    let place = &env.namespace;
    let owner = Api::<Namespace>::all(env.client.clone()).get(place).await.unwrap().uid().unwrap();
    let owners = json!([{"apiVersion": "v1", "kind": "Namespace", "name": place, "uid": owner}]);
    let nodes = Api::<Node>::all(env.client.clone());
    let mut names = Vec::new();
    for i in 0..NODES {
        let name = format!("{place}-{i}");
        let node = node(place, &name, &owners, dice);
        nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
        names.push(name);
    }
    until("the nodes are ready", async || {
        let of_test = ListParams::default().labels(&format!("{PLACE}={place}"));
        nodes.list(&of_test).await.unwrap().iter().filter(|node| is_ready(node)).count() == NODES
    })
    .await;
    // The scheduler counts how many nodes have an image when it sees a node change. Without another change
    // the nodes that were created first would retain the counts of a time when most nodes did not exist.
    let touch = Patch::Merge(json!({"metadata": {"annotations": {"test/touched": "yes"}}}));
    for name in &names {
        nodes.patch(name, &PatchParams::default(), &touch).await.unwrap();
    }
    names
}

/// A spec of one replica, of any shape that fields of the API can give it.
fn shape(env: &Env, dice: &mut Numbers, app: &str) -> pb::AppSpec {
    let quantity = |name: &str, amount: String| (name.to_owned(), amount);
    let mut requests = BTreeMap::new();
    if dice.percent(80) {
        requests.extend([quantity("cpu", format!("{}m", 50 * dice.below(30)))]);
    }
    if dice.percent(80) {
        requests.extend([quantity("memory", format!("{}Mi", 64 * dice.below(30)))]);
    }
    if dice.percent(15) {
        requests.extend([quantity("ephemeral-storage", format!("{}Mi", 256 * (1 + dice.below(8))))]);
    }
    let mut limits = BTreeMap::new();
    if dice.percent(10) {
        limits.extend([quantity("example.com/gpu", (1 + dice.below(2)).to_string())]);
    }
    let resources = (!requests.is_empty() || !limits.is_empty()).then(|| pb::Resources {
        requests: requests.into_iter().collect(),
        limits: limits.into_iter().collect(),
    });
    let tolerated = |key: &str, effect: &str| pb::Toleration {
        key: key.into(),
        effect: effect.into(),
        ..Default::default()
    };
    let mut tolerations =
        vec![pb::Toleration { value: env.namespace.clone(), ..tolerated(PLACE, "NoSchedule") }];
    if dice.percent(40) {
        tolerations.push(tolerated("test/gpu", ""));
    }
    if dice.percent(25) {
        tolerations.push(tolerated("test/old", "PreferNoSchedule"));
    }
    let mut node_selector = BTreeMap::from([(PLACE.to_owned(), env.namespace.clone())]);
    if dice.percent(20) {
        node_selector.insert("test/disk".to_owned(), "ssd".to_owned());
    }
    pb::AppSpec {
        image: format!("test/image:{}", dice.below(7)),
        replicas: Some(1),
        resources,
        placement: Some(pb::Placement {
            tolerations,
            node_selector: node_selector.into_iter().collect(),
            ..Default::default()
        }),
        pod_template_patch: Some(to_struct(&patch(dice, app))),
        ..Default::default()
    }
}

fn spread(dice: &mut Numbers, app: &str) -> Vec<Value> {
    let own = json!({"matchLabels": {"gantry.dev/app": app}});
    let mut spread = Vec::new();
    if dice.percent(60) {
        // `matchLabelKeys` is null so that the pods of earlier templates count too.
        for key in ["topology.kubernetes.io/zone", "kubernetes.io/hostname"] {
            spread.push(
                json!({"topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway", "matchLabelKeys": null}),
            );
        }
    }
    if dice.percent(20) {
        spread.push(json!({"topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule",
            "maxSkew": 1 + dice.below(2), "labelSelector": own, "minDomains": 1 + dice.below(5),
            "nodeTaintsPolicy": dice.of(&["Honor", "Ignore"]), "nodeAffinityPolicy": dice.of(&["Honor", "Ignore"])}));
    }
    spread
}

/// Affinity to nodes, and affinity and anti-affinity to the pods of one other app.
fn affinity(dice: &mut Numbers) -> Value {
    let mut affinity = json!({});
    if dice.percent(20) {
        let operator = dice.of(&["Gt", "Lt"]);
        affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] = json!({"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "test/size", "operator": operator, "values": ["4"]}]},
            {"matchExpressions": [{"key": "test/disk", "operator": "NotIn", "values": ["hdd"]}]}]});
    }
    if dice.percent(30) {
        let term = |weight: u64, disk: &str| json!({"weight": weight, "preference": {"matchExpressions": [{"key": "test/disk", "operator": "In", "values": [disk]}]}});
        affinity["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"] =
            json!([term(1 + dice.below(50), "ssd"), term(1 + dice.below(50), "hdd")]);
    }
    let other = format!("app-{}", dice.below(12));
    let near = |topology: &str| json!({"topologyKey": topology, "labelSelector": {"matchLabels": {"gantry.dev/app": other}}});
    if dice.percent(12) {
        affinity["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
            json!([near("kubernetes.io/hostname")]);
    }
    if dice.percent(8) {
        affinity["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
            json!([near("topology.kubernetes.io/zone")]);
    }
    if dice.percent(20) {
        let kind = dice.of(&["podAffinity", "podAntiAffinity"]);
        affinity[kind]["preferredDuringSchedulingIgnoredDuringExecution"] =
            json!([{"weight": 1 + dice.below(100), "podAffinityTerm": near("topology.kubernetes.io/zone")}]);
    }
    affinity
}

/// A patch with fields that only a patch of the pod template can set.
fn patch(dice: &mut Numbers, app: &str) -> Value {
    let mut spec = json!({});
    let spread = spread(dice, app);
    if !spread.is_empty() {
        spec["topologySpreadConstraints"] = json!(spread);
    }
    let affinity = affinity(dice);
    if affinity != json!({}) {
        spec["affinity"] = affinity;
    }
    if dice.percent(15) {
        spec["initContainers"] = json!([
            {"name": "first", "image": "test/image:1", "resources": {"requests": {"cpu": format!("{}m", 100 * dice.below(30))}}},
            {"name": "beside", "image": "test/image:2", "restartPolicy": "Always", "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}}},
            {"name": "last", "image": "test/image:3", "resources": {"requests": {"memory": format!("{}Mi", 256 * dice.below(8))}}}]);
    }
    if dice.percent(15) {
        let port = 9000 + dice.below(3);
        let address = dice.of(&["", "10.0.0.1", "10.0.0.2"]);
        let mut declared = json!({"containerPort": port, "hostPort": port});
        if !address.is_empty() {
            declared["hostIP"] = json!(address);
        }
        spec["containers"] = json!([{"name": "app", "ports": [declared]}]);
    }
    json!({"spec": spec})
}

fn to_struct(value: &Value) -> prost_types::Struct {
    match to_value(value).kind {
        Some(prost_types::value::Kind::StructValue(fields)) => fields,
        _ => prost_types::Struct::default(),
    }
}

fn to_value(value: &Value) -> prost_types::Value {
    use prost_types::value::Kind;
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(is) => Kind::BoolValue(*is),
        Value::Number(n) => Kind::NumberValue(n.as_f64().unwrap()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(all) => {
            Kind::ListValue(prost_types::ListValue { values: all.iter().map(to_value).collect() })
        }
        Value::Object(map) => Kind::StructValue(prost_types::Struct {
            fields: map.iter().map(|(key, value)| (key.clone(), to_value(value))).collect(),
        }),
    };
    prost_types::Value { kind: Some(kind) }
}

/// Creates the pod that a Deployment of this manifest would get; returns the node that the scheduler chooses,
/// or its message if there is none.
async fn schedule(env: &Env, manifest: &str, number: usize) -> (Option<String>, String) {
    let deployment: Value = serde_json::from_str(manifest).unwrap();
    let template = &deployment["spec"]["template"];
    let name = format!("pod-{number}");
    let mut pod = json!({"metadata": {"name": name, "labels": template["metadata"]["labels"]}, "spec": template["spec"]});
    // A hash that no other pod has, because the plan takes the template for a new one.
    pod["metadata"]["labels"]["pod-template-hash"] = json!(format!("hash-{number}"));
    let pods = Api::<Pod>::namespaced(env.client.clone(), &env.namespace);
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    let start = Instant::now();
    loop {
        let pod = pods.get(&name).await.unwrap();
        if let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()) {
            return (Some(node), String::new());
        }
        let conditions = pod.status.and_then(|status| status.conditions).unwrap_or_default();
        if let Some(no) = conditions.iter().find(|c| c.type_ == "PodScheduled" && c.status == "False") {
            let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
            pods.delete(&name, &now).await.unwrap();
            return (None, no.message.clone().unwrap_or_default());
        }
        assert!(start.elapsed() < Duration::from_secs(30), "the scheduler does not look at {name}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
#[ignore = "needs simulated nodes"]
async fn the_forecast_is_what_the_scheduler_does() {
    run(|env| async move {
        let mut dice = Numbers(setting("GANTRY_TEST_SEED", 346_799_363));
        let nodes: BTreeSet<_> = make_nodes(&env, &mut dice).await.into_iter().collect();
        let mut apps = env.daemon.apps().await;
        let (mut placed, mut refused, mut best, mut ties) = (0, 0, 0, 0);
        let (mut wrong, mut elsewhere) = (Vec::new(), Vec::new());
        for number in 0..PODS {
            let app = format!("app-{}", dice.below(12));
            let spec = shape(&env, &mut dice, &app);
            let request = pb::DeployAppRequest { validate_only: true, ..env.deploy_request(&app, spec) };
            let plan = apps.deploy_app(request).await.unwrap().into_inner().plan.unwrap();
            let fit = plan.fit.unwrap_or_else(|| panic!("{:?}", plan.checks));
            let deployment = plan.changes.iter().find(|c| c.object.starts_with("deployment")).unwrap();
            let (chosen, said) = schedule(&env, &deployment.new_value, number).await;
            if chosen.is_some() != (fit.fits == 1) {
                wrong.push(format!("{number}: {chosen:?} {said}; {:?}; {}", fit.short_of, deployment.new_value));
                continue;
            }
            let Some(chosen) = chosen else {
                refused += 1;
                assert!(!fit.short_of.is_empty(), "the plan names what is short");
                continue;
            };
            assert!(nodes.contains(&chosen));
            placed += 1;
            let open = || fit.nodes.iter().filter(|node| node.excluded.is_empty());
            let most = open().map(|node| node.score).fold(f64::MIN, f64::max);
            let bests: Vec<_> = open().filter(|n| n.score >= most).map(|n| n.node.as_str()).collect();
            ties += usize::from(bests.len() > 1);
            if bests.contains(&chosen.as_str()) {
                best += 1;
            } else {
                let of = |name: &str| fit.nodes.iter().find(|n| n.node == name).cloned();
                elsewhere.push(format!("{number}: {:?} not {:?}; {}", of(&chosen), of(bests[0]), deployment.new_value));
            }
        }
        eprintln!("{placed} placed, {refused} refused by both, {} decided differently; {best} of {placed} on a node of the best score, {ties} of them with a choice", wrong.len());
        for line in wrong.iter().chain(&elsewhere).take(5) {
            eprintln!("{line}");
        }
        assert!(placed >= PODS / 4 && refused >= PODS / 50, "both kinds are seen: {placed} and {refused}");
        assert_eq!(wrong, Vec::<String>::new(), "whether a pod fits");
        assert!(best * 10 >= placed * 9, "{best} of {placed} on a best node: {elsewhere:#?}");
    })
    .await;
}
