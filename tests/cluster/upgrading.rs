//! Revisions that earlier versions of Gantry left in the cluster, whose `data` is the record itself.
//! Kubernetes refuses every change of some of them. Apps that are stuck for that reason are repaired without
//! a call, and no pod is replaced.

use futures::future::join_all;
use gantry::pb;
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment, ReplicaSet};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, PropagationPolicy, ResourceExt},
};
use serde_json::{Value, json};

use crate::support::{Daemon, Env, follow, reason, run, until, web};

fn revisions(env: &Env) -> Api<ControllerRevision> {
    Api::namespaced(env.client.clone(), &env.namespace)
}

fn deployments(env: &Env) -> Api<Deployment> {
    Api::namespaced(env.client.clone(), &env.namespace)
}

/// How far a revision was carried out before it is turned into one of an earlier version.
#[derive(Clone, Copy, PartialEq)]
enum Left {
    /// It was carried out, and has its owner and its annotations.
    Applied,
    /// It was applied, but the annotation that says so could not be written.
    Stuck,
}

/// Writes a revision again as an earlier version did: the record itself, with the same bytes, and without the
/// annotation that earlier versions did not have.
async fn make_old(env: &Env, name: &str, left: Left) {
    let revision = revisions(env).get(name).await.unwrap();
    let record = revision.data.as_ref().unwrap().0["record"].as_str().unwrap();
    // Fields in the order of the record, floats as Rust writes them, and no HTML escapes.
    let mut data = record.to_owned();
    for c in ['<', '>', '&', '=', '\''] {
        data = data.replace(&format!("\\u{:04x}", u32::from(c)), &c.to_string());
    }
    let mut metadata = json!({"name": name, "labels": revision.labels()});
    if left == Left::Applied {
        let kept = revision.annotations().iter().filter(|(key, _)| *key != "gantry.dev/applied-to");
        metadata["annotations"] =
            kept.map(|(k, v)| (k.clone(), json!(v))).collect::<serde_json::Map<_, _>>().into();
        metadata["ownerReferences"] = json!(revision.owner_references());
    }
    revisions(env).delete(name, &DeleteParams::default()).await.unwrap();
    let body = format!(
        r#"{{"apiVersion":"apps/v1","kind":"ControllerRevision","metadata":{metadata},"revision":{},"data":{data}}}"#,
        revision.revision
    );
    let url = format!("/apis/apps/v1/namespaces/{}/controllerrevisions", env.namespace);
    let request = kube::core::Request::new(url).create(&PostParams::default(), body.into_bytes()).unwrap();
    env.client.request::<ControllerRevision>(request).await.unwrap();
}

/// Whether Kubernetes accepts a patch of a revision as its garbage collector sends it.
async fn takes_patch(env: &Env, name: &str) -> bool {
    let patch = Patch::Strategic(json!({"metadata": {"labels": {"z": "1"}}}));
    revisions(env).patch(name, &PatchParams::default(), &patch).await.is_ok()
}

async fn names(env: &Env) -> Vec<String> {
    let all = revisions(env).list(&ListParams::default()).await.unwrap();
    all.iter().map(|r| format!("{} {}", r.name_any(), r.owner_references().len())).collect()
}

async fn replica_sets(env: &Env) -> usize {
    let sets = Api::<ReplicaSet>::namespaced(env.client.clone(), &env.namespace);
    sets.list(&ListParams::default()).await.unwrap().items.len()
}

const URL: &str = "postgres://h/x?sslmode=require&pool=5";

fn with_url(mut spec: pb::AppSpec) -> pb::AppSpec {
    spec.env.insert("DB".into(), URL.into());
    spec
}

/// Makes an app as an earlier version left it, and stops the daemon. The first revision was carried out. The
/// second has a `&` in it and was applied, but the annotation that says so is missing.
async fn stuck(env: &mut Env, app: &str) {
    for (reason, spec) in [("first", web()), ("second", with_url(web()))] {
        let mut request = env.deploy_request(app, spec);
        reason.clone_into(&mut request.reason);
        env.deploy_and_follow(request).await;
    }
    env.daemon.kill().await;
    make_old(env, &format!("gantry-{app}-1"), Left::Applied).await;
    make_old(env, &format!("gantry-{app}-2"), Left::Stuck).await;
    let merge = Patch::Merge(json!({"metadata": {"labels": {"z": "1"}}}));
    let merged = revisions(env).patch(&format!("gantry-{app}-2"), &PatchParams::default(), &merge).await;
    assert!(merged.is_err(), "it takes no patch at all");
    assert!(
        !takes_patch(env, &format!("gantry-{app}-1")).await,
        "nor this one that of the garbage collector"
    );
}

