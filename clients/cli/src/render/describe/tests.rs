//! The description of one app and of the daemon.

use super::*;
use crate::render::{outcome::mk_rollout, problem::mk_problem};

#[test]
fn an_app_is_shown_with_its_problems() {
    let port = v1::Port { name: "http".into(), number: 80, protocol: v1::Protocol::Http.into() };
    let shown = v1::App {
        name: "namespaces/prod/apps/shop".into(),
        spec: Some(v1::AppSpec { image: "shop:9".into(), ports: vec![port], ..Default::default() }),
        status: Some(v1::AppStatus {
            state: v1::AppState::Degraded.into(),
            message: "3 old replicas serve".into(),
            desired_replicas: 3,
            ready_replicas: 3,
            current_replicas: 4,
            problems: vec![v1::Problem {
                start_time: Some(prost_types::Timestamp { seconds: 88, nanos: 0 }),
                ..mk_problem()
            }],
            rollout: "namespaces/prod/apps/shop/rollouts/3".into(),
            managed_by: "gantry".into(),
            ..Default::default()
        }),
        etag: "e1".into(),
        create_time: Some(prost_types::Timestamp { seconds: 40, nanos: 0 }),
        ..Default::default()
    };
    let mut rollout = mk_rollout(v1::RolloutState::Failed, 0, 3);
    rollout.reason = "a new look".into();
    let error =
        v1::RolloutError { reason: "IMAGE_PULL_FAILED".into(), message: "no such tag".into(), problem: None };
    rollout.error = Some(error);
    assert_eq!(
        app(&shown, Some(&rollout), 100, Paint::default()),
        [
            "Name:        namespaces/prod/apps/shop",
            "State:       DEGRADED",
            "Message:     3 old replicas serve",
            "Replicas:    3 of 3 ready, 0 updated, 4 in all",
            "Image:       shop:9",
            "Ports:       http=80/http",
            "Rollout:     3 FAILED (IMAGE_PULL_FAILED): no such tag; deployed because: a new look",
            "Managed by:  gantry",
            "Age:         60s",
            "Etag:        e1",
            "Problems:",
            "IMAGE_PULL_FAILED: shop:9 does not exist in its registry (1 replica, pod/shop-7d4-x2x) for 12s",
            "  remedy:   Push the tag, or deploy one that exists.",
            "  event:    Failed: manifest unknown",
            "  log:      last words",
        ]
    );
    assert_eq!(app(&shown, None, 100, Paint::default())[6], "Rollout:     3");
}

#[test]
fn whoever_owns_the_count_is_named() {
    let mk_owner = |kind: v1::ReplicaOwnerKind, owner: &str| v1::ReplicaOwner {
        kind: kind.into(),
        owner: owner.into(),
        hold_end_time: (kind == v1::ReplicaOwnerKind::Hold)
            .then_some(prost_types::Timestamp { seconds: 0, nanos: 7 }),
        reason: "sale".into(),
    };
    for (kind, name, shown) in [
        (v1::ReplicaOwnerKind::Caller, "", "set by callers (sale)"),
        (v1::ReplicaOwnerKind::Caller, "kubectl-scale", "set by callers, last by kubectl-scale (sale)"),
        (
            v1::ReplicaOwnerKind::Hold,
            "eve",
            "held until 1970-01-01T00:00:00Z by eve (sale), then set by the autoscaler",
        ),
        (v1::ReplicaOwnerKind::Foreign, "hpa/shop", "set by hpa/shop, not managed by Gantry (sale)"),
        (v1::ReplicaOwnerKind::Autoscaler, "", "set by the autoscaler (sale)"),
    ] {
        assert_eq!(owner(&mk_owner(kind, name)), shown);
    }
}

#[test]
fn the_oldest_news_counts() {
    let age = |seconds| prost_types::Duration { seconds, nanos: 0 };
    let info = v1::GetServerInfoResponse {
        version: "0.1.0".into(),
        cache_ages: [("Pod".into(), age(1)), ("Deployment".into(), age(7))].into(),
        warnings: vec!["may not list nodes".into()],
        ..Default::default()
    };
    let settings = [("Server", "127.0.0.1:7420 (by default)".to_owned())];
    let lines = server(&settings, &info, Paint::default());
    assert_eq!(lines[0], "Server:      127.0.0.1:7420 (by default)");
    assert!(lines.contains(&"Heard from:  Deployment 7.0 s, Pod 1.0 s".to_owned()), "{lines:?}");
    assert!(
        lines.contains(&"Freshness:   all 2 kinds heard from within 7.0 s (Deployment)".to_owned()),
        "{lines:?}"
    );
    assert_eq!(lines.last().map(String::as_str), Some("warning: may not list nodes"));
}

#[test]
fn a_rollout_is_shown_with_what_it_changed_and_how_it_failed() {
    let mut shown = mk_rollout(v1::RolloutState::Failed, 0, 3);
    shown.cause = v1::RolloutCause::Deploy.into();
    shown.actor = "ann".into();
    shown.start_time = Some(prost_types::Timestamp { seconds: 40, nanos: 0 });
    shown.changes = vec![v1::Change {
        object: "deployment.apps/shop".into(),
        action: v1::ChangeAction::Update.into(),
        path: "spec.image".into(),
        old_value: "\"shop:8\"".into(),
        new_value: "\"shop:9\"".into(),
        restarts_replicas: true,
        after_success: false,
    }];
    shown.error = Some(v1::RolloutError {
        reason: "IMAGE_PULL_FAILED".into(),
        message: "no such tag".into(),
        problem: Some(mk_problem()),
    });
    let replica =
        v1::Replica { pod: "shop-x".into(), state: v1::ReplicaState::Failing.into(), ..Default::default() };
    shown.failure =
        Some(v1::Failure { replicas: vec![replica], events: vec!["Failed: x".into()], ..Default::default() });
    let text = rollout(&shown, 100, Paint::default()).join("\n");
    for line in [
        "State:       FAILED",
        "Cause:       DEPLOY",
        "Actor:       ann",
        "Started:     60s ago",
        "  ~ deployment.apps/shop",
        "      ~ spec.image: \"shop:8\" -> \"shop:9\"  (replaces the replicas)",
        "IMAGE_PULL_FAILED: no such tag",
        "  remedy:   Push the tag, or deploy one that exists.",
        "  shop-x   FAILING",
        "  Failed: x",
    ] {
        assert!(text.lines().any(|shown| shown.starts_with(line)), "{line} is missing in:\n{text}");
    }
}
