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

/// Returns why an apply does not match the schema of its kind. The API server reports this as an internal
/// error.
pub fn untyped_apply(message: &str) -> Option<&str> {
    let is_it = message.contains("failed to create typed patch object");
    is_it.then(|| message.split_once("): ").map_or(message, |(_, detail)| detail))
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
    fn an_untyped_apply_says_what_is_wrong_with_it() {
        let message = "failed to create typed patch object (prod/shop; apps/v1, Kind=Deployment): .spec.foo: field not declared in schema";
        assert_eq!(untyped_apply(message), Some(".spec.foo: field not declared in schema"));
        assert_eq!(untyped_apply("etcdserver: request timed out"), None);
        assert_eq!(conflicting_manager("conflict with \"kubectl-set\" using apps/v1"), "kubectl-set");
    }
}
