//! The classification of refusals, and which report of a refusal counts.

use super::{super::Surroundings, Refusal, What, cause, find_refusal, unwrapped};
use crate::domain::{
    name,
    observed::{
        About, CreateFailure, Deployment, Event, Kind, ReplicaSet,
        testing::{self, at},
    },
    problem::Reason,
};

fn wrapped(words: &str) -> String {
    format!("Failed to create new replica set \"shop-6f7c\": {words}")
}

/// Messages of the API server, except the last ones.
#[test]
fn each_refusal_of_a_replica_set_has_its_kind() {
    let (quota, denied) = (Some((Reason::QuotaExceeded, false)), Some((Reason::AdmissionDenied, true)));
    let silent = Some((Reason::AdmissionDenied, false));
    for (words, expected) in [
        (
            "replicasets.apps \"shop-6f7c\" is forbidden: exceeded quota: sets, requested: count/replicasets.apps=1, used: count/replicasets.apps=1, limited: count/replicasets.apps=1",
            quota,
        ),
        (
            "replicasets.apps \"shop-6f7c\" is forbidden: status unknown for quota: sets, resources: count/replicasets.apps",
            quota,
        ),
        (
            "replicasets.apps \"shop-6f7c\" is forbidden: insufficient quota to consume: count/replicasets.apps",
            quota,
        ),
        ("admission webhook \"sets.acme.io\" denied the request: a timeout is missing", denied),
        (
            "replicasets.apps \"shop-6f7c\" is forbidden: ValidatingAdmissionPolicy 'sets' with binding 'sets' denied request: no",
            denied,
        ),
        (
            "ReplicaSet.apps \"shop-6f7c\" is invalid: spec.template.spec.containers[0].readinessProbe.timeoutSeconds: Invalid value: 0",
            denied,
        ),
        (
            "ReplicaSet.apps \"shop-6f7c\" is invalid: spec.selector: Invalid value: `selector` does not match template `labels`",
            denied,
        ),
        (
            "replicasets.apps is forbidden: User \"system:serviceaccount:kube-system:deployment-controller\" cannot create resource \"replicasets\" in API group \"apps\" in the namespace \"prod\"",
            denied,
        ),
        ("replicasets.apps \"shop-6f7c\" is forbidden: no sets on Sundays", denied),
        (
            "Internal error occurred: failed calling webhook \"sets.acme.io\": failed to call webhook: Post \"https://sets.acme:443/?timeout=10s\": context deadline exceeded",
            silent,
        ),
        // Failures that the control plane recovers from.
        ("replicasets.apps \"shop-6f7c\" already exists", None),
        ("Internal error occurred: resource quota evaluation timed out", None),
        ("etcdserver: request timed out", None),
        (
            "the server was unable to return a response in the time allotted, but may still be processing the request (Timeout: post replicasets.apps)",
            None,
        ),
        ("replicasets.apps \"shop-6f7c\" is forbidden: not yet ready to handle request", None),
        (
            "Operation cannot be fulfilled on replicasets.apps \"shop-6f7c\": the object has been modified; please apply your changes to the latest version and try again",
            None,
        ),
        (
            "Post \"https://10.0.0.1:6443/apis/apps/v1/namespaces/prod/replicasets\": dial tcp 10.0.0.1:6443: connect: connection refused",
            None,
        ),
        ("the server has received too many requests and has asked us to try again later", None),
        ("object is being deleted: replicasets.apps \"shop-6f7c\" already exists", None),
    ] {
        let all = wrapped(words);
        let found = cause(unwrapped(&all), What::ReplicaSet);
        let told = found.as_ref().map(|(reason, _, _, fatal)| (*reason, *fatal));
        assert_eq!(told, expected, "{words}");
        let Some((_, message, remedy, _)) = found else { continue };
        assert!(message.ends_with(words) && !remedy.is_empty(), "{message}");
        assert!(!message.contains("Failed to create"), "{message}");
    }
}

fn mk_event(second: i64, reason: &str, words: &str) -> Event {
    let about = About { namespace: "prod".into(), kind: Kind::Deployment, name: "shop".into() };
    let note = wrapped(words).into();
    Event {
        id: "e".into(),
        about,
        container: None,
        warning: true,
        reason: reason.into(),
        note,
        count: 1,
        time: at(second),
        version: 0,
    }
}

fn mk_deployment(said: Option<(i64, &str)>, deadline: Option<u64>) -> Deployment {
    let failure =
        |(since, words): (i64, &str)| CreateFailure { message: wrapped(words), since: Some(at(since)) };
    Deployment {
        revision: Some(2),
        template: 7,
        generation: 2,
        desired: 3,
        current: 3,
        updated: 3,
        ready: 3,
        available: 3,
        create_failure: said.map(failure),
        deadline,
        ..testing::deployment(name::App::new("prod", "shop"))
    }
}

fn mk_set(template: u64) -> ReplicaSet {
    ReplicaSet { template, ..testing::replica_set("prod", "shop", "shop-1") }
}

#[test]
fn the_later_word_counts_and_none_once_there_is_a_replica_set() {
    const EARLY: &str = "forbidden: exceeded quota: early";
    const LATE: &str = "admission webhook \"late\" denied the request: no";
    let told = |deployment: &Deployment, events: &[Event], templates: &[u64]| {
        let sets: Vec<_> = templates.iter().map(|template| mk_set(*template)).collect();
        let all = |about: &About| events.iter().filter(|e| e.about == *about).collect();
        let around = Surroundings { events: &all, is_lost: &|_| false };
        find_refusal(deployment, &sets.iter().collect::<Vec<_>>(), around)
    };
    let said = mk_deployment(Some((5, EARLY)), Some(600));
    let event = |second, words| [mk_event(second, "ReplicaSetCreateError", words)];
    let Refusal { problem, time } = told(&said, &[], &[1]).unwrap();
    assert_eq!(
        (problem.object.as_str(), problem.affected, problem.start),
        ("deployment.apps/shop", 3, Some(at(5)))
    );
    assert_eq!((problem.reason, time), (Reason::QuotaExceeded, Some(at(5))));

    // The condition does not change when the next template is refused for another reason.
    let Refusal { problem, time } = told(&said, &event(90, LATE), &[1]).unwrap();
    assert_eq!((problem.reason, time, problem.start), (Reason::AdmissionDenied, Some(at(90)), Some(at(5))));
    assert_eq!(problem.events.len(), 1);
    assert_eq!(told(&said, &event(3, LATE), &[1]).unwrap().problem.reason, Reason::QuotaExceeded, "older");
    assert_eq!(told(&said, &event(90, LATE), &[1, 7]), None, "it exists");

    // The controller has recovered, or writes no condition because there is no deadline.
    assert_eq!(told(&mk_deployment(None, Some(600)), &event(90, LATE), &[1]), None);
    assert!(told(&mk_deployment(None, None), &event(90, LATE), &[1]).is_some());
    assert_eq!(
        told(&mk_deployment(None, None), &event(-5, LATE), &[1]),
        None,
        "of an earlier Deployment of the name"
    );
    assert_eq!(told(&mk_deployment(None, None), &[mk_event(90, "ScalingReplicaSet", LATE)], &[1]), None);
}
