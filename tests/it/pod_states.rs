//! What is said of an app in any valid state of its objects: random statuses, conditions, events and owners
//! go as Kubernetes' JSON through the decoding, the index and the judge, without I/O.
//!
//! `GANTRY_CASES=20000 cargo test --test it pod_states` draws more states than the few hundred of each run.

mod draw;
mod texts;
mod world;

use std::time::Duration;

use gantry::{
    cluster::decode::{self, Decode},
    domain::{
        app::{App, State as AppState},
        name::{self, Which},
        observed,
        problem::Problem,
        revision::{Cause, Record},
        rollout::{Rollout, State},
        spec::{Check, Content, Probe, Probes, RolloutPolicy, Spec, Verdict},
    },
    index::{Index, Kind, Row},
};
use jiff::Timestamp;
use proptest::{prelude::*, test_runner::FileFailurePersistence};
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::{
    draw::any_world,
    world::{START, World},
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(START + second).unwrap()
}

fn rows<K: Decode + DeserializeOwned>(objects: Vec<Value>) -> Vec<K::Row> {
    objects.into_iter().filter_map(|object| serde_json::from_value::<K>(object).unwrap().into_row()).collect()
}

fn fill<R: Row>(index: &Index, kind: Kind, rows: Vec<R>) {
    index.reset_rows(kind, rows, at(5));
}

/// The revision that is rolled out, with short times.
fn mk_revision(world: &World) -> observed::Revision {
    let policy = RolloutPolicy {
        progress_timeout: Some(Duration::from_secs(60)),
        transient_grace: Some(Duration::from_secs(20)),
        verdict: if world.waits { Verdict::Wait } else { Verdict::FailFast },
        ..RolloutPolicy::default()
    };
    let readiness = Probe::new(Check::TcpPort("http".into()));
    let probes = Probes { readiness: Some(readiness), ..Probes::default() };
    let spec = Spec {
        image: "shop:9".into(),
        rollout_policy: Some(policy),
        probes: world.probed.then(|| Box::new(probes)),
        ..Spec::default()
    };
    let content = Content { spec, ..Content::default() };
    let record = Record {
        count: world.began_with,
        ..Record::new(Cause::Deploy, content, "ann".into(), String::new(), at(0))
    };
    observed::Revision::new(app(), 2, record)
}

fn app() -> name::App {
    name::App::new("prod", "web")
}

/// An index that has read this state.
fn mk_index(world: &World) -> Index {
    let index = Index::new(1);
    fill(&index, Kind::Revisions, vec![mk_revision(world)]);
    fill(&index, Kind::Nodes, rows::<decode::Node>(world.nodes()));
    fill(&index, Kind::Events, rows::<decode::Event>(world.events()));
    fill(&index, Kind::ReplicaSets, rows::<decode::ReplicaSet>(world.replica_sets()));
    fill(&index, Kind::Pods, rows::<decode::Pod>(world.pods()));
    fill::<observed::EndpointSlice>(&index, Kind::EndpointSlices, vec![]);
    fill::<observed::HorizontalPodAutoscaler>(&index, Kind::HorizontalPodAutoscalers, vec![]);
    fill::<observed::ScaledObject>(&index, Kind::ScaledObjects, vec![]);
    fill(&index, Kind::Deployments, rows::<decode::Deployment>(vec![world.deployment()]));
    index
}

/// The app and its rollout after each ten seconds, as long as any deadline can last.
fn course(world: &World) -> Vec<(std::sync::Arc<App>, Rollout)> {
    let index = mk_index(world);
    let latest = name::Rollout { app: app(), revision: Which::Latest };
    let seconds = (5..700).step_by(10);
    let states = seconds.map(|second| {
        for kind in [Kind::Deployments, Kind::Pods] {
            index.note_heard(kind, at(second));
        }
        index.tick(at(second));
        (index.get_app(&app()).unwrap(), (*index.get_rollout(&latest).unwrap()).clone())
    });
    states.collect()
}

/// Checks that a problem has its words, and blames what is there and in trouble.
fn check_problem(world: &World, problem: &Problem) -> Result<(), TestCaseError> {
    prop_assert!(!problem.message.is_empty() && !problem.remedy.is_empty(), "{problem:?}");
    let (kind, object) = problem.object.split_once('/').unwrap_or_default();
    match kind {
        "pod" => {
            let pod = world.pod(object);
            prop_assert!(pod.is_some(), "no such pod: {problem:?}");
            let is_right =
                problem.container.is_empty() || pod.is_some_and(|p| p.is_in_trouble(&problem.container));
            prop_assert!(is_right, "nothing is wrong with it: {problem:?}");
        }
        "replicaset.apps" => prop_assert_eq!(object, "web-2"),
        _ => prop_assert_eq!(problem.object.as_str(), "deployment.apps/web"),
    }
    Ok(())
}

fn check(world: &World) -> Result<(), TestCaseError> {
    let course = course(world);
    for (app, rollout) in &course {
        prop_assert!(!app.message.is_empty() && !rollout.message.is_empty());
        for problem in app.problems.iter().chain(&rollout.problems).chain(&rollout.error) {
            check_problem(world, problem)?;
        }
        prop_assert_eq!(rollout.state == State::Failed, rollout.error.is_some());
    }
    let (app, rollout) = course.last().unwrap();
    if world.is_healthy() {
        prop_assert!(rollout.state == State::Succeeded, "healthy: {:?}", rollout);
        let expected = if world.desired == 0 { AppState::Stopped } else { AppState::Active };
        prop_assert!(app.state == expected && app.problems.iter().all(|p| !p.fatal), "healthy: {:?}", app);
        return Ok(());
    }
    match rollout.state {
        State::Failed => {
            let error = rollout.error.as_ref().unwrap();
            // Something is there to blame, unless no replica was ever created.
            let is_there = world.current().any(|pod| !world.is_ready(pod));
            let is_named = error.object != "deployment.apps/web";
            prop_assert!(is_named || !is_there || !world.observed, "nothing is named: {:?}", error);
        }
        State::Succeeded => {
            let (p, enough) = (rollout.progress, world.began_with.filter(|n| *n < rollout.progress.desired));
            prop_assert!(
                p.ready == p.desired && p.old == 0
                    || enough.is_some_and(|enough| p.ready + (p.old - enough).max(0) >= enough),
                "{:?}",
                rollout
            );
        }
        State::Paused => prop_assert!(world.paused),
        // With no replica wanted there is no deadline.
        state => prop_assert!(world.desired == 0 || world.paused, "{state:?} for ever: {}", rollout.message),
    }
    let is_whole = app.ready >= app.desired && app.current_content >= app.desired;
    prop_assert!(app.state != AppState::Active || is_whole, "{app:?}");
    Ok(())
}

fn config() -> ProptestConfig {
    let cases = std::env::var("GANTRY_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400);
    ProptestConfig {
        cases,
        max_shrink_iters: 20_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "proptest-regressions/pod_states.txt",
        ))),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_state_has_a_reason_in_time_and_no_healthy_one_is_a_failure(world in any_world()) {
        check(&world)?;
    }
}
