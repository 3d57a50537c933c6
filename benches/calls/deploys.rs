//! What a deploy costs, compared with the patches that it needs, with all its API calls made bare, and with
//! helm.

use std::time::Instant;

use futures::future::join_all;
use gantry::pb::{self, app_service_client::AppServiceClient};
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, Deployment},
    core::v1::Service,
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tonic::transport::Channel;

use crate::{
    Size,
    peers::Chart,
    place::{Daemon, Place},
    stats::{Goal, Ratio, Series, Table, Unit, micros},
};

const DEPLOY: &str = "DeployApp";
const CALLS: &str = "its API calls, made bare";
const IN_TURN: &str = "3 bare patches, one after the other";
const AT_ONCE: &str = "3 bare patches at once";
const HELM: &str = "helm upgrade";

const STEPS: [&str; 5] = [
    "1 read Deployment, Service, budgets, revisions, at once",
    "2 dry run of Deployment, Service, budget, at once",
    "3 create the revision",
    "4 apply the Deployment",
    "5 note in the revision that it is done",
];

/// Apps of each contender. A round deploys each app once, and waits before each deploy until no rollout is
/// running, because a running rollout costs the API server more than the measured calls.
const APPS: usize = 4;
const REPLICAS: i32 = 1;
/// How often each app is deployed without a change.
const REPEATS: usize = 4;

/// The manifests to apply, and the clients that apply them.
struct Bare {
    name: String,
    objects: [(Api<DynamicObject>, Value); 3],
    budgets: Api<DynamicObject>,
    revisions: Api<DynamicObject>,
}

pub async fn measure(place: &Place, daemon: &Daemon, size: Size) -> Vec<Table> {
    let channel = daemon.channel().await;
    let names = |what: &str| (0..APPS).map(|n| format!("{what}-{n}")).collect::<Vec<_>>();
    let ours = names("ours");
    let mut bare = Vec::new();
    for name in ["calls", "in-turn", "at-once"] {
        let of_this = names(name);
        bare.push(join_all(of_this.iter().map(|name| Bare::new(place, &channel, name))).await);
    }
    let mut charts = Vec::new();
    for name in names("helm") {
        charts.push(chart(place, &channel, &name).await);
    }
    for name in &ours {
        deploy(place, &channel, name, "web:first").await;
    }
    place.settled(daemon).await;

    let (mut new, mut same, mut steps) = tables();
    for round in 0..=size.rounds {
        let image = format!("web:{round}");
        new.begin_round();
        same.begin_round();
        steps.begin_round();
        for n in 0..APPS {
            let mut order = [DEPLOY, CALLS, IN_TURN, AT_ONCE, HELM];
            order.rotate_left((n + round) % 5);
            for contender in order {
                place.settled(daemon).await;
                let start = Instant::now();
                match contender {
                    DEPLOY => deploy(place, &channel, &ours[n], &image).await,
                    CALLS => {
                        for (step, took) in STEPS.into_iter().zip(bare[0][n].all_calls(&image, round).await) {
                            steps.push(step, took);
                        }
                    }
                    IN_TURN => bare[1][n].in_turn(&image).await,
                    AT_ONCE => bare[2][n].at_once(&image).await,
                    _ => charts[n].upgrade(&image, false).await,
                }
                new.push(contender, micros(start.elapsed()));
            }
        }
        place.settled(daemon).await;
        for n in (0..APPS).cycle().take(APPS * REPEATS) {
            let mut order = [DEPLOY, IN_TURN, AT_ONCE];
            order.rotate_left((n + round) % 3);
            for contender in order {
                let start = Instant::now();
                match contender {
                    DEPLOY => deploy(place, &channel, &ours[n], &image).await,
                    IN_TURN => bare[1][n].in_turn(&image).await,
                    _ => bare[2][n].at_once(&image).await,
                }
                same.push(contender, micros(start.elapsed()));
            }
        }
        if round == 0 {
            [&mut new, &mut same, &mut steps].into_iter().for_each(Table::forget);
        }
    }
    vec![new, same, steps]
}

fn tables() -> (Table, Table, Table) {
    let ratio = |what, to, goal| Ratio::of(what, DEPLOY, to, goal);
    let new = Table {
        title: "Deploy a new image",
        about: format!(
            "Apps of {REPLICAS} replica; nothing is under way before. The patches are the ones that DeployApp sends: Deployment, Service \
             and budget, by server-side apply. Helm, which applies the same objects from a chart, is a process, and counts to its end."
        ),
        unit: Unit::Micros,
        series: [DEPLOY, CALLS, IN_TURN, AT_ONCE, HELM].map(Series::new).into(),
        ratios: vec![
            ratio("DeployApp to the patches at once", AT_ONCE, Some(Goal::AtMost(1.3))),
            ratio("DeployApp to the patches one after the other", IN_TURN, None),
            ratio("DeployApp to its API calls made bare", CALLS, None),
            Ratio::of("helm upgrade to DeployApp", HELM, DEPLOY, None),
        ],
    };
    let same = Table {
        title: "Deploy what is there already",
        about: "DeployApp finds that nothing changes, and writes nothing. The patches change nothing either."
            .to_owned(),
        unit: Unit::Micros,
        series: [DEPLOY, IN_TURN, AT_ONCE].map(Series::new).into(),
        ratios: vec![
            ratio("DeployApp to the patches at once", AT_ONCE, Some(Goal::AtMost(1.3))),
            ratio("DeployApp to the patches one after the other", IN_TURN, None),
        ],
    };
    let steps = Table {
        title: "Where a deploy's time goes",
        about: "The API calls of a DeployApp with a new image, made bare, step by step; a step begins when the one before it is \
                answered. Service and budget need no step: the dry run says that they would stay as they are."
            .to_owned(),
        unit: Unit::Micros,
        series: STEPS.map(Series::new).into(),
        ratios: Vec::new(),
    };
    (new, same, steps)
}

