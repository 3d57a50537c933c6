//! One app that succeeds or fails in one way: deployed, followed to its verdict, and watched meanwhile.
//! Records what the kubelet wrote.

use std::{collections::BTreeMap, env, fs, path::PathBuf, time::Duration};

use gantry::pb;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams},
};
use regex::Regex;
use serde_json::{Value, json};

use crate::support::Env;

/// The registry on the node; it has `sample` in three versions.
pub const REGISTRY: &str = "127.0.0.1:5000";

/// The most states of one app that are recorded.
const LONGEST: usize = 16;

/// An app and the expected verdict.
pub struct Case {
    pub name: &'static str,
    pub spec: pb::AppSpec,
    /// The reason of its failure, or None if it succeeds.
    pub reason: Option<&'static str>,
    /// Texts that the message has.
    pub words: &'static [&'static str],
    /// Whether the failure is permanent.
    pub fatal: bool,
}

impl Case {
    /// The app's name.
    fn app(&self) -> String {
        self.name.replace('_', "-")
    }

    pub fn fails(
        name: &'static str,
        spec: pb::AppSpec,
        reason: &'static str,
        words: &'static [&'static str],
    ) -> Self {
        Self { name, spec, reason: Some(reason), words, fatal: true }
    }

    /// The failure may be transient, so only the deadline of the policy ends the rollout.
    pub fn passing(self) -> Self {
        Self { fatal: false, ..self }
    }

    pub fn succeeds(name: &'static str, spec: pb::AppSpec) -> Self {
        Self { name, spec, reason: None, words: &[], fatal: false }
    }
}

/// Runs all cases at once, and names every case that does not end as expected.
pub async fn play(env: &Env, cases: Vec<Case>) {
    let mut record = Record::of(env);
    let ends = {
        let mut all = std::pin::pin!(futures::future::join_all(cases.iter().map(|case| one(env, case))));
        loop {
            tokio::select! {
                ends = &mut all => break ends,
                () = tokio::time::sleep(Duration::from_millis(200)), if record.is_wanted() => record.look().await,
            }
        }
    };
    record.look().await;
    let mut wrong = Vec::new();
    for (case, rollout) in cases.iter().zip(&ends) {
        record.save(case, rollout).await;
        wrong.extend(difference(case, rollout));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn one(env: &Env, case: &Case) -> pb::Rollout {
    env.deploy_and_follow(env.deploy_request(&case.app(), case.spec.clone())).await
}

/// The difference between a rollout's end and the expected one.
fn difference(case: &Case, rollout: &pb::Rollout) -> Option<String> {
    let error = rollout.error.as_ref();
    let (reason, message) = error.map_or(("", ""), |error| (error.reason.as_str(), error.message.as_str()));
    let fatal = error.and_then(|error| error.problem.as_ref()).is_some_and(|problem| problem.fatal);
    let right = case.reason.unwrap_or_default() == reason
        && case.words.iter().all(|words| message.contains(words))
        && fatal == case.fatal;
    let (wanted, words) = (case.reason.unwrap_or("success"), case.words);
    (!right).then(|| {
        format!(
            "{}: wanted {wanted} with {words:?}, fatal {}; got {reason:?}, {message:?}, fatal {fatal}",
            case.name, case.fatal
        )
    })
}

/// The states of the pods of a namespace from the deploy to the verdicts, if they are to be recorded.
struct Record<'a> {
    env: &'a Env,
    dir: Option<PathBuf>,
    /// By app: each new state, oldest first.
    pods: BTreeMap<String, Vec<Value>>,
}

impl<'a> Record<'a> {
    fn of(env: &'a Env) -> Self {
        Self { env, dir: env::var_os("GANTRY_TEST_RECORD").map(PathBuf::from), pods: BTreeMap::new() }
    }

    fn is_wanted(&self) -> bool {
        self.dir.is_some()
    }

    async fn list(&self, kind: &str, params: ListParams) -> Vec<Value> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", kind));
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.env.client.clone(), &self.env.namespace, &resource);
        api.list(&params).await.unwrap().items.iter().map(|o| serde_json::to_value(o).unwrap()).collect()
    }

    /// Records each new state, unless only times differ.
    async fn look(&mut self) {
        if !self.is_wanted() {
            return;
        }
        for pod in self.list("Pod", ListParams::default()).await {
            let app = pod["metadata"]["labels"]["gantry.dev/app"].as_str().unwrap_or_default().to_owned();
            let (course, pod) = (self.pods.entry(app).or_default(), telling(&pod));
            let known = |old: &Value| states(&old["status"]) == states(&pod["status"]);
            // A node that refuses replicas gets many of them.
            if course.len() < LONGEST && !course.last().is_some_and(known) {
                course.push(pod);
            }
        }
    }

    /// Writes the recorded course of one app, with random names replaced.
    async fn save(&self, case: &Case, rollout: &pb::Rollout) {
        let (Some(dir), Some(pods)) = (&self.dir, self.pods.get(&case.app())) else { return };
        let name = pods.last().and_then(|pod| pod["metadata"]["name"].as_str()).unwrap_or_default();
        let of = format!("involvedObject.name={name}");
        let events: Vec<_> = self
            .list("Event", ListParams::default().fields(&of))
            .await
            .iter()
            .map(|e| {
                json!({"type": e["type"], "reason": e["reason"], "message": e["message"], "count": e["count"],
                    "firstTimestamp": e["firstTimestamp"], "lastTimestamp": e["lastTimestamp"],
                    "involvedObject": {"fieldPath": e["involvedObject"]["fieldPath"]}})
            })
            .collect();
        let verdict = rollout.error.as_ref().map(|error| {
            json!({"reason": error.reason, "message": error.message,
                "fatal": error.problem.as_ref().is_some_and(|p| p.fatal)})
        });
        // One state and one event on each line, so that one change is one line of a diff.
        let lines = |all: &[Value]| all.iter().map(Value::to_string).collect::<Vec<_>>().join(",\n");
        let mut text = format!(
            "{{\"verdict\": {},\n\"pods\": [\n{}\n],\n\"events\": [\n{}\n]}}",
            json!(verdict),
            lines(pods),
            lines(&events)
        );
        if !name.is_empty() {
            text = text.replace(name, "web-7d4b9c6f5d-x2k8p");
        }
        text = text.replace(&self.env.namespace, "shop");
        for (pattern, instead) in [
            ("containerd://[0-9a-f]{64}", "containerd://4f1e"),
            (
                "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
                "00000000-0000-0000-0000-000000000000",
            ),
            (r"198\.1[89]\.[0-9]+\.", "198.18.0."),
            (r"on [0-9.]+:53: dial udp [0-9.]+:53", "on 192.0.2.53:53: dial udp 192.0.2.53:53"),
        ] {
            text = Regex::new(pattern).unwrap().replace_all(&text, instead).into_owned();
        }
        fs::write(dir.join(format!("{}.json", case.name)), text + "\n").unwrap();
    }
}

