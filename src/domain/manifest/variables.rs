//! References from one environment variable to another, `$(NAME)`, and the order that they need: Kubernetes
//! fills in only variables that come before.
//!
//! Syntax: <https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/>,
//! and `expand.go` in <https://github.com/kubernetes/kubernetes/tree/v1.36.3/third_party/forked/golang/expansion>.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Returns the names that a text refers to. `$$(X)` is no reference, but the text `$(X)`.
pub fn references(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('$') {
        rest = match after.strip_prefix('(').map(|open| (open, open.split_once(')'))) {
            Some((_, Some((name, after)))) => {
                names.push(name);
                after
            }
            Some((open, None)) => open,
            // The character after `$` belongs to it.
            None => {
                let mut chars = after.chars();
                chars.next();
                chars.as_str()
            }
        };
    }
    names
}

/// Returns the name of a variable of a container.
pub fn name_of(variable: &Value) -> &str {
    variable["name"].as_str().unwrap_or_default()
}

/// Returns the names that a variable refers to.
pub fn references_of(variable: &Value) -> Vec<&str> {
    variable["value"].as_str().map(references).unwrap_or_default()
}

/// Moves each variable that another one refers to before that one. Otherwise the order stays. Of variables
/// that refer to each other in a circle, one comes first; Kubernetes cannot fill it in.
pub fn put_in_order(variables: &[Value]) -> Vec<Value> {
    let places: BTreeMap<_, _> = variables.iter().enumerate().map(|(i, v)| (name_of(v), i)).collect();
    let mut seen = BTreeSet::new();
    let mut ordered = Vec::with_capacity(variables.len());
    // A stack instead of recursion, because a caller decides how long a chain is.
    for start in 0..variables.len() {
        let mut open = vec![(start, false)];
        while let Some((at, ready)) = open.pop() {
            if ready {
                ordered.push(variables[at].clone());
            } else if seen.insert(at) {
                open.push((at, true));
                let before = references_of(&variables[at]).into_iter().filter_map(|name| places.get(name));
                open.extend(before.rev().map(|place| (*place, false)));
            }
        }
    }
    ordered
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn mk_variables(all: &[(&str, &str)]) -> Vec<Value> {
        all.iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
    }

    fn names(variables: &[Value]) -> Vec<&str> {
        variables.iter().map(name_of).collect()
    }

    #[test]
    fn references_are_found_as_kubernetes_expands_them() {
        for (text, expected) in [
            ("", &[][..]),
            ("$(A)", &["A"]),
            ("x$(A)$(B)y", &["A", "B"]),
            ("$$(A)", &[]),
            ("$$$(A)", &["A"]),
            ("$A $(A", &[]),
            ("$($(A)", &["$(A"]),
            ("$(A B)", &["A B"]),
            ("$", &[]),
            ("$é$(A)", &["A"]),
        ] {
            assert_eq!(references(text), expected, "{text}");
        }
    }

    #[test]
    fn a_variable_that_another_names_comes_first() {
        for (given, expected) in [
            (&[("A", "$(B)"), ("B", "1")][..], "B A"),
            (&[("A", "$(C)$(B)"), ("B", "1"), ("C", "$(D)"), ("D", "2")], "D C B A"),
            (&[("A", "1"), ("B", "$(A)"), ("C", "2")], "A B C"),
            (&[("A", "$(B)"), ("B", "$(A)"), ("C", "")], "B A C"),
            (&[("PATH", "$(PATH):/x"), ("A", "")], "PATH A"),
            (&[("A", "$(NONE)"), ("B", "$$(C)"), ("C", "")], "A B C"),
        ] {
            assert_eq!(names(&put_in_order(&mk_variables(given))).join(" "), expected, "{given:?}");
        }
    }

    proptest! {
        #[test]
        fn every_variable_stays_and_comes_after_what_it_names(values in proptest::collection::vec("(\\$\\([A-H]\\)|x){0,3}", 1..8)) {
            let all: Vec<_> = ('A'..='H').zip(&values).map(|(n, v)| json!({"name": n.to_string(), "value": v})).collect();
            let ordered = put_in_order(&all);
            let mut back = ordered.clone();
            back.sort_by_key(|variable| name_of(variable).to_owned());
            prop_assert_eq!(&back, &all);
            let place = |name: &str| ordered.iter().position(|v| name_of(v) == name);
            // Without a circle, each name is before its use.
            let mut reached: Vec<BTreeSet<String>> = all.iter().map(|v| references_of(v).into_iter().map(str::to_owned).collect()).collect();
            for _ in 0..8 {
                let next = |set: &BTreeSet<String>| set.iter().flat_map(|n| {
                    let at = all.iter().position(|v| name_of(v) == n);
                    at.map(|at| reached[at].clone()).unwrap_or_default()
                }).chain(set.iter().cloned()).collect();
                reached = reached.iter().map(next).collect();
            }
            if all.iter().zip(&reached).all(|(v, set)| !set.contains(name_of(v))) {
                prop_assert_eq!(&put_in_order(&ordered), &ordered);
                for variable in &all {
                    for name in references_of(variable) {
                        prop_assert!(place(name).is_none_or(|at| at < place(name_of(variable)).unwrap()));
                    }
                }
            }
        }
    }
}
