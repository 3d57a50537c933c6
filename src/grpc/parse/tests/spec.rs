//! Tests of the rules of `AppSpec` about variables, probes, volumes, placement and accounts.

use std::collections::BTreeMap;

use super::{Change, mk_duration, mk_map, mk_request, parse_deploy, parsed, wrong};
use crate::domain::caller::Caller;
use crate::{
    domain::spec::SecurityProfile,
    pb::{self, probe::Check, volume::Source},
};

fn placement(spec: &mut pb::AppSpec) -> &mut pb::Placement {
    spec.placement.get_or_insert_default()
}

fn probes(spec: &mut pb::AppSpec) -> &mut pb::Probes {
    spec.probes.get_or_insert_default()
}

fn mk_ref(variable: &str, name: &str, key: &str) -> BTreeMap<String, pb::KeyRef> {
    let reference = pb::KeyRef { name: name.into(), key: key.into(), optional: false };
    [(variable.to_owned(), reference)].into()
}

fn mk_probe(check: Check) -> pb::Probe {
    pb::Probe { check: Some(check), ..pb::Probe::default() }
}

fn none() -> Check {
    Check::None(pb::NoProbe {})
}

fn http(port: &str, path: &str) -> Check {
    Check::HttpGet(pb::HttpGet { port: port.into(), path: path.into() })
}

fn mounted(source: Source) -> pb::Volume {
    pb::Volume { mount_path: "/data".into(), source: Some(source), read_only: false }
}

fn mk_volume(path: &str) -> pb::Volume {
    pb::Volume { mount_path: path.into(), ..mounted(Source::Claim("data".into())) }
}

fn mk_files(key: &str, path: &str) -> pb::Files {
    pb::Files { name: "shop".into(), items: mk_map(key, path), optional: false }
}

fn mk_toleration(key: &str, value: &str, effect: &str) -> pb::Toleration {
    pb::Toleration { key: key.into(), value: value.into(), effect: effect.into() }
}

fn mk_spread(key: &str, max_skew: i32) -> pb::Spread {
    pb::Spread { topology_key: key.into(), max_skew, required: false }
}

#[test]
fn every_rule_names_the_field_that_breaks_it() {
    #[rustfmt::skip] // a rule is a line
    let rules: &[(Change, &str)] = &[
        (|_, s| s.env = mk_map("Ä", "x"), "app.spec.env[Ä]"),
        (|_, s| s.secret_env = mk_ref("A=", "s", "k"), "app.spec.secret_env[A=]"),
        (|_, s| s.secret_env = mk_ref("A", "", "k"), "app.spec.secret_env[A].name"),
        (|_, s| s.secret_env = mk_ref("A", "S", "k"), "app.spec.secret_env[A].name"),
        (|_, s| s.secret_env = mk_ref("A", "s", ""), "app.spec.secret_env[A].key"),
        (|_, s| s.config_map_env = mk_ref("", "s", "k"), "app.spec.config_map_env[]"),
        (|_, s| s.config_map_env = mk_ref("A", "a/b", "k"), "app.spec.config_map_env[A].name"),
        (|_, s| s.config_map_env = mk_ref("A", "s", "a/b"), "app.spec.config_map_env[A].key"),
        (|_, s| s.config_map_env = mk_ref("A", "s", ".."), "app.spec.config_map_env[A].key"),
        (|_, s| probes(s).readiness = Some(pb::Probe::default()), "app.spec.probes.readiness.check"),
        (|_, s| probes(s).liveness = Some(mk_probe(http("p", "x"))), "app.spec.probes.liveness.http_get.path"),
        (|_, s| probes(s).startup = Some(mk_probe(Check::Exec(pb::Exec::default()))), "app.spec.probes.startup.exec.command"),
        (|_, s| probes(s).startup = Some(pb::Probe { failure_threshold: -1, ..mk_probe(none()) }), "app.spec.probes.startup.failure_threshold"),
        (|_, s| probes(s).readiness = Some(pb::Probe { period: Some(mk_duration(-1)), ..mk_probe(none()) }), "app.spec.probes.readiness.period"),
        (|_, s| probes(s).readiness = Some(pb::Probe { timeout: Some(mk_duration(-1)), ..mk_probe(none()) }), "app.spec.probes.readiness.timeout"),
        (|_, s| probes(s).readiness = Some(pb::Probe { initial_delay: Some(mk_duration(-1)), ..mk_probe(none()) }), "app.spec.probes.readiness.initial_delay"),
        (|_, s| s.volumes = vec![pb::Volume { mount_path: "/a".into(), ..pb::Volume::default() }], "app.spec.volumes[0].source"),
        (|_, s| s.volumes = vec![mk_volume("data")], "app.spec.volumes[0].mount_path"),
        (|_, s| s.volumes = vec![mk_volume("")], "app.spec.volumes[0].mount_path"),
        (|_, s| s.volumes = vec![mk_volume("/a:b")], "app.spec.volumes[0].mount_path"),
        (|_, s| s.volumes = vec![mk_volume("/a/../b")], "app.spec.volumes[0].mount_path"),
        (|_, s| s.volumes = vec![mk_volume("/a"), mk_volume("/a/")], "app.spec.volumes[1].mount_path"),
        (|_, s| s.volumes = vec![mounted(Source::Claim(String::new()))], "app.spec.volumes[0].claim"),
        (|_, s| s.volumes = vec![mounted(Source::ConfigMap(pb::Files::default()))], "app.spec.volumes[0].config_map.name"),
        (|_, s| s.volumes = vec![mounted(Source::Secret(mk_files("k", "/abs")))], "app.spec.volumes[0].secret.items[k]"),
        (|_, s| s.volumes = vec![mounted(Source::Secret(mk_files("k", "../up")))], "app.spec.volumes[0].secret.items[k]"),
        (|_, s| s.volumes = vec![mounted(Source::Secret(mk_files("k", "")))], "app.spec.volumes[0].secret.items[k]"),
        (|_, s| s.volumes = vec![mounted(Source::Secret(mk_files("a/b", "f")))], "app.spec.volumes[0].secret.items[a/b]"),
        (|_, s| s.volumes = vec![mounted(Source::EmptyDir(pb::EmptyDir { size_limit: "big".into(), in_memory: false }))], "app.spec.volumes[0].empty_dir.size_limit"),
        (|_, s| placement(s).node_selector = mk_map("a b", "x"), "app.spec.placement.node_selector[a b]"),
        (|_, s| placement(s).node_selector = mk_map("a", "x y"), "app.spec.placement.node_selector[a]"),
        (|_, s| placement(s).tolerations = vec![mk_toleration("a b", "", "")], "app.spec.placement.tolerations[0].key"),
        (|_, s| placement(s).tolerations = vec![mk_toleration("", "x", "")], "app.spec.placement.tolerations[0].value"),
        (|_, s| placement(s).tolerations = vec![mk_toleration("a", "x y", "")], "app.spec.placement.tolerations[0].value"),
        (|_, s| placement(s).tolerations = vec![mk_toleration("a", "", "Never")], "app.spec.placement.tolerations[0].effect"),
        (|_, s| placement(s).spread = vec![mk_spread("", 0)], "app.spec.placement.spread[0].topology_key"),
        (|_, s| placement(s).spread = vec![mk_spread("a", -1)], "app.spec.placement.spread[0].max_skew"),
        (|_, s| placement(s).spread = vec![mk_spread("a", 1), mk_spread("a", 2)], "app.spec.placement.spread[1].topology_key"),
        (|_, s| placement(s).priority_class = "High".into(), "app.spec.placement.priority_class"),
        (|_, s| s.service_account = "Shop".into(), "app.spec.service_account"),
        (|_, s| s.image_pull_secrets = vec![String::new()], "app.spec.image_pull_secrets[0]"),
        (|_, s| s.image_pull_secrets = vec!["a".into(), "a".into()], "app.spec.image_pull_secrets[1]"),
        (|_, s| s.drain_delay = Some(mk_duration(-1)), "app.spec.drain_delay"),
        (|_, s| s.traffic = Some(pb::Traffic { timeout: Some(mk_duration(-1)), max_attempts: 0 }), "app.spec.traffic.timeout"),
        (|_, s| s.traffic = Some(pb::Traffic { timeout: None, max_attempts: 6 }), "app.spec.traffic.max_attempts"),
        (|_, s| s.traffic = Some(pb::Traffic { timeout: None, max_attempts: -1 }), "app.spec.traffic.max_attempts"),
    ];
    for (change, field) in rules {
        assert_eq!(wrong(&parse_deploy(mk_request(*change), &Caller::named("ann")).unwrap_err()), [*field]);
    }
}

