//! One case: an app, the same app with one field changed, and everything that is done with it.

use gantry::{domain::quantity::parse_quantity, pb};
use prost_types::FieldMask;
use serde_json::Value;
use tonic::transport::Channel;

use super::{any, numbers, patch, shown};
use crate::{
    planned::{Bed, Objects, compare, leaves::Leaves, written},
    support::{Env, Numbers, reason},
};

type Apps = pb::app_service_client::AppServiceClient<Channel>;
type Rollouts = pb::rollout_service_client::RolloutServiceClient<Channel>;

const NOTHING: [&str; 0] = [];

pub struct Case {
    /// How to repeat it.
    pub what: String,
    pub first: pb::App,
    pub second: pb::App,
    /// The field in which they differ, as a mask names it.
    pub field: String,
    pub numbers: Numbers,
}

impl Case {
    /// The case with this number of a run.
    pub fn draw(seed: u64, i: u64) -> Self {
        let mut n = numbers(seed, i);
        let first = any::app(&mut n);
        loop {
            let field = n.of(&any::FIELDS);
            let mut second = first.clone();
            any::set(&mut second, field, &mut n);
            let is_other = by_value(&first) != by_value(&second);
            if is_other && !patch::overlaps(first.spec.as_ref().unwrap(), field) {
                let what = format!("GANTRY_TEST_SEED={seed} GANTRY_TEST_CASE={i}");
                return Self { what, first, second, field: field.to_owned(), numbers: n };
            }
        }
    }

    pub async fn run(self, env: &Env, app: &str) {
        let Self { what, mut first, mut second, field, numbers } = self;
        (first.name, second.name) = (env.name(app), env.name(app));
        let told = format!(
            "{what}: {field}\n  from {}\n  to   {}\n",
            shown::to_json(&first),
            shown::to_json(&second)
        );
        let bed = Bed { env, app: app.to_owned() };
        let (apps, rollouts) = (env.daemon.apps().await, env.daemon.rollouts().await);
        let mut course = Course { bed, apps, rollouts, told, numbers };
        let begun = course.create(&first).await;
        course.repeat(&first).await;
        let mut back = if course.change(&first, &second, &field).await { first } else { second.clone() };
        if back != second {
            // A rollback never brings back the count.
            back.spec.as_mut().unwrap().replicas = second.spec.as_ref().unwrap().replicas;
            course.roll_back(&back, &begun, &field).await;
        }
        course.scale_and_hold(&back).await;
        course.delete().await;
    }
}

/// The app as it is compared: quantities and percentages by their values, because two spellings of one value
/// are one version.
fn by_value(app: &pb::App) -> pb::App {
    let mut app = as_read(app);
    let spec = app.spec.as_mut().unwrap();
    let quantity =
        |text: &mut String| *text = parse_quantity(text).map_or_else(String::new, |v| v.to_string());
    if let Some(resources) = &mut spec.resources {
        resources.requests.values_mut().for_each(quantity);
        resources.limits.values_mut().for_each(quantity);
    }
    for volume in &mut spec.volumes {
        if let Some(pb::volume::Source::EmptyDir(dir)) = &mut volume.source {
            quantity(&mut dir.size_limit);
        }
    }
    if let Some(policy) = &mut spec.rollout_policy {
        for size in [&mut policy.max_surge, &mut policy.max_unavailable] {
            let number = size.trim_start_matches('0').to_owned();
            *size = if size.is_empty() || !number.is_empty() && number != "%" { number } else { "0".into() };
        }
    }
    app
}

/// The app as it is read back: without the names of defaults.
fn as_read(app: &pb::App) -> pb::App {
    let mut app = app.clone();
    let spec = app.spec.as_mut().unwrap();
    for port in &mut spec.ports {
        port.protocol = port.protocol.max(pb::Protocol::Tcp.into());
    }
    let unset = |value: &mut i32, default: i32| *value = if *value == default { 0 } else { *value };
    if let Some(policy) = &mut spec.rollout_policy {
        unset(&mut policy.strategy, pb::Strategy::Rolling.into());
        unset(&mut policy.verdict, pb::Verdict::FailFast.into());
        unset(&mut policy.on_failure, pb::OnFailure::Keep.into());
    }
    for volume in &mut spec.volumes {
        use pb::volume::Source;
        let always = matches!(volume.source, Some(Source::ConfigMap(_) | Source::Secret(_)));
        volume.read_only &= !always;
    }
    if let Some(probes) = &mut spec.probes {
        for probe in [&mut probes.readiness, &mut probes.liveness, &mut probes.startup].into_iter().flatten()
        {
            if let Some(pb::probe::Check::HttpGet(get)) = &mut probe.check
                && get.path.is_empty()
            {
                get.path = "/".into();
            }
        }
    }
    app
}

