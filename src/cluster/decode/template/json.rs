//! Reads values of a JSON object tolerantly: a value that is missing or of another type counts as empty.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

pub(super) fn read_text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(super) fn read_texts(value: &Value) -> Vec<String> {
    read_list(value).map(read_text).collect()
}

pub(super) fn read_list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

pub(super) fn read_map(value: &Value) -> BTreeMap<String, String> {
    value.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), read_text(value))).collect()
}

/// A time in seconds; `None` if it is the default.
pub(super) fn non_default_seconds(seconds: Option<u64>, default: u64) -> Option<Duration> {
    seconds.filter(|s| *s != default).map(Duration::from_secs)
}
