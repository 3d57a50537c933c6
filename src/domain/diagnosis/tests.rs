//! The diagnosis of each state of pods and Deployments, and properties of all of them.

mod around;
mod containers;
mod ended;

use std::time::Duration;

use proptest::prelude::*;

use super::{NodeState, Surroundings, diagnose_replicas, is_past_grace};
use crate::domain::{
    name,
    observed::{
        About, CreateFailure, Deployment, Event, Exit, Kind, Pod, ReplicaSet, Trouble, TroubleKind,
        testing::{self, at},
    },
    problem::{Problem, Reason},
    spec::{Policy, Spec},
};

fn mk_deployment() -> Deployment {
    Deployment {
        revision: Some(1),
        desired: 3,
        current: 3,
        updated: 3,
        ready: 0,
        available: 0,
        ..testing::deployment(name::App::new("prod", "shop"))
    }
}

fn mk_pod(name: &str) -> Pod {
    Pod { ready: false, ..testing::pod("prod", "shop-1", name) }
}

fn mk_troubled(kind: TroubleKind, reason: &str, message: &str) -> Pod {
    let trouble = Trouble {
        container: "app".into(),
        kind,
        reason: reason.into(),
        message: message.into(),
        since: None,
        exit: None,
        restarts: 0,
    };
    Pod { trouble: Some(Box::new(trouble)), ..mk_pod("shop-1-a") }
}

fn mk_image(reason: &str, message: &str) -> Pod {
    mk_troubled(TroubleKind::Image, reason, message)
}

fn mk_config(message: &str) -> Pod {
    mk_troubled(TroubleKind::Config, "CreateContainerConfigError", message)
}

fn mk_unschedulable() -> Pod {
    mk_troubled(TroubleKind::Unschedulable, "Unschedulable", "0/3 nodes are available: 3 Insufficient cpu.")
}

fn mk_crash(restarts: i32, code: i32, signal: i32, reason: &str) -> Pod {
    let mut pod =
        mk_troubled(TroubleKind::Crash, "CrashLoopBackOff", "back-off 40s restarting failed container");
    let trouble = pod.trouble.as_mut().unwrap();
    trouble.restarts = restarts;
    trouble.exit = Some(Exit { code, signal, reason: reason.into(), finished: Some(at(9)) });
    trouble.since = Some(at(9));
    pod
}

fn mk_event(id: i64, reason: &str, note: &str) -> Event {
    Event {
        id: format!("e{id}").into(),
        about: About { namespace: "prod".into(), kind: Kind::Pod, name: "shop-1-a".into() },
        container: None,
        warning: true,
        reason: reason.into(),
        note: note.into(),
        count: 1,
        time: at(id),
        version: 0,
    }
}

fn node_state(node: &str) -> NodeState {
    match node {
        "lost" => NodeState::Silent,
        "gone" => NodeState::Gone,
        _ => NodeState::Answers,
    }
}

fn diagnosed(deployment: &Deployment, pods: &[Pod], events: &[Event]) -> Vec<Problem> {
    let of = |about: &About| -> Vec<&Event> { events.iter().filter(|e| e.about == *about).collect() };
    let around = Surroundings { events: &of, node: &node_state };
    diagnose_replicas(deployment, None, pods, around, &Spec::default().policy(), None)
}

fn the_one(pod: Pod, events: &[Event]) -> Problem {
    let problems = diagnosed(&mk_deployment(), &[pod], events);
    let [problem] = problems.as_slice() else { panic!("{problems:?}") };
    problem.clone()
}

const UNPACK: &str = "failed to pull and unpack image \"docker.io/library/shop:9\": failed to resolve reference \"docker.io/library/shop:9\": ";
const BACK_OFF: &str = "Back-off pulling image \"shop:9\"";

