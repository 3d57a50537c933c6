//! Parses messages into domain values: names, and the rules that the options of the contract cannot express.
//! Refuses by name what this version cannot do. Collects every violation before it answers.
//! [`super::validate`] has checked the options before.

pub(super) mod autoscaler;
mod spec;
mod violations;

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tonic::Status;

use self::violations::Violations;
use crate::{
    domain::{
        Error, app,
        caller::Caller,
        commands::{Delete, Deploy, RequestMeta, Restart, Rollback, Scale},
        labels,
        mask::Mask,
        name::{self, Scope},
        revision,
        selector::{self, Selector},
        spec::Content,
    },
    pb,
};

/// Largest size of all annotations of an app, in bytes.
const ANNOTATIONS: usize = 16 * 1024;

pub(super) fn parse_app_name(field: &str, text: &str) -> Result<name::App, Error> {
    name::App::parse(text).map_err(|e| Error::invalid(field, e))
}

pub(super) fn parse_rollout_name(field: &str, text: &str) -> Result<name::Rollout, Error> {
    name::Rollout::parse(text).map_err(|e| Error::invalid(field, e))
}

pub(super) fn parse_parent(field: &str, text: &str) -> Result<Scope, Error> {
    Scope::parse_parent(text).map_err(|e| Error::invalid(field, e))
}

pub(super) fn parse_scope(field: &str, text: &str) -> Result<Scope, Error> {
    Scope::parse(text).map_err(|e| Error::invalid(field, e))
}

pub(super) fn parse_selector(text: &str) -> Result<Selector, Error> {
    Selector::parse(text).map_err(|e| Error::invalid("label_selector", e))
}

pub(super) fn parse_states(numbers: &[i32]) -> Result<Vec<app::State>, Error> {
    let known = |(i, number): (usize, &i32)| match pb::AppState::try_from(*number) {
        Ok(pb::AppState::Active) => Ok(app::State::Active),
        Ok(pb::AppState::Updating) => Ok(app::State::Updating),
        Ok(pb::AppState::Degraded) => Ok(app::State::Degraded),
        Ok(pb::AppState::Failed) => Ok(app::State::Failed),
        Ok(pb::AppState::Stopped) => Ok(app::State::Stopped),
        Ok(pb::AppState::Deleting) => Ok(app::State::Deleting),
        Ok(pb::AppState::Unspecified) | Err(_) => {
            Err(Error::invalid(format!("states[{i}]"), format!("{number} is not a valid AppState")))
        }
    };
    numbers.iter().enumerate().map(known).collect()
}

pub(super) fn parse_duration(
    field: &str,
    value: Option<&prost_types::Duration>,
) -> Result<Option<Duration>, Error> {
    let Some(value) = value else { return Ok(None) };
    Duration::try_from(*value).map(Some).map_err(|_| {
        Error::invalid(field, "must not be negative and must have at most 999,999,999 nanoseconds")
    })
}

pub(super) fn parse_time(
    field: &str,
    value: Option<&prost_types::Timestamp>,
) -> Result<Option<Timestamp>, Error> {
    let Some(value) = value else { return Ok(None) };
    Timestamp::new(value.seconds, value.nanos)
        .map(Some)
        .map_err(|_| Error::invalid(field, "is not a valid timestamp"))
}

/// Parses a deploy and checks it as far as possible without looking at the cluster.
pub(super) fn parse_deploy(request: pb::DeployAppRequest, caller: &Caller) -> Result<Deploy, Status> {
    let app = request.app.ok_or_else(|| Error::invalid("app", "is required"))?;
    let mut wrong = Violations::default();
    let name = match name::App::parse_to_deploy(&app.name) {
        Ok(name) => Some(name),
        Err(error) => {
            wrong.add("app.name", error);
            None
        }
    };
    let paths = request.update_mask.map(|mask| mask.paths).unwrap_or_default();
    let mask = Mask::new(&paths).map_err(|error| wrong.add("update_mask", error)).ok();
    check_labels(&app.labels, &mut wrong);
    check_annotations(&app.annotations, &mut wrong);
    let reject_concurrent = match pb::Concurrency::try_from(request.concurrency) {
        Ok(pb::Concurrency::Reject) => true,
        Ok(pb::Concurrency::Unspecified | pb::Concurrency::Supersede) => false,
        Err(_) => {
            wrong.add("concurrency", format!("{} is not a value of Concurrency", request.concurrency));
            false
        }
    };
    let spec = spec::parse_spec(app.spec.unwrap_or_default(), &mut wrong);
    let (Some(name), Some(mask), true) = (name, mask, wrong.0.is_empty()) else {
        return Err(Error::Invalid(wrong.0).into());
    };
    let content = Content {
        labels: app.labels.into_iter().collect(),
        annotations: app.annotations.into_iter().collect(),
        spec,
    };
    let (force, adopt) = (request.force, request.adopt);
    let what = (name.to_string(), &content, &paths, force, adopt, reject_concurrent);
    let meta = RequestMeta {
        etag: given(&app.etag),
        validate_only: request.validate_only,
        ..request_meta(
            caller,
            request.reason,
            to_request(&request.request_id, "DeployApp", &(what, &app.etag)),
        )
    };
    Ok(Deploy { name, content, mask, force, adopt, reject_concurrent, meta })
}

