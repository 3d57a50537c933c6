//! The state of a rollout in each situation. A verdict needs every witness and then never changes.

mod ended;
mod late;
mod others;
mod raised;
mod recovery;
mod refused;
mod since;
mod stopping;
mod waiting;

use std::time::Duration;

use proptest::prelude::*;

use super::{AppRows, Rollout, State, Successor, Tracker};
use crate::domain::{
    app::App,
    diagnosis::Surroundings,
    labels::{MANAGED_BY_LABEL, MANAGER},
    name,
    observed::{
        CreateFailure, Deployment, Exit, Pod, ReplicaSet, Revision, Trouble, TroubleKind,
        testing::{self, at},
    },
    problem::Reason,
    revision::{Cause, End, Outcome, Record},
    spec::{Content, Port, Protocol, RolloutPolicy, Spec, Verdict},
};

fn mk_revision(number: u64, policy: RolloutPolicy) -> Revision {
    let spec = Spec { image: "shop:1".into(), rollout_policy: Some(policy), ..Spec::default() };
    let content = Content { spec, ..Content::default() };
    let record = Record::new(Cause::Deploy, content, "ann".into(), String::new(), at(0));
    Revision::new(name::App::new("prod", "shop"), number, record)
}

fn mk_set(name: &str, template_revision: u64) -> ReplicaSet {
    ReplicaSet {
        template_revision,
        revision: Some(template_revision - 1),
        ..testing::replica_set("prod", "shop", name)
    }
}

fn mk_pod(set: &str, id: usize) -> Pod {
    Pod { created: at(1), ..testing::pod("prod", set, &format!("{set}-{id}")) }
}

fn mk_trouble(kind: TroubleKind, message: &str) -> Box<Trouble> {
    Box::new(Trouble {
        container: "app".into(),
        kind,
        reason: String::new(),
        message: message.into(),
        since: None,
        exit: None,
        restarts: 0,
    })
}

/// The rows of one app.
#[derive(Clone, Debug)]
struct World {
    deployment: Deployment,
    sets: Vec<ReplicaSet>,
    pods: Vec<Pod>,
}

impl World {
    fn facts(&self) -> AppRows<'_> {
        AppRows {
            deployment: Some(&self.deployment),
            managed: self.deployment.labels.get(MANAGED_BY_LABEL).is_some_and(|by| by == MANAGER),
            replica_sets: self.sets.iter().collect(),
            pods: self.pods.iter().filter(|pod| pod.ended.is_none()).collect(),
            ended: self.pods.iter().filter(|pod| pod.ended.is_some()).collect(),
            around: Surroundings::nothing(),
            autoscaler: None,
        }
    }

    fn at_time(&self, revision: &Revision, decided: Option<&End>, second: i64) -> Rollout {
        let (facts, decided) = (self.facts(), revision.end.as_ref().or(decided));
        Rollout::latest(Some(revision), &facts).unwrap().judged(
            &facts,
            decided,
            &mut Tracker::default(),
            at(second).into(),
        )
    }

    fn as_app(&self) -> App {
        App::new(&self.deployment, None, None, &self.facts(), jiff::Timestamp::UNIX_EPOCH)
    }

    fn judged(&self) -> Rollout {
        self.at_time(&mk_revision(1, RolloutPolicy::default()), None, 60)
    }

    fn first(&mut self) -> &mut Pod {
        &mut self.pods[0]
    }
}

fn count(n: usize) -> i32 {
    n.try_into().unwrap()
}

/// Revision 1 with `n` replicas, complete.
fn mk_done(n: usize) -> World {
    let count = count(n);
    let deployment = Deployment {
        revision: Some(1),
        template_revision: 2,
        generation: 5,
        observed_generation: 5,
        desired: count,
        current: count,
        updated: count,
        ready: count,
        available: count,
        ..testing::deployment(name::App::new("prod", "shop"))
    };
    World {
        deployment,
        sets: vec![mk_set("old", 1), mk_set("new", 2)],
        pods: (0..n).map(|id| mk_pod("new", id)).collect(),
    }
}

