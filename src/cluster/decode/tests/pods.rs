//! Decodes pods into rows: the one problem that prevents each from running.

use super::*;

#[test]
fn a_running_pod_is_a_ready_row_without_trouble() {
    let expected = observed::Pod {
        namespace: "prod".into(),
        name: "shop-6f7c-x2x".into(),
        replica_set: "shop-6f7c".into(),
        node: Some("node-1".into()),
        address: Some([10, 1, 0, 9].into()),
        created: time(CREATED),
        deleting: false,
        ready: true,
        ready_changed: Some(time(CREATED)),
        was_ready: false,
        once_ready: false,
        running: true,
        restarts: 1,
        own_restarts: 1,
        stop: None,
        trouble: None,
        waits: None,
        ended: None,
    };
    assert_eq!(row::<Pod>(mk_running()), Some(expected.clone()));
    let mut leaving = mk_running();
    leaving["metadata"]["deletionTimestamp"] = json!(CREATED);
    let leaving = row::<Pod>(leaving).unwrap();
    assert_eq!(
        leaving.time_to_stop(time("2026-01-02T03:04:01.5Z")).as_secs(),
        4,
        "it says when its time is over"
    );
    assert_eq!(leaving.time_to_stop(time("2026-01-02T03:05:00Z")).as_secs(), 0);
    let stop = leaving.stop.clone();
    assert_eq!(leaving, observed::Pod { deleting: true, stop, ..expected });
    let mut held = mk_running();
    held["metadata"]["deletionTimestamp"] = json!(CREATED);
    held["metadata"]["deletionGracePeriodSeconds"] = json!(30);
    held["metadata"]["finalizers"] = json!(["acme.example/drain"]);
    let stop = observed::Stop {
        told: time("2026-01-02T03:03:35Z"),
        by: time(CREATED),
        finalizers: vec!["acme.example/drain".into()],
    };
    assert_eq!(row::<Pod>(held).unwrap().stop, Some(Box::new(stop)));
}

#[test]
fn what_is_no_replica_of_a_deployment_is_no_row() {
    let mut stateful = mk_running();
    stateful["metadata"]["ownerReferences"] = json!([mk_owner("StatefulSet", "db")]);
    let mut owned_only = mk_running();
    owned_only["metadata"]["ownerReferences"][0]["controller"] = json!(false);
    for pod in [stateful, owned_only] {
        let pod: Pod = serde_json::from_value(pod).unwrap();
        assert_eq!(pod.key(), Some(("prod".into(), "shop-6f7c-x2x".into())), "can be forgotten");
        assert_eq!(pod.into_row(), None);
    }
}

#[test]
fn each_wait_of_a_container_is_the_trouble_that_it_is() {
    let (image, config) = (Some(TroubleKind::Image), Some(TroubleKind::Config));
    for (reason, expected) in [
        ("ErrImagePull", image),
        ("ImagePullBackOff", image),
        ("InvalidImageName", image),
        ("ErrImageNeverPull", image),
        ("CreateContainerConfigError", config),
        ("CreateContainerError", config),
        ("RunContainerError", config),
        ("PreCreateHookError", config),
        ("PreStartHookError", config),
        ("PostStartHookError", Some(TroubleKind::Crash)),
        ("CrashLoopBackOff", Some(TroubleKind::Crash)),
        ("ContainerCreating", None),
        ("PodInitializing", None),
    ] {
        let found = trouble(mk_waiting(reason, "its words"));
        assert_eq!(found.as_ref().map(|t| t.kind), expected, "{reason}");
        let told = found.map(|t| (t.container, t.reason, t.message, t.since, t.exit));
        assert_eq!(told, expected.map(|_| ("app".into(), reason.into(), "its words".into(), None, None)));
    }
}

#[test]
fn a_crash_tells_how_and_when_the_container_ended() {
    let finished = Some(time("2026-01-02T03:05:00Z"));
    let pod = row::<Pod>(mk_crashing()).unwrap();
    let crash = pod.trouble.clone().unwrap();
    assert_eq!(
        (crash.kind, crash.since, pod.restarts, crash.crashes()),
        (TroubleKind::Crash, finished, 4, 5)
    );
    assert_eq!(crash.exit, Some(Exit { code: 137, signal: 0, reason: "OOMKilled".into(), finished }));

    // The container has just ended, and the kubelet does not report the wait yet.
    let mut ended = mk_crashing();
    ended["status"]["containerStatuses"][0]["state"] =
        json!({"terminated": {"exitCode": 0, "reason": "Completed"}});
    let ended = trouble(ended).unwrap();
    assert_eq!((ended.kind, ended.exit.unwrap().reason.as_str()), (TroubleKind::Crash, "Completed"));
}

