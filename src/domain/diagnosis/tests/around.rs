//! Causes outside the container: volumes, and nodes that do not answer.

use super::*;

fn mk_starting() -> Pod {
    Pod { running: false, node: Some("node-1".into()), ..mk_pod("shop-1-a") }
}

#[test]
fn a_volume_that_does_not_come_is_told_from_one_that_cannot_be_filled() {
    let set_up = "MountVolume.SetUp failed for volume \"conf\" : ";
    let waits = "Unable to attach or mount volumes: unmounted volumes=[conf], unattached volumes=[], failed to process volumes=[]: timed out waiting for the condition";
    for (reason, note, expected, fatal, words) in [
        (
            "FailedMount",
            format!("{set_up}configmap \"shop\" not found"),
            Reason::ConfigMissing,
            true,
            "filled: configmap \"shop\" not found",
        ),
        (
            "FailedMount",
            format!("{set_up}references non-existent config key: a.yaml"),
            Reason::ConfigMissing,
            true,
            "non-existent config key: a.yaml",
        ),
        (
            "FailedMount",
            format!("{set_up}failed to sync configmap cache: timed out waiting for the condition"),
            Reason::VolumeFailed,
            false,
            "failed to sync",
        ),
        (
            "FailedMount",
            format!("{set_up}mount failed: exit status 32"),
            Reason::VolumeFailed,
            false,
            "exit status 32",
        ),
        (
            "FailedAttachVolume",
            "Multi-Attach error for volume \"pvc-1\"".to_owned(),
            Reason::VolumeFailed,
            false,
            "Multi-Attach",
        ),
    ] {
        // The later event reports only that the pod waits.
        let problem =
            the_one(mk_starting(), &[mk_event(1, reason, &note), mk_event(2, "FailedMount", waits)]);
        assert_eq!((problem.reason, problem.fatal), (expected, fatal), "{}", problem.message);
        assert!(problem.message.contains(words), "{}", problem.message);
    }
    let problem = the_one(mk_starting(), &[mk_event(2, "FailedMount", waits)]);
    assert_eq!((problem.reason, problem.fatal), (Reason::VolumeFailed, false));
    for (pod, events) in
        [(mk_starting(), vec![]), (mk_pod("shop-1-a"), vec![mk_event(1, "FailedMount", waits)])]
    {
        assert_eq!(
            diagnosed(&mk_deployment(), &[pod], &events),
            [],
            "it is on its way, or got it in the end"
        );
    }
    for claim in [
        "0/3 nodes are available: persistentvolumeclaim \"data\" not found. not found",
        "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found",
    ] {
        let problem = the_one(mk_troubled(TroubleKind::Unschedulable, "Unschedulable", claim), &[]);
        assert_eq!((problem.reason, problem.fatal), (Reason::VolumeFailed, false), "{claim}");
    }
}

#[test]
fn of_a_replica_on_a_lost_node_only_that_is_known() {
    for pod in [Pod { running: true, ..mk_pod("shop-1-a") }, mk_crash(9, 1, 0, "Error"), mk_starting()] {
        let lost = Pod { node: Some("lost".into()), ready_changed: Some(at(3)), ..pod.clone() };
        let problem = the_one(lost, &[mk_event(1, "Unhealthy", "Readiness probe failed: no")]);
        assert_eq!((problem.reason, problem.fatal), (Reason::NodeLost, false));
        assert!(problem.message.contains("Node lost does not answer"), "{}", problem.message);
        assert!(!is_past_grace(&problem, &Spec::default().policy(), at(0), at(99_999)), "it is replaced");
        let here = Pod { node: Some("node-1".into()), ..pod };
        assert!(diagnosed(&mk_deployment(), &[here], &[]).iter().all(|p| p.reason != Reason::NodeLost));
    }
    let ready = Pod { ready: true, node: Some("lost".into()), ..mk_pod("shop-1-a") };
    assert_eq!(diagnosed(&mk_deployment(), &[ready], &[]), [], "Kubernetes counts it as ready still");
}
