//! Calls that change something, made safe to repeat. Must not know what they change.

use tonic::Code;
use uuid::Uuid;

use crate::{Error, error::Refusal, v1};

/// A request that the daemon carries out once, however often it arrives.
pub trait Write {
    /// The UUID by which the daemon recognises a repetition.
    fn request_id(&mut self) -> &mut String;
    /// Whether the request is a dry run.
    fn is_dry_run(&self) -> bool;
}

/// Returns a fresh UUID for a `request_id`.
pub fn request_id() -> String {
    Uuid::new_v4().to_string()
}

/// Gives a request a fresh id, unless it has one or is a dry run.
pub(crate) fn identify(request: &mut impl Write) {
    if !request.is_dry_run() && request.request_id().is_empty() {
        *request.request_id() = request_id();
    }
}

/// Whether the daemon refuses every `request_id`, as versions before 0.1 do.
pub(crate) fn knows_no_ids(error: &Error) -> bool {
    let about_id = |refusal: &Refusal| {
        let named = refusal.fields.iter().any(|field| field.subject.ends_with("request_id"));
        named || refusal.message.contains("request_id")
    };
    error.code() == Some(Code::Unimplemented) && error.refusal().is_some_and(about_id)
}

macro_rules! writes {
    ($($request:ident: $dry_run:expr;)+) => { $(
        impl Write for v1::$request {
            fn request_id(&mut self) -> &mut String {
                &mut self.request_id
            }

            fn is_dry_run(&self) -> bool {
                let dry_run: fn(&Self) -> bool = $dry_run;
                dry_run(self)
            }
        }
    )+ };
}

writes! {
    DeployAppRequest: |request| request.validate_only;
    ScaleAppRequest: |request| request.validate_only;
    RestartAppRequest: |request| request.validate_only;
    RollbackAppRequest: |request| request.validate_only;
    DeleteAppRequest: |request| request.validate_only;
    PauseRolloutRequest: |_| false;
    ResumeRolloutRequest: |_| false;
    UpdateAutoscalerRequest: |request| request.validate_only;
}

#[cfg(test)]
mod tests {
    use tonic::Status;
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    #[test]
    fn every_change_has_an_id_of_its_own() {
        let (mut one, mut two) = (v1::ScaleAppRequest::default(), v1::ScaleAppRequest::default());
        identify(&mut one);
        identify(&mut two);
        assert_ne!(one.request_id, two.request_id);
        assert!(Uuid::parse_str(&one.request_id).is_ok(), "{}", one.request_id);
        let before = one.request_id.clone();
        identify(&mut one);
        assert_eq!(one.request_id, before);
    }

    #[test]
    fn asking_does_not_use_an_id_up() {
        let mut request = v1::DeployAppRequest { validate_only: true, ..Default::default() };
        identify(&mut request);
        assert_eq!(request.request_id, "");
    }

    #[test]
    fn a_server_without_ids_is_recognised() {
        let refuse = |field: &str| {
            let mut details = ErrorDetails::with_error_info("NOT_IMPLEMENTED", "gantry.dev", []);
            details.add_bad_request_violation(field, "not there yet");
            Error::from(Status::with_error_details(Code::Unimplemented, "later", details))
        };
        assert!(knows_no_ids(&refuse("DeployAppRequest.request_id")));
        assert!(knows_no_ids(&Status::unimplemented("DeployAppRequest.request_id is not there yet").into()));
        assert!(!knows_no_ids(&refuse("DeployAppRequest.force")));
        assert!(!knows_no_ids(&Status::unimplemented("later").into()));
    }
}
