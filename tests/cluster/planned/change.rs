//! Random changes of an app, as callers might want them.

use std::collections::BTreeMap;

use gantry::pb;

use super::REFUSED;
use crate::support::{Env, Numbers, annotate, web};

/// The paths to draw from. A path that is listed twice is drawn twice as often.
const DRAWN: [&str; 21] = [
    "spec.image",
    "spec.image",
    "spec.env",
    "spec.env",
    "spec.ports",
    "spec.ports",
    "spec.resources",
    "spec.replicas",
    "spec.replicas",
    "spec.probes",
    "spec.rollout_policy",
    "spec.rollout_policy",
    "labels",
    "annotations",
    "spec.termination_grace",
    "spec.security_profile",
    "spec.pod_template_patch",
    "spec.volumes",
    "spec.placement",
    "spec.args",
    "",
];

/// The desired state of an app, as its callers give it.
#[derive(Clone)]
pub struct Desired {
    spec: pb::AppSpec,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

fn some_of(numbers: &mut Numbers, keys: &[&str], values: &[&str]) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for key in keys {
        if numbers.percent(50) {
            all.insert((*key).to_owned(), numbers.of(values).to_owned());
        }
    }
    all
}

fn seconds(n: i32) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds: n.into(), nanos: 0 })
}

fn ports(numbers: &mut Numbers) -> Vec<pb::Port> {
    let mut all = Vec::new();
    for (name, number) in [("http", 8080), ("admin", 9090), ("rpc", 7070)] {
        if numbers.percent(45) {
            let protocol = numbers.of(&[
                pb::Protocol::Unspecified,
                pb::Protocol::Tcp,
                pb::Protocol::Http,
                pb::Protocol::Grpc,
            ]);
            let number = number + numbers.small(2);
            all.push(pb::Port { name: name.into(), number, protocol: protocol.into() });
        }
    }
    all
}

fn probe(numbers: &mut Numbers, ports: &[pb::Port]) -> Option<pb::Probe> {
    use pb::probe::Check;
    let port = ports.first().map(|port| port.name.clone());
    let check = match (numbers.below(5), port) {
        (0, _) => return None,
        (1, _) => Check::None(pb::NoProbe {}),
        (2, Some(port)) => Check::TcpPort(port),
        (3, Some(port)) => Check::HttpGet(pb::HttpGet { port, path: numbers.of(&["", "/ready"]).into() }),
        (_, _) => Check::Exec(pb::Exec { command: vec![numbers.of(&["true", "ls"]).into()] }),
    };
    let only_off = matches!(check, Check::None(_));
    let period = seconds(numbers.of(&[5, 10])).filter(|_| !only_off);
    Some(pb::Probe { check: Some(check), period, ..Default::default() })
}

fn policy(numbers: &mut Numbers) -> Option<pb::RolloutPolicy> {
    let strategy = match numbers.below(4) {
        0 => return None,
        1 => {
            let strategy = pb::Strategy::Recreate.into();
            return Some(pb::RolloutPolicy { strategy, ..Default::default() });
        }
        _ => pb::Strategy::Rolling,
    };
    Some(pb::RolloutPolicy {
        max_surge: numbers.of(&["", "1", "2", "50%"]).into(),
        max_unavailable: numbers.of(&["", "1", "30%"]).into(),
        strategy: strategy.into(),
        progress_timeout: seconds(numbers.of(&[300, 600])),
        ..Default::default()
    })
}

fn volumes(numbers: &mut Numbers) -> Vec<pb::Volume> {
    use pb::volume::Source;
    let mut all = Vec::new();
    for path in ["/cache", "/etc/app.d", "/run/x"] {
        if numbers.percent(40) {
            let source = match numbers.below(3) {
                0 => Source::EmptyDir(pb::EmptyDir {
                    size_limit: numbers.of(&["", "10Mi"]).into(),
                    in_memory: numbers.percent(50),
                }),
                1 => Source::ConfigMap(pb::Files {
                    name: "config".into(),
                    optional: true,
                    ..Default::default()
                }),
                _ => Source::Secret(pb::Files { name: numbers.of(&["a", "b"]).into(), ..Default::default() }),
            };
            all.push(pb::Volume {
                mount_path: path.into(),
                source: Some(source),
                read_only: numbers.percent(30),
            });
        }
    }
    all
}

fn placement(numbers: &mut Numbers) -> Option<pb::Placement> {
    let spread = |key: &str, required| pb::Spread { topology_key: key.into(), max_skew: 1, required };
    numbers.percent(70).then(|| pb::Placement {
        node_selector: some_of(numbers, &["disk", "example.com/zone"], &["a", "b"]),
        tolerations: if numbers.percent(50) {
            vec![pb::Toleration {
                key: "gpu".into(),
                value: numbers.of(&["", "x"]).into(),
                effect: String::new(),
            }]
        } else {
            Vec::new()
        },
        spread: if numbers.percent(50) {
            vec![spread("topology.kubernetes.io/zone", numbers.percent(50))]
        } else {
            Vec::new()
        },
        ..Default::default()
    })
}

