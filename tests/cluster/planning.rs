//! Each check of a plan finds something that would not work, and the plan says exactly what the deploy then
//! does.

use gantry::pb;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{LimitRange, Namespace, PersistentVolumeClaim, ResourceQuota, Secret},
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams, ResourceExt},
};
use serde_json::{Value, json};

use crate::support::{Env, follow, run, until, web};

async fn create<K>(env: &Env, object: Value)
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + serde::de::DeserializeOwned,
{
    let api = Api::<K>::namespaced(env.client.clone(), &env.namespace);
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}

async fn plan(env: &Env, spec: pb::AppSpec) -> pb::Plan {
    let request = pb::DeployAppRequest { validate_only: true, ..env.deploy_request("web", spec) };
    env.daemon.deploy_app(request).await.unwrap().plan.unwrap()
}

/// The first check of a kind, which is the worst because the checks are sorted.
fn check<'a>(plan: &'a pb::Plan, kind: &str) -> &'a pb::Check {
    plan.checks.iter().find(|check| check.kind == kind).unwrap_or_else(|| panic!("{kind}: {:?}", plan.checks))
}

fn says(plan: &pb::Plan, kind: &str, result: pb::CheckResult, words: &[&str]) {
    let check = check(plan, kind);
    assert_eq!(check.result(), result, "{check:?}");
    for word in words {
        assert!(check.message.contains(word), "{word}: {check:?}");
    }
}

fn asking(cpu: &str) -> pb::AppSpec {
    let resources =
        pb::Resources { requests: [("cpu".to_owned(), cpu.to_owned())].into(), ..Default::default() };
    pb::AppSpec { resources: Some(resources), ..web() }
}

/// Plans for scaling and restarting have a fit too; the fit of a rollout includes the surge.
async fn plans_of_a_running_app_count_its_replicas(env: &Env) {
    let mut apps = env.daemon.apps().await;
    let scale = pb::ScaleAppRequest {
        name: env.name("web"),
        replicas: Some(5),
        validate_only: true,
        ..Default::default()
    };
    let scale = apps.scale_app(scale).await.unwrap().into_inner().plan.unwrap();
    let fit = scale.fit.unwrap();
    assert_eq!((fit.wanted, fit.fits), (5, 5));
    assert_eq!(fit.nodes.iter().map(|node| node.placed).sum::<i32>(), 3, "two of the five exist");
    let restart = pb::RestartAppRequest { name: env.name("web"), validate_only: true, ..Default::default() };
    let restart = apps.restart_app(restart).await.unwrap().into_inner().plan.unwrap();
    assert_eq!(restart.fit.unwrap().wanted, 3, "two and a surge of one");
    let same = plan(env, web()).await;
    says(&same, "IMAGE", pb::CheckResult::Pass, &["already"]);
    let fit = same.fit.unwrap();
    assert_eq!((same.changes.len(), fit.wanted, fit.fits), (0, 2, 2), "{:?}", same.changes);
    assert!(fit.nodes.iter().all(|node| node.placed == 0), "nothing is placed");
}

