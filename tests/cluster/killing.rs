//! The daemon, or the API server, is killed after each write of each method that writes. The next daemon
//! finishes what was begun, and repeating the call gives the same answer as an undisturbed call.

mod cases;
pub mod state;

use futures::{StreamExt, future::join_all, stream};
use gantry::pb;
use k8s_openapi::api::core::v1::Service;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tonic::{Code, Status};

use self::{
    cases::{Alone, CASES, Case, Scene, id_of},
    state::{State, recorded},
};
use crate::{
    proxy::Proxy,
    support::{Daemon, Env, follow, run, until, web},
};

/// A little longer than a daemon waits before it finishes a change that another daemon began.
const CUT_OFF: std::time::Duration = std::time::Duration::from_secs(5);

/// How many daemons are started and killed at once.
const AT_ONCE: usize = 4;

/// Methods with side effects that write nothing to the cluster.
const WRITE_NOTHING: &[&str] = &["ReportLoad"];

/// The result of an undisturbed call.
struct Calm {
    answer: String,
    writes: Vec<String>,
    before: State,
    after: State,
}

/// What is killed, and what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kill {
    /// The daemon is killed; the caller repeats the call at the next one.
    Repeated,
    /// The daemon is killed; the call is not repeated.
    Alone,
    /// The API server is killed; the daemon goes on, and the caller repeats the call when the API server is
    /// back.
    Cluster,
}

/// An interrupted call.
struct Cut {
    app: String,
    id: String,
    /// The number of writes after which it is interrupted.
    k: usize,
    kill: Kill,
}

/// A daemon whose calls can be interrupted. The directory holds its kubeconfig.
async fn behind(env: &Env, proxy: &Proxy) -> (Daemon, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (proxy.daemon_like(dir.path(), &["--lease-namespace", &env.namespace]).await, dir)
}

/// Makes the call, and repeats it while the daemon answers UNAVAILABLE, as callers should. A dozen daemons
/// start at once in this test, so the API server may be too slow for them at first.
async fn answered(case: &Case, scene: Scene<'_>) -> Result<String, Status> {
    let mut answer = Ok(String::new());
    until(&format!("{}: it answers", scene.app), async || {
        answer = (case.call)(scene).await;
        !answer.as_ref().is_err_and(|status| status.code() == Code::Unavailable)
    })
    .await;
    answer
}

/// Runs the call to its end, and counts its writes.
async fn calm(env: &Env, case: &Case) -> Calm {
    let app = format!("{}-calm", case.name);
    let id = id_of(&app);
    (case.before)(Scene { env, daemon: &env.daemon, app: &app, id: &id }).await;
    let before = state::of(env, &app, &id).await;
    let proxy = Proxy::start(env.client.clone()).await;
    let (daemon, _dir) = behind(env, &proxy).await;
    proxy.stop_after(&env.namespace, &app, usize::MAX);
    let answer = answered(case, Scene { env, daemon: &daemon, app: &app, id: &id }).await.unwrap();
    let writes = proxy.writes();
    let after = state::settled(env, &app, &id, case.ends).await;
    assert_ne!(before, after, "{app}: the call does something");
    Calm { answer, writes, before, after }
}

/// The number of writes without those of a PodDisruptionBudget. The controller of budgets may write one
/// between the read and the dry run, and only then an update applies it again.
fn sure(writes: &[String]) -> usize {
    writes.iter().filter(|write| !write.contains("/poddisruptionbudgets/")).count()
}

/// Makes the call, and kills the daemon or the API server after its k-th write.
async fn cut_off(env: &Env, case: &Case, cut: &Cut, calm: &Calm) {
    if cut.kill == Kill::Cluster {
        return without_cluster(env, case, cut, calm).await;
    }
    let proxy = Proxy::start(env.client.clone()).await;
    let (mut daemon, _dir) = behind(env, &proxy).await;
    proxy.stop_after(&env.namespace, &cut.app, cut.k);
    let scene = Scene { env, daemon: &daemon, app: &cut.app, id: &cut.id };
    tokio::select! {
        answer = answered(case, scene) => {
            // The undisturbed run may also have counted a verdict that was stored before the answer came.
            let (writes, all) = (proxy.writes(), sure(&calm.writes).min(case.writes));
            assert!(sure(&writes) >= all && writes.len() < cut.k, "{}: answered after {writes:#?}: {answer:?}", cut.app);
        }
        () = proxy.stopped() => {}
    }
    daemon.kill().await;
}

