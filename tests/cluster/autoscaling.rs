//! The autoscaling loop on a real control plane: measured CPU, reported load, holds that survive a kill,
//! external autoscalers, and several daemons at once.

use gantry::pb;
use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::Deployment, autoscaling::v2::HorizontalPodAutoscaler, core::v1::Pod};
use kube::{
    Api,
    api::{
        ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
        PostParams, ResourceExt,
    },
};
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{
    killing::state::recorded,
    proxy::Proxy,
    support::{Daemon, Env, annotate_all, follow, reason, run, until, web},
};

type Signal = pb::scaling_target::Signal;

fn seconds(n: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds: n, nanos: 0 })
}

/// An active autoscaler from 1 to 10 replicas that follows its target at once in both directions.
fn autoscaler(env: &Env, signal: Signal) -> pb::Autoscaler {
    pb::Autoscaler {
        name: format!("{}/autoscaler", env.name("web")),
        mode: pb::AutoscalerMode::Active.into(),
        max_replicas: 10,
        targets: vec![pb::ScalingTarget { signal: Some(signal) }],
        scale_down_duration: seconds(0),
        ..pb::Autoscaler::default()
    }
}

async fn set(daemon: &Daemon, autoscaler: pb::Autoscaler) -> Result<pb::UpdateAutoscalerResponse, Status> {
    let request = pb::UpdateAutoscalerRequest { autoscaler: Some(autoscaler), ..Default::default() };
    daemon.update_autoscaler(request).await
}

async fn get(env: &Env, daemon: &Daemon) -> pb::Autoscaler {
    let request =
        pb::GetAutoscalerRequest { name: format!("{}/autoscaler", env.name("web")), ..Default::default() };
    daemon.get_autoscaler(request).await.unwrap().autoscaler.unwrap()
}

async fn status(env: &Env, daemon: &Daemon) -> pb::AppStatus {
    let request = pb::GetAppRequest { name: env.name("web"), ..Default::default() };
    daemon.get_app(request).await.unwrap().app.unwrap().status.unwrap()
}

async fn reaches(env: &Env, daemon: &Daemon, replicas: i32) {
    let what = format!("{replicas} replicas");
    until(&what, async || status(env, daemon).await.desired_replicas == replicas).await;
}

async fn report(env: &Env, daemon: &Daemon, source: &str, value: f64) {
    let figure = pb::LoadFigure {
        app: env.name("web"),
        metric: "queue_depth".into(),
        value,
        source: source.into(),
        time: None,
    };
    let request = pb::ReportLoadRequest { figures: vec![figure] };
    until("the report is taken", async || {
        match daemon.report_load(request.clone()).await {
            Ok(answer) => answer.accepted == 1,
            // While the lease of a killed daemon runs, no daemon accepts reports.
            Err(status) => {
                assert_eq!(reason(&status), "AUTOSCALER_ELSEWHERE", "{status}");
                false
            }
        }
    })
    .await;
}

fn queue(per_replica: f64) -> Signal {
    Signal::Reported(pb::ReportedTarget { metric: "queue_depth".into(), per_replica })
}

async fn decisions(env: &Env, daemon: &Daemon, outcomes: &[pb::ScalingOutcome]) -> Vec<pb::ScalingDecision> {
    let request = pb::ListScalingDecisionsRequest {
        parent: format!("{}/autoscaler", env.name("web")),
        outcomes: outcomes.iter().map(|o| (*o).into()).collect(),
        page_size: 1000,
        ..Default::default()
    };
    daemon.list_scaling_decisions(request).await.unwrap().decisions
}

fn scale(env: &Env, replicas: i32, hold_for: Option<prost_types::Duration>) -> pb::ScaleAppRequest {
    let reason = "the sale".into();
    pb::ScaleAppRequest {
        name: env.name("web"),
        replicas: Some(replicas),
        hold_for,
        reason,
        ..Default::default()
    }
}

async fn uses(env: &Env, cpu: &str) {
    let pods = Api::<Pod>::namespaced(env.client.clone(), &env.namespace);
    for pod in pods.list(&ListParams::default()).await.unwrap() {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {"sim/cpu": cpu}}}));
        // A pod that is gone by now uses nothing.
        let _ = pods.patch(&pod.name_any(), &PatchParams::default(), &patch).await;
    }
}

