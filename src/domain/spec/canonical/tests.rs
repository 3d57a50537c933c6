//! Another spelling is the same content, and content that is the same renders to the same objects.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::{
    diff::diff_objects,
    labels::APP_LABEL,
    manifest::{self, RenderContext},
    name,
    revision::RENDERER,
    service_ports::{Templates, decide_entries},
    spec::{EmptyDir, Port, Protocol, Volume, arbitrary::mk_any_content},
};

/// Returns every object of the content, with quantities by value.
fn rendered(content: &Content) -> Vec<Value> {
    let name = name::App::new("prod", "shop");
    let selector: BTreeMap<_, _> = [(APP_LABEL.to_owned(), name.app.clone())].into();
    let context = RenderContext {
        revision: 1,
        renderer: RENDERER,
        replicas: Some(1),
        selector: selector.clone(),
        restarted: None,
    };
    let deployment = manifest::render_deployment(&name, content, &context).unwrap();
    let templates = Templates { earlier: &[], new: &content.spec.ports };
    let entries = decide_entries(templates, &BTreeMap::new(), &[]);
    let service =
        (!entries.is_empty()).then(|| manifest::render_service(&name, content, &selector, &entries));
    let budget = manifest::render_budget(&name, content, &selector);
    let objects = [Some(deployment), service, Some(budget)].into_iter().flatten();
    let mut objects: Vec<_> = objects.map(|object| canonical_patch("", "", object.manifest)).collect();
    for container in objects[0]["spec"]["template"]["spec"]["containers"].as_array_mut().into_iter().flatten()
    {
        if container["resources"] == json!({"requests": {}, "limits": {}}) {
            container["resources"].take();
        }
        for key in ["readinessProbe", "livenessProbe", "startupProbe"] {
            let Some(probe) = container.get_mut(key).and_then(Value::as_object_mut) else { continue };
            // The API server fills these in.
            for (field, default) in [("periodSeconds", 10), ("timeoutSeconds", 1), ("failureThreshold", 3)] {
                probe.entry(field).or_insert(json!(default));
            }
        }
    }
    objects
}

/// Returns the paths at which the objects of two contents differ.
fn differences(one: &Content, other: &Content) -> Vec<String> {
    let pairs = rendered(one).into_iter().zip(rendered(other));
    pairs.flat_map(|(one, other)| diff_objects(&one, &other)).map(|change| change.path).collect()
}

fn ported() -> Spec {
    let ports = vec![Port { name: "http".into(), number: 80, protocol: Protocol::Tcp }];
    Spec { image: "shop:1".into(), ports, ..Spec::default() }
}

fn amounts(texts: &[(&str, &str)]) -> BTreeMap<String, String> {
    texts.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect()
}

proptest! {
    #[test]
    fn the_canonical_form_renders_to_the_same_objects_and_is_judged_alike(content in mk_any_content()) {
        let canonical = content.canonical();
        prop_assert_eq!(canonical.canonical(), canonical.clone());
        prop_assert_eq!(differences(&content, &canonical), Vec::<String>::new());
        let (was, is) = (content.spec.policy(), canonical.spec.policy());
        prop_assert_eq!((was.strategy, was.progress_timeout, was.verdict, was.tolerated_restarts, was.on_failure),
            (is.strategy, is.progress_timeout, is.verdict, is.tolerated_restarts, is.on_failure));
        prop_assert_eq!(was.transient_grace, is.transient_grace);
        prop_assert_eq!(content.spec.is_probed(), canonical.spec.is_probed());
    }

    #[test]
    fn content_of_other_objects_is_another_content(a in mk_any_content(), b in mk_any_content()) {
        if rendered(&a) != rendered(&b) {
            prop_assert!(!a.is_same_as(&b));
            prop_assert_ne!(a.digest(), b.digest());
        }
    }

    // What earlier versions answered as the etag is still accepted.
    #[test]
    fn the_etag_of_the_spelling_is_accepted(content in mk_any_content()) {
        let spelled = digest(&content.clone().without_count());
        prop_assert!(content.has_etag(&spelled) && content.has_etag(&content.etag()));
        prop_assert!(!content.has_etag("") && !content.has_etag(&content.digest()[1..]));
    }
}

fn digest(content: &Content) -> String {
    crate::domain::digest::sha256_hex(serde_json::to_vec(content).unwrap())
}

