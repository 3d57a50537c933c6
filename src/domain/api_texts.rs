//! Parses messages of the API server that no code and no field of the answer identifies. Each has a recorded
//! example from Kubernetes 1.36, so that a release that changes a message breaks its test here and no other.

/// A refusal by RBAC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forbidden {
    /// The Kubernetes user.
    pub user: String,
    /// Kubernetes' verb.
    pub verb: String,
    /// The resource with its group, for example `deployments.apps/scale`.
    pub resource: String,
    /// The namespace; empty for a cluster-scoped resource.
    pub namespace: String,
}

/// Parses a refusal by RBAC: `User "ann" cannot patch resource "deployments" in API group "apps" in the
/// namespace "prod"`.
pub fn parse_forbidden(message: &str) -> Option<Forbidden> {
    let after = |words: &str| message.split_once(words)?.1.split(['"', ' ']).find(|part| !part.is_empty());
    let (resource, group) = (after("resource ")?, after("API group ").unwrap_or_default());
    // An empty group is written as two quotes, so the next word is found instead.
    let group = if group == "in" { "" } else { group };
    Some(Forbidden {
        user: after("User ")?.to_owned(),
        verb: after("cannot ")?.to_owned(),
        resource: match resource.split_once('/') {
            _ if group.is_empty() => resource.to_owned(),
            Some((resource, subresource)) => format!("{resource}.{group}/{subresource}"),
            None => format!("{resource}.{group}"),
        },
        namespace: after("the namespace ").unwrap_or_default().to_owned(),
    })
}

/// Returns whether a quota refused: `pods "web-1" is forbidden: exceeded quota: small, requested: pods=1,
/// used: pods=2, limited: pods=2`.
pub fn is_quota_refusal(message: &str) -> bool {
    message.contains("exceeded quota")
}

/// Returns whether a webhook or policy refused, or a webhook did not answer. A refusal may have any status
/// code, and Kubernetes reports a silent webhook as an internal error.
pub fn is_admission_refusal(message: &str) -> bool {
    ["admission webhook", "ValidatingAdmissionPolicy", "failed calling webhook"]
        .iter()
        .any(|words| message.contains(words))
}

/// Returns `webhook` or `policy`, and the name of the one that refused.
pub fn refusing_admission(message: &str) -> Option<(&'static str, &str)> {
    let quoted =
        |after: &str, quote: char| -> Option<&str> { message.split_once(after)?.1.split(quote).next() };
    let webhook = quoted("admission webhook \"", '"').or_else(|| quoted("failed calling webhook \"", '"'));
    webhook
        .map(|name| ("webhook", name))
        .or_else(|| quoted("ValidatingAdmissionPolicy '", '\'').map(|name| ("policy", name)))
}

/// Returns whether a dry run was refused because a webhook has side effects. That says nothing about the real
/// write.
pub fn is_dry_run_unsupported(message: &str) -> bool {
    message.contains("does not support dry run")
}

/// Returns the values of an object that do not fit the type of their field: the path of each, and why. The
/// API server says so without causes, and for an apply as an internal error. A path is empty if it says none.
pub fn untyped_values(message: &str) -> Vec<(&str, String)> {
    let after = |words: &str| message.split_once(words).map(|(_, rest)| rest);
    if let Some(detail) =
        after("failed to create typed patch object").and_then(|m| Some(m.split_once("): ")?.1))
    {
        let lines = detail.strip_prefix("errors:").unwrap_or(detail).lines().map(str::trim);
        let parts =
            lines.filter(|line| !line.is_empty()).map(|line| line.split_once(": ").unwrap_or(("", line)));
        return parts.map(|(path, why)| (path, without_go_types(why))).collect();
    }
    if let Some((_, why)) =
        after("unable to convert unstructured object to ").and_then(|m| m.split_once(": "))
    {
        return vec![("", why.to_owned())];
    }
    if let Some(detail) = after("strict decoding error: ") {
        let fields = detail.split(", ").filter_map(|part| part.strip_suffix('"')?.split_once(" \""));
        return fields.map(|(why, path)| (path, why.to_owned())).collect();
    }
    let decoded = after("json: ").and_then(|m| m.split_once(" into Go struct field "));
    if let Some((why, (path, kind))) =
        decoded.and_then(|(why, field)| Some((why, field.split_once(" of type ")?)))
    {
        let path = path.split_once('.').map_or(path, |(_, path)| path);
        return vec![(path, format!("{why} into {kind}"))];
    }
    Vec::new()
}

