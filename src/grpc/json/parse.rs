//! Parses JSON into a message. Refuses unknown fields and names all of them at once, because an ignored
//! spelling mistake would deploy something else than the caller asked for.

use prost_reflect::{DeserializeOptions, DynamicMessage, FieldDescriptor, MessageDescriptor};
use serde_json::{Deserializer, Value};
use tonic::Status;

use crate::domain::{Error, error::Violation};

/// Parses a JSON text into a message.
pub(super) fn parse_message(descriptor: &MessageDescriptor, text: &[u8]) -> Result<DynamicMessage, Status> {
    let mut json = Deserializer::from_slice(text);
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    let mut path = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut path);
    let parsed = DynamicMessage::deserialize_with_options(descriptor.clone(), tracked, &options)
        .and_then(|message| json.end().map(|()| message));
    parsed.map_err(|error| explain(descriptor, text, &path.path().to_string(), &error).into())
}

fn explain(descriptor: &MessageDescriptor, text: &[u8], path: &str, error: &serde_json::Error) -> Error {
    let Ok(value) = serde_json::from_slice::<Value>(text) else {
        let empty = if text.is_empty() { "; send {} for an empty request" } else { "" };
        return Error::invalid("", format!("the request is not valid JSON: {error}{empty}"));
    };
    let mut unknown = Vec::new();
    find_unknown(descriptor, &value, "", &mut unknown);
    if unknown.is_empty() {
        let field = if path == "." { "" } else { path };
        return Error::invalid(field, format!("has an invalid value: {error}"));
    }
    Error::Invalid(unknown)
}

/// Finds every field in a JSON value that its message does not have.
fn find_unknown(descriptor: &MessageDescriptor, value: &Value, at: &str, unknown: &mut Vec<Violation>) {
    // The JSON forms of Google's types do not follow their fields.
    let (Value::Object(fields), false) = (value, descriptor.full_name().starts_with("google.")) else {
        return;
    };
    for (name, value) in fields {
        let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
        let known = descriptor.get_field_by_json_name(name).or_else(|| descriptor.get_field_by_name(name));
        if let Some(field) = known {
            find_within(&field, value, &path, unknown);
        } else {
            let description = format!("is not a field of {}", descriptor.name());
            unknown.push(Violation { field: path, description });
        }
    }
}

fn find_within(field: &FieldDescriptor, value: &Value, at: &str, unknown: &mut Vec<Violation>) {
    let kind = field.kind();
    let Some(message) = kind.as_message() else { return };
    if let (true, Value::Object(entries)) = (message.is_map_entry(), value) {
        let kind = message.map_entry_value_field().kind();
        let Some(message) = kind.as_message() else { return };
        for (key, value) in entries {
            find_unknown(message, value, &format!("{at}[{key}]"), unknown);
        }
    } else if let Value::Array(items) = value {
        for (i, item) in items.iter().enumerate() {
            find_unknown(message, item, &format!("{at}[{i}]"), unknown);
        }
    } else {
        find_unknown(message, value, at, unknown);
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt;

    use super::super::super::schema::method;
    use super::*;

    fn fields(text: &str) -> Vec<(String, String)> {
        let deploy = method("gantry.v1.AppService/DeployApp").unwrap();
        let status = parse_message(&deploy.input, text.as_bytes()).unwrap_err();
        let details = status.get_error_details();
        let bad = details.bad_request().unwrap();
        bad.field_violations.iter().map(|v| (v.field.clone(), v.description.clone())).collect()
    }

    #[test]
    fn every_unknown_field_is_named() {
        let text = r#"{"ap": 1, "app": {"nam": "x", "spec": {"ports": [{}, {"numbr": 1}],
            "secretEnv": {"A": {"kee": ""}}, "podTemplatePatch": {"anything": {"goes": 1}}}}}"#;
        let found: Vec<_> = fields(text).into_iter().map(|(field, _)| field).collect();
        assert_eq!(found, ["ap", "app.nam", "app.spec.ports[1].numbr", "app.spec.secretEnv[A].kee"]);
    }

    #[test]
    fn a_wrong_value_is_named_by_its_place() {
        for (text, field) in [
            (r#"{"app": {"spec": {"ports": [{"number": "many"}]}}}"#, "app.spec.ports[0].number"),
            (r#"{"app": {"spec": {"terminationGrace": "soon"}}}"#, "app.spec.terminationGrace"),
            (r#"{"validateOnly": 1}"#, "validateOnly"),
            ("[]", ""),
            ("", ""),
            ("{", ""),
            ("{} {}", ""),
        ] {
            assert_eq!(fields(text)[0].0, field, "{text}: {:?}", fields(text));
        }
    }

    #[test]
    fn both_spellings_of_a_field_are_taken() {
        let deploy = method("gantry.v1.AppService/DeployApp").unwrap();
        for text in [r#"{"validateOnly": true}"#, r#"{"validate_only": true}"#] {
            let message = parse_message(&deploy.input, text.as_bytes()).unwrap();
            assert_eq!(message.get_field_by_name("validate_only").unwrap().as_bool(), Some(true));
        }
    }
}