#[tokio::test]
async fn a_plan_tells_what_is_short_and_by_how_much() {
    run(|env| async move {
        let good = plan(&env, web()).await;
        says(&good, "FIT", pb::CheckResult::Pass, &["All 2 replicas fit now"]);
        let fit = good.fit.unwrap();
        assert_eq!((fit.wanted, fit.fits, fit.short_of.len()), (2, 2, 0));
        assert!(fit.headroom > 0 && fit.nodes.iter().map(|node| node.placed).sum::<i32>() == 2, "{fit:?}");
        let best = &fit.nodes[0];
        assert!(best.score > 0.0 && best.parts.contains_key("least_allocated"), "{best:?}");

        let huge = plan(&env, asking("5000")).await;
        says(
            &huge,
            "FIT",
            pb::CheckResult::Fail,
            &["Only 0 of 2 replicas", "cpu", "5000 cores", "resources.requests"],
        );
        let fit = huge.fit.unwrap();
        assert!(fit.fits == 0 && fit.headroom == 0 && fit.short_of[0].contains("cpu"), "{fit:?}");
        assert!(fit.nodes.iter().all(|node| !node.excluded.is_empty()), "{fit:?}");

        let image = |name: &str| pb::AppSpec { image: name.into(), ..web() };
        let mut none = env.deploy_request("web", image("Shop::1"));
        none.validate_only = true;
        let refused = env.daemon.apps().await.deploy_app(none).await.unwrap_err();
        assert!(refused.message().contains("is not a valid image name"), "{refused:?}");
        let moving = plan(&env, image("never-had")).await;
        says(&moving, "IMAGE", pb::CheckResult::Warn, &["The tag of never-had is left out", "or a digest"]);
        let new = plan(&env, image("never-had:1")).await;
        says(
            &new,
            "IMAGE",
            pb::CheckResult::Skipped,
            &["nodes lists never-had:1", "Gantry does not ask the registry"],
        );

        env.deploy_and_follow(env.deploy_request("web", web())).await;
        plans_of_a_running_app_count_its_replicas(&env).await;
    })
    .await;
}

