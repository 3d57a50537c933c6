//! Asks the API server, before anything is written, whether it would accept every object, and what that would
//! change.

use futures::{future, future::join_all};
use kube::api::{DynamicObject, PatchParams};
use serde_json::Value;

use super::{
    field_ownership::{OwnershipTransfer, dry_run_transfer, plan_transfer},
    managed_fields::has_no_apply_entry,
    objects::{Writer, apply_params, check_annotations, owned_manifest, to_annotation},
    snapshot::Snapshot,
};
use crate::{
    cluster::apply_body::encode_apply_body,
    domain::{
        Error, annotations,
        api_texts::is_dry_run_unsupported,
        change::{Action, Change},
        check::{Check, Finding, Kind as CheckKind},
        diff,
        error::Conflict,
        labels::REVISION_ANNOTATION,
        manifest::Object,
        object::Kind,
        plan::{self, Intent, Rendered, ServiceWrite},
        pod_template_patch,
        scaling::AUTOSCALER_ANNOTATION,
    },
};

/// The field of a request whose values the annotations of the Deployment are, beside those of others.
const ANNOTATIONS: &str = "app.annotations";

/// The result of the dry run of all objects.
#[derive(Debug, Default)]
pub(super) struct DryRun {
    pub(super) changes: Vec<Change>,
    pub(super) checks: Vec<Check>,
    /// Warnings of the API server, verbatim.
    pub(super) warnings: Vec<String>,
    /// The first refusal.
    pub(super) refusal: Option<Error>,
    /// Objects other than the Deployment that would stay the same, managed fields included. The API server
    /// would not even write them.
    pub(super) unchanged: Vec<Kind>,
    /// The Deployment as it would be, unless it was refused.
    pub(super) deployment: Option<DynamicObject>,
    /// The Service as it would be while the rollout runs.
    service: Option<DynamicObject>,
}

/// The API server's answer about one object.
struct Answer {
    after: Result<DynamicObject, Error>,
    warnings: Vec<String>,
    /// Fields that other field managers own and that the change would take over.
    conflicts: Vec<Conflict>,
}

/// Runs the dry run of every object concurrently.
pub(super) async fn dry_run_objects(
    writer: &Writer,
    intent: &Intent,
    rendered: &Rendered,
    snapshot: &Snapshot,
) -> Result<DryRun, Error> {
    let uid = snapshot.deployment.as_ref().and_then(|d| d.metadata.uid.as_deref());
    let ask = |object| ask(writer, intent, rendered, object, uid, snapshot);
    let transfer = async {
        if rendered.adopt { plan_transfer(writer, intent, rendered, snapshot).await } else { Ok(None) }
    };
    // The Service after the rollout succeeded is asked about too, so that the plan says what will follow, and
    // a conflict is found before anything is written.
    let last = match &rendered.after_success {
        Some(ServiceWrite::Apply(object)) if snapshot.service.is_some() && intent.is_new => Some(object),
        Some(ServiceWrite::Apply(_) | ServiceWrite::Delete) | None => None,
    };
    let objects = rendered.objects.iter().chain(last);
    let (mut answers, transfer) = future::join(join_all(objects.map(ask)), transfer).await;
    let last = last.and_then(|object| Some((object, answers.pop()?)));
    if let (Some(before), Some(answer)) = (&snapshot.deployment, answers.first_mut()) {
        answer.include_transfer(writer, intent, before, transfer).await;
    }
    let mut all = DryRun { checks: vec![rendered.count.clone()], ..DryRun::default() };
    for (object, answer) in rendered.objects.iter().zip(answers) {
        all.take(intent, snapshot.object(object.kind), object, answer)?;
    }
    let name = &intent.name;
    match (&rendered.after_success, last) {
        (_, Some((object, answer))) => all.take_last(intent, object, answer),
        (Some(ServiceWrite::Delete), None) if intent.is_new => {
            let delete = Change::whole(Kind::Service.object_of(name), Action::Delete);
            all.changes.push(Change { after_success: true, ..delete });
        }
        _ => {}
    }
    all.changes.extend(rendered.resume.clone());
    all.changes.extend(rendered.prune.iter().map(|k| Change::whole(k.object_of(name), Action::Delete)));
    all.checks.sort_by_key(|check| check.result);
    Ok(all)
}

