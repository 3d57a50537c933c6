//! Deploys on each state of the cluster that they may find, and their refusals.

mod history;
mod managed;
mod patch;
mod ports;
mod sameness;
mod since;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{AppState, Budget, Deployment, Managed, Service, StoredRevision};
use crate::domain::{
    Error,
    caller::Caller,
    check::Finding,
    commands::{Deploy, RequestMeta, Rollback},
    error::Missing,
    manifest::Object,
    mask::Mask,
    name,
    object::Kind,
    replica_ownership::Decision,
    revision::{Cause, Outcome, Record, form::Form},
    selector::Selector,
    spec::{Check, Content, Port, Probe, Probes, Protocol, Resources, Spec},
};

fn mk_content(image: &str) -> Content {
    let spec = Spec {
        image: image.into(),
        replicas: Some(3),
        ports: vec![Port { name: "http".into(), number: 80, protocol: Protocol::Http }],
        ..Spec::default()
    };
    Content { spec, ..Content::default() }
}

fn mk_request(content: Content) -> Deploy {
    Deploy {
        name: name::App::new("prod", "shop"),
        content,
        mask: Mask::Set,
        force: false,
        adopt: false,
        reject_concurrent: false,
        meta: mk_asked(),
    }
}

fn mk_asked() -> RequestMeta {
    RequestMeta {
        caller: Caller::named("ann"),
        reason: "because".into(),
        time: jiff::Timestamp::UNIX_EPOCH,
        request: None,
        validate_only: false,
        etag: None,
    }
}

/// An intent together with its rendered writes.
#[derive(Clone, Debug, PartialEq)]
struct Plan {
    number: u64,
    content: Content,
    record: Option<Record>,
    objects: Vec<Object>,
    prune: Vec<Kind>,
    take_count: bool,
    warnings: Vec<String>,
}

fn deploy(request: &Deploy, live: &AppState) -> Result<Plan, Error> {
    let intent = super::decide_deploy(request, live)?;
    let rendered = super::render_objects(&intent, live)?;
    Ok(Plan {
        number: intent.number,
        content: intent.record.content.clone(),
        record: intent.is_new.then_some(intent.record),
        objects: rendered.objects,
        prune: rendered.prune,
        take_count: rendered.take_count,
        warnings: Some(rendered.count)
            .filter(|c| c.result == Finding::Warn)
            .map(|c| c.message)
            .into_iter()
            .collect(),
    })
}

fn mk_past(number: u64, content: Content, outcome: Option<Outcome>) -> StoredRevision {
    let record =
        Record::new(Cause::Deploy, content, "ann".into(), String::new(), jiff::Timestamp::UNIX_EPOCH);
    let owner = Some("u".to_owned());
    StoredRevision {
        number,
        record,
        written: None,
        outcome,
        untried: false,
        applied: true,
        owner,
        version: Some(("u".into(), 7)),
        form: Form::Text,
        ports_removed: false,
    }
}

fn newest(live: &mut AppState) -> &mut StoredRevision {
    live.revisions.last_mut().unwrap()
}

fn mk_masked(content: Content, paths: &[&str]) -> Deploy {
    Deploy { mask: Mask::new(paths).unwrap(), ..mk_request(content) }
}

/// The state of an app after Gantry applied revision 4 with this content.
fn mk_live(content: Content) -> AppState {
    AppState {
        deployment: Some(Deployment {
            managed_by: "gantry".into(),
            managed: Managed::Yes,
            uid: "u".into(),
            replicas: content.spec.replicas.unwrap_or(1),
            replica_owners: vec!["gantry".into()],
            revision: Some(4),
            ..Deployment::default()
        }),
        service: (!content.spec.ports.is_empty()).then(|| mk_service("gantry")),
        budget: Some(mk_budget("gantry")),
        other_budgets: Vec::new(),
        revisions: vec![mk_past(4, content, Some(Outcome::Succeeded))],
        other_autoscaler: None,
    }
}

fn mk_service(by: &str) -> Service {
    Service { managed_by: by.into(), owned: by == "gantry", ..Service::default() }
}

fn mk_budget(by: &str) -> Budget {
    let selector = Selector::parse("gantry.dev/app=other").unwrap();
    Budget { managed_by: by.into(), selector }
}

