//! How the last caller spelled the content of a revision, where that differs from the record. A deploy of the
//! same content in another spelling is no new rollout, and a record cannot change, so the difference is an
//! annotation beside it.

use serde_json::Value;

use crate::domain::{
    diff::{apply_merge_patch, merge_patch},
    spec::Content,
};

/// Longest annotation, in bytes. All annotations of an object together may have 256 KiB.
const LONGEST: usize = 64 * 1024;

/// Returns the annotation that makes `written`, the content of the record, read as `spelled`. `None` if no
/// annotation can: the content differs by value, or the annotation would be too long.
pub fn to_annotation(written: &Content, spelled: &Content) -> Option<String> {
    let [from, to] = [written, spelled].map(|content| serde_json::to_value(content).ok());
    let text = merge_patch(&from?, &to?).to_string();
    (text.len() <= LONGEST && from_annotation(written, &text).as_ref() == Some(spelled)).then_some(text)
}

/// Returns the content in the spelling of an annotation. `None` if the annotation is not one of
/// [`to_annotation`], or says another content.
pub fn from_annotation(written: &Content, text: &str) -> Option<Content> {
    let patch: Value = serde_json::from_str(text).ok()?;
    let spelled = apply_merge_patch(serde_json::to_value(written).ok()?, &patch);
    let spelled: Content = serde_json::from_value(spelled).ok()?;
    spelled.is_same_as(written).then_some(spelled)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::domain::spec::{Resources, Spec, arbitrary::mk_any_content};

    proptest! {
        #[test]
        fn a_spelling_is_read_back_and_nothing_else_is(content in mk_any_content(), other in mk_any_content()) {
            let canonical = content.canonical();
            for (written, spelled) in [(&content, &canonical), (&canonical, &content)] {
                let text = to_annotation(written, spelled).unwrap();
                prop_assert_eq!(from_annotation(written, &text), Some(spelled.clone()));
            }
            if !content.is_same_as(&other) {
                prop_assert_eq!(to_annotation(&content, &other), None);
            }
        }
    }

    #[test]
    fn the_annotation_has_only_the_difference() {
        let content = |cpu: &str| {
            let requests = [("cpu".to_owned(), cpu.to_owned())].into();
            let resources = Some(Resources { requests, ..Resources::default() });
            Content {
                spec: Spec { image: "shop:1".into(), resources, ..Spec::default() },
                ..Content::default()
            }
        };
        let text = to_annotation(&content("0.1"), &content("100m")).unwrap();
        assert_eq!(text, r#"{"spec":{"resources":{"requests":{"cpu":"100m"}}}}"#);
        for other in ["", "1", "{}x", r#"{"spec":{"image":"shop:2"}}"#, r#"{"spec":{"no":1}}"#] {
            assert_eq!(from_annotation(&content("0.1"), other), None, "{other}");
        }
        assert_eq!(to_annotation(&content("0.1"), &content("200m")), None);
    }

    // A null in a patch removes a field, so a pod template patch with one cannot be spelled by it.
    #[test]
    fn what_cannot_be_told_by_a_patch_is_not() {
        let content = |cpu: Value| {
            let patch = json!({"spec": {"hostname": null, "initContainers": [{"name": "a", "resources": {"limits": {"cpu": cpu}}}]}});
            Content {
                spec: Spec { pod_template_patch: Some(patch), ..Spec::default() },
                ..Content::default()
            }
        };
        let (one, other) = (content(json!(1)), content(json!("1000m")));
        assert!(one.is_same_as(&other));
        let text = to_annotation(&one, &other).unwrap();
        assert_eq!(from_annotation(&one, &text), Some(other));
    }
}
