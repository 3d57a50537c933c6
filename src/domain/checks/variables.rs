//! Checks whether environment variables, arguments and commands refer to variables that are there, and before
//! them. Pure; works on the pod templates before and after a change.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::domain::{
    check::{Check, Finding, Kind},
    manifest::variables::{name_of, references, references_of},
};

/// Most warnings about one container. The rest would say the same.
const MOST: usize = 8;

/// Returns a warning for each reference that Kubernetes does not fill in. If all are filled in, returns one
/// check with the order of the variables; nothing if no variable refers to another one.
pub fn check_variables(before: Option<&Value>, after: &Value) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut ordered = Vec::new();
    for container in containers(after) {
        let old = before.and_then(|before| containers(before).find(|old| old["name"] == container["name"]));
        let warnings = Container::new(container, old).warnings();
        let more = warnings.len().saturating_sub(MOST);
        let name = name_of(container);
        checks.extend(warnings.into_iter().take(MOST).map(|text| warn(format!("Container {name}: {text}"))));
        if more > 0 {
            checks.push(warn(format!("Container {name}: {more} more references are not filled in.")));
        }
        ordered.extend(order_of(container));
    }
    if checks.is_empty() && !ordered.is_empty() {
        let message = format!("Variables that others refer to come first: {}.", ordered.join(", "));
        checks.push(Check::new(Kind::Env, Finding::Pass, message));
    }
    checks
}

fn warn(message: String) -> Check {
    Check::new(Kind::Env, Finding::Warn, message)
}

fn containers(template: &Value) -> impl Iterator<Item = &Value> {
    let list = |key: &str| template["spec"][key].as_array().into_iter().flatten();
    list("initContainers").chain(list("containers"))
}

fn variables(container: &Value) -> &[Value] {
    container["env"].as_array().map_or(&[], Vec::as_slice)
}

/// Returns the names of the variables that refer to others or that others refer to, in their order.
fn order_of(container: &Value) -> Vec<&str> {
    let all = variables(container);
    let known: BTreeSet<_> = all.iter().map(name_of).collect();
    let named: BTreeSet<_> = all.iter().flat_map(references_of).filter(|name| known.contains(name)).collect();
    let refers = |v: &&Value| references_of(v).iter().any(|name| known.contains(name));
    all.iter().filter(|v| named.contains(name_of(v)) || refers(v)).map(name_of).collect()
}

struct Container<'a> {
    container: &'a Value,
    /// Names of its variables, in their order.
    names: Vec<&'a str>,
    /// Names of its variables before the change.
    before: BTreeSet<&'a str>,
}

impl<'a> Container<'a> {
    fn new(container: &'a Value, old: Option<&'a Value>) -> Self {
        let names = variables(container).iter().map(name_of).collect();
        let before = old.map(variables).unwrap_or_default().iter().map(name_of).collect();
        Self { container, names, before }
    }

    fn warnings(&self) -> Vec<String> {
        // What `envFrom` brings is not in the template.
        if self.container["envFrom"].as_array().is_some_and(|from| !from.is_empty()) {
            return Vec::new();
        }
        let mut warnings = Vec::new();
        for (at, variable) in variables(self.container).iter().enumerate() {
            let names: BTreeSet<_> = references_of(variable).into_iter().collect();
            warnings.extend(names.into_iter().filter_map(|name| self.unresolved(at, name)));
        }
        for key in ["command", "args"] {
            let texts = self.container[key].as_array().into_iter().flatten().filter_map(Value::as_str);
            let names: BTreeSet<_> = texts.flat_map(references).collect();
            // `$(date)` in an argument is more often meant for a shell than for Kubernetes.
            let gone = names.into_iter().filter(|name| self.is_taken_away(name));
            warnings.extend(gone.map(|name| {
                format!("{key} refers to $({name}), which this change removes, so the text stays as it is.")
            }));
        }
        warnings
    }

    fn is_taken_away(&self, name: &str) -> bool {
        self.before.contains(name) && !self.names.contains(&name)
    }

    /// Returns why Kubernetes does not fill in the reference of the variable at this place.
    fn unresolved(&self, at: usize, name: &str) -> Option<String> {
        let by = self.names[at];
        let escape = format!("write $$({name}) if the text itself is meant");
        match self.names.iter().rposition(|known| *known == name) {
            Some(place) if place < at => None,
            Some(place) if place == at => Some(format!(
                "{by} refers to itself, which Kubernetes does not fill in, also not from the image; {escape}."
            )),
            Some(place) if self.reaches(place, by) => Some(format!(
                "{by} and {name} refer to each other, so Kubernetes cannot fill in both; give one of them a value of its own."
            )),
            Some(_) => Some(format!(
                "{by} refers to {name}, which comes after it, so the text stays as it is. A restart puts variables of \
                 the app in order; in a pod_template_patch, move {name} before {by}."
            )),
            None if self.before.contains(name) => Some(format!(
                "{by} refers to {name}, which this change removes, so the text $({name}) stays as it is. Keep {name}, or \
                 change {by}."
            )),
            None if is_name(name) && !is_of_service(name) => Some(format!(
                "{by} refers to {name}, and there is no such variable, so the text $({name}) stays as it is. Add {name}, \
                 or {escape}."
            )),
            None => None,
        }
    }

