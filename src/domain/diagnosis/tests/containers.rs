//! Pods of several containers: each problem names the container at fault, and says nothing of another's.

use super::*;
use crate::domain::{diagnosis::describe_wait, observed::Wait};

fn mk_waiting(waits: Wait) -> Pod {
    Pod { waits: Some(Box::new(waits)), node: Some("node-1".into()), ..mk_pod("shop-1-a") }
}

fn mk_unready(containers: &[&str]) -> Pod {
    mk_waiting(Wait::Containers(containers.iter().map(|&name| name.into()).collect()))
}

fn about(container: &str, event: Event) -> Event {
    Event { container: Some(container.into()), ..event }
}

fn unhealthy(second: i64, container: &str, note: &str) -> Event {
    about(container, mk_event(second, "Unhealthy", note))
}

#[test]
fn the_container_that_is_not_ready_is_named_with_its_own_check() {
    let events = [
        unhealthy(4, "proxy", "Readiness probe failed: HTTP probe failed with statuscode: 503"),
        unhealthy(5, "app", "Readiness probe failed: connection refused"),
    ];
    let problem = the_one(mk_unready(&["proxy"]), &events);
    assert_eq!((problem.reason, problem.container.as_str()), (Reason::ProbeFailing, "proxy"));
    assert_eq!(problem.logging_pod(), Some("shop-1-a"));
    let words =
        "Container \"proxy\": the readiness probe does not pass: HTTP probe failed with statuscode: 503";
    assert_eq!(problem.message, words);
    assert_eq!(problem.events.len(), 1, "{:?}", problem.events);
    assert_eq!(the_one(mk_unready(&["app", "proxy"]), &events).container, "app", "the last one of both");
    assert_eq!(diagnosed(&mk_deployment(), &[mk_unready(&["other"])], &events), [], "it may start slowly");
    let of_no_one = [mk_event(5, "Unhealthy", "Readiness probe failed: no")];
    assert_eq!(the_one(mk_unready(&["proxy"]), &of_no_one).container, "proxy");
}

// The first crash of the app is tolerated, however often its sidecar crashed and whatever probe that failed.
#[test]
fn a_crash_counts_the_restarts_and_the_checks_of_its_own_container() {
    let once = Pod { restarts: 9, ..mk_crash(0, 137, 0, "Error") };
    let of_sidecar = unhealthy(8, "proxy", "Liveness probe failed: HTTP probe failed with statuscode: 500");
    let problem = the_one(once.clone(), &[of_sidecar]);
    assert_eq!((problem.reason, problem.fatal, problem.events.len()), (Reason::CrashLoop, false, 0));
    assert!(problem.message.contains("Container \"app\" ended once"), "{}", problem.message);
    let of_its_own = unhealthy(8, "app", "Liveness probe failed: no");
    assert_eq!(the_one(once, &[of_its_own]).reason, Reason::ProbeFailing);
}

#[test]
fn the_cause_of_a_pull_is_that_of_its_own_image() {
    let gone =
        mk_event(1, "Failed", "Failed to pull image \"proxy:9\": docker.io/library/proxy:9: not found");
    assert!(the_one(mk_image("ImagePullBackOff", BACK_OFF), std::slice::from_ref(&gone)).fatal);
    assert!(!the_one(mk_image("ImagePullBackOff", BACK_OFF), &[about("proxy", gone)]).fatal);
}

#[test]
fn a_gate_that_holds_a_replica_is_named() {
    let held = Pod {
        running: false,
        node: None,
        ..mk_waiting(Wait::Gates(vec!["kueue.x-k8s.io/admission".into()]))
    };
    let problem = the_one(held, &[]);
    assert_eq!((problem.reason, problem.fatal), (Reason::Unschedulable, false));
    assert!(
        problem.message.contains("Scheduling gate \"kueue.x-k8s.io/admission\" holds"),
        "{}",
        problem.message
    );

    let condition = "target-health.elbv2.k8s.aws/k8s-shop".to_owned();
    let check = unhealthy(2, "app", "Readiness probe failed: at the start");
    let problem = the_one(mk_waiting(Wait::Conditions(vec![condition])), &[check]);
    assert!(
        problem.message.contains("waits for condition \"target-health.elbv2.k8s.aws/k8s-shop\""),
        "{}",
        problem.message
    );
    assert!(!problem.message.contains("probe") && problem.logging_pod().is_none(), "no log explains it");
    assert!(!is_past_grace(&problem, &Spec::default().policy(), at(0), at(99_999)), "it may take a while");
}

#[test]
fn what_runs_before_the_start_is_no_problem_and_is_named() {
    let (container, since) = ("migrate".to_owned(), Some(at(0)));
    let init = Pod { running: false, ..mk_waiting(Wait::Init { container: container.clone(), since }) };
    assert_eq!(diagnosed(&mk_deployment(), std::slice::from_ref(&init), &[]), [], "it may take its time");
    let (said, named) = describe_wait(&init).unwrap();
    assert!(said.starts_with("Init container \"migrate\" runs since 2026-") && named == "migrate", "{said}");
    let sidecar = Pod { running: false, ..mk_waiting(Wait::Sidecar { container, since }) };
    assert_eq!(diagnosed(&mk_deployment(), std::slice::from_ref(&sidecar), &[]), []);
    let problem = the_one(sidecar, &[unhealthy(3, "migrate", "Startup probe failed: refused")]);
    assert_eq!((problem.reason, problem.container.as_str()), (Reason::ProbeFailing, "migrate"));
}
