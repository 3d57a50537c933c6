//! Durations as people write them in flags and queries.

use std::time::Duration;

/// Parses a duration, for example `90s`, `10m` or `1h 30m`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration =
        text.parse().map_err(|_| format!("{text:?} is not a duration; write it like 90s, 10m or 1h30m"))?;
    parsed.try_into().map_err(|_| format!("{text:?} is negative"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [("0s", 0), ("90s", 90), ("10m", 600), ("1h30m", 5400)] {
            assert_eq!(parse_duration(text).map(|d| d.as_secs()), Ok(seconds), "{text}");
        }
        assert!(parse_duration("10").is_err() && parse_duration("-1s").is_err());
    }
}
