//! Arbitrary apps: every field of the contract, with values that are valid and often unusual.

use std::collections::BTreeMap;

use gantry::pb;
use prost_types::Duration;

use super::patch;
use crate::support::Numbers;

/// Every field of `App` and `AppSpec` that a caller may set, as `update_mask` names it. A field comes after
/// those that it depends on.
pub const FIELDS: [&str; 23] = [
    "labels",
    "annotations",
    "spec.image",
    "spec.replicas",
    "spec.container",
    "spec.ports",
    "spec.command",
    "spec.args",
    "spec.env",
    "spec.secret_env",
    "spec.config_map_env",
    "spec.resources",
    "spec.probes",
    "spec.rollout_policy",
    "spec.volumes",
    "spec.placement",
    "spec.service_account",
    "spec.security_profile",
    "spec.termination_grace",
    "spec.image_pull_secrets",
    "spec.drain_delay",
    "spec.traffic",
    "spec.pod_template_patch",
];

/// `ServiceAccounts` that the test makes, because a missing one fails a rollout at once.
pub const ACCOUNTS: [&str; 2] = ["web", "a.b-c"];

const TEXTS: [&str; 22] = [
    "",
    " ",
    "1.0",
    "1e3",
    "0x1F",
    "true",
    "null",
    "~",
    "2026-11-30",
    "a=b=c",
    "<a href='x?y=1&z=2'>",
    "postgres://u:p%40ss@db/x?sslmode=require&pool=5",
    "$(NONE) $$(ESCAPED) ${X}",
    "{{ .Values.x }} %s",
    "tab\tand\r\nlines\n",
    "'\"`\\",
    "\u{7f}\u{85}\u{2028}\u{feff}",
    "e\u{301} Å ß İ ı",
    "日本語 العربية",
    "👩‍👩‍👧 \u{10ffff}",
    "- a\n- b\n",
    "a: b # c",
];

/// Quantities in every notation, each list in ascending order.
const CPU: [&str; 14] = [
    "0", "1n", "100u", "1m", "0.001001", "10e-3", ".1", "250m", "5e-1", "0.75", "1.", "+1500m", "2e0", "1E1",
];
const MEMORY: [&str; 13] = [
    "0",
    "100m",
    "1",
    "1Ki",
    "1.5k",
    "1e6",
    "1.5Mi",
    "128974848",
    "129M",
    "123.5Mi",
    "+0.5Gi",
    "1E9",
    "1.25Gi",
];

pub fn text(n: &mut Numbers) -> String {
    match n.below(8) {
        0 => format!("{}{}", n.of(&TEXTS), n.of(&TEXTS)),
        _ => n.of(&TEXTS).to_owned(),
    }
}

fn texts(n: &mut Numbers, most: u64) -> Vec<String> {
    (0..n.below(most)).map(|_| text(n)).collect()
}

/// A time with or without a fraction of a second, at least `least` and at most `most` seconds.
fn duration(n: &mut Numbers, least: i64, most: i64) -> Option<Duration> {
    let seconds = match n.below(4) {
        0 => return None,
        1 => least,
        2 => most,
        _ => n.of(&[0, 1, 2, 7, 29, 30, 31, 60, 599, 600, 86_400]).clamp(least, most),
    };
    let nanos = if seconds < most { n.of(&[0, 0, 0, 1, 500_000_000, 999_999_999]) } else { 0 };
    Some(Duration { seconds, nanos })
}

fn map<T>(n: &mut Numbers, keys: &[&str], mut value: impl FnMut(&mut Numbers) -> T) -> BTreeMap<String, T> {
    let mut all = BTreeMap::new();
    for key in keys {
        if n.percent(40) {
            all.insert((*key).to_owned(), value(n));
        }
    }
    all
}

/// An app with a random value in every field.
pub fn app(n: &mut Numbers) -> pb::App {
    let mut app = pb::App { spec: Some(pb::AppSpec::default()), ..pb::App::default() };
    for field in FIELDS {
        set(&mut app, field, n);
    }
    app
}