#[tokio::test]
async fn an_app_that_is_stuck_mends_itself_and_replaces_nothing() {
    run(|mut env| async move {
        stuck(&mut env, "web").await;
        let before = replica_sets(&env).await;
        env.daemon = Daemon::start().await;
        until("the record is written again, and the old one gone", async || {
            names(&env).await == ["gantry-web-1 1", "gantry-web-3 1"]
        })
        .await;
        let rollout = follow(&env.daemon, &(env.name("web") + "/rollouts/3")).await;
        assert_eq!((rollout.state(), rollout.reason.as_str()), (pb::RolloutState::Succeeded, "second"));
        let app = env.get("web").await.unwrap();
        assert_eq!((app.status.unwrap().rollout, app.spec), (rollout.name, Some(with_url(web()))));
        assert_eq!(replica_sets(&env).await, before);
        assert!(takes_patch(&env, "gantry-web-3").await);
        // From now on it is a normal app.
        let next = pb::AppSpec { image: web().image, args: vec!["<a> & b".into()], ..pb::AppSpec::default() };
        let next = env.deploy_and_follow(env.deploy_request("web", next)).await;
        assert_eq!((next.state(), next.name), (pb::RolloutState::Succeeded, env.name("web") + "/rollouts/4"));
    })
    .await;
}

#[tokio::test]
async fn the_next_call_mends_a_stuck_app_too() {
    run(|mut env| async move {
        // The first deploy of one app was stuck, and a later deploy of another.
        let mut request = env.deploy_request("first", with_url(web()));
        request.request_id = "6f1a2c1e-0000-4000-8000-000000000001".into();
        env.deploy_and_follow(request.clone()).await;
        stuck(&mut env, "web").await;
        make_old(&env, "gantry-first-1", Left::Stuck).await;
        env.daemon = Daemon::start().await;
        // What callers do at once after a failure: one repeats the call, and the other sends it as a new
        // request.
        let apps = env.daemon.apps().await;
        let calls = [request, env.deploy_request("web", with_url(web()))].map(|request| {
            let mut apps = apps.clone();
            async move {
                loop {
                    match apps.deploy_app(request.clone()).await {
                        // The daemon was writing the same revision at this moment, so the client calls again.
                        Err(status) if reason(&status) == "WRITE_CONFLICT" => {}
                        answer => break answer.unwrap().into_inner(),
                    }
                }
            }
        });
        let answers = join_all(calls).await;
        let rollouts: Vec<_> = answers.into_iter().filter_map(|a| a.rollout).map(|r| r.name).collect();
        assert_eq!(rollouts[0], env.name("first") + "/rollouts/2");
        for rollout in rollouts {
            let rollout = follow(&env.daemon, &rollout).await;
            assert_eq!(rollout.state(), pb::RolloutState::Succeeded, "{rollout:?}");
        }
        until("no revision is stuck", async || {
            let names = names(&env).await;
            !names.iter().any(|name| name.ends_with(" 0"))
                && !names
                    .iter()
                    .any(|name| name.starts_with("gantry-web-2") || name.starts_with("gantry-first-1"))
        })
        .await;
        assert_eq!(env.get("first").await.unwrap().spec, Some(with_url(web())));
    })
    .await;
}

#[tokio::test]
async fn old_revisions_let_go_of_a_deployment_that_leaves_what_it_owns() {
    run(|mut env| async move {
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        env.deploy_and_follow(env.deploy_request("web", with_url(web()))).await;
        env.daemon.kill().await;
        // The second one was created with its owner, as revisions of changes made outside Gantry are, and
        // accepts no patch.
        for name in ["gantry-web-1", "gantry-web-2"] {
            make_old(&env, name, Left::Applied).await;
        }
        env.daemon = Daemon::start().await;
        let orphan =
            DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..DeleteParams::default() };
        deployments(&env).delete("web", &orphan).await.unwrap();
        until("it is gone", async || deployments(&env).get_opt("web").await.unwrap().is_none()).await;
        assert_eq!(names(&env).await, ["gantry-web-1 0", "gantry-web-2 0"]);
        // The daemon neither carries them out nor deletes them.
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        assert_eq!(names(&env).await, ["gantry-web-1 0", "gantry-web-2 0"]);
        assert!(deployments(&env).get_opt("web").await.unwrap().is_none());
        let data: Vec<Value> = revisions(&env)
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .into_iter()
            .map(|revision| revision.data.unwrap().0)
            .collect();
        assert!(data[1]["record"].as_str().unwrap().contains("sslmode"), "{data:?}");
    })
    .await;
}
