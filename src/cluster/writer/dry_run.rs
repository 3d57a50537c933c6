//! Asks the API server, before anything is written, whether it would take every object, and what that would change.

use futures::{future, future::join_all};
use kube::{
    api::{DynamicObject, Patch, PatchParams, PostParams},
    client::Body,
    core::Status,
};
use serde_json::{Value, value::RawValue};

use super::{Writer, apply_params, deploy, field_ownership, owned_manifest, snapshot::Snapshot};
use crate::{
    cluster::{error::Doing, yaml::apply_body},
    domain::{
        Error,
        change::{Action, Change},
        check::{Check, Finding, Kind as CheckKind},
        diff,
        error::Conflict,
        labels::REVISION,
        manifest::Object,
        object::Kind,
        plan::{Intent, Rendered},
        pod_template_patch,
    },
};

/// What a change would do.
#[derive(Debug, Default)]
pub(super) struct DryRun {
    pub(super) changes: Vec<Change>,
    pub(super) checks: Vec<Check>,
    /// What the API server warns of, verbatim.
    pub(super) warnings: Vec<String>,
    /// What refused it, the first one.
    pub(super) refusal: Option<Error>,
    /// Objects, but for the Deployment, that would stay the same to the last byte, the record of who manages which field
    /// included: the API server would not even write them.
    pub(super) same: Vec<Kind>,
    /// The Deployment as it would be, unless it was refused.
    pub(super) deployment: Option<DynamicObject>,
}

/// What the API server said about one object.
struct Answer {
    after: Result<DynamicObject, Error>,
    warnings: Vec<String>,
    /// Fields that others manage and that the change would take.
    conflicts: Vec<Conflict>,
}

/// Asks about every object at once.
pub(super) async fn dry_run_objects(
    actor: &Writer,
    intent: &Intent,
    rendered: &Rendered,
    found: &Snapshot,
) -> Result<DryRun, Error> {
    let uid = found.deployment.as_ref().and_then(|d| d.metadata.uid.as_deref());
    let ask = |object| ask(actor, intent, rendered, object, uid, found);
    let hand_over = async {
        if rendered.adopt {
            field_ownership::plan_transfer(actor, intent, rendered, found).await
        } else {
            Ok(None)
        }
    };
    let (mut answers, hand_over) = future::join(join_all(rendered.objects.iter().map(ask)), hand_over).await;
    if let (Some(before), Some(answer)) = (&found.deployment, answers.first_mut()) {
        answer.go_on(actor, intent, before, hand_over).await;
    }
    let mut outlook = DryRun { checks: vec![rendered.count.clone()], ..DryRun::default() };
    for (object, answer) in rendered.objects.iter().zip(answers) {
        outlook.take(intent, found.object(object.kind), object, answer)?;
    }
    let name = &intent.name;
    outlook.changes.extend(rendered.resume.clone());
    outlook.changes.extend(rendered.prune.iter().map(|k| Change::whole(k.object_of(name), Action::Delete)));
    outlook.checks.sort_by_key(|check| check.result);
    Ok(outlook)
}

async fn ask(
    actor: &Writer,
    intent: &Intent,
    rendered: &Rendered,
    object: &Object,
    uid: Option<&str>,
    found: &Snapshot,
) -> Answer {
    let manifest = owned_manifest(object, &intent.name, uid);
    let force = rendered.adopt || found.object(object.kind).is_some_and(field_ownership::owns_no_fields);
    let dry_run = async |force| {
        let mut warnings = Vec::new();
        let after = dry_run(actor, intent, object.kind, &manifest, force, &mut warnings).await;
        (after, warnings)
    };
    let (after, warnings) = dry_run(force).await;
    let Err(Error::Conflict(mut conflicts)) = after else {
        return Answer { after, warnings, conflicts: Vec::new() };
    };
    conflicts.retain(|c| !(c.is_bookkeeping() || rendered.take_count && c.field == ".spec.replicas"));
    // What the change would be if nobody objected.
    let (after, warnings) = dry_run(true).await;
    Answer { after, warnings, conflicts }
}

/// One dry run.
async fn dry_run(
    actor: &Writer,
    intent: &Intent,
    kind: Kind,
    manifest: &Value,
    force: bool,
    warnings: &mut Vec<String>,
) -> Result<DynamicObject, Error> {
    let name = &intent.name;
    let api = actor.objects(&name.namespace, kind);
    let id = kind.object_of(name);
    let params = PatchParams { dry_run: true, ..apply_params(force) };
    let body = apply_body(manifest)?;
    let answer = async {
        send_dry_run(actor, api.resource_url(), Ask::Apply(&name.app, &params, &body), warnings).await
    };
    actor.cluster.call(Doing { verb: "patch", object: &id }, answer).await
}

