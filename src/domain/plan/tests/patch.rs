//! Patches of the pod template that no deploy carries out.

use serde_json::json;

use super::*;

#[test]
fn two_entries_of_a_patch_with_one_key_are_refused_unless_the_app_has_them() {
    let content = |tag: &str| {
        let env = json!([{"name": "A", "value": "1"}, {"name": "B"}, {"name": "A", "value": "2"}]);
        let patch = json!({"spec": {"containers": [{"name": "side", "image": "a:1", "env": env}]}});
        let spec = Spec { pod_template_patch: Some(patch), ..mk_content(tag).spec };
        Content { spec, ..Content::default() }
    };
    let field = "app.spec.pod_template_patch.spec.containers[0].env[2]";
    assert_eq!(violated(&mk_request(content("shop:1")), &AppState::default()), field);
    assert_eq!(violated(&mk_request(content("shop:1")), &mk_live(mk_content("shop:1"))), field);
    assert!(deploy(&mk_request(content("shop:2")), &mk_live(content("shop:1"))).is_ok());
}

#[test]
fn an_entry_of_a_patch_without_its_key_is_named() {
    let patch = json!({"spec": {"volumes": [{"emptyDir": {}}]}});
    let spec = Spec { pod_template_patch: Some(patch), ..mk_content("shop:1").spec };
    let request = mk_request(Content { spec, ..Content::default() });
    assert_eq!(violated(&request, &AppState::default()), "app.spec.pod_template_patch.spec.volumes");
}
