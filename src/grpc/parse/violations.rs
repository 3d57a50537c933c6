//! What is wrong with the fields of a request, collected so that the caller hears all of it at once.

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
