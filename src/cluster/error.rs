//! The one translation from the errors of the Kubernetes client to the errors of the domain.

use std::time::Duration;

use kube::{
    api::ApiResource,
    core::{
        Status,
        response::{StatusCause, StatusDetails},
    },
};

use crate::domain::{
    Error,
    api_texts::{
        Forbidden, conflicting_manager, is_admission_refusal, is_quota_refusal, parse_forbidden,
        untyped_values,
    },
    caller::Caller,
    error::{Conflict, Missing, RefusedField},
    object::Kind,
};

/// The operation on an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// Read one.
    Get,
    /// Read all of a kind.
    List,
    /// Create a new one.
    Create,
    /// Apply to one, or merge into it.
    Patch,
    /// Delete one.
    Delete,
}

/// A kind of object as the API server names it.
#[derive(Clone, Debug)]
pub(super) struct Resource {
    /// `deployment.apps`
    singular: String,
    /// `deployments`
    plural: String,
    subresource: &'static str,
}

/// One call of the API server.
#[derive(Clone, Copy, Debug)]
pub(super) struct ApiCall<'a> {
    pub(super) verb: Verb,
    pub(super) resource: &'a Resource,
    /// Empty for all objects of a kind.
    pub(super) name: &'a str,
    /// The caller on whose behalf the call is made; `None` means gantryd itself.
    pub(super) on_behalf_of: Option<&'a Caller>,
}

// === impl Verb ===

impl Verb {
    /// The verb as Kubernetes names it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Create => "create",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }

    /// Whether it writes.
    pub(super) const fn writes(self) -> bool {
        !matches!(self, Self::Get | Self::List)
    }
}

// === impl Resource ===

impl Resource {
    /// The resource of a kind.
    pub(super) fn of_kind(kind: &ApiResource) -> Self {
        let singular = kind.kind.to_lowercase();
        let singular = if kind.group.is_empty() { singular } else { format!("{singular}.{}", kind.group) };
        Self { singular, plural: kind.plural.clone(), subresource: "" }
    }

    /// Something without a kind, for example `the version of Kubernetes`.
    pub(super) fn named(name: &str) -> Self {
        Self { singular: name.to_owned(), plural: name.to_owned(), subresource: "" }
    }

    /// A subresource of each object, for example `log`.
    pub(super) fn with_subresource(&self, subresource: &'static str) -> Self {
        Self { subresource, ..self.clone() }
    }

    /// The kind as a label of a metric. The label has few values.
    pub(super) fn label(&self) -> &'static str {
        const KNOWN: [&str; 24] = [
            "configmap",
            "controllerrevision",
            "deployment",
            "endpointslice",
            "event",
            "horizontalpodautoscaler",
            "lease",
            "limitrange",
            "namespace",
            "node",
            "persistentvolume",
            "persistentvolumeclaim",
            "pod",
            "poddisruptionbudget",
            "podmetrics",
            "priorityclass",
            "replicaset",
            "resourcequota",
            "scaledobject",
            "secret",
            "selfsubjectaccessreview",
            "selfsubjectreview",
            "service",
            "serviceaccount",
        ];
        let name = self.singular.split('.').next().unwrap_or_default();
        KNOWN.into_iter().find(|known| *known == name).unwrap_or("other")
    }
}

// === impl ApiCall ===

impl ApiCall<'_> {
    /// The object, or all of the kind: `deployment.apps/shop`, `deployments`.
    pub(super) fn object(&self) -> String {
        let Resource { singular, plural, subresource } = self.resource;
        match (self.name, *subresource) {
            ("", "") => plural.clone(),
            ("", part) => format!("{plural}/{part}"),
            (name, "") => format!("{singular}/{name}"),
            (name, part) => format!("{singular}/{name}/{part}"),
        }
    }

    /// Whether the call was made with the rights of the caller, so that a refusal is about the caller and not
    /// about gantryd.
    fn is_with_rights_of_caller(&self) -> bool {
        self.on_behalf_of.is_some() && self.verb.writes()
    }
}

/// The conflicting fields with their field managers, sorted. The API server lists several managers in any
/// order, but a plan and its deploy must report the same.
fn conflicts(details: &StatusDetails, object: &str) -> Vec<Conflict> {
    let of = |c: &StatusCause| Conflict {
        object: object.to_owned(),
        field: c.field.clone(),
        manager: conflicting_manager(&c.message).to_owned(),
    };
    let mut all: Vec<_> = details.causes.iter().map(of).collect();
    all.sort_by(|a, b| (&a.field, &a.manager).cmp(&(&b.field, &b.manager)));
    all
}

/// Translates an error of the client into an error of the domain.
#[allow(clippy::wildcard_enum_match_arm)] // the client's enum; the other variants mean that the API server was not reached
pub(super) fn to_domain_error(call: ApiCall<'_>, error: kube::Error) -> Error {
    match error {
        kube::Error::Api(status) => to_error(call, &status),
        kube::Error::SerdeError(_) | kube::Error::BuildRequest(_) => {
            Error::Bug(format!("{} {}: {error}", call.verb.as_str(), call.object()))
        }
        other => Error::Unreachable { message: root_cause(&other) },
    }
}

