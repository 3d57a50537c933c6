//! Rows for tests: one settled app, of which a test changes the fields that it is about.

use jiff::Timestamp;

use super::{Deployment, Pod, ReplicaSet};
use crate::domain::{name, scaling::Scaling, spec::Spec};

/// The clock of tests: so many seconds after a fixed moment.
pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_323_045 + second).unwrap()
}

/// A Deployment with one replica, which is ready. Its template is that of [`replica_set`].
pub(crate) fn deployment(name: name::App) -> Deployment {
    Deployment {
        name,
        uid: "u".into(),
        resource_version: 1,
        labels: [].into(),
        revision: None,
        template_revision: 1,
        template: 0,
        generation: 1,
        observed_generation: 1,
        desired: 1,
        current: 1,
        updated: 1,
        ready: 1,
        available: 1,
        stalled: None,
        completed: None,
        progressed: None,
        create_failure: None,
        deadline: None,
        template_by: None,
        count_by: None,
        scaling: Scaling::default(),
        paused: false,
        created: at(0),
        deleting: false,
        orphans: false,
        spec: Spec::default(),
        unmodelled: Vec::new(),
    }
}

/// The first ReplicaSet of a Deployment.
pub(crate) fn replica_set(namespace: &str, deployment: &str, name: &str) -> ReplicaSet {
    ReplicaSet {
        namespace: namespace.into(),
        name: name.into(),
        deployment: deployment.into(),
        template_revision: 1,
        template: 0,
        revision: Some(1),
        created: at(0),
        create_failure: None,
        ports: Vec::new(),
    }
}

/// A pod of a ReplicaSet that runs and is ready.
pub(crate) fn pod(namespace: &str, replica_set: &str, name: &str) -> Pod {
    Pod {
        namespace: namespace.into(),
        name: name.into(),
        replica_set: replica_set.into(),
        node: None,
        address: None,
        created: at(0),
        deleting: false,
        ready: true,
        ready_changed: None,
        was_ready: false,
        once_ready: false,
        running: true,
        restarts: 0,
        own_restarts: 0,
        stop: None,
        trouble: None,
        waits: None,
        ended: None,
    }
}