async fn ask(
    writer: &Writer,
    intent: &Intent,
    rendered: &Rendered,
    object: &Object,
    uid: Option<&str>,
    snapshot: &Snapshot,
) -> Answer {
    let manifest = owned_manifest(object, &intent.name, uid);
    let before = snapshot.object(object.kind);
    let force = rendered.adopt || before.is_some_and(has_no_apply_entry);
    let dry_run = async |force| {
        let mut warnings = Vec::new();
        let after = dry_run(writer, intent, before, object.kind, &manifest, force, &mut warnings).await;
        (after, warnings)
    };
    let (after, warnings) = dry_run(force).await;
    let Err(Error::Conflict(mut conflicts)) = after else {
        return Answer { after, warnings, conflicts: Vec::new() };
    };
    conflicts.retain(|c| !(c.is_bookkeeping() || rendered.take_count && c.field == ".spec.replicas"));
    // Find out what the change would be without the conflict.
    let (after, warnings) = dry_run(true).await;
    Answer { after, warnings, conflicts }
}

/// Runs one dry run.
async fn dry_run(
    writer: &Writer,
    intent: &Intent,
    before: Option<&DynamicObject>,
    kind: Kind,
    manifest: &Value,
    force: bool,
    warnings: &mut Vec<String>,
) -> Result<DynamicObject, Error> {
    let name = &intent.name;
    let objects = writer.objects(&name.namespace, kind);
    let params = PatchParams { dry_run: true, ..apply_params(force) };
    let answer = objects.dry_run_apply(&name.app, &params, &encode_apply_body(manifest)?, warnings).await;
    if kind != Kind::Deployment {
        return answer;
    }
    answer.map_err(|error| {
        let too_large = matches!(&error, Error::Refused { fields, .. } if fields.iter().any(|f| f.path == "metadata.annotations"));
        if too_large {
            let added = &manifest["metadata"]["annotations"];
            return check_annotations(name, before, ANNOTATIONS, added).err().unwrap_or(error);
        }
        plan::name_request_fields(error, &intent.record.content, manifest)
    })
}

/// Returns an error that names the cause if the annotations of the Deployment, with the policy that is
/// written after the apply, become too large for its ReplicaSets.
fn check_growth(intent: &Intent, before: Option<&DynamicObject>, after: &DynamicObject) -> Result<(), Error> {
    let mut grown = after.metadata.annotations.clone().unwrap_or_default();
    if let Some(policy) = &intent.record.brings {
        grown.insert(AUTOSCALER_ANNOTATION.to_owned(), to_annotation("policy", policy)?);
    }
    let before = before.and_then(|object| object.metadata.annotations.as_ref());
    annotations::check_growth(&Kind::Deployment.object_of(&intent.name), before, &grown)
        .map_err(|error| Error::invalid(ANNOTATIONS, error))
}

/// Kubernetes refuses every dry run that a webhook with side effects would see. Such a refusal says nothing
/// about the real write.
fn cannot_be_asked(error: &Error) -> bool {
    matches!(error, Error::Admission { message, .. } if is_dry_run_unsupported(message))
}

impl Answer {
    /// Corrects the answer for a Deployment that is adopted. The dry run covers only the apply. Fields of
    /// other field managers are removed by the ownership transfer before it, and one dry run cannot cover two
    /// writes.
    async fn include_transfer(
        &mut self,
        writer: &Writer,
        intent: &Intent,
        before: &DynamicObject,
        transfer: Result<Option<OwnershipTransfer>, Error>,
    ) {
        let Ok(tried) = &self.after else { return };
        match transfer {
            Ok(None) => {}
            Ok(Some(transfer)) => {
                match dry_run_transfer(writer, &intent.name, before, tried, &transfer).await {
                    // A failed request is no refusal. Then the dry run of the apply alone is the best that is
                    // known.
                    Err(error) if !error.is_refusal() => {}
                    after => self.after = after,
                }
            }
            // The ownership transfer comes first. If it is refused, the apply is never tried.
            Err(error) => self.after = Err(error),
        }
    }
}

