//! Asks the API server, before anything is written, whether it would take every object, and what that would change.

use futures::future::join_all;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::Value;

use super::{Actor, apply_params, live::Found, owned_manifest};
use crate::{
    cluster::error::Doing,
    domain::{
        Error,
        act::{Action, Change},
        check::{Check, Finding, Kind as CheckKind},
        diff,
        error::Conflict,
        manifest::{Kind, Object, REVISION},
        patch,
        plan::{Intent, Rendered},
    },
};

/// What a change would do.
#[derive(Debug, Default)]
pub(super) struct Outlook {
    pub(super) changes: Vec<Change>,
    pub(super) checks: Vec<Check>,
    /// What refused it, the first one.
    pub(super) refusal: Option<Error>,
}

/// What the API server said about one object.
struct Answer {
    after: Result<DynamicObject, Error>,
    /// Fields that others manage and that the change would take.
    conflicts: Vec<Conflict>,
}

/// Asks about every object at once.
pub(super) async fn run(
    actor: &Actor,
    intent: &Intent,
    rendered: &Rendered,
    found: &Found,
) -> Result<Outlook, Error> {
    let uid = found.deployment.as_ref().and_then(|d| d.metadata.uid.as_deref());
    let ask = |object| ask(actor, intent, rendered, object, uid);
    let answers = join_all(rendered.objects.iter().map(ask)).await;
    let mut outlook = Outlook { checks: vec![rendered.count.clone()], ..Outlook::default() };
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
    actor: &Actor,
    intent: &Intent,
    rendered: &Rendered,
    object: &Object,
    uid: Option<&str>,
) -> Answer {
    let manifest = owned_manifest(object, &intent.name, uid);
    let after = dry_run(actor, intent, object.kind, &manifest, rendered.adopt).await;
    let Err(Error::Conflict(mut conflicts)) = after else { return Answer { after, conflicts: Vec::new() } };
    if rendered.take_count {
        conflicts.retain(|c| c.field != ".spec.replicas");
    }
    // What the change would be if nobody objected.
    Answer { after: dry_run(actor, intent, object.kind, &manifest, true).await, conflicts }
}

async fn dry_run(
    actor: &Actor,
    intent: &Intent,
    kind: Kind,
    manifest: &Value,
    force: bool,
) -> Result<DynamicObject, Error> {
    let name = &intent.name;
    let api = actor.objects(&name.namespace, kind);
    let id = kind.object_of(name);
    let params = PatchParams { dry_run: true, ..apply_params(force) };
    let doing = Doing { verb: "patch", object: &id };
    actor.cluster.call(doing, api.patch(&name.app, &params, &Patch::Apply(manifest))).await
}

/// Kubernetes refuses every dry run that a webhook with side effects would see; that says nothing about the write.
fn cannot_be_asked(error: &Error) -> bool {
    matches!(error, Error::Admission { message, .. } if message.contains("does not support dry run"))
}

impl Outlook {
    /// Takes in one answer. An error only if it says nothing about the object: the API server is away, the namespace missing.
    fn take(
        &mut self,
        intent: &Intent,
        before: Option<&DynamicObject>,
        object: &Object,
        answer: Answer,
    ) -> Result<(), Error> {
        let id = object.kind.object_of(&intent.name);
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
                    Some(before) => self.changes.extend(compare(object.kind, &id, before, &after)),
                    None => self.changes.push(Change {
                        new: object.manifest.to_string(),
                        ..Change::whole(id.clone(), action)
                    }),
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

fn compare(kind: Kind, id: &str, before: &DynamicObject, after: &DynamicObject) -> Vec<Change> {
    let json = |object: &DynamicObject| serde_json::to_value(object).unwrap_or_default();
    let text = |value: Option<Value>| value.map(|v| v.to_string()).unwrap_or_default();
    let number = patch::join("metadata.annotations", REVISION);
    diff::diff(&json(before), &json(after))
        .into_iter()
        // Lists give objects without their type.
        .filter(|change| ![number.as_str(), "apiVersion", "kind"].contains(&change.path.as_str()))
        .map(|change| Change {
            restarts: kind == Kind::Deployment && diff::restarts(&change.path),
            object: id.to_owned(),
            action: Action::Update,
            path: change.path,
            old: text(change.old),
            new: text(change.new),
        })
        .collect()
}