/// The innermost cause, because "client error (Connect)" is less useful than "Connection refused".
pub(super) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

const NO_DETAILS: StatusDetails = StatusDetails {
    name: String::new(),
    group: String::new(),
    kind: String::new(),
    uid: String::new(),
    causes: Vec::new(),
    retry_after_seconds: 0,
};

fn to_error(call: ApiCall<'_>, status: &Status) -> Error {
    let details = &status.details.clone().unwrap_or(NO_DETAILS);
    let message = status.message.clone();
    let (verb, object) = (call.verb.as_str(), call.object());
    let has = |reason: &str| details.causes.iter().any(|cause| cause.reason == reason);
    match status.code {
        404 if details.kind == "namespaces" => Error::NotFound {
            kind: Missing::Namespace,
            name: format!("namespaces/{}", details.name),
            did_you_mean: None,
        },
        404 if object.starts_with(Kind::Deployment.prefix()) => {
            Error::NotFound { kind: Missing::App, name: object, did_you_mean: None }
        }
        404 => Error::ObjectMissing { object },
        409 if has("FieldManagerConflict") => Error::Conflict(conflicts(details, &object)),
        403 if has("NamespaceTerminating") => Error::BeingDeleted { what: "the namespace".to_owned() },
        403 if is_quota_refusal(&message) => Error::Quota { object, message },
        _ if is_admission_refusal(&message) => Error::Admission { object, message },
        // A precondition failed: the object is not the one that was read.
        409 => Error::WriteConflict { object },
        401 | 403 => parse_forbidden(&message).filter(|_| call.is_with_rights_of_caller()).map_or(
            Error::DaemonForbidden { verb, object, message },
            |Forbidden { user, verb, resource, namespace }| Error::NotAllowed {
                user,
                verb,
                resource,
                namespace,
            },
        ),
        400 | 422 => Error::Refused { object, fields: refused_fields(details, &message) },
        // Only values of a caller's pod template patch can cause this. A retry would get the same answer.
        500 if !untyped_values(&message).is_empty() => {
            Error::Refused { object, fields: refused_fields(details, &message) }
        }
        429 => Error::Throttled {
            retry_after: Duration::from_secs(u64::from(details.retry_after_seconds.max(1))),
        },
        500..=599 => Error::Unreachable { message: format!("{verb} {object}: {message}") },
        code => Error::Bug(format!("{verb} {object}: {code} {message}")),
    }
}

fn refused_fields(details: &StatusDetails, message: &str) -> Vec<RefusedField> {
    let refused = |path: &str, message: String| RefusedField {
        field: request_path(path).to_owned(),
        path: path.to_owned(),
        message,
    };
    if !details.causes.is_empty() {
        return details.causes.iter().map(|cause| refused(&cause.field, cause.message.clone())).collect();
    }
    let untyped = untyped_values(message);
    if untyped.is_empty() {
        return vec![refused("", message.to_owned())];
    }
    // Gantry renders values of the right type, so the patch has the other ones.
    let of_patch = |(path, why): (&str, String)| RefusedField {
        field: "app.spec.pod_template_patch".to_owned(),
        ..refused(path, why)
    };
    untyped.into_iter().map(of_patch).collect()
}

/// Maps a field of a Kubernetes object to the field of the request that it comes from.
fn request_path(field: &str) -> &'static str {
    const PAIRS: [(&str, &str); 8] = [
        ("].image", "app.spec.image"),
        ("].resources", "app.spec.resources"),
        ("].env", "app.spec.env"),
        ("].ports", "app.spec.ports"),
        ("spec.ports", "app.spec.ports"),
        ("spec.strategy", "app.spec.rollout_policy"),
        ("spec.replicas", "app.spec.replicas"),
        ("labels", "app.labels"),
    ];
    PAIRS.iter().find(|(theirs, _)| field.contains(theirs)).map_or("app.spec", |(_, ours)| ours)
}

/// Turns a 404 into `None`.
pub(super) fn unless_missing<T>(answer: Result<T, kube::Error>) -> Result<Option<T>, kube::Error> {
    match answer {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        answer => answer.map(Some),
    }
}

