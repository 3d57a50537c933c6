//! Removes text that looks like a credential from texts of programs and Kubernetes. It guesses by the
//! surrounding text; known values of Secrets are removed separately.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// Replaces removed text.
pub(super) const REDACTED: &str = "[redacted]";

/// A key that names a credential, up to the `=` or `:` after it.
macro_rules! key {
    () => {
        r#"[a-z0-9_.-]*(?:passw(?:or)?d|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential)[a-z0-9_.-]*["']?\s*"#
    };
}

/// The value after that sign.
macro_rules! value {
    () => {
        r#"\s*["']?(?<secret>[^\s"',;&]{2,})"#
    };
}

/// The patterns in the order in which they are applied. The group named `secret` is removed.
const PATTERNS: [&str; 6] = [
    // scheme://user:password@host
    r"[a-zA-Z][a-zA-Z0-9+.-]*://[^\s/:@]*:(?<secret>[^\s/@]+)@",
    // Authorization: Bearer abc, Basic abc
    r"(?i)\b(?:bearer|basic)\s+(?<secret>[a-z0-9._~+/=-]{8,})",
    // A JSON Web Token anywhere.
    r"\b(?<secret>eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*)",
    // DB_PASSWORD=abc, but not `password for user`, which has no sign after the key.
    concat!(r"(?i)\b", key!(), "=", value!()),
    // "api_key": "abc", secret: abc, but not `/run/secrets/token: permission denied`, because an error
    // follows a path.
    concat!(r"(?i)(?:^|[^a-z0-9_./-])", key!(), ":", value!()),
    // The lines of a PEM block between its first and last line.
    r"^(?<secret>[A-Za-z0-9+/]{60,}={0,2})$",
];

static COMPILED: LazyLock<Vec<Regex>> =
    LazyLock::new(|| PATTERNS.iter().filter_map(|pattern| Regex::new(pattern).ok()).collect());

/// Returns the text without parts that look like a credential.
pub fn redact_text(text: &str) -> String {
    COMPILED.iter().fold(text.to_owned(), |text, pattern| {
        let replaced = pattern.replace_all(&text, |found: &Captures<'_>| {
            let (whole, secret) = (&found[0], &found["secret"]);
            // The last occurrence, because the key may contain the value too.
            match whole.rfind(secret) {
                Some(at) => format!("{}{REDACTED}{}", &whole[..at], &whole[at + secret.len()..]),
                None => whole.to_owned(),
            }
        });
        replaced.into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_is_one() {
        assert_eq!(COMPILED.len(), PATTERNS.len());
    }

    #[test]
    fn what_looks_like_a_credential_goes_and_nothing_else() {
        for (text, expected) in [
            ("connect postgres://app:hunter2@db:5432/shop", "connect postgres://app:[redacted]@db:5432/shop"),
            ("DB_PASSWORD=hunter2 PORT=80", "DB_PASSWORD=[redacted] PORT=80"),
            ("url /login/token=abc123 password: hunter2", "url /login/token=[redacted] password: [redacted]"),
            ("open /run/secrets/token: no such file", "open /run/secrets/token: no such file"),
            ("exec: \"/etc/passwd\": permission denied", "exec: \"/etc/passwd\": permission denied"),
            (r#"{"apiKey": "abc123", "n": 1}"#, r#"{"apiKey": "[redacted]", "n": 1}"#),
            ("Authorization: Bearer abcdef.ghij-klm", "Authorization: Bearer [redacted]"),
            ("got eyJhbGciOi12.eyJzdWIi.sig from him", "got [redacted] from him"),
            ("panic: password for user \"app\" is wrong", "panic: password for user \"app\" is wrong"),
            ("secret \"shop-db\" not found", "secret \"shop-db\" not found"),
            ("token expired at 12:30", "token expired at 12:30"),
            ("password=password", "password=[redacted]"),
        ] {
            assert_eq!(redact_text(text), expected);
            assert_eq!(redact_text(expected), expected, "once is enough");
        }
    }
}