#[tokio::test]
#[ignore = "needs simulated pods"]
async fn the_count_follows_the_cpu_that_replicas_use_up_and_down() {
    run(|env| async move {
        let daemon = env.scaler().await;
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        set(&daemon, autoscaler(&env, Signal::CpuPercent(50))).await.unwrap();
        // Each of the two pods requests 10m, so 20m is four times the target of 50 %.
        uses(&env, "20m").await;
        until("it rises", async || status(&env, &daemon).await.desired_replicas >= 8).await;
        // The loop of another test may be the first to set the count, and may lower it again. This loop then
        // saw the load and the new count.
        until("this loop has decided on it too", async || {
            let all = decisions(&env, &daemon, &[]).await;
            all.iter().any(|d| {
                d.required_replicas > 2
                    && d.message.contains("% of the request, the target is 50 %")
                    && d.signals[0].source == "metrics-api"
            })
        })
        .await;
        until("it falls", async || {
            // In each turn, because new pods come meanwhile.
            uses(&env, "1m").await;
            status(&env, &daemon).await.desired_replicas <= 2
        })
        .await;
        let count = get(&env, &daemon).await;
        assert!(count.status.unwrap().measured_startup_duration.is_some());
    })
    .await;
}

/// Makes pods that fail their readiness probe pass it, and use this much CPU from then on.
async fn end_starts(env: &Env, pods: &[String], cpu: &str) {
    let api = Api::<Pod>::namespaced(env.client.clone(), &env.namespace);
    for pod in pods {
        let annotations = json!({"sim/unready": "false", "sim/cpu": cpu});
        let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
        api.patch(pod, &PatchParams::default(), &patch).await.unwrap();
    }
}

/// The pods that run and are not ready.
async fn starting(env: &Env) -> Vec<String> {
    let api = Api::<Pod>::namespaced(env.client.clone(), &env.namespace);
    let starts = |pod: &Pod| {
        let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        containers.into_iter().any(|c| !c.ready && c.state.as_ref().is_some_and(|s| s.running.is_some()))
    };
    let pods = api.list(&ListParams::default()).await.unwrap();
    pods.iter().filter(|pod| starts(pod)).map(ResourceExt::name_any).collect()
}

#[tokio::test]
#[ignore = "needs simulated pods"]
async fn cpu_that_replicas_use_to_start_asks_for_no_more_of_them() {
    run(|env| async move {
        let daemon = env.scaler().await;
        // Each pod requests 10m and uses 100m until its start is ended below.
        let greedy = annotate_all(&[("sim/unready", "true"), ("sim/cpu", "100m")]);
        let spec = pb::AppSpec { pod_template_patch: Some(greedy), ..web() };
        let deployed = daemon.deploy_app(env.deploy_request("web", spec)).await.unwrap();
        until("two run", async || starting(&env).await.len() == 2).await;
        end_starts(&env, &starting(&env).await, "6m").await;
        follow(&daemon, &deployed.rollout.unwrap().name).await;
        set(&daemon, autoscaler(&env, Signal::CpuPercent(50))).await.unwrap();
        reaches(&env, &daemon, 3).await;

        until("the third one runs", async || starting(&env).await.len() == 1).await;
        let third = starting(&env).await;
        let resource = ApiResource::from_gvk_with_plural(
            &GroupVersionKind::gvk("metrics.k8s.io", "v1beta1", "PodMetrics"),
            "pods",
        );
        let metrics = Api::<DynamicObject>::namespaced_with(env.client.clone(), &env.namespace, &resource);
        until("the start of the third one is measured", async || {
            let Ok(Some(figure)) = metrics.get_opt(&third[0]).await else { return false };
            let cpu = figure.data["containers"][0]["usage"]["cpu"].as_str().unwrap_or_default().to_owned();
            gantry::domain::quantity::parse_quantity(&cpu).is_some_and(|cores| cores > 0.05)
        })
        .await;
        let before = decisions(&env, &daemon, &[]).await.len();
        until("it is decided on that", async || decisions(&env, &daemon, &[]).await.len() > before).await;
        let last = decisions(&env, &daemon, &[]).await.swap_remove(0);
        assert!(
            last.message.contains(", 1 replica that is still starting is left out, so 3 replicas"),
            "{}",
            last.message
        );
        // The first measurement after the start still covers a part of the start.
        end_starts(&env, &third, "1m").await;
        until("the third one counts", async || {
            decisions(&env, &daemon, &[]).await[0].signals[0].covered_replicas == 3
        })
        .await;
        let all = decisions(&env, &daemon, &[]).await;
        let counts: Vec<_> = all.iter().rev().map(|d| d.to_replicas).collect();
        assert!(counts.iter().all(|n| (2..=3).contains(n)), "{counts:?}");
        assert_eq!(status(&env, &daemon).await.desired_replicas, 3);
        eprintln!("counts by look: {counts:?}");
    })
    .await;
}

