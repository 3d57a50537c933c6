//! Replicas that end: how many, why, the newest; and a loop of them.

use super::*;
use crate::domain::{
    diagnosis::{diagnose_ended, ended_until},
    observed::Ended,
};

fn mk_ended(n: i64, created: i64, time: i64) -> Pod {
    let exit = Exit { code: 0, signal: 0, reason: "Completed".into(), finished: Some(at(time)) };
    let ended = Ended {
        reason: String::new(),
        message: String::new(),
        time: at(time),
        exit: Some(("app".into(), exit)),
    };
    Pod { created: at(created), ended: Some(Box::new(ended)), ..mk_pod(&format!("shop-1-{n:02}")) }
}

/// Each lives for two seconds, as far as this one.
fn mk_loop(last: i64) -> Vec<Pod> {
    (0..=last).map(|n| mk_ended(n, n * 2, n * 2 + 2)).collect()
}

fn policy() -> Policy {
    Policy { transient_grace: Duration::from_secs(30), ..Spec::default().policy() }
}

fn told(pods: &[Pod], now: i64) -> Option<Problem> {
    let pods: Vec<_> = pods.iter().collect();
    diagnose_ended(&pods, Surroundings::nothing(), &policy(), at(now))
}

#[test]
fn replicas_that_end_are_told_with_their_number_cause_and_newest() {
    assert_eq!(told(&[], 0), None);
    let problem = told(&mk_loop(4), 11).unwrap();
    assert_eq!((problem.reason, problem.fatal, problem.affected), (Reason::CrashLoop, false, 5));
    assert_eq!((problem.object.as_str(), problem.container.as_str()), ("pod/shop-1-04", "app"));
    assert_eq!((problem.start, problem.logging_pod()), (Some(at(2)), Some("shop-1-04")));
    for words in
        ["5 replicas have ended", "Container \"app\" ended, last with status 0, which means that it finished"]
    {
        assert!(problem.message.contains(words), "{}", problem.message);
    }
    for (reason, message, words) in [
        (
            "Evicted",
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 80Mi.",
            "Evicted: The node was low",
        ),
        (
            "OutOfcpu",
            "Pod was rejected: Node didn't have enough resource: cpu, requested: 1000, used: 3400, capacity: 4000",
            "OutOfcpu: Pod was rejected",
        ),
        ("NodeAffinity", "", "The newest: NodeAffinity."),
        ("", "", "does not report why"),
    ] {
        let ended = Ended { reason: reason.into(), message: message.into(), time: at(5), exit: None };
        let pod = Pod { ended: Some(Box::new(ended)), ..mk_pod("shop-1-a") };
        let problem = told(&[pod], 6).unwrap();
        assert!(
            problem.message.starts_with("1 replica has ended") && problem.message.contains(words),
            "{}",
            problem.message
        );
        assert_eq!((problem.fatal, problem.logging_pod()), (false, None));
    }
}

#[test]
fn an_end_is_no_problem_any_more_after_a_while() {
    let pods = mk_loop(40);
    assert!(told(&pods, 82 + 59).is_some());
    assert_eq!(told(&pods, 82 + 60), None);
    let pods: Vec<_> = pods.iter().collect();
    assert_eq!(ended_until(&pods, at(90)), Some(at(82 + 60)));
    assert_eq!(ended_until(&pods, at(82 + 60)), None);
}

#[test]
fn a_loop_of_ends_is_fatal_after_its_grace_and_many_single_ends_are_not() {
    assert!(!told(&mk_loop(14), 32).unwrap().fatal, "for 28 s");
    assert!(told(&mk_loop(15), 34).unwrap().fatal, "for 30 s");
    let drained: Vec<_> = (0..50).map(|n| mk_ended(n, 0, 10 + n * 2)).collect();
    assert!(!told(&drained, 110).unwrap().fatal, "none of those that replaced them ended");
    let twice = [mk_ended(0, 0, 10), mk_ended(1, 10, 50), mk_ended(2, 50, 90)];
    assert!(!told(&twice, 95).unwrap().fatal, "it is tolerated as often as a crash");
}
