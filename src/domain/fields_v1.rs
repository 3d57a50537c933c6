//! Field ownership in the form of Kubernetes (`fieldsV1`): trees of `f:name`, `k:{key}` and `v:value` with
//! empty leaves, where `.` stands for the object or entry itself. Owns the set arithmetic on these trees, and
//! which fields of an object are removed when an owner gives them up. Knows no kind of object.

use serde_json::{Map, Value};

/// Returns the fields of `a` that are not in `b`.
///
/// If `b` owns something inside an object or entry, `a` loses the ownership of the object or entry itself
/// (`.`). Otherwise an empty shell would remain once the contents are removed, and for a union (`valueFrom`,
/// `rollingUpdate`) that is invalid. A field listed in `whole` is removed from the result as a whole if `b`
/// owns any part of it, because such a field is valid only with everything that belongs to it, for example a
/// probe.
pub fn subtract_fields(a: &Value, b: &Value, whole: &[&str]) -> Value {
    let (Some(of), Some(without)) = (a.as_object(), b.as_object()) else { return a.clone() };
    let mut rest = Map::new();
    for (key, mine) in of.iter().filter(|(key, _)| *key != "." || without.is_empty()) {
        match without.get(key) {
            None => {
                rest.insert(key.clone(), mine.clone());
            }
            Some(_) if whole.contains(&key.as_str()) => {}
            Some(theirs) => {
                let left = subtract_fields(mine, theirs, whole);
                if left.as_object().is_some_and(|o| !o.is_empty()) {
                    rest.insert(key.clone(), left);
                }
            }
        }
    }
    Value::Object(rest)
}

/// Returns whether the tree owns no field.
pub fn is_empty(fields: &Value) -> bool {
    fields.as_object().is_none_or(Map::is_empty)
}

/// Removes from `object` what the API server removes when a field manager applies less: the fields that the
/// manager `held` and that no tree in `keep` owns. `keep` contains the trees of all other field managers, and
/// what this one applies now.
///
/// The rules are those of the API server:
/// - A field is removed with everything in it if no tree in `keep` owns anything in it.
/// - An entry of a list is removed if no tree in `keep` owns the entry itself.
/// - A field that no manager ever owned, such as a default, is removed only with the object that contains it.
///
/// See `prune` in
/// <https://github.com/kubernetes-sigs/structured-merge-diff/blob/v6.4.0/merge/update.go>.
pub fn prune_fields(object: &mut Value, held: &Value, keep: &[&Value]) {
    for (key, inner) in held.as_object().into_iter().flatten() {
        let kept: Vec<_> = keep.iter().filter_map(|fields| fields.get(key)).collect();
        let Some((sort, name)) = key.split_once(':') else { continue };
        let goes = match sort {
            "k" => is_itself(inner) && !kept.iter().any(|fields| is_itself(fields)),
            _ => kept.is_empty(),
        };
        if sort == "f" {
            let Some(fields) = object.as_object_mut() else { continue };
            if goes {
                fields.remove(name);
            } else if let Some(value) = fields.get_mut(name) {
                prune_fields(value, inner, &kept);
            }
            continue;
        }
        let Ok(wanted) = serde_json::from_str::<Value>(name) else { continue };
        let is_it = |entry: &Value| match wanted.as_object().filter(|_| sort == "k") {
            Some(keys) => keys.iter().all(|(key, value)| entry.get(key) == Some(value)),
            None => *entry == wanted,
        };
        let Some(entries) = object.as_array_mut() else { continue };
        if goes {
            entries.retain(|entry| !is_it(entry));
        } else if let Some(entry) = entries.iter_mut().find(|entry| is_it(entry)) {
            prune_fields(entry, inner, &kept);
        }
    }
}

