//! Cases that once failed.

use super::{case::Case, numbers, shown};

/// What went wrong, the field that is changed, and the app before and after.
const KEPT: [(&str, &str, &str, &str); 2] = [
    (
        "the prefix of an annotation key was refused for its upper-case letter",
        "annotations",
        r#"{"annotations": {"Example.com/Note": "x"}, "spec": {"image": "web:1"}}"#,
        r#"{"annotations": {"Example.com/Note": "y"}, "spec": {"image": "web:1"}}"#,
    ),
    (
        "a rollout that ended while it was paused was not resumed",
        "spec.image",
        r#"{"spec": {"image": "web:1", "replicas": 0, "rolloutPolicy": {"transientGrace": "0s"}}}"#,
        r#"{"spec": {"image": "web:2", "replicas": 0, "rolloutPolicy": {"transientGrace": "0s"}}}"#,
    ),
];

pub fn cases() -> Vec<Case> {
    let case = |(what, field, first, second): &(&str, &str, &str, &str)| Case {
        what: (*what).to_owned(),
        first: shown::from_json(first),
        second: shown::from_json(second),
        field: (*field).to_owned(),
        numbers: numbers(0, 0),
    };
    KEPT.iter().map(case).collect()
}