async fn deploy(place: &Place, channel: &Channel, app: &str, image: &str) {
    let request = place.deploy(app, image, REPLICAS);
    AppServiceClient::new(channel.clone()).deploy_app(request).await.unwrap();
}

/// The manifests that a deploy would apply, the Deployment first, in a form that any client can apply.
pub async fn manifests(channel: &Channel, request: pb::DeployAppRequest) -> [Value; 3] {
    let request = pb::DeployAppRequest { validate_only: true, ..request };
    let answer = AppServiceClient::new(channel.clone()).deploy_app(request).await.unwrap().into_inner();
    let changes = answer.plan.unwrap().changes;
    let all: Vec<Value> =
        changes.iter().filter_map(|change| serde_json::from_str(&change.new_value).ok()).collect();
    ["Deployment", "Service", "PodDisruptionBudget"].map(|kind| {
        let of_kind = all.iter().find(|manifest| manifest["kind"] == json!(kind));
        let mut manifest = of_kind.expect("the plan has all three").clone();
        // Otherwise the daemon would take the Deployment for one that Gantry manages, and look for its
        // revision.
        manifest["metadata"]["labels"]["app.kubernetes.io/managed-by"] = json!("bench");
        manifest["metadata"].as_object_mut().unwrap().remove("annotations");
        manifest
    })
}

/// Installs a chart with the same manifests.
async fn chart(place: &Place, channel: &Channel, app: &str) -> Chart {
    let objects = manifests(channel, place.deploy(app, "web:first", REPLICAS)).await;
    Chart::install(place, app, &objects, "web:first").await
}

// === impl Bare ===

impl Bare {
    /// Creates an app that is not managed by Gantry, from the manifests that the daemon would apply.
    async fn new(place: &Place, channel: &Channel, app: &str) -> Self {
        let manifests = manifests(channel, place.deploy(app, "web:first", REPLICAS)).await;
        let resources = [
            ApiResource::erase::<Deployment>(&()),
            ApiResource::erase::<Service>(&()),
            ApiResource::erase::<PodDisruptionBudget>(&()),
        ];
        let api = |resource| Api::namespaced_with(place.client.clone(), &place.namespace, resource);
        let mut manifests = manifests.into_iter();
        let objects =
            resources.each_ref().map(|resource| (api(resource), manifests.next().unwrap_or_default()));
        let bare = Self {
            name: app.to_owned(),
            objects,
            budgets: api(&resources[2]),
            revisions: api(&ApiResource::erase::<ControllerRevision>(&())),
        };
        bare.in_turn("web:first").await;
        bare
    }

    async fn apply(&self, which: usize, image: &str, dry_run: bool) {
        let (api, manifest) = &self.objects[which];
        let mut manifest = manifest.clone();
        if which == 0 {
            manifest["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
        }
        let params = PatchParams { dry_run, ..PatchParams::apply("bench") };
        api.patch(&self.name, &params, &Patch::Apply(&manifest)).await.unwrap();
    }

    async fn in_turn(&self, image: &str) {
        for which in 0..3 {
            self.apply(which, image, false).await;
        }
    }

    async fn at_once(&self, image: &str) {
        join_all((0..3).map(|which| self.apply(which, image, false))).await;
    }

    /// Makes the API calls that DeployApp makes, in its order; returns the time of each step.
    async fn all_calls(&self, image: &str, number: usize) -> [f64; 5] {
        let mut took = [0.0; 5];
        let mut start = Instant::now();
        let mut next = |step: usize| {
            took[step] = micros(start.elapsed());
            start = Instant::now();
        };
        let of_app = ListParams::default().labels(&format!("bench/app={}", self.name));
        let all = ListParams::default();
        let (one, two, three, four) = tokio::join!(
            self.objects[0].0.get(&self.name),
            self.objects[1].0.get(&self.name),
            self.budgets.list(&all),
            self.revisions.list(&of_app),
        );
        let past = (one.is_ok() && two.is_ok() && three.is_ok()).then_some(four.unwrap().items.len());
        next(0);
        join_all((0..3).map(|which| self.apply(which, image, true))).await;
        next(1);
        let revision = format!("bench-{}-{number}-{}", self.name, past.unwrap());
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": number,
            "metadata": {"name": revision, "labels": {"bench/app": self.name}},
            "data": self.objects[0].1,
        }))
        .unwrap();
        let created = self.revisions.create(&PostParams::default(), &object).await.unwrap();
        next(2);
        self.apply(0, image, false).await;
        next(3);
        let done = Patch::Merge(json!({"metadata": {"annotations": {"bench/done": "yes"}}}));
        self.revisions.patch(&created.name_any(), &PatchParams::default(), &done).await.unwrap();
        next(4);
        took
    }
}
