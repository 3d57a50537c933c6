//! The loop with rows, a `Scaler` and a `UsageSource` that record calls: what is called and when, and what is
//! stored.

use std::sync::Mutex;

use futures::{FutureExt, future::BoxFuture};

use super::*;
use crate::{
    autoscale::{Hold, LoadFigure, PodUsage, Policy, Signal},
    domain::{
        Error,
        commands::UsageSource,
        observed::{self, testing},
        scaling,
    },
    index::Kind,
};

/// Records what the loop asks for, and gives a prepared answer.
#[derive(Default)]
struct Fake {
    resized: Mutex<Vec<(i32, i32)>>,
    settled: Mutex<usize>,
    taken: Mutex<usize>,
    answer: Mutex<Option<Result<ScaleOutcome, Error>>>,
    usage: Mutex<Option<Result<Vec<PodUsage>, Error>>>,
}

impl Scaler for Fake {
    fn set_replicas(&self, request: SetReplicas) -> BoxFuture<'_, Result<ScaleOutcome, Error>> {
        self.resized.lock().unwrap().push((request.from, request.to));
        let answer = self.answer.lock().unwrap().clone().unwrap_or(Ok(ScaleOutcome::Done));
        async { answer }.boxed()
    }

    fn create_hold(&self, _: name::App, _: Duration) -> BoxFuture<'_, Result<ScaleOutcome, Error>> {
        *self.taken.lock().unwrap() += 1;
        async { Ok(ScaleOutcome::Done) }.boxed()
    }

    fn complete_hold(&self, _: name::App) -> BoxFuture<'_, Result<ScaleOutcome, Error>> {
        *self.settled.lock().unwrap() += 1;
        async { Ok(ScaleOutcome::Done) }.boxed()
    }
}

impl UsageSource for Fake {
    fn usage(&self, _: String) -> BoxFuture<'_, Result<Vec<PodUsage>, Error>> {
        let answer = self.usage.lock().unwrap().clone();
        async { answer.unwrap_or_else(|| Ok(Vec::new())) }.boxed()
    }
}

fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

fn app() -> name::App {
    name::App::new("prod", "shop")
}

fn mk_policy(targets: Vec<Signal>) -> Policy {
    Policy { mode: Mode::Active, max: 20, targets, ..Policy::default() }
}

fn mk_deployment(desired: i32, policy: Policy, hold: Option<Hold>) -> observed::Deployment {
    observed::Deployment {
        uid: "uid".into(),
        desired,
        current: desired,
        updated: desired,
        ready: desired,
        available: desired,
        completed: Some(now()),
        scaling: scaling::Scaling {
            set_outside: None,
            policy: Some(Arc::new(policy)),
            hold: hold.map(Arc::new),
            cpu_request: Some(0.5),
            memory_request: None,
        },
        created: now(),
        ..testing::deployment(app())
    }
}

fn mk_pod(i: i32) -> observed::Pod {
    observed::Pod {
        created: now(),
        ready_changed: Some(now() - SignedDuration::from_mins(1)),
        ..testing::pod("prod", "shop-1", &format!("shop-1-{i}"))
    }
}

struct Bed {
    index: Index,
    scaling: AutoscalerState,
    fake: Arc<Fake>,
    looker: Autoscaler,
}

impl Bed {
    fn new() -> Self {
        let index = Index::new(1);
        index.reset_rows::<observed::Deployment>(Kind::Deployments, vec![], now());
        index.reset_rows::<observed::ReplicaSet>(Kind::ReplicaSets, vec![], now());
        index.reset_rows::<observed::Pod>(Kind::Pods, vec![], now());
        index.reset_rows::<observed::Event>(Kind::Events, vec![], now());
        index.reset_rows::<observed::Revision>(Kind::Revisions, vec![], now());
        for kind in [Kind::EndpointSlices, Kind::Nodes, Kind::HorizontalPodAutoscalers, Kind::ScaledObjects] {
            index.refuse_kind(kind, now());
        }
        let scaling = AutoscalerState::new(now() - SignedDuration::from_hours(1));
        scaling.set_leader(Leader::Local, now() - SignedDuration::from_hours(1));
        let fake = Arc::new(Fake::default());
        let looker = Autoscaler::new(
            index.clone(),
            scaling.clone(),
            fake.clone(),
            Sources::new(fake.clone(), scaling.clone()),
            Duration::from_secs(600),
        );
        Self { index, scaling, fake, looker }
    }

    fn apply(&self, deployment: observed::Deployment) {
        let set = observed::ReplicaSet { revision: None, ..testing::replica_set("prod", "shop", "shop-1") };
        self.index.update_rows(vec![set], vec![], now());
        self.index.update_rows((0..deployment.desired).map(mk_pod).collect(), vec![], now());
        self.index.update_rows(vec![deployment], vec![], now());
    }

