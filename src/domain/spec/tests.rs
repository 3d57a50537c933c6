//! The stored form, which must never change, and the digests that are computed from it.

use super::*;

fn content() -> Content {
    let spec = Spec { image: "shop:1".into(), replicas: Some(3), ..Spec::default() };
    Content { spec, ..Content::default() }
}

#[test]
fn the_etag_ignores_the_replica_count_and_the_digest_does_not() {
    let (a, mut b) = (content(), content());
    b.spec.replicas = Some(5);
    assert_eq!(a.etag(), b.etag());
    assert_ne!(a.digest(), b.digest());
}

// These values are in clusters. If they changed, old revisions could not be read.
#[test]
fn the_stored_form_is_pinned() {
    assert_eq!(serde_json::to_string(&content()).unwrap(), r#"{"spec":{"image":"shop:1","replicas":3}}"#);
    assert_eq!(content().digest(), "2a58be98cfefa026a2428aa9b6947823");
}

// The same for every field.
#[test]
fn the_stored_form_of_each_field_is_pinned() {
    let stored = include_str!("full.json");
    let spec: Spec = serde_json::from_str(stored).unwrap();
    let again = serde_json::to_string_pretty(&spec).unwrap() + "\n";
    assert_eq!(again, stored);
}

#[test]
fn a_field_at_its_default_is_left_out() {
    assert_eq!(serde_json::to_string(&Spec::default()).unwrap(), "{}");
    for (value, text) in [
        (serde_json::to_value(KeyRef::default()), r#"{"key":"","name":""}"#),
        (serde_json::to_value(Probes::default()), "{}"),
        (serde_json::to_value(Probe::new(Check::None)), r#"{"check":"none"}"#),
        (serde_json::to_value(Files::default()), r#"{"name":""}"#),
        (serde_json::to_value(EmptyDir::default()), "{}"),
        (serde_json::to_value(Placement::default()), "{}"),
        (serde_json::to_value(Toleration::default()), "{}"),
        (serde_json::to_value(Spread::default()), r#"{"topology_key":""}"#),
        (serde_json::to_value(Traffic::default()), "{}"),
        (serde_json::to_value(RolloutPolicy::default()), "{}"),
    ] {
        assert_eq!(value.unwrap().to_string(), text);
    }
}

#[test]
fn times_are_rounded_up_to_whole_seconds() {
    for (millis, expected) in [(0, 0), (1, 1), (1000, 1), (1001, 2), (59_999, 60)] {
        assert_eq!(whole_seconds(Duration::from_millis(millis)), expected);
    }
    assert_eq!(whole_seconds(Duration::MAX), u64::MAX);
}
