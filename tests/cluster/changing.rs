//! Changes of an app other than a deploy: scaling, restarting, holding, rolling back, taking over; and dry
//! runs of them.

use gantry::pb;
use k8s_openapi::api::{apps::v1::Deployment, autoscaling::v2::HorizontalPodAutoscaler};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams, PostParams, ResourceExt},
};
use serde_json::json;
use tonic::Code;
use tonic_types::StatusExt;

use crate::support::{Env, follow, reason, run, until, web};

fn deployments(env: &Env) -> Api<Deployment> {
    Api::namespaced(env.client.clone(), &env.namespace)
}

async fn count(env: &Env, app: &str) -> i32 {
    deployments(env).get(app).await.unwrap().spec.unwrap().replicas.unwrap()
}

fn scale(env: &Env, app: &str, replicas: i32) -> pb::ScaleAppRequest {
    pb::ScaleAppRequest { name: env.name(app), replicas: Some(replicas), ..Default::default() }
}

fn image(tag: &str) -> pb::AppSpec {
    pb::AppSpec { image: format!("web:{tag}"), ..pb::AppSpec::default() }
}

/// A Deployment as kubectl would make it, with fields that Gantry's API does not have.
async fn make_foreign(env: &Env, app: &str) -> Deployment {
    let manifest = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": app, "labels": {"app": app}}, "spec": {
        "replicas": 2, "minReadySeconds": 1, "selector": {"matchLabels": {"app": app}},
        "template": {"metadata": {"labels": {"app": app}}, "spec": {"containers": [
            {"name": "main", "image": "web:1", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
            {"name": "sidecar", "image": "proxy:1"}]}}}});
    let params = PostParams { field_manager: Some("kubectl-create".into()), ..PostParams::default() };
    let made = serde_json::from_value(manifest).unwrap();
    deployments(env).create(&params, &made).await.unwrap();
    until("the app is seen", async || env.get(app).await.is_ok()).await;
    // The Deployment controller annotates it once. A plan made just before that would differ from one after.
    let taken_up = async || deployments(env).get(app).await.unwrap().metadata.annotations.is_some();
    until("the controller has taken it up", taken_up).await;
    deployments(env).get(app).await.unwrap()
}

#[tokio::test]
async fn the_count_stays_with_the_call_that_set_it_last() {
    run(|env| async move {
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        let answer = env.scale("web", 4).await.unwrap();
        assert_eq!(answer.app.unwrap().status.unwrap().desired_replicas, 4);
        assert_eq!(answer.plan.unwrap().changes[0].path, "spec.replicas");

        let kept = env.deploy("web", image("2")).await.unwrap();
        assert_eq!(count(&env, "web").await, 4);
        let plan = kept.plan.unwrap();
        let check = plan.checks.iter().find(|c| c.kind == "REPLICAS").unwrap();
        assert_eq!(check.result(), pb::CheckResult::Warn, "{plan:?}");

        // Scaling to the current count is a change too: it records that a caller wants this count.
        env.scale("web", 4).await.unwrap();
        let named = |n, paths: &[&str]| pb::DeployAppRequest {
            update_mask: Some(prost_types::FieldMask {
                paths: paths.iter().map(|p| (*p).to_owned()).collect(),
            }),
            ..env.deploy_request("web", pb::AppSpec { replicas: Some(n), ..pb::AppSpec::default() })
        };
        env.daemon.deploy_app(named(4, &["spec.replicas"])).await.unwrap();
        assert_eq!(count(&env, "web").await, 4);
        // Now the count was last set by a deploy, so a later deploy sets it even if its mask does not name
        // it.
        env.daemon.deploy_app(named(1, &[])).await.unwrap();
        assert_eq!(count(&env, "web").await, 1);
        env.scale("web", 0).await.unwrap();
        let stopped = env.get("web").await.unwrap().status.unwrap();
        assert_eq!(stopped.desired_replicas, 0);
        let absent = env.scale("wed", 1).await.unwrap_err();
        assert_eq!(reason(&absent), "APP_NOT_FOUND");
        assert_eq!(absent.get_error_details().error_info().unwrap().metadata["didYouMean"], env.name("web"));
    })
    .await;
}