/// What is done with one app.
struct Course<'a> {
    bed: Bed<'a>,
    apps: Apps,
    rollouts: Rollouts,
    /// The case, for a message.
    told: String,
    numbers: Numbers,
}

impl Course<'_> {
    async fn deploy(&mut self, step: &str, request: pb::DeployAppRequest) -> pb::DeployAppResponse {
        let answer = self.apps.deploy_app(request).await;
        answer.unwrap_or_else(|e| panic!("{}{step}: {e}", self.told)).into_inner()
    }

    async fn plan(&mut self, step: &str, request: &pb::DeployAppRequest) -> pb::Plan {
        let only = pb::DeployAppRequest { validate_only: true, ..request.clone() };
        let answer = self.deploy(step, only).await;
        assert_eq!(answer.rollout, None, "{}{step}: a plan begins no rollout", self.told);
        answer.plan.unwrap()
    }

    /// Asserts that GetApp answers with this app.
    async fn reads(&mut self, step: &str, expected: &pb::App, position: &str) -> pb::App {
        let request = pb::GetAppRequest { name: expected.name.clone(), read_after: position.to_owned() };
        let found = self.apps.get_app(request).await.unwrap_or_else(|e| panic!("{}{step}: {e}", self.told));
        let found = found.into_inner().app.unwrap();
        self.is_same(step, expected, &found);
        found
    }

    fn is_same(&self, step: &str, expected: &pb::App, found: &pb::App) {
        let bare = pb::App {
            name: found.name.clone(),
            spec: found.spec.clone(),
            labels: found.labels.clone(),
            annotations: found.annotations.clone(),
            ..pb::App::default()
        };
        let differs = shown::differences(&as_read(expected), &bare);
        assert!(differs.is_empty() && as_read(expected) == bare, "{}{step}: {differs:?}", self.told);
    }

    /// Deploys the app for the first time. Returns its Deployment.
    async fn create(&mut self, app: &pb::App) -> Value {
        let everything = self.numbers.percent(50).then(|| FieldMask { paths: vec!["*".into()] });
        let request =
            pb::DeployAppRequest { app: Some(app.clone()), update_mask: everything, ..Default::default() };
        let answer = self.deploy("the first deploy", request).await;
        self.is_same("the answer to the first deploy", app, answer.app.as_ref().unwrap());
        self.reads("the first deploy", app, &answer.position).await;
        deployment(&self.bed.objects().await)
    }

    /// Deploys the same again, as the caller sent it or as it was read.
    async fn repeat(&mut self, app: &pb::App) {
        let read = self.reads("before the repeat", app, "").await;
        let before = self.bed.objects().await;
        let mut again = if self.numbers.percent(50) { read.clone() } else { app.clone() };
        again.etag = if self.numbers.percent(50) { read.etag.clone() } else { String::new() };
        (again.status, again.uid) = (None, String::new());
        let everything = self.numbers.percent(50).then(|| FieldMask { paths: vec!["*".into()] });
        let request =
            pb::DeployAppRequest { app: Some(again), update_mask: everything, ..Default::default() };
        if self.numbers.percent(20) {
            let told = self.plan("a plan of the same", &request).await;
            assert_eq!(told.changes, [], "{}a plan of the same", self.told);
        }
        let answer = self.deploy("the same", request).await;
        assert_eq!(answer.plan.unwrap().changes, [], "{}the same", self.told);
        let first = format!("{}/rollouts/1", app.name);
        assert!(answer.rollout.is_none_or(|r| r.name == first), "{}the same is no new rollout", self.told);
        let after = self.bed.objects().await;
        assert_eq!(written(&before, &after), NOTHING, "{}the same writes nothing", self.told);
        let (before, after) = (deployment(&before), deployment(&after));
        let counted = |of: &Value| of["metadata"]["annotations"]["deployment.kubernetes.io/revision"].clone();
        if counted(&before) == counted(&after) {
            let (before, after) = (&before["metadata"]["generation"], &after["metadata"]["generation"]);
            assert_eq!(before, after, "{}the generation after the same", self.told);
        }
        let found = self.reads("the same", app, &answer.position).await;
        assert_eq!(found.etag, read.etag, "{}the etag after the same", self.told);
    }

    /// Changes one field. Returns false if it is the same by value, for example a default that is written
    /// out.
    async fn change(&mut self, first: &pb::App, second: &pb::App, field: &str) -> bool {
        let is_set = shown::to_json(second).pointer(&pointer(field)).is_some();
        let mask = match self.numbers.below(3) {
            // Without a mask, fields that are set are changed.
            0 if is_set => None,
            1 => Some("*"),
            _ => Some(field),
        };
        let update_mask = mask.map(|path| FieldMask { paths: vec![path.to_owned()] });
        // Under the field's own mask nothing else counts.
        let app = if mask == Some(field) { only(second, field) } else { second.clone() };
        let request = pb::DeployAppRequest { app: Some(app), update_mask, ..Default::default() };
        let before = self.bed.objects().await;
        let etag = self.reads("before the change", first, "").await.etag;
        let told = self.plan("a plan of the change", &request).await;
        let planned = self.bed.objects().await;
        assert_eq!(written(&before, &planned), NOTHING, "{}a plan writes nothing", self.told);
        let answer = self.deploy("the change", request).await;
        let after = self.bed.objects().await;
        let step = format!("{}the change under the mask {mask:?}", self.told);
        self.reads("the change", second, &answer.position).await;
        if field != "spec.replicas" && answer.app.as_ref().unwrap().etag == etag {
            assert_eq!(told.changes, [], "{step}");
            assert_eq!(written(&before, &after), NOTHING, "{step}");
            let first = format!("{}/rollouts/1", first.name);
            assert!(answer.rollout.is_none_or(|r| r.name == first), "{step}: the same is no new rollout");
            return false;
        }
        assert_eq!(told.changes, answer.plan.unwrap().changes, "{step}");
        compare(&before, &after, &told.changes, &step);
        let beside: Vec<_> = told.changes.iter().filter(|change| !is_of(field, change)).collect();
        assert!(beside.is_empty(), "{step} changes also {beside:?}");
        let rollout = answer.rollout.unwrap_or_else(|| panic!("{step}: begins no rollout")).name;
        assert_eq!(rollout, format!("{}/rollouts/2", first.name), "{step}");
        true
    }

    async fn roll_back(&mut self, to: &pb::App, begun: &Value, field: &str) {
        let rollout = format!("{}/rollouts/1", to.name);
        let request = pb::RollbackAppRequest { name: to.name.clone(), rollout, ..Default::default() };
        let before = self.bed.objects().await;
        let done = self.rollouts.rollback_app(request).await;
        let done = done.unwrap_or_else(|e| panic!("{}the rollback: {e}", self.told)).into_inner();
        let after = self.bed.objects().await;
        compare(&before, &after, &done.plan.unwrap().changes, &format!("{}the rollback", self.told));
        assert_eq!(done.rollout.is_none(), field == "spec.replicas", "{}the rollback", self.told);
        self.reads("the rollback", to, "").await;
        let [mut then, mut now] = [begun, &deployment(&after)].map(|it| Leaves::of("", it));
        for leaves in [&mut then, &mut now] {
            leaves.replace("spec.replicas", Leaves::default());
            leaves.replace("metadata.uid", Leaves::default());
        }
        let (less, more) = (then.beside(&now), now.beside(&then));
        let same = less.is_empty() && more.is_empty();
        assert!(same, "{}the Deployment after the rollback: {less:?} became {more:?}", self.told);
    }

    /// Scales, pauses and resumes.
    async fn scale_and_hold(&mut self, app: &pb::App) {
        let env = self.bed.env;
        // An app that fails soon must have no replicas here.
        let policy = app.spec.as_ref().unwrap().rollout_policy.as_ref();
        let count = if policy.is_some_and(any::is_impatient) { 0 } else { self.numbers.small(3) + 1 };
        let scaled = env.scale(&self.bed.app, count).await;
        let scaled = scaled.unwrap_or_else(|e| panic!("{}scale to {count}: {e}", self.told));
        let found = self.reads("scaled", app, &scaled.position).await;
        assert_eq!(found.status.unwrap().desired_replicas, count, "{}scaled", self.told);

        let pause =
            pb::PauseRolloutRequest { name: format!("{}/rollouts/latest", app.name), ..Default::default() };
        let mut paused = self.rollouts.pause_rollout(pause.clone()).await;
        if paused.as_ref().is_err_and(|e| reason(e) == "ROLLOUT_ENDED") {
            let restart = pb::RestartAppRequest { name: app.name.clone(), ..Default::default() };
            let restarted = self.apps.restart_app(restart).await;
            restarted.unwrap_or_else(|e| panic!("{}restart: {e}", self.told));
            paused = self.rollouts.pause_rollout(pause).await;
        }
        if count == 0 && paused.as_ref().is_err_and(|e| reason(e) == "ROLLOUT_ENDED") {
            return; // It ends at once.
        }
        paused.unwrap_or_else(|e| panic!("{}pause: {e}", self.told));
        let held = deployment(&self.bed.objects().await);
        assert_eq!(held["spec"]["paused"], true, "{}paused", self.told);
        self.reads("paused", app, "").await;
        let resume =
            pb::ResumeRolloutRequest { name: format!("{}/rollouts/latest", app.name), ..Default::default() };
        let resumed = self.rollouts.resume_rollout(resume).await;
        resumed.unwrap_or_else(|e| panic!("{}resume: {e}", self.told));
        let free = deployment(&self.bed.objects().await);
        assert_ne!(free["spec"]["paused"], true, "{}resumed", self.told);
        assert_eq!(free["spec"]["replicas"], count, "{}resumed", self.told);
        self.reads("resumed", app, "").await;
    }

    async fn delete(&mut self) {
        let name = self.bed.env.name(&self.bed.app);
        let request = pb::DeleteAppRequest { name, ..Default::default() };
        let deleted = self.apps.delete_app(request).await;
        deleted.unwrap_or_else(|e| panic!("{}delete: {e}", self.told));
    }
}

