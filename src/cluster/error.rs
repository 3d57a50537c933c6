//! What Kubernetes' errors mean: the one translation from the client's errors to the domain's.

use std::time::Duration;

use kube::core::{
    Status,
    response::{StatusCause, StatusDetails},
};

use crate::domain::{
    Error,
    error::{Conflict, Missing, Violation},
    object::Kind,
};

/// What was being done, for the message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doing<'a> {
    /// Kubernetes' verb.
    pub(super) verb: &'static str,
    /// The object or resource, for example `deployment.apps/shop`.
    pub(super) object: &'a str,
}

// === impl Doing ===

impl Doing<'_> {
    /// Whether it is done with the caller's rights: the writes of the objects that make an app.
    fn is_for_the_caller(&self) -> bool {
        let kind = self.object.split_once('/').map_or("", |(kind, _)| kind);
        let kinds = [Kind::Deployment, Kind::Service, Kind::Budget].map(Kind::prefix);
        !matches!(self.verb, "get" | "list") && kinds.contains(&kind)
    }
}

/// The fields that others own, in the order of their names: the API server gives those of several managers in any order, and a plan
/// and its deploy are to say the same.
fn conflicts(details: &StatusDetails, object: &str) -> Vec<Conflict> {
    let of = |c: &StatusCause| Conflict {
        object: object.to_owned(),
        field: c.field.clone(),
        manager: manager(&c.message),
    };
    let mut all: Vec<_> = details.causes.iter().map(of).collect();
    all.sort_by(|a, b| (&a.field, &a.manager).cmp(&(&b.field, &b.manager)));
    all
}