#[test]
fn what_could_not_be_started_keeps_the_words_of_the_runtime() {
    let words = "exec: \"/nope\": stat /nope: no such file or directory";
    let ended = json!({"terminated": {"exitCode": 128, "reason": "StartError", "message": words, "finishedAt": CREATED}});
    // It alternates between having just ended and waiting for its next start.
    let mut waiting = mk_crashing();
    waiting["status"]["containerStatuses"][0]["lastState"] = ended.clone();
    let mut just_ended = waiting.clone();
    just_ended["status"]["containerStatuses"][0]["state"] = ended;
    for pod in [waiting, just_ended] {
        let found = trouble(pod).unwrap();
        assert_eq!((found.kind, found.reason.as_str()), (TroubleKind::Config, "StartError"));
        assert_eq!((found.message.as_str(), found.exit.unwrap().code), (words, 128));
    }
}

#[test]
fn a_pod_that_passed_its_probe_is_told_from_one_that_never_did() {
    let unready = |changed: &str| {
        let mut pod = mk_running();
        pod["status"]["conditions"][2] =
            json!({"type": "Ready", "status": "False", "lastTransitionTime": changed});
        row::<Pod>(pod).unwrap()
    };
    let later = "2026-01-02T03:09:00Z";
    for (changed, was_ready) in [("2026-01-02T03:04:00Z", false), (CREATED, false), (later, true)] {
        let found = unready(changed);
        assert_eq!((found.was_ready, found.running), (was_ready, true), "{changed}");
        assert_eq!((found.ready_since(), found.unready_since()), (None, Some(time(changed))));
    }
    let restarting = row::<Pod>(mk_crashing()).unwrap();
    assert_eq!((restarting.was_ready, restarting.running), (false, false));
    assert_eq!(row::<Pod>(mk_running()).unwrap().ready_since(), Some(time(CREATED)));
}

#[test]
fn a_pod_that_was_ready_once_is_told_from_one_that_starts_through_restarts_too() {
    let second = |n: i64| (time(CREATED) + Duration::from_secs(n.unsigned_abs())).to_string();
    // As the kubelet writes it: created at 0, seen by the kubelet at 40, when the scheduler had found a node.
    let pod = |ready: bool, changed: i64, restarts: i64, started: i64| {
        let mut pod = mk_running();
        pod["status"]["startTime"] = json!(second(40));
        pod["status"]["conditions"][2] = json!({"type": "Ready", "status": if ready { "True" } else { "False" },
            "lastTransitionTime": second(changed)});
        pod["status"]["containerStatuses"][0]["restartCount"] = json!(restarts);
        pod["status"]["containerStatuses"][0]["state"] = json!({"running": {"startedAt": second(started)}});
        pod
    };
    for (case, pod, expected) in [
        ("starts", pod(false, 40, 0, 42), (false, false)),
        ("starts, and its kubelet is slow to say so", pod(false, 41, 0, 42), (false, false)),
        ("starts for the fifth time", pod(false, 40, 4, 200), (false, false)),
        ("starts again, the second was full between two times", pod(false, 41, 4, 200), (false, false)),
        ("is ready", pod(true, 50, 0, 42), (false, false)),
        ("is ready after a restart", pod(true, 210, 1, 200), (false, false)),
        ("fails its probe", pod(false, 90, 0, 42), (true, true)),
        ("fails its probe after a restart and being ready", pod(false, 300, 1, 200), (true, true)),
        ("ended while it was ready, and starts once more", pod(false, 199, 1, 200), (false, true)),
        ("ended a moment after it was ready", pod(false, 42, 1, 43), (false, true)),
    ] {
        let found = row::<Pod>(pod).unwrap();
        assert_eq!((found.was_ready, found.once_ready), expected, "{case}");
    }
    let mut unknown = pod(false, 199, 1, 200);
    unknown["status"]["startTime"].take();
    assert!(!row::<Pod>(unknown).unwrap().once_ready, "nothing says that it was");
    let mut migrating = pod(false, 40, 0, 42);
    migrating["status"]["initContainerStatuses"] = json!([{"name": "migrate", "restartCount": 3, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}]);
    assert!(!row::<Pod>(migrating).unwrap().once_ready, "restarts of what comes before the start");
}

