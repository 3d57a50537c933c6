//! Kubernetes quantities (`250m`, `1Gi`, `2e3`): whether a text is one, and how much it is. Pure arithmetic.

/// The value of a quantity in its base unit (cores, bytes), or `None` if the text is none.
///
/// Grammar: <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>.
pub fn parse(text: &str) -> Option<f64> {
    let end =
        text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let unsigned = number.strip_prefix(['+', '-']).unwrap_or(number);
    if !unsigned.bytes().any(|b| b.is_ascii_digit()) || unsigned.contains(['+', '-']) {
        return None;
    }
    let value: f64 = number.parse().ok()?;
    let factor = match suffix {
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024.0_f64.powi(2),
        "Gi" => 1024.0_f64.powi(3),
        "Ti" => 1024.0_f64.powi(4),
        "Pi" => 1024.0_f64.powi(5),
        "Ei" => 1024.0_f64.powi(6),
        exponent => {
            let digits = exponent.strip_prefix(['e', 'E'])?;
            10.0_f64.powi(digits.parse().ok().filter(|e| (-99..=99).contains(e))?)
        }
    };
    Some(value * factor)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantities_have_values() {
        for (text, value) in [
            ("250m", 0.25),
            ("1", 1.0),
            ("1.5", 1.5),
            ("256Mi", 268_435_456.0),
            ("2e3", 2000.0),
            ("1E", 1e18),
            (".5", 0.5),
        ] {
            assert_eq!(parse(text), Some(value), "{text}");
        }
    }

    #[test]
    fn other_texts_are_none() {
        for text in
            ["", "m", "abc", "1.2.3", "1MiB", "1 Gi", "--1", "1-", "e3", "1e", "1e1000", "NaN", "inf", "0x10"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_finite_or_none(text in ".{0,12}") {
            prop_assert!(parse(&text).is_none_or(f64::is_finite));
        }
    }
}
