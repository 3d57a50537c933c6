//! The spelling of field paths. The contract names fields as in `secret_env`, and JSON as in
//! `secretEnv`. An error names a field as the caller's request does.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use prost_reflect::{FieldDescriptor, MessageDescriptor};
use tonic::Status;
use tonic_types::{FieldViolation, StatusExt};

/// The names of the contract that a request uses. It is filled when the request is read, which may be after
/// its answer has begun.
#[derive(Clone, Default)]
pub(super) struct Spelling(Arc<Mutex<BTreeSet<String>>>);

// === impl Spelling ===

impl Spelling {
    pub(super) fn remember(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
    }

    fn is_used(&self, name: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
    }

    /// Returns an error whose field paths are spelled as in the request.
    pub(super) fn respell(&self, input: &MessageDescriptor, status: Status) -> Status {
        let mut details = status.get_error_details();
        let Some(bad) = details.bad_request() else { return status };
        let mut message = status.message().to_owned();
        let mut list = Vec::new();
        for violation in &bad.field_violations {
            let path = self.respell_path(input, &violation.field);
            if path != violation.field {
                message = message.replace(&violation.field, &path);
            }
            // What is said about a mask names fields, too.
            let is_mask =
                input.get_field_by_name(&violation.field).is_some_and(|field| is_field_mask(&field));
            let mut description = violation.description.clone();
            if !violation.field.is_empty() {
                description = description.replace(&violation.field, &path);
            }
            if is_mask {
                description = to_camel_case(&description);
                message = message.replace(&violation.description, &description);
            }
            list.push(FieldViolation::new(path, description));
        }
        details.set_bad_request(list);
        Status::with_error_details(status.code(), message, details)
    }

    /// Returns a path of the contract, for example `app.spec.secret_env[A].key`, with the names of JSON.
    fn respell_path(&self, input: &MessageDescriptor, path: &str) -> String {
        let (mut within, mut rest, mut spelled) = (Some(input.clone()), path, String::new());
        while let Some(message) = within.take() {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let name = &rest[..end];
            let Some(field) = message.get_field_by_name(name) else { break };
            spelled.push_str(if self.is_used(name) { name } else { field.json_name() });
            rest = &rest[end..];
            // A key may contain dots and brackets, so its end is the bracket before a dot or the end.
            if rest.starts_with('[') {
                let end = rest.find("].").map_or(rest.len(), |end| end + 1);
                spelled.push_str(&rest[..end]);
                rest = &rest[end..];
            }
            if let Some(next) = rest.strip_prefix('.') {
                spelled.push('.');
                rest = next;
                within = fields_within(&field);
            }
        }
        spelled + rest
    }
}

/// Returns whether a field holds paths of fields.
pub(super) fn is_field_mask(field: &FieldDescriptor) -> bool {
    field.kind().as_message().is_some_and(|message| message.full_name() == "google.protobuf.FieldMask")
}

/// Returns a text with the names of JSON in place of those of the contract.
pub(super) fn to_camel_case(text: &str) -> String {
    let mut camel = String::new();
    let mut after_underscore = false;
    for letter in text.chars() {
        match letter {
            '_' => after_underscore = true,
            _ if std::mem::take(&mut after_underscore) => camel.push(letter.to_ascii_uppercase()),
            _ => camel.push(letter),
        }
    }
    camel
}

/// Returns the fields within a field, if it holds messages whose JSON follows their fields.
pub(super) fn fields_within(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    let kind = field.kind();
    let message = kind.as_message()?;
    if message.is_map_entry() {
        return fields_within(&message.map_entry_value_field());
    }
    (!is_well_known(message)).then(|| message.clone())
}

/// The JSON of Google's types does not follow their fields.
fn is_well_known(message: &MessageDescriptor) -> bool {
    message.full_name().starts_with("google.protobuf.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::schema::method;

    #[test]
    fn a_path_has_the_names_of_json_unless_the_request_has_others() {
        let deploy = method("gantry.v1.AppService/DeployApp").unwrap();
        let spelling = Spelling::default();
        for (path, json) in [
            ("app.spec.secret_env[a_b.c_d].key", "app.spec.secretEnv[a_b.c_d].key"),
            ("app.spec.ports[0].number", "app.spec.ports[0].number"),
            ("app.labels[a_b/c.d_e]", "app.labels[a_b/c.d_e]"),
            ("app.spec.pod_template_patch.spec.init_x", "app.spec.podTemplatePatch.spec.init_x"),
            ("request_id", "requestId"),
            ("no_such.request_id", "no_such.request_id"),
            ("", ""),
        ] {
            assert_eq!(spelling.respell_path(&deploy.input, path), json);
        }
        spelling.remember("request_id");
        assert_eq!(spelling.respell_path(&deploy.input, "request_id"), "request_id");
    }
}