/// Gives a field another random value, which fits those of the other fields. The value may be that of an
/// unset field.
pub fn set(app: &mut pb::App, field: &str, n: &mut Numbers) {
    let spec = app.spec.get_or_insert_default();
    match field {
        "labels" => {
            let keys = ["team", "a.example.com/Tier_1.x", "0"];
            app.labels = map(n, &keys, |n| n.of(&["", "x", "A_b.c-1", "007"]).into());
        }
        "annotations" => {
            app.annotations = map(n, &["note", "A.example.com/Note", "0", "kubernetes.io/x"], text);
        }
        "spec.image" => spec.image = image(n),
        "spec.replicas" => spec.replicas = replicas(n, spec.rollout_policy.as_ref()),
        "spec.container" => {
            let long = format!("{}z", "a-1".repeat(20));
            spec.container = n.of(&["", "", "app", "main", "0", "a--b", long.as_str()]).into();
        }
        "spec.ports" => spec.ports = ports(n, spec.probes.as_ref()),
        "spec.command" => spec.command = texts(n, 3),
        "spec.args" => spec.args = texts(n, 4),
        "spec.env" => spec.env = map(n, &["A", "B", "E.x y", "E-<&>'\"\\", "1E"], variable),
        "spec.secret_env" => spec.secret_env = map(n, &["S", "S/x:y", "AA"], key_ref),
        "spec.config_map_env" => spec.config_map_env = map(n, &["C", "0C", "AB"], key_ref),
        "spec.resources" => spec.resources = n.percent(75).then(|| resources(n)),
        "spec.probes" => {
            let ports: Vec<_> = spec.ports.iter().map(|port| port.name.clone()).collect();
            spec.probes = n.percent(75).then(|| pb::Probes {
                readiness: n.percent(60).then(|| probe(n, &ports)),
                liveness: n.percent(60).then(|| probe(n, &ports)),
                startup: n.percent(60).then(|| probe(n, &ports)),
            });
        }
        "spec.rollout_policy" => spec.rollout_policy = n.percent(75).then(|| policy(n, spec.replicas)),
        "spec.volumes" => spec.volumes = volumes(n),
        "spec.placement" => spec.placement = n.percent(60).then(|| placement(n)),
        "spec.service_account" => {
            spec.service_account = n.of(&["", "", "default", ACCOUNTS[0], ACCOUNTS[1]]).into();
        }
        "spec.security_profile" => spec.security_profile = n.small(3),
        "spec.termination_grace" => {
            // Not shorter than the time that is a part of it.
            let least = spec.drain_delay.map_or(0, |d| d.seconds + 1);
            let grace = duration(n, least, least.max(86_400));
            let fits = |g: &Duration| g.seconds >= least;
            spec.termination_grace = grace.filter(fits).or_else(|| (least > 30).then(|| seconds(least)));
        }
        "spec.image_pull_secrets" => {
            let all = ["registry", "a.b", "0"];
            spec.image_pull_secrets = all.iter().filter(|_| n.percent(40)).map(|s| (*s).into()).collect();
        }
        "spec.drain_delay" => {
            let grace = spec.termination_grace.map_or(30, |d| d.seconds);
            spec.drain_delay = duration(n, 0, grace);
        }
        "spec.traffic" => {
            spec.traffic =
                n.percent(50).then(|| pb::Traffic { timeout: duration(n, 0, 600), max_attempts: n.small(6) });
        }
        "spec.pod_template_patch" => spec.pod_template_patch = patch::any(n, spec).map(patch::to_struct),
        other => panic!("{other} is no field"),
    }
}

const fn seconds(seconds: i64) -> Duration {
    Duration { seconds, nanos: 0 }
}

fn image(n: &mut Numbers) -> String {
    let name = n.of(&["web", "a.b:5000/team/web__x", "localhost/a-b.c", "127.0.0.1:5/x/y/z", "library/web"]);
    let digest = format!("@sha256:{}", "0a".repeat(32));
    let rest = n.of(&["", ":1", ":latest", ":V_1.2-x", digest.as_str(), ":1@sha256:"]);
    if rest.ends_with(':') { format!("{name}:1{digest}") } else { format!("{name}{rest}") }
}

/// A rollout that fails is a reason for a new one, so an app whose policy fails it soon has no replicas.
fn replicas(n: &mut Numbers, policy: Option<&pb::RolloutPolicy>) -> Option<i32> {
    if policy.is_some_and(is_impatient) { Some(0) } else { n.of(&[None, Some(0), Some(1), Some(2), Some(3)]) }
}

