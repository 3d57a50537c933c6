//! Field ownership as Kubernetes writes it (`fieldsV1`): trees of `f:name`, `k:{key}` and `v:value`, leaves empty. Pure set
//! arithmetic on them.

use serde_json::{Map, Value};

/// The fields of `a` that are not in `b`.
pub fn subtract(a: &Value, b: &Value) -> Value {
    let (Some(of), Some(without)) = (a.as_object(), b.as_object()) else { return a.clone() };
    let mut rest = Map::new();
    for (key, mine) in of {
        match without.get(key) {
            None => {
                rest.insert(key.clone(), mine.clone());
            }
            Some(theirs) => {
                let left = subtract(mine, theirs);
                if left.as_object().is_some_and(|o| !o.is_empty()) {
                    rest.insert(key.clone(), left);
                }
            }
        }
    }
    Value::Object(rest)
}

/// Whether nothing is owned.
pub fn is_empty(fields: &Value) -> bool {
    fields.as_object().is_none_or(Map::is_empty)
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
            leaves(&subtract(&a, &b), "", &mut left);
            all.retain(|leaf| !holds(&b, leaf));
            prop_assert_eq!(left, all);
        }
    }

    #[test]
    fn nothing_is_left_of_oneself() {
        let fields =
            json!({"f:spec": {"f:replicas": {}, "f:ports": {"k:{\"port\":80}": {".": {}, "f:port": {}}}}});
        assert!(is_empty(&subtract(&fields, &fields)));
    }
}