/// A write that is asked about.
pub(super) enum Ask<'a> {
    /// The object of this name, applied.
    Apply(&'a str, &'a PatchParams, &'a RawValue),
    /// An object made anew.
    Create(&'a PostParams, &'a Value),
}

/// Asks the API server at the address of a kind, and keeps what it warns of. Not by the client's own methods, which keep the warnings to
/// themselves: they come in headers.
pub(super) async fn send_dry_run(
    actor: &Writer,
    url: &str,
    ask: Ask<'_>,
    warnings: &mut Vec<String>,
) -> Result<DynamicObject, kube::Error> {
    let request = kube::core::Request::new(url);
    let request = match ask {
        Ask::Apply(name, params, manifest) => request.patch(name, params, &Patch::Apply(manifest)),
        Ask::Create(params, manifest) => request.create(params, manifest.to_string().into_bytes()),
    };
    let request = request.map_err(kube::Error::BuildRequest)?;
    let response = actor.cluster.client.send(request.map(Body::from)).await?;
    let (parts, body) = response.into_parts();
    warnings.extend(parts.headers.get_all("warning").iter().filter_map(|w| warning(w.to_str().ok()?)));
    let bytes = body.collect_bytes().await?;
    if parts.status.is_success() {
        return serde_json::from_slice(&bytes).map_err(kube::Error::SerdeError);
    }
    let said = serde_json::from_slice(&bytes).unwrap_or_else(|_| Status {
        code: parts.status.as_u16(),
        message: String::from_utf8_lossy(&bytes).into_owned(),
        ..Status::default()
    });
    Err(kube::Error::Api(Box::new(said)))
}

/// The text of a warning header: `299 - "text"`.
fn warning(header: &str) -> Option<String> {
    let quoted = header.split_once('"')?.1.rsplit_once('"')?.0;
    Some(quoted.replace("\\\"", "\"").replace("\\\\", "\\"))
}

/// Kubernetes refuses every dry run that a webhook with side effects would see; that says nothing about the write.
fn cannot_be_asked(error: &Error) -> bool {
    matches!(error, Error::Admission { message, .. } if message.contains("does not support dry run"))
}

impl Answer {
    /// What an adoption makes of a Deployment. What was asked about is the apply alone, which lets go of nothing that others made: only
    /// the hand-over before it does, and of two writes the API server cannot be asked at once.
    async fn go_on(
        &mut self,
        actor: &Writer,
        intent: &Intent,
        before: &DynamicObject,
        hand_over: Result<Option<field_ownership::OwnershipTransfer>, Error>,
    ) {
        let Ok(tried) = &self.after else { return };
        match hand_over {
            Ok(None) => {}
            Ok(Some(hand_over)) => {
                match field_ownership::dry_run_transfer(actor, &intent.name, before, tried, &hand_over).await
                {
                    // That it could not be asked says nothing; then what the apply alone would do is the most that is known.
                    Err(error) if !deploy::is_refusal(&error) => {}
                    after => self.after = after,
                }
            }
            // It comes first, so the apply would never be tried.
            Err(error) => self.after = Err(error),
        }
    }
}