/// Whether a rollout may fail within this test, which lets no pod start.
pub fn is_impatient(policy: &pb::RolloutPolicy) -> bool {
    let soon = |time: Option<Duration>| time.is_some_and(|d| d.seconds < 120);
    soon(policy.progress_timeout) || soon(policy.transient_grace)
}

fn ports(n: &mut Numbers, probes: Option<&pb::Probes>) -> Vec<pb::Port> {
    let named = |probe: &pb::Probe| match &probe.check {
        Some(pb::probe::Check::HttpGet(get)) => Some(get.port.clone()),
        Some(pb::probe::Check::Grpc(grpc)) => Some(grpc.port.clone()),
        Some(pb::probe::Check::TcpPort(port)) => Some(port.clone()),
        _ => None,
    };
    let probes = probes.iter().flat_map(|p| [&p.readiness, &p.liveness, &p.startup]).flatten();
    let needed: Vec<_> = probes.filter_map(named).collect();
    let mut names = vec!["http".to_owned(), "a".into(), "fifteen-1etters".into(), "x-1-y".into()];
    if n.percent(5) || needed.iter().any(|name| name.starts_with('p')) {
        names.extend((0..28).map(|i| format!("p{i}")));
    }
    let numbers = [8080, 1, 65_535, 443];
    let mut all = Vec::new();
    for (i, name) in names.into_iter().enumerate() {
        if needed.contains(&name) || i > 3 || n.percent(35) {
            let number = numbers.get(i).map_or_else(|| 9000 + i32::try_from(i).unwrap(), |p| *p);
            let number = if n.percent(20) { 20_000 + i32::try_from(i).unwrap() } else { number };
            all.push(pb::Port { name, number, protocol: n.small(4) });
        }
    }
    all
}

fn variable(n: &mut Numbers) -> String {
    if n.percent(25) { n.of(&["$(A)", "x$(B)y", "$(S)", "$$(A)", "$("]).into() } else { text(n) }
}

fn key_ref(n: &mut Numbers) -> pb::KeyRef {
    pb::KeyRef {
        name: n.of(&["web", "a.b-c", "0"]).into(),
        key: n.of(&["k", ".x", "A_b.c-1"]).into(),
        optional: n.percent(50),
    }
}

fn resources(n: &mut Numbers) -> pb::Resources {
    let mut found = pb::Resources::default();
    for (name, all) in [("cpu", &CPU[..]), ("memory", &MEMORY), ("ephemeral-storage", &MEMORY)] {
        // Positions in ascending order.
        let (a, b) = (n.below(all.len() as u64), n.below(all.len() as u64));
        let at = |i: u64| all[usize::try_from(i).unwrap()].to_owned();
        if n.percent(50) {
            found.requests.insert(name.into(), at(a.min(b)));
        }
        if n.percent(50) {
            found.limits.insert(name.into(), at(a.max(b)));
        }
    }
    if n.percent(20) {
        // Of such a resource both are the same number.
        let (request, limit) = n.of(&[("1", "1"), ("2", "2e0"), ("+3", "3000m")]);
        found.requests.insert("example.com/Gpu_1".into(), request.into());
        found.limits.insert("example.com/Gpu_1".into(), limit.into());
    }
    if n.percent(10) && found.requests.contains_key("cpu") {
        found.requests.insert("hugepages-2Mi".into(), "4Mi".into());
        found.limits.insert("hugepages-2Mi".into(), n.of(&["4Mi", "4096Ki", "4194304"]).into());
    }
    if found == pb::Resources::default() {
        // The contract takes none that is empty.
        found.limits.insert("cpu".into(), n.of(&["1", "1000m"]).into());
    }
    found
}

