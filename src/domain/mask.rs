//! The meaning of `update_mask`: which parts of the old content a deploy replaces. Works on the stored form
//! of content.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::spec::Content;

/// What a deploy changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mask {
    /// Every field that is set.
    Set,
    /// Every field; a field that is unset is cleared.
    Everything,
    /// These fields: `labels`, `annotations`, `spec` or `spec.{field}`. Each is replaced as a whole, or
    /// cleared.
    Paths(BTreeSet<String>),
}

/// Fields of `AppSpec` that the stored content has.
const SPEC_FIELDS: [&str; 21] = [
    "image",
    "replicas",
    "ports",
    "command",
    "args",
    "env",
    "secret_env",
    "config_map_env",
    "resources",
    "probes",
    "rollout_policy",
    "volumes",
    "placement",
    "service_account",
    "security_profile",
    "termination_grace",
    "image_pull_secrets",
    "pod_template_patch",
    "container",
    "drain_delay",
    "traffic",
];

/// Why a path is not valid in a mask.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path:?} is not a path that can be changed; {hint}")]
pub struct Invalid {
    path: String,
    hint: String,
}

// === impl Invalid ===

impl Invalid {
    fn new(path: &str) -> Self {
        let known = || {
            let fields = SPEC_FIELDS.iter().map(|field| format!("spec.{field}"));
            fields.chain(["labels", "annotations", "spec"].map(str::to_owned))
        };
        let plain = |text: &str| text.replace('_', "").to_ascii_lowercase();
        let hint = if path == "*" {
            "* means everything and stands alone".to_owned()
        } else if let Some(known) = known().find(|known| plain(known) == plain(path)) {
            format!("did you mean {known}?")
        } else if let Some(field) = SPEC_FIELDS.iter().find(|field| plain(field) == plain(path)) {
            format!("did you mean spec.{field}?")
        } else if let Some(known) = known().find(|known| path.starts_with(&format!("{known}."))) {
            format!("a mask names whole fields, here {known}")
        } else {
            "expected labels, annotations, spec or spec.{field}, or * for everything".to_owned()
        };
        Self { path: path.to_owned(), hint }
    }
}

// === impl Mask ===

impl Mask {
    /// Builds a mask from the paths of a `FieldMask`.
    pub fn new<T: AsRef<str>>(paths: &[T]) -> Result<Self, Invalid> {
        let mut known = BTreeSet::new();
        for path in paths.iter().map(AsRef::as_ref) {
            match path {
                "*" if paths.len() == 1 => return Ok(Self::Everything),
                "labels" | "annotations" | "spec" => {}
                _ if path.strip_prefix("spec.").is_some_and(|field| SPEC_FIELDS.contains(&field)) => {}
                _ => return Err(Invalid::new(path)),
            }
            known.insert(path.to_owned());
        }
        Ok(if known.is_empty() { Self::Set } else { Self::Paths(known) })
    }

    /// Returns whether the mask contains this path explicitly. `*` does not count, nor does a field that is
    /// set in the content.
    pub fn names(&self, path: &str) -> bool {
        matches!(self, Self::Paths(paths) if paths.contains(path))
    }

    /// Returns the content after a deploy of `new` over `old`.
    pub fn merge(&self, old: &Content, new: &Content) -> Result<Content, serde_json::Error> {
        let set = |key: &str, spec: bool| match self {
            Self::Everything => true,
            Self::Set => false,
            Self::Paths(paths) if spec => paths.contains("spec") || paths.contains(&format!("spec.{key}")),
            Self::Paths(paths) => paths.contains(key),
        };
        // The stored form leaves unset fields out, so "set" is "present" here.
        let present_counts = *self == Self::Set;
        let (old, new) = (to_map(old)?, to_map(new)?);
        let part = |map: &Map<String, Value>| {
            map.get("spec").and_then(Value::as_object).cloned().unwrap_or_default()
        };
        let spec = overlay(part(&old), &part(&new), &SPEC_FIELDS, |k| set(k, true), present_counts);
        let mut merged = overlay(old, &new, &["labels", "annotations"], |k| set(k, false), present_counts);
        merged.insert("spec".to_owned(), Value::Object(spec));
        serde_json::from_value(Value::Object(merged))
    }
}