#[test]
fn each_state_of_a_pod_has_its_reason_and_its_words() {
    let pull = |cause: &str| mk_image("ErrImagePull", &format!("{UNPACK}{cause}"));
    let back_off =
        |cause: &str| mk_image("ImagePullBackOff", &format!("{BACK_OFF}: ErrImagePull: {UNPACK}{cause}"));
    let crio =
        |cause: &str| mk_image("ErrImagePull", &format!("initializing source docker://shop:9: {cause}"));
    let head = "failed to do request: Head \"https://docker.io/v2/library/shop/manifests/9\": ";
    let (image, config) = (Reason::ImagePullFailed, Reason::ConfigMissing);
    #[rustfmt::skip] // a row is a line
    let table: [(Pod, Reason, bool, &str); 33] = [
        (pull("docker.io/library/shop:9: not found"), image, true, "the image does not exist: docker.io/library/shop:9: not found"),
        (back_off("docker.io/library/shop:9: not found"), image, true, "the image does not exist: docker.io/library/shop:9: not found"),
        (crio("reading manifest 9 in quay.io/acme/shop: manifest unknown"), image, true, "does not exist"),
        (crio("name unknown: repository name not known to registry"), image, true, "does not exist"),
        (pull("pull access denied, repository does not exist or may require authorization: server message: insufficient_scope"), image, true, "refuses access to the image, or it does not exist"),
        (pull("unexpected status from GET request to https://ghcr.io/token: 403 Forbidden"), image, true, "refuses access"),
        (back_off("failed to fetch anonymous token: unexpected status: 401 Unauthorized"), image, true, "refuses access"),
        (crio("unable to retrieve auth token: invalid username/password: unauthorized: authentication required"), image, true, "refuses access"),
        (pull(&format!("{head}dial tcp 10.0.0.1:443: i/o timeout")), image, false, "cannot be pulled: dial tcp 10.0.0.1:443: i/o timeout"),
        (pull(&format!("{head}dial tcp: lookup docker.io on 10.96.0.10:53: no such host")), image, false, "no such host"),
        (back_off(&format!("{head}dial tcp 10.0.0.1:443: connect: connection refused")), image, false, "connection refused"),
        (pull("unexpected status from HEAD request: 429 Too Many Requests"), image, false, "limits the rate of requests: unexpected status from HEAD request: 429 Too Many Requests"),
        (pull(&format!("{head}tls: failed to verify certificate: x509: certificate signed by unknown authority" )), image, false, "x509"),
        (mk_image("ImagePullBackOff", BACK_OFF), image, false, "cannot be pulled"),
        (mk_image("RegistryUnavailable", "registry is unavailable"), image, false, "cannot be pulled"),
        (mk_image("InvalidImageName", "Failed to apply default image tag \"Shop::1\": couldn't parse image name \"Shop::1\": invalid reference format"), image, true, "the image name is invalid: invalid reference format"),
        (mk_image("ErrImageNeverPull", "Container image \"shop:9\" is not present with pull policy of Never"), image, true, "may not be pulled"),
        (mk_crash(0, 1, 0, "Error"), Reason::CrashLoop, false, "ended once, last with status 1."),
        (mk_crash(1, 1, 0, "Error"), Reason::CrashLoop, false, "ended 2 times, last with status 1."),
        (mk_crash(2, 1, 0, "Error"), Reason::CrashLoop, true, "ended 3 times, last with status 1."),
        (mk_crash(9, 0, 0, "Completed"), Reason::CrashLoop, true, "ended 10 times, last with status 0, which means that it finished"),
        (mk_crash(2, 0, 11, "Error"), Reason::CrashLoop, true, "last by signal 11: SIGSEGV, a bad memory access."),
        (mk_crash(2, 137, 0, "Error"), Reason::CrashLoop, true, "last with status 137 (signal 9: SIGKILL, killed from outside)."),
        (mk_crash(2, 127, 0, "Error"), Reason::CrashLoop, true, "last with status 127 (the command was not found)."),
        (mk_crash(2, 164, 0, "Error"), Reason::CrashLoop, true, "last with status 164 (signal 36)."),
        (mk_crash(2, 128, 0, "StartError"), Reason::CrashLoop, true, "last with status 128."),
        (mk_crash(2, 137, 0, "OOMKilled"), Reason::OutOfMemory, true, "more memory than its limit, 3 times"),
        (mk_crash(0, 137, 0, "OOMKilled"), Reason::OutOfMemory, false, "more memory than its limit, once"),
        (mk_troubled(TroubleKind::Crash, "CrashLoopBackOff", "back-off"), Reason::CrashLoop, false, "does not report"),
        (mk_config("secret \"db\" not found"), config, true, "cannot be created: secret \"db\" not found"),
        (mk_config("couldn't find key PASSWORD in Secret prod/db"), config, true, "couldn't find key PASSWORD"),
        (mk_config("failed to sync secret cache: timed out waiting for the condition"), config, false, "failed to sync secret cache"),
        (mk_unschedulable(), Reason::Unschedulable, false, "No node takes the replica: 0/3 nodes are available: 3 Insufficient cpu."),
    ];
    for (pod, reason, fatal, words) in table {
        let seen = pod.trouble.clone();
        let problem = the_one(pod, &[]);
        assert_eq!((problem.reason, problem.fatal), (reason, fatal), "{seen:?}\n{}", problem.message);
        assert!(problem.message.contains(words), "{seen:?}\n{}", problem.message);
        assert!(
            reason == Reason::Unschedulable || problem.message.contains("Container \"app\""),
            "{}",
            problem.message
        );
        assert!(!problem.remedy.is_empty());
        assert_eq!((problem.object.as_str(), problem.affected), ("pod/shop-1-a", 1));
    }
}

