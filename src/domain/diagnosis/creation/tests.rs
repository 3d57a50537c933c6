//! The classification of refusals, and which report of a refusal counts.

use super::{
    super::{NodeState, Surroundings},
    Refusal, What, find_cause, find_refusal, is_retried_since, unwrapped,
};
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
        let found = find_cause(unwrapped(&all), What::ReplicaSet, &shop());
        let told = found.as_ref().map(|cause| (cause.reason, cause.fatal));
        assert_eq!(told, expected, "{words}");
        let Some(cause) = found else { continue };
        assert!(cause.message.ends_with(words) && !cause.remedy.is_empty(), "{cause:?}");
        assert!(!cause.message.contains("Failed to create"), "{cause:?}");
    }
}

fn shop() -> name::App {
    name::App::new("prod", "shop")
}

/// Messages of the API server of Kubernetes 1.36, except the marked ones.
#[test]
fn each_refusal_of_replicas_has_its_kind_and_its_remedy() {
    let (quota, denied, missing) = (Reason::QuotaExceeded, Reason::AdmissionDenied, Reason::ConfigMissing);
    let hook =
        "Internal error occurred: failed calling webhook \"hook.acme.io\": failed to call webhook: Post ";
    #[rustfmt::skip] // a row is a line
    let table: [(&str, Reason, bool, &str); 21] = [
        ("pods \"shop-6f7c-\" is forbidden: error looking up service account prod/till: serviceaccount \"till\" not found", missing, false, "kubectl create serviceaccount till --namespace prod"),
        ("pods \"shop-6f7c-\" is forbidden: error looking up service account prod/default: serviceaccount \"default\" not found", missing, false, "Wait"),
        ("pods \"shop-6f7c-\" is forbidden: no PriorityClass with name high was found", missing, false, "kubectl create priorityclass high --value 1000"),
        ("pods \"shop-6f7c-\" is forbidden: pod rejected: RuntimeClass \"gvisor\" not found", missing, false, "RuntimeClass gvisor"),
        ("pods \"shop-6f7c-\" is forbidden: timeoutclass.acme.io \"slow\" not found", missing, false, "Create what is missing"), // of an admission plugin of others
        ("pods \"shop-6f7c-sqq95\" is forbidden: failed quota: compute: must specify limits.cpu for: app; requests.memory for: app", quota, true, "gantry deploy shop --request"),
        ("pods \"shop-6f7c-tfg8f\" is forbidden: exceeded quota: compute, requested: limits.cpu=9, used: limits.cpu=0, limited: limits.cpu=2", quota, false, "raise the quota"),
        ("pods \"shop-6f7c-6q9pg\" is forbidden: [minimum memory usage per Container is 100Mi, but request is 10Mi, maximum cpu usage per Container is 500m, but limit is 9, cpu max limit to request ratio per Container is 2, but provided ratio is 90.000000]", denied, true, "`--request`"),
        ("pods \"timeout-6f7c-6q9pg\" is forbidden: maximum cpu usage per Pod is 500m, but limit is 9", denied, true, "`--limit`"),
        ("pods \"shop-6f7c-tf487\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true (pod or container \"app\" must set securityContext.runAsNonRoot=true)", denied, true, "rejected fields"),
        ("pods \"shop-6f7c-\" is forbidden: the integer value of priority (7) must not be provided in pod spec; priority admission controller computed 0 from the given PriorityClass name", denied, true, "rejected fields"),
        ("pods \"shop-6f7c-m8x4b\" is invalid: : ValidatingAdmissionPolicy 'p' with binding 'b' denied request: failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction", denied, false, "Create the parameters"),
        ("admission webhook \"hook.acme.io\" denied the request: serviceaccount \"till\" not found, exceeded quota", denied, true, "admission policy"),
        (&format!("{hook}\"https://absent.prod.svc:443/x?timeout=1s\": service \"absent\" not found"), denied, false, "webhook's own replicas"),
        (&format!("{hook}\"https://127.0.0.1:1/x?timeout=1s\": dial tcp 127.0.0.1:1: connect: connection refused"), denied, false, "webhook's own replicas"),
        (&format!("{hook}\"https://hook.acme.svc:443/x?timeout=1s\": context deadline exceeded"), denied, false, "webhook's own replicas"),
        (&format!("{hook}\"https://10.255.255.1/x?timeout=1s\": tls: failed to verify certificate: x509: cannot validate certificate for 10.255.255.1 because it doesn't contain any IP SANs"), denied, false, "webhook's own replicas"),
        ("pods \"shop-6f7c-\" is forbidden: unable to create new content in namespace prod because it is being terminated", denied, true, "namespace that stays"),
        ("namespaces \"prod\" not found", denied, true, "namespace that stays"),
        ("pods is forbidden: User \"system:serviceaccount:kube-system:replicaset-controller\" cannot create resource \"pods\" in API group \"\" in the namespace \"timeout\"", denied, true, "that right"),
        ("pods \"shop-6f7c-\" is forbidden: image policy webhook backend denied one or more images: not yet", denied, true, "admission policy"), // of the plugin's source
    ];
    for (words, reason, fatal, remedy) in table {
        let cause = find_cause(words, What::Replicas, &shop()).unwrap_or_else(|| panic!("{words}"));
        assert_eq!((cause.reason, cause.fatal), (reason, fatal), "{words}");
        assert!(cause.remedy.contains(remedy), "{words}: {}", cause.remedy);
    }
}