#[tokio::test]
async fn a_hold_stands_over_the_autoscaler_through_a_kill_and_ends_by_itself() {
    run(|env| async move {
        let mut daemon = env.scaler().await;
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        set(&daemon, autoscaler(&env, queue(1.0))).await.unwrap();
        report(&env, &daemon, "a", 4.0).await;
        reaches(&env, &daemon, 4).await;
        assert_eq!(
            status(&env, &daemon).await.replica_owner.unwrap().kind(),
            pb::ReplicaOwnerKind::Autoscaler
        );

        let refused = daemon.scale_app(scale(&env, 6, None)).await.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::FailedPrecondition, "AUTOSCALER_ACTIVE")
        );
        let named = pb::DeployAppRequest {
            update_mask: Some(prost_types::FieldMask { paths: vec!["spec.replicas".into()] }),
            ..env.deploy_request("web", pb::AppSpec { replicas: Some(6), ..pb::AppSpec::default() })
        };
        let refused = daemon.deploy_app(named).await.unwrap_err();
        assert_eq!(reason(&refused), "AUTOSCALER_ACTIVE");
        let other =
            env.deploy_request("web", pb::AppSpec { image: "web:2".into(), replicas: Some(9), ..web() });
        let plan = daemon.deploy_app(other).await.unwrap().plan.unwrap();
        let check = plan.checks.iter().find(|c| c.message.contains("autoscaler decides the count"));
        assert!(check.is_some(), "{:?}", plan.checks);
        assert_eq!(status(&env, &daemon).await.desired_replicas, 4, "a deploy leaves it");

        let held = daemon.scale_app(scale(&env, 6, seconds(25))).await.unwrap();
        let owner = held.app.unwrap().status.unwrap().replica_owner.unwrap();
        assert_eq!((owner.kind(), owner.reason.as_str()), (pb::ReplicaOwnerKind::Hold, "the sale"));
        let until_time = Timestamp::from_second(owner.hold_end_time.unwrap().seconds).unwrap();

        daemon.kill().await;
        let daemon = env.scaler().await;
        let shown = status(&env, &daemon).await;
        assert_eq!(shown.replica_owner.unwrap().kind(), pb::ReplicaOwnerKind::Hold);
        assert_eq!(shown.desired_replicas, 6);
        assert_eq!(get(&env, &daemon).await.mode(), pb::AutoscalerMode::Active, "the policy survives too");
        // The new daemon may have to wait for the lease of the killed one.
        until("it decides, and holds", async || {
            report(&env, &daemon, "a", 8.0).await;
            decisions_or_none(&env, &daemon).await.iter().any(|d| d.message.contains("holds the count until"))
        })
        .await;
        until("the hold is over, and what is reported counts again", async || {
            report(&env, &daemon, "a", 4.0).await;
            status(&env, &daemon).await.desired_replicas == 4
        })
        .await;
        assert!(Timestamp::now() >= until_time, "not before its end");
        assert_eq!(
            status(&env, &daemon).await.replica_owner.unwrap().kind(),
            pb::ReplicaOwnerKind::Autoscaler
        );
    })
    .await;
}

/// The decisions; empty while the lease of a killed daemon runs, because no daemon knows them then.
async fn decisions_or_none(env: &Env, daemon: &Daemon) -> Vec<pb::ScalingDecision> {
    let request = pb::ListScalingDecisionsRequest {
        parent: format!("{}/autoscaler", env.name("web")),
        ..Default::default()
    };
    let answer = daemon.list_scaling_decisions(request).await;
    answer.map(|answer| answer.decisions).unwrap_or_default()
}

