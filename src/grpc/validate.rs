//! Enforces the field rules that the `buf.validate` options of the contract state, in every message that a
//! caller sends. Knows no message by name. What no rule can express is checked in [`super::parse`].

mod compile;
mod rule;

use std::collections::HashMap;

use prost_reflect::{DynamicMessage, FieldDescriptor, MapKey, OneofDescriptor, ReflectMessage, Value};

pub(super) use self::compile::Unknown;
use self::rule::Rule;
use crate::domain::error::Violation;

/// Rules by full message name, for every message that has rules or contains a message with rules.
#[derive(Default)]
pub(super) struct Rules(HashMap<String, Node>);

/// The rules of one message.
#[derive(Default)]
struct Node {
    fields: Vec<Field>,
    /// Groups of which exactly one field must be set.
    oneofs: Vec<OneofDescriptor>,
}

/// The rules of one field.
struct Field {
    descriptor: FieldDescriptor,
    required: bool,
    /// Whether the zero value is always valid.
    zero_is_fine: bool,
    rules: Vec<Rule>,
    /// Rules for each element of a list.
    items: Vec<Rule>,
    /// Full name of the message in the field, if that message has rules.
    within: Option<String>,
}

// === impl Rules ===

impl Rules {
    /// Returns every violation of a message, at most one for each field, in the order of the contract.
    pub(super) fn check(&self, message: &DynamicMessage) -> Vec<Violation> {
        let mut found = Vec::new();
        self.check_at("", message, &mut found);
        found
    }

    /// Whether a message of this type can break a rule.
    pub(super) fn govern(&self, type_name: &str) -> bool {
        self.0.contains_key(type_name)
    }

    /// Returns how many messages have rules.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn check_at(&self, at: &str, message: &DynamicMessage, found: &mut Vec<Violation>) {
        let descriptor = message.descriptor();
        let Some(node) = self.0.get(descriptor.full_name()) else { return };
        for field in &node.fields {
            self.check_field(at, field, message, found);
        }
        for oneof in node.oneofs.iter().filter(|o| !o.fields().any(|field| message.has_field(&field))) {
            let names: Vec<_> = oneof.fields().map(|field| field.name().to_owned()).collect();
            let description = format!("is required: one of {}", names.join(", "));
            found.push(Violation { field: join(at, oneof.name()), description });
        }
    }

    fn check_field(&self, at: &str, field: &Field, message: &DynamicMessage, found: &mut Vec<Violation>) {
        let path = || join(at, field.descriptor.name());
        let is_set = message.has_field(&field.descriptor);
        if !is_set && field.required {
            found.push(Violation { field: path(), description: "is required".to_owned() });
            return;
        }
        // An absent field breaks no rule. A number that cannot be absent is checked as 0.
        if !is_set && (field.descriptor.supports_presence() || field.zero_is_fine) {
            return;
        }
        let value = message.get_field(&field.descriptor);
        if let Some(description) = field.rules.iter().find_map(|rule| rule.broken_by(&value)) {
            found.push(Violation { field: path(), description });
        }
        if field.items.is_empty() && field.within.is_none() {
            return;
        }
        if let Some(list) = value.as_list() {
            for (i, item) in list.iter().enumerate() {
                if found.len() >= ENOUGH {
                    return;
                }
                let at = || format!("{}[{i}]", path());
                if let Some(description) = field.items.iter().find_map(|rule| rule.broken_by(item)) {
                    found.push(Violation { field: at(), description });
                }
                self.check_within(&at(), item, found);
            }
        } else if let Some(map) = value.as_map() {
            for (key, value) in sorted(map) {
                self.check_within(&format!("{}[{key}]", path()), value, found);
            }
        } else {
            self.check_within(&path(), &value, found);
        }
    }

    fn check_within(&self, at: &str, value: &Value, found: &mut Vec<Violation>) {
        if let (Some(message), true) = (value.as_message(), found.len() < ENOUGH) {
            self.check_at(at, message, found);
        }
    }
}

/// Number of violations at which a check stops, because an answer must fit into the headers that carry it.
const ENOUGH: usize = 50;

/// Returns the path of a field within the part at a path. The request itself has the empty path.
pub(super) fn join(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}

/// Returns the entries of a map in the order of their keys. The library keeps them in none.
pub(super) fn sorted(map: &HashMap<MapKey, Value>) -> Vec<(String, &Value)> {
    let mut entries: Vec<_> = map.iter().map(|(key, value)| (key_text(key), value)).collect();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    entries
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

#[cfg(test)]
mod tests;