/// Revision 1 with two replicas, one of which has this trouble.
fn mk_troubled(kind: TroubleKind, message: &str) -> World {
    let mut world = mk_done(2);
    (world.deployment.ready, world.deployment.available) = (1, 1);
    *world.first() = Pod { ready: false, trouble: Some(mk_trouble(kind, message)), ..mk_pod("new", 0) };
    world
}

fn mk_failure(message: &str, since: i64) -> CreateFailure {
    CreateFailure { message: message.into(), since: Some(at(since)) }
}

fn mk_quota(since: i64) -> World {
    let mut world = mk_done(2);
    world.pods.pop();
    (world.deployment.current, world.deployment.updated, world.deployment.available) = (1, 1, 1);
    world.sets[1].create_failure = Some(mk_failure("exceeded quota: compute", since));
    world
}

fn wait() -> RolloutPolicy {
    RolloutPolicy { verdict: Verdict::Wait, ..RolloutPolicy::default() }
}

#[test]
fn a_rollout_is_pending_until_its_revision_is_applied() {
    for applied in [None, Some(7)] {
        let mut world = mk_done(1);
        world.deployment.revision = applied;
        world.sets[1].revision = applied;
        // The row is older than the last write of the revision.
        world.deployment.resource_version = 0;
        let rollout = world.judged();
        assert_eq!(
            (rollout.state, rollout.end, rollout.to_end()),
            (State::Pending, None, None),
            "{applied:?}"
        );
    }
}

#[test]
fn a_rollout_runs_until_kubernetes_has_taken_it_up() {
    let mut world = mk_troubled(TroubleKind::Config, "of the old content");
    world.deployment.observed_generation -= 1;
    world.deployment.stalled = Some(at(700));
    let rollout = world.judged();
    assert_eq!((rollout.state, rollout.problems.len()), (State::Running, 0));
    assert!(rollout.message.contains("not taken it up"), "{}", rollout.message);
}

#[test]
fn a_rollout_of_no_replicas_succeeds_when_the_old_ones_are_gone() {
    let mut world = mk_done(0);
    assert_eq!(world.judged().state, State::Succeeded);
    world.pods.push(mk_pod("old", 0));
    assert_eq!(world.judged().state, State::Running);
}

#[test]
fn a_held_rollout_is_paused() {
    let mut world = mk_done(2);
    world.first().ready = false;
    world.deployment.paused = true;
    assert_eq!(world.judged().state, State::Paused);
}

#[test]
fn a_fatal_problem_fails_the_rollout_at_once_unless_it_waits() {
    let world = mk_troubled(TroubleKind::Config, "secret \"db\" not found");
    let failed = world.judged();
    assert_eq!((failed.state, failed.end), (State::Failed, Some(at(60))));
    let error = failed.error.clone().unwrap();
    assert_eq!((error.reason, &error.message), (Reason::ConfigMissing, &failed.message));
    assert_eq!(failed.problems, [error]);

    let waiting = world.at_time(&mk_revision(1, wait()), None, 99_999);
    assert_eq!((waiting.state, waiting.error), (State::Running, None));
    assert_eq!(waiting.message, failed.message, "says what is wrong while it waits");
}

#[test]
fn trouble_of_old_or_leaving_pods_fails_nothing() {
    let mut world = mk_done(2);
    world.first().ready = false;
    let trouble = Some(mk_trouble(TroubleKind::Config, "secret \"db\" not found"));
    world.pods.push(Pod { ready: false, trouble: trouble.clone(), ..mk_pod("old", 0) });
    world.pods.push(Pod { ready: false, deleting: true, trouble, ..mk_pod("new", 9) });
    let rollout = world.judged();
    assert_eq!((rollout.state, rollout.problems.len()), (State::Running, 0));
}

