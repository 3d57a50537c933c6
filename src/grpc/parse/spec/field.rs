//! Checks of fields that several parts of `AppSpec` share.

use std::time::Duration;

use crate::{domain::name, grpc::parse::violations::Violations};

/// Path of the spec in a deploy request.
pub(super) const SPEC: &str = "app.spec";

/// Checks the name of a Kubernetes object.
pub(super) fn check_object_name(field: &str, text: &str, kind: &str, wrong: &mut Violations) {
    if !name::is_subdomain(text) {
        let said = format!(
            "\"{text}\" is not a valid name of {kind}; expected 1 to 253 lower-case letters, digits, '-' or '.'"
        );
        wrong.add(field, said);
    }
}

/// Checks a key of a ConfigMap or Secret.
pub(super) fn check_data_key(field: &str, text: &str, wrong: &mut Violations) {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !(1..=253).contains(&text.len()) || !text.chars().all(fits) || text == "." || text.starts_with("..") {
        wrong.add(
            field,
            format!("\"{text}\" is not a valid key; expected 1 to 253 letters, digits, '-', '_' or '.'"),
        );
    }
}

/// Parses a duration at a path within the spec.
pub(super) fn parse_duration(
    field: &str,
    value: Option<prost_types::Duration>,
    wrong: &mut Violations,
) -> Option<Duration> {
    let parsed = Duration::try_from(value?);
    if parsed.is_err() {
        wrong.add(format!("{SPEC}.{field}"), "must not be negative");
    }
    // Kubernetes stores these durations as seconds in 32 bits.
    let longest = Duration::from_secs(i32::MAX.unsigned_abs().into());
    if parsed.as_ref().is_ok_and(|d| *d > longest) {
        wrong.add(format!("{SPEC}.{field}"), "is longer than 68 years");
    }
    parsed.ok()
}