    fn measures(&self, cores: &[f64]) {
        let usage = |(i, cpu): (usize, &f64)| PodUsage {
            pod: format!("shop-1-{i}").into(),
            cpu: *cpu,
            memory: 1.0,
            time: now(),
            window: SignedDuration::from_secs(10),
        };
        *self.fake.usage.lock().unwrap() = Some(Ok(cores.iter().enumerate().map(usage).collect()));
    }

    fn report(&self, value: f64) {
        let figure = LoadFigure {
            app: app().to_string(),
            metric: "requests_per_second".into(),
            value,
            source: "gateway".into(),
            time: None,
        };
        self.scaling.report_load(&[figure], now()).unwrap();
    }

    fn last(&self) -> (Outcome, u32, u32) {
        let last = self.scaling.latest_decision(&app()).unwrap();
        (last.verdict.outcome.clone(), last.seen.current, last.verdict.to)
    }

    fn resized(&self) -> Vec<(i32, i32)> {
        self.fake.resized.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn use_of_cpu_becomes_a_count_that_is_set_and_recorded() {
    let mut bed = Bed::new();
    bed.apply(mk_deployment(2, mk_policy(vec![Signal::CpuPercent(60)]), None));
    bed.measures(&[0.5, 0.4]);
    bed.looker.evaluate_all(Look::Whole, now()).await;
    assert_eq!(bed.resized(), [(2, 3)]);
    assert_eq!(bed.last(), (Outcome::Scaled, 2, 3));
    assert_eq!(bed.scaling.next_evaluation(), Some(now() + PERIOD));
    assert_eq!(bed.scaling.list_sources(), ["metrics-api"]);
}

#[tokio::test]
async fn cpu_of_a_start_becomes_no_count() {
    let mut bed = Bed::new();
    bed.apply(mk_deployment(3, mk_policy(vec![Signal::CpuPercent(60)]), None));
    bed.measures(&[0.33, 0.33, 5.0]);
    let index = bed.index.clone();
    let third = |ready_changed, ready| {
        let pod = observed::Pod { ready, ready_changed: Some(ready_changed), ..mk_pod(2) };
        index.update_rows(vec![pod], vec![], now());
    };
    // In turn: never ready, ready within the window of 10 s, and ready before it.
    third(now() - SignedDuration::from_mins(1), false);
    bed.looker.evaluate_all(Look::Whole, now()).await;
    assert_eq!((bed.resized(), bed.last()), (vec![], (Outcome::Unchanged, 3, 3)));
    assert_eq!(bed.scaling.latest_decision(&app()).unwrap().seen.readings[0].starting, 1);
    third(now() - SignedDuration::from_secs(10), true);
    bed.looker.evaluate_all(Look::Whole, now()).await;
    assert_eq!(bed.resized(), []);
    third(now() - SignedDuration::from_secs(11), true);
    bed.looker.evaluate_all(Look::Whole, now()).await;
    assert_eq!(bed.resized(), [(3, 19)]);
}

#[tokio::test]
async fn a_metrics_api_that_is_silent_changes_nothing_and_is_named() {
    let mut bed = Bed::new();
    bed.apply(mk_deployment(5, mk_policy(vec![Signal::CpuPercent(60)]), None));
    *bed.fake.usage.lock().unwrap() = Some(Err(Error::Unreachable { message: "refused".into() }));
    bed.looker.evaluate_all(Look::Whole, now()).await;
    assert_eq!((bed.resized(), bed.last()), (vec![], (Outcome::Held, 5, 5)));
    let last = bed.scaling.latest_decision(&app()).unwrap();
    assert!(
        last.seen
            .explain(&last.verdict)
            .contains("the metrics API does not answer (the Kubernetes API server")
    );
    assert!(bed.scaling.list_sources().is_empty());
}

#[tokio::test]
async fn what_could_not_be_carried_out_is_a_failure_with_its_reason() {
    let mut bed = Bed::new();
    bed.apply(mk_deployment(2, mk_policy(vec![Signal::RequestsPerSecond(10.0)]), None));
    bed.report(50.0);
    *bed.fake.answer.lock().unwrap() = Some(Err(Error::Throttled { retry_after: SOON }));
    bed.looker.evaluate_all(Look::Whole, now()).await;
    let (outcome, from, to) = bed.last();
    assert!(matches!(outcome, Outcome::Failed(why) if why.contains("overloaded")));
    assert_eq!((from, to), (2, 2));
    *bed.fake.answer.lock().unwrap() = Some(Ok(ScaleOutcome::Outdated));
    bed.looker.evaluate_all(Look::Whole, now()).await;
    assert!(matches!(bed.last().0, Outcome::Failed(why) if why.contains("decide again")));
}

#[tokio::test]
async fn shadow_frozen_and_held_apps_are_looked_at_and_left_alone() {
    let hold = Hold {
        replicas: 2,
        until: now() + SignedDuration::from_mins(1),
        actor: "ann".into(),
        reason: String::new(),
        since: now(),
        generation: 0,
    };
    let policy = || mk_policy(vec![Signal::RequestsPerSecond(10.0)]);
    for (deployment, outcome, to) in [
        (mk_deployment(2, Policy { mode: Mode::Shadow, ..policy() }, None), Outcome::Advised, 5),
        (mk_deployment(2, Policy { mode: Mode::Frozen, ..policy() }, None), Outcome::Held, 2),
        (mk_deployment(2, policy(), Some(hold)), Outcome::Held, 2),
    ] {
        let mut bed = Bed::new();
        bed.apply(deployment);
        bed.report(50.0);
        bed.looker.evaluate_all(Look::Whole, now()).await;
        bed.looker.evaluate_all(Look::Reports, now()).await;
        assert_eq!((bed.last(), bed.resized()), ((outcome, 2, to), vec![]));
    }
}

#[tokio::test]
async fn the_count_of_a_hold_that_was_cut_off_is_set_after_a_moment_and_not_again() {
    let hold = |since| Hold {
        replicas: 7,
        until: now() + SignedDuration::from_mins(1),
        actor: "ann".into(),
        reason: String::new(),
        since,
        generation: 0,
    };
    let policy = || mk_policy(vec![Signal::RequestsPerSecond(10.0)]);
    let mut bed = Bed::new();
    bed.apply(mk_deployment(2, policy(), Some(hold(now()))));
    bed.looker.evaluate_all(Look::Whole, now() + SignedDuration::from_secs(2)).await;
    assert_eq!(*bed.fake.settled.lock().unwrap(), 0, "its writer is at it");
    bed.looker.evaluate_all(Look::Whole, now() + SignedDuration::from_secs(4)).await;
    assert_eq!(*bed.fake.settled.lock().unwrap(), 1);
    let touched =
        observed::FieldUpdate { manager: "kubectl-scale".into(), time: now() + SignedDuration::from_secs(1) };
    bed.apply(observed::Deployment {
        count_by: Some(touched),
        ..mk_deployment(2, policy(), Some(hold(now())))
    });
    bed.looker.evaluate_all(Look::Whole, now() + SignedDuration::from_secs(9)).await;
    assert_eq!(*bed.fake.settled.lock().unwrap(), 1, "a count was set since");
    assert_eq!(bed.resized(), []);
}

#[tokio::test]
async fn a_count_that_others_set_is_taken_as_a_hold_and_not_back() {
    let mut bed = Bed::new();
    let set_by = |manager: Option<&str>| {
        let mut deployment = mk_deployment(2, mk_policy(vec![Signal::RequestsPerSecond(10.0)]), None);
        deployment.scaling.set_outside = manager.map(Into::into);
        deployment
    };
    bed.report(95.0);
    bed.apply(set_by(Some("kubectl")));
    bed.looker.evaluate_all(Look::Whole, now()).await;
    assert_eq!((bed.resized(), *bed.fake.taken.lock().unwrap()), (vec![], 1));
    bed.apply(set_by(None));
    bed.looker.evaluate_all(Look::Whole, now()).await;
    assert_eq!((bed.resized(), *bed.fake.taken.lock().unwrap()), (vec![(2, 10)], 1));
}

#[tokio::test]
async fn a_report_raises_the_count_at_once_and_never_lowers_it() {
    let mut bed = Bed::new();
    let policy = || Policy { down: Duration::ZERO, ..mk_policy(vec![Signal::RequestsPerSecond(10.0)]) };
    bed.apply(mk_deployment(4, policy(), None));
    bed.report(10.0);
    bed.looker.evaluate_all(Look::Reports, now()).await;
    assert_eq!(bed.resized(), []);
    assert!(bed.scaling.latest_decision(&app()).is_none());
    bed.report(95.0);
    bed.looker.evaluate_all(Look::Reports, now()).await;
    assert_eq!((bed.resized(), bed.last()), (vec![(4, 10)], (Outcome::Scaled, 4, 10)));
    bed.apply(mk_deployment(4, Policy { up: Duration::from_secs(60), ..policy() }, None));
    bed.looker.evaluate_all(Look::Reports, now()).await;
    assert_eq!(bed.resized().len(), 1, "a rise by the law takes its time");
}

#[tokio::test(start_paused = true)]
async fn it_looks_every_five_seconds_and_only_while_it_is_the_one_that_does() {
    let bed = Bed::new();
    bed.apply(mk_deployment(2, mk_policy(vec![Signal::RequestsPerSecond(10.0)]), None));
    let scaling = bed.scaling.clone();
    let looks = || scaling.list_decisions(&app(), None, 1000, |_| true).0.len();
    let running = bed.looker.run();
    let watching = async {
        tokio::time::sleep(Duration::from_secs(21)).await;
        assert_eq!(looks(), 5, "at 0, 5, 10, 15 and 20 s");
        scaling.set_leader(Leader::Remote { holder: "b".into(), address: String::new() }, now());
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(looks(), 5);
        assert_eq!(scaling.next_evaluation(), None);
        scaling.set_leader(Leader::Local, now());
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(looks(), 6);
    };
    tokio::select! {
        () = running => panic!("the loop ended"),
        () = watching => {}
    }
}