// Kubernetes keeps trying with the old ReplicaSet, and reports the failure on it, until the new one has taken
// over.
#[test]
fn a_refusal_of_another_template_is_no_problem_of_this_one() {
    let refused = Some(mk_failure("violates PodSecurity \"restricted:latest\"", 0));
    let mut world = mk_done(2);
    world.first().ready = false;
    world.sets[0].create_failure.clone_from(&refused);
    let (rollout, app) = (world.judged(), world.as_app());
    assert_eq!((rollout.state, rollout.problems), (State::Running, vec![]));
    assert_eq!(app.problems, []);

    world.sets[1].create_failure = refused;
    let (rollout, app) = (world.judged(), world.as_app());
    assert_eq!(rollout.state, State::Failed);
    for problems in [rollout.problems, app.problems] {
        let told: Vec<_> = problems.iter().map(|p| (p.reason, p.object.as_str())).collect();
        assert_eq!(told, [(Reason::AdmissionDenied, "replicaset.apps/new")]);
    }

    // Not yet taken up, so the number belongs to the previous template.
    world.deployment.observed_generation -= 1;
    assert_eq!(world.as_app().problems, []);
}

#[test]
fn what_may_pass_fails_the_rollout_only_after_its_grace() {
    let grace = RolloutPolicy { transient_grace: Some(Duration::from_secs(30)), ..RolloutPolicy::default() };
    let revision = mk_revision(1, grace);
    let mut reused = mk_troubled(TroubleKind::Unschedulable, "0/3 nodes are available");
    reused.first().created = at(-5000);
    // The pod was created at 1, and quota is exceeded since 4. An older pod counts from the start of the
    // rollout.
    for (world, due) in [
        (mk_troubled(TroubleKind::Unschedulable, "0/3 nodes are available"), 31),
        (mk_troubled(TroubleKind::Image, "i/o timeout"), 31),
        (mk_quota(4), 34),
        (mk_quota(-5000), 30),
        (reused, 30),
    ] {
        assert_eq!(world.at_time(&revision, None, due - 1).state, State::Running, "{world:?}");
        let failed = world.at_time(&revision, None, due);
        assert_eq!((failed.state, failed.error.map(|e| e.fatal)), (State::Failed, Some(false)), "{world:?}");
        assert_eq!(world.at_time(&mk_revision(1, wait()), None, due).state, State::Running);
    }
}

#[test]
fn crashes_are_tolerated_by_number_however_long_they_take() {
    let policy = RolloutPolicy { tolerated_restarts: Some(3), ..RolloutPolicy::default() };
    let mut world = mk_troubled(TroubleKind::Crash, "back-off");
    let exit = Exit { code: 1, signal: 0, reason: "Error".into(), finished: Some(at(5)) };
    world.first().trouble.as_mut().unwrap().since = exit.finished;
    world.first().trouble.as_mut().unwrap().exit = Some(exit);
    for (restarts, expected) in [(0, State::Running), (2, State::Running), (3, State::Failed)] {
        world.first().trouble.as_mut().unwrap().restarts = restarts;
        let rollout = world.at_time(&mk_revision(1, policy.clone()), None, 99_999);
        assert_eq!(rollout.state, expected, "{restarts} restarts");
    }
}