fn probe(n: &mut Numbers, ports: &[String]) -> pb::Probe {
    use pb::probe::Check;
    let port = (!ports.is_empty()).then(|| {
        let i = usize::try_from(n.below(ports.len() as u64)).unwrap();
        ports[i].clone()
    });
    let check = match (n.below(5), port) {
        (0, _) => Check::None(pb::NoProbe {}),
        (1, Some(port)) => {
            let path = n.of(&["", "/", "/ready?x=1&y=<2>", "/ü b#c", "//a/../b"]).into();
            Check::HttpGet(pb::HttpGet { port, path })
        }
        (2, Some(port)) => Check::Grpc(pb::GrpcHealth { port, service: text(n) }),
        (3, Some(port)) => Check::TcpPort(port),
        _ => {
            let mut command = vec!["/bin/true".to_owned()];
            command.extend(texts(n, 3));
            Check::Exec(pb::Exec { command })
        }
    };
    pb::Probe {
        check: Some(check),
        period: duration(n, 0, 2_147_483_647),
        timeout: duration(n, 0, 600),
        failure_threshold: n.of(&[0, 0, 1, 3, 7, i32::MAX]),
        initial_delay: duration(n, 0, 2_147_483_647),
    }
}

fn policy(n: &mut Numbers, replicas: Option<i32>) -> pb::RolloutPolicy {
    let (max_surge, max_unavailable) = n.of(&[
        ("", ""),
        ("0", "1"),
        ("0%", "100%"),
        ("00000", "050%"),
        ("1", "0"),
        ("200%", "000%"),
        ("999%", "007"),
        ("99999", "99999"),
        ("", "30%"),
        ("01", ""),
        ("25%", "0"),
    ]);
    // See `replicas`.
    let least = if replicas == Some(0) { 1 } else { 120 };
    pb::RolloutPolicy {
        max_surge: max_surge.into(),
        max_unavailable: max_unavailable.into(),
        strategy: n.small(3),
        progress_timeout: duration(n, least, 2_147_483_647),
        verdict: n.small(3),
        tolerated_restarts: n.of(&[None, Some(0), Some(2), Some(i32::MAX)]),
        on_failure: n.small(3),
        transient_grace: duration(n, least.min(120), 2_147_483_647),
    }
}

fn volumes(n: &mut Numbers) -> Vec<pb::Volume> {
    use pb::volume::Source;
    let mut all = Vec::new();
    for path in ["/", "/etc/app.d/", "/a/./b//c", "/ü b/<&>", "/run/x", "/run/x/y"] {
        if n.percent(30) {
            let name = n.of(&["web", "a.b-c", "0"]).to_owned();
            let items =
                map(n, &["k", ".x", "A_b"], |n| n.of(&["x", "a/b.c", "a/./ü", "..x/y", "a b"]).into());
            let items: BTreeMap<_, String> =
                items.into_iter().filter(|(_, path): &(String, String)| !path.starts_with("..")).collect();
            let files = pb::Files { name: name.clone(), items, optional: n.percent(50) };
            let dir = pb::EmptyDir {
                size_limit: if n.percent(50) { n.of(&MEMORY).to_owned() } else { String::new() },
                in_memory: n.percent(50),
            };
            let source = match n.below(4) {
                0 => Source::ConfigMap(files),
                1 => Source::Secret(files),
                2 => Source::Claim(name),
                _ => Source::EmptyDir(dir),
            };
            let volume =
                pb::Volume { mount_path: path.into(), source: Some(source), read_only: n.percent(40) };
            all.push(volume);
        }
    }
    all
}

fn placement(n: &mut Numbers) -> pb::Placement {
    let mut tolerations = Vec::new();
    for _ in 0..n.below(4) {
        let key = n.of(&["", "gpu", "example.com/Spot_1"]);
        let value = if key.is_empty() { "" } else { n.of(&["", "x", "A_b.c"]) };
        let effect = n.of(&["", "NoSchedule", "PreferNoSchedule", "NoExecute"]);
        tolerations.push(pb::Toleration { key: key.into(), value: value.into(), effect: effect.into() });
    }
    let mut spread = Vec::new();
    for topology_key in ["topology.kubernetes.io/zone", "kubernetes.io/hostname", "rack_1.x"] {
        for required in [false, true] {
            if n.percent(20) {
                let max_skew = n.of(&[0, 1, 2, i32::MAX]);
                spread.push(pb::Spread { topology_key: topology_key.into(), max_skew, required });
            }
        }
    }
    pb::Placement {
        node_selector: map(n, &["disk", "example.com/Zone_1"], |n| n.of(&["", "a", "A_b.c-1"]).into()),
        tolerations,
        spread,
        // Classes that every cluster has.
        priority_class: n.of(&["", "", "system-cluster-critical", "system-node-critical"]).into(),
    }
}
