//! Patches of the pod template with one value broken: of another type, unknown, null, doubled, huge. Each is
//! accepted or refused as `INVALID_FIELD` with a path within the patch, and a refused one writes nothing.

use std::time::Instant;

use gantry::pb;
use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::{Api, api::ResourceExt};
use serde_json::{Map, Value, json};
use tonic_types::StatusExt;

use super::{cases, numbers, patch, run_all};
use crate::support::{Env, Numbers, reason, run, setting, until, web};

const PATCH: &str = "app.spec.pod_template_patch";

/// A step of a path: the key of a map, or the position in a list.
#[derive(Clone, Debug)]
enum Step {
    Key(String),
    At(usize),
}

/// The paths of all values in a value.
fn paths(value: &Value, at: &[Step], found: &mut Vec<Vec<Step>>) {
    let below: Vec<(Step, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(key, value)| (Step::Key(key.clone()), value)).collect(),
        Value::Array(list) => list.iter().enumerate().map(|(i, value)| (Step::At(i), value)).collect(),
        _ => Vec::new(),
    };
    for (step, value) in below {
        let at = [at, &[step]].concat();
        found.push(at.clone());
        paths(value, &at, found);
    }
}

fn spell(path: &[Step]) -> String {
    let mut text = PATCH.to_owned();
    for step in path {
        match step {
            Step::Key(key) if key.contains(['.', '[', ']']) => text.extend(["[\"", key, "\"]"]),
            Step::Key(key) => text.extend([".", key]),
            Step::At(i) => text.extend(["[", &i.to_string(), "]"]),
        }
    }
    text
}

fn at<'a>(value: &'a mut Value, path: &[Step]) -> &'a mut Value {
    path.iter().fold(value, |value, step| match step {
        Step::Key(key) => &mut value[key],
        Step::At(i) => &mut value[*i],
    })
}

/// Values that most fields do not take.
fn odd(n: &mut Numbers) -> Value {
    let all = [
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(1e300),
        json!(-1e300),
        json!(2_147_483_648_i64),
        json!(9_007_199_254_740_993_i64),
        json!(9.3e18),
        json!(1e-300),
        json!(""),
        json!(" "),
        json!("1"),
        json!("Bad_Näme "),
        json!("true"),
        json!("x".repeat(300)),
        json!("\u{0}"),
        json!({}),
        json!({"a": 1}),
        json!({"": {}}),
        json!([]),
        json!([null]),
        json!([1]),
        json!(["x", "x"]),
        json!([{}]),
        json!([[]]),
        json!([{"name": "x"}, {"name": "x"}]),
    ];
    all[usize::try_from(n.below(all.len() as u64)).unwrap()].clone()
}

/// Breaks one value. Returns the path of what was broken.
fn break_one(patch: &mut Value, n: &mut Numbers) -> Option<Vec<Step>> {
    let mut all = vec![Vec::new()];
    paths(patch, &[], &mut all);
    let path = all[usize::try_from(n.below(all.len() as u64)).unwrap()].clone();
    let value = at(patch, &path);
    match value {
        Value::Object(map) if n.percent(50) => {
            let key = n.of(&["foo", "Image", "", "a.b/c", "name", "status", "metadata", "x y", "spec"]);
            map.insert(key.into(), odd(n));
            return Some([path.as_slice(), &[Step::Key(key.into())]].concat());
        }
        Value::Object(map) if n.percent(40) && !map.is_empty() => {
            let keys: Vec<_> = map.keys().cloned().collect();
            let key = keys[usize::try_from(n.below(keys.len() as u64)).unwrap()].clone();
            map.remove(&key);
            return Some([path.as_slice(), &[Step::Key(key)]].concat());
        }
        Value::Array(list) if n.percent(60) && !list.is_empty() => {
            // An entry twice, the second with another value.
            let mut entry = list[usize::try_from(n.below(list.len() as u64)).unwrap()].clone();
            if let (Value::Object(map), true) = (&mut entry, n.percent(50)) {
                map.insert(n.of(&["image", "value", "foo", "hostnames"]).into(), odd(n));
            }
            list.push(entry);
            return Some(path);
        }
        _ if path.is_empty() => {
            *value =
                Value::Object(Map::from_iter([(n.of(&["spec", "metadata", "kind"]).to_owned(), odd(n))]));
        }
        _ => *value = odd(n),
    }
    Some(path)
}

/// Whether a refusal of one path is about the value that was broken: about it, a part of it, what contains
/// it, or a value beside it.
fn is_about(refused: &str, broken: &str) -> bool {
    let below = |deep: &str, high: &str| {
        deep.strip_prefix(high).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let parent = |path: &str| path.rfind(['.', '[']).map_or(String::new(), |end| path[..end].to_owned());
    // The patch as a whole says nothing.
    let says = |path: &str| path != PATCH && below(path, PATCH);
    (says(refused) || broken == PATCH)
        && (below(refused, broken)
            || below(broken, refused)
            || says(&parent(broken)) && below(refused, &parent(broken))
            || says(&parent(refused)) && below(broken, &parent(refused)))
}

async fn try_patch(env: &Env, app: &str, seed: u64, i: u64) {
    let mut n = numbers(seed, i);
    let spec = pb::AppSpec { replicas: Some(0), ..web() };
    let Some(mut patch) = patch::any(&mut n, &spec) else { return };
    let Some(broken) = break_one(&mut patch, &mut n) else { return };
    let broken = spell(&broken);
    let told = format!("GANTRY_TEST_SEED={seed} GANTRY_TEST_CASE={i}: {broken} broken in {patch}");
    let spec = pb::AppSpec { pod_template_patch: Some(patch::to_struct(patch)), ..spec };
    let request = env.deploy_request(app, spec);
    let plan = pb::DeployAppRequest { validate_only: true, ..request.clone() };
    let Err(status) = env.daemon.deploy_app(plan).await else { return };
    assert_eq!(reason(&status), "INVALID_FIELD", "{told}: {status:?}");
    let details = status.get_error_details();
    let fields: Vec<_> =
        details.bad_request().unwrap().field_violations.iter().map(|v| v.field.clone()).collect();
    assert!(
        fields.iter().any(|field| is_about(field, &broken)),
        "{told}: blames {fields:?}: {}",
        status.message()
    );
    let done = env.daemon.deploy_app(request).await;
    let said = done.as_ref().err().map(|done| (done.code(), done.message().to_owned()));
    assert_eq!(said, Some((status.code(), status.message().to_owned())), "{told}: the deploy");
}

#[tokio::test]
async fn a_broken_patch_is_refused_by_its_path_and_writes_nothing() {
    run(|env| async move {
        let (seed, count) = (setting("GANTRY_TEST_SEED", 20_261_201), setting("GANTRY_TEST_PATCHES", 300));
        let spec = pb::AppSpec { replicas: Some(0), ..web() };
        env.deploy_and_follow(env.deploy_request("there", spec)).await;
        let revisions = Api::<ControllerRevision>::namespaced(env.client.clone(), &env.namespace);
        until("the verdict is written", async || {
            let revision = revisions.get("gantry-there-1").await.unwrap();
            revision.annotations().contains_key("gantry.dev/end")
        })
        .await;
        let before = env.settled().await;
        let begun = Instant::now();
        run_all(cases(count), async |i| {
            try_patch(&env, if i % 2 == 0 { "new" } else { "there" }, seed, i).await;
        })
        .await;
        assert_eq!(env.objects().await, before, "nothing is written");
        eprintln!("{count} patches with seed {seed} in {:?}", begun.elapsed());
    })
    .await;
}
