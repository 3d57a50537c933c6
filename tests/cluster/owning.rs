//! The replica count has one owner at any time: in any order of changes, the count is changed only by its
//! owner, and `replica_owner` names that owner.
//!
//! `GANTRY_TEST_ORDERS=all` tries every order of three steps. Otherwise the test tries each order of two, and
//! a fixed part of the orders of three.

use std::time::Duration;

use futures::{StreamExt, stream};
use gantry::pb;
use k8s_openapi::api::{apps::v1::Deployment, autoscaling::v2::HorizontalPodAutoscaler};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tonic::Status;

use crate::support::{Daemon, Env, reason, run, until, web};

/// What is done to an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// A deploy without a count.
    Deploy,
    /// A deploy with a count in its spec.
    DeployCount,
    Scale,
    ScaleHeld,
    Restart,
    RollBack,
    /// `kubectl scale`: another field manager, through the scale subresource.
    Kubectl,
    ForeignComes,
    ForeignGoes,
    On,
    Off,
}

impl Step {
    const ALL: [Self; 11] = [
        Self::Deploy,
        Self::DeployCount,
        Self::Scale,
        Self::ScaleHeld,
        Self::Restart,
        Self::RollBack,
        Self::Kubectl,
        Self::ForeignComes,
        Self::ForeignGoes,
        Self::On,
        Self::Off,
    ];
}

/// What set the count last. It decides whether a deploy changes the count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SetBy {
    Deploy,
    Others,
}

/// The expected state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Model {
    count: i32,
    set_by: SetBy,
    on: bool,
    held: bool,
    foreign: bool,
}

impl Model {
    /// The state after a step, or the reason with which the step is refused.
    fn after(self, step: Step, count: i32) -> Result<Self, &'static str> {
        match step {
            Step::DeployCount if self.set_by == SetBy::Deploy && !self.on && !self.foreign => {
                Ok(Self { count, ..self })
            }
            Step::Deploy | Step::DeployCount | Step::Restart | Step::RollBack => Ok(self),
            Step::Scale if self.on => Err("AUTOSCALER_ACTIVE"),
            Step::Scale | Step::ScaleHeld | Step::On if self.foreign => Err("FOREIGN_AUTOSCALER"),
            Step::ScaleHeld => Ok(Self { count, set_by: SetBy::Others, held: self.on, ..self }),
            Step::Scale | Step::Kubectl => Ok(Self { count, set_by: SetBy::Others, ..self }),
            Step::ForeignComes => Ok(Self { foreign: true, ..self }),
            Step::ForeignGoes => Ok(Self { foreign: false, ..self }),
            // Setting the mode ends a hold.
            Step::On => Ok(Self { on: true, held: false, ..self }),
            Step::Off => Ok(Self { on: false, held: false, ..self }),
        }
    }

    fn owner(self) -> pb::ReplicaOwnerKind {
        match self {
            Self { foreign: true, .. } => pb::ReplicaOwnerKind::Foreign,
            Self { held: true, .. } => pb::ReplicaOwnerKind::Hold,
            Self { on: true, .. } => pb::ReplicaOwnerKind::Autoscaler,
            Self { .. } => pb::ReplicaOwnerKind::Caller,
        }
    }
}

struct Subject<'a> {
    env: &'a Env,
    app: String,
}

