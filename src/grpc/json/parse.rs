//! Parses JSON into a message. Unknown fields, and fields that are given twice, are refused, because what is
//! ignored would deploy something else than the caller asked for. All errors are named at once.

use std::collections::BTreeSet;

use prost_reflect::{DeserializeOptions, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Value, json};
use tonic::Status;

use super::{
    path::{Spelling, fields_within, is_field_mask, to_camel_case},
    tree::Node,
};
use crate::{
    domain::{Error, error::Violation, similar::closest},
    grpc::validate,
};

/// Levels of a free-form object. Decoders of protobuf stop at 100 messages within each other, and each level
/// of a Struct takes three.
const DEEPEST: usize = 30;
/// The number of letters by which a name may differ from the field that is meant.
const SLIP: usize = 2;
/// Characters of a value that an error quotes.
const LONGEST_VALUE: usize = 80;

/// Parses a JSON text into a message.
pub(super) fn parse_message(
    descriptor: &MessageDescriptor,
    text: &[u8],
    spelling: &Spelling,
) -> Result<DynamicMessage, Status> {
    let mut node: Node = serde_json::from_slice(text).map_err(|error| not_json(text, &error))?;
    if !matches!(node, Node::Object(_)) {
        let (value, name) = (quote(&node.to_value()), descriptor.name());
        return Err(Error::invalid(
            "",
            format!("the request is {value}; expected an object with the fields of {name}"),
        )
        .into());
    }
    let mut checker = Checker { spelling, wrong: Vec::new() };
    checker.check(descriptor, &mut node, "");
    let (mut wrong, mut unknown_rule) = (checker.wrong, None);
    if wrong.is_empty() {
        match deserialize(descriptor, node.to_value()) {
            Ok(message) => return Ok(message),
            Err(error) => unknown_rule = Some(error),
        }
    }
    let mut values = Vec::new();
    find_wrong(descriptor, &node, "", &mut values);
    // A value is not wrong once more for what is refused within it.
    let is_within = |known: &Violation, found: &Violation| {
        let rest = known.field.strip_prefix(&found.field);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    values.retain(|found| !wrong.iter().any(|known| is_within(known, found)));
    wrong.append(&mut values);
    if let Some(error) = unknown_rule.filter(|_| wrong.is_empty()) {
        // The parser knows a rule that is not known here.
        return Err(Error::invalid("", format!("the request is not a {}: {error}", descriptor.name())).into());
    }
    Err(Error::Invalid(wrong).into())
}

fn deserialize(descriptor: &MessageDescriptor, value: Value) -> Result<DynamicMessage, serde_json::Error> {
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    DynamicMessage::deserialize_with_options(descriptor.clone(), value, &options)
}

fn not_json(text: &[u8], error: &serde_json::Error) -> Status {
    let hint = if text.is_empty() { "; send {} for an empty request" } else { "" };
    Error::invalid("", format!("the request is not valid JSON: {error}{hint}")).into()
}

/// Finds what a parser would accept or ignore: unknown fields and double ones.
struct Checker<'a> {
    spelling: &'a Spelling,
    wrong: Vec<Violation>,
}

/// A field that an object has.
struct Given {
    field: FieldDescriptor,
    /// Its name as it was sent.
    name: String,
    is_null: bool,
}

// === impl Checker ===

impl Checker<'_> {
    fn refuse(&mut self, field: String, description: String) {
        self.wrong.push(Violation { field, description });
    }

    fn check(&mut self, descriptor: &MessageDescriptor, node: &mut Node, at: &str) {
        let Node::Object(fields) = node else { return };
        let mut given: Vec<Given> = Vec::new();
        for (name, value) in fields {
            let path = join(at, name);
            let Some(field) = find_field(descriptor, name) else {
                self.refuse(path, unknown(descriptor, name));
                continue;
            };
            if name == field.name() && name != field.json_name() {
                self.spelling.remember(name);
            }
            let same = given.iter().find(|other| other.field.number() == field.number());
            let oneof = field.containing_oneof().filter(|_| !value.is_null());
            let rival = given
                .iter()
                .find(|other| oneof.is_some() && !other.is_null && other.field.containing_oneof() == oneof);
            if let Some(same) = same {
                let description = match &same.name {
                    spelled if spelled == name => "is given twice".to_owned(),
                    spelled => format!("is given twice, as {spelled} and as {name}"),
                };
                self.refuse(path, description);
                continue;
            }
            if let Some(rival) = rival {
                let description = format!("cannot be given together with {}; give one of them", rival.name);
                self.refuse(path, description);
                continue;
            }
            self.check_field(&field, value, &path);
            given.push(Given { field, name: name.clone(), is_null: value.is_null() });
        }
    }

    fn check_field(&mut self, field: &FieldDescriptor, value: &mut Node, at: &str) {
        let Some(message) = fields_within(field) else {
            if let (true, Node::Leaf(Value::String(mask))) = (is_field_mask(field), &mut *value) {
                // JSON writes masks as in `spec.secretEnv`, and many write them as the contract does.
                *mask = to_camel_case(mask).split(',').map(str::trim).collect::<Vec<_>>().join(",");
            }
            return self.check_keys(value, at, DEEPEST);
        };
        match value {
            Node::Object(entries) if field.is_map() => {
                self.check_twice(entries, at);
                for (key, value) in entries {
                    self.check(&message, value, &format!("{at}[{key}]"));
                }
            }
            Node::List(items) if field.is_list() => {
                for (i, item) in items.iter_mut().enumerate() {
                    self.check(&message, item, &format!("{at}[{i}]"));
                }
            }
            // A list in place of an object is told with the other wrong values.
            Node::Object(_) | Node::List(_) | Node::Leaf(_) => self.check(&message, value, at),
        }
    }

    /// Checks maps of plain values, and free-form objects at any depth.
    fn check_keys(&mut self, node: &Node, at: &str, left: usize) {
        let Some(left) = left.checked_sub(1) else {
            // The path names every level, and would be as long as the request.
            let at = at.split(['.', '[']).take(4).collect::<Vec<_>>().join(".");
            return self.refuse(at, format!("nests too deeply; at most {DEEPEST} levels are allowed"));
        };
        match node {
            Node::Leaf(_) => {}
            Node::List(items) => {
                for (i, item) in items.iter().enumerate() {
                    self.check_keys(item, &format!("{at}[{i}]"), left);
                }
            }
            Node::Object(entries) => {
                self.check_twice(entries, at);
                for (key, value) in entries {
                    self.check_keys(value, &join(at, key), left);
                }
            }
        }
    }

    fn check_twice(&mut self, entries: &[(String, Node)], at: &str) {
        let mut seen = BTreeSet::new();
        for (key, _) in entries {
            if !seen.insert(key) {
                self.refuse(format!("{at}[{key}]"), "is given twice".to_owned());
            }
        }
    }
}

