//! The events and nodes around the pods, and how event texts are quoted in a problem. Pure; diagnoses
//! nothing.

use std::cmp::Reverse;

use crate::domain::{
    observed::{About, Event},
    problem::shorten_text,
};

/// Whether the node of a pod answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It does, as far as known.
    Answers,
    /// It exists and does not answer.
    Silent,
    /// It does not exist any more.
    Gone,
}

/// The events and nodes around the pods.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// Returns the events about an object, oldest first.
    pub events: &'a dyn Fn(&About) -> Vec<&'a Event>,
    /// Returns the state of the node of this name.
    pub node: &'a dyn Fn(&str) -> NodeState,
}

impl Surroundings<'_> {
    /// Surroundings with no events, in which every node answers.
    pub fn nothing() -> Self {
        Self { events: &|_| Vec::new(), node: &|_| NodeState::Answers }
    }
}

/// Picks the two most informative events, oldest first: the latest warnings, with different reasons if
/// possible. Events that only report a retry come last.
pub(super) fn pick_events(events: &[&Event]) -> Vec<String> {
    let mut warnings: Vec<&Event> = events.iter().copied().filter(|e| e.warning).collect();
    warnings.sort_by_key(|e| (is_echo(&e.note), Reverse(e.time)));
    let mut picked: Vec<&Event> = warnings.first().copied().into_iter().collect();
    if let Some(first) = warnings.first() {
        let second = warnings.iter().find(|e| e.reason != first.reason);
        picked.extend(second.or_else(|| warnings.iter().find(|e| e.note != first.note)));
    }
    picked.sort_by_key(|e| e.time);
    picked.into_iter().map(|e| format!("{}: {}", e.reason, quote_text(&e.note))).collect()
}

/// Returns whether an event only reports that an earlier result stands.
pub(super) fn is_echo(note: &str) -> bool {
    note.starts_with("Back-off") || note.starts_with("Error: ErrImage") || note == "Error: ImagePullBackOff"
}

/// Returns a text of Kubernetes as a problem quotes it.
pub(super) fn quote_text(text: &str) -> String {
    shorten_text(text.trim())
}