// Before Kubernetes 1.32 the state shows only the back-off.
#[test]
fn the_cause_of_a_back_off_is_found_in_the_event() {
    let back_off = || mk_image("ImagePullBackOff", BACK_OFF);
    let failed = |id, cause: &str| {
        mk_event(id, "Failed", &format!("Failed to pull image \"shop:9\": {UNPACK}{cause}"))
    };
    let gone =
        [failed(1, "docker.io/library/shop:9: not found"), mk_event(2, "Failed", "Error: ErrImagePull")];
    let problem = the_one(back_off(), &gone);
    assert!(
        problem.fatal
            && problem.message.ends_with("the image does not exist: docker.io/library/shop:9: not found"),
        "{problem:?}"
    );
    let timeout =
        [failed(1, "docker.io/library/shop:9: not found"), failed(2, "dial tcp 10.0.0.1:443: i/o timeout")];
    assert!(!the_one(back_off(), &timeout).fatal, "the last cause decides");
    let other =
        Event { about: About { name: "shop-1-b".into(), ..gone[0].about.clone() }, ..gone[0].clone() };
    assert!(!the_one(back_off(), &[other]).fatal, "an event about another pod decides nothing");
}

#[test]
fn a_health_check_that_does_not_pass_is_named_with_its_answer() {
    let unhealthy = |id, note: &str| mk_event(id, "Unhealthy", note);
    let refused = "dial tcp 10.1.0.9:8080: connect: connection refused";
    for (note, words) in [
        (
            "Readiness probe failed: HTTP probe failed with statuscode: 503",
            "readiness probe does not pass: HTTP probe failed with statuscode: 503",
        ),
        ("Startup probe failed: command timed out", "startup probe does not pass: command timed out"),
        (
            "Readiness probe errored and resulted in unknown state: rpc error",
            "readiness probe does not pass: rpc error",
        ),
        (&format!("Liveness probe failed: {refused}"), refused),
    ] {
        let pod = Pod { ready: false, ready_changed: Some(at(3)), ..mk_pod("shop-1-a") };
        let problem = the_one(pod, &[unhealthy(4, "Readiness probe failed: earlier"), unhealthy(5, note)]);
        assert_eq!(
            (problem.reason, problem.fatal, problem.start),
            (Reason::ProbeFailing, false, Some(at(3)))
        );
        assert!(problem.message.contains(words), "{}", problem.message);
        assert!(
            !is_past_grace(&problem, &Spec::default().policy(), at(0), at(99_999)),
            "a start may be slow"
        );
    }
    let event = [unhealthy(5, "Readiness probe failed: no")];
    for pod in [
        Pod { ready: true, ..mk_pod("shop-1-a") },
        Pod { running: false, ..mk_pod("shop-1-a") },
        mk_pod("shop-1-b"),
    ] {
        assert_eq!(diagnosed(&mk_deployment(), &[pod], &event), []);
    }
}

// The exit shows only that a signal ended the container, which looks like a crash.
#[test]
fn a_container_that_is_ended_for_its_health_check_did_not_crash() {
    let checked =
        |second, which: &str| mk_event(second, "Unhealthy", &format!("{which} probe failed: timed out"));
    let said = |pod: Pod, event: Event| {
        let problem = the_one(pod, &[event]);
        (problem.reason, problem.fatal, problem.message)
    };
    let killed = |restarts| mk_crash(restarts, 137, 0, "Error");
    let (reason, fatal, message) = said(killed(1), checked(8, "Liveness"));
    assert_eq!((reason, fatal), (Reason::ProbeFailing, false));
    assert_eq!(message, "Container \"app\" was ended 2 times, because its liveness probe failed: timed out");
    assert!(said(killed(2), checked(9, "Startup")).1, "it is tolerated as often as a crash");
    for (pod, event) in [
        (killed(1), checked(8, "Readiness")),
        (killed(1), checked(-52, "Liveness")),
        (killed(1), checked(10, "Liveness")),
    ] {
        assert_eq!(said(pod, event).0, Reason::CrashLoop, "no probe ended it");
    }
    assert_eq!(said(mk_crash(1, 137, 0, "OOMKilled"), checked(8, "Liveness")).0, Reason::OutOfMemory);
}

