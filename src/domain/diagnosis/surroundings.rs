//! The events and nodes around the pods, and how event texts are quoted in a problem. Pure; diagnoses
//! nothing.

use std::cmp::Reverse;

use crate::domain::{
    observed::{About, Event},
    problem::shorten_text,
};

/// The events and nodes around the pods.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// Returns the events about an object, oldest first.
    pub events: &'a dyn Fn(&About) -> Vec<&'a Event>,
    /// Returns whether the node of this name stopped answering.
    pub is_lost: &'a dyn Fn(&str) -> bool,
}

impl Surroundings<'_> {
    /// Surroundings with no events, in which every node answers.
    pub fn nothing() -> Self {
        Self { events: &|_| Vec::new(), is_lost: &|_| false }
    }
}

/// Picks the two most informative events, oldest first: the latest warnings, with different reasons if
/// possible. Events that only report a retry come last.
pub(super) fn pick_events(events: &[&Event]) -> Vec<String> {
    let echo = |note: &str| {
        note.starts_with("Back-off")
            || note.starts_with("Error: ErrImage")
            || note == "Error: ImagePullBackOff"
    };
    let mut warnings: Vec<&Event> = events.iter().copied().filter(|e| e.warning).collect();
    warnings.sort_by_key(|e| (echo(&e.note), Reverse(e.time)));
    let mut picked: Vec<&Event> = warnings.first().copied().into_iter().collect();
    if let Some(first) = warnings.first() {
        let second = warnings.iter().find(|e| e.reason != first.reason);
        picked.extend(second.or_else(|| warnings.iter().find(|e| e.note != first.note)));
    }
    picked.sort_by_key(|e| e.time);
    picked.into_iter().map(|e| format!("{}: {}", e.reason, quote_text(&e.note))).collect()
}

/// Returns a text of Kubernetes as a problem quotes it.
pub(super) fn quote_text(text: &str) -> String {
    shorten_text(text.trim())
}