fn overlay(
    mut old: Map<String, Value>,
    new: &Map<String, Value>,
    keys: &[&str],
    named: impl Fn(&str) -> bool,
    present_counts: bool,
) -> Map<String, Value> {
    for key in keys {
        match new.get(*key) {
            Some(value) if named(key) || present_counts => {
                old.insert((*key).to_owned(), value.clone());
            }
            None if named(key) => {
                old.remove(*key);
            }
            Some(_) | None => {}
        }
    }
    old
}

fn to_map(content: &Content) -> Result<Map<String, Value>, serde_json::Error> {
    Ok(serde_json::to_value(content)?.as_object().cloned().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::spec::{Port, Protocol, Spec};

    prop_compose! {
        fn content()(
            image in "[a-z]{0,4}",
            replicas in proptest::option::of(0..9),
            args in proptest::collection::vec("[a-z]{1,3}", 0..3),
            env in proptest::collection::btree_map("[A-Z]{1,2}", "[a-z]{0,2}", 0..3),
            labels in proptest::collection::btree_map("[a-z]{1,2}", "[a-z]{0,2}", 0..3),
            port in proptest::option::of(1u16..),
        ) -> Content {
            let ports = port.map(|number| Port { name: "http".into(), number, protocol: Protocol::Http }).into_iter().collect();
            let spec = Spec { image, replicas, ports, args, env, ..Spec::default() };
            Content { labels, spec, ..Content::default() }
        }
    }

    proptest! {
        #[test]
        fn a_star_takes_the_new_content(old in content(), new in content()) {
            prop_assert_eq!(Mask::Everything.merge(&old, &new).unwrap(), new);
        }

        #[test]
        fn nothing_set_changes_nothing(old in content()) {
            prop_assert_eq!(Mask::Set.merge(&old, &Content::default()).unwrap(), old);
        }

        #[test]
        fn set_fields_win_and_the_others_stay(old in content(), new in content()) {
            let merged = Mask::Set.merge(&old, &new).unwrap();
            prop_assert_eq!(&merged.spec.image, if new.spec.image.is_empty() { &old.spec.image } else { &new.spec.image });
            prop_assert_eq!(merged.spec.replicas, new.spec.replicas.or(old.spec.replicas));
            prop_assert_eq!(&merged.labels, if new.labels.is_empty() { &old.labels } else { &new.labels });
            // Merging twice gives the same result as merging once.
            prop_assert_eq!(&Mask::Set.merge(&merged, &new).unwrap(), &merged);
        }

        #[test]
        fn a_named_field_is_replaced_or_cleared_and_nothing_else(old in content(), new in content()) {
            let mask = Mask::new(&["spec.env", "labels"]).unwrap();
            let mut expected = old.clone();
            expected.spec.env.clone_from(&new.spec.env);
            expected.labels.clone_from(&new.labels);
            prop_assert_eq!(mask.merge(&old, &new).unwrap(), expected);
        }
    }

    #[test]
    fn every_field_of_the_stored_spec_has_a_path() {
        let spec: Spec = serde_json::from_str(include_str!("spec/full.json")).unwrap();
        let stored = serde_json::to_value(&spec).unwrap();
        let mut keys: Vec<_> = stored.as_object().unwrap().keys().map(String::as_str).collect();
        let mut paths = SPEC_FIELDS.to_vec();
        keys.sort_unstable();
        paths.sort_unstable();
        assert_eq!(keys, paths);
    }

    #[test]
    fn a_default_that_is_said_takes_the_place_of_another_value() {
        use crate::domain::spec::SecurityProfile::{Baseline, Restricted};
        let content = |security_profile| Content {
            spec: Spec { security_profile, ..Spec::default() },
            ..Content::default()
        };
        let merge = |new| Mask::Set.merge(&content(Some(Restricted)), &content(new)).unwrap();
        assert_eq!(merge(Some(Baseline)), content(Some(Baseline)));
        assert_eq!(merge(None), content(Some(Restricted)));
    }

    #[test]
    fn other_paths_are_refused() {
        for path in ["image", "spec.foo", "status", "spec.resources.limits", "", "name"] {
            assert!(Mask::new(&[path]).is_err(), "{path}");
        }
        assert!(Mask::new(&["*", "labels"]).is_err());
    }
}