#[test]
fn the_name_of_an_image_decides_nothing() {
    for (name, full) in [
        ("access-denied", "docker.io/library/access-denied:latest"),
        ("acme.io/forbidden/not-found:unauthorized", "acme.io/forbidden/not-found:unauthorized"),
    ] {
        let cause =
            format!("failed to resolve reference \"{full}\": unexpected status for {full}: i/o timeout");
        let message = format!("Back-off pulling image \"{name}\": ErrImagePull: {cause}");
        assert!(!the_one(mk_image("ImagePullBackOff", &message), &[]).fatal, "{name}");
    }
}

#[test]
fn each_way_to_be_refused_a_pod_has_its_reason() {
    let webhook = "Internal error occurred: failed calling webhook \"policy.acme.io\": Post \"https://policy.acme:443/\": connect: connection refused";
    for (message, reason, fatal) in [
        (
            "pods \"shop-1-x\" is forbidden: exceeded quota: compute, requested: cpu=1, used: cpu=4, limited: cpu=4",
            Reason::QuotaExceeded,
            false,
        ),
        (
            "pods \"shop-1-x\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true",
            Reason::AdmissionDenied,
            true,
        ),
        ("admission webhook \"policy.acme.io\" denied the request: no latest", Reason::AdmissionDenied, true),
        (webhook, Reason::AdmissionDenied, false),
    ] {
        let failure = CreateFailure { message: message.to_owned(), since: Some(at(7)) };
        let current = ReplicaSet {
            namespace: "prod".into(),
            name: "shop-1".into(),
            deployment: "shop".into(),
            template_revision: 1,
            template: 0,
            revision: Some(1),
            created: at(0),
            create_failure: Some(failure),
            ports: vec![],
        };
        let deployment = Deployment { updated: 1, ..mk_deployment() };
        let policy = Spec::default().policy();
        let problems =
            diagnose_replicas(&deployment, Some(&current), [], Surroundings::nothing(), &policy, None);
        let [problem] = problems.as_slice() else { panic!("{problems:?}") };
        assert_eq!((problem.reason, problem.fatal), (reason, fatal), "{message}");
        assert!(problem.message.contains(message), "{}", problem.message);
        assert_eq!(
            (problem.object.as_str(), problem.affected, problem.start),
            ("replicaset.apps/shop-1", 2, Some(at(7)))
        );
    }
}

#[test]
fn deleting_and_healthy_pods_are_no_problem() {
    let deleting = Pod { deleting: true, ..mk_crash(9, 1, 0, "Error") };
    assert_eq!(diagnosed(&mk_deployment(), &[deleting, mk_pod("shop-1-b")], &[]), []);
}

#[test]
fn a_fatal_pod_speaks_for_its_harmless_sisters() {
    let one = mk_crash(0, 1, 0, "Error");
    let worse = Pod { name: "shop-1-b".into(), ..mk_crash(4, 3, 0, "Error") };
    let expected = [(true, "pod/shop-1-b", 2)];
    for pods in [[one.clone(), worse.clone()], [worse, one]] {
        let problems = diagnosed(&mk_deployment(), &pods, &[]);
        let told: Vec<_> = problems.iter().map(|p| (p.fatal, p.object.as_str(), p.affected)).collect();
        assert_eq!(told, expected);
    }
}

#[test]
fn the_telling_events_are_kept_and_not_their_echoes() {
    let cause = mk_event(1, "Failed", "Failed to pull image \"shop:9\": not found");
    let mut events = vec![
        cause,
        mk_event(2, "Failed", "Error: ErrImagePull"),
        mk_event(3, "BackOff", BACK_OFF),
        mk_event(4, "Failed", "Error: ImagePullBackOff"),
        Event { warning: false, ..mk_event(5, "Pulling", "Pulling image \"shop:9\"") },
    ];
    let expected =
        ["Failed: Failed to pull image \"shop:9\": not found", "BackOff: Back-off pulling image \"shop:9\""];
    for _ in 0..events.len() {
        events.rotate_left(1);
        assert_eq!(the_one(mk_image("ImagePullBackOff", BACK_OFF), &events).events, expected);
    }
}