/// Makes the call, kills the API server after its k-th write, and repeats the call when it is back.
async fn without_cluster(env: &Env, case: &Case, cut: &Cut, calm: &Calm) {
    let what = format!("{}, without an API server after {:?}", cut.app, &calm.writes[..cut.k]);
    let proxy = Proxy::start(env.client.clone()).await;
    let (daemon, _dir) = behind(env, &proxy).await;
    let scene = Scene { env, daemon: &daemon, app: &cut.app, id: &cut.id };
    proxy.gone_after(&env.namespace, &cut.app, cut.k);
    match (case.call)(scene).await {
        // The request id is the last write. If only that write fails, the call succeeds.
        Ok(answer) => assert_eq!(answer, calm.answer, "{what}"),
        Err(status) => assert_eq!(status.code(), Code::Unavailable, "{what}: {status}"),
    }
    proxy.back();
    let answer = answered(case, scene).await;
    assert_eq!(answer.unwrap_or_else(|status| panic!("{what}: repeated: {status}")), calm.answer, "{what}");
}

/// Checks the final state with the next daemon.
async fn ends_well(env: &Env, case: &Case, cut: &Cut, calm: &Calm) {
    let Cut { app, id, k, kill } = cut;
    let what = format!("{app}, killed after {:?}", &calm.writes[..*k]);
    if *kill == Kill::Repeated {
        let answer = answered(case, Scene { env, daemon: &env.daemon, app, id }).await;
        let answer = answer.unwrap_or_else(|status| panic!("{what}: repeated: {status}"));
        assert_eq!(answer, calm.answer, "{what}: the first answer");
    } else if *kill == Kill::Alone && case.alone == Alone::Either {
        tokio::time::sleep(CUT_OFF).await;
    }
    let end = state::settled(env, app, id, case.ends).await;
    if *kill != Kill::Alone {
        assert_eq!(end, calm.after, "{what}, repeated");
    } else if case.alone == Alone::Finished {
        assert_eq!(end.core, calm.after.core, "{what}, left alone");
    } else {
        let (before, after) = (&calm.before.core, &calm.after.core);
        assert!(end.core == *before || end.core == *after, "{what}, left alone: {:#}", end.core);
    }
}

/// Kills the daemon after each write of the call, once with a caller that repeats the call and once with one
/// that does not. Then does the same with the API server.
async fn killed(name: &str) {
    let case = CASES.iter().find(|case| case.name == name).expect("a case of this name");
    run(|mut env| async move {
        let calm = calm(&env, case).await;
        let count = calm.writes.len();
        eprintln!("{name} is made of {count} writes: {:#?}", calm.writes);
        assert!(count >= case.writes, "{name}: too few writes, so not all are counted: {:#?}", calm.writes);
        let kills = [Kill::Repeated, Kill::Alone, Kill::Cluster];
        let cuts = (1..=count).flat_map(|k| kills.map(|kill| (k, kill))).map(|(k, kill)| {
            let app = format!("{name}-{k}-{kill:?}").to_lowercase();
            Cut { id: id_of(&app), app, k, kill }
        });
        let cuts: Vec<_> = cuts.collect();
        let daemon = &env.daemon;
        let scenes = cuts.iter().map(|cut| Scene { env: &env, daemon, app: &cut.app, id: &cut.id });
        join_all(scenes.map(case.before)).await;
        // From here until the next start no daemon runs that could finish anything.
        env.daemon.kill().await;
        // Only a few at once, because each daemon reads the whole cluster when it starts.
        stream::iter(&cuts).for_each_concurrent(AT_ONCE, |cut| cut_off(&env, case, cut, &calm)).await;
        env.daemon = env.daemon_like(&["--lease-namespace", &env.namespace.clone()]).await;
        join_all(cuts.iter().map(|cut| ends_well(&env, case, cut, &calm))).await;
    })
    .await;
}

