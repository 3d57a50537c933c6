//! Writes a message as JSON, with the keys of maps in order, so that equal messages are equal bytes.

use prost_reflect::{DynamicMessage, EnumDescriptor, Kind, ReflectMessage as _, Value};
use serde::ser::{Error, Serialize, SerializeMap as _, SerializeSeq as _, Serializer};

use crate::grpc::validate;

/// A message, to be written as JSON.
pub(super) struct Sorted<'a>(pub(super) &'a DynamicMessage);

/// A value of a field of this kind.
struct SortedValue<'a>(&'a Value, &'a Kind);

impl Serialize for Sorted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(message) = self;
        if message.descriptor().full_name().starts_with("google.protobuf.") {
            // Their JSON does not follow their fields. serde_json's objects are in order.
            let mut value = serde_json::to_value(message).map_err(S::Error::custom)?;
            write_whole_numbers(&mut value);
            return value.serialize(serializer);
        }
        let mut fields = serializer.serialize_map(None)?;
        for (field, value) in message.fields() {
            fields.serialize_entry(field.json_name(), &SortedValue(value, &field.kind()))?;
        }
        fields.end()
    }
}

impl Serialize for SortedValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(value, kind) = self;
        match value {
            Value::Message(message) => Sorted(message).serialize(serializer),
            Value::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(&SortedValue(item, kind))?;
                }
                list.end()
            }
            Value::Map(entries) => {
                let kind = kind.as_message().map(|entry| entry.map_entry_value_field().kind());
                let kind = kind.ok_or_else(|| S::Error::custom("a map has no entries"))?;
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in validate::sorted(entries) {
                    map.serialize_entry(&key, &SortedValue(value, &kind))?;
                }
                map.end()
            }
            Value::EnumNumber(number) => match kind.as_enum().and_then(|kinds| name(kinds, *number)) {
                Some(name) => serializer.serialize_str(&name),
                None => serializer.serialize_i32(*number),
            },
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::I32(value) => serializer.serialize_i32(*value),
            Value::U32(value) => serializer.serialize_u32(*value),
            // JSON's numbers are doubles to many parsers, which would round these.
            Value::I64(value) => serializer.collect_str(value),
            Value::U64(value) => serializer.collect_str(value),
            Value::F32(value) => float(f64::from(*value), serializer, |s| s.serialize_f32(*value)),
            Value::F64(value) => float(*value, serializer, |s| s.serialize_f64(*value)),
            Value::String(value) => serializer.serialize_str(value),
            Value::Bytes(value) => {
                use base64::{Engine as _, prelude::BASE64_STANDARD};
                serializer.serialize_str(&BASE64_STANDARD.encode(value))
            }
        }
    }
}

/// A Struct holds every number as a double. A whole one is written as it was sent: Kubernetes, whose objects
/// Structs hold here, refuses 8080.0 as a port.
fn write_whole_numbers(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Number(number) => {
            if let Some(whole) = number.as_f64().and_then(to_whole) {
                *number = whole.into();
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(write_whole_numbers),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(write_whole_numbers),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::String(_) => {}
    }
}

/// Returns a number that is whole, and exact as a double.
fn to_whole(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[allow(clippy::cast_possible_truncation)] // it is whole, and within the bounds
    (number.fract() == 0.0 && number.abs() < EXACT).then_some(number as i64)
}

fn float<S: Serializer>(
    value: f64,
    serializer: S,
    finite: impl FnOnce(S) -> Result<S::Ok, S::Error>,
) -> Result<S::Ok, S::Error> {
    match value {
        value if value.is_nan() => serializer.serialize_str("NaN"),
        f64::INFINITY => serializer.serialize_str("Infinity"),
        f64::NEG_INFINITY => serializer.serialize_str("-Infinity"),
        _ => finite(serializer),
    }
}

fn name(kinds: &EnumDescriptor, number: i32) -> Option<String> {
    kinds.get_value(number).map(|value| value.name().to_owned())
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_reflect::prost_types::Struct;

    use super::*;
    use crate::{grpc::schema, pb};

    /// The library's own writer is right in all but the order.
    #[test]
    fn it_writes_what_the_library_writes_in_order() {
        let map = |keys: &[&str]| keys.iter().map(|k| ((*k).to_owned(), format!("{k}\u{2028}<&>"))).collect();
        let mut patch = Struct::default();
        for (key, number) in [("z", 8080.0), ("a", 1.5), ("m", 1e300)] {
            patch.fields.insert(key.to_owned(), prost_types::Value::from(number));
        }
        let app = pb::App {
            name: "namespaces/a/apps/b".to_owned(),
            labels: map(&["z", "b", "a", "y", "c"]),
            status: Some(pb::AppStatus { state: 99, reconciling: true, ..pb::AppStatus::default() }),
            spec: Some(pb::AppSpec {
                replicas: Some(0),
                env: map(&["Z", "A", "M"]),
                ports: vec![pb::Port { name: "http".to_owned(), number: 80, protocol: 2 }],
                termination_grace: Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 }),
                pod_template_patch: Some(patch),
                ..pb::AppSpec::default()
            }),
            create_time: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
            ..pb::App::default()
        };
        let message = schema::schema().ok().unwrap().decode("gantry.v1.App", &app.encode_to_vec()).unwrap();
        let text = serde_json::to_string(&Sorted(&message)).unwrap();
        let mut library = serde_json::to_value(&message).unwrap();
        let patch = &mut library["spec"]["podTemplatePatch"];
        assert_eq!(patch["z"], 8080.0);
        patch["z"] = 8080.into();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), library);
        assert!(text.contains(r#""labels":{"a":"#), "{text}");
        assert!(text.contains(r#""podTemplatePatch":{"a":1.5,"m":1e+300,"z":8080}"#), "{text}");
        assert!(text.starts_with(r#"{"name":"namespaces/a/apps/b","spec":{"replicas":0"#), "{text}");
    }
}