fn resources(numbers: &mut Numbers) -> Option<pb::Resources> {
    numbers.percent(80).then(|| pb::Resources {
        requests: some_of(numbers, &["cpu", "memory"], &["1", "1000m"]),
        limits: some_of(numbers, &["cpu", "memory"], &["2", "2000m"]),
    })
}

fn probes(numbers: &mut Numbers, ports: &[pb::Port]) -> Option<pb::Probes> {
    numbers.percent(80).then(|| pb::Probes {
        readiness: probe(numbers, ports),
        liveness: probe(numbers, ports),
        startup: None,
    })
}

fn labels(numbers: &mut Numbers) -> BTreeMap<String, String> {
    let mut labels = some_of(numbers, &["team", "a.b/tier"], &["x", "y"]);
    if numbers.percent(40) {
        let what = numbers.of(&["deployments", "services", "poddisruptionbudgets"]);
        labels.insert(REFUSED.to_owned(), what.to_owned());
    }
    labels
}

impl Desired {
    pub fn new() -> Self {
        Self { spec: web(), labels: BTreeMap::new(), annotations: BTreeMap::new() }
    }

    /// The next desired state, and the paths of the fields that differ.
    pub fn next(&self, numbers: &mut Numbers) -> (Self, Vec<&'static str>) {
        let mut next = self.clone();
        // The step after a refused label only removes that label.
        if next.labels.remove(REFUSED).is_some() {
            return (next, vec!["labels"]);
        }
        let mut paths = Vec::new();
        // Four steps in ten change one field, and one in ten changes nothing.
        for _ in 0..numbers.of(&[0, 1, 1, 1, 1, 2, 2, 2, 3, 4]) {
            let path = next.draw(numbers);
            if !path.is_empty() && !paths.contains(&path) {
                paths.push(path);
            }
        }
        (next, paths)
    }

    /// Changes one random field and returns its path. An empty path means that nothing is changed.
    fn draw(&mut self, numbers: &mut Numbers) -> &'static str {
        let path = numbers.of(&DRAWN);
        let spec = &mut self.spec;
        match path {
            "spec.image" => spec.image = numbers.of(&["web:1", "web:2", "web", "a.b/team/web:1"]).into(),
            "spec.env" => spec.env = some_of(numbers, &["A", "B", "C"], &["1", "2", "x.y"]),
            "spec.ports" => {
                spec.ports = ports(numbers);
                // A probe may name a port, so it is removed with the ports.
                spec.probes = None;
            }
            "spec.resources" => spec.resources = resources(numbers),
            "spec.replicas" => spec.replicas = numbers.percent(80).then(|| numbers.small(6)),
            "spec.probes" => spec.probes = probes(numbers, &spec.ports),
            "spec.rollout_policy" => spec.rollout_policy = policy(numbers),
            "labels" => self.labels = labels(numbers),
            "annotations" => self.annotations = some_of(numbers, &["note", "a.b/note"], &["x", "y"]),
            "spec.termination_grace" => {
                spec.termination_grace =
                    numbers.percent(70).then(|| seconds(20 + numbers.small(3))).flatten();
                spec.drain_delay = None;
            }
            "spec.security_profile" => {
                spec.security_profile =
                    numbers.of(&[pb::SecurityProfile::Unspecified, pb::SecurityProfile::Restricted]).into();
            }
            "spec.pod_template_patch" => {
                let note = numbers.of(&["x", "y"]);
                spec.pod_template_patch = numbers.percent(70).then(|| annotate("example.com/note", note));
            }
            "spec.volumes" => spec.volumes = volumes(numbers),
            "spec.placement" => spec.placement = placement(numbers),
            "spec.args" => {
                let count = usize::try_from(numbers.below(3)).unwrap();
                spec.args = ["a", "b"].iter().take(count).map(|a| (*a).into()).collect();
            }
            _ => {}
        }
        path
    }

    /// A deploy of this state. Its mask is absent, names the changed paths, or is `*`.
    pub fn request(
        &self,
        env: &Env,
        app: &str,
        paths: &[&str],
        numbers: &mut Numbers,
    ) -> pb::DeployAppRequest {
        let app = pb::App {
            name: env.name(app),
            spec: Some(self.spec.clone()),
            labels: self.labels.clone(),
            annotations: self.annotations.clone(),
            ..Default::default()
        };
        let mask = match numbers.below(10) {
            0..3 => None,
            3..7 if !paths.is_empty() => Some(paths.to_vec()),
            _ => Some(vec!["*"]),
        };
        let update_mask = mask
            .map(|paths| prost_types::FieldMask { paths: paths.iter().map(|p| (*p).to_owned()).collect() });
        let (force, adopt) = (numbers.percent(35), numbers.percent(70));
        pb::DeployAppRequest { app: Some(app), update_mask, force, adopt, ..Default::default() }
    }
}