impl DryRun {
    /// Takes in one answer. An error only if it says nothing about the object: the API server is away, the namespace missing.
    fn take(
        &mut self,
        intent: &Intent,
        before: Option<&DynamicObject>,
        object: &Object,
        answer: Answer,
    ) -> Result<(), Error> {
        let id = object.kind.object_of(&intent.name);
        self.warnings.extend(answer.warnings);
        let says = |kind, result, message: String| Check::new(kind, result, message).of(&id);
        if answer.conflicts.is_empty() {
            let message = "Nobody else manages what is set.".to_owned();
            self.checks.push(says(CheckKind::FieldOwnership, Finding::Pass, message));
        } else {
            let list: Vec<_> =
                answer.conflicts.iter().map(|c| format!("{} by {}", c.field, c.manager)).collect();
            let list = list.join(", ");
            if intent.record.force {
                let message = format!("Takes over fields that others manage: {list}.");
                self.checks.push(says(CheckKind::FieldOwnership, Finding::Warn, message));
            } else {
                let message = format!("Others manage what would change: {list}. Take it over with force.");
                self.checks.push(says(CheckKind::FieldOwnership, Finding::Fail, message));
                self.refuse(Error::Conflict(answer.conflicts));
            }
        }
        let action = if before.is_some() { Action::Update } else { Action::Create };
        match answer.after {
            Ok(after) => {
                let message = "The API server would take it.".to_owned();
                self.checks.push(says(CheckKind::Admission, Finding::Pass, message));
                match before {
                    Some(before) => {
                        if object.kind != Kind::Deployment && is_same(before, &after) {
                            self.same.push(object.kind);
                        }
                        self.changes.extend(compare(object.kind, &id, before, &after));
                    }
                    None => self.changes.push(Change {
                        new: object.manifest.to_string(),
                        ..Change::whole(id.clone(), action)
                    }),
                }
                if object.kind == Kind::Deployment {
                    self.deployment = Some(after);
                }
            }
            Err(error) if cannot_be_asked(&error) => {
                let message = format!("Cannot be asked without side effects: {error}");
                self.checks.push(says(CheckKind::Admission, Finding::Skipped, message));
                if intent.is_new || before.is_none() {
                    self.changes.push(Change::whole(id.clone(), action));
                }
            }
            Err(error @ (Error::Admission { .. } | Error::Quota { .. } | Error::NotAllowed { .. })) => {
                self.checks.push(says(CheckKind::Admission, Finding::Fail, error.to_string()));
                self.changes.push(Change::whole(id.clone(), action));
                self.refuse(error);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn refuse(&mut self, error: Error) {
        self.refusal.get_or_insert(error);
    }
}

/// Whether two answers are one object, but for its status, which an apply does not touch and a controller may have written in between.
/// Lists give objects without their type, so that is left out too.
fn is_same(before: &DynamicObject, after: &DynamicObject) -> bool {
    let bare = |object: &DynamicObject| {
        let (mut metadata, mut data) = (object.metadata.clone(), object.data.clone());
        metadata.resource_version = None;
        if let Some(managed) = &mut metadata.managed_fields {
            managed.retain(|entry| entry.subresource.as_deref() != Some("status"));
        }
        if let Some(fields) = data.as_object_mut() {
            fields.remove("status");
        }
        (metadata, data)
    };
    bare(before) == bare(after)
}

fn compare(kind: Kind, id: &str, before: &DynamicObject, after: &DynamicObject) -> Vec<Change> {
    let json = |object: &DynamicObject| serde_json::to_value(object).unwrap_or_default();
    let text = |value: Option<Value>| value.map(|v| v.to_string()).unwrap_or_default();
    let number = pod_template_patch::join_path("metadata.annotations", REVISION);
    diff::diff_objects(&json(before), &json(after))
        .into_iter()
        // Lists give objects without their type.
        .filter(|change| ![number.as_str(), "apiVersion", "kind"].contains(&change.path.as_str()))
        .map(|change| Change {
            restarts: kind == Kind::Deployment && diff::restarts_replicas(&change.path),
            object: id.to_owned(),
            action: Action::Update,
            path: change.path,
            old: text(change.old),
            new: text(change.new),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_taken_out_of_their_headers() {
        assert_eq!(warning(r#"299 - "unknown field \"spec.foo\"""#).unwrap(), r#"unknown field "spec.foo""#);
        assert_eq!(warning("299"), None);
    }

    #[test]
    fn an_object_stays_the_same_if_all_but_its_status_does() {
        let object = |version: &str, healthy: u64, time: &str, minimum: u64| -> DynamicObject {
            let managed = |manager, subresource: &str, time| serde_json::json!({"manager": manager, "operation": "Apply", "subresource": subresource, "time": time});
            serde_json::from_value(serde_json::json!({
                "metadata": {"name": "shop", "resourceVersion": version, "managedFields": [
                    managed("gantry", "", "2026-01-01T00:00:00Z"), managed("controller", "status", time),
                ]},
                "spec": {"minAvailable": minimum},
                "status": {"currentHealthy": healthy},
            }))
            .unwrap()
        };
        let (one, other) = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:09Z");
        let before = object("7", 1, one, 1);
        assert!(is_same(&before, &object("8", 2, other, 1)));
        assert!(!is_same(&before, &object("7", 1, one, 2)), "what is wanted differs");
        let mut taken = object("7", 1, one, 1);
        taken.metadata.managed_fields.as_mut().unwrap()[0].manager = Some("kubectl".to_owned());
        assert!(!is_same(&before, &taken), "who manages it differs");
    }
}