fn mk_scaled(content: Content, replicas: i32, owners: &[&str]) -> AppState {
    let mut live = mk_live(content);
    let deployment = live.deployment.as_mut().unwrap();
    deployment.replicas = replicas;
    deployment.replica_owners = owners.iter().map(|o| (*o).to_owned()).collect();
    live
}

fn unset() -> Content {
    Content::default()
}

fn kinds(plan: &Plan) -> Vec<Kind> {
    plan.objects.iter().map(|o| o.kind).collect()
}

fn count(plan: &Plan) -> Option<&Value> {
    plan.objects[0].manifest["spec"].get("replicas")
}

fn violated(request: &Deploy, live: &AppState) -> String {
    match deploy(request, live) {
        Err(Error::Invalid(violations)) => violations[0].field.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_new_app_gets_its_first_revision_and_all_its_objects() {
    let content = mk_content("shop:1");
    let plan = deploy(&mk_request(content.clone()), &AppState::default()).unwrap();
    assert_eq!((plan.number, &plan.content), (1, &content));
    assert_eq!(kinds(&plan), [Kind::Deployment, Kind::Service, Kind::Budget], "what owns comes first");
    assert_eq!((plan.prune.len(), plan.take_count, plan.warnings.len()), (0, false, 0));
    assert_eq!(count(&plan), Some(&json!(3)));
    let record = plan.record.unwrap();
    assert_eq!((record.actor.as_str(), record.reason.as_str()), ("ann", "because"));
    assert_eq!((record.digest, record.content), (content.digest(), content));
    assert_eq!(plan.objects[0].manifest["metadata"]["annotations"]["gantry.dev/revision"], "1");
}

#[test]
fn an_app_needs_an_image_and_keeps_it() {
    assert_eq!(violated(&mk_request(unset()), &AppState::default()), "app.spec.image");
    let live = mk_live(mk_content("shop:1"));
    assert_eq!(violated(&mk_masked(unset(), &["*"]), &live), "app.spec.image");
    assert_eq!(violated(&mk_masked(unset(), &["spec.image"]), &live), "app.spec.image");
    assert!(deploy(&mk_request(unset()), &live).is_ok());
}

#[test]
fn resources_that_say_nothing_and_patches_that_cannot_be_applied_are_refused() {
    let mut empty = mk_content("shop:1");
    empty.spec.resources = Some(Resources::default());
    assert_eq!(violated(&mk_request(empty), &AppState::default()), "app.spec.resources");
    let mut patched = mk_content("shop:1");
    patched.spec.pod_template_patch = Some(json!({"spec": null}));
    assert_eq!(violated(&mk_request(patched), &AppState::default()), "app.spec.pod_template_patch.spec");
}

#[test]
fn an_image_that_no_kubelet_accepts_is_refused_unless_the_app_has_it() {
    let patched = |image: &str| {
        let patch = json!({"spec": {"initContainers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": image}]}});
        let spec = Spec { pod_template_patch: Some(patch), ..mk_content("shop:1").spec };
        Content { spec, ..Content::default() }
    };
    for image in ["Team/Shop:1", "https://registry.example/shop:1", "nginx@sha256:abc", "shop:", "a b"] {
        let live = mk_live(mk_content("shop:1"));
        assert_eq!(violated(&mk_request(mk_content(image)), &AppState::default()), "app.spec.image");
        assert_eq!(violated(&mk_request(mk_content(image)), &live), "app.spec.image");
        let field = "app.spec.pod_template_patch.spec.initContainers[1].image";
        assert_eq!(violated(&mk_request(patched(image)), &live), field);

        let had = mk_live(mk_content(image));
        let count = Content { spec: Spec { replicas: Some(5), ..Spec::default() }, ..Content::default() };
        assert!(deploy(&mk_request(count.clone()), &had).is_ok(), "the image is not named");
        assert!(deploy(&mk_masked(mk_content("X:1"), &["spec.replicas"]), &had).is_ok(), "nor here");
        assert!(deploy(&mk_request(mk_content(image)), &had).is_ok(), "it stays");
        assert!(deploy(&mk_request(mk_content("shop:2")), &had).is_ok());
        assert!(deploy(&mk_request(count), &mk_live(patched(image))).is_ok());
    }
    let error = deploy(&mk_request(mk_content("Shop:1")), &AppState::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "app.spec.image: \"Shop:1\" is not a valid image name: its path has an upper-case letter; expected one such as registry.example/team/web:1.2"
    );
}