#[test]
fn no_progress_fails_the_rollout_and_that_of_an_earlier_one_does_not() {
    let mut world = mk_done(2);
    world.first().ready = false;
    world.deployment.deadline = Some(600);
    // For a change outside Gantry the Deployment's condition counts.
    let of_others =
        |revision: Revision| Revision { cause: Cause::External, template_revision: Some(2), ..revision };
    let theirs = of_others(mk_revision(1, RolloutPolicy::default()));
    let waiting = of_others(mk_revision(1, wait()));
    // A condition set within the timeout, even in the second of the start, is about the previous rollout.
    for (stalled, expected) in [
        (-1, State::Running),
        (0, State::Running),
        (598, State::Running),
        (599, State::Failed),
        (700, State::Failed),
    ] {
        world.deployment.stalled = Some(at(stalled));
        assert_eq!(world.at_time(&theirs, None, 60).state, expected, "{stalled}");
        assert_eq!(
            world.judged().state,
            State::Running,
            "{stalled}: Gantry's rollouts use their own deadline"
        );
        assert_eq!(world.at_time(&waiting, None, 60).state, expected, "{stalled}");
    }
    // Kubernetes drops fractions of a second, which must not hide the end.
    let start = at(0) + Duration::from_millis(900);
    let short = RolloutPolicy { progress_timeout: Some(Duration::from_secs(3)), ..RolloutPolicy::default() };
    let short = of_others(Revision { created: start, ..mk_revision(1, short) });
    world.deployment.deadline = Some(3);
    for (stalled, expected) in [(0, State::Running), (2, State::Running), (3, State::Failed)] {
        world.deployment.stalled = Some(at(stalled));
        assert_eq!(world.at_time(&short, None, 3).state, expected, "{stalled}");
    }
    // The condition is not renewed, so after the rollout's own timeout an early one counts.
    world.deployment.stalled = Some(at(0));
    assert_eq!(world.at_time(&short, None, 4).state, State::Failed);
    (world.deployment.stalled, world.deployment.deadline) = (Some(at(700)), Some(600));
    for (running, reason, words) in
        [(true, Reason::ProbeFailing, "readiness probe"), (false, Reason::ProgressTimeout, "Look at")]
    {
        world.first().running = running;
        let error = world.at_time(&theirs, None, 60).error.unwrap();
        assert_eq!((error.reason, error.affected, error.object.as_str()), (reason, 1, "pod/new-0"));
        assert!(error.message.contains("600 s") && error.remedy.contains(words), "{error:?}");
    }

    world.first().trouble = Some(mk_trouble(TroubleKind::Unschedulable, "0/3 nodes are available"));
    let error = world.at_time(&waiting, None, 60).error.unwrap();
    assert_eq!((error.reason, error.object.as_str()), (Reason::ProgressTimeout, "pod/new-0"));
    assert!(error.message.contains("0/3 nodes are available"), "names the cause: {}", error.message);
}

#[test]
fn without_a_probe_a_replica_must_have_run_for_a_moment_and_longer_after_it_ended_once() {
    let mut probed = mk_revision(1, RolloutPolicy::default());
    let mut content = (*probed.content).clone();
    content.spec.ports = vec![Port { name: "http".into(), number: 80, protocol: Protocol::Http }];
    probed.content = content.into();
    for (restarts, least) in [(0, 5), (1, 15)] {
        let mut world = mk_done(2);
        (world.first().ready_changed, world.first().restarts) = (Some(at(60)), restarts);
        let state = |revision: &Revision, second| world.at_time(revision, None, second).state;
        let unprobed = mk_revision(1, RolloutPolicy::default());
        assert_eq!(state(&unprobed, 60 + least - 1), State::Running, "{restarts}");
        assert_eq!(state(&unprobed, 60 + least), State::Succeeded, "{restarts}");
        assert_eq!(state(&probed, 60), State::Succeeded, "its probe says so");
    }
}

#[test]
fn a_past_rollout_keeps_its_end_or_was_superseded() {
    let mut revision = mk_revision(1, RolloutPolicy::default());
    let next = Successor { number: 2, start: at(90), changed_by: None };
    let past = |revision: &Revision| Rollout::recorded(revision).before(revision.end.as_ref(), &next);
    let superseded = past(&revision);
    assert_eq!((superseded.state, superseded.end), (State::Superseded, Some(at(90))));
    assert!(superseded.message.contains("rollout 2"), "{}", superseded.message);
    let end = mk_troubled(TroubleKind::Config, "x").judged().to_end().unwrap();
    revision.end = Some(end.clone());
    let failed = past(&revision);
    assert_eq!((failed.state, failed.to_end()), (State::Failed, Some(end)));
}