#[test]
fn restarts_are_those_of_the_app_s_own_container() {
    let restarts = |pod: Value| {
        let found = row::<Pod>(pod).unwrap();
        (found.own_restarts, found.restarts)
    };
    let mut pod = mk_running();
    let injected = json!({"name": "proxy", "restartCount": 7, "state": {"running": {"startedAt": CREATED}}});
    pod["status"]["containerStatuses"].as_array_mut().unwrap().insert(0, injected);
    assert_eq!(restarts(pod.clone()), (1, 7));
    // An injector that puts a container before the app's sets the default container.
    pod["spec"]["containers"].as_array_mut().unwrap().insert(0, json!({"name": "proxy"}));
    assert_eq!(restarts(pod.clone()), (7, 7));
    pod["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/default-container": "app"});
    assert_eq!(restarts(pod), (1, 7));
}

#[test]
fn a_failing_init_container_comes_before_those_that_wait_for_it() {
    let mut pod = mk_waiting("PodInitializing", "");
    let done = json!({"name": "schema", "restartCount": 0, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}});
    let failing = json!({"name": "migrate", "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 2, "reason": "Error", "finishedAt": CREATED}}});
    pod["status"]["initContainerStatuses"] = json!([done]);
    assert_eq!(trouble(pod.clone()), None);
    pod["status"]["initContainerStatuses"] = json!([done, failing]);
    let found = row::<Pod>(pod).unwrap();
    assert_eq!((found.trouble.unwrap().container.as_str(), found.restarts), ("migrate", 2));
}

#[test]
fn a_pod_without_a_node_says_why() {
    let mut pod = mk_waiting("ContainerCreating", "");
    pod["spec"]["nodeName"].take();
    pod["status"]["conditions"][0] = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient cpu.", "lastProbeTime": null, "lastTransitionTime": CREATED});
    let found = row::<Pod>(pod.clone()).unwrap();
    assert_eq!(found.node, None);
    let found = found.trouble.unwrap();
    assert_eq!((found.kind, found.since), (TroubleKind::Unschedulable, Some(time(CREATED))));
    assert_eq!(
        (found.container.as_str(), found.message.as_str()),
        ("", "0/3 nodes are available: 3 Insufficient cpu.")
    );
    pod["status"]["conditions"][0]["reason"] = json!("SchedulingGated");
    assert_eq!(trouble(pod), None);
}

#[test]
fn a_pod_that_runs_without_being_ready_says_since_when() {
    let mut pod = mk_running();
    pod["status"]["conditions"][2] =
        json!({"type": "Ready", "status": "False", "lastTransitionTime": CREATED});
    let found = row::<Pod>(pod.clone()).unwrap();
    assert_eq!((found.ready, found.running, found.unready_since()), (false, true, Some(time(CREATED))));
    pod["status"]["containerStatuses"] = json!([]);
    assert!(!row::<Pod>(pod).unwrap().running, "nothing runs yet");
    assert!(!row::<Pod>(mk_waiting("ContainerCreating", "")).unwrap().running);
}

fn waits(pod: Value) -> Option<Wait> {
    row::<Pod>(pod).unwrap().waits.map(|waits| *waits)
}

// As the documentation of Kubernetes shows pods with init containers, sidecars and gates.
#[test]
fn what_a_pod_without_trouble_waits_for_is_read_from_its_containers_and_gates() {
    assert_eq!(waits(mk_running()), None);
    let since = Some(time(CREATED));
    let runs = |name: &str, ready: bool, started: bool| {
        json!({"name": name, "ready": ready, "started": started,
        "restartCount": 0, "state": {"running": {"startedAt": CREATED}}, "lastState": {}})
    };
    let ended = json!({"name": "schema", "ready": true, "started": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}, "lastState": {}});

    let mut starts = mk_waiting("PodInitializing", "");
    starts["spec"]["initContainers"] =
        json!([{"name": "schema"}, {"name": "proxy", "restartPolicy": "Always"}, {"name": "migrate"}]);
    starts["status"]["conditions"][1]["status"] = json!("False");
    starts["status"]["initContainerStatuses"] = json!([ended, runs("proxy", false, false)]);
    assert_eq!(waits(starts.clone()), Some(Wait::Sidecar { container: "proxy".into(), since }));
    starts["status"]["initContainerStatuses"] =
        json!([ended, runs("proxy", false, true), runs("migrate", false, true)]);
    assert_eq!(waits(starts), Some(Wait::Init { container: "migrate".into(), since }));

    let mut unready = mk_running();
    unready["status"]["conditions"][2]["status"] = json!("False");
    unready["spec"]["initContainers"] =
        json!([{"name": "agent", "restartPolicy": "Always"}, {"name": "schema"}]);
    unready["status"]["initContainerStatuses"] = json!([runs("agent", false, true), ended]);
    unready["status"]["containerStatuses"] = json!([runs("app", true, true), runs("proxy", false, true)]);
    assert_eq!(waits(unready.clone()), Some(Wait::Containers(vec!["proxy".into(), "agent".into()])));
    unready["status"]["initContainerStatuses"] = json!([runs("agent", true, true), ended]);
    unready["status"]["containerStatuses"] = json!([runs("app", true, true)]);
    assert_eq!(waits(unready.clone()), None, "the condition comes in a moment");

    unready["spec"]["readinessGates"] =
        json!([{"conditionType": "a.io/registered"}, {"conditionType": "a.io/warm"}]);
    let warm = json!({"type": "a.io/warm", "status": "True", "lastTransitionTime": CREATED});
    unready["status"]["conditions"].as_array_mut().unwrap().push(warm);
    assert_eq!(waits(unready), Some(Wait::Conditions(vec!["a.io/registered".into()])));

    let mut held = mk_waiting("ContainerCreating", "");
    held["spec"]["nodeName"].take();
    held["spec"]["schedulingGates"] = json!([{"name": "example.com/foo"}, {"name": "example.com/bar"}]);
    held["status"] = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
        "reason": "SchedulingGated", "message": "Scheduling is blocked due to non-empty scheduling gates"}]});
    assert_eq!(waits(held), Some(Wait::Gates(vec!["example.com/foo".into(), "example.com/bar".into()])));
}

