//! Errors of a call, with the details that the daemon sends, decoded. Must not know how errors are shown.

use std::{collections::BTreeMap, error::Error as StdError, time::Duration};

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::name;

/// Why a call gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not a valid address.
    #[error("`{address}` is not a valid address: {cause}")]
    Address {
        /// The text.
        address: String,
        /// What is wrong with it.
        cause: String,
    },
    /// No daemon answers at the address.
    #[error("no Gantry server answers at {address}: {cause}")]
    Unreachable {
        /// The address tried.
        address: String,
        /// The operating system's error.
        cause: String,
    },
    /// The connection broke while a call was running. Whether a write happened is not known.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// A stream sent nothing, not even a heartbeat.
    #[error("the server sent nothing for {} s", .0.as_secs())]
    Silent(Duration),
    /// The daemon ended a stream that was not complete.
    #[error("the server ended the stream")]
    Ended,
    /// No answer within the time limit. Whether a write happened is not known.
    #[error("no answer within the time limit")]
    Deadline,
    /// The answer lacks a field that the contract requires.
    #[error("the server's answer lacks `{0}`")]
    Incomplete(&'static str),
    /// The daemon refused the call.
    #[error("{}", .0.message)]
    Refused(Box<Refusal>),
    /// A text is not a valid name.
    #[error(transparent)]
    Name(#[from] name::Error),
    /// A text is not a valid bearer token.
    #[error("the token is empty, or holds spaces or control characters")]
    Token,
    /// The token would be sent without encryption.
    #[error("the token is not sent to {0}, because the connection is not encrypted")]
    Exposed(String),
}

/// An error that the daemon sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The gRPC code.
    pub code: Code,
    /// One sentence for people.
    pub message: String,
    /// The name of an [`ErrorReason`](crate::v1::ErrorReason), for programs. Empty if something other than
    /// Gantry answered, for example a proxy.
    pub reason: String,
    /// The values in the message that differ from case to case.
    pub metadata: BTreeMap<String, String>,
    /// The fields of the request that are wrong.
    pub fields: Vec<Violation>,
    /// Preconditions that do not hold and quotas that are used up.
    pub obstacles: Vec<Violation>,
    /// When to try again.
    pub retry_after: Option<Duration>,
    /// What to do, and where it is explained.
    pub help: Vec<Link>,
    /// The object that the error is about.
    pub resource: Option<Resource>,
    /// The id of the call in the daemon's logs.
    pub request_id: Option<String>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The path of a field, or the object in the way.
    pub subject: String,
    /// What is wrong with it.
    pub description: String,
}

/// One piece of advice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// What to do.
    pub description: String,
    /// Where to read more; may be empty.
    pub url: String,
}

/// A Kubernetes or Gantry object that an error is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Its type, for example `gantry.dev/App`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Who owns it; may be empty.
    pub owner: String,
    /// What is wrong with it; may be empty.
    pub description: String,
}

// === impl Error ===

impl Error {
    /// Returns the gRPC code, if the daemon sent one.
    pub fn code(&self) -> Option<Code> {
        self.refusal().map(|refusal| refusal.code)
    }

    /// Returns the daemon's reason, for example `APP_NOT_FOUND`; empty if it sent no reason.
    pub fn reason(&self) -> &str {
        self.refusal().map_or("", |refusal| &refusal.reason)
    }

    /// Returns the delay after which the daemon wants the call to be repeated.
    pub fn retry_after(&self) -> Option<Duration> {
        self.refusal().and_then(|refusal| refusal.retry_after)
    }

    /// Returns the error that the daemon sent, if it sent one.
    pub fn refusal(&self) -> Option<&Refusal> {
        if let Self::Refused(refusal) = self { Some(refusal) } else { None }
    }

    /// Whether the same call may succeed in a moment, because the daemon is not available or every attempt to
    /// write met a concurrent change.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.code == Code::Unavailable || refusal.reason == "WRITE_CONFLICT",
            Self::Unreachable { .. } | Self::Broken(_) | Self::Silent(_) | Self::Ended => true,
            Self::Address { .. }
            | Self::Deadline
            | Self::Incomplete(_)
            | Self::Name(_)
            | Self::Token
            | Self::Exposed(_) => false,
        }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        // Only an error that arose in this process has a source.
        if let Some(source) = status.source() {
            if chain(source).any(<dyn StdError>::is::<tonic::TimeoutExpired>) {
                return Self::Deadline;
            }
            return Self::Broken(root_cause(source));
        }
        Self::Refused(Box::new(status.into()))
    }
}