fn mk_any_world() -> impl Strategy<Value = World> {
    let pod = (prop_oneof![Just("old"), Just("new"), Just("unknown")], any::<[bool; 2]>(), 0..6);
    let counts = (0i32..4, 0i32..4, 0i32..4, 0i32..4, 0i64..2, any::<bool>(), any::<bool>());
    (counts, proptest::collection::vec(pod, 0..6)).prop_map(|(counts, pods)| {
        let mut world = mk_done(0);
        let d = &mut world.deployment;
        (d.desired, d.current, d.updated, d.available) = (counts.0, counts.1, counts.2, counts.3);
        d.observed_generation -= counts.4;
        d.stalled = counts.5.then(|| at(620));
        d.paused = counts.6;
        world.pods = pods
            .iter()
            .enumerate()
            .map(|(id, (set, [ready, deleting], trouble))| {
                let trouble = match trouble {
                    0 => Some(mk_trouble(TroubleKind::Config, "secret \"db\" not found")),
                    1 => Some(mk_trouble(TroubleKind::Unschedulable, "0/3 nodes are available")),
                    _ => None,
                };
                Pod { ready: *ready && trouble.is_none(), deleting: *deleting, trouble, ..mk_pod(set, id) }
            })
            .collect();
        world
    })
}

proptest! {
    #[test]
    fn success_needs_every_witness(n in 1usize..6, draining in 0usize..3, which in 0usize..11) {
        let mut world = mk_done(n);
        world.pods.extend((0..draining).map(|id| Pod { deleting: true, ..mk_pod("old", id) }));
        let done = world.judged();
        prop_assert_eq!((done.state, done.end), (State::Succeeded, Some(at(60))));
        prop_assert_eq!((done.progress.ready, done.progress.draining), (count(n), count(draining)));
        let d = &mut world.deployment;
        match which {
            0 => d.observed_generation -= 1,
            1 => d.updated -= 1,
            2 => d.available -= 1,
            3 => d.current += 1,
            4 => d.desired += 1,
            5 => world.first().ready = false,
            6 => world.first().deleting = true,
            7 => world.pods.push(mk_pod("old", 9)),
            8 => world.pods.push(mk_pod("new", 9)),
            9 => world.pods.push(Pod { ready: false, ..mk_pod("new", 9) }),
            _ => world.sets.retain(|set| set.template_revision == 1),
        }
        let not_yet = world.judged();
        prop_assert_eq!((not_yet.state, not_yet.end), (State::Running, None));
    }

    #[test]
    fn a_verdict_stays_whatever_is_seen_later(before in mk_any_world(), after in mk_any_world(), later in 0i64..100_000) {
        let revision = mk_revision(1, RolloutPolicy::default());
        let reached = before.at_time(&revision, None, 60);
        if let Some(end) = reached.to_end() {
            let recorded = Revision { end: Some(end.clone()), ..revision.clone() };
            for rollout in [after.at_time(&revision, Some(&end), later), after.at_time(&recorded, None, later)] {
                prop_assert_eq!(rollout.state, reached.state);
                prop_assert_eq!(rollout.to_end(), Some(end.clone()));
            }
        } else {
            prop_assert!(!reached.state.ended());
        }
    }

    #[test]
    fn a_failure_names_its_cause_and_nothing_else_does(world in mk_any_world(), second in 0i64..1000) {
        let rollout = world.at_time(&mk_revision(1, RolloutPolicy::default()), None, second);
        prop_assert_eq!(rollout.error.is_some(), rollout.state == State::Failed);
        prop_assert_eq!(rollout.end.is_some(), rollout.state.ended());
        prop_assert!(!rollout.message.is_empty());
        let p = rollout.progress;
        prop_assert!(p.ready <= p.updated && p.updated + p.old + p.draining <= count(world.pods.len()));
    }
}

#[test]
fn what_is_stored_as_the_end_is_what_was_reached() {
    let end = mk_done(1).judged().to_end().unwrap();
    assert_eq!((end.outcome, end.time, end.problem), (Outcome::Succeeded, at(60), None));
}
