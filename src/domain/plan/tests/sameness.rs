//! What is the same content, which version of the renderer an app has, and what a second attempt changes.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::domain::{
    labels::RESTARTED_AT_ANNOTATION,
    plan,
    revision::{FIRST_RENDERER, RENDERER},
};

fn with_cpu(cpu: &str) -> Content {
    let mut content = mk_content("shop:1");
    let requests = [("cpu".to_owned(), cpu.to_owned())].into();
    content.spec.resources = Some(Resources { requests, ..Resources::default() });
    content
}

fn with_env(image: &str, env: &[(&str, &str)]) -> Content {
    let mut content = mk_content(image);
    content.spec.env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    content
}

fn template(intent: &plan::Intent, live: &AppState) -> Value {
    plan::render_objects(intent, live).unwrap().objects[0].manifest["spec"]["template"].clone()
}

fn variables(template: &Value) -> String {
    let env = template["spec"]["containers"][0]["env"].as_array().unwrap();
    env.iter().map(|variable| variable["name"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
}

#[test]
fn another_spelling_is_no_new_rollout_and_is_what_the_app_answers_with() {
    let live = mk_live(with_cpu("0.1"));
    let intent = plan::decide_deploy(&mk_request(with_cpu("100m")), &live).unwrap();
    assert_eq!((intent.number, intent.is_new), (4, false));
    assert_eq!(intent.record.content, with_cpu("100m"));
    let other = plan::decide_deploy(&mk_request(with_cpu("101m")), &live).unwrap();
    assert_eq!((other.number, other.is_new), (5, true));

    let mut explicit = with_cpu("0.1");
    explicit.spec.termination_grace = Some(Duration::from_secs(30));
    let intent = plan::decide_deploy(&mk_request(explicit.clone()), &live).unwrap();
    assert!(!intent.is_new, "a default that is written out is no change");
    assert_eq!(intent.record.content, explicit);
}

#[test]
fn an_etag_stands_for_the_value() {
    let live = mk_live(with_cpu("0.1"));
    let mut request = mk_request(mk_content("shop:2"));
    for etag in [with_cpu("0.1").etag(), with_cpu("100m").etag()] {
        request.meta.etag = Some(etag);
        assert!(plan::decide_deploy(&request, &live).is_ok());
    }
    request.meta.etag = Some(with_cpu("200m").etag());
    assert!(matches!(plan::decide_deploy(&request, &live), Err(Error::EtagMismatch { .. })));
}

#[test]
fn a_rollback_goes_to_something_else() {
    let mut live = mk_live(mk_content("shop:0"));
    live.revisions.push(mk_past(5, with_cpu("0.1"), Some(Outcome::Succeeded)));
    live.revisions.push(mk_past(6, with_cpu("100m"), Some(Outcome::Succeeded)));
    let request = Rollback {
        name: name::App::new("prod", "shop"),
        to: None,
        force: false,
        keep_autoscaler: false,
        failed: None,
        meta: mk_asked(),
    };
    let back = plan::decide_rollback(&request, &live).unwrap().unwrap();
    assert_eq!(back.record.source, Some(4));
    let same = plan::decide_rollback(&Rollback { to: Some(5), ..request }, &live).unwrap();
    assert_eq!(same, None, "the app has it already");
}

/// A record as version 0.1 of gantryd wrote it: renderer 1, variables sorted by name.
const EARLIER: &str = r#"{"renderer":1,"content":{"spec":{"image":"shop:1","replicas":3,"ports":[{"name":"http","number":80,"protocol":"http"}],
    "env":{"A":"$(B)","B":"1"},"volumes":[{"mount_path":"/tmp","source":{"empty_dir":{"size_limit":"1024Mi"}}}],"resources":{"requests":{"cpu":"0.1"}},"termination_grace":{"secs":30,"nanos":0}}},
    "digest":"of another version","cause":"deploy","actor":"ann","time":"1970-01-01T00:00:00Z"}"#;

