//! The form of a record in the `data` of a ControllerRevision. Every JSON encoder writes this form to the
//! same bytes.
//!
//! The API server rejects an update of a ControllerRevision if `data` differs by a byte. A client that
//! updates or patches one encodes `data` again, and encoders differ. Go sorts keys, writes `1.0` as `1`, and
//! escapes `<`, `>` and `&`. Gson of Java also escapes `=` and `'`. Python escapes everything that is not
//! ASCII. So `data` is an object with a single string of printable ASCII without those characters, and that
//! string is the record. See docs/adr/0014.

use std::{
    fmt::Write as _,
    io::{Read, Write as _},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};
use serde_json::{Value, json};

use super::Record;

/// Key of the record as JSON text.
const RECORD: &str = "record";

/// Key of the record as JSON text, compressed (DEFLATE) and in base64 (URL alphabet, no padding).
const DEFLATED: &str = "deflated";

/// Longest text, in bytes, that is stored without compression. etcd accepts 1.5 MiB per object, and a text of
/// quotes doubles in size when it is encoded as JSON.
const LONGEST: usize = 384 * 1024;

/// Longest text, in bytes, that a compressed record may have. No object that Kubernetes accepts needs more,
/// and a text made to be large must not fill the memory.
const LONGEST_INFLATED: u64 = 64 * 1024 * 1024;

/// Forms of `data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A single string, as this version writes it.
    Text,
    /// The record itself as an object, as earlier versions wrote it. The API server may reject any change to
    /// such a revision, even to its metadata.
    Object,
}

// === impl Form ===

impl Form {
    /// Returns whether a revision of this form must be written again before it can be carried out. If it is
    /// not `applied` yet, the API server may reject marking it as applied.
    pub fn is_stuck(self, applied: bool) -> bool {
        !applied && self == Self::Object
    }
}

/// Returns the `data` of a revision.
pub fn to_data(record: &Record) -> Result<Value, String> {
    let text = ascii(&serde_json::to_string(record).map_err(|error| error.to_string())?);
    if text.len() <= LONGEST {
        return Ok(json!({ RECORD: text }));
    }
    let mut deflate = DeflateEncoder::new(Vec::new(), Compression::default());
    let deflated = deflate.write_all(text.as_bytes()).and_then(|()| deflate.finish());
    let deflated = deflated.map_err(|error| error.to_string())?;
    Ok(json!({ DEFLATED: BASE64_URL_SAFE_NO_PAD.encode(deflated) }))
}

/// Reads the record from the `data` of a revision, with its form. `None` if a later version wrote it.
pub fn from_data(data: Value) -> Option<(Record, Form)> {
    let text = |key: &str| data.get(key).and_then(Value::as_str);
    if let Some(text) = text(RECORD) {
        return Some((serde_json::from_str(text).ok()?, Form::Text));
    }
    if let Some(text) = text(DEFLATED) {
        let deflated = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let mut inflated = String::new();
        DeflateDecoder::new(&*deflated).take(LONGEST_INFLATED).read_to_string(&mut inflated).ok()?;
        return Some((serde_json::from_str(&inflated).ok()?, Form::Text));
    }
    Some((serde_json::from_value(data).ok()?, Form::Object))
}

/// Escapes all characters except printable ASCII with `\u`, and also those that some encoders escape. Outside
/// strings, JSON contains none of these characters.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len() + json.len() / 8);
    for c in json.chars() {
        if matches!(c, ' '..='~') && !matches!(c, '<' | '>' | '&' | '=' | '\'') {
            text.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a `String` cannot fail.
            let _ = write!(text, "\\u{unit:04x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{
        revision::Cause,
        spec::{Content, arbitrary::mk_any_content},
    };

    fn mk_record(content: Content, reason: &str) -> Record {
        Record::new(Cause::Deploy, content, "ann".into(), reason.into(), Timestamp::UNIX_EPOCH)
    }

    /// Encodes the JSON again as Go does: with sorted keys, floats without a fraction as integers, and HTML
    /// escaped.
    fn as_go(data: &str) -> String {
        let value: Value = serde_json::from_str(data).unwrap(); // sorts keys
        let mut text = value.to_string();
        for c in ['<', '>', '&', '\u{2028}', '\u{2029}'] {
            text = text.replace(c, &format!("\\u{:04x}", c as u32));
        }
        text
    }

    /// Encodes the JSON again as Python does, with everything that is not ASCII escaped, and as Gson does.
    fn as_others(data: &str) -> String {
        let value: Value = serde_json::from_str(data).unwrap();
        ascii(&value.to_string())
    }

    proptest! {
        #[test]
        fn every_encoder_writes_it_alike_and_it_reads_back(content in mk_any_content(), reason in ".{0,40}", html in "[<>&='\"\\\\/\u{7f}\u{2028}\u{0}\n]{0,9}") {
            let record = mk_record(content, &(reason + &html));
            let data = to_data(&record).unwrap();
            let text = data.to_string();
            prop_assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{}", text);
            prop_assert_eq!(&as_go(&text), &text);
            prop_assert_eq!(&as_others(&text), &text);
            prop_assert_eq!(from_data(data), Some((record, Form::Text)));
        }

        #[test]
        fn long_texts_of_any_kind_fit(text in prop_oneof![Just("&"), Just("\""), Just("\\"), Just("\u{1}"), Just("語"), Just("😀"), Just("x")]) {
            let record = mk_record(Content::default(), &text.repeat(1_000_000 / text.len()));
            let data = to_data(&record).unwrap();
            prop_assert!(data.to_string().len() < 1_100_000);
            prop_assert_eq!(from_data(data), Some((record, Form::Text)));
        }
    }

    #[test]
    fn people_can_read_it() {
        let data = to_data(&mk_record(Content::default(), "fix A&B, it's <late>")).unwrap();
        let text = data["record"].as_str().unwrap();
        assert!(text.contains(r#""reason":"fix A\u0026B, it\u0027s \u003clate\u003e""#), "{text}");
    }

    #[test]
    fn the_form_of_earlier_versions_is_read() {
        let record = mk_record(Content::default(), "a&b");
        let data = serde_json::to_value(&record).unwrap();
        assert_eq!(from_data(data), Some((record, Form::Object)));
    }

    #[test]
    fn what_cannot_be_read_is_not_misread() {
        for data in [
            json!({}),
            json!({"record": 1}),
            json!({"record": "{"}),
            json!({"deflated": "!"}),
            json!({"sealed": "x"}),
        ] {
            assert_eq!(from_data(data.clone()), None, "{data}");
        }
    }
}