#[tokio::test]
async fn a_plan_looks_at_everything_that_the_replicas_refer_to() {
    run(|env| async move {
        create::<Secret>(&env, json!({"metadata": {"name": "keys"}, "stringData": {"one": "swordfish"}})).await;
        create::<PersistentVolumeClaim>(&env, json!({"metadata": {"name": "data"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})).await;
        let key = |name: &str, key: &str| pb::KeyRef { name: name.into(), key: key.into(), optional: false };
        let volume = |claim: &str| pb::Volume {
            mount_path: "/data".into(),
            source: Some(pb::volume::Source::Claim(claim.into())),
            read_only: false,
        };
        let of = |pairs: &[(&str, pb::KeyRef)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
        let well = pb::AppSpec { secret_env: of(&[("ONE", key("keys", "one"))]), volumes: vec![volume("data")], ..web() };
        let good = plan(&env, well.clone()).await;
        says(&good, "REFERENCES", pb::CheckResult::Pass, &["All 3 objects"]);
        assert!(!format!("{good:?}").contains("swordfish"), "values of Secrets are in no answer");
        for (spec, result, words) in [
            (pb::AppSpec { secret_env: of(&[("TWO", key("keys", "two"))]), ..web() }, pb::CheckResult::Fail, ["Secret keys lacks two", "Add what is missing"]),
            (pb::AppSpec { config_map_env: of(&[("C", key("none", "x"))]), ..web() }, pb::CheckResult::Fail, ["ConfigMap none does not exist", "Create it"]),
            (pb::AppSpec { volumes: vec![volume("gone")], ..web() }, pb::CheckResult::Fail, ["PersistentVolumeClaim gone", "Create it"]),
            (pb::AppSpec { service_account: "robot".into(), ..web() }, pb::CheckResult::Fail, ["ServiceAccount robot", "Create it"]),
            (pb::AppSpec { image_pull_secrets: vec!["registry".into()], ..web() }, pb::CheckResult::Warn, ["Secret registry", "image_pull_secrets"]),
        ] {
            says(&plan(&env, spec).await, "REFERENCES", result, &words);
        }
        let priority = pb::Placement { priority_class: "not-there".into(), ..Default::default() };
        let urgent = plan(&env, pb::AppSpec { placement: Some(priority), ..web() }).await;
        says(&urgent, "REFERENCES", pb::CheckResult::Fail, &["PriorityClass not-there"]);

        // A daemon without the right to read something says so, and makes all other checks.
        let reads = json!({"apiGroups": ["", "apps", "policy", "autoscaling", "discovery.k8s.io"], "verbs": ["get", "list", "watch"],
            "resources": ["deployments", "replicasets", "pods", "events", "controllerrevisions", "services", "poddisruptionbudgets"]});
        let (daemon, _dir) = env.daemon_with(json!([reads])).await;
        let request = pb::DeployAppRequest { validate_only: true, ..env.deploy_request("web", well) };
        let blind = daemon.deploy_app(request).await.unwrap().plan.unwrap();
        says(&blind, "REFERENCES", pb::CheckResult::Skipped, &["may not get"]);
        says(&blind, "FIT", pb::CheckResult::Skipped, &["may not list nodes"]);
        says(&blind, "QUOTA", pb::CheckResult::Skipped, &["may not list"]);
        says(&blind, "AUTOSCALER", pb::CheckResult::Skipped, &["may not list"]);
        says(&blind, "PERMISSION", pb::CheckResult::Fail, &["may not"]);
        let pod = blind.checks.iter().find(|c| c.object == "pod").unwrap();
        assert_eq!((pod.kind.as_str(), pod.result()), ("ADMISSION", pb::CheckResult::Skipped), "{pod:?}");
        assert_eq!(blind.fit, None, "no node is named to one who may not list them");
    })
    .await;
}

#[tokio::test]
async fn a_plan_counts_quotas_limits_and_budgets() {
    run(|env| async move {
        env.deploy_and_follow(env.deploy_request("web", asking("100m"))).await;
        let budget = json!({"metadata": {"name": "strict"}, "spec": {"minAvailable": "100%",
            "selector": {"matchLabels": {"gantry.dev/app": "web"}}}});
        create::<PodDisruptionBudget>(&env, budget).await;
        says(&plan(&env, asking("100m")).await, "DISRUPTION", pb::CheckResult::Warn, &["strict", "none of 2 replicas", "Change the budget"]);
        create::<ResourceQuota>(&env, json!({"metadata": {"name": "small"}, "spec": {"hard": {"requests.cpu": "250m"}}})).await;
        let quotas = Api::<ResourceQuota>::namespaced(env.client.clone(), &env.namespace);
        until("the quota has counted", async || {
            quotas.get("small").await.unwrap().status.and_then(|s| s.used).is_some_and(|used| used["requests.cpu"].0 == "200m")
        }).await;
        let over = plan(&env, asking("150m")).await;
        says(&over, "QUOTA", pb::CheckResult::Fail, &["Quota small leaves 0.05 cores of 0.25 cores", "0.15 cores", "Raise the quota"]);
        // The API server would refuse the pod too, but its dry run of the Deployment does not say so.
        let refused = over.checks.iter().find(|c| c.object == "pod").unwrap();
        assert!(refused.message.contains("exceeded quota"), "{refused:?}");
        says(&plan(&env, asking("100m")).await, "QUOTA", pb::CheckResult::Pass, &[]);
        create::<LimitRange>(&env, json!({"metadata": {"name": "range"}, "spec": {"limits": [{"type": "Container", "max": {"cpu": "300m"}}]}})).await;
        let wide = plan(&env, asking("400m")).await;
        assert!(wide.checks.iter().any(|c| c.kind == "QUOTA" && c.message.contains("LimitRange range allows at most 0.3 cores")), "{:?}", wide.checks);
    })
    .await;
}

#[tokio::test]
async fn a_plan_tries_a_pod_and_gives_its_warnings_verbatim() {
    run(|env| async move {
        let namespaces = Api::<Namespace>::all(env.client.clone());
        let label = |mode: &str| json!({"metadata": {"labels": {format!("pod-security.kubernetes.io/{mode}"): "restricted"}}});
        let merge = PatchParams::default();
        namespaces.patch(&env.namespace, &merge, &Patch::Merge(label("enforce"))).await.unwrap();
        let refused = plan(&env, web()).await;
        let check = refused.checks.iter().find(|c| c.object == "pod").unwrap();
        assert_eq!((check.kind.as_str(), check.result()), ("ADMISSION", pb::CheckResult::Fail), "{check:?}");
        assert!(check.message.contains("violates PodSecurity"), "{check:?}");
        let fine = pb::AppSpec { security_profile: pb::SecurityProfile::Restricted.into(), ..web() };
        let fine = plan(&env, fine).await;
        let check = fine.checks.iter().find(|c| c.object == "pod").unwrap();
        assert_eq!(check.result(), pb::CheckResult::Pass, "{check:?}");
        // An IMAGE check may warn that no node has the image yet. That is another subject.
        let well = |c: &pb::Check| c.kind == "IMAGE" || c.result() == pb::CheckResult::Pass;
        assert!(fine.checks.iter().all(well), "{:?}", fine.checks);
    })
    .await;
}

/// The deploys in their order: a spec and the paths of its mask.
fn steps() -> Vec<(pb::AppSpec, Vec<&'static str>)> {
    let pair = |k: &str, v: &str| [(k.to_owned(), v.to_owned())].into();
    let port = |number| vec![pb::Port { name: "http".into(), number, protocol: pb::Protocol::Http.into() }];
    let surge = pb::RolloutPolicy { max_surge: "2".into(), ..Default::default() };
    let grace = prost_types::Duration { seconds: 7, nanos: 0 };
    vec![
        (web(), vec![]),
        (pb::AppSpec { env: pair("A", "1"), ..web() }, vec![]),
        (pb::AppSpec { env: pair("A", "1"), ..web() }, vec![]),
        (pb::AppSpec { replicas: Some(3), ..Default::default() }, vec!["spec.replicas"]),
        (pb::AppSpec { ports: port(9090), ..web() }, vec!["*"]),
        (pb::AppSpec { ports: vec![], probes: None, ..web() }, vec!["*"]),
        (pb::AppSpec { rollout_policy: Some(surge), ..Default::default() }, vec!["spec.rollout_policy"]),
        (pb::AppSpec { termination_grace: Some(grace), ..web() }, vec![]),
        (web(), vec!["*"]),
        (web(), vec!["*"]),
    ]
}

/// Plans the deploy and then makes it. The plan must write nothing, and its changes must be those of the
/// deploy.
async fn plan_and_deploy(env: &Env, i: usize, request: pb::DeployAppRequest) {
    let deployments = Api::<Deployment>::namespaced(env.client.clone(), &env.namespace);
    let template = async || {
        let found = deployments.get_opt("web").await.unwrap();
        found.and_then(|d| d.annotations().get("deployment.kubernetes.io/revision").cloned())
    };
    let before = (env.settled().await, template().await);
    let only = pb::DeployAppRequest { validate_only: true, ..request.clone() };
    let mut apps = env.daemon.apps().await;
    let planned = apps.deploy_app(only).await.unwrap().into_inner().plan.unwrap();
    assert_eq!(env.objects().await, before.0, "step {i}: a plan writes nothing");
    let done = apps.deploy_app(request).await.unwrap().into_inner();
    assert_eq!(planned.changes, done.plan.unwrap().changes, "step {i}");
    let restarts = planned.changes.iter().any(|change| change.restarts_replicas);
    if let Some(rollout) = done.rollout {
        follow(&env.daemon, &rollout.name).await;
    } else {
        assert!(planned.changes.is_empty(), "step {i}");
        let after = env.settled().await;
        assert_eq!(after, before.0, "step {i}: nothing changes, and nothing is written");
    }
    if before.1.is_some() {
        let replaced = template().await != before.1;
        assert_eq!(replaced, restarts, "step {i}: the replicas are replaced exactly if the plan says so");
    }
}

#[tokio::test]
async fn what_the_plan_says_is_what_happens() {
    run(|env| async move {
        for (i, (spec, paths)) in steps().into_iter().enumerate() {
            let mask = (!paths.is_empty())
                .then(|| prost_types::FieldMask { paths: paths.iter().map(|p| (*p).to_owned()).collect() });
            let request = pb::DeployAppRequest { update_mask: mask, ..env.deploy_request("web", spec) };
            plan_and_deploy(&env, i, request).await;
        }
    })
    .await;
}