impl DryRun {
    /// Adds one answer. Returns an error only if the answer says nothing about the object, for example
    /// because the API server is unreachable or the namespace does not exist.
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
        self.take_conflicts(intent, &id, answer.conflicts);
        let action = if before.is_some() { Action::Update } else { Action::Create };
        match answer.after {
            Ok(after) => {
                let message = "The API server would accept it.".to_owned();
                self.checks.push(says(CheckKind::Admission, Finding::Pass, message));
                match before {
                    Some(before) => {
                        if object.kind != Kind::Deployment && is_same(before, &after) {
                            self.unchanged.push(object.kind);
                        }
                        self.changes.extend(compare(object.kind, &id, before, &after));
                    }
                    None => self.changes.push(Change {
                        new: object.manifest.to_string(),
                        ..Change::whole(id.clone(), action)
                    }),
                }
                match object.kind {
                    Kind::Deployment => {
                        if !self.changes.is_empty() {
                            check_growth(intent, before, &after)?;
                        }
                        self.deployment = Some(after);
                    }
                    Kind::Service => self.service = Some(after),
                    Kind::Budget => {}
                }
            }
            Err(error) if cannot_be_asked(&error) => {
                let message = format!("Cannot be checked without side effects: {error}");
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

    /// Adds the answer about the Service after the rollout succeeded.
    fn take_last(&mut self, intent: &Intent, object: &Object, answer: Answer) {
        let id = object.kind.object_of(&intent.name);
        // Those that the present apply has as well are told already.
        let mut conflicts = answer.conflicts;
        if let Some(Error::Conflict(told)) = &self.refusal {
            conflicts.retain(|conflict| !told.contains(conflict));
        }
        if !conflicts.is_empty() {
            self.take_conflicts(intent, &id, conflicts);
        }
        // A refusal is one of what is applied now, too, or passes until then.
        if let (Some(now), Ok(last)) = (&self.service, &answer.after) {
            let changes = compare(object.kind, &id, now, last).into_iter();
            self.changes.extend(changes.map(|change| Change { after_success: true, ..change }));
        }
    }

    /// Adds the check of who owns the fields that would change.
    fn take_conflicts(&mut self, intent: &Intent, id: &str, conflicts: Vec<Conflict>) {
        let mut says = |result, message: String| {
            self.checks.push(Check::new(CheckKind::FieldOwnership, result, message).of(id));
        };
        if conflicts.is_empty() {
            return says(Finding::Pass, "No other field manager owns these fields.".to_owned());
        }
        let list: Vec<_> = conflicts.iter().map(|c| format!("{} by {}", c.field, c.manager)).collect();
        let list = list.join(", ");
        if intent.record.force {
            return says(Finding::Warn, format!("Takes over fields of other field managers: {list}."));
        }
        says(
            Finding::Fail,
            format!("Other field managers own what would change: {list}. Use force to take it over."),
        );
        self.refuse(Error::Conflict(conflicts));
    }

    fn refuse(&mut self, error: Error) {
        self.refusal.get_or_insert(error);
    }
}

/// Whether two answers are the same object apart from the status, which an apply does not touch and which a
/// controller may have written in between. The type is ignored too, because lists return objects without it.
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
    let number = pod_template_patch::join_path("metadata.annotations", REVISION_ANNOTATION);
    diff::diff_objects(&json(before), &json(after))
        .into_iter()
        // Lists return objects without their type.
        .filter(|change| ![number.as_str(), "apiVersion", "kind"].contains(&change.path.as_str()))
        .map(|change| Change {
            restarts: kind == Kind::Deployment && diff::restarts_replicas(&change.path),
            object: id.to_owned(),
            action: Action::Update,
            path: change.path,
            old: text(change.old),
            new: text(change.new),
            after_success: false,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