#[test]
fn an_upgrade_replaces_no_replica_until_a_change_does() {
    let record: Record = serde_json::from_str(EARLIER).unwrap();
    let mut live = mk_live(record.content.clone());
    newest(&mut live).record = record.clone();
    let name = name::App::new("prod", "shop");
    let before = template(&plan::intent_of(&name, newest(&mut live.clone())), &live);
    assert_eq!(variables(&before), "A B", "as that version rendered it");
    assert_eq!(before["spec"]["volumes"][0]["name"], "empty-dir-da3e087891");

    let again = plan::decide_deploy(&mk_request(record.content.clone()), &live).unwrap();
    assert!(!again.is_new);
    assert_eq!(template(&again, &live), before);

    // Neither the count nor a label of the Deployment's own metadata is in the pod template.
    let mut policy = record.content.clone();
    policy.spec.rollout_policy =
        Some(crate::domain::spec::RolloutPolicy { tolerated_restarts: Some(9), ..Default::default() });
    let changed = plan::decide_deploy(&mk_request(policy), &live).unwrap();
    assert_eq!((changed.is_new, changed.record.renderer), (true, FIRST_RENDERER));
    assert_eq!(template(&changed, &live), before);

    let mut image = record.content.clone();
    image.spec.image = "shop:2".into();
    let replaced = plan::decide_deploy(&mk_request(image), &live).unwrap();
    assert_eq!(replaced.record.renderer, RENDERER);
    let after = template(&replaced, &live);
    assert_eq!(variables(&after), "B A");
    assert_ne!(after["spec"]["volumes"][0]["name"], before["spec"]["volumes"][0]["name"]);

    let meta = RequestMeta { time: Timestamp::UNIX_EPOCH + SignedDuration::from_secs(5), ..mk_asked() };
    let restart = plan::decide_restart(&crate::domain::commands::Restart { name, meta }, &live).unwrap();
    assert_eq!(variables(&template(&restart, &live)), "B A");
}

#[test]
fn a_rollback_renders_as_its_source_did() {
    let record: Record = serde_json::from_str(EARLIER).unwrap();
    let mut live = mk_live(record.content.clone());
    newest(&mut live).record = record;
    live.revisions.push(mk_past(
        5,
        with_env("shop:2", &[("A", "$(B)"), ("B", "1")]),
        Some(Outcome::Succeeded),
    ));
    let request = Rollback {
        name: name::App::new("prod", "shop"),
        to: Some(4),
        force: false,
        keep_autoscaler: false,
        failed: None,
        meta: mk_asked(),
    };
    let back = plan::decide_rollback(&request, &live).unwrap().unwrap();
    assert_eq!(back.record.renderer, FIRST_RENDERER);
    assert_eq!(variables(&template(&back, &live)), "A B");
    live.revisions[0].record.cause = Cause::External;
    let back = plan::decide_rollback(&request, &live).unwrap().unwrap();
    assert_eq!(back.record.renderer, RENDERER, "nobody rendered it");
}

#[test]
fn variables_of_all_sources_and_of_the_patch_are_put_in_order() {
    let mut content = with_env("shop:1", &[("A", "$(S)$(P)"), ("B", "$(A)")]);
    content.spec.secret_env = [("S".to_owned(), crate::domain::spec::KeyRef::default())].into();
    content.spec.pod_template_patch = Some(json!({"spec": {"containers": [
        {"name": "app", "env": [{"name": "P", "value": "1"}]},
        {"name": "side", "image": "side:1", "env": [{"name": "Z", "value": "$(Y)"}, {"name": "Y", "value": ""}]},
    ]}}));
    let live = AppState::default();
    let intent = plan::decide_deploy(&mk_request(content), &live).unwrap();
    let template = template(&intent, &live);
    assert_eq!(variables(&template), "S P A B");
    let side = &template["spec"]["containers"][1]["env"];
    assert_eq!(side[0]["name"], "Z", "another container keeps the order of the patch");
}

/// The state after revision 5, an image that cannot be pulled, failed.
fn mk_failed() -> AppState {
    let mut live = mk_live(mk_content("shop:1"));
    live.revisions.push(mk_past(5, mk_content("shop:2"), Some(Outcome::Failed)));
    live
}

#[test]
fn a_second_attempt_starts_new_replicas() {
    let at = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(60);
    let ask = |content: Content, live: &AppState| {
        let mut request = mk_request(content);
        request.meta.time = at;
        plan::decide_deploy(&request, live).unwrap()
    };
    let again = ask(mk_content("shop:2"), &mk_failed());
    assert_eq!((again.number, again.is_new, again.record.restarted), (6, true, Some(at)));
    let annotations = &template(&again, &mk_failed())["metadata"]["annotations"];
    assert_eq!(annotations[RESTARTED_AT_ANNOTATION], at.to_string());
    assert_eq!(again.notes[0].result, Finding::Warn);
    assert!(
        again.notes[0].message.contains("rollouts/5, which failed; it is tried again"),
        "{:?}",
        again.notes
    );

    // A change of something else than the pod template finds the same replicas, too.
    let mut count = mk_content("shop:2");
    count.spec.replicas = Some(5);
    assert_eq!(ask(count, &mk_failed()).record.restarted, Some(at));
    assert_eq!(ask(mk_content("shop:3"), &mk_failed()).record.restarted, None, "these are new ones anyway");
    let mut ready = mk_failed();
    ready.deployment.as_mut().unwrap().all_ready = true;
    let again = ask(mk_content("shop:2"), &ready);
    assert_eq!((again.is_new, again.record.restarted), (true, None), "the failure has passed");
    assert_eq!(ask(mk_content("shop:1"), &mk_live(mk_content("shop:1"))).record.restarted, None);
}
