//! Small pieces of text: times, names, colours. Must not know commands nor messages beyond their simplest
//! parts.

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use prost_types::Timestamp;

/// Colours texts, or leaves them unchanged.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Paint {
    /// Whether the reader shows colours.
    pub(crate) color: bool,
}

/// Returns one line without control characters, because the logs of a container must not control the
/// terminal.
pub(crate) fn line(text: &str) -> String {
    let stripped = anstream::adapter::strip_str(text).to_string();
    let one_line: String = stripped.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    one_line.trim_end().to_owned()
}

/// Cuts a line to at most `width` characters, colours not counted; `…` stands for what was cut off.
pub(crate) fn cut(line: &str, width: usize) -> String {
    let plain = anstream::adapter::strip_str(line).to_string();
    if plain.chars().count() <= width {
        return line.to_owned();
    }
    let mut cut = String::new();
    let (mut shown, mut in_colour) = (1, false);
    for c in line.chars() {
        if in_colour || c == '\u{1b}' {
            in_colour = c != 'm';
        } else if shown < width {
            shown += 1;
        } else {
            break;
        }
        cut.push(c);
    }
    cut.push('…');
    if line.contains('\u{1b}') {
        cut.push_str("\u{1b}[0m");
    }
    cut
}

/// Returns the texts in their order, each once.
pub(crate) fn unique<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut unique = Vec::new();
    for text in texts {
        if !unique.contains(&text) {
            unique.push(text);
        }
    }
    unique
}

/// Returns the line without blanks at its end.
pub(crate) fn trimmed(mut line: String) -> String {
    line.truncate(line.trim_end().len());
    line
}

/// Formats a time as `4.2 s`, `3 min 20 s` or `2 h 5 min`.
pub(crate) fn took(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// Formats a duration of the API in the same way; empty if it is negative.
pub(crate) fn span(time: &prost_types::Duration) -> String {
    Duration::try_from(*time).map_or_else(|_| String::new(), took)
}

/// Formats `2025-07-01T03:00:00Z`, without fractions of a second.
pub(crate) fn instant(time: &Timestamp) -> String {
    Timestamp { nanos: 0, ..*time }.to_string()
}

/// Formats `650`, `37.5`, `0.001`, with at most three decimal places.
pub(crate) fn number(number: f64) -> String {
    let text = format!("{number:.3}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Formats how long ago a time was, in one unit: `12s`, `5m`, `3h`, `9d`. Empty if the time is not known.
pub(crate) fn age(then: Option<&Timestamp>, now: i64) -> String {
    // If the clock of this machine is behind the daemon's, the age is 0 instead of negative.
    then.map_or_else(String::new, |then| match now.saturating_sub(then.seconds).max(0) {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7200 => format!("{}m", seconds / 60),
        seconds @ 7200..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    })
}

/// Formats `1 replica` or `2 replicas`.
pub(crate) fn count(n: i32, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// Removes the prefix of an enum value: `APP_STATE_ACTIVE` -> `ACTIVE`.
pub(crate) fn bare<'a>(value: &'a str, prefix: &str) -> &'a str {
    value.strip_prefix(prefix).unwrap_or(value)
}

/// Quotes a flag value for a shell, if it needs quotes.
pub(crate) fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

// === impl Paint ===

impl Paint {
    /// Colours a name. Different names get different colours, as far as there are enough.
    pub(crate) fn told_apart(self, name: &str) -> String {
        const COLORS: [AnsiColor; 6] = [
            AnsiColor::Cyan,
            AnsiColor::Green,
            AnsiColor::Magenta,
            AnsiColor::Blue,
            AnsiColor::BrightCyan,
            AnsiColor::BrightMagenta,
        ];
        let sum = name.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        self.styled(COLORS[sum % COLORS.len()].on_default(), name)
    }

    /// Formats a heading.
    pub(crate) fn bold(self, text: &str) -> String {
        self.styled(Style::new().bold(), text)
    }

    /// Colours what went well.
    pub(crate) fn good(self, text: &str) -> String {
        self.styled(AnsiColor::Green.on_default().bold(), text)
    }

    /// Colours what went wrong.
    pub(crate) fn bad(self, text: &str) -> String {
        self.styled(AnsiColor::Red.on_default().bold(), text)
    }

    /// Colours what deserves a look.
    pub(crate) fn warn(self, text: &str) -> String {
        self.styled(AnsiColor::Yellow.on_default(), text)
    }

    /// Dims what may be overlooked.
    pub(crate) fn dim(self, text: &str) -> String {
        self.styled(Style::new().dimmed(), text)
    }

    fn styled(self, style: Style, text: &str) -> String {
        if self.color && !text.is_empty() { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ages_have_one_unit() {
        let ago = |seconds: i64| age(Some(&Timestamp { seconds: 1_000_000 - seconds, nanos: 0 }), 1_000_000);
        let ages: Vec<_> = [-5, 0, 119, 120, 7199, 7200, 172_799, 172_800].map(ago).into();
        assert_eq!(ages, ["0s", "0s", "119s", "2m", "119m", "2h", "47h", "2d"]);
        assert_eq!(age(None, 5), "");
    }

    #[test]
    fn times_are_rounded_to_what_matters() {
        let times: Vec<_> =
            [0.04, 4.2, 59.94, 200.0, 7500.0].map(|s| took(Duration::from_secs_f64(s))).into();
        assert_eq!(times, ["0.0 s", "4.2 s", "59.9 s", "3 min 20 s", "2 h 5 min"]);
    }

    proptest! {
        #[test]
        fn a_cut_line_fits_and_keeps_its_beginning(words in "[a-zé ]{0,60}", width in 1_usize..70, color: bool) {
            let painted = format!("{}{words}", Paint { color }.bad("ERROR"));
            let shown = anstream::adapter::strip_str(&cut(&painted, width)).to_string();
            let whole = format!("ERROR{words}");
            prop_assert!(shown.chars().count() <= width);
            if let Some(kept) = shown.strip_suffix('…') {
                prop_assert!(whole.starts_with(kept) && whole.chars().count() > width);
            } else {
                prop_assert_eq!(shown, whole);
            }
        }
    }

    #[test]
    fn numbers_have_no_idle_digits() {
        let numbers: Vec<_> = [0.0, 650.0, 37.5, 0.0011, 1e9, f64::NAN].map(number).into();
        assert_eq!(numbers, ["0", "650", "37.5", "0.001", "1000000000", "NaN"]);
    }

    #[test]
    fn instants_are_exact_to_the_second() {
        assert_eq!(instant(&Timestamp { seconds: 60, nanos: 999_999_999 }), "1970-01-01T00:01:00Z");
        assert_eq!(span(&prost_types::Duration { seconds: 90, nanos: 0 }), "1 min 30 s");
        assert_eq!(span(&prost_types::Duration { seconds: -1, nanos: 0 }), "");
    }

    #[test]
    fn escapes_and_line_breaks_go() {
        assert_eq!(line("\u{1b}[31mpanic\u{1b}[0m\tat\nmain\r\n"), "panic at main");
    }

    #[test]
    fn words_with_spaces_are_quoted() {
        assert_eq!(
            (shell("a/b:1"), shell("it's"), shell("")),
            ("a/b:1".into(), r"'it'\''s'".into(), "''".into())
        );
    }

    proptest! {
        #[test]
        fn no_control_character_survives(text in ".*") {
            prop_assert!(!line(&text).contains(char::is_control));
        }
    }
}
