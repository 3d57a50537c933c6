//! One rule of a field, and the sentence about a value that breaks it: the value, and what would be valid.

use std::fmt::Display;

use prost_reflect::{DynamicMessage, EnumDescriptor, Value};
use regex::Regex;

/// Nanoseconds in a second.
const SECOND: i128 = 1_000_000_000;
/// Most seconds of a `google.protobuf.Duration`: about 10,000 years.
const LONGEST: u64 = 315_576_000_000;
/// Characters of an invalid value that an error repeats.
const SHOWN: usize = 64;

/// What the value of a field must be.
pub(super) enum Rule {
    /// Text that matches this pattern.
    Pattern(Regex),
    /// Text with at least so many characters.
    MinLen(u64),
    /// Text with at most so many characters.
    MaxLen(u64),
    /// Text that is a UUID.
    Uuid,
    /// A list with at least so many elements.
    MinItems(u64),
    /// A list with at most so many elements.
    MaxItems(u64),
    /// A whole number within bounds.
    Int32(Bounds<i32>),
    /// A number within bounds.
    Double(Bounds<f64>),
    /// A number that is neither infinite nor NaN.
    Finite,
    /// A duration within bounds, in nanoseconds.
    Duration(Bounds<i128>),
    /// A value that the enum has.
    Defined(EnumDescriptor),
}

/// The limits of a number, each with whether the limit itself is allowed.
pub(super) struct Bounds<T> {
    pub(super) lower: Option<(T, bool)>,
    pub(super) upper: Option<(T, bool)>,
}

// === impl Rule ===

impl Rule {
    /// Returns what is wrong with a value, or `None`.
    pub(super) fn broken_by(&self, value: &Value) -> Option<String> {
        match self {
            Self::Pattern(regex) => {
                let text = value.as_str().filter(|text| !regex.is_match(text))?;
                Some(format!("is {}; it must match {regex}", shown(text)))
            }
            Self::MinLen(least) => {
                let count = length(value).filter(|count| count < least)?;
                Some(if count == 0 {
                    "is required".to_owned()
                } else {
                    format!("has {count} characters; it must have at least {least}")
                })
            }
            Self::MaxLen(most) => {
                let count = length(value).filter(|count| count > most)?;
                Some(format!("has {count} characters; it must have at most {most}"))
            }
            Self::Uuid => {
                let text = value.as_str().filter(|text| !is_uuid(text))?;
                Some(format!(
                    "is {}; it must be a UUID such as 123e4567-e89b-12d3-a456-426614174000",
                    shown(text)
                ))
            }
            Self::MinItems(least) => {
                let count = count(value).filter(|count| count < least)?;
                Some(format!("has {count} entries; it must have at least {least}"))
            }
            Self::MaxItems(most) => {
                let count = count(value).filter(|count| count > most)?;
                Some(format!("has {count} entries; it must have at most {most}"))
            }
            Self::Int32(bounds) => bounds.broken_by(value.as_i32()?, |n| n.to_string()),
            Self::Double(bounds) => bounds.broken_by(value.as_f64()?, |n| n.to_string()),
            Self::Finite => {
                let number = value.as_f64().filter(|number| !number.is_finite())?;
                Some(format!("is {number}; it must be a finite number"))
            }
            Self::Duration(bounds) => match nanos(value.as_message()?) {
                Some(nanos) => bounds.broken_by(nanos, seconds),
                None => Some(
                    "is not a valid duration; seconds and nanoseconds must have the same sign, with at most \
                     315,576,000,000 seconds and 999,999,999 nanoseconds"
                        .to_owned(),
                ),
            },
            Self::Defined(descriptor) => {
                let number = value.as_enum_number().filter(|n| descriptor.get_value(*n).is_none())?;
                Some(format!("is {number}, which is not a value of {}", descriptor.name()))
            }
        }
    }
}

// === impl Bounds ===

impl<T: PartialOrd + Copy> Bounds<T> {
    fn broken_by(&self, value: T, text: impl Fn(T) -> String) -> Option<String> {
        // Written so that NaN is out of bounds.
        let above = self.lower.is_none_or(|(limit, itself)| value > limit || itself && value == limit);
        let below = self.upper.is_none_or(|(limit, itself)| value < limit || itself && value == limit);
        if above && below {
            return None;
        }
        let lower = |(limit, itself): (T, bool)| {
            format!("{} {}", if itself { "at least" } else { "more than" }, text(limit))
        };
        let upper = |(limit, itself): (T, bool)| {
            format!("{} {}", if itself { "at most" } else { "less than" }, text(limit))
        };
        let right = match (self.lower, self.upper) {
            (Some((least, true)), Some((most, true))) => format!("from {} to {}", text(least), text(most)),
            (Some(least), Some(most)) => format!("{} and {}", lower(least), upper(most)),
            (Some(least), None) => lower(least),
            (None, Some(most)) => upper(most),
            (None, None) => return None,
        };
        Some(format!("is {}; it must be {right}", text(value)))
    }
}

/// Returns a `google.protobuf.Duration` in nanoseconds, or `None` if it is invalid.
pub(super) fn nanos(duration: &DynamicMessage) -> Option<i128> {
    let seconds = duration.get_field_by_name("seconds")?.as_i64()?;
    let nanos = duration.get_field_by_name("nanos")?.as_i32()?;
    let one_sign = seconds == 0 || nanos == 0 || (seconds > 0) == (nanos > 0);
    let valid = one_sign && seconds.unsigned_abs() <= LONGEST && i128::from(nanos).abs() < SECOND;
    valid.then(|| i128::from(seconds) * SECOND + i128::from(nanos))
}

fn seconds(nanos: i128) -> String {
    let (whole, rest) = (nanos.abs() / SECOND, nanos.abs() % SECOND);
    let sign = if nanos < 0 { "-" } else { "" };
    if rest == 0 {
        format!("{sign}{whole} s")
    } else {
        let rest = format!("{rest:09}");
        format!("{sign}{whole}.{} s", rest.trim_end_matches('0'))
    }
}

fn length(value: &Value) -> Option<u64> {
    u64::try_from(value.as_str()?.chars().count()).ok()
}

fn count(value: &Value) -> Option<u64> {
    u64::try_from(value.as_list()?.len()).ok()
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<_> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| group.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Quotes a text for an error: escaped, and cut if it is long.
pub(super) fn shown(text: &str) -> impl Display {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}