impl Subject<'_> {
    fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.env.client.clone(), &self.env.namespace)
    }

    fn foreign(&self) -> Api<HorizontalPodAutoscaler> {
        Api::namespaced(self.env.client.clone(), &self.env.namespace)
    }

    async fn live(&self) -> i32 {
        self.deployments().get(&self.app).await.unwrap().spec.unwrap().replicas.unwrap()
    }

    async fn deploy(&self, tag: usize, replicas: Option<i32>) -> Result<(), Status> {
        let spec = pb::AppSpec { image: format!("web:{tag}"), replicas, ..web() };
        self.env.daemon.deploy_app(self.env.deploy_request(&self.app, spec)).await.map(drop)
    }

    async fn scale(&self, count: i32, hold_for: Option<prost_types::Duration>) -> Result<(), Status> {
        let name = self.env.name(&self.app);
        let request = pb::ScaleAppRequest { name, replicas: Some(count), hold_for, ..Default::default() };
        self.env.daemon.scale_app(request).await.map(drop)
    }

    async fn tune(&self, mode: pb::AutoscalerMode) -> Result<(), Status> {
        let signal = pb::scaling_target::Signal::Concurrency(5.0);
        let autoscaler = pb::Autoscaler {
            name: format!("{}/autoscaler", self.env.name(&self.app)),
            mode: mode.into(),
            max_replicas: 50,
            scale_down_duration: Some(prost_types::Duration::default()),
            targets: vec![pb::ScalingTarget { signal: Some(signal) }],
            ..Default::default()
        };
        let request = pb::UpdateAutoscalerRequest { autoscaler: Some(autoscaler), ..Default::default() };
        self.env.daemon.update_autoscaler(request).await.map(drop)
    }

    /// Carries out a step; `n` is its place in the order.
    async fn step(&self, step: Step, n: usize, count: i32) -> Result<(), Status> {
        let apps = async || self.env.daemon.apps().await;
        let name = self.env.name(&self.app);
        match step {
            Step::Deploy => self.deploy(n + 2, None).await,
            Step::DeployCount => self.deploy(n + 2, Some(count)).await,
            Step::Scale => self.scale(count, None).await,
            Step::ScaleHeld => {
                self.scale(count, Some(prost_types::Duration { seconds: 3600, nanos: 0 })).await
            }
            Step::Restart => {
                apps().await.restart_app(pb::RestartAppRequest { name, ..Default::default() }).await.map(drop)
            }
            Step::RollBack => {
                let rollout = format!("{name}/rollouts/1");
                let keep_autoscaler = true;
                let request = pb::RollbackAppRequest { name, rollout, keep_autoscaler, ..Default::default() };
                self.env.daemon.rollback_app(request).await.map(drop)
            }
            Step::Kubectl => {
                let scale = Patch::Merge(json!({"spec": {"replicas": count}}));
                let params = PatchParams { field_manager: Some("kubectl".into()), ..Default::default() };
                self.deployments().patch_scale(&self.app, &params, &scale).await.unwrap();
                Ok(())
            }
            Step::ForeignComes => {
                let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": self.app});
                // The widest range, so that the controller of the HorizontalPodAutoscaler has nothing to
                // change.
                let hpa = json!({"metadata": {"name": self.app}, "spec": {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 100}});
                self.foreign()
                    .create(&PostParams::default(), &serde_json::from_value(hpa).unwrap())
                    .await
                    .unwrap();
                Ok(())
            }
            Step::ForeignGoes => {
                let _ = self.foreign().delete(&self.app, &DeleteParams::default()).await;
                Ok(())
            }
            Step::On => self.tune(pb::AutoscalerMode::Active).await,
            Step::Off => self.tune(pb::AutoscalerMode::Off).await,
        }
    }
}

/// Carries out these steps on a new app, and compares it with the model after each.
async fn try_order(env: &Env, n: usize, steps: Vec<Step>) {
    let subject = Subject { env, app: format!("web-{n}") };
    subject.deploy(1, Some(3)).await.unwrap();
    let mut model = Model { count: 3, set_by: SetBy::Deploy, on: false, held: false, foreign: false };
    for (at, step) in steps.iter().enumerate() {
        let count = 4 + i32::try_from(at).unwrap();
        let said = subject.step(*step, at, count).await;
        match (model.after(*step, count), said) {
            (Ok(next), Ok(())) => model = next,
            (Err(expected), Err(status)) => assert_eq!(reason(&status), expected, "{steps:?} at {at}"),
            (expected, said) => panic!("{steps:?} at {at}: {expected:?} was expected, not {said:?}"),
        }
        assert_eq!(subject.live().await, model.count, "{steps:?} at {at}: the count");
        let what = format!("{steps:?} at {at}: the owner is {:?}", model.owner());
        until(&what, async || {
            let status = env.get(&subject.app).await.unwrap().status.unwrap();
            status.replica_owner.unwrap().kind() == model.owner() && status.desired_replicas == model.count
        })
        .await;
    }
    let _ = subject.deployments().delete(&subject.app, &DeleteParams::background()).await;
    let _ = subject.foreign().delete(&subject.app, &DeleteParams::default()).await;
}

