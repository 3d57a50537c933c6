//! The one place where errors become gRPC statuses: code, reason and details. The match is exhaustive on
//! purpose.

use std::{collections::HashMap, time::Duration};

use axum::http::{HeaderMap, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, percent_encode};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, QuotaViolation, StatusExt};

use super::schema;
use crate::{
    domain::{
        Error, api_texts,
        error::{Missing, Violation, to_violations},
        similar::closest,
    },
    pb::ErrorReason,
};

/// The domain of every `ErrorInfo`.
pub(super) const DOMAIN: &str = "gantry.dev";

/// Retry delay if nothing better is known.
const RETRY: Duration = Duration::from_secs(1);

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        to_status(&error)
    }
}

#[allow(clippy::too_many_lines)] // one exhaustive match: a variant is a line or five
fn to_status(error: &Error) -> Status {
    let mut details = ErrorDetails::new();
    let mut metadata: HashMap<String, String> = HashMap::new();
    let mut note = |key: &str, value: &str| metadata.insert(key.to_owned(), value.to_owned());
    let (code, reason) = match error {
        Error::Invalid(violations) => {
            return invalid(violations, &error.to_string());
        }
        Error::Refused { object, fields } => {
            return invalid(&to_violations(object, fields), &error.to_string());
        }
        Error::PageToken => {
            details.set_bad_request(vec![FieldViolation::new("page_token", error.to_string())]);
            (Code::InvalidArgument, ErrorReason::PageTokenInvalid)
        }
        Error::NotFound { kind, name, did_you_mean } => {
            if let Some(close) = did_you_mean {
                note("didYouMean", close);
            }
            let (resource, reason) = match kind {
                Missing::App | Missing::AppOfEtag => ("gantry.dev/App", ErrorReason::AppNotFound),
                Missing::Rollout => ("gantry.dev/Rollout", ErrorReason::RolloutNotFound),
                Missing::Namespace => ("Namespace", ErrorReason::NamespaceNotFound),
            };
            details.set_resource_info(resource, name, "", error.to_string());
            (Code::NotFound, reason)
        }
        Error::NameTaken { object, namespace, by } => {
            let (kind, name) = object.split_once('/').unwrap_or(("", object));
            details.set_resource_info(kind, format!("{namespace}/{name}"), by, error.to_string());
            (Code::AlreadyExists, ErrorReason::NameTaken)
        }
        Error::EtagMismatch { etag } => {
            note("etag", etag);
            (Code::Aborted, ErrorReason::EtagMismatch)
        }
        Error::WriteConflict { .. } | Error::ObjectMissing { .. } => {
            details.set_retry_info(Some(RETRY));
            (Code::Aborted, ErrorReason::WriteConflict)
        }
        Error::Conflict(conflicts) => {
            let list = conflicts.iter().map(|c| {
                PreconditionViolation::new("FIELD_MANAGER", format!("{}{}", c.object, c.field), &c.manager)
            });
            details.set_precondition_failure(list.collect::<Vec<_>>());
            (Code::FailedPrecondition, ErrorReason::ConflictingFieldManager)
        }
        Error::RolloutInProgress { rollout } => {
            note("rollout", rollout);
            (Code::FailedPrecondition, ErrorReason::RolloutInProgress)
        }
        Error::RequestIdReused { .. } => {
            details.set_bad_request(vec![FieldViolation::new("request_id", error.to_string())]);
            (Code::InvalidArgument, ErrorReason::RequestIdReused)
        }
        Error::RolloutEnded { rollout } => {
            note("rollout", rollout);
            (Code::FailedPrecondition, ErrorReason::RolloutEnded)
        }
        Error::RolloutPaused { .. } => (Code::FailedPrecondition, ErrorReason::RolloutPaused),
        Error::NoEarlierRollout { .. } => (Code::FailedPrecondition, ErrorReason::NoEarlierRollout),
        Error::ForeignAutoscaler { object, .. } => {
            let (kind, name) = object.split_once('/').unwrap_or(("", object));
            details.set_resource_info(kind, name, "", error.to_string());
            (Code::FailedPrecondition, ErrorReason::ForeignAutoscaler)
        }
        Error::AutoscalerActive { .. } => (Code::FailedPrecondition, ErrorReason::AutoscalerActive),
        Error::AutoscalerElsewhere { holder, .. } => {
            note("holder", holder);
            details.set_retry_info(Some(RETRY));
            (Code::Unavailable, ErrorReason::AutoscalerElsewhere)
        }
        Error::NoAutoscaler | Error::AutoscalerUnknown { .. } => {
            details.set_retry_info(Some(RETRY));
            (Code::Unavailable, ErrorReason::AutoscalerElsewhere)
        }
        Error::NoSuchApps(violations) => {
            let list = violations.iter().map(|v| FieldViolation::new(&v.field, &v.description));
            details.set_bad_request(list.collect::<Vec<_>>());
            (Code::NotFound, ErrorReason::AppNotFound)
        }
        Error::NotAllowed { verb, resource, namespace, .. } => {
            note("verb", verb);
            note("resource", resource);
            note("namespace", namespace);
            (Code::PermissionDenied, ErrorReason::NotAllowed)
        }
        Error::NotManaged { .. } => (Code::FailedPrecondition, ErrorReason::NotManaged),
        Error::Admission { object, message } => {
            note("object", object);
            if let Some((key, name)) = api_texts::refusing_admission(message) {
                note(key, name);
            }
            (Code::FailedPrecondition, ErrorReason::AdmissionDenied)
        }
        Error::BeingDeleted { .. } => (Code::FailedPrecondition, ErrorReason::BeingDeleted),
        Error::Quota { object, message } => {
            details.set_quota_failure(vec![QuotaViolation::new(object, message)]);
            (Code::ResourceExhausted, ErrorReason::QuotaExceeded)
        }
        Error::DaemonForbidden { verb, object, message } => {
            let rule = format!("allow {verb} on {object}");
            details.set_precondition_failure(vec![PreconditionViolation::new("RBAC", rule, message)]);
            (Code::FailedPrecondition, ErrorReason::DaemonRbacMissing)
        }
        Error::Throttled { retry_after } => {
            details.set_retry_info(Some(*retry_after));
            (Code::Unavailable, ErrorReason::Throttled)
        }
        Error::TooManyChanges { .. } => {
            details.set_retry_info(Some(RETRY));
            (Code::Unavailable, ErrorReason::Throttled)
        }
        Error::Unreachable { .. } => {
            details.set_retry_info(Some(RETRY));
            (Code::Unavailable, ErrorReason::ClusterUnreachable)
        }
        Error::WarmingUp => {
            details.set_retry_info(Some(RETRY));
            (Code::Unavailable, ErrorReason::WarmingUp)
        }
        Error::ShuttingDown => {
            details.set_retry_info(Some(RETRY));
            (Code::Unavailable, ErrorReason::ShuttingDown)
        }
        Error::Deadline { waiting_for, may_have_happened } => {
            note("waitingFor", waiting_for);
            note("mayHaveHappened", if *may_have_happened { "true" } else { "false" });
            (Code::DeadlineExceeded, ErrorReason::Deadline)
        }
        Error::NotImplemented { .. } => (Code::Unimplemented, ErrorReason::NotImplemented),
        Error::Bug(message) => {
            // The cause goes to the log only. The call id in the answer leads to it.
            let id = super::call::current_id();
            tracing::error!(%message, call = %id, "internal error");
            details.set_request_info(&*id, "");
            details.set_error_info(ErrorReason::Bug.as_str_name(), DOMAIN, metadata);
            let text = format!("internal error; see the log of gantryd for call {id}");
            return Status::with_error_details(Code::Internal, text, details);
        }
        Error::Partial { source, rollout, applied, not_applied } => {
            return partial(error, source, rollout, applied, not_applied);
        }
    };
    details.set_error_info(reason.as_str_name(), DOMAIN, metadata);
    Status::with_error_details(code, error.to_string(), details)
}

