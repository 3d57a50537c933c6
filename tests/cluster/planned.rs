//! A plan says exactly what the deploy does. Three apps are changed at random. Each change is planned first
//! and then made, and between the deploys callers, kubectl and controllers change the objects. The changes of
//! the plan are those of the deploy's own plan. The objects differ afterwards by exactly these changes. If
//! the plan has a failing check, the deploy is refused with the same message. A Deployment that is not
//! managed by Gantry is adopted or refused in the same way.
//!
//! `GANTRY_TEST_PLANS=300` tries that many; `GANTRY_TEST_SEED` repeats a run.

mod change;
pub mod leaves;
mod others;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use gantry::pb;
use k8s_openapi::api::{
    admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    apps::v1::Deployment,
    core::v1::{Namespace, Service},
};
use kube::{
    Api,
    api::{DynamicObject, PostParams, ResourceExt},
};
use serde_json::{Value, json};
use tonic::Status;

use self::{change::Desired, leaves::Leaves};
use crate::support::{Env, Numbers, reason, run, setting, until};

const APPS: usize = 3;

/// A label whose value names a resource, for example `services`; that resource is then refused.
const REFUSED: &str = "refused";

/// The checks that every deploy makes, not only one with `validate_only`.
const ALWAYS: [&str; 5] = ["REPLICAS", "ADMISSION", "FIELD_OWNERSHIP", "ENV", "HISTORY"];

/// The kinds of an app's objects: group, kind, and their name in a plan.
const KINDS: [(&str, &str, &str); 3] = [
    ("apps", "Deployment", "deployment.apps"),
    ("", "Service", "service"),
    ("policy", "PodDisruptionBudget", "poddisruptionbudget.policy"),
];

const NOTHING: [&str; 0] = [];

/// The objects of an app, by their names in a plan.
pub type Objects = BTreeMap<String, Value>;

pub struct Bed<'a> {
    pub env: &'a Env,
    pub app: String,
}

/// The outcomes of the steps.
#[derive(Default, Debug)]
struct Tally {
    steps: usize,
    /// No change, and nothing was written.
    nothing: usize,
    /// No object changes; only the revision that stores the desired state is new.
    kept: usize,
    refused: usize,
    invalid: usize,
    replaced: usize,
    /// Deployments that were not managed by Gantry before.
    adopted: usize,
    changes: usize,
}