#[tokio::test]
async fn an_external_autoscaler_is_named_and_not_fought() {
    run(|env| async move {
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
        let hpa = json!({"metadata": {"name": "grow"}, "spec": {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 3}});
        let hpas = Api::<HorizontalPodAutoscaler>::namespaced(env.client.clone(), &env.namespace);
        hpas.create(&PostParams::default(), &serde_json::from_value(hpa).unwrap()).await.unwrap();
        let status = env.scale("web", 4).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "FOREIGN_AUTOSCALER"));
        assert_eq!(status.get_error_details().resource_info().unwrap().resource_name, "grow");
    })
    .await;
}

#[tokio::test]
async fn a_request_id_gets_the_first_answer_whatever_happened_since() {
    run(|mut env| async move {
        let id = "6f1a2c1e-0000-4000-8000-00000000abcd".to_owned();
        let request = pb::DeployAppRequest { request_id: id.clone(), ..env.deploy_request("web", web()) };
        let first = env.daemon.deploy_app(request.clone()).await.unwrap();
        follow(&env.daemon, &first.rollout.clone().unwrap().name).await;
        env.deploy_and_follow(env.deploy_request("web", image("2"))).await;
        for fresh in [false, true] {
            if fresh {
                env.daemon.kill().await;
                env.daemon = crate::support::Daemon::start().await;
            }
            let again = env.daemon.deploy_app(request.clone()).await.unwrap();
            assert_eq!(again.rollout.unwrap().name, first.rollout.clone().unwrap().name);
            assert_eq!(again.position, first.position);
            assert_eq!(again.app.unwrap().spec.unwrap().image, "web:2", "the app as it is now");
            let other =
                pb::DeployAppRequest { request_id: id.clone(), ..env.deploy_request("web", image("3")) };
            let status = env.daemon.deploy_app(other).await.unwrap_err();
            assert_eq!(
                (status.code(), reason(&status).as_str()),
                (Code::InvalidArgument, "REQUEST_ID_REUSED")
            );
            let other = pb::ScaleAppRequest { request_id: id.clone(), ..scale(&env, "web", 5) };
            let status = env.daemon.scale_app(other).await.unwrap_err();
            assert_eq!(reason(&status), "REQUEST_ID_REUSED");
        }
        let id = "6f1a2c1e-0000-4000-8000-00000000abce".to_owned();
        let request = pb::ScaleAppRequest { request_id: id, ..scale(&env, "web", 3) };
        let first = env.daemon.scale_app(request.clone()).await.unwrap();
        env.scale("web", 1).await.unwrap();
        env.daemon.kill().await;
        env.daemon = crate::support::Daemon::start().await;
        let again = env.daemon.scale_app(request).await.unwrap();
        assert_eq!((again.position, count(&env, "web").await), (first.position, 1));
    })
    .await;
}

#[tokio::test]
async fn a_restart_replaces_the_replicas_and_the_next_deploy_does_not_do_it_again() {
    run(|env| async move {
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        let pods = Api::<k8s_openapi::api::core::v1::Pod>::namespaced(env.client.clone(), &env.namespace);
        let names = async || {
            let list = pods.list(&ListParams::default()).await.unwrap();
            let living = list.items.iter().filter(|p| p.metadata.deletion_timestamp.is_none());
            living.map(ResourceExt::name_any).collect::<Vec<_>>()
        };
        let before = names().await;
        let request =
            pb::RestartAppRequest { name: env.name("web"), reason: "stuck".into(), ..Default::default() };
        let answer = env.daemon.restart_app(request).await.unwrap();
        let rollout = follow(&env.daemon, &answer.rollout.unwrap().name).await;
        assert_eq!(
            (rollout.state(), rollout.cause()),
            (pb::RolloutState::Succeeded, pb::RolloutCause::Restart)
        );
        assert_eq!((rollout.name, rollout.reason.as_str()), (env.name("web") + "/rollouts/2", "stuck"));
        let after = names().await;
        assert!(after.iter().all(|pod| !before.contains(pod)), "{before:?} {after:?}");

        let same = env.deploy("web", web()).await.unwrap();
        assert_eq!((same.rollout, same.plan.unwrap().changes), (None, vec![]));
        let template = async || deployments(&env).get("web").await.unwrap().spec.unwrap().template;
        let before = template().await.metadata.unwrap().annotations;
        let more = pb::AppSpec { env: [("A".to_owned(), "1".to_owned())].into(), ..pb::AppSpec::default() };
        env.deploy_and_follow(env.deploy_request("web", more)).await;
        assert_eq!(template().await.metadata.unwrap().annotations, before);
    })
    .await;
}