/// Whether the API server answered that the name is taken.
pub(super) fn is_already_exists(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409 && status.reason == "AlreadyExists")
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::Deployment;
    use kube::core::response::StatusCause;

    use super::*;

    fn said(code: u16, message: &str, kind: &str, cause: Option<(&str, &str)>) -> Error {
        let causes = cause
            .into_iter()
            .map(|(reason, field)| StatusCause {
                reason: reason.into(),
                message: "why".into(),
                field: field.into(),
            })
            .collect();
        let details = StatusDetails { kind: kind.into(), name: "x".into(), causes, ..NO_DETAILS };
        let status = Status { code, message: message.into(), details: Some(details), ..Status::default() };
        let kind = ApiResource::erase::<Deployment>(&());
        let (resource, caller) = (Resource::of_kind(&kind), Caller::named("ann"));
        let call =
            ApiCall { verb: Verb::Patch, resource: &resource, name: "shop", on_behalf_of: Some(&caller) };
        to_domain_error(call, kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn conflicts_come_in_one_order() {
        let cause = |field: &str, manager: &str| StatusCause {
            reason: "FieldManagerConflict".to_owned(),
            message: format!("conflict with \"{manager}\""),
            field: field.to_owned(),
        };
        let given = [cause(".b", "one"), cause(".a", "two"), cause(".a", "one")];
        let told = |causes: &[StatusCause]| {
            conflicts(&StatusDetails { causes: causes.to_vec(), ..NO_DETAILS }, "service/web")
        };
        let mut reversed = given.clone();
        reversed.reverse();
        assert_eq!(told(&given), told(&reversed));
        let fields: Vec<_> = told(&given).into_iter().map(|c| format!("{} {}", c.field, c.manager)).collect();
        assert_eq!(fields, [".a one", ".a two", ".b one"]);
    }

    #[test]
    fn each_answer_gets_its_meaning() {
        assert!(matches!(
            said(404, "", "namespaces", None),
            Error::NotFound { kind: Missing::Namespace, .. }
        ));
        assert!(matches!(said(404, "", "deployments", None), Error::NotFound { kind: Missing::App, .. }));
        assert!(matches!(said(409, "", "", None), Error::WriteConflict { .. }));
        assert!(matches!(said(409, "", "", Some(("FieldManagerConflict", ".spec"))), Error::Conflict(_)));
        assert!(matches!(said(403, "", "", Some(("NamespaceTerminating", ""))), Error::BeingDeleted { .. }));
        assert!(matches!(said(403, "exceeded quota: small", "", None), Error::Quota { .. }));
        assert!(matches!(said(403, "no", "", None), Error::DaemonForbidden { .. }));
        let words = "services \"web\" is forbidden: User \"ann\" cannot create resource \"services\" in API group \"\" in the namespace \"prod\"";
        let denied = |resource: &str, verb: &str| Error::NotAllowed {
            user: "ann".into(),
            verb: verb.into(),
            resource: resource.into(),
            namespace: "prod".into(),
        };
        assert_eq!(said(403, words, "", None), denied("services", "create"));
        let words = "User \"ann\" cannot patch resource \"deployments/scale\" in API group \"apps\" in the namespace \"prod\"";
        assert_eq!(said(403, words, "", None), denied("deployments.apps/scale", "patch"));
        assert!(matches!(
            said(400, "admission webhook \"w\" denied the request", "", None),
            Error::Admission { .. }
        ));
        assert!(matches!(
            said(500, "Internal error occurred: failed calling webhook \"w\"", "", None),
            Error::Admission { .. }
        ));
        assert!(matches!(said(429, "", "", None), Error::Throttled { .. }));
        assert!(matches!(said(503, "", "", None), Error::Unreachable { .. }));
        assert!(matches!(said(418, "", "", None), Error::Bug(_)));
    }

    #[test]
    fn a_value_of_a_wrong_type_is_the_callers_mistake() {
        let words = "failed to create typed patch object (prod/shop; apps/v1, Kind=Deployment): .spec.foo: field not declared in schema";
        let Error::Refused { object, fields } = said(500, words, "", None) else { panic!() };
        let told = fields[0].to_violation(&object);
        assert_eq!(told.field, "app.spec.pod_template_patch");
        assert_eq!(told.description, "deployment.apps/shop: .spec.foo: field not declared in schema");
        let words = "failed to convert new object (/shop; apps/v1, Kind=Deployment) to proper version: unable to convert unstructured object to apps/v1, Kind=Deployment: cannot convert float64 to int32";
        assert!(matches!(said(500, words, "", None), Error::Refused { .. }));
    }

    #[test]
    fn labels_of_metrics_come_from_a_list() {
        let deployments = Resource::of_kind(&ApiResource::erase::<Deployment>(&()));
        assert_eq!((deployments.label(), Resource::named("apps/v1").label()), ("deployment", "other"));
        let call = |name| ApiCall { verb: Verb::Get, resource: &deployments, name, on_behalf_of: None };
        assert_eq!(
            (call("shop").object(), call("").object()),
            ("deployment.apps/shop".into(), "deployments".into())
        );
    }

    #[test]
    fn a_refused_field_is_named_as_the_caller_knows_it() {
        let field = "spec.template.spec.containers[0].resources.requests";
        let Error::Refused { fields, .. } = said(422, "", "", Some(("FieldValueInvalid", field))) else {
            panic!()
        };
        assert_eq!(fields[0].field, "app.spec.resources");
    }
}