#[test]
fn what_is_just_within_the_rules_is_taken() {
    let changes: &[Change] = &[
        |_, s| s.drain_delay = Some(mk_duration(0)),
        |_, s| {
            s.volumes =
                vec![mk_volume("/a"), mk_volume("/a/b"), mounted(Source::Secret(mk_files("k", "a/b")))];
        },
        |_, s| {
            placement(s).tolerations = vec![mk_toleration("", "", ""), mk_toleration("a", "b", "NoSchedule")];
        },
        |_, s| {
            placement(s).spread = vec![mk_spread("a", 0), pb::Spread { required: true, ..mk_spread("a", 0) }];
        },
        |_, s| s.secret_env = mk_ref("a.b-C", "my.secret", "tls.crt"),
        |_, s| s.traffic = Some(pb::Traffic { timeout: Some(mk_duration(0)), max_attempts: 5 }),
        // Whether the port exists is checked later, with the rest of the app.
        |_, s| probes(s).readiness = Some(mk_probe(Check::TcpPort("http".into()))),
    ];
    for (i, change) in changes.iter().enumerate() {
        assert!(parse_deploy(mk_request(*change), &Caller::named("ann")).is_ok(), "change {i}");
    }
}

#[test]
fn what_is_always_read_only_and_the_root_need_not_be_said() {
    let named = parsed(|_, spec| {
        spec.volumes = vec![pb::Volume { read_only: true, ..mounted(Source::Secret(mk_files("k", "f"))) }];
        probes(spec).liveness = Some(mk_probe(http("http", "/")));
    });
    let unset = parsed(|_, spec| {
        spec.volumes = vec![mounted(Source::Secret(mk_files("k", "f")))];
        probes(spec).liveness = Some(mk_probe(http("http", "")));
    });
    assert_eq!(named, unset);
}

// A profile that is named replaces the stored one, even if it is the default. An unset profile leaves the
// stored one unchanged.
#[test]
fn the_default_profile_named_is_a_value() {
    let profile = |profile: pb::SecurityProfile| {
        let mut request = mk_request(|_, _| {});
        super::app(&mut request).spec.as_mut().unwrap().security_profile = profile.into();
        parse_deploy(request, &Caller::named("ann")).unwrap().content.spec.security_profile
    };
    assert_eq!(profile(pb::SecurityProfile::Unspecified), None);
    assert_eq!(profile(pb::SecurityProfile::Baseline), Some(SecurityProfile::Baseline));
    assert_eq!(profile(pb::SecurityProfile::Restricted), Some(SecurityProfile::Restricted));
}