#[tokio::test]
async fn a_deploy_killed_after_any_write_is_finished() {
    killed("first").await;
}

#[tokio::test]
async fn an_update_killed_after_any_write_is_finished() {
    killed("update").await;
}

#[tokio::test]
async fn a_deploy_that_takes_over_an_unmanaged_app_killed_after_any_write_is_finished() {
    killed("adopt").await;
}

#[tokio::test]
async fn a_deploy_that_takes_away_the_service_killed_after_any_write_is_finished() {
    killed("prune").await;
}

#[tokio::test]
async fn a_deploy_that_takes_over_the_count_killed_after_any_write_is_finished() {
    killed("count").await;
}

#[tokio::test]
async fn a_restart_killed_after_any_write_is_finished() {
    killed("restart").await;
}

#[tokio::test]
async fn a_restart_of_an_unmanaged_app_killed_after_its_write_is_done_once() {
    killed("foreign").await;
}

#[tokio::test]
async fn a_rollback_killed_after_any_write_is_finished() {
    killed("rollback").await;
}

#[tokio::test]
async fn a_scaling_killed_after_any_write_is_done_or_never_was() {
    killed("scale").await;
}

#[tokio::test]
async fn a_scaling_beside_a_frozen_autoscaler_killed_after_any_write_is_done_or_never_was() {
    killed("frozen").await;
}

#[tokio::test]
async fn a_pause_killed_after_its_write_is_done_once() {
    killed("pause").await;
}

#[tokio::test]
async fn a_resume_killed_after_its_write_is_done_once() {
    killed("resume").await;
}

#[tokio::test]
async fn an_autoscaler_killed_after_any_write_is_set_or_never_was() {
    killed("autoscaler").await;
}

#[tokio::test]
async fn a_deletion_killed_after_any_write_leaves_the_app_or_nothing() {
    killed("delete").await;
}

/// A method that is added to the contract needs a case here.
#[test]
fn every_method_that_writes_is_killed() {
    let all = state::writing_methods();
    for method in &all {
        let killed = CASES.iter().any(|case| case.method == method);
        assert!(killed != WRITE_NOTHING.contains(&method.as_str()), "{method} has no case, or one too many");
    }
    for case in CASES {
        assert!(
            all.iter().any(|method| method == case.method),
            "{} is not a method that writes",
            case.method
        );
    }
}

/// A deploy makes a dry run for every object and then writes only those that would change. A Service that
/// would not change is not written, unless it was changed outside Gantry.
#[tokio::test]
async fn what_a_deploy_would_not_change_is_not_written() {
    run(|env| async move {
        let proxy = Proxy::start(env.client.clone()).await;
        let dir = tempfile::tempdir().unwrap();
        let daemon = proxy.daemon(dir.path()).await;
        let services = Api::<Service>::namespaced(env.client.clone(), &env.namespace);
        for (n, wanted) in [(1, 5), (2, 3), (3, 4)] {
            if n == 3 {
                let strip = Patch::Merge(json!({"metadata": {"labels": {"gantry.dev/app": null}}}));
                services.patch("lean", &PatchParams::default(), &strip).await.unwrap();
            }
            let spec = pb::AppSpec { image: format!("web:{n}"), ..web() };
            proxy.stop_after(&env.namespace, "lean", usize::MAX);
            let answer = daemon.deploy_app(env.deploy_request("lean", spec)).await.unwrap();
            let mut writes = proxy.writes();
            // The controller of budgets may write the budget between the read and the dry run. Then it is
            // applied, which does no harm.
            writes.retain(|write| n == 1 || !write.contains("/poddisruptionbudgets/"));
            assert_eq!(writes.len(), wanted, "deploy {n}: {writes:#?}");
            follow(&daemon, &answer.rollout.unwrap().name).await;
            recorded(&env, "lean", n).await;
        }
        let labels = services.get("lean").await.unwrap().metadata.labels.unwrap();
        assert_eq!(labels["gantry.dev/app"], "lean", "a change made outside Gantry is corrected");
    })
    .await;
}