#[test]
fn rules_between_fields_hold_for_the_app_as_it_will_be() {
    let probing = |port: &str| {
        let probes = Probes { liveness: Some(Probe::new(Check::TcpPort(port.into()))), ..Probes::default() };
        let spec = Spec { probes: Some(Box::new(probes)), ..Spec::default() };
        Content { spec, ..Content::default() }
    };
    // The port comes from the stored content, not from the request.
    let live = mk_live(mk_content("shop:1"));
    assert!(deploy(&mk_request(probing("http")), &live).is_ok());
    assert_eq!(violated(&mk_request(probing("admin")), &live), "app.spec.probes.liveness.tcp_port");
    let mut probed = mk_content("shop:1");
    probed.spec.probes = probing("http").spec.probes;
    let without = mk_masked(unset(), &["spec.ports"]);
    assert_eq!(violated(&without, &mk_live(probed)), "app.spec.probes.liveness.tcp_port");
}

#[test]
fn what_is_set_is_merged_over_the_newest_revision() {
    let mut old = mk_content("shop:1");
    old.spec.env.insert("A".into(), "1".into());
    let mut new = unset();
    new.spec.image = "shop:2".into();
    let plan = deploy(&mk_request(new.clone()), &mk_live(old.clone())).unwrap();
    let merged = Content { spec: Spec { image: "shop:2".into(), ..old.spec.clone() }, ..old.clone() };
    assert_eq!((plan.number, &plan.content), (5, &merged));
    assert_eq!(plan.record.unwrap().digest, merged.digest());

    let cleared = deploy(&mk_masked(new.clone(), &["spec.image", "spec.env"]), &mk_live(old)).unwrap();
    assert!(cleared.content.spec.env.is_empty() && !cleared.content.spec.ports.is_empty());
    let all = deploy(&mk_masked(new.clone(), &["*"]), &mk_live(mk_content("shop:1"))).unwrap();
    assert_eq!(all.content, new);
}

#[test]
fn a_repeat_writes_no_record_and_completes_what_was_begun() {
    let content = mk_content("shop:1");
    let mut unfinished = mk_live(content.clone());
    newest(&mut unfinished).outcome = None;
    (unfinished.service, unfinished.budget) = (None, None);
    for live in [mk_live(content.clone()), unfinished] {
        for reject_concurrent in [false, true] {
            let request = Deploy { reject_concurrent, ..mk_request(content.clone()) };
            let plan = deploy(&request, &live).unwrap();
            assert_eq!((plan.number, plan.record.as_ref()), (4, None));
            assert_eq!(kinds(&plan), [Kind::Deployment, Kind::Service, Kind::Budget]);
            assert_eq!(plan.objects[0].manifest["metadata"]["annotations"]["gantry.dev/revision"], "4");
        }
    }
}

#[test]
fn numbers_go_on_after_revisions_whose_deployment_is_gone() {
    let content = mk_content("shop:1");
    let live = AppState { revisions: mk_live(content.clone()).revisions, ..AppState::default() };
    let plan = deploy(&mk_request(content), &live).unwrap();
    assert_eq!(plan.number, 5);
    assert!(plan.record.is_some(), "the app is new, though a revision says the same");
    assert_eq!(violated(&mk_request(unset()), &live), "app.spec.image", "nothing is merged over a gone app");
}

#[test]
fn a_name_that_others_took_is_refused_with_their_name() {
    let taken = |change: &dyn Fn(&mut AppState)| {
        let mut live = mk_live(mk_content("shop:1"));
        change(&mut live);
        match deploy(&mk_request(mk_content("shop:2")), &live) {
            Err(Error::NameTaken { object, namespace, by }) => (object, namespace, by),
            other => panic!("{other:?}"),
        }
    };
    let expected = |object: &str, by: &str| (object.to_owned(), "prod".to_owned(), by.to_owned());
    let made_by = |by: &str| {
        taken(&|live| {
            let deployment = live.deployment.as_mut().unwrap();
            (deployment.managed_by, deployment.managed) = (by.to_owned(), Managed::No);
        })
    };
    let deployment = made_by("Helm");
    assert_eq!(deployment, expected("deployment.apps/shop", "Helm"));
    let nobody = made_by("");
    assert_eq!(nobody, expected("deployment.apps/shop", ""));
    assert_eq!(taken(&|live| live.service = Some(mk_service("Helm"))), expected("service/shop", "Helm"));
    assert_eq!(
        taken(&|live| live.budget = Some(mk_budget(""))),
        expected("poddisruptionbudget.policy/shop", "")
    );
}

