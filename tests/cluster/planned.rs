//! That plan and deploy are one: random changes of three apps, each asked about first and then made, with what others do to the objects in
//! between. The deploy's own plan is the one that was told, the objects differ afterwards by what was told and by nothing else, and a plan that
//! says no is a deploy that is refused in the same words. What others made under the name of an app is taken over or refused as anything else.
//!
//! `GANTRY_TEST_PLANS=300` tries that many; `GANTRY_TEST_SEED` repeats a run.

mod change;
mod leaves;
mod others;

use std::{collections::BTreeMap, time::Instant};

use futures::{StreamExt, stream};
use gantry::pb;
use k8s_openapi::api::{
    admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
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

/// The label whose value is a resource that is then refused.
const REFUSED: &str = "refused";

/// What is told before every deploy, and not only with `validate_only`.
const ALWAYS: [&str; 4] = ["REPLICAS", "ADMISSION", "FIELD_OWNERSHIP", "HISTORY"];

/// The kinds of an app's objects: group, kind, and how a plan writes them.
const KINDS: [(&str, &str, &str); 3] = [
    ("apps", "Deployment", "deployment.apps"),
    ("", "Service", "service"),
    ("policy", "PodDisruptionBudget", "poddisruptionbudget.policy"),
];

const NOTHING: [&str; 0] = [];

/// The objects of an app, by the names that plans have for them.
type Objects = BTreeMap<String, Value>;

struct Bed<'a> {
    env: &'a Env,
    app: String,
}

/// What came of the steps.
#[derive(Default, Debug)]
struct Tally {
    steps: usize,
    /// Nothing changes, and nothing was written.
    nothing: usize,
    /// Nothing changes but what is kept of the wish: no object differs.
    kept: usize,
    refused: usize,
    invalid: usize,
    replaced: usize,
    /// Deployments that others had made.
    adopted: usize,
    changes: usize,
}

impl Bed<'_> {
    async fn objects(&self) -> Objects {
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

    /// Asks, does it, and compares. Tells whether it was done.
    async fn step(&self, request: pb::DeployAppRequest, at: &str, tally: &mut Tally) -> bool {
        let mut apps = self.env.daemon.apps().await;
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
                assert_eq!(written(&before, &after), NOTHING, "{at}: refused, and yet written");
                return false;
            }
            (Err(told), Err(status)) => {
                tally.invalid += 1;
                let (told, done) =
                    [&told, &status].map(|s| (s.code(), reason(s), s.message().to_owned())).into();
                assert_eq!(told, done, "{at}");
                assert_eq!(written(&before, &after), NOTHING, "{at}: refused, and yet written");
                return false;
            }
            (Err(told), Ok(done)) => panic!("{at}: planning says {told:?}, and yet {done:?} was done"),
        };
        let plan = done.plan.unwrap();
        let failing: Vec<_> = told.checks.iter().filter(|check| is_no(check)).collect();
        assert!(failing.is_empty(), "{at}: done although {failing:?}");
        assert_eq!(told.changes, plan.changes, "{at}: what was told, and what was done");
        assert_eq!(always(&told), always(&plan), "{at}: what was checked");
        compare(&before, &after, &told.changes, at);
        if done.rollout.is_none() {
            tally.nothing += 1;
            assert!(told.changes.is_empty(), "{at}: done without a rollout: {:?}", told.changes);
            assert_eq!(written(&before, &after), NOTHING, "{at}: nothing changes, and yet it was written");
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
            // What was refused is not what the next step begins with.
            if self.step(request, &at, &mut tally).await {
                desired = next;
            }
        }
        tally
    }
}

/// Whether there is a Deployment that this server did not make.
fn is_of_others(objects: &Objects) -> bool {
    let mut deployments = objects.iter().filter(|(id, _)| id.starts_with("deployment"));
    deployments.any(|(_, it)| it["metadata"]["labels"]["app.kubernetes.io/managed-by"] != "gantry")
}

/// Whether a check says that a deploy would be refused. Of a pod a deploy does not ask.
fn is_no(check: &pb::Check) -> bool {
    check.result() == pb::CheckResult::Fail && ALWAYS.contains(&check.kind.as_str()) && check.object != "pod"
}

/// The checks of every deploy. How an earlier rollout ended may become known in between.
fn always(plan: &pb::Plan) -> Vec<String> {
    let of = |check: &&pb::Check| {
        ALWAYS.contains(&check.kind.as_str()) && check.kind != "HISTORY" && check.object != "pod"
    };
    let mut all: Vec<_> = plan.checks.iter().filter(of).map(|check| format!("{check:?}")).collect();
    all.sort();
    all
}

/// A refusal in the words of the plan.
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
    assert!(no.iter().any(|check| said(check)), "{at}: {no:?} was told, and {status:?} came");
}

/// What was written, if anything: but for the status not a byte may differ, not even who manages what.
fn written(one: &Objects, other: &Objects) -> Vec<String> {
    let bare = |objects: &Objects| {
        let mut all = json!(objects);
        for object in all.as_object_mut().unwrap().values_mut() {
            object["status"] = Value::Null;
            object["metadata"]["resourceVersion"] = Value::Null;
            // The controller counts the templates of a Deployment in an annotation, which counts as another generation.
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

/// What was told, done to the objects as they were, makes them as they are.
fn compare(before: &Objects, after: &Objects, told: &[pb::Change], at: &str) {
    let value = |text: &str| (!text.is_empty()).then(|| serde_json::from_str::<Value>(text).unwrap());
    let ids: std::collections::BTreeSet<_> =
        before.keys().chain(after.keys()).cloned().chain(told.iter().map(|c| c.object.clone())).collect();
    for id in ids {
        let of: Vec<_> = told.iter().filter(|change| change.object == id).collect();
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
                assert_eq!(whole, None, "{at}: {id} was there, and is");
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
                    "{at}: {of:?} was told of {id}; it would have {less:?}, and has {more:?}"
                );
                let is_deployment = id.starts_with("deployment");
                let of_template = |change: &&&pb::Change| change.path.starts_with("spec.template");
                let replaced = old.below("spec.template") != new.below("spec.template");
                let says = of.iter().any(|change| change.restarts_replicas);
                assert!(
                    !is_deployment || replaced == says,
                    "{at}: replicas are replaced only if it was told"
                );
                assert!(
                    !is_deployment || of.iter().filter(of_template).all(|change| change.restarts_replicas),
                    "{at}: {of:?}"
                );
            }
            (None, None) => panic!("{at}: {of:?} is about nothing"),
        }
    }
}

/// From here on what carries the label is refused if it is the resource that the label names.
async fn refuse(env: &Env) {
    let name = &env.namespace;
    let uid = Api::<Namespace>::all(env.client.clone()).get(name).await.unwrap().uid().unwrap();
    // Owned by the namespace, both go with it.
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