#[tokio::test]
async fn setting_the_mode_ends_a_hold_and_a_request_id_makes_it_happen_once() {
    run(|env| async move {
        let daemon = env.scaler().await;
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        let policy = autoscaler(&env, queue(1.0));
        let request = pb::UpdateAutoscalerRequest {
            autoscaler: Some(policy.clone()),
            request_id: "6f1a2c1e-0000-4000-8000-00000000aaaa".into(),
            ..Default::default()
        };
        let mut autoscalers = daemon.autoscalers().await;
        let first = autoscalers.update_autoscaler(request.clone()).await.unwrap().into_inner();
        daemon.scale_app(scale(&env, 3, seconds(600))).await.unwrap();
        let dry = pb::UpdateAutoscalerRequest {
            autoscaler: Some(pb::Autoscaler { max_replicas: 20, ..policy.clone() }),
            validate_only: true,
            ..Default::default()
        };
        let shown = autoscalers.update_autoscaler(dry).await.unwrap().into_inner();
        assert_eq!((shown.autoscaler.unwrap().max_replicas, shown.position.as_str()), (20, ""));
        let again = autoscalers.update_autoscaler(request.clone()).await.unwrap().into_inner();
        assert_eq!(again.position, first.position);
        let owner = async || status(&env, &daemon).await.replica_owner.unwrap().kind();
        assert_eq!(owner().await, pb::ReplicaOwnerKind::Hold, "a repeat does nothing");
        let fields = env.settled().await;
        let stale = pb::Autoscaler { etag: "00".into(), ..policy.clone() };
        let refused = set(&daemon, stale).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Aborted, "ETAG_MISMATCH"));
        let wrong = pb::Autoscaler { min_replicas: Some(30), ..policy.clone() };
        let refused = set(&daemon, wrong).await.unwrap_err();
        assert_eq!(
            refused.get_error_details().bad_request().unwrap().field_violations[0].field,
            "autoscaler.max_replicas"
        );
        assert_eq!(env.objects().await, fields, "what is refused writes nothing");
        let etag = get(&env, &daemon).await.etag;
        set(&daemon, pb::Autoscaler { etag, ..policy }).await.unwrap();
        until("the hold is over", async || owner().await == pb::ReplicaOwnerKind::Autoscaler).await;
    })
    .await;
}

