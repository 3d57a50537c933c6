//! The daemon is killed after each of its writes in turn: whoever comes next finishes what was begun, and repeating the call
//! gives the answer that it would have given.

use gantry::pb;
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, Deployment},
    core::v1::Service,
    policy::v1::PodDisruptionBudget,
};
use kube::{Api, api::ListParams};

use crate::{
    proxy::Proxy,
    support::{Daemon, Env, follow, run, until, web},
};

/// What is there in the end, without what differs from run to run.
async fn end_state(env: &Env, app: &str) -> (Vec<i64>, Vec<String>, i32, bool, bool) {
    let namespaced = || env.client.clone();
    let revisions = Api::<ControllerRevision>::namespaced(namespaced(), &env.namespace);
    let mut numbers = Vec::new();
    let mut unowned = false;
    for revision in revisions.list(&ListParams::default()).await.unwrap() {
        if revision.metadata.name.as_deref().unwrap().starts_with(&format!("gantry-{app}-")) {
            numbers.push(revision.revision);
            unowned |= revision.metadata.owner_references.is_none();
        }
    }
    numbers.sort_unstable();
    let deployment = Api::<Deployment>::namespaced(namespaced(), &env.namespace).get(app).await.unwrap();
    let spec = deployment.spec.unwrap();
    let images = spec.template.spec.unwrap().containers.into_iter().filter_map(|c| c.image).collect();
    let service = Api::<Service>::namespaced(namespaced(), &env.namespace).get_opt(app).await.unwrap();
    let budget =
        Api::<PodDisruptionBudget>::namespaced(namespaced(), &env.namespace).get_opt(app).await.unwrap();
    assert!(budget.is_some());
    (numbers, images, spec.replicas.unwrap_or(1), service.is_some(), unowned)
}

/// Waits until the verdict is kept: that is a write too, and by another task.
async fn recorded(env: &Env, app: &str, number: u64) {
    let revisions = Api::<ControllerRevision>::namespaced(env.client.clone(), &env.namespace);
    until("the verdict is kept", async || {
        let revision = revisions.get(&format!("gantry-{app}-{number}")).await.unwrap();
        revision.metadata.annotations.is_some_and(|a| a.contains_key("gantry.dev/end"))
    })
    .await;
}

fn with_id(env: &Env, app: &str, spec: pb::AppSpec, id: u8) -> pb::DeployAppRequest {
    let request_id = format!("6f1a2c1e-0000-4000-8000-0000000000{id:02x}");
    pb::DeployAppRequest { request_id, ..env.deploy(app, spec) }
}

/// A first deploy and an update, each killed after its k-th write for every k; half of them repeated by the caller, half left
/// to the next daemon alone.
#[tokio::test]
async fn a_deploy_killed_after_any_write_is_finished() {
    run(|env| async move {
        let proxy = Proxy::start(env.client.clone()).await;
        let dir = tempfile::tempdir().unwrap();
        let update = pb::AppSpec { image: "web:2".into(), ..web() };

        // An undisturbed run says how many writes there are.
        let calm = proxy.daemon(dir.path()).await;
        let mut writes = Vec::new();
        for (id, spec) in [(0, web()), (1, update.clone())] {
            proxy.stop_after(&env.namespace, "calm", usize::MAX);
            let answer = calm.apps().await.deploy_app(with_id(&env, "calm", spec, id)).await.unwrap();
            writes.push(proxy.writes().len());
            let rollout = answer.into_inner().rollout.unwrap().name;
            follow(&calm, &rollout).await;
            recorded(&env, "calm", 1).await;
        }
        let expected = end_state(&env, "calm").await;
        assert_eq!(expected, (vec![1, 2], vec!["web:2".into()], 2, true, false));
        drop(calm);

        for (step, count) in writes.into_iter().enumerate() {
            assert!(count >= 4, "revision, Deployment, Service, budget: {count}");
            for k in 1..=count {
                let app = format!("web-{step}-{k}");
                let id = u8::try_from(0x10 + step * 0x40 + k * 2).unwrap();
                let daemon = proxy.daemon(dir.path()).await;
                proxy.stop_after("", "", usize::MAX);
                let first = with_id(&env, &app, web(), id);
                let mut last = first.clone();
                if step == 1 {
                    let answer = daemon.apps().await.deploy_app(first).await.unwrap().into_inner();
                    follow(&daemon, &answer.rollout.unwrap().name).await;
                    recorded(&env, &app, 1).await;
                    last = with_id(&env, &app, update.clone(), id + 1);
                }
                proxy.stop_after(&env.namespace, &app, k);
                let mut apps = daemon.apps().await;
                tokio::select! {
                    answer = apps.deploy_app(last.clone()) => panic!("answered after {k} writes: {answer:?}"),
                    () = proxy.stopped() => {}
                }
                let mut daemon = daemon;
                daemon.child.kill().await.unwrap();
                proxy.stop_after("", "", usize::MAX);
                drop(daemon);

                let next = Daemon::start().await;
                let rollout = format!("{}/rollouts/{}", env.name(&app), step + 1);
                if k % 2 == 0 {
                    let again = next.apps().await.deploy_app(last).await.unwrap().into_inner();
                    assert_eq!(again.rollout.unwrap().name, rollout, "the first answer, after {k} writes");
                }
                let followed = follow(&next, &rollout).await;
                assert_eq!(followed.state(), pb::RolloutState::Succeeded, "{k}: {followed:?}");
                let mut wanted = expected.clone();
                if step == 0 {
                    (wanted.0, wanted.1) = (vec![1], vec!["web:1".into()]);
                }
                until(&format!("{app} is as if nothing had happened"), async || {
                    end_state(&env, &app).await == wanted
                })
                .await;
            }
        }
    })
    .await;
}