#[tokio::test]
async fn the_count_is_never_changed_by_who_does_not_own_it_in_any_order() {
    run(|env| async move {
        env.refuse_pods().await;
        let mut orders = Vec::new();
        for first in Step::ALL {
            for second in Step::ALL.into_iter().filter(|step| *step != first) {
                orders.push(vec![first, second]);
                let others = Step::ALL.into_iter().filter(|step| ![first, second].contains(step));
                orders.extend(others.map(|third| vec![first, second, third]));
            }
        }
        let all = std::env::var("GANTRY_TEST_ORDERS").is_ok_and(|which| which == "all");
        // Every thirteenth order of three. 13 has no common factor with the sizes of the nested loops, so
        // each step is tried in each place.
        let chosen =
            orders.into_iter().enumerate().filter(|(n, steps)| all || steps.len() == 2 || n % 13 == 0);
        let chosen: Vec<_> = chosen.collect();
        eprintln!("{} orders", chosen.len());
        let env = &env;
        let tried = chosen.into_iter().map(|(n, steps)| try_order(env, n, steps));
        stream::iter(tried).buffer_unordered(6).collect::<Vec<_>>().await;
    })
    .await;
}

/// With the autoscaling loop: a count that is set outside Gantry holds for a time, is shown as a hold, and
/// ends.
#[tokio::test]
async fn a_count_set_by_kubectl_stands_over_the_autoscaler_for_a_time() {
    run(|env| async move {
        let args = ["--autoscaler", "on", "--lease-namespace", &env.namespace, "--foreign-hold", "25s"];
        let scaler: Daemon = env.daemon_like(&args).await;
        let subject = Subject { env: &env, app: "web".to_owned() };
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        subject.tune(pb::AutoscalerMode::Active).await.unwrap();
        let report = async || {
            let figure = pb::LoadFigure {
                app: env.name("web"),
                metric: "concurrency".into(),
                value: 10.0,
                source: "test".into(),
                time: None,
            };
            let request = pb::ReportLoadRequest { figures: vec![figure] };
            // The Lease may change hands at any time, so a figure is reported again, as by any client.
            until("the report is taken", async || match scaler.report_load(request.clone()).await {
                Ok(_) => true,
                Err(status) => {
                    assert_eq!(reason(&status), "AUTOSCALER_ELSEWHERE", "{status}");
                    false
                }
            })
            .await;
        };
        report().await;
        // Kubernetes stores times in whole seconds. A count that is set in the same second as the autoscaler
        // looks older than it.
        tokio::time::sleep(Duration::from_secs(2)).await;
        subject.step(Step::Kubectl, 0, 5).await.unwrap();
        let owner = async || env.get("web").await.unwrap().status.unwrap().replica_owner.unwrap();
        until("it counts as a hold", async || {
            report().await;
            owner().await.kind() == pb::ReplicaOwnerKind::Hold
        })
        .await;
        let held = owner().await;
        assert_eq!((held.owner.as_str(), subject.live().await), ("kubectl", 5), "{held:?}");
        assert!(held.reason.contains("outside Gantry") && held.hold_end_time.is_some(), "{held:?}");
        let decisions = async || {
            let request = pb::ListScalingDecisionsRequest {
                parent: env.name("web") + "/autoscaler",
                ..Default::default()
            };
            scaler.list_scaling_decisions(request).await.unwrap().decisions
        };
        until("it is said", async || decisions().await.iter().any(|d| d.message.contains("kubectl"))).await;
        until("it ends", async || {
            report().await;
            subject.live().await == 2
        })
        .await;
        // The daemon that answers sees the change a moment later than the API server has it.
        until("the autoscaler decides", async || owner().await.kind() == pb::ReplicaOwnerKind::Autoscaler)
            .await;
    })
    .await;
}