/// The parts of a pod that the diagnosis may need.
fn telling(pod: &Value) -> Value {
    let of = |object: &Value, names: &[&str]| -> Value {
        names.iter().filter_map(|&name| Some((name.to_owned(), object.get(name)?.clone()))).collect()
    };
    let each = |list: &Value, names: &[&str]| -> Value {
        list.as_array().into_iter().flatten().map(|one| of(one, names)).collect()
    };
    let mut status =
        of(&pod["status"], &["phase", "reason", "message", "conditions", "podIP", "startTime", "qosClass"]);
    let told = ["name", "image", "state", "lastState", "ready", "started", "restartCount", "containerID"];
    status["containerStatuses"] = each(&pod["status"]["containerStatuses"], &told);
    if pod["status"].get("initContainerStatuses").is_some() {
        status["initContainerStatuses"] = each(&pod["status"]["initContainerStatuses"], &told);
    }
    let mut spec = of(&pod["spec"], &["nodeName", "restartPolicy"]);
    spec["containers"] = each(&pod["spec"]["containers"], &["name", "image"]);
    if pod["spec"].get("initContainers").is_some() {
        spec["initContainers"] = each(&pod["spec"]["initContainers"], &["name", "image", "restartPolicy"]);
    }
    let metadata = of(
        &pod["metadata"],
        &["name", "namespace", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"],
    );
    json!({"metadata": metadata, "spec": spec, "status": status})
}

/// A status without its times.
fn states(status: &Value) -> Value {
    match status {
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| !name.ends_with("Time") && !name.ends_with("At"))
            .map(|(name, value)| (name.clone(), states(value)))
            .collect(),
        Value::Array(values) => values.iter().map(states).collect(),
        other => other.clone(),
    }
}

/// One replica of the program in the images, on the real node, with these arguments.
pub fn sample(args: &[&str]) -> pb::AppSpec {
    let quantity = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    pb::AppSpec {
        image: format!("{REGISTRY}/sample:1"),
        args: args.iter().map(|&arg| arg.into()).collect(),
        replicas: Some(1),
        resources: Some(pb::Resources {
            requests: [quantity("cpu", "5m"), quantity("memory", "16Mi")].into(),
            limits: [quantity("memory", "64Mi")].into(),
        }),
        placement: Some(pb::Placement {
            node_selector: [quantity("gantry.dev/real", "true")].into(),
            tolerations: vec![pb::Toleration { key: "gantry.dev/real".into(), ..pb::Toleration::default() }],
            ..pb::Placement::default()
        }),
        ..pb::AppSpec::default()
    }
}

/// The same with a port, and a readiness check each second.
pub fn serving(args: &[&str]) -> pb::AppSpec {
    let port = pb::Port { name: "http".into(), number: 8080, protocol: pb::Protocol::Http.into() };
    let probes = pb::Probes { readiness: Some(http("/ready")), ..pb::Probes::default() };
    let args: Vec<_> = std::iter::once("serve").chain(args.iter().copied()).collect();
    pb::AppSpec { ports: vec![port], probes: Some(probes), ..sample(&args) }
}

/// A check each second.
pub fn each_second(check: pb::probe::Check) -> pb::Probe {
    pb::Probe { check: Some(check), period: seconds(1), failure_threshold: 2, ..pb::Probe::default() }
}

pub fn http(path: &str) -> pb::Probe {
    each_second(pb::probe::Check::HttpGet(pb::HttpGet { port: "http".into(), path: path.into() }))
}

#[allow(clippy::unnecessary_wraps)] // fields of messages are optional
pub fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// A policy that fails a rollout after this many seconds without progress, and that tolerates transient
/// problems for only 1 s.
#[allow(clippy::unnecessary_wraps)]
pub fn patience(of: i64) -> Option<pb::RolloutPolicy> {
    Some(pb::RolloutPolicy {
        progress_timeout: seconds(of),
        transient_grace: seconds(1),
        ..pb::RolloutPolicy::default()
    })
}
