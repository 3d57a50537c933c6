//! The values of Secrets, held in memory only until they have been removed from the evidence. This module
//! cannot read Secrets.

use std::collections::BTreeSet;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::redact::REDACTED;

/// The length in bytes of the shortest value that is removed. Shorter values are ordinary text (`prod`,
/// `5432`), and removing them would make the evidence useless.
const SHORTEST: usize = 6;

/// The characters that most libraries percent-encode in URLs.
const IN_URLS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Values that must not appear in stored evidence. It does not implement `Debug`, so that no log line can
/// contain them.
pub struct Secrets {
    /// Sorted, so that a prefix of a value can be found.
    values: Vec<String>,
    /// Finds all values at once. `None` if the values are unknown; then no quoted text may be stored.
    found: Option<AhoCorasick>,
}

impl Default for Secrets {
    fn default() -> Self {
        Self::new([])
    }
}

impl Secrets {
    /// Takes the decoded values of Secrets. Of a value that is not text, only the base64 form is searched,
    /// because programs print text.
    pub fn new(values: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let mut all = BTreeSet::new();
        for value in values {
            all.insert(BASE64_STANDARD_NO_PAD.encode(&value));
            let Ok(text) = String::from_utf8(value) else { continue };
            let text = text.trim();
            let pieces =
                std::iter::once(text).chain(text.lines().filter(|line| *line != text).filter_map(setting));
            for piece in pieces.flat_map(|piece| [Some(piece), password(piece)]).flatten() {
                all.extend(forms(piece));
            }
        }
        let values: Vec<_> = all.into_iter().filter(|value| value.len() >= SHORTEST).collect();
        // One value may be a prefix of another. If there are too many values to search for, they count as
        // unknown.
        let found = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&values).ok();
        Self { values, found }
    }

    /// Values that could not be read.
    pub const fn unreadable() -> Self {
        Self { values: Vec::new(), found: None }
    }

    /// Returns the text without these values, and without a prefix of one at the end, where the text was cut
    /// off.
    pub(super) fn out_of(&self, text: &str) -> String {
        let Some(found) = &self.found else {
            return if text.is_empty() { String::new() } else { REDACTED.to_owned() };
        };
        let mut left = String::with_capacity(text.len());
        found.replace_all_with(text, &mut left, |_, _, to| {
            to.push_str(REDACTED);
            true
        });
        let (whole, end) = left.strip_suffix('…').map_or((left.as_str(), ""), |whole| (whole, "…"));
        match whole.char_indices().map(|(at, _)| at).find(|at| self.begins_with(&whole[*at..])) {
            Some(at) => format!("{}{REDACTED}{end}", &whole[..at]),
            None => left,
        }
    }

    fn begins_with(&self, text: &str) -> bool {
        let at = self.values.partition_point(|value| value.as_str() < text);
        text.len() >= SHORTEST && self.values.get(at).is_some_and(|value| value.starts_with(text))
    }
}

/// Returns the secret part of a line of a file. In a setting that is the value, because the key is ordinary
/// text.
fn setting(line: &str) -> Option<&str> {
    let line = line.trim();
    let is_key = |key: &str| key.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    let setting = line.split_once(": ").or_else(|| line.split_once('=').filter(|(key, _)| is_key(key)));
    match setting {
        // The end of base64, as in a PEM file.
        Some((_, value)) if value.trim_matches('=').is_empty() => Some(line),
        Some((_, value)) => Some(value.trim().trim_end_matches(',').trim_matches(['"', '\''])),
        None => Some(line).filter(|line| !line.ends_with(':')),
    }
}

/// Returns the password of a URL that has one.
fn password(url: &str) -> Option<&str> {
    let (before, _) = url.split_once("://")?.1.rsplit_once('@')?;
    before.split_once(':').map(|(_, password)| password)
}

/// Returns a value in the forms that programs write: raw, as JSON, as HTML-safe JSON, and percent-encoded.
fn forms(value: &str) -> [String; 4] {
    let json = serde_json::Value::from(value).to_string();
    let json = json[1..json.len() - 1].to_owned();
    let html = json.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e");
    [value.to_owned(), json, html, utf8_percent_encode(value, IN_URLS).to_string()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_value_is_left_whatever_stands_around_it(
            values in proptest::collection::vec("[a-zA-Z0-9=&:/ ]{6,20}", 1..4), before in ".{0,20}", after in ".{0,20}", cut in 0usize..30,
        ) {
            let secrets = Secrets::new(values.iter().map(|value| value.clone().into_bytes()));
            for value in values.iter().map(|value| value.trim()).filter(|value| value.len() >= SHORTEST) {
                let left = secrets.out_of(&format!("{before}{value}{after}"));
                prop_assert!(!left.contains(value), "{}", left);
                let cut = &value[..cut.clamp(SHORTEST, value.len())];
                let left = secrets.out_of(&format!("{before}{cut}…"));
                prop_assert!(!left.contains(cut), "cut off: {}", left);
            }
        }
    }

    #[test]
    fn every_form_of_a_value_goes_and_words_stay() {
        let file = "server:\n  port: 8080\n  password: \"swordfish\"\nTOKEN=open-sesame\nMIIBIjANBg==\n";
        let dsn = "postgres://app:p@ss/word@db:5432/shop";
        let values = [
            b"first line\nsecond line\n".to_vec(),
            b"prod".to_vec(),
            vec![0xff; 9],
            file.into(),
            b"a<b&\"c\"".to_vec(),
            dsn.into(),
        ];
        let secrets = Secrets::new(values);
        for (text, left) in [
            ("it says second line here", "it says [redacted] here"),
            ("in prod", "in prod"),
            ("Zmlyc3QgbGluZQpzZWNvbmQgbGluZQo= is it", "[redacted]= is it"),
            ("////////////", "[redacted]"),
            ("the server: password swordfish, open-sesame", "the server: password [redacted], [redacted]"),
            ("key MIIBIjANBg==", "key [redacted]"),
            (r#"{"m":"a<b&\"c\""}"#, r#"{"m":"[redacted]"}"#),
            (r#"{"m":"a\u003cb\u0026\"c\""}"#, r#"{"m":"[redacted]"}"#),
            ("?p=p%40ss%2Fword", "?p=[redacted]"),
            ("with p@ss/word", "with [redacted]"),
        ] {
            assert_eq!(secrets.out_of(text), left);
        }
    }

    #[test]
    fn what_could_not_be_looked_through_is_not_kept() {
        assert_eq!(Secrets::unreadable().out_of("anything"), REDACTED);
        assert_eq!(Secrets::unreadable().out_of(""), "");
        assert_eq!(Secrets::default().out_of("anything"), "anything");
    }
}
