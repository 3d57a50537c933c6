//! Writes a message with its fields in the order of the contract and the keys of maps in alphabetical order,
//! so that equal messages are equal texts.

use prost_reflect::{DynamicMessage, FieldDescriptor, MessageDescriptor, ReflectMessage as _};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::Value;

/// A message, or a value in it.
pub(super) struct Sorted {
    value: Value,
    shape: Shape,
}

/// What is known about a value.
#[derive(Clone)]
enum Shape {
    /// A message of this type, or a list of them.
    Message(MessageDescriptor),
    /// A map with messages of this type.
    Map(MessageDescriptor),
    /// One of Google's own types, whose JSON does not follow their fields. A Struct holds every number as a
    /// double.
    Google,
    /// Anything else.
    Plain,
}

impl Sorted {
    pub(super) fn new(message: &DynamicMessage) -> Result<Self, serde_json::Error> {
        Ok(Self { value: serde_json::to_value(message)?, shape: Shape::of_message(message.descriptor()) })
    }
}

impl Shape {
    fn of_message(message: MessageDescriptor) -> Self {
        if message.full_name().starts_with("google.protobuf.") {
            Self::Google
        } else {
            Self::Message(message)
        }
    }

    fn of_field(field: &FieldDescriptor) -> Self {
        let kind = field.kind();
        let Some(message) = kind.as_message() else { return Self::Plain };
        if !message.is_map_entry() {
            return Self::of_message(message.clone());
        }
        let values = message.map_entry_value_field().kind();
        values.as_message().map_or(Self::Plain, |message| Self::Map(message.clone()))
    }
}

impl Serialize for Sorted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(&self.value, &self.shape, serializer)
    }
}

/// A value within a message.
struct Part<'a>(&'a Value, Shape);

impl Serialize for Part<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(self.0, &self.1, serializer)
    }
}

fn serialize<S: Serializer>(value: &Value, shape: &Shape, serializer: S) -> Result<S::Ok, S::Error> {
    match (value, shape) {
        (Value::Object(object), Shape::Message(message)) => {
            let mut fields: Vec<_> = message.fields().collect();
            fields.sort_by_key(FieldDescriptor::number);
            let mut map = serializer.serialize_map(None)?;
            for field in fields {
                if let Some(value) = object.get(field.json_name()) {
                    map.serialize_entry(field.json_name(), &Part(value, Shape::of_field(&field)))?;
                }
            }
            map.end()
        }
        (Value::Object(object), Shape::Map(message)) => {
            let shape = Shape::of_message(message.clone());
            serializer.collect_map(object.iter().map(|(key, value)| (key, Part(value, shape.clone()))))
        }
        // serde_json keeps the keys in order.
        (Value::Object(object), shape) => {
            serializer.collect_map(object.iter().map(|(key, value)| (key, Part(value, shape.clone()))))
        }
        (Value::Number(number), Shape::Google) => match number.as_f64().and_then(to_whole) {
            // Kubernetes refuses 8080.0 as a port.
            Some(whole) => serializer.serialize_i64(whole),
            None => number.serialize(serializer),
        },
        (Value::Array(items), shape) => {
            serializer.collect_seq(items.iter().map(|item| Part(item, shape.clone())))
        }
        (value, _) => value.serialize(serializer),
    }
}

/// Returns a whole number that a double holds exactly.
#[allow(clippy::cast_possible_truncation)] // checked: whole numbers up to 2^53 are exact
fn to_whole(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64)
}