#[test]
fn an_app_that_is_being_deleted_is_not_deployed() {
    let mut live = mk_live(mk_content("shop:1"));
    live.deployment.as_mut().unwrap().deleting = true;
    let error = deploy(&mk_request(mk_content("shop:2")), &live).unwrap_err();
    assert_eq!(error, Error::BeingDeleted { what: "namespaces/prod/apps/shop".into() });
}

#[test]
fn an_etag_guards_the_content_and_not_the_count() {
    let content = mk_content("shop:1");
    let with = |etag: &str, live: &AppState| {
        deploy(
            &Deploy {
                meta: RequestMeta { etag: Some(etag.into()), ..mk_asked() },
                ..mk_request(mk_content("shop:2"))
            },
            live,
        )
        .map(|plan| plan.number)
    };
    let mut scaled = content.clone();
    scaled.spec.replicas = Some(9);
    assert_eq!(with(&content.etag(), &mk_live(content.clone())), Ok(5));
    assert_eq!(with(&content.etag(), &mk_live(scaled)), Ok(5));
    let mismatch = |etag: String| Err(Error::EtagMismatch { etag });
    assert_eq!(with("other", &mk_live(content.clone())), mismatch(content.etag()));
    // An app that is not there has not changed.
    let gone = AppState { deployment: None, ..mk_live(content.clone()) };
    for gone in [AppState::default(), gone] {
        let error = with(&content.etag(), &gone).unwrap_err();
        assert!(matches!(error, Error::NotFound { kind: Missing::AppOfEtag, .. }), "{error:?}");
        let said = "namespaces/prod/apps/shop does not exist any more: the app that the etag was read from is gone; \
                    leave out the etag to create it";
        assert_eq!(error.to_string(), said);
    }
}

#[test]
fn a_caller_may_refuse_to_supersede_what_still_runs() {
    let request = Deploy { reject_concurrent: true, ..mk_request(mk_content("shop:2")) };
    let mut live = mk_live(mk_content("shop:1"));
    assert_eq!(deploy(&request, &live).unwrap().number, 5);
    newest(&mut live).outcome = None;
    let error = deploy(&request, &live).unwrap_err();
    assert_eq!(error, Error::RolloutInProgress { rollout: "namespaces/prod/apps/shop/rollouts/4".into() });
    assert_eq!(deploy(&Deploy { reject_concurrent: false, ..request.clone() }, &live).unwrap().number, 5);
    live.deployment = None;
    assert_eq!(deploy(&request, &live).unwrap().number, 5, "nothing runs without a Deployment");
}

#[test]
fn a_count_that_others_set_stays_unless_the_mask_names_it() {
    let live = mk_scaled(mk_content("shop:1"), 7, &["gantry", "kubectl"]);
    let plan = deploy(&mk_request(mk_content("shop:2")), &live).unwrap();
    assert_eq!((count(&plan), plan.take_count), (None, false));
    assert!(plan.warnings[0].contains("kubectl set the count to 7"), "{:?}", plan.warnings);
    let mut uncounted = mk_content("shop:2");
    uncounted.spec.replicas = None;
    let plan = deploy(&mk_masked(uncounted, &["*"]), &live).unwrap();
    assert_eq!((count(&plan), plan.take_count, plan.warnings.len()), (None, false, 0));
    let starred = deploy(&mk_masked(mk_content("shop:2"), &["*"]), &live).unwrap();
    assert_eq!(count(&starred), None, "a star names nothing");
    for path in ["spec.replicas", "spec"] {
        let plan = deploy(&mk_masked(mk_content("shop:2"), &[path]), &live).unwrap();
        assert_eq!((count(&plan), plan.take_count), (Some(&json!(3)), true), "{path}");
        assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
    }
}

#[test]
fn what_the_content_needs_no_more_is_pruned_if_it_is_ours() {
    let mut portless = mk_content("shop:2");
    portless.spec.ports.clear();
    let request = mk_masked(portless, &["*"]);
    let live = mk_live(mk_content("shop:1"));
    let plan = deploy(&request, &live).unwrap();
    assert_eq!((kinds(&plan), plan.prune), (vec![Kind::Deployment, Kind::Budget], vec![Kind::Service]));
    let mut left = live.clone();
    left.service.as_mut().unwrap().owned = false;
    assert_eq!(deploy(&request, &left).unwrap().prune, [], "an earlier app of the name left it");
    let plan = deploy(&request, &AppState { service: None, ..live }).unwrap();
    assert_eq!(plan.prune, []);
}