#[test]
fn of_several_containers_that_crash_the_one_that_crashed_most_is_named() {
    let crashed = |name: &str, restarts: i32| {
        json!({"name": name, "restartCount": restarts,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "finishedAt": CREATED}}})
    };
    let mut pod = mk_crashing();
    for (statuses, name, crashes) in [
        (json!([crashed("app", 0), crashed("proxy", 5)]), "proxy", 6),
        (json!([crashed("app", 5), crashed("proxy", 5)]), "app", 6),
        (
            json!([crashed("app", 0), {"name": "proxy", "restartCount": 7, "state": {"running": {}}}]),
            "app",
            1,
        ),
    ] {
        pod["status"]["containerStatuses"] = statuses;
        let found = trouble(pod.clone()).unwrap();
        assert_eq!((found.container.as_str(), found.crashes()), (name, crashes));
    }
}

#[test]
fn a_pod_that_ended_says_how_and_when() {
    let ended = |pod: Value| {
        let found = row::<Pod>(pod).unwrap();
        assert!(!found.ready && found.trouble.is_none() && found.waits.is_none());
        *found.ended.unwrap()
    };
    assert_eq!(row::<Pod>(mk_running()).unwrap().ended, None);
    let later = "2026-01-02T03:05:00Z";
    let mut done = mk_crashing();
    let exit = |code: i32, at: &str| json!({"terminated": {"exitCode": code, "reason": "Completed", "finishedAt": at}});
    done["status"]["phase"] = json!("Succeeded");
    done["status"]["initContainerStatuses"] =
        json!([{"name": "agent", "state": exit(137, "2026-01-02T03:05:09Z")}]);
    done["status"]["containerStatuses"] =
        json!([{"name": "app", "state": exit(0, later)}, {"name": "proxy", "state": exit(0, CREATED)}]);
    let found = ended(done);
    assert_eq!((found.reason.as_str(), found.time, found.exit.unwrap().0.as_str()), ("", time(later), "app"));

    let mut evicted = mk_waiting("ContainerCreating", "");
    let status = &mut evicted["status"];
    (status["phase"], status["reason"]) = (json!("Failed"), json!("Evicted"));
    status["message"] =
        json!("The node was low on resource: memory. Container app was using 1Gi, request is 0. ");
    let target = json!({"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet", "lastTransitionTime": later});
    status["conditions"].as_array_mut().unwrap().push(target);
    let found = ended(evicted);
    assert_eq!((found.reason.as_str(), found.time, found.exit), ("Evicted", time(later), None));
    assert!(found.message.starts_with("The node was low on resource: memory."));

    // Without any condition, when its status was written.
    let mut short = mk_running();
    (short["status"]["phase"], short["status"]["reason"]) = (json!("Failed"), json!("Evicted"));
    short["status"]["conditions"][2]["status"] = json!("Unknown");
    short["metadata"]["managedFields"].as_array_mut().unwrap().push(json!({"manager": "m", "time": later}));
    let short: Pod = serde_json::from_value(short).unwrap();
    assert_eq!(short.into_row().unwrap().ended.unwrap().time, time(later));

    let mut refused = mk_waiting("", "");
    refused["status"] = json!({"phase": "Failed", "reason": "OutOfcpu", "startTime": later,
        "message": "Pod was rejected: Node didn't have enough resource: cpu, requested: 1000, used: 3400, capacity: 4000"});
    assert_eq!((ended(refused.clone()).reason.as_str(), ended(refused).time), ("OutOfcpu", time(later)));
}