#[tokio::test]
async fn beside_an_external_autoscaler_it_only_advises() {
    run(|env| async move {
        let daemon = env.scaler().await;
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
        let hpa = json!({"metadata": {"name": "grow"}, "spec": {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 3}});
        let hpas = Api::<HorizontalPodAutoscaler>::namespaced(env.client.clone(), &env.namespace);
        let hpa: HorizontalPodAutoscaler = serde_json::from_value(hpa).unwrap();
        hpas.create(&PostParams::default(), &hpa).await.unwrap();
        let active = autoscaler(&env, queue(1.0));
        let refused = set(&daemon, active.clone()).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "FOREIGN_AUTOSCALER"));
        assert!(refused.message().contains("horizontalpodautoscaler.autoscaling/grow"), "{}", refused.message());
        set(&daemon, pb::Autoscaler { mode: pb::AutoscalerMode::Shadow.into(), ..active.clone() }).await.unwrap();
        report(&env, &daemon, "a", 5.0).await;
        until("it advises", async || {
            let advice = decisions(&env, &daemon, &[pb::ScalingOutcome::Advised]).await;
            advice.iter().any(|d| d.to_replicas == 5)
        })
        .await;
        assert_eq!(status(&env, &daemon).await.desired_replicas, 2);

        // An external autoscaler that is created while the one of Gantry is active gets the count too.
        hpas.delete("grow", &DeleteParams::default()).await.unwrap();
        until("it is active", async || set(&daemon, active.clone()).await.is_ok()).await;
        report(&env, &daemon, "a", 5.0).await;
        reaches(&env, &daemon, 5).await;
        hpas.create(&PostParams::default(), &hpa).await.unwrap();
        until("it holds", async || {
            report(&env, &daemon, "a", 9.0).await;
            let held = decisions(&env, &daemon, &[pb::ScalingOutcome::Held]).await;
            held.iter().any(|d| d.message.contains("horizontalpodautoscaler.autoscaling/grow decides the count"))
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn reported_load_starts_a_stopped_app_at_once_and_stops_it_when_idle() {
    run(|env| async move {
        let daemon = env.scaler().await;
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        let idle = pb::Autoscaler {
            min_replicas: Some(0),
            idle_timeout: seconds(2),
            ..autoscaler(&env, queue(10.0))
        };
        let refused = set(
            &daemon,
            pb::Autoscaler { targets: autoscaler(&env, Signal::CpuPercent(50)).targets, ..idle.clone() },
        );
        let refused = refused.await.unwrap_err();
        assert_eq!(
            refused.get_error_details().bad_request().unwrap().field_violations[0].field,
            "autoscaler.min_replicas"
        );
        set(&daemon, idle).await.unwrap();
        // A daemon that began to listen a moment ago does not scale down yet.
        until("it is stopped", async || {
            report(&env, &daemon, "a", 0.0).await;
            status(&env, &daemon).await.desired_replicas == 0
        })
        .await;
        // The state is not STOPPED before the last pod is gone.
        until("nothing runs", async || status(&env, &daemon).await.state() == pb::AppState::Stopped).await;
        let asked = std::time::Instant::now();
        report(&env, &daemon, "a", 15.0).await;
        reaches(&env, &daemon, 2).await;
        // The report is acted on at once, not at the next look, which may be 5 s away. The time is only
        // printed, because a busy machine may delay it.
        eprintln!("started {:?} after the report", asked.elapsed());
    })
    .await;
}

#[tokio::test]
async fn two_daemons_run_one_loop_and_a_report_to_either_counts() {
    run(|env| async move {
        let one = env.scaler().await;
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        set(&one, autoscaler(&env, queue(1.0))).await.unwrap();
        until("the first runs the loop", async || {
            get(&env, &one).await.status.unwrap().next_decide_time.is_some()
        })
        .await;
        let two = env.scaler().await;
        report(&env, &one, "a", 3.0).await;
        report(&env, &two, "b", 2.0).await;
        reaches(&env, &two, 5).await;
        assert!(
            !decisions(&env, &two, &[]).await.is_empty(),
            "the second daemon forwards the question to the first"
        );
        let mut one = one;
        one.kill().await;
        until("the second takes over", async || {
            for source in ["a", "b", "c"] {
                report(&env, &two, source, 2.0).await;
            }
            status(&env, &two).await.desired_replicas == 6
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_hold_killed_after_any_write_is_completed_or_never_was() {
    run(|env| async move {
        let proxy = Proxy::start(env.client.clone()).await;
        let dir = tempfile::tempdir().unwrap();
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        // Storing the verdict is a write too, by the first daemon that sees it.
        recorded(&env, "web", 1).await;
        set(&env.daemon, pb::Autoscaler { max_replicas: 9, ..autoscaler(&env, queue(1.0)) }).await.unwrap();
        let deployments = Api::<Deployment>::namespaced(env.client.clone(), &env.namespace);
        for k in 1..=3 {
            let daemon = proxy.daemon(dir.path()).await;
            proxy.stop_after(&env.namespace, "web", k);
            let mut request = scale(&env, 3 + i32::try_from(k).unwrap(), seconds(3600));
            request.request_id = format!("6f1a2c1e-0000-4000-8000-0000000000{k:02x}");
            let mut apps = daemon.apps().await;
            tokio::select! {
                answer = apps.scale_app(request.clone()) => panic!("answered after {k} writes: {answer:?}"),
                () = proxy.stopped() => {}
            }
            let mut daemon = daemon;
            daemon.kill().await;
            proxy.stop_after("", "", usize::MAX);
            let next = env.scaler().await;
            if k == 2 {
                next.scale_app(request.clone()).await.unwrap();
            }
            reaches(&env, &next, request.replicas.unwrap()).await;
            let owner = status(&env, &next).await.replica_owner.unwrap();
            assert_eq!(owner.kind(), pb::ReplicaOwnerKind::Hold, "after {k} writes");
            let live = deployments.get("web").await.unwrap();
            assert_eq!(live.spec.unwrap().replicas, request.replicas);
            drop(next);
        }
    })
    .await;
}
