//! What is known around the pods, and how its words are quoted in a problem. Pure; knows no cause.

use std::cmp::Reverse;

use crate::domain::{
    observed::{About, Event},
    problem::shorten_text,
};

/// What is known around the pods.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// Events about an object, oldest first.
    pub events: &'a dyn Fn(&About) -> Vec<&'a Event>,
    /// Whether the node of this name stopped answering.
    pub is_lost: &'a dyn Fn(&str) -> bool,
}

impl Surroundings<'_> {
    /// No events, and every node answers.
    pub fn nothing() -> Self {
        Self { events: &|_| Vec::new(), is_lost: &|_| false }
    }
}

/// The two events that say most, oldest first: the last warnings, of different reasons where there are, and
/// those that only say that Kubernetes tries again after the others.
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

/// Words of Kubernetes as a problem quotes them.
pub(super) fn quote_text(text: &str) -> String {
    shorten_text(text.trim())
}
