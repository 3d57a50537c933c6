//! For tests: reads and changes the value at a path of a manifest. Written independently of the code that
//! makes the paths.

use serde_json::{Map, Value, json};

#[derive(Debug)]
enum Step {
    Field(String),
    /// An entry of a list, with the list's name.
    Entry(String, String),
}

fn steps(path: &str) -> Vec<Step> {
    let (mut steps, mut rest, mut list) = (Vec::new(), path, String::new());
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix("[\"") {
            let (key, after) = quoted.split_once("\"]").unwrap();
            steps.push(Step::Field(key.to_owned()));
            rest = after;
        } else if let Some(bracket) = rest.strip_prefix('[') {
            let (id, after) = bracket.split_once(']').unwrap();
            steps.push(Step::Entry(list.clone(), id.to_owned()));
            rest = after;
        } else {
            let text = rest.strip_prefix('.').unwrap_or(rest);
            let end = text.find(['.', '[']).unwrap_or(text.len());
            text[..end].clone_into(&mut list);
            steps.push(Step::Field(list.clone()));
            rest = &text[end..];
        }
    }
    steps
}

/// Makes an entry that contains only its key.
fn mk_entry(list: &str, id: &str) -> Value {
    let (first, second) = id.split_once(',').unwrap_or((id, ""));
    match list {
        "ports" if second.is_empty() => json!({"containerPort": first.parse::<u16>().unwrap()}),
        "ports" => json!({"containerPort": first.parse::<u16>().unwrap(), "protocol": second}),
        "volumeMounts" => json!({"mountPath": id}),
        "topologySpreadConstraints" if second.is_empty() => {
            json!({"topologyKey": first, "whenUnsatisfiable": "ScheduleAnyway"})
        }
        "topologySpreadConstraints" => json!({"topologyKey": first, "whenUnsatisfiable": second}),
        _ => json!({"name": id}),
    }
}

fn is_entry(value: &Value, wanted: &Value) -> bool {
    let keys = wanted.as_object().unwrap();
    let protocol = value.get("protocol").is_none_or(|p| p == "TCP") || keys.contains_key("protocol");
    protocol && keys.iter().all(|(key, wanted)| value.get(key) == Some(wanted))
}

pub(crate) fn get<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    steps(path).iter().try_fold(value, |value, step| match step {
        Step::Field(key) => value.get(key),
        Step::Entry(list, id) => value.as_array()?.iter().find(|e| is_entry(e, &mk_entry(list, id))),
    })
}

/// Makes a patch that sets only this path.
pub(crate) fn mk_patch(path: &str, leaf: Value) -> Value {
    steps(path).into_iter().rev().fold(leaf, |value, step| match step {
        Step::Field(key) => Value::Object(Map::from_iter([(key, value)])),
        Step::Entry(list, id) => {
            let mut entry = mk_entry(&list, &id);
            if let Value::Object(fields) = value {
                entry.as_object_mut().unwrap().extend(fields);
            }
            json!([entry])
        }
    })
}

/// Sets the value at a path, or removes it.
pub(crate) fn set(value: &mut Value, path: &str, new: Option<Value>) {
    let steps = steps(path);
    let (last, before) = steps.split_last().unwrap();
    let mut place = value;
    for step in before {
        place = match step {
            Step::Field(key) => place.get_mut(key).unwrap(),
            Step::Entry(list, id) => {
                let wanted = mk_entry(list, id);
                place.as_array_mut().unwrap().iter_mut().find(|e| is_entry(e, &wanted)).unwrap()
            }
        };
    }
    match last {
        Step::Field(key) => {
            let map = place.as_object_mut().unwrap();
            match new {
                Some(new) => drop(map.insert(key.clone(), new)),
                None => drop(map.remove(key)),
            }
        }
        Step::Entry(list, id) => {
            let wanted = mk_entry(list, id);
            let entries = place.as_array_mut().unwrap();
            entries.retain(|entry| !is_entry(entry, &wanted));
            entries.extend(new);
        }
    }
}
