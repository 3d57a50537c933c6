//! Whether the numbers of a patch fit the fields that they are for. The API server cuts a number that does
//! not fit down to its lowest bits: the port 4294975376 becomes 8080.

use serde_json::{Number, Value};

use crate::domain::keyed_lists::{join_entry, join_path};

/// Fields of a pod with 64 bits. All others that are numbers have 32.
/// <https://github.com/kubernetes/kubernetes/blob/v1.36.3/staging/src/k8s.io/api/core/v1/types.go>
const LONG: [&str; 9] = [
    "activeDeadlineSeconds",
    "deletionGracePeriodSeconds",
    "expirationSeconds",
    "fsGroup",
    "generation",
    "runAsGroup",
    "runAsUser",
    "terminationGracePeriodSeconds",
    "tolerationSeconds",
];

/// The only list of numbers with 64 bits.
const LONG_LIST: &str = "supplementalGroups";

/// Returns the path of the first number that does not fit its field, with its description.
pub(super) fn find_overflow(patch: &Value) -> Option<(String, String)> {
    find_below(patch, "", "", "")
}

fn find_below(value: &Value, path: &str, parent: &str, key: &str) -> Option<(String, String)> {
    match value {
        Value::Object(fields) => {
            fields.iter().find_map(|(name, field)| find_below(field, &join_path(path, name), key, name))
        }
        Value::Array(entries) => entries
            .iter()
            .enumerate()
            .find_map(|(i, entry)| find_below(entry, &join_entry(path, &i.to_string()), "", key)),
        // Quantities have no such bounds.
        Value::Number(_) if matches!(parent, "requests" | "limits" | "overhead" | "capacity") => None,
        Value::Number(_) if matches!(key, "sizeLimit" | "divisor") => None,
        Value::Number(number) => Some((path.to_owned(), describe(number, key)?)),
        Value::Null | Value::Bool(_) | Value::String(_) => None,
    }
}

/// Describes why the number does not fit; `None` if it does, or is no whole number, which Kubernetes refuses.
fn describe(number: &Number, key: &str) -> Option<String> {
    let (least, most) = if LONG.contains(&key) || key == LONG_LIST {
        (i64::MIN, i64::MAX)
    } else {
        (i32::MIN.into(), i32::MAX.into())
    };
    let fits = match number.as_i64() {
        Some(number) => (least..=most).contains(&number),
        None => number.as_f64().is_none_or(|number| number.fract() != 0.0),
    };
    (!fits).then(|| format!("{number} does not fit its field, which takes {least} to {most}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_that_would_be_cut_is_found() {
        for (patch, path) in [
            (
                json!({"spec": {"containers": [{"name": "app", "ports": [{"containerPort": 4_294_975_376_u64}]}]}}),
                "spec.containers[0].ports[0].containerPort",
            ),
            (json!({"spec": {"terminationGracePeriodSeconds": 1e20}}), "spec.terminationGracePeriodSeconds"),
            (
                json!({"spec": {"tolerations": [{"tolerationSeconds": 1e30}]}}),
                "spec.tolerations[0].tolerationSeconds",
            ),
            (json!({"spec": {"priority": 3_000_000_000_u64}}), "spec.priority"),
            (json!({"spec": {"priority": -1e300}}), "spec.priority"),
            (
                json!({"spec": {"securityContext": {"supplementalGroups": [1, u64::MAX]}}}),
                "spec.securityContext.supplementalGroups[1]",
            ),
        ] {
            let (found, said) = find_overflow(&patch).unwrap_or_else(|| panic!("{patch}"));
            assert_eq!(found, path);
            assert!(said.contains("does not fit its field"), "{said}");
        }
    }

    #[test]
    fn a_number_that_fits_is_none() {
        for patch in [
            json!({"spec": {"priority": i32::MAX, "tolerations": [{"tolerationSeconds": 1_u64 << 40}]}}),
            json!({"spec": {"containers": [{"name": "app", "resources": {"limits": {"memory": 1e12}}}]}}),
            json!({"spec": {"volumes": [{"name": "a", "emptyDir": {"sizeLimit": 5_000_000_000_u64}}]}}),
            json!({"spec": {"securityContext": {"runAsUser": 4_000_000_000_u64, "supplementalGroups": [4_000_000_000_u64]}}}),
            // Not a whole number. Kubernetes refuses it.
            json!({"spec": {"priority": 1.5}}),
        ] {
            assert_eq!(find_overflow(&patch), None, "{patch}");
        }
    }
}