/// Removes from a sentence how Go prints the value that was found: `got &{yes}`.
fn without_go_types(why: &str) -> String {
    let Some((expected, got)) = why.split_once(", got ") else { return why.to_owned() };
    let value = ["&value.valueUnstructured{Value:", "&{"]
        .iter()
        .find_map(|open| got.strip_prefix(open)?.strip_suffix('}'));
    let got = match (got, value) {
        (got, _) if got.starts_with("map[string]interface {}") => "a map",
        (got, _) if got.starts_with("[]interface {}") => "a list",
        (_, Some(value)) => value,
        (got, None) => got,
    };
    format!("{expected}, got {got}")
}

/// Returns the field manager that owns a field: `conflict with "kubectl-set" using apps/v1`.
pub fn conflicting_manager(message: &str) -> &str {
    message.split('"').nth(1).unwrap_or(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_by_rbac_is_read_with_and_without_group_and_subresource() {
        let read = |message: &str| {
            let Forbidden { user, verb, resource, namespace } = parse_forbidden(message).unwrap();
            format!("{user} {verb} {resource} {namespace}")
        };
        let service = "services \"web\" is forbidden: User \"ann\" cannot create resource \"services\" in API group \"\" in the namespace \"prod\"";
        assert_eq!(read(service), "ann create services prod");
        let scale = "User \"ann\" cannot patch resource \"deployments/scale\" in API group \"apps\" in the namespace \"prod\"";
        assert_eq!(read(scale), "ann patch deployments.apps/scale prod");
        assert_eq!(parse_forbidden("no"), None);
    }

    #[test]
    fn admission_is_known_by_its_words() {
        let webhook = "services \"web\" is forbidden: admission webhook \"a.b\" denied the request: no";
        let silent = "Internal error occurred: failed calling webhook \"c.d\": failed to call webhook: Post \"https://x\"";
        let policy = "deployments.apps \"web\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no";
        for (message, named) in
            [(webhook, ("webhook", "a.b")), (silent, ("webhook", "c.d")), (policy, ("policy", "p"))]
        {
            assert!(is_admission_refusal(message), "{message}");
            assert_eq!(refusing_admission(message), Some(named), "{message}");
        }
        assert!(!is_admission_refusal("deployments.apps \"web\" not found"));
        let quota = "pods \"web-1\" is forbidden: exceeded quota: small, requested: pods=1, used: pods=2, limited: pods=2";
        assert!(is_quota_refusal(quota) && !is_quota_refusal(webhook));
        let side_effects = "admission webhook \"a.b\" does not support dry run";
        assert!(is_dry_run_unsupported(side_effects) && !is_dry_run_unsupported(webhook));
    }

    #[test]
    fn values_of_a_wrong_type_are_told_with_their_paths() {
        let typed = "failed to create typed patch object (prod/shop; apps/v1, Kind=Deployment): ";
        let converted = "failed to convert new object (prod/shop; apps/v1, Kind=Deployment) to proper version: unable to convert unstructured object to apps/v1, Kind=Deployment: ";
        for (message, expected) in [
            (format!("{typed}.spec.foo: field not declared in schema"), &[(".spec.foo", "field not declared in schema")][..]),
            (
                format!("{typed}.spec.hostNetwork: expected boolean, got &{{yes}}"),
                &[(".spec.hostNetwork", "expected boolean, got yes")],
            ),
            (
                format!("{typed}.a: expected string, got &value.valueUnstructured{{Value:1}}"),
                &[(".a", "expected string, got 1")],
            ),
            (
                format!("{typed}.a: expected numeric (int or float), got map[string]interface {{}}"),
                &[(".a", "expected numeric (int or float), got a map")],
            ),
            (
                format!("{typed}.a: expected string, got []interface {{}}{{interface {{}}(nil)}}"),
                &[(".a", "expected string, got a list")],
            ),
            (format!("{typed}errors:\n  .a: one\n  .b: two"), &[(".a", "one"), (".b", "two")]),
            (format!("{converted}cannot convert float64 to int32"), &[("", "cannot convert float64 to int32")]),
            (
                "Deployment in version \"v1\" cannot be handled as a Deployment: json: cannot unmarshal number 1.5 into Go struct field PodSpec.spec.template.spec.priority of type int32".to_owned(),
                &[("spec.template.spec.priority", "cannot unmarshal number 1.5 into int32")],
            ),
            (
                "strict decoding error: unknown field \"spec.foo\", unknown field \"spec.bar\"".to_owned(),
                &[("spec.foo", "unknown field"), ("spec.bar", "unknown field")],
            ),
            ("etcdserver: request timed out".to_owned(), &[]),
        ] {
            let found = untyped_values(&message);
            let found: Vec<_> = found.iter().map(|(path, why)| (*path, why.as_str())).collect();
            assert_eq!(found, expected, "{message}");
        }
        assert_eq!(conflicting_manager("conflict with \"kubectl-set\" using apps/v1"), "kubectl-set");
    }
}