#[tokio::test]
async fn a_rollback_brings_back_the_content_and_never_the_count() {
    run(|env| async move {
        let rollback = |rollout: &str| pb::RollbackAppRequest {
            name: env.name("web"),
            rollout: if rollout.is_empty() {
                String::new()
            } else {
                env.name("web") + "/rollouts/" + rollout
            },
            ..Default::default()
        };
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        let status = env.daemon.rollback_app(rollback("")).await.unwrap_err();
        assert_eq!(reason(&status), "NO_EARLIER_ROLLOUT");
        env.deploy_and_follow(env.deploy_request("web", image("2"))).await;
        env.scale("web", 3).await.unwrap();
        let bad = env.deploy_and_follow(env.deploy_request("web", image("does-not-exist"))).await;
        assert_eq!(bad.state(), pb::RolloutState::Failed);

        let only = pb::RollbackAppRequest { validate_only: true, ..rollback("") };
        let plan = env.daemon.rollback_app(only).await.unwrap();
        assert_eq!(plan.rollout, None);
        let change = &plan.plan.unwrap().changes[0];
        assert_eq!(
            (change.path.as_str(), change.new_value.as_str()),
            ("spec.template.spec.containers[app].image", "\"web:2\"")
        );
        assert!(change.restarts_replicas);

        let answer = env.daemon.rollback_app(rollback("")).await.unwrap();
        let back = follow(&env.daemon, &answer.rollout.unwrap().name).await;
        assert_eq!((back.state(), back.cause()), (pb::RolloutState::Succeeded, pb::RolloutCause::Rollback));
        assert_eq!(back.source_rollout, env.name("web") + "/rollouts/2");
        assert_eq!((back.spec.unwrap().image.as_str(), count(&env, "web").await), ("web:2", 3));
        let answer = env.daemon.rollback_app(rollback("1")).await.unwrap();
        let back = follow(&env.daemon, &answer.rollout.unwrap().name).await;
        assert_eq!((back.spec.unwrap().image.as_str(), count(&env, "web").await), ("web:1", 3));
        let nothing = env.daemon.rollback_app(rollback("1")).await.unwrap();
        assert_eq!(nothing.rollout, None, "this content already runs");
        let status = env.daemon.rollback_app(rollback("99")).await.unwrap_err();
        assert_eq!(reason(&status), "ROLLOUT_NOT_FOUND");
    })
    .await;
}

