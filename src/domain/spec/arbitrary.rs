//! Generates valid content with all fields except the patch, for property tests, and normalizes it.

use std::{collections::BTreeMap, time::Duration};

use proptest::{
    collection::{btree_map, btree_set, vec},
    option,
    prelude::*,
    sample::select,
};

use super::{
    Check, Content, EmptyDir, Files, KeyRef, OnFailure, Placement, Port, Probe, Probes, Protocol, Resources,
    RolloutPolicy, SecurityProfile, Source, Spec, Spread, Strategy as Order, Toleration, Traffic, Verdict,
    Volume, whole_seconds,
};

/// Generates content that a caller may deploy.
pub(crate) fn mk_any_content() -> impl Strategy<Value = Content> {
    let labels = btree_map("[a-z]{1,2}", "[a-z]{0,3}", 0..3);
    let annotations = btree_map("[a-z]{1,3}", ".{0,5}", 0..3);
    (labels, annotations, mk_any_spec()).prop_map(|(labels, annotations, spec)| Content {
        labels,
        annotations,
        spec,
    })
}

/// Generates durations with fractions of a second, and common defaults.
fn mk_duration(longest: u64) -> impl Strategy<Value = Option<Duration>> {
    let millis = prop_oneof![
        select(vec![0u64, 1000, 3000, 5000, 10_000, 30_000, 600_000]).prop_map(move |n| n.min(longest)),
        0..=longest
    ];
    option::of(millis.prop_map(Duration::from_millis))
}

fn mk_any_spec() -> impl Strategy<Value = Spec> {
    // Boxed, because as one type they would overflow the stack of a test.
    (
        mk_ports().boxed(),
        mk_env().boxed(),
        mk_volumes().boxed(),
        option::of(mk_placement()).boxed(),
        option::of(mk_policy()).boxed(),
    )
        .prop_flat_map(|(ports, env, volumes, placement, policy)| {
            let names: Vec<_> = ports.iter().map(|p: &Port| p.name.clone()).collect();
            (mk_rest().boxed(), option::of(mk_probes(&names)).boxed(), mk_duration(90_000), 0u64..=100)
                .prop_map(move |(rest, probes, grace, share)| {
                    let (env, secret_env, config_map_env) = env.clone();
                    let grace_millis = grace.map_or(30_000, |d| u64::try_from(d.as_millis()).unwrap());
                    // In two of three cases, set to at most the grace period.
                    let drain = (share <= 66).then(|| Duration::from_millis(grace_millis * share / 66));
                    Spec {
                        ports: ports.clone(),
                        env,
                        secret_env,
                        config_map_env,
                        volumes: volumes.clone(),
                        placement: placement.clone().map(Box::new),
                        rollout_policy: policy.clone(),
                        probes: probes.map(Box::new),
                        termination_grace: grace,
                        drain_delay: drain,
                        ..rest
                    }
                })
        })
}

prop_compose! {
    fn mk_rest()(
        image in "[a-z]{1,4}(:[0-9]|:latest|@sha256:0a)?",
        words in vec("[ -~]{0,4}", 0..3),
        more in vec("[a-z-]{1,4}", 0..3),
        replicas in option::of(0..=10_000),
        requests in btree_map("cpu|memory", "[1-9](Mi|m)?", 0..3),
        limits in btree_map("cpu|memory|acme.io/gpu", "[1-9]Gi", 0..3),
        service_account in "(default|shop|a\\.b)?",
        secrets in btree_set("[a-z]{1,3}", 0..3),
        container in "(app|main|[a-z]{1,3})?",
        traffic in option::of((mk_duration(9000), 0..=5)),
        some in any::<bool>(),
        security_profile in option::of(select(vec![SecurityProfile::Baseline, SecurityProfile::Restricted])),
    ) -> Spec {
        Spec {
            image,
            replicas,
            command: words,
            args: more,
            resources: some.then_some(Resources { requests, limits }),
            service_account,
            security_profile,
            image_pull_secrets: secrets.into_iter().collect(),
            container,
            traffic: traffic.map(|(timeout, max_attempts)| Traffic { timeout, max_attempts }),
            ..Spec::default()
        }
    }
}

fn mk_ports() -> impl Strategy<Value = Vec<Port>> {
    let protocol = select(vec![Protocol::Tcp, Protocol::Http, Protocol::Grpc]);
    btree_map(1u16.., protocol, 0..4).prop_map(|ports| {
        let port = |(i, (number, protocol))| Port { name: format!("p{i}"), number, protocol };
        ports.into_iter().enumerate().map(port).collect()
    })
}

type Env = (BTreeMap<String, String>, BTreeMap<String, KeyRef>, BTreeMap<String, KeyRef>);

/// Generates environment variables from three sources, with unique names.
fn mk_env() -> impl Strategy<Value = Env> {
    let reference = ("[a-z]{1,3}", "[a-zA-Z][a-z._-]{0,2}x", any::<bool>())
        .prop_map(|(name, key, optional)| KeyRef { name, key, optional });
    let value = prop_oneof![".{0,5}", "\\$\\([A-C]\\)"];
    btree_map("[A-D]|[A-Z_]{1,3}", (0..3, value, reference), 0..5).prop_map(|all| {
        let mut env = Env::default();
        for (name, (which, value, reference)) in all {
            match which {
                0 => drop(env.0.insert(name, value)),
                1 => drop(env.1.insert(name, reference)),
                _ => drop(env.2.insert(name, reference)),
            }
        }
        env
    })
}

