//! Each check with each result. Also shows that no value of a Secret can get into one.

use serde_json::{Value, json};

use super::{
    Growth,
    autoscaler::{check_autoscaler as judge_autoscaler, check_other_autoscalers},
    disruption::{self, Budget},
    image::{self, Pull, RequiredImage},
    or_pass,
    quota::{self, Limit, Needs, Quota},
    references::{self, Found, Kind},
};
use crate::{
    autoscale::{Mode, Policy, Signal},
    domain::{
        check::{Check, Finding, Kind as CheckKind},
        scaling::Scaling,
        scheduling::{Amounts, Change, Node},
    },
};

fn mk_map(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn mk_growth(replicas: usize, surge: usize, unavailable: usize, before: usize) -> Growth {
    Growth { change: Change { replicas, surge, unavailable, recreate: false, replaces: true }, before }
}

#[test]
fn the_numbers_of_a_rollout_are_rounded_as_kubernetes_does() {
    let read = |replicas: u64, surge: Value, unavailable: Value| {
        let rolling = json!({"maxSurge": surge, "maxUnavailable": unavailable});
        let strategy = json!({"type": "RollingUpdate", "rollingUpdate": rolling});
        let growth = Growth::read(&json!({"spec": {"replicas": replicas, "strategy": strategy}}), 3, true);
        (growth.change.surge, growth.change.unavailable)
    };
    assert_eq!(read(3, json!("25%"), json!("25%")), (1, 0));
    assert_eq!(read(10, json!(2), json!("30%")), (2, 3));
    assert_eq!(read(3, json!(0), json!("10%")), (0, 1), "never both none");
    assert_eq!(mk_growth(3, 1, 0, 3).peak(), 4);
    assert_eq!(mk_growth(3, 1, 0, 0).peak(), 3, "a new app has no surge");
    assert_eq!(mk_growth(3, 9, 0, 1).peak(), 4);
}

#[test]
fn a_template_refers_to_each_object_once_with_all_keys() {
    let template = json!({"spec": {
        "serviceAccountName": "shop", "priorityClassName": "high", "imagePullSecrets": [{"name": "registry"}],
        "initContainers": [{"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "a"}}}]}],
        "containers": [{
            "env": [
                {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "b", "optional": true}}},
                {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
                {"name": "D", "value": "plain"},
            ],
            "envFrom": [{"secretRef": {"name": "all", "optional": true}}],
        }],
        "volumes": [
            {"name": "x", "secret": {"secretName": "s", "items": [{"key": "file", "path": "p"}]}},
            {"name": "y", "persistentVolumeClaim": {"claimName": "data"}},
            {"name": "z", "projected": {"sources": [{"configMap": {"name": "c", "items": [{"key": "m", "path": "p"}]}}]}},
        ],
    }});
    let all = references::references_of(&template);
    let seen: Vec<_> = all
        .iter()
        .map(|r| (r.kind, r.name.as_str(), r.keys.iter().map(String::as_str).collect::<Vec<_>>(), r.optional))
        .collect();
    assert_eq!(
        seen,
        [
            (Kind::ConfigMap, "c", vec!["k", "m"], false),
            (Kind::Secret, "all", vec![], true),
            (Kind::Secret, "s", vec!["a", "file"], false),
            (Kind::PullSecret, "registry", vec![], false),
            (Kind::ServiceAccount, "shop", vec![], false),
            (Kind::Claim, "data", vec![], false),
            (Kind::PriorityClass, "high", vec![], false),
        ]
    );
    let judged = |i: usize, found: Found| references::check_reference(&all[i], &found, true);
    let there = |keys: &[&str]| Found::There(keys.iter().map(|k| (*k).to_owned()).collect());
    let claim = |shared, lost| Found::Claim { bound: true, lost, shared };
    for (i, found, result, says) in [
        (2, there(&["a", "file", "more"]), Finding::Pass, "has all keys"),
        (2, there(&["a"]), Finding::Fail, "lacks file"),
        (2, Found::Absent, Finding::Fail, "does not exist"),
        (1, Found::Absent, Finding::Pass, "optional"),
        (3, Found::Absent, Finding::Warn, "private registry"),
        (4, Found::Absent, Finding::Fail, "ServiceAccount shop"),
        (4, Found::Unknown("the caller may not".into()), Finding::Skipped, "the caller may not"),
        (5, claim(false, false), Finding::Warn, "RECREATE"),
        (5, claim(true, false), Finding::Pass, "is bound"),
        (5, claim(true, true), Finding::Fail, "is lost"),
    ] {
        let check = judged(i, found);
        assert_eq!(check.result, result, "{check:?}");
        assert!(check.message.contains(says), "{check:?}");
    }
    assert_eq!(judged(2, Found::Absent).object, "secret/s");
}

fn mk_needs(cpu: i64) -> Needs {
    let amounts = Amounts { cpu, ..Amounts::default() };
    Needs {
        requests: amounts.clone(),
        limits: amounts.clone(),
        containers: vec![("app".into(), amounts.clone(), amounts)],
    }
}

#[test]
fn a_quota_counts_the_surge() {
    let judge = |entry: &str, hard: &str, used: &str, growth: &Growth| {
        let quota = Quota {
            name: "small".into(),
            hard: mk_map(&[(entry, hard)]),
            used: mk_map(&[(entry, used)]),
            ..Quota::default()
        };
        quota::check_quota(&quota, &mk_needs(500), &mk_needs(500), growth)
            .map(|check| (check.result, check.message))
    };
    let result =
        |entry: &str, hard: &str, used: &str, growth: &Growth| judge(entry, hard, used, growth).map(|r| r.0);
    let rolls = mk_growth(2, 1, 0, 2);
    assert_eq!(result("requests.cpu", "1500m", "1", &rolls), Some(Finding::Pass));
    assert_eq!(result("limits.cpu", "1", "1", &rolls), Some(Finding::Fail), "no room for the surge");
    assert_eq!(result("cpu", "1", "1", &mk_growth(2, 1, 1, 2)), Some(Finding::Warn), "old ones go first");
    assert_eq!(result("pods", "3", "2", &mk_growth(2, 2, 0, 2)), Some(Finding::Warn), "one after the other");
    assert_eq!(result("count/pods", "2", "0", &mk_growth(3, 1, 0, 0)), Some(Finding::Fail));
    assert_eq!(result("services", "0", "0", &rolls), None, "no matter of the replicas");
    let (_, message) = judge("requests.cpu", "1500m", "1", &mk_growth(4, 1, 0, 2)).unwrap();
    assert_eq!(
        message,
        "Quota small leaves 0.5 cores of 1.5 cores requests.cpu; 3 more replicas at a time need 1.5 cores, so the other replicas would not be created. Raise the quota, lower the resources, or lower replicas or max_surge."
    );
    let scoped = |scope: &str| Quota {
        scopes: vec![scope.into()],
        hard: mk_map(&[("pods", "0")]),
        ..Quota::default()
    };
    let of = |scope: &str, cpu| {
        quota::check_quota(&scoped(scope), &mk_needs(cpu), &mk_needs(cpu), &rolls).is_some()
    };
    assert_eq!([of("BestEffort", 0), of("BestEffort", 1), of("NotBestEffort", 1)], [true, false, true]);
    assert_eq!([of("Terminating", 1), of("NotTerminating", 1)], [false, true]);
    let unknown = Quota { unknown_scope: true, ..scoped("NotTerminating") };
    let check = quota::check_quota(&unknown, &mk_needs(1), &mk_needs(1), &rolls).unwrap();
    assert_eq!(check.result, Finding::Skipped);
}

#[test]
fn a_limit_is_named_with_what_breaks_it() {
    let limit = |kind: &str, max: &str, min: &str| Limit {
        name: "range".into(),
        kind: kind.into(),
        max: mk_map(&[("cpu", max)]),
        min: mk_map(&[("cpu", min)]),
    };
    let said = |limit: &Limit| {
        quota::check_limit_range(limit, &mk_needs(500)).into_iter().map(|c| c.message).collect::<Vec<_>>()
    };
    assert!(said(&limit("Container", "1", "100m")).is_empty());
    assert_eq!(
        said(&limit("Container", "250m", "100m")),
        [
            "LimitRange range allows at most 0.25 cores of cpu, and container app has 0.5 cores. Change resources."
        ]
    );
    assert!(said(&limit("Pod", "2", "1"))[0].contains("at least 1 core of cpu, and the replica has"));
    assert!(said(&limit("PersistentVolumeClaim", "0", "9")).is_empty());
}

#[test]
fn a_budget_that_could_never_be_met_is_told() {
    let budget =
        |min: Value, max: Value| Budget { name: "b".into(), min_available: min, max_unavailable: max };
    let result = |all: &[Budget], replicas| disruption::check_disruption(all, replicas).result;
    assert_eq!(result(&[], 3), Finding::Pass);
    for (min, max, replicas, expected) in [
        (json!(3), json!(null), 3, Finding::Warn),
        (json!(2), json!(null), 3, Finding::Pass),
        (json!("100%"), json!(null), 3, Finding::Warn),
        (json!("50%"), json!(null), 3, Finding::Pass),
        (json!(null), json!(0), 3, Finding::Warn),
        (json!(null), json!("10%"), 3, Finding::Pass),
        (json!(null), json!(1), 1, Finding::Pass),
        (json!(5), json!(null), 0, Finding::Pass),
    ] {
        assert_eq!(result(&[budget(min.clone(), max.clone())], replicas), expected, "{min} {max} {replicas}");
    }
    let two = [budget(json!(1), json!(null)), budget(json!(null), json!(1))];
    assert!(disruption::check_disruption(&two, 3).message.contains("2 budgets"));
}

#[test]
fn a_target_on_a_request_that_nobody_makes_is_told() {
    let policy = |mode| Policy {
        mode,
        min: 2,
        max: 4,
        targets: vec![Signal::CpuPercent(70), Signal::RequestsPerSecond(5.0)],
        ..Policy::default()
    };
    let scaling = |mode| Scaling { policy: Some(policy(mode).into()), ..Scaling::default() };
    let asking = Scaling { cpu_request: Some(0.5), ..Scaling::default() };
    let judge = |mode, wanted: &Scaling, replicas| {
        judge_autoscaler(&scaling(mode), wanted, replicas, jiff::Timestamp::UNIX_EPOCH)
    };
    let results = |all: Vec<Check>| all.into_iter().map(|c| c.result).collect::<Vec<_>>();
    assert!(judge(Mode::Off, &asking, 3).is_empty());
    assert!(judge_autoscaler(&Scaling::default(), &asking, 3, jiff::Timestamp::UNIX_EPOCH).is_empty());
    assert_eq!(results(judge(Mode::Active, &asking, 3)), [Finding::Pass]);
    assert_eq!(results(judge(Mode::Shadow, &Scaling::default(), 9)), [Finding::Warn]);
    let both = judge(Mode::Active, &Scaling::default(), 9);
    assert!(
        both[0].message.contains("resources.requests.cpu") && both[1].message.contains("from 9 to 4"),
        "{both:?}"
    );
}

#[test]
fn an_autoscaler_of_others_is_named_once() {
    let asking = Scaling { cpu_request: Some(0.5), ..Scaling::default() };
    let mk_hpa = |owner: Value| {
        json!({"metadata": {"name": "web", "ownerReferences": owner}, "spec": {"metrics": [
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]}})
    };
    let mk_scaled = |triggers: Value| json!({"metadata": {"name": "web"}, "spec": {"triggers": triggers}});
    let told = |scaled: &[Value], horizontal: &[Value], wanted: &Scaling| {
        let all = check_other_autoscalers(scaled, horizontal, wanted).into_iter();
        all.map(|check| (check.object, check.result)).collect::<Vec<_>>()
    };
    let (hpa, keda) = (
        |result| ("horizontalpodautoscaler.autoscaling/web".to_owned(), result),
        |result| ("scaledobject.keda.sh/web".to_owned(), result),
    );
    let (own, nothing) = (mk_hpa(json!(null)), Scaling::default());
    assert_eq!(told(&[], std::slice::from_ref(&own), &nothing), [hpa(Finding::Warn)]);
    assert_eq!(told(&[], std::slice::from_ref(&own), &asking), [hpa(Finding::Pass)]);
    assert!(told(&[], &[], &nothing).is_empty());
    let queue = mk_scaled(json!([{"type": "rabbitmq", "metadata": {"value": "5"}}]));
    assert_eq!(
        told(std::slice::from_ref(&queue), &[], &nothing),
        [keda(Finding::Pass)],
        "at zero replicas KEDA has no HorizontalPodAutoscaler"
    );
    for cpu in [
        json!([{"type": "cpu", "metricType": "Utilization", "metadata": {"value": "50"}}]),
        json!([{"type": "cpu", "metadata": {"type": "Utilization", "value": "50"}}]),
    ] {
        assert_eq!(told(&[mk_scaled(cpu.clone())], &[], &nothing), [keda(Finding::Warn)], "{cpu}");
        assert_eq!(told(&[mk_scaled(cpu.clone())], &[], &asking), [keda(Finding::Pass)], "{cpu}");
    }
    let average = json!([{"type": "cpu", "metricType": "AverageValue", "metadata": {"value": "500m"}}]);
    assert_eq!(told(&[mk_scaled(average)], &[], &nothing), [keda(Finding::Pass)]);
    let made = |by: &str| mk_hpa(json!([{"kind": "ScaledObject", "name": by}]));
    assert_eq!(told(std::slice::from_ref(&queue), &[made("web")], &nothing), [keda(Finding::Pass)]);
    assert_eq!(
        told(&[queue], &[made("other")], &nothing).len(),
        2,
        "that HorizontalPodAutoscaler belongs to another ScaledObject"
    );
}

fn mk_having(images: &[&str], listed: usize) -> Node {
    Node { images: images.iter().map(|name| ((*name).to_owned(), 1)).collect(), listed, ..Node::default() }
}

#[test]
fn an_image_is_judged_by_its_name_and_by_what_nodes_have() {
    let nodes =
        [mk_having(&["docker.io/library/web:1"], 9), mk_having(&["web:1", "a.b/c:2"], 3), mk_having(&[], 9)];
    let capped = [mk_having(&["a.b/c:2"], 50), mk_having(&["a.b/c:2"], 1)];
    let silent = [mk_having(&[], 0)];
    let running = image::running_images(&json!({
        "spec": {"replicas": 2, "template": {"spec": {"containers": [{"image": "run:1"}]}}},
        "status": {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2},
    }));
    let judge = |name: &str, pull, nodes: Result<&[Node], &str>| {
        let check = image::check_images(&[RequiredImage { name: name.into(), pull }], &running, nodes);
        (check.result, check.message)
    };
    let (known, unread) = (Ok(&nodes[..]), Err("the caller may not list nodes"));
    for (name, pull, nodes, result, says) in [
        ("Shop::1", Pull::IfAbsent, known, Finding::Fail, "upper-case letter. Correct the image's name."),
        ("Shop::1", Pull::Never, unread, Finding::Fail, "is not a valid image name"),
        ("web", Pull::Always, known, Finding::Warn, "The tag of web is left out"),
        ("a.b/c:latest", Pull::IfAbsent, unread, Finding::Warn, "The tag of a.b/c:latest moves"),
        ("web:1", Pull::IfAbsent, known, Finding::Pass, "2 of 3 nodes have web:1 already."),
        ("index.docker.io/web:1", Pull::Always, known, Finding::Pass, "and check with the registry"),
        ("web:1", Pull::Never, known, Finding::Pass, "2 of 3 nodes"),
        (
            "web:2",
            Pull::IfAbsent,
            known,
            Finding::Skipped,
            "None of 3 nodes lists web:2. Gantry does not ask the registry",
        ),
        ("web:2", Pull::IfAbsent, unread, Finding::Skipped, "may not list nodes"),
        ("docker.io/library/run:1", Pull::Never, unread, Finding::Pass, "The running replicas use"),
        ("web:2", Pull::Never, known, Finding::Fail, "no replica can start. Load it onto the nodes"),
        ("web:2", Pull::Never, Ok(&capped[..]), Finding::Warn, "Some nodes do not list all"),
        ("web:2", Pull::Never, Ok(&silent[..]), Finding::Warn, "Some nodes do not list all"),
        ("web:2", Pull::Never, Ok(&[]), Finding::Skipped, "There is no node"),
        ("web:2", Pull::Never, unread, Finding::Skipped, "may not list nodes"),
    ] {
        let (found, message) = judge(name, pull, nodes);
        assert!(found == result && message.contains(says), "{name} {pull:?}: {found:?} {message}");
    }
    // One check for all images, worst first. Passing images are mentioned only if all pass.
    let all = |names: &[&str]| {
        let wanted: Vec<_> =
            names.iter().map(|name| RequiredImage { name: (*name).into(), pull: Pull::IfAbsent }).collect();
        image::check_images(&wanted, &running, known)
    };
    let worst = all(&["web:1", "web:9", "Shop::1"]);
    assert_eq!(worst.result, Finding::Fail);
    assert!(worst.message.starts_with("Shop::1") && worst.message.contains("lists web:9"), "{worst:?}");
    assert!(!worst.message.contains("web:1 already"), "{worst:?}");
    assert!(all(&["web:1", "a.b/c:2"]).message.contains("web:1 already. 1 of 3"));
}

#[test]
fn a_rollout_under_way_says_nothing_about_its_image() {
    let of = |replicas: u64, updated: u64, ready: u64| {
        image::running_images(&json!({
            "spec": {"replicas": 2, "template": {"spec": {"containers": [{"image": "run:1"}]}}},
            "status": {"replicas": replicas, "updatedReplicas": updated, "readyReplicas": ready},
        }))
    };
    assert_eq!(of(2, 2, 2).len(), 1);
    for (replicas, updated, ready) in [(3, 1, 2), (2, 1, 2), (2, 2, 1), (0, 0, 0)] {
        assert!(of(replicas, updated, ready).is_empty(), "{replicas} {updated} {ready}");
    }
    assert!(image::running_images(&json!({})).is_empty());
    let template = json!({"spec": {
        "initContainers": [{"image": "web:1", "imagePullPolicy": "IfNotPresent"}],
        "containers": [{"image": "web:1"}, {"image": "b", "imagePullPolicy": "Always"}],
        "volumes": [{"emptyDir": {}}, {"image": {"reference": "c:1", "pullPolicy": "Never"}}],
    }});
    let found = image::images_of(&template);
    let seen: Vec<_> = found.iter().map(|wanted| (wanted.name.as_str(), wanted.pull)).collect();
    assert_eq!(seen, [("b", Pull::Always), ("c:1", Pull::Never), ("web:1", Pull::IfAbsent)]);
}

#[test]
fn what_is_well_is_told_in_one_line() {
    let check = |result| Check::new(CheckKind::References, result, "x");
    let pass = || check(Finding::Pass);
    assert_eq!(or_pass(vec![check(Finding::Pass), check(Finding::Pass)], pass).len(), 1);
    let found = or_pass(vec![check(Finding::Pass), check(Finding::Skipped)], pass);
    assert_eq!(found, [check(Finding::Skipped)]);
}

#[test]
fn a_quota_counts_the_objects_that_the_change_creates_and_no_others() {
    let judge = |entry: &str, used: &str, made: &[&str]| {
        let quota = Quota {
            name: "few".into(),
            hard: mk_map(&[(entry, "2"), ("requests.cpu", "1")]),
            used: mk_map(&[(entry, used)]),
            ..Quota::default()
        };
        let made: Vec<_> = made.iter().map(|made| (*made).to_owned()).collect();
        quota::check_object_count(&quota, &made)
    };
    let result = |entry: &str, used: &str, made: &[&str]| judge(entry, used, made).map(|check| check.result);
    for (entry, resource) in [
        ("count/replicasets.apps", "replicasets.apps"),
        ("count/deployments.apps", "deployments.apps"),
        ("count/controllerrevisions.apps", "controllerrevisions.apps"),
        ("count/poddisruptionbudgets.policy", "poddisruptionbudgets.policy"),
        ("count/services", "services"),
        ("services", "services"),
    ] {
        assert_eq!(result(entry, "2", &["other", resource]), Some(Finding::Fail), "{entry}");
        assert_eq!(result(entry, "3", &[resource]), Some(Finding::Fail), "{entry}");
        assert_eq!(result(entry, "1", &[resource]), Some(Finding::Pass), "{entry}");
        assert_eq!(result(entry, "2", &["other"]), None, "{entry}: none is made");
    }
    for entry in ["pods", "replicasets.apps", "services.nodeports", "count/replicationcontrollers"] {
        assert_eq!(result(entry, "2", &["replicasets.apps", "services"]), None, "{entry}");
    }
    let check = judge("count/replicasets.apps", "2", &["replicasets.apps"]).unwrap();
    assert_eq!(
        check.message,
        "Quota few leaves 0 of 2 count/replicasets.apps, and the change creates one, so no new replica would be created. Raise the quota, or delete ReplicaSets that have no replicas."
    );
    assert_eq!(
        [quota::quota_resource("apps", "deployments"), quota::quota_resource("", "services")],
        ["deployments.apps", "services"]
    );
}
