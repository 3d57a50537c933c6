//! Encodes the body of a server-side apply. The API server parses it as YAML even if it is JSON. So
//! characters that YAML rejects (DEL, C1 controls, a byte order mark) or folds (NEL, U+2028, U+2029) are
//! written as escapes.

use std::fmt::Write;

use serde_json::{Value, value::RawValue};

use crate::domain::Error;

/// Returns the manifest as JSON that means the same when read as YAML. Characters beyond the basic plane are
/// not escaped, because JSON would write each of them as two escapes, which YAML does not join. YAML accepts
/// all of these characters unescaped.
pub(super) fn encode_apply_body(manifest: &Value) -> Result<Box<RawValue>, Error> {
    let json = manifest.to_string();
    let mut body = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            ' '..='~' | '\u{10000}'.. => body.push(c),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(body, "\\u{:04x}", u32::from(c));
            }
        }
    }
    RawValue::from_string(body).map_err(|error| Error::Bug(format!("writing a manifest: {error}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_same_json_without_what_yaml_takes_otherwise(text in "(.|[\u{0}-\u{a0}\u{2028}\u{2029}\u{feff}\u{fffe}\u{ffff}\u{1fffe}\n]){0,40}") {
            let manifest = json!({"a": {&text: [text]}});
            let body = encode_apply_body(&manifest).unwrap();
            // Nothing that YAML rejects or folds is left, see https://yaml.org/spec/1.2.2/#51-character-set
            let is_plain = |c: char| matches!(c, ' '..='~') || u32::from(c) > 0xffff;
            prop_assert!(body.get().chars().all(is_plain));
            prop_assert_eq!(serde_json::from_str::<Value>(body.get()).unwrap(), manifest);
        }
    }
}