/// Returns the innermost message, because the outer ones only say "transport error".
pub(crate) fn root_cause(error: &(dyn StdError + 'static)) -> String {
    chain(error).last().unwrap_or(error).to_string()
}

fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| StdError::source(*error))
}

// === impl Refusal ===

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info();
        let fields = details.bad_request().into_iter().flat_map(|bad| &bad.field_violations);
        let preconditions =
            details.precondition_failure().into_iter().flat_map(|failure| &failure.violations);
        let quotas = details.quota_failure().into_iter().flat_map(|failure| &failure.violations);
        let links = details.help().into_iter().flat_map(|help| &help.links);
        Self {
            code: status.code(),
            message: status.message().to_owned(),
            reason: info.map(|info| info.reason.clone()).unwrap_or_default(),
            metadata: info.map(|info| info.metadata.clone().into_iter().collect()).unwrap_or_default(),
            fields: fields.map(|v| violation(&v.field, &v.description)).collect(),
            obstacles: preconditions
                .map(|v| violation(&v.subject, &v.description))
                .chain(quotas.map(|v| violation(&v.subject, &v.description)))
                .collect(),
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
            help: links.map(|l| Link { description: l.description.clone(), url: l.url.clone() }).collect(),
            resource: details.resource_info().map(|resource| Resource {
                kind: resource.resource_type.clone(),
                name: resource.resource_name.clone(),
                owner: resource.owner.clone(),
                description: resource.description.clone(),
            }),
            request_id: details.request_info().map(|info| info.request_id.clone()),
        }
    }
}

fn violation(subject: &str, description: &str) -> Violation {
    Violation { subject: subject.to_owned(), description: description.to_owned() }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn every_detail_is_decoded() {
        let mut details =
            ErrorDetails::with_error_info("INVALID_FIELD", "gantry.dev", [("etag".into(), "x".into())]);
        details
            .add_bad_request_violation("app.spec.image", "must not be empty")
            .add_precondition_failure_violation("RBAC", "clusterrole/gantry", "lacks `list pods`")
            .add_quota_failure_violation("resourcequota/cpu", "used up")
            .add_help_link("name an image", "https://example.org")
            .set_resource_info("gantry.dev/App", "namespaces/a/apps/b", "", "")
            .set_retry_info(Some(Duration::from_secs(2)))
            .set_request_info("r-1", "");
        let status = Status::with_error_details(Code::InvalidArgument, "no image", details);

        let error = Error::from(status);
        assert_eq!(
            (error.to_string().as_str(), error.code(), error.reason()),
            ("no image", Some(Code::InvalidArgument), "INVALID_FIELD")
        );
        assert_eq!(error.retry_after(), Some(Duration::from_secs(2)));
        let refusal = error.refusal().expect("the server sent it");
        assert_eq!(refusal.fields, [violation("app.spec.image", "must not be empty")]);
        assert_eq!(
            refusal.obstacles,
            [violation("clusterrole/gantry", "lacks `list pods`"), violation("resourcequota/cpu", "used up")]
        );
        assert_eq!(refusal.metadata.get("etag").map(String::as_str), Some("x"));
        assert_eq!(refusal.help[0].url, "https://example.org");
        assert_eq!(refusal.resource.as_ref().map(|r| r.name.as_str()), Some("namespaces/a/apps/b"));
        assert_eq!(refusal.request_id.as_deref(), Some("r-1"));
    }

    #[test]
    fn errors_of_this_side_are_told_from_the_servers() {
        assert!(matches!(Error::from(Status::unavailable("warming up")), Error::Refused(_)));
        let broken = Status::from_error(Box::new(std::io::Error::other("reset by peer")));
        assert!(matches!(Error::from(broken), Error::Broken(cause) if cause == "reset by peer"));
        let late = Status::from_error(Box::new(tonic::TimeoutExpired(())));
        assert!(matches!(Error::from(late), Error::Deadline));
    }

    #[test]
    fn only_what_passes_by_itself_is_tried_again() {
        assert!(Error::from(Status::unavailable("warming up")).is_passing());
        assert!(Error::Silent(Duration::from_secs(45)).is_passing());
        assert!(!Error::from(Status::resource_exhausted("quota")).is_passing());
        assert!(!Error::Deadline.is_passing());
        let aborted = |reason: &str| {
            let details = ErrorDetails::with_error_info(reason, "gantry.dev", []);
            Error::from(Status::with_error_details(Code::Aborted, "x", details))
        };
        assert!(aborted("WRITE_CONFLICT").is_passing() && !aborted("ETAG_MISMATCH").is_passing());
    }
}