/// Who may not do what, in Kubernetes' words: `User "ann" cannot patch resource "deployments" in API group "apps" in the
/// namespace "prod"`.
fn denied(message: &str) -> Option<Error> {
    let after = |words: &str| message.split_once(words)?.1.split(['"', ' ']).find(|part| !part.is_empty());
    let (resource, group) = (after("resource ")?, after("API group ").unwrap_or_default());
    // A group that is empty shows as two quotes, after which the next word follows.
    let group = if group == "in" { "" } else { group };
    Some(Error::NotAllowed {
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

/// Says what an error of the client means to the caller.
#[allow(clippy::wildcard_enum_match_arm)] // the client's enum; what is not named here is all about reaching the server
pub(super) fn to_domain_error(doing: Doing<'_>, error: kube::Error) -> Error {
    match error {
        kube::Error::Api(status) => answer(doing, &status),
        kube::Error::SerdeError(_) | kube::Error::BuildRequest(_) => {
            Error::Bug(format!("{} {}: {error}", doing.verb, doing.object))
        }
        other => Error::Unreachable { message: root_cause(&other) },
    }
}

/// The innermost cause: "client error (Connect)" helps nobody, "Connection refused" does.
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

/// Whose words a refusal has that comes from admission. A webhook that does not answer is an internal error to Kubernetes, and
/// yet the API server is there.
const OF_ADMISSION: [&str; 3] = ["admission webhook", "ValidatingAdmissionPolicy", "failed calling webhook"];

/// What the API server says of an apply that does not have the form of its kind. Only a patch of the caller's gets that far.
const UNTYPED: &str = "failed to create typed patch object";

fn answer(doing: Doing<'_>, status: &Status) -> Error {
    let details = &status.details.clone().unwrap_or(NO_DETAILS);
    let message = status.message.clone();
    let object = doing.object.to_owned();
    let has = |reason: &str| details.causes.iter().any(|cause| cause.reason == reason);
    match status.code {
        404 if details.kind == "namespaces" => Error::NotFound {
            kind: Missing::Namespace,
            name: format!("namespaces/{}", details.name),
            did_you_mean: None,
        },
        404 => Error::NotFound { kind: Missing::App, name: object, did_you_mean: None },
        409 if has("FieldManagerConflict") => Error::Conflict(conflicts(details, &object)),
        403 if has("NamespaceTerminating") => Error::BeingDeleted { what: "the namespace".to_owned() },
        403 if message.contains("exceeded quota") => Error::Quota { object, message },
        // A webhook refuses with whatever code it likes.
        _ if OF_ADMISSION.iter().any(|words| message.contains(words)) => Error::Admission { object, message },
        // A precondition failed: it is another one than the one that was read.
        409 => Error::EtagMismatch { etag: String::new() },
        401 | 403 => denied(&message)
            .filter(|_| doing.is_for_the_caller())
            .unwrap_or(Error::DaemonForbidden { verb: doing.verb, object, message }),
        400 | 422 => Error::Invalid(violations(details, &message, &object)),
        // It calls a field that it does not know, or one of another type, an error of its own; asked again it says the same.
        500 if message.contains(UNTYPED) => {
            let said = message.split_once("): ").map_or(message.as_str(), |(_, said)| said);
            let description = format!("{object}: {said}");
            Error::Invalid(vec![Violation { field: "app.spec.pod_template_patch".to_owned(), description }])
        }
        429 => Error::Throttled {
            retry_after: Duration::from_secs(u64::from(details.retry_after_seconds.max(1))),
        },
        500..=599 => Error::Unreachable { message: format!("{} {object}: {message}", doing.verb) },
        code => Error::Bug(format!("{} {object}: {code} {message}", doing.verb)),
    }
}

fn violations(details: &StatusDetails, message: &str, object: &str) -> Vec<Violation> {
    if details.causes.is_empty() {
        return vec![Violation { field: "app.spec".to_owned(), description: format!("{object}: {message}") }];
    }
    details
        .causes
        .iter()
        .map(|cause| Violation {
            field: request_path(&cause.field),
            description: format!("{object}: {}: {}", cause.field, cause.message),
        })
        .collect()
}

/// The manager's name in Kubernetes' words: `conflict with "kubectl-set" using apps/v1`.
fn manager(message: &str) -> String {
    message.split('"').nth(1).unwrap_or(message).to_owned()
}

/// The field of the request that a Kubernetes field comes from.
fn request_path(field: &str) -> String {
    const PAIRS: [(&str, &str); 9] = [
        ("].image", "app.spec.image"),
        ("].resources", "app.spec.resources"),
        ("].env", "app.spec.env"),
        ("].ports", "app.spec.ports"),
        ("].name", "app.spec.container"),
        ("spec.ports", "app.spec.ports"),
        ("spec.strategy", "app.spec.rollout_policy"),
        ("spec.replicas", "app.spec.replicas"),
        ("labels", "app.labels"),
    ];
    PAIRS.iter().find(|(theirs, _)| field.contains(theirs)).map_or("app.spec", |(_, ours)| ours).to_owned()
}

/// Nothing instead of the error that the thing does not exist.
pub(super) fn unless_missing<T>(answer: Result<T, kube::Error>) -> Result<Option<T>, kube::Error> {
    match answer {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        answer => answer.map(Some),
    }
}

/// Whether the API server said that the name is taken.
pub(super) fn is_already_exists(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409 && status.reason == "AlreadyExists")
}

#[cfg(test)]
mod tests {
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
        let doing = Doing { verb: "patch", object: "deployment.apps/shop" };
        to_domain_error(doing, kube::Error::Api(Box::new(status)))
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
        assert!(matches!(said(409, "", "", None), Error::EtagMismatch { .. }));
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
    fn a_field_that_kubernetes_does_not_know_is_the_callers_mistake() {
        let words = "failed to create typed patch object (prod/shop; apps/v1, Kind=Deployment): .spec.foo: field not declared in schema";
        let Error::Invalid(violations) = said(500, words, "", None) else { panic!() };
        assert_eq!(violations[0].field, "app.spec.pod_template_patch");
        assert_eq!(
            violations[0].description,
            "deployment.apps/shop: .spec.foo: field not declared in schema"
        );
    }

    #[test]
    fn a_refused_field_is_named_as_the_caller_knows_it() {
        let field = "spec.template.spec.containers[0].resources.requests";
        let Error::Invalid(violations) = said(422, "", "", Some(("FieldValueInvalid", field))) else {
            panic!()
        };
        assert_eq!(violations[0].field, "app.spec.resources");
    }
}