// Texts of the sources of Kubernetes: client-go, the API server's errors, and admission plugins.
#[test]
fn what_the_control_plane_gets_over_is_no_refusal() {
    for words in [
        "Operation cannot be fulfilled on resourcequotas \"compute\": the object has been modified; please apply your changes to the latest version and try again",
        "etcdserver: leader changed",
        "etcdserver: request timed out",
        "client rate limiter Wait returned an error: context deadline exceeded",
        "an error on the server (\"unknown\") has prevented the request from succeeding (post pods)",
        "the server is currently unable to handle the request (post pods)",
        "the server has asked for the client to provide credentials (post pods)",
        "the server could not find the requested resource (post pods)",
        "Post \"https://10.0.0.1:6443/api/v1/namespaces/prod/pods\": dial tcp 10.0.0.1:6443: connect: network is unreachable",
        "Post \"https://10.0.0.1:6443/api/v1/namespaces/prod/pods\": http2: client connection lost",
        "Post \"https://10.0.0.1:6443/api/v1/namespaces/prod/pods\": net/http: TLS handshake timeout",
        "pods \"shop-6f7c-\" is forbidden: not yet ready to handle request",
        "No API token found for service account \"till\", retry after the token is automatically created and added to the service account",
        "object is being deleted: pods \"shop-6f7c-x\" already exists",
        "Internal error occurred: resource quota evaluation timed out",
        "The POST operation against Pod could not be completed at this time, please try again.",
        "Timeout: request did not complete within requested timeout - context deadline exceeded",
    ] {
        assert_eq!(find_cause(words, What::Replicas, &shop()), None, "{words}");
    }
}

#[test]
fn a_refusal_is_of_the_time_of_its_last_report() {
    let refused = CreateFailure { message: "exceeded quota: q".into(), since: Some(at(5)) };
    let set = ReplicaSet { create_failure: Some(refused), ..mk_set(1) };
    let event = Event {
        about: About { namespace: "prod".into(), kind: Kind::ReplicaSet, name: "shop-1".into() },
        ..mk_event(20, "FailedCreate", "x")
    };
    let events = |_: &About| vec![&event];
    let around = Surroundings { events: &events, node: &|_| NodeState::Answers };
    let nothing = Surroundings::nothing();
    assert!(is_retried_since(&set, nothing, at(4)) && !is_retried_since(&set, nothing, at(5)));
    assert!(is_retried_since(&set, around, at(19)) && !is_retried_since(&set, around, at(20)));
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
        let around = Surroundings { events: &all, node: &|_| NodeState::Answers };
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