impl Bed<'_> {
    pub async fn objects(&self) -> Objects {
        let mut all = Objects::new();
        for (group, kind, told) in KINDS {
            let gvk = kube::api::GroupVersionKind::gvk(group, "v1", kind);
            let resource = kube::api::ApiResource::from_gvk(&gvk);
            let api: Api<DynamicObject> =
                Api::namespaced_with(self.env.client.clone(), &self.env.namespace, &resource);
            if let Some(object) = api.get_opt(&self.app).await.unwrap()
                && object.metadata.deletion_timestamp.is_none()
            {
                all.insert(format!("{told}/{}", self.app), serde_json::to_value(object).unwrap());
            }
        }
        all
    }

    /// Whether the daemon may remove ports of the Service at any moment.
    async fn removes_ports(&self) -> bool {
        let deployments = Api::<Deployment>::namespaced(self.env.client.clone(), &self.env.namespace);
        let found = deployments.get_opt(&self.app).await.unwrap().and_then(|deployment| deployment.spec);
        let empty = found.is_some_and(|spec| spec.replicas == Some(0) && spec.paused != Some(true));
        self.env.has_ports_to_remove(Some(&self.app), empty).await
    }

    /// Plans, deploys and compares. Returns whether the deploy was made.
    async fn step(&self, request: pb::DeployAppRequest, at: &str, tally: &mut Tally) -> bool {
        let mut apps = self.env.daemon.apps().await;
        // Of an app with replicas no rollout succeeds here. One of an app without replicas does, and then the
        // daemon removes ports, which must not happen between plan and deploy.
        for _ in 0..50 {
            if !self.removes_ports().await {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let before = self.objects().await;
        let only = pb::DeployAppRequest { validate_only: true, ..request.clone() };
        let told = apps.deploy_app(only).await.map(|answer| answer.into_inner().plan.unwrap());
        let asked = self.objects().await;
        assert_eq!(written(&before, &asked), NOTHING, "{at}: a plan writes nothing");
        let done = apps.deploy_app(request).await.map(tonic::Response::into_inner);
        let after = self.objects().await;
        tally.steps += 1;
        let (told, done) = match (told, done) {
            (Ok(told), Ok(done)) => (told, done),
            (Ok(told), Err(status)) => {
                tally.refused += 1;
                is_told(&told, &status, at);
                assert_eq!(written(&before, &after), NOTHING, "{at}: refused, but something was written");
                return false;
            }
            (Err(told), Err(status)) => {
                tally.invalid += 1;
                let (told, done) =
                    [&told, &status].map(|s| (s.code(), reason(s), s.message().to_owned())).into();
                assert_eq!(told, done, "{at}");
                assert_eq!(written(&before, &after), NOTHING, "{at}: refused, but something was written");
                return false;
            }
            (Err(told), Ok(done)) => {
                panic!("{at}: the plan failed with {told:?}, but the deploy made {done:?}")
            }
        };
        let plan = done.plan.unwrap();
        let failing: Vec<_> = told.checks.iter().filter(|check| is_no(check)).collect();
        assert!(failing.is_empty(), "{at}: done although {failing:?}");
        assert_eq!(told.changes, plan.changes, "{at}: the changes of plan and deploy");
        assert_eq!(always(&told), always(&plan), "{at}: the checks of plan and deploy");
        compare(&before, &after, &told.changes, at);
        if done.rollout.is_none() {
            tally.nothing += 1;
            assert!(told.changes.is_empty(), "{at}: done without a rollout: {:?}", told.changes);
            assert_eq!(written(&before, &after), NOTHING, "{at}: nothing changes, but something was written");
        }
        tally.kept += usize::from(done.rollout.is_some() && told.changes.is_empty());
        tally.adopted += usize::from(is_of_others(&before));
        tally.changes += told.changes.len();
        tally.replaced += usize::from(told.changes.iter().any(|change| change.restarts_replicas));
        true
    }

    async fn course(&self, steps: usize, mut numbers: Numbers) -> Tally {
        let (mut desired, mut tally) = (Desired::new(), Tally::default());
        for step in 0..steps {
            let other = others::act(self, &mut numbers).await;
            let (next, paths) = desired.next(&mut numbers);
            let request = next.request(self.env, &self.app, &paths, &mut numbers);
            let at = format!(
                "{} step {step}, after {other}: {:?} of {:?}, force {}, adopt {}",
                self.app, request.update_mask, request.app, request.force, request.adopt
            );
            // The next step begins with the last spec that was accepted.
            if self.step(request, &at, &mut tally).await {
                desired = next;
            }
        }
        tally
    }
}

/// Whether there is a Deployment that Gantry does not manage.
fn is_of_others(objects: &Objects) -> bool {
    let mut deployments = objects.iter().filter(|(id, _)| id.starts_with("deployment"));
    deployments.any(|(_, it)| it["metadata"]["labels"]["app.kubernetes.io/managed-by"] != "gantry")
}

/// Whether a check says that a deploy would be refused. A deploy does not make the checks about a pod.
fn is_no(check: &pb::Check) -> bool {
    check.result() == pb::CheckResult::Fail && ALWAYS.contains(&check.kind.as_str()) && check.object != "pod"
}

/// The checks that every deploy makes. HISTORY is left out, because the outcome of an earlier rollout may
/// become known between plan and deploy.
fn always(plan: &pb::Plan) -> Vec<String> {
    let of = |check: &&pb::Check| {
        ALWAYS.contains(&check.kind.as_str()) && check.kind != "HISTORY" && check.object != "pod"
    };
    let mut all: Vec<_> = plan.checks.iter().filter(of).map(|check| format!("{check:?}")).collect();
    all.sort();
    all
}

/// Asserts that a failing check of the plan has the message of the refusal.
fn is_told(plan: &pb::Plan, status: &Status, at: &str) {
    let said = |check: &pb::Check| {
        let Some(rest) = check.message.strip_prefix("Other field managers own what would change: ") else {
            return status.message().contains(&check.message);
        };
        let list = rest.split(". Use force").next().unwrap();
        list.split(", ").all(|conflict| {
            let (field, manager) = conflict.rsplit_once(" by ").unwrap();
            let words = format!("{field} of {} is managed by {manager}", check.object);
            status.message().contains(&words)
        })
    };
    let no: Vec<_> = plan.checks.iter().filter(|check| is_no(check)).collect();
    assert!(
        no.iter().any(|check| said(check)),
        "{at}: the plan failed with {no:?}, and the deploy with {status:?}"
    );
}

/// The differences between two states of the objects. Everything is compared except status, including the
/// managed fields.
pub fn written(one: &Objects, other: &Objects) -> Vec<String> {
    let bare = |objects: &Objects| {
        let mut all = json!(objects);
        for object in all.as_object_mut().unwrap().values_mut() {
            object["status"] = Value::Null;
            object["metadata"]["resourceVersion"] = Value::Null;
            // The controller counts the templates of a Deployment in an annotation, which raises the
            // generation.
            object["metadata"]["generation"] = Value::Null;
            if let Some(annotations) = object["metadata"]["annotations"].as_object_mut() {
                annotations.remove("deployment.kubernetes.io/revision");
                if annotations.is_empty() {
                    object["metadata"]["annotations"] = Value::Null;
                }
            }
            if let Some(managed) = object["metadata"]["managedFields"].as_array_mut() {
                managed.retain(|entry| {
                    entry["subresource"] != "status" && entry["manager"] != "kube-controller-manager"
                });
            }
        }
        all
    };
    let mut differs = Vec::new();
    leaves::differences("", &bare(one), &bare(other), &mut differs);
    differs
}

/// Asserts that the planned changes, made to the earlier objects, give the later objects.
pub fn compare(before: &Objects, after: &Objects, told: &[pb::Change], at: &str) {
    let value = |text: &str| (!text.is_empty()).then(|| serde_json::from_str::<Value>(text).unwrap());
    let ids: std::collections::BTreeSet<_> =
        before.keys().chain(after.keys()).cloned().chain(told.iter().map(|c| c.object.clone())).collect();
    for id in ids {
        // What follows the success is not made yet.
        let of: Vec<_> = told.iter().filter(|change| change.object == id && !change.after_success).collect();
        let whole = of.iter().find(|change| change.path.is_empty()).map(|change| change.action());
        match (before.get(&id), after.get(&id)) {
            (None, Some(after)) => {
                assert_eq!(whole, Some(pb::ChangeAction::Create), "{at}: {id} is new");
                let manifest = Leaves::of("", &value(&of[0].new_value).unwrap());
                let missing = manifest.without(&Leaves::of("", after));
                assert!(missing.is_empty(), "{at}: {id} was made without {missing:?}");
            }
            (Some(_), None) => assert_eq!(whole, Some(pb::ChangeAction::Delete), "{at}: {id} is gone"),
            (Some(before), Some(after)) => {
                assert_eq!(whole, None, "{at}: {id} existed before and after");
                let (old, mut new) = (Leaves::of("", before), Leaves::of("", after));
                let mut made = old.clone();
                for change in &of {
                    let [was, becomes] = [&change.old_value, &change.new_value].map(|text| {
                        value(text).map_or_else(Leaves::default, |v| Leaves::of(&change.path, &v))
                    });
                    assert_eq!(old.below(&change.path), was, "{at}: what {id} had at {}", change.path);
                    assert_ne!(was, becomes, "{at}: {change:?} changes nothing");
                    made.replace(&change.path, becomes);
                }
                for change in &of {
                    made.drop_above(&change.path);
                    new.drop_above(&change.path);
                }
                let (less, more) = (made.beside(&new), new.beside(&made));
                assert!(
                    less.is_empty() && more.is_empty(),
                    "{at}: {of:?} was planned for {id}; expected {less:?}, found {more:?}"
                );
                let is_deployment = id.starts_with("deployment");
                let of_template = |change: &&&pb::Change| change.path.starts_with("spec.template");
                let replaced = old.below("spec.template") != new.below("spec.template");
                let says = of.iter().any(|change| change.restarts_replicas);
                assert!(
                    !is_deployment || replaced == says,
                    "{at}: the replicas are replaced exactly if the plan says so"
                );
                assert!(
                    !is_deployment || of.iter().filter(of_template).all(|change| change.restarts_replicas),
                    "{at}: {of:?}"
                );
            }
            (None, None) => panic!("{at}: {of:?} is about an object that does not exist"),
        }
    }
}

/// Refuses an object from here on if its label names its resource.
async fn refuse(env: &Env) {
    let name = &env.namespace;
    let uid = Api::<Namespace>::all(env.client.clone()).get(name).await.unwrap().uid().unwrap();
    // Both objects are owned by the namespace, so they are deleted with it.
    let metadata = json!({"name": format!("planned-{name}"), "ownerReferences": [
        {"apiVersion": "v1", "kind": "Namespace", "name": name, "uid": uid}]});
    let rule = |group: &str, version: &str, resource: &str| json!({"apiGroups": [group], "apiVersions": [version], "operations": ["CREATE", "UPDATE"], "resources": [resource]});
    let rules = [
        rule("apps", "v1", "deployments"),
        rule("", "v1", "services"),
        rule("policy", "v1", "poddisruptionbudgets"),
    ];
    let expression = format!(
        "!has(object.metadata.labels) || !('{REFUSED}' in object.metadata.labels) || object.metadata.labels['{REFUSED}'] != request.resource.resource"
    );
    let policy = json!({"metadata": metadata, "spec": {
        "failurePolicy": "Fail", "matchConstraints": {"resourceRules": rules},
        "validations": [{"expression": expression, "message": "not today"}]}});
    let binding = json!({"metadata": metadata, "spec": {
        "policyName": metadata["name"], "validationActions": ["Deny"],
        "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}}});
    let create = PostParams::default();
    let policies = Api::<ValidatingAdmissionPolicy>::all(env.client.clone());
    let bindings = Api::<ValidatingAdmissionPolicyBinding>::all(env.client.clone());
    policies.create(&create, &serde_json::from_value(policy).unwrap()).await.unwrap();
    bindings.create(&create, &serde_json::from_value(binding).unwrap()).await.unwrap();
    let services = Api::<Service>::namespaced(env.client.clone(), name);
    until("the policy is in force", async || {
        let service = json!({"metadata": {"name": "probe", "labels": {REFUSED: "services"}}, "spec": {"ports": [{"port": 1}]}});
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        services.create(&dry, &serde_json::from_value(service).unwrap()).await.is_err()
    })
    .await;
}

#[tokio::test]
async fn whatever_is_planned_is_what_a_deploy_does() {
    run(|env| async move {
        let (plans, seed) = (setting("GANTRY_TEST_PLANS", 40), setting("GANTRY_TEST_SEED", 20_261_129));
        env.refuse_pods().await;
        refuse(&env).await;
        let begun = Instant::now();
        let each = usize::try_from(plans).unwrap().div_ceil(APPS);
        let courses = (0..APPS).map(async |n| {
            let bed = Bed { env: &env, app: format!("web-{n}") };
            bed.course(each, Numbers(seed + n as u64)).await
        });
        let tallies: Vec<_> = stream::iter(courses).buffer_unordered(APPS).collect().await;
        eprintln!("{} plans with seed {seed} in {:?}: {tallies:?}", each * APPS, begun.elapsed());
    })
    .await;
}