fn deployment(objects: &Objects) -> Value {
    let mut all = objects.iter().filter(|(id, _)| id.starts_with("deployment"));
    all.next().map(|(_, object)| object.clone()).unwrap_or_default()
}

/// The place of a field in the JSON of an app.
fn pointer(field: &str) -> String {
    let mut camel = String::new();
    for part in field.replace('.', "/").split('_') {
        let mut letters = part.chars();
        match (camel.is_empty(), letters.next()) {
            (false, Some(first)) => camel.extend([first.to_ascii_uppercase()]),
            (true, Some(first)) => camel.push(first),
            (_, None) => {}
        }
        camel.push_str(letters.as_str());
    }
    format!("/{camel}")
}

/// The app with this field only.
fn only(app: &pb::App, field: &str) -> pb::App {
    let whole = shown::to_json(app);
    let pointer = pointer(field);
    let value = whole.pointer(&pointer).cloned();
    let mut bare = serde_json::json!({"name": whole["name"], "spec": {}});
    if let Some(value) = value {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        bare.pointer_mut(parent).unwrap()[key] = value;
    }
    shown::from_json(&bare.to_string())
}

/// Whether a change of this field may make this change of an object.
fn is_of(field: &str, change: &pb::Change) -> bool {
    let is_service = change.object.starts_with("service/");
    let parts: &[&str] = match field {
        "labels" => &[".labels"],
        "annotations" => &["metadata.annotations"],
        "spec.image" => &["].image"],
        "spec.replicas" => &["spec.replicas"],
        "spec.container" => &["spec.containers"],
        "spec.ports" if is_service => &[""],
        // The default of the readiness probe and of the drain delay, and the number in a gRPC probe.
        "spec.ports" => &["].ports", "Probe", "].lifecycle"],
        "spec.command" => &["].command"],
        "spec.args" => &["].args"],
        "spec.env" | "spec.secret_env" | "spec.config_map_env" => &["].env"],
        "spec.resources" => &["].resources"],
        "spec.probes" => &["Probe"],
        "spec.rollout_policy" => &["spec.strategy", "spec.progressDeadlineSeconds"],
        "spec.volumes" => &["spec.volumes", "].volumeMounts"],
        "spec.placement" => {
            &["nodeSelector", "tolerations", "topologySpreadConstraints", "priorityClassName"]
        }
        "spec.service_account" => &["serviceAccount", "automountServiceAccountToken"],
        "spec.security_profile" => &["securityContext"],
        "spec.termination_grace" => &["terminationGracePeriodSeconds", "].lifecycle"],
        "spec.image_pull_secrets" => &["imagePullSecrets"],
        "spec.drain_delay" => &["].lifecycle"],
        "spec.pod_template_patch" => &["spec.template"],
        _ => &[],
    };
    parts.iter().any(|part| change.path.contains(part))
}
