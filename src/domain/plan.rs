//! What a deploy does, decided from what is wanted and what is there. Pure: reads and writes happen around it.

use std::collections::BTreeMap;

use super::{
    Error,
    act::Deploy,
    app::MANAGER,
    manifest::{self, Kind, Object},
    name, patch,
    replicas::{self, Count, Decision},
    revision::{Cause, Outcome, Record},
    selector::Selector,
    spec::Content,
};

/// The field manager of everything that a deploy sets. One for ever: another name would leave old fields without an owner.
pub const FIELD_MANAGER: &str = "gantry";

/// What the cluster holds about an app before a deploy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Live {
    /// The Deployment of this name.
    pub deployment: Option<Deployment>,
    /// Who made the Service of this name, as its label says, if there is one.
    pub service: Option<String>,
    /// Who made the budget of this name, if there is one.
    pub budget: Option<String>,
    /// Selectors of the other budgets of the namespace.
    pub other_budgets: Vec<Selector>,
    /// The newest revision.
    pub newest: Option<Newest>,
}

/// What a deploy needs to know of the Deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// Who made it, as its label says.
    pub managed_by: String,
    /// It is being deleted.
    pub deleting: bool,
    /// The replica count.
    pub replicas: i32,
    /// Field managers that own the count.
    pub replica_owners: Vec<String>,
}

/// The newest revision of an app.
#[derive(Clone, Debug, PartialEq)]
pub struct Newest {
    /// Its number.
    pub number: u64,
    /// What it wants.
    pub content: Content,
    /// How its rollout ended, once it has.
    pub outcome: Option<Outcome>,
}

/// What a deploy does.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Number of the rollout.
    pub number: u64,
    /// The content after it.
    pub content: Content,
    /// What to write first; `None` if the newest revision already says it.
    pub record: Option<Record>,
    /// What to apply, in this order.
    pub objects: Vec<Object>,
    /// What an earlier content needed and this one does not.
    pub prune: Vec<Kind>,
    /// The caller may take the replica count over from another owner.
    pub take_count: bool,
    /// What to tell the caller.
    pub warnings: Vec<String>,
}

/// Plans a deploy. If [`Plan::record`] is `None` and the newest revision was applied, nothing is expected to change.
pub fn deploy(request: &Deploy, live: &Live) -> Result<Plan, Error> {
    let name = &request.name;
    check_ownership(name, live)?;
    // Without its Deployment an app is gone, whatever revisions still lie about; their numbers stay used.
    let newest = live.newest.as_ref();
    let base = newest.filter(|_| live.deployment.is_some()).map(|n| n.content.clone());
    check_etag(request.etag.as_deref(), base.as_ref())?;
    let content = request
        .mask
        .merge(&base.clone().unwrap_or_default(), &request.content)
        .map_err(|error| Error::Bug(format!("merging content: {error}")))?;
    if content.spec.image.is_empty() {
        let said = if base.is_some() { "cannot be cleared" } else { "is required for a new app" };
        return Err(Error::invalid(
            "app.spec.image",
            format!("{said}; an image looks like registry/name:tag"),
        ));
    }
    if content.spec.resources.as_ref().is_some_and(|r| r.requests.is_empty() && r.limits.is_empty()) {
        return Err(Error::invalid(
            "app.spec.resources",
            "is set but empty; leave it out, or give requests or limits",
        ));
    }
    content.spec.check()?;
    // The same again after a failure is a new attempt: the image may have been pushed meanwhile.
    let failed = newest.is_some_and(|n| n.outcome == Some(Outcome::Failed));
    let repeats = newest.filter(|n| live.deployment.is_some() && !failed && n.content == content);
    // Who repeats a deploy completes it, and is not in its own way.
    if let (true, Some(newest), Some(_), None) = (request.reject_concurrent, newest, &base, repeats)
        && newest.outcome.is_none()
    {
        return Err(Error::RolloutInProgress { rollout: name.rollout(newest.number) });
    }
    let number = repeats.map_or_else(|| newest.map_or(1, |n| n.number + 1), |n| n.number);
    let record = repeats.is_none().then(|| Record {
        renderer: manifest::RENDERER,
        digest: content.digest(),
        content: content.clone(),
        cause: Cause::Deploy,
        actor: request.actor.clone(),
        reason: request.reason.clone(),
        time: request.time,
    });
    let mut warnings = Vec::new();
    let (count, take_count) = decide_count(request, live, &content, &mut warnings);
    let deployment = manifest::deployment(name, &content, number, count).map_err(|e| refuse_patch(&e))?;
    let mut objects = vec![deployment];
    let mut prune = Vec::new();
    match manifest::service(name, &content) {
        Some(service) => objects.push(service),
        None if live.service.as_deref() == Some(MANAGER) => prune.push(Kind::Service),
        None => {}
    }
    let labels = pod_labels(&objects[0]);
    let covered = live.other_budgets.iter().any(|selector| selector.matches(&labels));
    match (covered, live.budget.as_deref()) {
        (false, _) => objects.push(manifest::budget(name, &content)),
        // Two budgets over the same pods make every eviction fail.
        (true, Some(MANAGER)) => prune.push(Kind::Budget),
        (true, _) => {}
    }
    Ok(Plan { number, content, record, objects, prune, take_count, warnings })
}

