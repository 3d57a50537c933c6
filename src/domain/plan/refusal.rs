//! Says which field of a request a refusal by the API server is about. Kubernetes names fields of the
//! rendered Deployment, or none. Pure.

use serde_json::Value;

use crate::domain::{
    Error,
    error::{RefusedField, Violation},
    keyed_lists::{entry_id, find_entry, join_entry, key_field, list_name},
    manifest::owned_fields,
    pod_template_patch::join_path,
    quantity::parse_quantity,
    revision::RENDERER,
    spec::Content,
};

/// The path of the patch in a request.
pub(super) const PATCH: &str = "app.spec.pod_template_patch";

/// Returns the error with the fields of the request, if it is a refusal of fields of the Deployment that was
/// rendered from this content.
pub fn name_request_fields(error: Error, content: &Content, deployment: &Value) -> Error {
    let Error::Refused { object, fields } = error else { return error };
    let patch = content.spec.pod_template_patch.as_ref();
    let mut violations: Vec<Violation> = Vec::new();
    for refused in fields {
        let found = match patch.filter(|_| refused.path.is_empty()) {
            Some(patch) => find_unconvertible(patch, &object, &refused),
            None => Vec::new(),
        };
        if found.is_empty() {
            let field = field_of(&refused, content, &deployment["spec"]["template"]);
            violations.push(Violation { field, ..refused.to_violation(&object) });
        }
        violations.extend(found);
    }
    // Kubernetes may refuse one value twice, for two reasons.
    violations.dedup();
    Error::Invalid(violations)
}

/// Returns the path in a request of a value in the patch. The path within the patch has the keys of lists in
/// brackets.
pub(super) fn path_in_patch(patch: &Value, path: &str) -> String {
    of_patch(&walk(path, patch, Some(patch)).spelled)
}

/// Returns the path in a request of this path within the patch.
pub(super) fn of_patch(path: &str) -> String {
    if path.starts_with('[') { format!("{PATCH}{path}") } else { format!("{PATCH}.{path}") }
}

/// The grace period of a pod, which limits its preStop hooks.
const GRACE: &str = "terminationGracePeriodSeconds";

