//! From messages to the domain: names, rules of fields, and refusal by name of what this version cannot do. Collects every
//! violation before it answers.

mod spec;

use std::time::Duration;

use jiff::Timestamp;
use tonic::Status;

use crate::{
    domain::{
        Error,
        act::{Delete, Deploy},
        app,
        error::Violation,
        mask::Mask,
        name::{self, Scope},
        selector::{self, Selector},
        spec::Content,
    },
    pb,
};

/// Bytes of all annotations of an app.
const ANNOTATIONS: usize = 16 * 1024;
/// Bytes of a reason.
const REASON: usize = 1024;

pub(super) fn app_name(field: &str, text: &str) -> Result<name::App, Error> {
    name::App::parse(text).map_err(|e| Error::invalid(field, e))
}

pub(super) fn rollout_name(field: &str, text: &str) -> Result<name::Rollout, Error> {
    name::Rollout::parse(text).map_err(|e| Error::invalid(field, e))
}

pub(super) fn parent(field: &str, text: &str) -> Result<Scope, Error> {
    Scope::parse_parent(text).map_err(|e| Error::invalid(field, e))
}

pub(super) fn scope(field: &str, text: &str) -> Result<Scope, Error> {
    Scope::parse(text).map_err(|e| Error::invalid(field, e))
}

pub(super) fn selector(text: &str) -> Result<Selector, Error> {
    Selector::parse(text).map_err(|e| Error::invalid("label_selector", e))
}

pub(super) fn states(numbers: &[i32]) -> Result<Vec<app::State>, Error> {
    let known = |(i, number): (usize, &i32)| match pb::AppState::try_from(*number) {
        Ok(pb::AppState::Active) => Ok(app::State::Active),
        Ok(pb::AppState::Updating) => Ok(app::State::Updating),
        Ok(pb::AppState::Degraded) => Ok(app::State::Degraded),
        Ok(pb::AppState::Failed) => Ok(app::State::Failed),
        Ok(pb::AppState::Stopped) => Ok(app::State::Stopped),
        Ok(pb::AppState::Deleting) => Ok(app::State::Deleting),
        Ok(pb::AppState::Unspecified) | Err(_) => {
            Err(Error::invalid(format!("states[{i}]"), format!("{number} is no state to look for")))
        }
    };
    numbers.iter().enumerate().map(known).collect()
}

pub(super) fn duration(
    field: &str,
    value: Option<&prost_types::Duration>,
) -> Result<Option<Duration>, Error> {
    let Some(value) = value else { return Ok(None) };
    Duration::try_from(*value)
        .map(Some)
        .map_err(|_| Error::invalid(field, "must not be negative, and have at most 999,999,999 nanoseconds"))
}

/// A deploy, checked as far as it can be without looking at the cluster.
pub(super) fn deploy(request: pb::DeployAppRequest, actor: &str) -> Result<Deploy, Status> {
    later("DeployAppRequest.validate_only", request.validate_only)?;
    later("DeployAppRequest.request_id", !request.request_id.is_empty())?;
    later("DeployAppRequest.force", request.force)?;
    later("DeployAppRequest.adopt", request.adopt)?;
    let app = request.app.ok_or_else(|| Error::invalid("app", "is required"))?;
    let mut wrong = Wrong::default();
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
    if request.reason.len() > REASON {
        wrong.add("reason", format!("has {} bytes; {REASON} are allowed", request.reason.len()));
    }
    let reject_concurrent = match pb::Concurrency::try_from(request.concurrency) {
        Ok(pb::Concurrency::Reject) => true,
        Ok(pb::Concurrency::Unspecified | pb::Concurrency::Supersede) => false,
        Err(_) => {
            wrong.add("concurrency", format!("{} is no value of Concurrency", request.concurrency));
            false
        }
    };
    let spec = spec::parse(app.spec.unwrap_or_default(), &mut wrong);
    match (name, mask) {
        (Some(name), Some(mask)) if wrong.0.is_empty() => Ok(Deploy {
            name,
            content: Content {
                labels: app.labels.into_iter().collect(),
                annotations: app.annotations.into_iter().collect(),
                spec,
            },
            mask,
            etag: (!app.etag.is_empty()).then_some(app.etag),
            reject_concurrent,
            actor: actor.to_owned(),
            reason: request.reason,
            time: Timestamp::now(),
        }),
        _ => Err(Error::Invalid(wrong.0).into()),
    }
}

pub(super) fn delete(request: pb::DeleteAppRequest, actor: &str) -> Result<Delete, Status> {
    later("DeleteAppRequest.validate_only", request.validate_only)?;
    later("DeleteAppRequest.request_id", !request.request_id.is_empty())?;
    if request.reason.len() > REASON {
        return Err(Error::invalid("reason", format!("has more than {REASON} bytes")).into());
    }
    Ok(Delete {
        name: app_name("name", &request.name)?,
        etag: (!request.etag.is_empty()).then_some(request.etag),
        allow_missing: request.allow_missing,
        actor: actor.to_owned(),
        reason: request.reason,
    })
}

/// Refuses what this version does not do yet, by name; silence would be worse than an error.
fn later(what: &str, is_set: bool) -> Result<(), Error> {
    if is_set { Err(Error::NotImplemented { what: what.to_owned() }) } else { Ok(()) }
}

fn check_labels(labels: &std::collections::HashMap<String, String>, wrong: &mut Wrong) {
    for (key, value) in labels {
        let field = || format!("app.labels[{key}]");
        if ["app.kubernetes.io/name", app::MANAGED_BY].contains(&key.as_str())
            || key.starts_with("gantry.dev/")
            || key == "pod-template-hash"
        {
            wrong.add(field(), "is set by this server");
        } else if !selector::is_label_key(key) {
            wrong.add(field(), "is no label key: at most 63 letters, digits, '-', '_' and '.', after an optional DNS prefix and '/'");
        }
        if !selector::is_label_value(value) {
            wrong.add(field(), "has no label value: at most 63 letters, digits, '-', '_' and '.'");
        }
    }
}

fn check_annotations(annotations: &std::collections::HashMap<String, String>, wrong: &mut Wrong) {
    let bytes: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > ANNOTATIONS {
        wrong.add("app.annotations", format!("have {bytes} bytes; {ANNOTATIONS} are allowed"));
    }
    for key in annotations.keys() {
        let field = || format!("app.annotations[{key}]");
        if key.starts_with("gantry.dev/") || key.starts_with("deployment.kubernetes.io/") {
            wrong.add(field(), "is set by this server or by Kubernetes");
        } else if !selector::is_label_key(key) {
            wrong.add(field(), "is no annotation key: at most 63 letters, digits, '-', '_' and '.', after an optional DNS prefix and '/'");
        }
    }
}

/// Violations found so far.
#[derive(Debug, Default)]
struct Wrong(Vec<Violation>);

impl Wrong {
    fn add(&mut self, field: impl Into<String>, description: impl std::fmt::Display) {
        self.0.push(Violation { field: field.into(), description: description.to_string() });
    }
}

#[cfg(test)]
mod tests;