/// Refuses names that are taken by objects which Gantry did not make.
fn check_ownership(name: &name::App, live: &Live) -> Result<(), Error> {
    let taken = |kind: Kind, by: &str| Error::NameTaken {
        object: kind.object_of(name),
        namespace: name.namespace.clone(),
        by: by.to_owned(),
    };
    if let Some(deployment) = &live.deployment {
        if deployment.managed_by != MANAGER {
            return Err(taken(Kind::Deployment, &deployment.managed_by));
        }
        if deployment.deleting {
            return Err(Error::BeingDeleted { what: name.to_string() });
        }
    }
    for (kind, owner) in [(Kind::Service, &live.service), (Kind::Budget, &live.budget)] {
        if let Some(by) = owner.as_deref().filter(|by| *by != MANAGER) {
            return Err(taken(kind, by));
        }
    }
    Ok(())
}

/// Refuses an etag that is not that of the content as it is; an app that does not exist has an empty one.
pub fn check_etag(expected: Option<&str>, content: Option<&Content>) -> Result<(), Error> {
    let Some(expected) = expected else { return Ok(()) };
    let etag = content.map(Content::etag).unwrap_or_default();
    if expected == etag { Ok(()) } else { Err(Error::EtagMismatch { etag }) }
}

fn decide_count(
    request: &Deploy,
    live: &Live,
    content: &Content,
    warnings: &mut Vec<String>,
) -> (Option<i32>, bool) {
    let deployment = live.deployment.as_ref();
    let count = Count {
        live: deployment.map(|d| d.replicas),
        owners: deployment.map_or(&[], |d| d.replica_owners.as_slice()),
    };
    // Somebody who names the whole spec means the count too; `*` does not name it.
    let named = request.mask.names("spec.replicas") || request.mask.names("spec");
    match replicas::decide(&count, content.spec.replicas, named, FIELD_MANAGER) {
        Decision::Apply { replicas, force } => (Some(replicas), force),
        Decision::Leave { ignored } => {
            if let (Some(wanted), Some(live)) = (ignored, count.live) {
                let owners: Vec<_> = count.owners.iter().filter(|o| *o != FIELD_MANAGER).cloned().collect();
                warnings.push(format!(
                    "spec.replicas {wanted} is not applied: {} set the count to {live}. Name spec.replicas in update_mask to set it.",
                    owners.join(", ")
                ));
            }
            (None, false)
        }
    }
}

fn refuse_patch(error: &patch::Invalid) -> Error {
    Error::invalid("app.spec.pod_template_patch", error)
}

fn pod_labels(deployment: &Object) -> BTreeMap<String, String> {
    let labels = &deployment.manifest["spec"]["template"]["metadata"]["labels"];
    serde_json::from_value(labels.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