fn field_of(refused: &RefusedField, content: &Content, template: &Value) -> String {
    let path = refused.path.trim_start_matches('.');
    let Some(path) = path.strip_prefix("spec.template.") else {
        // A value without a path cannot be converted. Gantry renders no such value, so the patch has it.
        return if path.is_empty() && content.spec.pod_template_patch.is_some() {
            PATCH.to_owned()
        } else {
            refused.field.clone()
        };
    };
    // Kubernetes leaves `metadata` out when it validates the labels and annotations of a template.
    let path = match path.split(['.', '[']).next() {
        Some("labels" | "annotations") => format!("metadata.{path}"),
        _ => path.to_owned(),
    };
    let found = walk(&path, template, content.spec.pod_template_patch.as_ref());
    // The default of the drain delay may be refused because of the grace period that the patch has.
    let grace = content.spec.pod_template_patch.as_ref().and_then(|patch| patch["spec"].get(GRACE));
    if found.keyed.contains("].lifecycle.preStop") && refused.message.contains(GRACE) && grace.is_some() {
        return of_patch(&format!("spec.{GRACE}"));
    }
    let owned = owned_fields(content, RENDERER);
    let is_below = |deep: &str, high: &str| {
        deep.strip_prefix(high).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let above = owned.iter().find(|owner| is_below(&found.keyed, &owner.path));
    let below = owned.iter().find(|owner| is_below(&owner.path, &found.keyed));
    match above.or_else(|| below.filter(|_| !found.in_patch)) {
        Some(owner) => format!("app.{}", owner.field),
        None if found.in_patch => of_patch(&found.spelled),
        // What the patch left out of a part that only the patch has.
        None if found.parent_in_patch && !found.rendered => of_patch(&found.spelled),
        // Kubernetes leaves positions out of some paths, or misses a part within what the patch left out.
        None if found.nearest.contains(['.', '[']) && !found.rendered => of_patch(&found.nearest),
        None => refused.field.clone(),
    }
}

/// Where a path leads.
struct Found {
    /// The path with the keys of list entries in brackets, as [`owned_fields`] has them.
    keyed: String,
    /// The path with the positions that list entries have in the patch.
    spelled: String,
    /// Whether the patch has a value there.
    in_patch: bool,
    /// The spelled path of the deepest part on the way that the patch has.
    nearest: String,
    /// Whether the patch has the part that would contain the value.
    parent_in_patch: bool,
    /// Whether the template has a value there.
    rendered: bool,
}

/// Follows a path through the template and, as far as it goes, through the patch. List entries may be named
/// by their position in the template (`volumes[0]`), by their keys (`volumes[name="a"]`) or by their id
/// (`volumes[a]`).
fn walk(path: &str, template: &Value, patch: Option<&Value>) -> Found {
    let (mut rest, mut at, mut of_patch) = (path, Some(template), patch);
    let (mut keyed, mut spelled) = (String::new(), String::new());
    let mut parent_in_patch = false;
    let mut nearest = String::new();
    while !rest.is_empty() {
        if of_patch.is_some() {
            nearest.clone_from(&spelled);
        }
        parent_in_patch = of_patch.is_some() && !spelled.is_empty();
        let entry = rest.strip_prefix('[').map(|inner| {
            // A key may contain brackets.
            let is_last = |i: &usize| matches!(inner.as_bytes().get(i + 1), None | Some(b'.' | b'['));
            let end = inner.match_indices(']').map(|(i, _)| i).find(is_last);
            let (text, after) = inner.split_at(end.unwrap_or(inner.len()));
            (text, after.strip_prefix(']').unwrap_or(after))
        });
        match (entry, at) {
            (Some((text, after)), Some(Value::Array(entries))) => {
                rest = after;
                let list = list_name(&keyed).to_owned();
                let position = find_position(&list, entries, text);
                let of_entry = position.and_then(|i| entries.get(i));
                let patched = of_patch.and_then(Value::as_array);
                let in_patch = match key_field(&list) {
                    // Entries of the patch are merged into those of the template.
                    Some(_) => patched.and_then(|all| {
                        let of_it =
                            |p: &Value| position.is_some() && find_entry(&list, entries, p) == position;
                        let mut same = (0..all.len()).filter(|i| of_it(&all[*i]));
                        // Of two entries with one key, the one that has the rest of the path.
                        let has =
                            |i: &usize| walk(after, of_entry.unwrap_or(&Value::Null), all.get(*i)).in_patch;
                        same.clone().find(has).or_else(|| same.next())
                    }),
                    None => position.filter(|i| patched.is_some_and(|all| *i < all.len())),
                };
                let id = of_entry.and_then(|entry| entry_id(&list, entry));
                keyed = join_entry(&keyed, id.as_deref().unwrap_or(text));
                let index = in_patch.map(|i| i.to_string());
                spelled = join_entry(&spelled, index.as_deref().unwrap_or(text));
                of_patch = patched.zip(in_patch).map(|(all, i)| &all[i]);
                at = of_entry;
            }
            (entry, _) => {
                let key = if let Some((text, after)) = entry {
                    // A key of a map.
                    rest = after;
                    text.trim_matches('"')
                } else {
                    rest = rest.trim_start_matches('.');
                    let key = next_key(rest, at);
                    rest = &rest[key.len()..];
                    key
                };
                keyed = join_path(&keyed, key);
                spelled = join_path(&spelled, key);
                at = at.and_then(|value| value.get(key));
                of_patch = of_patch.and_then(|value| value.get(key));
            }
        }
        if rest == "." {
            break;
        }
    }
    Found { keyed, spelled, in_patch: of_patch.is_some(), nearest, parent_in_patch, rendered: at.is_some() }
}

/// Returns the key at the beginning of a path. Keys may contain dots, so those of the value come first.
fn next_key<'a>(path: &'a str, at: Option<&Value>) -> &'a str {
    let ends = |key: &&String| {
        path.strip_prefix(key.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let keys = at.and_then(Value::as_object).into_iter().flatten().map(|(key, _)| key);
    let longest = keys.filter(ends).map(String::len).max().filter(|length| *length > 0);
    // At least one character, so that no path is endless.
    let plain = || path.char_indices().skip(1).find(|(_, c)| matches!(c, '.' | '[')).map(|(i, _)| i);
    &path[..longest.or_else(plain).unwrap_or(path.len())]
}

fn find_position(list: &str, entries: &[Value], text: &str) -> Option<usize> {
    let by_id = || entries.iter().position(|entry| entry_id(list, entry).as_deref() == Some(text));
    let by_keys = || entries.iter().position(|entry| has_keys(entry, text));
    text.parse().ok().filter(|i| *i < entries.len()).or_else(by_id).or_else(by_keys)
}

/// Returns whether an entry has these keys: `containerPort=80,protocol="TCP"`. A key that the entry leaves
/// out has its default.
fn has_keys(entry: &Value, keys: &str) -> bool {
    let mut pairs = keys.split(',').map(|pair| pair.split_once('='));
    let mut known = false;
    let same = pairs.all(|pair| {
        let Some((key, value)) = pair else { return false };
        entry.get(key).is_none_or(|own| {
            known = true;
            let text = own.as_str().map_or_else(|| own.to_string(), ToOwned::to_owned);
            // A key that is neither a text nor a number is written as nothing.
            let is_odd = !own.is_string() && !own.is_number();
            text == value.trim_matches('"') || is_odd && value.is_empty()
        })
    });
    same && known
}

/// Finds the values of a patch that the API server could not convert. It says why, but not where.
fn find_unconvertible(patch: &Value, object: &str, refused: &RefusedField) -> Vec<Violation> {
    let mut found = Vec::new();
    visit(patch, "", "", &mut |path, parent, value| {
        let key = list_name(path);
        let is_quantity = matches!(parent, "requests" | "limits" | "overhead" | "capacity")
            || matches!(key, "sizeLimit" | "divisor");
        let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
        let why = match value {
            _ if is_quantity && refused.message.contains("quantit") => {
                let valid = (value.is_string() || value.is_number()) && parse_quantity(&text).is_some();
                (!valid).then_some(
                    "a valid quantity; expected a number with an optional unit, such as 500m or 1Gi",
                )
            }
            Value::Number(number) if number.is_f64() => {
                (!is_quantity && is_about_number(&refused.message)).then_some("a whole number")
            }
            Value::Number(_) => {
                let named = refused.message.contains(&format!("cannot unmarshal number {text} into"));
                named.then_some("in the range of its field")
            }
            Value::Object(_) | Value::Array(_) | Value::Bool(_) | Value::Null
                if key == "port" && is_about_number(&refused.message) =>
            {
                Some("a valid port; expected a number or a name")
            }
            Value::String(time) if refused.message.contains("parsing time") => {
                let named = refused.message.contains(&format!("{time:?}")) && key.ends_with("Timestamp");
                named.then_some("a valid time; expected one such as 2006-01-02T15:04:05Z")
            }
            Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => None,
        };
        if let Some(why) = why {
            let description = format!("{object}: {text} is not {why}");
            found.push(Violation { field: of_patch(path), description });
        }
    });
    found
}

fn is_about_number(message: &str) -> bool {
    message.contains("float64") || message.contains("cannot unmarshal")
}

/// Calls `see` with each value below this one: its path, the name of the field that contains it, and the
/// value.
fn visit(value: &Value, path: &str, name: &str, see: &mut impl FnMut(&str, &str, &Value)) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = join_path(path, key);
                see(&path, name, value);
                visit(value, &path, key, see);
            }
        }
        Value::Array(entries) => {
            for (i, value) in entries.iter().enumerate() {
                let path = join_entry(path, &i.to_string());
                see(&path, name, value);
                visit(value, &path, name, see);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests;