fn mk_probes(ports: &[String]) -> impl Strategy<Value = Probes> + use<> {
    let probe = || option::of(mk_probe(ports.to_vec()));
    (probe(), probe(), probe()).prop_map(|(readiness, liveness, startup)| Probes {
        readiness,
        liveness,
        startup,
    })
}

fn mk_probe(ports: Vec<String>) -> impl Strategy<Value = Probe> {
    let check = (0..5, any::<prop::sample::Index>(), "[a-z]{0,3}").prop_map(move |(which, i, text)| {
        let port = (!ports.is_empty()).then(|| ports[i.index(ports.len())].clone());
        match (which, port) {
            (0, Some(port)) => Check::HttpGet { port, path: format!("/{text}") },
            (1, Some(port)) => Check::Grpc { port, service: text },
            (2, Some(port)) => Check::TcpPort(port),
            (3, _) => Check::Exec(vec![text + "x"]),
            _ => Check::None,
        }
    });
    let numbers = (mk_duration(20_000), mk_duration(20_000), 0..5, mk_duration(20_000));
    (check, numbers).prop_map(|(check, (period, timeout, failure_threshold, initial_delay))| Probe {
        check,
        period,
        timeout,
        failure_threshold,
        initial_delay,
    })
}

fn mk_volumes() -> impl Strategy<Value = Vec<Volume>> {
    let files = || {
        let items = btree_map("[a-z]{1,2}", "[a-z]{1,2}", 0..3);
        ("[a-z]{1,3}", items, any::<bool>()).prop_map(|(name, items, optional)| Files {
            name,
            items,
            optional,
        })
    };
    let dir =
        ("(1Gi)?", any::<bool>()).prop_map(|(size_limit, in_memory)| EmptyDir { size_limit, in_memory });
    let source = prop_oneof![
        files().prop_map(Source::ConfigMap),
        files().prop_map(Source::Secret),
        "[a-z]{1,3}".prop_map(Source::Claim),
        dir.prop_map(Source::EmptyDir),
    ];
    btree_map("/[a-z]{1,2}(/[a-z.]x)?", (source, any::<bool>()), 0..4).prop_map(|all| {
        let volume = |(mount_path, (source, read_only)): (_, (Source, _))| {
            let always = matches!(source, Source::ConfigMap(_) | Source::Secret(_));
            Volume { mount_path, source, read_only: read_only && !always }
        };
        all.into_iter().map(volume).collect()
    })
}

fn mk_placement() -> impl Strategy<Value = Placement> {
    let toleration = ("[a-z]{0,2}", "[a-z]{0,2}", select(vec!["", "NoSchedule", "NoExecute"]));
    let toleration = toleration.prop_map(|(key, value, effect)| Toleration {
        value: if key.is_empty() { String::new() } else { value },
        key,
        effect: effect.to_owned(),
    });
    let key = select(vec!["topology.kubernetes.io/zone", "kubernetes.io/hostname", "rack"]);
    let spread = btree_map((key, any::<bool>()), 0..3, 0..4).prop_map(|all| {
        let spread = |((key, required), max_skew): ((&str, bool), i32)| Spread {
            topology_key: key.to_owned(),
            max_skew,
            required,
        };
        all.into_iter().map(spread).collect::<Vec<_>>()
    });
    let spread = prop_oneof![spread, Just(Spread::default_spread())];
    (btree_map("[a-z](\\.?x)?", "[a-z]{0,2}", 0..3), vec(toleration, 0..3), spread, "(high)?").prop_map(
        |(node_selector, tolerations, spread, priority_class)| Placement {
            node_selector,
            tolerations,
            spread,
            priority_class,
        },
    )
}

fn mk_policy() -> impl Strategy<Value = RolloutPolicy> {
    let sizes = ("([1-9]|[1-9]0%|25%)?", "(0|[1-9]|[1-9]0%|25%)?");
    let timeout = mk_duration(900_000).prop_map(|t| t.map(|t| t.max(Duration::from_secs(1))));
    (sizes, any::<[bool; 3]>(), timeout, option::of(0..9), mk_duration(99_000)).prop_map(
        |((max_surge, max_unavailable), [recreate, wait, back], timeout, restarts, grace)| RolloutPolicy {
            max_surge,
            max_unavailable,
            strategy: if recreate { Order::Recreate } else { Order::Rolling },
            progress_timeout: timeout,
            verdict: if wait { Verdict::Wait } else { Verdict::FailFast },
            tolerated_restarts: restarts,
            on_failure: if back { OnFailure::RollBack } else { OnFailure::Keep },
            transient_grace: grace,
        },
    )
}

/// Normalizes a spec to the canonical form of what is read back from a Deployment: times in whole seconds,
/// and without the fields that a Deployment does not show.
pub(crate) fn normalize_spec(spec: &Spec) -> Spec {
    let mut spec = spec.clone();
    spec.traffic = None;
    spec.pod_template_patch = None;
    spec.ports.iter_mut().for_each(|port| port.protocol = Protocol::Tcp);
    spec.rollout_policy = spec.rollout_policy.map(|policy| RolloutPolicy {
        max_surge: policy.max_surge,
        max_unavailable: policy.max_unavailable,
        strategy: policy.strategy,
        progress_timeout: policy.progress_timeout.map(|time| Duration::from_secs(whole_seconds(time).max(1))),
        ..RolloutPolicy::default()
    });
    spec.canonical()
}