pub(super) fn parse_delete(request: pb::DeleteAppRequest, caller: &Caller) -> Result<Delete, Status> {
    let (name, etag) = (parse_app_name("name", &request.name)?, given(&request.etag));
    let id =
        to_request(&request.request_id, "DeleteApp", &(&request.name, &request.etag, request.allow_missing));
    let meta = RequestMeta {
        etag,
        validate_only: request.validate_only,
        ..request_meta(caller, request.reason, id)
    };
    Ok(Delete { name, allow_missing: request.allow_missing, meta })
}

pub(super) fn parse_scale(request: pb::ScaleAppRequest, caller: &Caller) -> Result<Scale, Status> {
    let (name, etag) = (parse_app_name("name", &request.name)?, given(&request.etag));
    let replicas =
        request.replicas.ok_or_else(|| Error::invalid("replicas", "is required; 0 stops the app"))?;
    let hold_for = parse_duration("hold_for", request.hold_for.as_ref())?;
    let what = (&request.name, replicas, request.hold_for.map(|d| (d.seconds, d.nanos)), &request.etag);
    let id = to_request(&request.request_id, "ScaleApp", &what);
    let meta = RequestMeta {
        etag,
        validate_only: request.validate_only,
        ..request_meta(caller, request.reason, id)
    };
    Ok(Scale { name, replicas, hold_for, meta })
}

pub(super) fn parse_restart(request: pb::RestartAppRequest, caller: &Caller) -> Result<Restart, Status> {
    let (name, etag) = (parse_app_name("name", &request.name)?, given(&request.etag));
    let id = to_request(&request.request_id, "RestartApp", &(&request.name, &request.etag));
    let meta = RequestMeta {
        etag,
        validate_only: request.validate_only,
        ..request_meta(caller, request.reason, id)
    };
    Ok(Restart { name, meta })
}

pub(super) fn parse_rollback(request: pb::RollbackAppRequest, caller: &Caller) -> Result<Rollback, Status> {
    let (name, etag) = (parse_app_name("name", &request.name)?, given(&request.etag));
    let to = if request.rollout.is_empty() {
        None
    } else {
        let (app, number) = name::Rollout::parse_numbered(&request.rollout)
            .map_err(|error| Error::invalid("rollout", error))?;
        if app != name {
            let said = format!("{} is not a rollout of {name}", request.rollout);
            return Err(Error::invalid("rollout", said).into());
        }
        Some(number)
    };
    let what = (&request.name, &request.rollout, &request.etag, request.force, request.keep_autoscaler);
    let id = to_request(&request.request_id, "RollbackApp", &what);
    let meta = RequestMeta {
        etag,
        validate_only: request.validate_only,
        ..request_meta(caller, request.reason, id)
    };
    let (force, keep_autoscaler) = (request.force, request.keep_autoscaler);
    Ok(Rollback { name, to, force, keep_autoscaler, failed: None, meta })
}

/// Parses the metadata of a request that pauses or resumes a rollout.
pub(super) fn parse_pause_meta(
    method: &str,
    name: &str,
    request_id: &str,
    reason: String,
    caller: &Caller,
) -> RequestMeta {
    request_meta(caller, reason, to_request(request_id, method, &name))
}

fn request_meta(caller: &Caller, reason: String, request: Option<revision::Request>) -> RequestMeta {
    let (caller, time) = (caller.clone(), Timestamp::now());
    RequestMeta { caller, reason, time, request, validate_only: false, etag: None }
}

fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Returns what identifies a repeated request: its id, and a digest of the method and of every field that
/// decides what it does.
fn to_request(id: &str, method: &str, what: &impl Serialize) -> Option<revision::Request> {
    let json = serde_json::to_vec(&(method, what)).unwrap_or_default();
    let digest = Sha256::digest(json).iter().take(16).fold(String::new(), |text, b| format!("{text}{b:02x}"));
    (!id.is_empty()).then(|| revision::Request { id: id.to_ascii_lowercase(), digest })
}

fn check_labels(labels: &BTreeMap<String, String>, wrong: &mut Violations) {
    for (key, value) in labels {
        let field = || format!("app.labels[{key}]");
        if labels::is_reserved(key) {
            wrong.add(field(), "is reserved; Gantry or Kubernetes sets it");
        } else if !selector::is_label_key(key) {
            wrong.add(
                field(),
                "is not a valid label key; expected at most 63 letters, digits, '-', '_' or '.', after an optional DNS \
                 prefix and '/'",
            );
        }
        if !selector::is_label_value(value) {
            wrong.add(
                field(),
                "has an invalid label value; expected at most 63 letters, digits, '-', '_' or '.', with a letter or digit \
                 at both ends",
            );
        }
    }
}

fn check_annotations(annotations: &BTreeMap<String, String>, wrong: &mut Violations) {
    let bytes: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > ANNOTATIONS {
        wrong.add("app.annotations", format!("have {bytes} bytes in all; at most {ANNOTATIONS} are allowed"));
    }
    for key in annotations.keys() {
        let field = || format!("app.annotations[{key}]");
        if key.starts_with("gantry.dev/") || key.starts_with("deployment.kubernetes.io/") {
            wrong.add(field(), "is reserved; Gantry or Kubernetes sets it");
        } else if !selector::is_annotation_key(key) {
            wrong.add(
                field(),
                "is not a valid annotation key; expected at most 63 letters, digits, '-', '_' or '.', after an optional DNS \
                 prefix and '/'",
            );
        }
    }
}

#[cfg(test)]
mod tests;
