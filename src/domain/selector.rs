//! Parses Kubernetes label selectors and decides whether labels match. Knows no objects.

use std::collections::BTreeMap;

/// A parsed label selector. The default selector matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    rule: Rule,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

/// Why a text is not a label selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a label selector; examples: app=shop, tier!=web, env in (prod, test), !canary")]
pub struct Invalid(String);

// === impl Selector ===

impl Selector {
    /// Parses `a=b,c!=d,e in (f,g),h notin (i),j,!k`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let mut requirements = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let end = end_of_requirement(rest);
            let requirement =
                parse_requirement(rest[..end].trim()).ok_or_else(|| Invalid(text.to_owned()))?;
            requirements.push(requirement);
            let after = &rest[end..];
            rest = after.strip_prefix(',').unwrap_or(after).trim_start();
            if rest.is_empty() && after.starts_with(',') {
                return Err(Invalid(text.to_owned()));
            }
        }
        Ok(Self(requirements))
    }

    /// Reads Kubernetes' structured form: `{matchLabels, matchExpressions}`.
    pub fn from_structured(selector: &serde_json::Value) -> Self {
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let mut requirements: Vec<Requirement> = selector["matchLabels"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| Requirement { key: key.clone(), rule: Rule::In(vec![text(value)]) })
            .collect();
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            let values = || expression["values"].as_array().into_iter().flatten().map(text).collect();
            let rule = match expression["operator"].as_str() {
                Some("In") => Rule::In(values()),
                Some("NotIn") => Rule::NotIn(values()),
                Some("DoesNotExist") => Rule::Absent,
                _ => Rule::Exists,
            };
            requirements.push(Requirement { key: text(&expression["key"]), rule });
        }
        Self(requirements)
    }

    /// Adds the requirement that these labels have these values.
    #[must_use]
    pub fn and<'a>(mut self, labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        let exactly = |(key, value): (&String, &String)| Requirement {
            key: key.clone(),
            rule: Rule::In(vec![value.clone()]),
        };
        self.0.extend(labels.into_iter().map(exactly));
        self
    }

    /// Returns whether it has no requirements, so that it matches everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether these labels satisfy every requirement.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|r| {
            let value = labels.get(&r.key);
            match &r.rule {
                Rule::In(values) => value.is_some_and(|v| values.contains(v)),
                // As in Kubernetes, an absent label satisfies `NotIn`.
                Rule::NotIn(values) => value.is_none_or(|v| !values.contains(v)),
                Rule::Exists => value.is_some(),
                Rule::Absent => value.is_none(),
            }
        })
    }
}

/// Returns where the first requirement ends: at a comma outside parentheses.
fn end_of_requirement(text: &str) -> usize {
    let mut depth = 0_i32;
    text.find(|c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    })
    .unwrap_or(text.len())
}

fn parse_requirement(text: &str) -> Option<Requirement> {
    let (key, rule) = if let Some(key) = text.strip_prefix('!') {
        (key, Rule::Absent)
    } else if let Some((key, value)) = text.split_once("!=") {
        (key, Rule::NotIn(vec![value.trim().to_owned()]))
    } else if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        (key, Rule::In(vec![value.trim().to_owned()]))
    } else if let Some((head, set)) = text.split_once('(') {
        let values: Vec<_> = set.strip_suffix(')')?.split(',').map(|v| v.trim().to_owned()).collect();
        let (key, operator) = head.trim().rsplit_once(char::is_whitespace)?;
        match operator {
            "in" => (key, Rule::In(values)),
            "notin" => (key, Rule::NotIn(values)),
            _ => return None,
        }
    } else {
        (text, Rule::Exists)
    };
    let key = key.trim();
    let values_fit = match &rule {
        Rule::In(values) | Rule::NotIn(values) => values.iter().all(|v| is_label_value(v)),
        Rule::Exists | Rule::Absent => true,
    };
    (is_label_key(key) && values_fit).then(|| Requirement { key: key.to_owned(), rule })
}

/// Returns whether Kubernetes accepts the text as a label key: an optional DNS prefix and `/`, then at most
/// 63 characters.
pub fn is_label_key(text: &str) -> bool {
    let (prefix, name) = text.split_once('/').map_or((None, text), |(p, n)| (Some(p), n));
    let dns = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    !name.is_empty()
        && is_label_value(name)
        && prefix.is_none_or(|p| !p.is_empty() && p.len() <= 253 && p.chars().all(dns))
}

/// Returns whether Kubernetes accepts the text as an annotation key: as a label key, but with upper-case
/// letters in the prefix, too.
pub fn is_annotation_key(text: &str) -> bool {
    is_label_key(&text.to_ascii_lowercase())
}

/// Returns whether Kubernetes accepts the text as a label value: at most 63 letters, digits, `-`, `_` and
/// `.`, with a letter or digit at each end.
pub fn is_label_value(text: &str) -> bool {
    let alphanumeric = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && alphanumeric(text.chars().next())
        && alphanumeric(text.chars().last())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn each_operator_decides() {
        let shop = labels(&[("app", "shop"), ("env", "prod")]);
        for (text, expected) in [
            ("", true),
            ("app=shop", true),
            ("app==shop,env=prod", true),
            ("app=web", false),
            ("env!=prod", false),
            ("tier!=web", true),
            ("env in (test, prod)", true),
            ("env notin (test)", true),
            ("env notin (prod),app", false),
            ("app", true),
            ("!app", false),
            ("!tier", true),
        ] {
            assert_eq!(Selector::parse(text).unwrap().matches(&shop), expected, "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["=", "a=b,", "a in b", "a in (b", "a foo (b)", "a b", "a=b c", "(", "a=ü", ",", "!"] {
            assert!(Selector::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in ".{0,40}") {
            let _ = Selector::parse(&text);
        }
    }
}
