//! Asks the API server, before anything is written, whether it would take every object, and what that would change.

use futures::future::join_all;
use kube::{
    api::{DynamicObject, Patch, PatchParams},
    client::Body,
    core::Status,
};
use serde_json::Value;

use super::{Actor, apply_params, live::Found, owned_manifest};
use crate::{
    cluster::error::Doing,
    domain::{
        Error,
        change::{Action, Change},
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
    /// What the API server warns of, verbatim.
    pub(super) warnings: Vec<String>,
    /// What refused it, the first one.
    pub(super) refusal: Option<Error>,
}

/// What the API server said about one object.
struct Answer {
    after: Result<DynamicObject, Error>,
    warnings: Vec<String>,
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
    let dry_run = async |force| {
        let mut warnings = Vec::new();
        let after = dry_run(actor, intent, object.kind, &manifest, force, &mut warnings).await;
        (after, warnings)
    };
    let (after, warnings) = dry_run(rendered.adopt).await;
    let Err(Error::Conflict(mut conflicts)) = after else {
        return Answer { after, warnings, conflicts: Vec::new() };
    };
    if rendered.take_count {
        conflicts.retain(|c| c.field != ".spec.replicas");
    }
    // What the change would be if nobody objected.
    let (after, warnings) = dry_run(true).await;
    Answer { after, warnings, conflicts }
}

/// One dry run. Not by the client's own method, which keeps the warnings to itself: they come in headers.
async fn dry_run(
    actor: &Actor,
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
    let answer = async {
        let request = kube::core::Request::new(api.resource_url())
            .patch(&name.app, &params, &Patch::Apply(manifest))
            .map_err(kube::Error::BuildRequest)?;
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
    };
    actor.cluster.call(Doing { verb: "patch", object: &id }, answer).await
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_taken_out_of_their_headers() {
        assert_eq!(warning(r#"299 - "unknown field \"spec.foo\"""#).unwrap(), r#"unknown field "spec.foo""#);
        assert_eq!(warning("299"), None);
    }
}