#[test]
fn a_grace_runs_from_the_later_of_trouble_and_rollout() {
    let policy = Policy { transient_grace: Duration::from_secs(120), ..Spec::default().policy() };
    let problem = |start| Problem { start, ..the_one(mk_unschedulable(), &[]) };
    for (start, begin, now, expected) in [
        (Some(10), 0, 129, false),
        (Some(10), 0, 130, true),
        (Some(-500), 0, 119, false),
        (Some(-500), 0, 120, true),
        (None, 0, 9999, false),
        (Some(10), 0, -5, false),
    ] {
        let problem = problem(start.map(at));
        assert_eq!(is_past_grace(&problem, &policy, at(begin), at(now)), expected, "{start:?} {now}");
    }
    let crash = the_one(mk_crash(1, 1, 0, "Error"), &[]);
    assert!(!is_past_grace(&crash, &policy, at(0), at(9999)), "crashes are counted, not timed");
}

fn mk_any_pod() -> impl Strategy<Value = Pod> {
    let trouble = prop_oneof![
        Just(mk_pod("x")),
        Just(mk_image("ErrImagePull", "docker.io/library/shop:9: not found")),
        Just(mk_image("ErrImagePull", "i/o timeout")),
        Just(mk_config("secret \"db\" not found")),
        Just(mk_unschedulable()),
        (0..5).prop_map(|restarts| mk_crash(restarts, 1, 0, "Error")),
        (0..5).prop_map(|restarts| mk_crash(restarts, 137, 0, "OOMKilled")),
    ];
    (trouble, any::<bool>(), 0i64..100).prop_map(|(pod, deleting, created)| Pod {
        deleting,
        created: at(created),
        ..pod
    })
}

proptest! {
    #[test]
    fn every_troubled_pod_is_counted_once_and_the_fatal_come_first(pods in proptest::collection::vec(mk_any_pod(), 0..12)) {
        let problems = diagnosed(&mk_deployment(), &pods, &[]);
        let troubled = pods.iter().filter(|p| !p.deleting && p.trouble.is_some()).count();
        prop_assert_eq!(problems.iter().map(|p| p.affected).sum::<i32>(), i32::try_from(troubled).unwrap());
        prop_assert!(problems.windows(2).all(|pair| pair[0].fatal >= pair[1].fatal), "{problems:?}");
        let mut reasons: Vec<_> = problems.iter().map(|p| p.reason).collect();
        reasons.sort_unstable();
        reasons.dedup();
        prop_assert_eq!(reasons.len(), problems.len(), "one problem for each cause");
    }

    #[test]
    fn pods_of_one_cause_make_one_problem_since_the_earliest(created in proptest::collection::vec(0i64..1000, 1..9)) {
        let pods: Vec<_> = created.iter().map(|&second| Pod { created: at(second), ..mk_config("no such key") }).collect();
        let problems = diagnosed(&mk_deployment(), &pods, &[]);
        prop_assert_eq!(problems.len(), 1);
        prop_assert_eq!(usize::try_from(problems[0].affected).unwrap(), created.len());
        prop_assert_eq!(problems[0].start, created.iter().min().map(|&second| at(second)));
    }

    #[test]
    fn foreign_text_is_shortened_between_characters(unit in "\\PC{1,4}", times in 0usize..900) {
        let text = unit.repeat(times);
        for pod in [mk_image("ErrImagePull", &text), mk_config(&text)] {
            let message = the_one(pod, &[mk_event(1, "Failed", &text)]).message;
            prop_assert!(message.chars().count() < 520, "{} characters", message.chars().count());
            prop_assert!(text.trim().chars().count() <= 400 || text.contains("\": ") || message.ends_with('…'));
        }
    }

    #[test]
    fn at_most_two_events_are_told_and_only_warnings(seen in proptest::collection::vec((any::<bool>(), 0..3, 0..3, 0i64..99), 0..9)) {
        let event = |&(warning, reason, note, second): &(bool, i32, i32, i64)| Event {
            warning, time: at(second), ..mk_event(second, &format!("R{reason}"), &format!("n{note}"))
        };
        let events: Vec<_> = seen.iter().map(event).collect();
        let told = the_one(mk_config("x"), &events).events;
        let mut notes: Vec<_> = events.iter().filter(|e| e.warning).map(|e| &*e.note).collect();
        let mut reasons: Vec<_> = events.iter().filter(|e| e.warning).map(|e| &*e.reason).collect();
        for list in [&mut notes, &mut reasons] {
            list.sort_unstable();
            list.dedup();
        }
        prop_assert_eq!(told.len(), notes.len().max(reasons.len()).min(2));
        let known = |text: &String| events.iter().any(|e| e.warning && *text == format!("{}: {}", e.reason, e.note));
        prop_assert!(told.iter().all(known), "{told:?}");
        if reasons.len() > 1 {
            prop_assert_ne!(&told[0][..2], &told[1][..2], "of different reasons");
        }
    }
}