/// Returns the field of this name, in either spelling.
fn find_field(descriptor: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    descriptor.get_field_by_json_name(name).or_else(|| descriptor.get_field_by_name(name))
}

/// Returns the path of a key. An empty key would not show.
fn join(at: &str, name: &str) -> String {
    validate::join(at, if name.is_empty() { "\"\"" } else { name })
}

fn unknown(descriptor: &MessageDescriptor, name: &str) -> String {
    let known: Vec<_> = descriptor.fields().map(|field| field.json_name().to_owned()).collect();
    let close = closest(name, known.iter().map(String::as_str), SLIP);
    let hint = close.map_or_else(String::new, |close| format!("; did you mean {close}?"));
    format!("is not a field of {}{hint}", descriptor.name())
}

/// Finds every value that its field does not take. The parser itself decides: it gets each value alone.
fn find_wrong(descriptor: &MessageDescriptor, node: &Node, at: &str, wrong: &mut Vec<Violation>) {
    let Node::Object(fields) = node else { return };
    for (name, value) in fields {
        let Some(field) = find_field(descriptor, name) else { continue };
        let path = join(at, name);
        let mut attempt = |value: &Node, path: String, sent: Value, form: String| {
            let within = fields_within(&field).filter(|_| matches!(value, Node::Object(_)));
            if let Some(message) = within {
                find_wrong(&message, value, &path, wrong);
            } else if deserialize(descriptor, json!({ name: sent })).is_err() {
                let description = format!("is {}; expected {form}", quote(&value.to_value()));
                wrong.push(Violation { field: path, description });
            }
        };
        match (value, field.kind()) {
            (Node::Object(entries), Kind::Message(entry)) if field.is_map() => {
                for (key, value) in entries {
                    let form = form(&entry.map_entry_value_field().kind());
                    attempt(value, format!("{path}[{key}]"), json!({ key: value.to_value() }), form);
                }
            }
            (Node::List(items), kind) if field.is_list() => {
                for (i, item) in items.iter().enumerate() {
                    attempt(item, format!("{path}[{i}]"), json!([item.to_value()]), form(&kind));
                }
            }
            (_, Kind::Message(entry)) if field.is_map() => {
                let form = form(&entry.map_entry_value_field().kind());
                attempt(
                    &Node::Leaf(value.to_value()),
                    path,
                    value.to_value(),
                    format!("an object, each value {form}"),
                );
            }
            (_, kind) if field.is_list() => {
                let form = format!("a list, each item {}", form(&kind));
                attempt(&Node::Leaf(value.to_value()), path, value.to_value(), form);
            }
            (_, kind) => attempt(value, path, value.to_value(), form(&kind)),
        }
    }
}

fn quote(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(LONGEST_VALUE) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// Returns the form that a value takes, with an example where the form is not obvious.
fn form(kind: &Kind) -> String {
    let text = match kind {
        Kind::Message(message) => match message.full_name() {
            "google.protobuf.Duration" => "a time in seconds such as \"90s\" or \"1.5s\"",
            "google.protobuf.Timestamp" => "a time such as \"2026-01-02T03:04:05Z\"",
            "google.protobuf.FieldMask" => "one string of paths and commas such as \"spec.image,labels\"",
            _ => "an object",
        },
        Kind::Enum(kinds) => {
            let names: Vec<_> = kinds.values().map(|value| value.name().to_owned()).collect();
            return format!("one of {}", names.join(", "));
        }
        Kind::Bool => "true or false",
        Kind::String => "a string in quotes",
        Kind::Bytes => "a string in base64",
        Kind::Double | Kind::Float => "a number",
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => return whole(i32::MIN, i32::MAX),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => return whole(i64::MIN, i64::MAX),
        Kind::Uint32 | Kind::Fixed32 => return whole(0, u32::MAX),
        Kind::Uint64 | Kind::Fixed64 => return whole(0, u64::MAX),
    };
    text.to_owned()
}

fn whole(least: impl std::fmt::Display, most: impl std::fmt::Display) -> String {
    format!("a whole number from {least} to {most}")
}

#[cfg(test)]
mod tests;
