//! Parses Kubernetes quantities (`250m`, `1Gi`, `2e3`). Pure arithmetic.

/// Returns the value of a quantity in its base unit (cores, bytes), or `None` if the text is not a quantity.
///
/// Grammar: <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>.
pub fn parse_quantity(text: &str) -> Option<f64> {
    let (number, suffix) = split(text);
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

/// Splits a quantity into its number and its unit.
fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-')));
    text.split_at(end.unwrap_or(text.len()))
}

/// Returns the value in fractions of the unit, of which `parts` make one, rounded up as Kubernetes does. For
/// example, `ceil_quantity("100m", 1000)` is 100 thousandths of a core. Exact within 128 bits; a value beyond
/// `i64` becomes `i64::MAX` or `i64::MIN`.
pub fn ceil_quantity(text: &str, parts: i64) -> Option<i64> {
    let value = parse_quantity(text)?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // saturates
    let nearest = || (value * parts as f64).ceil() as i64;
    let saturated = |up: i128| i64::try_from(up).unwrap_or(if up < 0 { i64::MIN } else { i64::MAX });
    Some(exact(text, parts).map_or_else(nearest, saturated))
}

/// Returns the one text that stands for all texts of this value: `0.1` and `100m` become `100m`, and `1024Mi`
/// becomes `1Gi`. As in Kubernetes, a value is rounded up to billionths. `None` if the text is not a
/// quantity, or is beyond 128 bits.
pub fn canonical_quantity(text: &str) -> Option<String> {
    const ONE: i64 = 1_000_000_000;
    let divided = |mut value: i128, by: i128, units: &[&str]| {
        let mut used = 0;
        while used + 1 < units.len() && value % by == 0 {
            value /= by;
            used += 1;
        }
        format!("{value}{}", units[used])
    };
    parse_quantity(text)?;
    let billionths = exact(text, ONE)?;
    let whole = billionths / i128::from(ONE);
    Some(if billionths == 0 {
        "0".to_owned()
    } else if billionths % (1024 * i128::from(ONE)) == 0 {
        divided(whole, 1024, &["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"])
    } else {
        divided(billionths, 1000, &["n", "u", "m", "", "k", "M", "G", "T", "P", "E"])
    })
}

/// Returns the value in fractions of the unit, rounded up. `None` beyond 128 bits.
fn exact(text: &str, parts: i64) -> Option<i128> {
    let (number, suffix) = split(text);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let decimals = u32::try_from(fraction.len()).ok()?;
    let (times, by): (i128, i128) = match suffix {
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "" => (1, 1),
        "k" => (1000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        exponent => {
            let exponent: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
            if exponent < 0 { (1, power) } else { (power, 1) }
        }
    };
    let by = by.checked_mul(10_i128.checked_pow(decimals)?)?;
    let value = digits.checked_mul(times)?.checked_mul(parts.into())?;
    Some(value.div_euclid(by) + i128::from(value.rem_euclid(by) > 0))
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
            assert_eq!(parse_quantity(text), Some(value), "{text}");
        }
    }

    #[test]
    fn other_texts_are_none() {
        for text in
            ["", "m", "abc", "1.2.3", "1MiB", "1 Gi", "--1", "1-", "e3", "1e", "1e1000", "NaN", "inf", "0x10"]
        {
            assert_eq!(parse_quantity(text), None, "{text}");
        }
    }

    #[test]
    fn parts_are_exact_and_rounded_up() {
        for (text, parts, expected) in [
            ("100m", 1000, 100),
            ("0.1", 1000, 100),
            ("1", 1000, 1000),
            ("1n", 1000, 1),
            ("256Mi", 1, 268_435_456),
            ("1.5Gi", 1, 1_610_612_736),
            ("100m", 1, 1),
            ("2e3", 1, 2000),
            ("0", 1000, 0),
            ("9E", 1000, i64::MAX),
            ("+7", 1, 7),
            (".5", 1000, 500),
        ] {
            assert_eq!(ceil_quantity(text, parts), Some(expected), "{text}");
        }
        assert_eq!(ceil_quantity("1MiB", 1), None);
    }

    #[test]
    fn texts_of_one_value_have_one_canonical_text() {
        for (canonical, texts) in [
            ("100m", &["0.1", "100m", "0.10", "100000u", "1e-1", ".1", "+0.1"][..]),
            ("1", &["1", "1000m", "1.0", "1e0", "01"]),
            ("1500m", &["1.5", "1500m", "1.50"]),
            ("1Gi", &["1Gi", "1024Mi", "1073741824", "1073741824000m"]),
            ("1G", &["1G", "1000M", "1e9", "1E9"]),
            ("1n", &["1n", "0.1n", "1e-9"]),
            ("0", &["0", "0.0", "0Mi", "0m"]),
            ("976562500000000Ki", &["1E", "1000P", "1e18"]),
        ] {
            for text in texts {
                assert_eq!(canonical_quantity(text).as_deref(), Some(canonical), "{text}");
            }
        }
        assert_eq!(canonical_quantity("1MiB"), None);
    }

    proptest! {
        #[test]
        fn the_canonical_text_has_the_same_value(
            number in "[0-9]{1,6}(\\.[0-9]{1,4})?",
            unit in proptest::sample::select(vec!["", "n", "u", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "e3", "E-2"]),
        ) {
            let text = format!("{number}{unit}");
            let canonical = canonical_quantity(&text).unwrap();
            prop_assert_eq!(exact(&canonical, 1_000_000_000), exact(&text, 1_000_000_000));
            prop_assert_eq!(canonical_quantity(&canonical), Some(canonical));
        }

        #[test]
        fn any_text_is_finite_or_none(text in ".{0,12}") {
            prop_assert!(parse_quantity(&text).is_none_or(f64::is_finite));
        }
    }
}