#[tokio::test]
async fn an_app_whose_rollout_ended_while_it_was_paused_can_be_resumed() {
    run(|env| async move {
        let rollout = env.deploy_and_follow(env.deploy_request("web", web())).await;
        let deployments = Api::<Deployment>::namespaced(env.client.clone(), &env.namespace);
        let pause = Patch::Merge(json!({"spec": {"paused": true}}));
        deployments.patch("web", &PatchParams::default(), &pause).await.unwrap();
        let restart = pb::RestartAppRequest { name: env.name("web"), ..Default::default() };
        let refused = env.daemon.restart_app(restart.clone()).await.unwrap_err();
        assert_eq!(reason(&refused), "ROLLOUT_PAUSED");
        let resume = pb::ResumeRolloutRequest { name: rollout.name, ..Default::default() };
        env.daemon.resume_rollout(resume.clone()).await.unwrap();
        assert_eq!(reason(&env.daemon.resume_rollout(resume).await.unwrap_err()), "ROLLOUT_ENDED");
        env.daemon.restart_app(restart).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_held_rollout_waits_and_a_deploy_ends_the_hold() {
    run(|env| async move {
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        let latest = env.name("web") + "/rollouts/latest";
        let pause = pb::PauseRolloutRequest { name: latest.clone(), ..Default::default() };
        let status = env.daemon.pause_rollout(pause.clone()).await.unwrap_err();
        assert_eq!(reason(&status), "ROLLOUT_ENDED");
        let slow = pb::AppSpec {
            pod_template_patch: Some(crate::support::annotate("sim/unready", "true")),
            ..image("2")
        };
        env.deploy("web", slow).await.unwrap();
        let paused = env.daemon.pause_rollout(pause).await.unwrap().rollout.unwrap();
        assert_eq!(paused.state(), pb::RolloutState::Paused, "{paused:?}");
        let restart = pb::RestartAppRequest { name: env.name("web"), ..Default::default() };
        let status = env.daemon.restart_app(restart).await.unwrap_err();
        assert_eq!(reason(&status), "ROLLOUT_PAUSED");
        let resume = pb::ResumeRolloutRequest { name: latest.clone(), ..Default::default() };
        let resumed = env.daemon.resume_rollout(resume).await.unwrap();
        assert_eq!(resumed.rollout.unwrap().state(), pb::RolloutState::Running);
        let pause = pb::PauseRolloutRequest { name: latest, ..Default::default() };
        env.daemon.pause_rollout(pause).await.unwrap();
        let mut request = env.deploy_request("web", image("3"));
        request.update_mask = Some(prost_types::FieldMask {
            paths: vec!["spec.image".into(), "spec.pod_template_patch".into()],
        });
        let done = env.deploy_and_follow(request).await;
        assert_eq!(done.state(), pb::RolloutState::Succeeded);
    })
    .await;
}

/// Scales and restarts an app that is not managed by Gantry. A rollback of it is refused.
async fn scale_and_restart_unmanaged(env: &Env) {
    let scaled = env.scale("old", 3).await.unwrap();
    assert_eq!(count(env, "old").await, 3);
    // The etag that reads give is valid for writes, and a repeat names the same rollout as the first answer.
    let etag = scaled.app.unwrap().etag;
    let guarded = pb::ScaleAppRequest { etag: etag.clone(), ..scale(env, "old", 3) };
    env.daemon.scale_app(guarded).await.unwrap();
    let request_id = "6f1a2c1e-0000-4000-8000-00000000abcf".to_owned();
    let restart = pb::RestartAppRequest { name: env.name("old"), etag, request_id, ..Default::default() };
    let mut begun = Vec::new();
    for _ in 0..2 {
        let answer = env.daemon.restart_app(restart.clone()).await.unwrap();
        begun.push(answer.rollout.expect("it replaces the replicas").name);
    }
    assert_eq!(begun[0], begun[1]);
    let rollback = pb::RollbackAppRequest { name: env.name("old"), ..Default::default() };
    let status = env.daemon.rollback_app(rollback).await.unwrap_err();
    assert_eq!(reason(&status), "NOT_MANAGED");
}

/// A deploy is refused without `adopt`, and also with it if it would remove the sidecar. Returns a deploy
/// that is accepted.
async fn adopt_is_needed(env: &Env) -> pb::DeployAppRequest {
    let change = pb::AppSpec { image: "web:2".into(), ..pb::AppSpec::default() };
    let status = env.deploy("old", change.clone()).await.unwrap_err();
    assert_eq!(reason(&status), "NAME_TAKEN");
    assert!(status.message().contains("adopt"), "{}", status.message());
    let adopt = pb::DeployAppRequest { adopt: true, ..env.deploy_request("old", change) };
    let all = pb::DeployAppRequest {
        update_mask: Some(prost_types::FieldMask { paths: vec!["*".into()] }),
        ..adopt.clone()
    };
    let status = env.daemon.deploy_app(all).await.unwrap_err();
    assert!(status.message().contains("sidecar"), "{}", status.message());
    adopt
}

/// The Deployment is the same object with the new image, and what Gantry has no fields for is unchanged.
async fn is_taken_over(env: &Env, made: Deployment) {
    let taken = deployments(env).get("old").await.unwrap();
    let spec = taken.spec.clone().unwrap();
    assert_eq!(taken.labels()["app.kubernetes.io/managed-by"], "gantry");
    assert_eq!((taken.uid(), spec.selector.clone()), (made.uid(), made.spec.unwrap().selector));
    assert_eq!((spec.replicas, spec.min_ready_seconds), (Some(3), Some(1)));
    let containers = spec.template.spec.unwrap().containers;
    let images: Vec<_> = containers.iter().map(|c| (c.name.as_str(), c.image.as_deref().unwrap())).collect();
    assert_eq!(images, [("main", "web:2"), ("sidecar", "proxy:1")]);
    assert_eq!(containers[0].env.as_ref().unwrap().len(), 2);
}

/// Variables that were taken over can be removed, and one can become a reference to a Secret.
async fn replace_a_value_by_a_reference(env: &Env) {
    let secret = pb::KeyRef { name: "s".into(), key: "k".into(), optional: true };
    let spec = pb::AppSpec { secret_env: [("A".to_owned(), secret)].into(), ..Default::default() };
    let fewer = pb::DeployAppRequest {
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["spec.env".into(), "spec.secret_env".into()],
        }),
        ..env.deploy_request("old", spec)
    };
    env.deploy_and_follow(fewer).await;
    let spec = deployments(env).get("old").await.unwrap().spec.unwrap();
    let vars = spec.template.spec.unwrap().containers[0].env.clone().unwrap();
    assert_eq!((vars.len(), vars[0].name.as_str()), (1, "A"));
    assert!(vars[0].value.is_none() && vars[0].value_from.is_some());
}

#[tokio::test]
async fn an_unmanaged_app_is_scaled_and_restarted_and_taken_over_only_on_request() {
    run(|env| async move {
        let made = make_foreign(&env, "old").await;
        scale_and_restart_unmanaged(&env).await;
        let adopt = adopt_is_needed(&env).await;
        let rollout = env.deploy_and_follow(adopt).await;
        assert_eq!(rollout.state(), pb::RolloutState::Succeeded, "{rollout:?}");
        is_taken_over(&env, made).await;
        replace_a_value_by_a_reference(&env).await;
        // A second restart works too, although the first one came before the app was taken over.
        let restart = pb::RestartAppRequest { name: env.name("old"), ..Default::default() };
        env.daemon.restart_app(restart).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn taking_over_names_the_fields_that_it_removes() {
    run(|env| async move {
        let mask = prost_types::FieldMask { paths: vec!["spec.env".into()] };
        for (app, update_mask) in [("masked", Some(mask)), ("merged", None)] {
            make_foreign(&env, app).await;
            let vars = [("A", "1"), ("C", "3")].map(|(name, value)| (name.to_owned(), value.to_owned()));
            let spec = pb::AppSpec { env: vars.into(), ..pb::AppSpec::default() };
            let adopt = pb::DeployAppRequest { adopt: true, update_mask, ..env.deploy_request(app, spec) };
            let only = pb::DeployAppRequest { validate_only: true, ..adopt.clone() };
            let told = env.daemon.deploy_app(only).await.unwrap().plan.unwrap();
            let goes = told.changes.iter().find(|change| change.path.ends_with("containers[main].env[B]"));
            let goes = goes.unwrap_or_else(|| panic!("{app}: {:?}", told.changes));
            assert_eq!(
                (goes.old_value.as_str(), goes.new_value.as_str()),
                (r#"{"name":"B","value":"2"}"#, "")
            );
            assert!(goes.restarts_replicas);
            // The plan names neither fields that stay with their managers, nor fields that have the same
            // value in both.
            let of_others = ["containers[sidecar]", "env[A]", "minReadySeconds", "labels.app"];
            let touches = |change: &&pb::Change| of_others.iter().any(|path| change.path.contains(path));
            let touched: Vec<_> = told.changes.iter().filter(touches).collect();
            assert!(touched.is_empty(), "{app}: {touched:?}");
            let done = env.daemon.deploy_app(adopt).await.unwrap();
            assert_eq!(done.plan.unwrap().changes, told.changes, "{app}");
            let spec = deployments(&env).get(app).await.unwrap().spec.unwrap();
            let vars = spec.template.spec.unwrap().containers[0].env.clone().unwrap();
            assert_eq!(vars.iter().map(|var| var.name.as_str()).collect::<Vec<_>>(), ["A", "C"], "{app}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_unmanaged_probe_is_removed_whole_when_it_is_taken_over() {
    run(|env| async move {
        make_foreign(&env, "old").await;
        let probe = json!({"name": "main", "ports": [{"containerPort": 8080, "name": "http"}],
            "readinessProbe": {"tcpSocket": {"port": 8080}}});
        let probe = Patch::Strategic(json!({"spec": {"template": {"spec": {"containers": [probe]}}}}));
        let by = PatchParams { field_manager: Some("kubectl-edit".into()), ..PatchParams::default() };
        deployments(&env).patch("old", &by, &probe).await.unwrap();
        let update_mask = Some(prost_types::FieldMask { paths: vec!["spec.probes".into()] });
        let check = Some(pb::probe::Check::None(pb::NoProbe {}));
        let readiness = Some(pb::Probe { check, ..pb::Probe::default() });
        let probes = Some(pb::Probes { readiness, ..pb::Probes::default() });
        let spec = pb::AppSpec { probes, ..pb::AppSpec::default() };
        let adopt = pb::DeployAppRequest { adopt: true, update_mask, ..env.deploy_request("old", spec) };
        let plan = env.daemon.deploy_app(adopt).await.unwrap().plan.unwrap();
        let is_probe = |change: &&pb::Change| change.path.contains("readinessProbe");
        let told: Vec<_> = plan.changes.iter().filter(is_probe).collect();
        assert_eq!((told.len(), told[0].new_value.as_str()), (1, ""), "{told:?}");
        let spec = deployments(&env).get("old").await.unwrap().spec.unwrap().template.spec.unwrap();
        assert_eq!(spec.containers[0].readiness_probe, None);
    })
    .await;
}

#[tokio::test]
async fn a_plan_changes_nothing_and_says_what_would() {
    run(|env| async move {
        let only = |request| pb::DeployAppRequest { validate_only: true, ..request };
        let plan = async |request| {
            let answer = env.daemon.deploy_app(only(request)).await.unwrap();
            assert_eq!((answer.rollout, answer.position.as_str()), (None, ""));
            answer.plan.unwrap()
        };
        let first = plan(env.deploy_request("web", web())).await;
        assert_eq!(first.changes.len(), 3);
        assert!(
            first.changes.iter().all(|c| c.action() == pb::ChangeAction::Create && !c.new_value.is_empty())
        );
        // An IMAGE check may warn that no node has the image yet. That is another subject.
        let well = |c: &pb::Check| c.kind == "IMAGE" || c.result() == pb::CheckResult::Pass;
        assert!(first.checks.iter().all(well), "{:?}", first.checks);
        for kind in ["REPLICAS", "ADMISSION", "FIELD_OWNERSHIP", "PERMISSION"] {
            assert!(first.checks.iter().any(|c| c.kind == kind), "{kind}");
        }
        assert_eq!(reason(&env.get("web").await.unwrap_err()), "APP_NOT_FOUND");

        env.deploy_and_follow(env.deploy_request("web", web())).await;
        let changed = plan(env.deploy_request("web", image("2"))).await;
        let [change] = &changed.changes[..] else { panic!("{:?}", changed.changes) };
        assert_eq!(change.object, "deployment.apps/web");
        assert_eq!(change.path, "spec.template.spec.containers[app].image");
        assert_eq!((change.old_value.as_str(), change.new_value.as_str()), ("\"web:1\"", "\"web:2\""));
        assert!(change.restarts_replicas);
        assert_eq!(plan(env.deploy_request("web", web())).await.changes, []);

        let image =
            json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "web:7"}]}}}});
        let params = PatchParams { field_manager: Some("kubectl-set".into()), ..PatchParams::default() };
        deployments(&env).patch("web", &params, &Patch::Strategic(image)).await.unwrap();
        let fought = plan(env.deploy_request("web", self::image("2"))).await;
        let worst = &fought.checks[0];
        assert_eq!((worst.kind.as_str(), worst.result()), ("FIELD_OWNERSHIP", pb::CheckResult::Fail));
        assert!(worst.message.contains("kubectl-set"), "{}", worst.message);
        let status = env.deploy("web", self::image("2")).await.unwrap_err();
        assert_eq!(reason(&status), "CONFLICTING_FIELD_MANAGER");
        let forced = pb::DeployAppRequest { force: true, ..env.deploy_request("web", self::image("2")) };
        let done = env.deploy_and_follow(forced).await;
        assert_eq!((done.state(), done.spec.unwrap().image.as_str()), (pb::RolloutState::Succeeded, "web:2"));
    })
    .await;
}

#[tokio::test]
async fn a_failed_rollout_goes_back_by_itself_once_if_its_policy_says_so() {
    run(|env| async move {
        let policy = pb::RolloutPolicy { on_failure: pb::OnFailure::RollBack.into(), ..Default::default() };
        let good = pb::AppSpec { rollout_policy: Some(policy), ..web() };
        env.deploy_and_follow(env.deploy_request("web", good)).await;
        let failed = env.deploy_and_follow(env.deploy_request("web", image("does-not-exist"))).await;
        assert_eq!(failed.state(), pb::RolloutState::Failed);
        let third = env.name("web") + "/rollouts/3";
        let get = pb::GetRolloutRequest { name: third.clone(), ..Default::default() };
        until("it goes back", async || env.daemon.get_rollout(get.clone()).await.is_ok()).await;
        let back = follow(&env.daemon, &third).await;
        assert_eq!(
            (back.state(), back.cause()),
            (pb::RolloutState::Succeeded, pb::RolloutCause::AutoRollback)
        );
        assert_eq!((back.spec.unwrap().image.as_str(), back.actor.as_str()), ("web:1", "gantry"));
        assert_eq!(back.source_rollout, env.name("web") + "/rollouts/1");
    })
    .await;
}
