//! Changes the autoscaler of an app: one merge into the annotations of its Deployment, over the version that was read, which also
//! ends a hold if the mode is set, and remembers the request.

use std::sync::Arc;

use serde_json::{Value, json};
use tracing::{info, warn};

use super::{
    CROWDED, Writer,
    access_review::{self, Write},
    annotation, deploy, requests,
    scale::set_count,
    snapshot,
};
use crate::{
    autoscale::{Field, Mode, Policy},
    domain::{
        Error,
        change::{Action, Change},
        commands::{CommandResult, UpdateAutoscaler},
        error::Violation,
        object::Kind,
        scaling::{AUTOSCALER, HOLD},
    },
};

/// Attempts to write over the version that was read.
const ATTEMPTS: u32 = 20;

pub(super) async fn update_policy(actor: &Writer, request: UpdateAutoscaler) -> Result<CommandResult, Error> {
    let (name, meta) = (&request.name, &request.meta);
    let id = Kind::Deployment.object_of(name);
    for _ in 0..ATTEMPTS {
        let found = snapshot::read_snapshot(actor, name).await?;
        let (deployment, object) = found.existing_deployment(name)?;
        let before = deployment.scaling.policy();
        let at = |version| Some(deploy::position_at(name, version, found.live.newest_number()));
        if !meta.validate_only
            && let Some(answered) = requests::check_answered(&found.live, object, meta)?
        {
            return Ok(CommandResult {
                policy: Some(before),
                position: at(answered.version),
                ..CommandResult::default()
            });
        }
        let written = object.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(AUTOSCALER));
        if written && deployment.scaling.policy.is_none() {
            // Writing over what cannot be read would lose it.
            let what = format!(
                "reading the annotation {AUTOSCALER} of {name}, which a newer server or somebody else wrote,"
            );
            return Err(Error::NotImplemented { what });
        }
        if meta.etag.as_ref().is_some_and(|etag| *etag != before.digest()) {
            return Err(Error::EtagMismatch { etag: before.digest() });
        }
        let policy = decide(&request, &before)?;
        if policy.owns_count(meta.time) {
            found.live.check_no_other_autoscaler(name)?;
        }
        let changes = policy_changes(&id, &before, &policy);
        let ends_hold = request.change.fields.contains(&Field::Mode) && deployment.scaling.hold.is_some();
        let mut done = CommandResult { policy: Some(policy.clone()), changes, ..CommandResult::default() };
        if meta.validate_only {
            let write = Write { kind: Kind::Deployment, verb: "patch", subresource: "" };
            done.checks = access_review::review_access(actor, name, &[write]).await?;
            return Ok(done);
        }
        let version = snapshot::resource_version(object);
        let remembered = requests::add_answer(object, meta, version, 0);
        let stored = deployment.scaling.policy.is_some();
        if *policy == *before && stored && !ends_hold && remembered.is_none() {
            return Ok(CommandResult { position: at(version), ..done });
        }
        let mut annotations = remembered.unwrap_or_else(|| json!({}));
        annotations[AUTOSCALER] = json!(annotation("policy", &*policy)?);
        if ends_hold {
            annotations[HOLD] = Value::Null;
        }
        let mut over = object.metadata.resource_version.clone();
        if policy.mode_at(meta.time) == Mode::Active && deployment.scaling.set_outside.is_some() {
            // Once the policy is there, a count that others set is a word against the autoscaler; this one was there before. Owned first,
            // so that whoever comes between finds the policy as it was.
            match set_count(actor, name, deployment.replicas, over.clone(), false).await {
                Ok(scaled) => over = scaled.metadata.resource_version,
                Err(Error::EtagMismatch { .. }) => continue,
                Err(error) => warn!(app = %name, %error, "cannot own the count; it counts as a hold"),
            }
        }
        let metadata = json!({"resourceVersion": over, "annotations": annotations});
        match actor.patch_deployment(name, metadata).await {
            Ok(written) => {
                info!(app = %name, mode = policy.mode.as_str(), min = policy.min, max = policy.max, actor = %meta.actor,
                    reason = ?meta.reason, "autoscaler set");
                return Ok(CommandResult { position: at(snapshot::resource_version(&written)), ..done });
            }
            // Its controller writes the status with every replica that comes or goes.
            Err(Error::EtagMismatch { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Err(CROWDED)
}

/// The policy as it is to be, if it breaks no rule.
fn decide(request: &UpdateAutoscaler, before: &Policy) -> Result<Arc<Policy>, Error> {
    let policy = before.at_time(request.meta.time).with_change(&request.change, &request.meta.actor);
    let wrongs = policy.violations(request.meta.time);
    if wrongs.is_empty() {
        return Ok(Arc::new(policy));
    }
    let violation = |wrong: crate::autoscale::RuleViolation| Violation {
        field: format!("autoscaler.{}", wrong.field),
        description: wrong.why,
    };
    Err(Error::Invalid(wrongs.into_iter().map(violation).collect()))
}

/// What of the policy changes, by the names of its JSON form.
pub(super) fn policy_changes(id: &str, before: &Policy, after: &Policy) -> Vec<Change> {
    let fields = |policy: &Policy| serde_json::to_value(policy).unwrap_or_default();
    let (old, new) = (fields(before), fields(after));
    let all =
        |value: &Value| value.as_object().into_iter().flatten().map(|(k, _)| k.clone()).collect::<Vec<_>>();
    let mut keys = [all(&old), all(&new)].concat();
    keys.sort();
    keys.dedup();
    let text = |value: &Value| if value.is_null() { String::new() } else { value.to_string() };
    let change = |key: String| {
        (old[&key] != new[&key]).then(|| Change {
            path: format!("metadata.annotations[{AUTOSCALER}].{key}"),
            old: text(&old[&key]),
            new: text(&new[&key]),
            ..Change::whole(id.to_owned(), Action::Update)
        })
    };
    keys.into_iter().filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autoscale::Signal;

    #[test]
    fn changes_are_told_field_by_field() {
        let after =
            Policy { mode: Mode::Active, max: 5, targets: vec![Signal::CpuPercent(60)], ..Policy::default() };
        let told: Vec<_> = policy_changes("deployment.apps/shop", &Policy::default(), &after)
            .into_iter()
            .map(|c| (c.path.rsplit('.').next().unwrap_or_default().to_owned(), c.old, c.new))
            .collect();
        let expected = [
            ("max", "0", "5"),
            ("mode", "\"OFF\"", "\"ACTIVE\""),
            ("targets", "[]", "[{\"cpuPercent\":60}]"),
        ];
        let expected: Vec<_> = expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())).into();
        assert_eq!(told, expected);
        assert!(policy_changes("x", &after, &after).is_empty());
    }
}
