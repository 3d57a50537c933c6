//! How much memory the rows of pods take in the index, without a cluster: the parts of the daemon's figure in
//! `benches/calls`. Exact, the same on every machine, and quick: `cargo bench --bench heap -- rows`.

use std::sync::Arc;

use gantry::{
    domain::observed::{About, EndpointSlice, Event, Kind, Node, Pod, ReplicaSet, SlicePod, SlicePort},
    index::{self, Index, Row},
};
use jiff::Timestamp;

const APPS: usize = 50;
const REPLICAS: usize = 200;

/// Prints the bytes for each pod, kind by kind.
pub fn weigh(held: impl Fn() -> usize) {
    let index = Index::new(1);
    let now = Timestamp::UNIX_EPOCH;
    let node = |n: usize| Node {
        name: format!("node-{n}").into(),
        zone: Some(format!("zone-{}", n % 3).into()),
        ready: true,
        unschedulable: false,
    };
    index.reset_rows(index::Kind::Nodes, (0..10).map(node).collect(), now);
    index.reset_rows(index::Kind::ReplicaSets, (0..APPS).map(replica_set).collect(), now);
    let pods = || (0..APPS).flat_map(|app| (0..REPLICAS).map(move |n| pod(app, n)));
    let weighed = |what: &str, fill: &dyn Fn()| {
        let before = held();
        fill();
        println!("{what:<16}{:>6} B a pod", held().saturating_sub(before) / (APPS * REPLICAS));
    };
    weighed("pods", &|| fill(&index, index::Kind::Pods, pods().collect()));
    weighed("EndpointSlices", &|| fill(&index, index::Kind::EndpointSlices, (0..APPS).map(slice).collect()));
    weighed("two Events", &|| {
        let events = pods().flat_map(|pod| [event(&pod, "Scheduled", 1), event(&pod, "Pulled", 2)]);
        fill(&index, index::Kind::Events, events.collect());
    });
}

/// Fills the index in small portions, as watches do.
fn fill<R: Row>(index: &Index, kind: index::Kind, rows: Vec<R>) {
    let now = Timestamp::UNIX_EPOCH;
    index.reset_rows::<R>(kind, vec![], now);
    for row in rows {
        index.update_rows(vec![row], vec![], now);
    }
}

fn namespace() -> Arc<str> {
    "production".into()
}

fn set_name(app: usize) -> String {
    format!("checkout-{app}-6959569f45")
}

fn pod_name(app: usize, n: usize) -> Arc<str> {
    format!("{}-{n:05}", set_name(app)).into()
}

fn replica_set(app: usize) -> ReplicaSet {
    ReplicaSet {
        namespace: namespace(),
        name: set_name(app).into(),
        deployment: format!("checkout-{app}").into(),
        template_revision: 1,
        template: 0,
        revision: Some(1),
        created: Timestamp::UNIX_EPOCH,
        create_failure: None,
        ports: vec![],
    }
}

fn pod(app: usize, n: usize) -> Pod {
    Pod {
        namespace: namespace(),
        name: pod_name(app, n),
        replica_set: set_name(app).into(),
        node: Some(format!("node-{}", n % 10).into()),
        address: Some(std::net::Ipv4Addr::LOCALHOST.into()),
        created: Timestamp::UNIX_EPOCH,
        deleting: false,
        ready: true,
        ready_changed: Some(Timestamp::UNIX_EPOCH),
        was_ready: false,
        once_ready: false,
        running: true,
        restarts: 0,
        own_restarts: 0,
        stop: None,
        waits: None,
        ended: None,
        trouble: None,
    }
}

fn slice(app: usize) -> EndpointSlice {
    let pod = |n| SlicePod {
        name: pod_name(app, n),
        zone: Some(format!("zone-{}", n % 3).into()),
        ready: true,
        serving: true,
        terminating: false,
    };
    EndpointSlice {
        namespace: namespace(),
        name: format!("checkout-{app}-x7k2p").into(),
        ports: vec![SlicePort { name: "http".to_owned(), number: 8080 }],
        pods: (0..REPLICAS).map(pod).collect(),
    }
}

fn event(pod: &Pod, reason: &str, n: usize) -> Event {
    Event {
        id: format!("{}.18a3f0b2c4d5e6{n:02}", pod.name).into(),
        about: About { namespace: pod.namespace.clone(), kind: Kind::Pod, name: (*pod.name).into() },
        container: Some("app".into()),
        warning: false,
        reason: reason.into(),
        note: format!("Successfully assigned {}/{} to node-3", pod.namespace, pod.name).into(),
        count: 1,
        time: Timestamp::UNIX_EPOCH,
        version: 0,
    }
}