    /// Returns whether the variable at this place leads to `name`, over any number of references.
    fn reaches(&self, place: usize, name: &str) -> bool {
        let all = variables(self.container);
        let (mut open, mut seen) = (vec![place], BTreeSet::new());
        while let Some(at) = open.pop() {
            if !seen.insert(at) {
                continue;
            }
            for reference in references_of(&all[at]) {
                if reference == name {
                    return true;
                }
                open.extend(self.names.iter().position(|known| *known == reference));
            }
        }
        false
    }
}

/// Returns whether this looks like the name of a variable.
fn is_name(text: &str) -> bool {
    let letters = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    letters && !text.is_empty() && !text.starts_with(|c: char| c.is_ascii_digit())
}

/// Returns whether Kubernetes may set this variable for a Service of the namespace, for example
/// `KUBERNETES_SERVICE_HOST`, `SHOP_PORT` or `SHOP_PORT_80_TCP_ADDR`.
fn is_of_service(name: &str) -> bool {
    let upper = !name.contains(|c: char| c.is_ascii_lowercase());
    upper
        && (name.ends_with("_SERVICE_HOST")
            || name.ends_with("_PORT")
            || name.contains("_SERVICE_PORT")
            || name.contains("_PORT_"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template(env: &[(&str, &str)]) -> Value {
        let env: Vec<_> = env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        json!({"spec": {"containers": [{"name": "app", "env": env}]}})
    }

    fn told(before: Option<&Value>, after: &Value) -> Vec<(Finding, String)> {
        check_variables(before, after).into_iter().map(|check| (check.result, check.message)).collect()
    }

    #[test]
    fn what_kubernetes_does_not_fill_in_is_told_with_its_cause() {
        for (env, part) in [
            (&[("A", "$(B)")][..], "there is no such variable"),
            (&[("A", "$(B)"), ("B", "1")], "comes after it"),
            (&[("A", "$(B)"), ("B", "$(A)")], "refer to each other"),
            (&[("A", "$(B)"), ("B", "$(C)"), ("C", "$(A)")], "refer to each other"),
            (&[("PATH", "$(PATH):/opt")], "refers to itself"),
        ] {
            let found = told(None, &template(env));
            assert!(
                !found.is_empty() && found.iter().all(|(finding, _)| *finding == Finding::Warn),
                "{env:?}"
            );
            assert!(found.iter().any(|(_, text)| text.contains(part)), "{env:?}: {found:?}");
        }
    }

    #[test]
    fn what_is_no_reference_or_is_filled_in_is_not_told() {
        for env in [
            &[][..],
            &[("A", "$$(B)")],
            &[("A", "$(KUBERNETES_SERVICE_HOST):$(SHOP_PORT_80_TCP_ADDR)")],
            &[("A", "price: $(1,50)")],
            &[("A", "$B ${C} $(")],
        ] {
            assert_eq!(told(None, &template(env)), [], "{env:?}");
        }
        let mut from = template(&[("A", "$(B)")]);
        from["spec"]["containers"][0]["envFrom"] = json!([{"configMapRef": {"name": "shop"}}]);
        assert_eq!(told(None, &from), []);
        let fine = template(&[("C", ""), ("B", "1"), ("A", "$(B)")]);
        let order = "Variables that others refer to come first: B, A.".to_owned();
        assert_eq!(told(None, &fine), [(Finding::Pass, order)]);
    }

    #[test]
    fn a_variable_that_goes_while_others_name_it_is_told() {
        let before = template(&[("B", "1"), ("A", "$(B)")]);
        let mut after = template(&[("A", "$(B)")]);
        let found = told(Some(&before), &after);
        assert!(found[0].1.contains("which this change removes"), "{found:?}");
        after["spec"]["containers"][0]["env"] = json!([]);
        after["spec"]["containers"][0]["args"] = json!(["--db=$(B)", "sh -c $(date)"]);
        let found = told(Some(&before), &after);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].1.contains("args refers to $(B)"), "{found:?}");
    }

    #[test]
    fn many_warnings_are_cut_short() {
        let all: Vec<_> = (0..20).map(|n| (format!("V{n}"), format!("$(NONE_{n})"))).collect();
        let env: Vec<_> = all.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let found = told(None, &template(&env));
        assert_eq!(found.len(), MOST + 1);
        assert!(found[MOST].1.contains("12 more references"), "{found:?}");
    }
}