/// Returns the error with as many violations as fit into the headers that carry it. Some clients accept only
/// 8 KiB of headers, base64 makes four bytes of three, and the message repeats the violations.
fn invalid(violations: &[Violation], message: &str) -> Status {
    const DETAILS: usize = 3600;
    const MESSAGE: usize = 1024;
    let mut left = DETAILS;
    let mut list = Vec::new();
    for violation in violations {
        // Cut, so that at least one violation always fits.
        let (field, description) = (cut(&violation.field, MESSAGE), cut(&violation.description, MESSAGE));
        match left.checked_sub(field.len() + description.len() + OVERHEAD) {
            Some(rest) => left = rest,
            None => break,
        }
        list.push(FieldViolation::new(field, description));
    }
    let told = list.len();
    let mut details = ErrorDetails::with_bad_request(list);
    details.set_error_info(ErrorReason::InvalidField.as_str_name(), DOMAIN, HashMap::new());
    let mut message = cut(message, MESSAGE);
    if told < violations.len() {
        message = format!(
            "{} fields are invalid, of which the first {told} are listed; {message}",
            violations.len()
        );
    }
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// Bytes of a violation on the wire besides its texts.
const OVERHEAD: usize = 9;

/// Cuts a text that is too long.
fn cut(text: &str, longest: usize) -> String {
    if text.len() <= longest {
        return text.to_owned();
    }
    format!("{}...", &text[..text.floor_char_boundary(longest)])
}

/// Returns the status of the error that stopped the work, with what was applied before it.
fn partial(
    error: &Error,
    source: &Error,
    rollout: &str,
    applied: &[String],
    not_applied: &[String],
) -> Status {
    let status = to_status(source);
    let mut details = status.get_error_details();
    let info = details.error_info().cloned();
    let (reason, mut metadata) = info.map_or_else(Default::default, |i| (i.reason, i.metadata));
    metadata.insert("rollout".to_owned(), rollout.to_owned());
    metadata.insert("applied".to_owned(), applied.join(","));
    metadata.insert("notApplied".to_owned(), not_applied.join(","));
    details.set_error_info(reason, DOMAIN, metadata);
    Status::with_error_details(status.code(), error.to_string(), details)
}

/// Gives an error that was made outside the services (limits, decoding, unknown methods) the details that all
/// errors have.
pub(super) fn complete_status(status: &Status, method: &str) -> Status {
    if !status.details().is_empty() {
        return status.clone();
    }
    match status.code() {
        // The messages of a generated default method and of an unknown path. Other messages say more, for
        // example about a compression.
        Code::Unimplemented if ["", "Not yet implemented"].contains(&status.message()) => {
            match schema::method(method) {
                Some(_) => Error::NotImplemented { what: method.to_owned() }.into(),
                None => unknown_method(method),
            }
        }
        Code::Unimplemented => bare(Code::Unimplemented, ErrorReason::NotImplemented, status.message()),
        // From tonic's decoder.
        Code::OutOfRange => too_large(status.message()),
        Code::ResourceExhausted if status.message().contains("decompressing") => too_large(status.message()),
        // From tonic, about a broken frame. Gantry's own errors have details and do not get here.
        Code::Internal | Code::DataLoss
            if !UNWRITABLE.iter().any(|text| status.message().starts_with(text)) =>
        {
            Error::invalid(
                "",
                format!("the request is not a valid message of this method: {}", status.message()),
            )
            .into()
        }
        Code::Unavailable | Code::ResourceExhausted => {
            let mut details = ErrorDetails::with_retry_info(Some(RETRY));
            details.set_error_info(ErrorReason::Throttled.as_str_name(), DOMAIN, HashMap::new());
            Status::with_error_details(Code::Unavailable, status.message(), details)
        }
        Code::InvalidArgument => bare(Code::InvalidArgument, ErrorReason::InvalidField, status.message()),
        Code::DeadlineExceeded | Code::Cancelled => {
            Error::Deadline { waiting_for: method.to_owned(), may_have_happened: true }.into()
        }
        Code::Ok
        | Code::Unknown
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Internal
        | Code::DataLoss
        | Code::Unauthenticated => {
            Error::Bug(format!("{method}: {}: {}", status.code(), status.message())).into()
        }
    }
}

/// The beginnings of tonic's messages when it cannot write an answer. Every other internal error of tonic is
/// a broken frame of the caller.
const UNWRITABLE: [&str; 2] = ["Error encoding", "Error compressing"];

/// Returns a code as the documentation of gRPC writes it.
pub(super) const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// Returns the error for a request that is too large.
pub(super) fn too_large(message: &str) -> Status {
    bare(Code::ResourceExhausted, ErrorReason::MessageTooLarge, message)
}

/// Returns the error for a caller, or a web page, that may not call.
pub(super) fn not_allowed(message: &str) -> Status {
    bare(Code::PermissionDenied, ErrorReason::NotAllowed, message)
}

/// Returns the error for a form of the protocol that is not supported.
pub(super) fn not_spoken(message: &str) -> Status {
    bare(Code::Unimplemented, ErrorReason::NotImplemented, message)
}

/// Returns the error for a service that the health service does not know.
pub(super) fn unknown_service(name: &str) -> Status {
    let message = format!("there is no service {name:?} here; the empty name means the whole daemon");
    let mut details = ErrorDetails::with_bad_request_violation("service", &message);
    details.set_error_info(ErrorReason::InvalidField.as_str_name(), DOMAIN, HashMap::new());
    Status::with_error_details(Code::NotFound, message, details)
}

/// Returns the error for a path that is no method of the API. It is not the error of a method that this
/// version does not implement yet.
fn unknown_method(path: &str) -> Status {
    let path = cut(path, LONGEST_PATH);
    let schema = schema::schema().ok();
    let close = schema.and_then(|schema| closest(&path, schema.methods().map(|(known, _)| known), CLOSE));
    let metadata = close.map(|known| ("didYouMean".to_owned(), known.to_owned()));
    let details = ErrorDetails::with_error_info(
        ErrorReason::MethodNotFound.as_str_name(),
        DOMAIN,
        metadata.into_iter().collect::<HashMap<_, _>>(),
    );
    let hint = close.map_or_else(
        || {
            "expected {service}/{method} such as gantry.v1.ServerService/GetServerInfo; server reflection lists them"
                .to_owned()
        },
        |known| format!("did you mean {known}?"),
    );
    Status::with_error_details(Code::Unimplemented, format!("there is no method {path:?}; {hint}"), details)
}

/// Bytes of an unknown path that its error quotes.
const LONGEST_PATH: usize = 200;
/// The number of letters by which a mistyped path may differ from the method that is meant.
const CLOSE: usize = 4;

/// What gRPC does not write as it is in `grpc-message`: `%` and everything outside printable ASCII (the
/// definition of `Percent-Byte-Unencoded` in gRPC over HTTP/2).
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// Writes the message of a status in these headers as gRPC specifies it. tonic also escapes spaces and other
/// characters that need no escape, and some clients and every log show them escaped.
pub(super) fn escape_message(headers: &mut HeaderMap) {
    let Some(escaped) = headers.get(Status::GRPC_MESSAGE) else { return };
    let message: Vec<u8> = percent_decode(escaped.as_bytes()).collect();
    let minimal = percent_encode(&message, ESCAPED).to_string();
    if let Ok(minimal) = HeaderValue::try_from(minimal) {
        headers.insert(Status::GRPC_MESSAGE, minimal);
    }
}

fn bare(code: Code, reason: ErrorReason, message: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason.as_str_name(), DOMAIN, HashMap::new());
    Status::with_error_details(code, message, details)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_says_what_was_done_before_it() {
        let error = Error::Partial {
            source: Box::new(Error::Quota { object: "service/shop".into(), message: "full".into() }),
            rollout: "namespaces/a/apps/shop/rollouts/2".into(),
            applied: vec!["deployment.apps/shop".into()],
            not_applied: vec!["service/shop".into()],
        };
        let status = Status::from(error);
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((status.code(), info.reason.as_str()), (Code::ResourceExhausted, "QUOTA_EXCEEDED"));
        assert_eq!(info.metadata["applied"], "deployment.apps/shop");
        assert_eq!(info.metadata["notApplied"], "service/shop");
        assert!(details.quota_failure().is_some());
    }

    #[test]
    fn a_bug_keeps_its_words_to_itself() {
        let status = Status::from(Error::Bug("the secret is 42".into()));
        assert!(!status.message().contains("42"));
        assert!(status.get_error_details().request_info().is_some());
    }

    #[test]
    fn an_error_fits_into_the_headers_that_carry_it() {
        for (count, field) in [(1, "x".repeat(100_000)), (1000, "app.spec.ports[0].name".to_owned())] {
            let violation = Violation { field, description: "is \"\"; it must match a-z".into() };
            let status = Status::from(Error::Invalid(vec![violation; count]));
            let mut headers = HeaderMap::new();
            status.add_header(&mut headers).unwrap();
            let bytes: usize =
                headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
            assert!(bytes < 8000, "{bytes} for {count}");
            let details = status.get_error_details();
            assert!(!details.bad_request().unwrap().field_violations.is_empty());
        }
    }

    #[test]
    fn errors_made_elsewhere_get_a_reason() {
        for code in (1..=16).map(Code::from) {
            let completed = complete_status(&Status::new(code, "x"), "gantry.v1.AppService/X");
            let details = completed.get_error_details();
            let info = details.error_info().unwrap();
            assert_eq!(info.domain, DOMAIN);
            assert!(ErrorReason::from_str_name(&info.reason).is_some(), "{}", info.reason);
        }
    }
}