#[test]
fn a_budget_is_left_to_another_that_covers_the_pods() {
    let mut content = mk_content("shop:2");
    content.labels.insert("team".into(), "web".into());
    for (selector, covers) in
        [("team=web", true), ("gantry.dev/app=shop", true), ("", true), ("team=ops", false)]
    {
        let other_budgets = vec![Selector::parse("x=y").unwrap(), Selector::parse(selector).unwrap()];
        for budget in [None, Some(mk_budget("gantry"))] {
            let live = AppState {
                other_budgets: other_budgets.clone(),
                budget: budget.clone(),
                ..mk_live(mk_content("shop:1"))
            };
            let plan = deploy(&mk_request(content.clone()), &live).unwrap();
            assert_eq!(kinds(&plan).contains(&Kind::Budget), !covers, "{selector}");
            assert_eq!(plan.prune == [Kind::Budget], covers && budget.is_some(), "{selector}");
        }
    }
}

proptest! {
    // The rule has its own tests. This one shows that nothing between the request and the manifest changes
    // its result.
    #[test]
    fn the_count_is_what_the_rule_says(live in 0..9, wanted in proptest::option::of(0..9), foreign: bool, ours: bool, named: bool) {
        let mut new = mk_content("shop:2");
        new.spec.replicas = wanted;
        let mut old = mk_content("shop:1");
        old.spec.replicas = None;
        let owners: Vec<_> = [(ours, "gantry"), (foreign, "keda")].iter().filter(|(is, _)| *is).map(|(_, o)| *o).collect();
        let request = if named { mk_masked(new, &["spec.image", "spec.replicas"]) } else { mk_request(new) };
        let plan = deploy(&request, &mk_scaled(old, live, &owners)).unwrap();
        let expected = match (foreign, named && wanted.is_some()) {
            (true, false) => Decision::Leave { ignored: wanted.filter(|w| *w != live) },
            (force, _) => Decision::Apply { replicas: wanted.unwrap_or(live), force },
        };
        let done = match count(&plan).and_then(Value::as_i64) {
            Some(n) => Decision::Apply { replicas: n.try_into().unwrap(), force: plan.take_count },
            None => Decision::Leave { ignored: wanted.filter(|_| !plan.warnings.is_empty()) },
        };
        prop_assert_eq!(done, expected);
        prop_assert_eq!(plan.content.spec.replicas, wanted);
    }

    #[test]
    fn a_plan_repeated_on_what_it_made_changes_nothing(image in "[a-z]{1,3}", ports: bool, seen in proptest::option::of("[a-z]{1,3}")) {
        let mut content = mk_content(&image);
        if !ports {
            content.spec.ports.clear();
        }
        let live = seen.map_or_else(AppState::default, |image| mk_live(mk_content(&image)));
        let request = mk_masked(content, &["*"]);
        let first = deploy(&request, &live).unwrap();
        let mut after = mk_live(first.content.clone());
        newest(&mut after).number = first.number;
        after.deployment.as_mut().unwrap().revision = Some(first.number);
        let second = deploy(&request, &after).unwrap();
        prop_assert_eq!(second, Plan { record: None, prune: Vec::new(), ..first });
    }
}

#[test]
fn the_same_again_after_a_failure_is_a_new_attempt() {
    let content = mk_content("shop:1");
    let mut live = mk_live(content.clone());
    newest(&mut live).outcome = Some(Outcome::Failed);
    let plan = deploy(&mk_request(content), &live).unwrap();
    assert_eq!(plan.number, 5);
    assert!(plan.record.is_some());
}

proptest! {
    // A dry run shows exactly what the deploy would do.
    #[test]
    fn whether_it_is_only_a_plan_decides_nothing(new in crate::domain::spec::arbitrary::mk_any_content(), old in crate::domain::spec::arbitrary::mk_any_content(), exists: bool, all: bool) {
        let live = if exists { mk_live(old) } else { AppState::default() };
        let request = if all { mk_masked(new, &["*"]) } else { mk_request(new) };
        let only = Deploy { meta: RequestMeta { validate_only: true, ..mk_asked() }, ..request.clone() };
        prop_assert_eq!(deploy(&only, &live), deploy(&request, &live));
    }
}
