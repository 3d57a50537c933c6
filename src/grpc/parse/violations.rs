//! Collects the violations of a request, so that the caller gets all of them at once.

use std::fmt::Display;

use crate::domain::error::Violation;

/// Violations found so far.
#[derive(Debug, Default)]
pub(super) struct Violations(pub(super) Vec<Violation>);

impl Violations {
    pub(super) fn add(&mut self, field: impl Into<String>, description: impl Display) {
        self.0.push(Violation { field: field.into(), description: description.to_string() });
    }
}