/// Returns whether a tree owns the object or entry itself, and not only fields in it.
fn is_itself(fields: &Value) -> bool {
    is_empty(fields) || fields.get(".").is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = Just(json!({}));
        leaf.prop_recursive(3, 20, 4, |inner| {
            proptest::collection::btree_map("f:[a-d]", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect()))
        })
    }

    fn leaves(fields: &Value, path: &str, into: &mut Vec<String>) {
        for (key, value) in fields.as_object().unwrap() {
            let path = format!("{path}/{key}");
            if is_empty(value) { into.push(path) } else { leaves(value, &path, into) }
        }
    }

    fn holds(fields: &Value, leaf: &str) -> bool {
        let found = leaf.split('/').skip(1).try_fold(fields, |at, key| at.get(key));
        found.is_some()
    }

    proptest! {
        #[test]
        fn what_is_left_is_what_the_other_does_not_hold(a in tree(), b in tree()) {
            let mut all = Vec::new();
            leaves(&a, "", &mut all);
            let mut left = Vec::new();
            leaves(&subtract_fields(&a, &b, &[]), "", &mut left);
            all.retain(|leaf| !holds(&b, leaf));
            prop_assert_eq!(left, all);
        }
    }

    /// Builds an object that has a field for every node of the trees that [`tree`] makes.
    fn full(depth: usize) -> Value {
        let inner = || if depth == 0 { json!(1) } else { full(depth - 1) };
        Value::Object(["a", "b", "c", "d"].map(|key| (key.to_owned(), inner())).into_iter().collect())
    }

    fn field<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
        path.split("/f:").skip(1).try_fold(object, |at, key| at.get(key))
    }

    proptest! {
        #[test]
        fn a_field_goes_if_it_was_held_and_nobody_keeps_it(held in tree(), one in tree(), other in tree()) {
            let (mut object, whole) = (full(4), full(4));
            prune_fields(&mut object, &held, &[&one, &other]);
            let (mut of, mut kept) = (Vec::new(), Vec::new());
            leaves(&held, "", &mut of);
            for fields in [&one, &other] {
                leaves(fields, "", &mut kept);
            }
            for leaf in of {
                let stays = holds(&one, &leaf) || holds(&other, &leaf);
                prop_assert_eq!(field(&object, &leaf).is_some(), stays, "{}", leaf);
            }
            for leaf in kept {
                prop_assert!(field(&object, &leaf).is_some(), "{}", leaf);
            }
            for key in ["a", "b", "c", "d"].iter().filter(|key| held.get(format!("f:{key}")).is_none()) {
                prop_assert_eq!(object.get(key), whole.get(key), "what was never held stays");
            }
            let pruned = object.clone();
            prune_fields(&mut object, &held, &[&one, &other]);
            prop_assert_eq!(object, pruned, "twice is once");
        }
    }

    #[test]
    fn what_is_pruned_goes_as_the_api_server_lets_it_go() {
        let item = |name: &str, fields: Value| (format!("k:{{\"name\":\"{name}\"}}"), fields);
        let env = |items: Vec<(String, Value)>| json!({"f:env": Value::Object(items.into_iter().collect())});
        let whole = || json!({".": {}, "f:name": {}, "f:value": {}});
        let (a, b) = (json!({"name": "A", "value": "1"}), json!({"name": "B", "value": "2"}));
        for (object, held, keep, left) in [
            // An entry that no manager applies any more.
            (
                json!({"env": [a, b]}),
                env(vec![item("A", whole()), item("B", whole())]),
                vec![env(vec![item("A", whole())])],
                json!({"env": [a]}),
            ),
            // If the last entry goes, the list goes too.
            (json!({"env": [b]}), env(vec![item("B", whole())]), vec![json!({"f:name": {}})], json!({})),
            // A field of an entry that another manager keeps with its key.
            (
                json!({"env": [b]}),
                env(vec![item("B", whole())]),
                vec![env(vec![item("B", json!({".": {}, "f:name": {}}))])],
                json!({"env": [{"name": "B"}]}),
            ),
            // Another manager keeps a field of an entry, but not the entry.
            (
                json!({"env": [b], "x": 1}),
                env(vec![item("B", whole())]),
                vec![env(vec![item("B", json!({"f:value": {}}))])],
                json!({"env": [], "x": 1}),
            ),
            // A default is removed with the object that contains it, and stays if the object stays.
            (
                json!({"probe": {"tcp": {"port": 1}, "period": 3}, "grace": 30}),
                json!({"f:probe": {"f:tcp": {"f:port": {}}}}),
                vec![],
                json!({"grace": 30}),
            ),
            (
                json!({"probe": {"tcp": {"port": 1}, "period": 3}}),
                json!({"f:probe": {"f:tcp": {"f:port": {}}}}),
                vec![json!({"f:probe": {".": {}}})],
                json!({"probe": {"period": 3}}),
            ),
            // An element of a set.
            (
                json!({"finalizers": ["a", "b"]}),
                json!({"f:finalizers": {"v:\"a\"": {}, "v:\"b\"": {}}}),
                vec![json!({"f:finalizers": {"v:\"a\"": {}}})],
                json!({"finalizers": ["a"]}),
            ),
            // A field that does not exist is not removed.
            (json!({"x": 1}), env(vec![item("A", whole())]), vec![json!({"f:env": {}})], json!({"x": 1})),
        ] {
            let mut pruned = object.clone();
            prune_fields(&mut pruned, &held, &keep.iter().collect::<Vec<_>>());
            assert_eq!(pruned, left, "{object} held {held} keep {keep:?}");
        }
    }

    #[test]
    fn nobody_keeps_the_shell_of_what_changes_hands() {
        let theirs = json!({
            "f:strategy": {".": {}, "f:rollingUpdate": {".": {}, "f:maxSurge": {}}},
            "f:probe": {".": {}, "f:failureThreshold": {}, "f:tcp": {".": {}, "f:port": {}}},
            "f:lifecycle": {".": {}, "f:preStop": {}},
        });
        let ours = json!({"f:strategy": {"f:rollingUpdate": {"f:maxSurge": {}}}, "f:probe": {"f:tcp": {"f:port": {}}}});
        let shell = json!({"f:probe": {"f:failureThreshold": {}}, "f:lifecycle": {".": {}, "f:preStop": {}}});
        assert_eq!(subtract_fields(&theirs, &ours, &[]), shell);
        let without_probe = json!({"f:lifecycle": {".": {}, "f:preStop": {}}});
        assert_eq!(subtract_fields(&theirs, &ours, &["f:probe"]), without_probe);
        assert_eq!(subtract_fields(&theirs, &json!({}), &["f:probe"]), theirs);
    }

    #[test]
    fn nothing_is_left_of_oneself() {
        let fields =
            json!({"f:spec": {"f:replicas": {}, "f:ports": {"k:{\"port\":80}": {".": {}, "f:port": {}}}}});
        assert!(is_empty(&subtract_fields(&fields, &fields, &[])));
    }
}