#[test]
fn another_spelling_is_the_same_content() {
    let seconds = |s| Some(Duration::from_secs(s));
    let resources = |requests, limits| Some(Resources { requests, limits });
    let probe = |period, failure_threshold| {
        let check = Check::HttpGet { port: "http".into(), path: "/".into() };
        Probe { period, timeout: None, failure_threshold, initial_delay: None, check }
    };
    let readiness = |probe| Some(Box::new(Probes { readiness: Some(probe), ..Probes::default() }));
    let sized = |max_surge: &str, max_unavailable: &str| {
        Some(RolloutPolicy {
            max_surge: max_surge.into(),
            max_unavailable: max_unavailable.into(),
            ..RolloutPolicy::default()
        })
    };
    let dir = |size: &str| {
        let source = Source::EmptyDir(EmptyDir { size_limit: size.into(), in_memory: false });
        vec![Volume { mount_path: "/tmp".into(), source, read_only: false }]
    };
    for (one, other) in vec![
        (
            Spec {
                resources: resources(amounts(&[("cpu", "0.1"), ("memory", "1024Mi")]), amounts(&[])),
                ..ported()
            },
            Spec {
                resources: resources(amounts(&[("cpu", "100m"), ("memory", "1Gi")]), amounts(&[])),
                ..ported()
            },
        ),
        (
            Spec { resources: resources(amounts(&[]), amounts(&[("cpu", "2000m")])), ..ported() },
            Spec { resources: resources(amounts(&[]), amounts(&[("cpu", "2")])), ..ported() },
        ),
        (Spec { volumes: dir("1024Mi"), ..ported() }, Spec { volumes: dir("1Gi"), ..ported() }),
        (Spec { rollout_policy: sized("025%", "0%"), ..ported() }, ported()),
        (
            Spec { rollout_policy: sized("", "007"), ..ported() },
            Spec { rollout_policy: sized("25%", "7"), ..ported() },
        ),
        (Spec { termination_grace: seconds(30), ..ported() }, ported()),
        (
            Spec { termination_grace: Some(Duration::from_millis(44_001)), ..ported() },
            Spec { termination_grace: seconds(45), ..ported() },
        ),
        (Spec { drain_delay: seconds(5), ..ported() }, ported()),
        (Spec { drain_delay: seconds(0), ports: vec![], ..ported() }, Spec { ports: vec![], ..ported() }),
        (Spec { security_profile: Some(SecurityProfile::Baseline), ..ported() }, ported()),
        (Spec { container: "app".into(), ..ported() }, ported()),
        (Spec { probes: readiness(Probe::new(Check::TcpPort("http".into()))), ..ported() }, ported()),
        (
            Spec { probes: readiness(Probe::new(Check::None)), ports: vec![], ..ported() },
            Spec { ports: vec![], ..ported() },
        ),
        (
            Spec { probes: readiness(probe(seconds(10), 3)), ..ported() },
            Spec { probes: readiness(probe(None, 0)), ..ported() },
        ),
        (Spec { placement: Some(Box::default()), traffic: Some(Traffic::default()), ..ported() }, ported()),
        (
            Spec {
                placement: Some(Box::new(Placement {
                    spread: Spread::default_spread(),
                    ..Placement::default()
                })),
                ..ported()
            },
            ported(),
        ),
        (
            Spec {
                pod_template_patch: Some(
                    json!({"spec": {"initContainers": [{"name": "x", "resources": {"limits": {"cpu": 0.5}}}]}}),
                ),
                ..ported()
            },
            Spec {
                pod_template_patch: Some(
                    json!({"spec": {"initContainers": [{"name": "x", "resources": {"limits": {"cpu": "500m"}}}]}}),
                ),
                ..ported()
            },
        ),
        (Spec { pod_template_patch: Some(json!({})), ..ported() }, ported()),
    ] {
        let [one, other] = [one, other].map(|spec| Content { spec, ..Content::default() });
        assert!(one.is_same_as(&other), "{one:?}\n{other:?}");
        assert_eq!((one.digest(), one.etag()), (other.digest(), other.etag()));
        assert_eq!(differences(&one, &other), Vec::<String>::new());
    }
}

#[test]
fn another_value_is_other_content() {
    for other in [
        Spec { termination_grace: Some(Duration::from_secs(31)), ..ported() },
        Spec { service_account: "default".into(), ..ported() },
        Spec {
            probes: Some(Box::new(Probes { readiness: Some(Probe::new(Check::None)), ..Probes::default() })),
            ..ported()
        },
        Spec { env: amounts(&[("LIMIT", "0.1")]), ..ported() },
        Spec {
            pod_template_patch: Some(json!({"metadata": {"annotations": {"limits": "0.1"}}})),
            ..ported()
        },
    ] {
        let [one, other] = [ported(), other].map(|spec| Content { spec, ..Content::default() });
        assert!(!one.is_same_as(&other));
    }
    let env = |text: &str| Content {
        spec: Spec { env: amounts(&[("LIMIT", text)]), ..ported() },
        ..Content::default()
    };
    assert!(!env("0.1").is_same_as(&env("100m")), "a variable is a text");
}
