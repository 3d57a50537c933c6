//! Renders an intent into the objects to apply, given the current state of the cluster.

use std::collections::BTreeMap;

use super::{
    AppState, FIELD_MANAGER, Intent, Managed,
    ports::{PortRemoval, live_ports, needed_ports},
    refusal::{PATCH, path_in_patch},
};
use crate::domain::{
    Error,
    change::{Action, Change},
    check::{Check, Finding, Kind as CheckKind},
    labels::MANAGER,
    manifest::{self, Object, RenderContext},
    object::Kind,
    pod_template_patch,
    replica_ownership::{self, Decision, ReplicasField},
    revision::Cause,
    service_ports::{Templates, decide_entries},
    spec::{Content, Port},
};

/// The writes that carry out an intent.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// The objects to apply: the Deployment, then the objects that it owns.
    pub objects: Vec<Object>,
    /// The objects to delete: earlier content needed them, the new content does not.
    pub prune: Vec<Kind>,
    /// Whether the replica count is taken over from another field manager.
    pub take_count: bool,
    /// The change that resumes a paused rollout. No manifest contains it.
    pub resume: Option<Change>,
    /// Whether fields are taken over, because the Deployment was created or recreated outside Gantry.
    pub adopt: bool,
    /// Whether the count is applied, and if not, why.
    pub count: Check,
    /// What is done to the Service after the rollout succeeded.
    pub after_success: Option<ServiceWrite>,
}

/// What is done to the Service, now or after the rollout succeeded.
#[derive(Clone, Debug, PartialEq)]
pub enum ServiceWrite {
    /// It is applied.
    Apply(Object),
    /// It is deleted, because the app has no ports any more.
    Delete,
}

/// Renders the objects of an intent.
pub fn render_objects(intent: &Intent, live: &AppState) -> Result<Rendered, Error> {
    let (name, content) = (&intent.name, &intent.record.content);
    let autoscaler = decides_count(live, intent.record.time);
    match autoscaler {
        Some(Autoscaler::Ours) if intent.record.takes_count => {
            return Err(Error::AutoscalerActive { app: name.to_string() });
        }
        Some(Autoscaler::Other(_)) if intent.record.takes_count => live.check_no_other_autoscaler(name)?,
        Some(_) | None => {}
    }
    let (count, check) = decide_count(intent, live, autoscaler.as_ref());
    let selector = live.selector(name);
    let context = RenderContext {
        revision: intent.number,
        renderer: intent.record.renderer,
        replicas: match count {
            Decision::Apply { replicas, .. } => Some(replicas),
            Decision::Leave { .. } => None,
        },
        selector: selector.clone(),
        restarted: intent.record.restarted,
    };
    let deployment =
        manifest::render_deployment(name, content, &context).map_err(|e| refuse_patch(content, &e))?;
    let labels = pod_labels(&deployment);
    let mut objects = vec![deployment];
    let mut prune = Vec::new();
    let earlier = needed_ports(intent, live);
    let service = render_service(intent, live, earlier);
    let last = if earlier.is_empty() { None } else { render_service(intent, live, &[]) };
    let after_success = last.filter(|last| service.as_ref() != Some(last));
    match service {
        Some(ServiceWrite::Apply(service)) => objects.push(service),
        Some(ServiceWrite::Delete) => prune.push(Kind::Service),
        None => {}
    }
    let unmanaged = live.budget.iter().filter(|b| b.managed_by != MANAGER).map(|b| &b.selector);
    let covered = live.other_budgets.iter().chain(unmanaged).any(|selector| selector.matches(&labels));
    match (covered, live.budget.as_ref().is_some_and(|b| b.managed_by == MANAGER)) {
        (false, _) => objects.push(manifest::render_budget(name, content, &selector)),
        // Two budgets over the same pods make every eviction fail.
        (true, true) => prune.push(Kind::Budget),
        (true, false) => {}
    }
    check_makers(intent, live, &objects)?;
    Ok(Rendered {
        objects,
        prune,
        take_count: matches!(count, Decision::Apply { force: true, .. }),
        resume: live.deployment.as_ref().filter(|d| d.paused).map(|_| Change {
            path: "spec.paused".to_owned(),
            old: "true".to_owned(),
            ..Change::whole(Kind::Deployment.object_of(name), Action::Update)
        }),
        adopt: live.deployment.as_ref().is_some_and(|d| d.managed != Managed::Yes),
        count: check,
        after_success,
    })
}

/// Renders the Service while replicas with the `earlier` ports may serve. `None` if the app needs none and
/// has none that Gantry may delete.
fn render_service(intent: &Intent, live: &AppState, earlier: &[Vec<Port>]) -> Option<ServiceWrite> {
    let content = &intent.record.content;
    let (new, ports) = (&content.spec.ports, live_ports(live));
    let entries = decide_entries(Templates { earlier, new }, &intent.record.takeovers, ports);
    if new.is_empty() && entries.is_empty() {
        let ours = live.service.as_ref().is_some_and(|s| s.managed_by == MANAGER && s.owned);
        // A Service with ports that others made stays for them.
        if !ours || ports.iter().all(|port| port.ours) {
            return ours.then_some(ServiceWrite::Delete);
        }
    }
    let selector = live.selector(&intent.name);
    Some(ServiceWrite::Apply(manifest::render_service(&intent.name, content, &selector, &entries)))
}

/// Renders the step that removes what only earlier replicas needed. `None` if the Service is not one that
/// Gantry made.
pub fn render_port_removal(removal: &PortRemoval, live: &AppState) -> Option<ServiceWrite> {
    let ours = live.service.as_ref().is_some_and(|s| s.managed_by == MANAGER);
    render_service(&removal.intent, live, &[]).filter(|_| ours)
}

/// Returns an error if an object to apply was not made by Gantry and the caller did not ask to adopt it. The
/// object may have appeared after the intent was decided.
fn check_makers(intent: &Intent, live: &AppState, objects: &[Object]) -> Result<(), Error> {
    let other_maker = |kind: Kind| match kind {
        Kind::Deployment => live.deployment.as_ref().filter(|d| !d.is_ours()).map(|d| d.managed_by.as_str()),
        Kind::Service | Kind::Budget => live.made_by(kind).filter(|by| *by != MANAGER),
    };
    match objects.iter().find_map(|object| Some((object.kind, other_maker(object.kind)?))) {
        Some((kind, by)) if !intent.record.adopt => Err(Error::taken(kind, &intent.name, by)),
        _ => Ok(()),
    }
}

/// The autoscaler that controls the replica count.
enum Autoscaler<'a> {
    Ours,
    Other(&'a str),
}

impl std::fmt::Display for Autoscaler<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ours => f.write_str("the app's autoscaler"),
            Self::Other(object) => f.write_str(object),
        }
    }
}

/// Returns the autoscaler that controls the count of an existing app. A new app always starts with the count
/// that the caller asked for.
fn decides_count(live: &AppState, now: jiff::Timestamp) -> Option<Autoscaler<'_>> {
    let deployment = live.deployment.as_ref()?;
    match &live.other_autoscaler {
        Some(object) => Some(Autoscaler::Other(object)),
        None => deployment.scaling.is_active(now).then_some(Autoscaler::Ours),
    }
}

/// Returns the replica count with which the rollout of an intent begins.
pub(super) fn count_at_start(intent: &Intent, live: &AppState) -> Option<i32> {
    let autoscaler = decides_count(live, intent.record.time);
    match decide_count(intent, live, autoscaler.as_ref()).0 {
        Decision::Apply { replicas, .. } => Some(replicas),
        Decision::Leave { .. } => live.deployment.as_ref().map(|d| d.replicas),
    }
}

fn decide_count(intent: &Intent, live: &AppState, autoscaler: Option<&Autoscaler<'_>>) -> (Decision, Check) {
    let deployment = live.deployment.as_ref();
    let count = ReplicasField {
        live: deployment.map(|d| d.replicas),
        owners: deployment.map_or(&[], |d| d.replica_owners.as_slice()),
    };
    let wanted = intent.record.content.spec.replicas;
    let asked = wanted.filter(|_| autoscaler.is_none());
    let decision =
        replica_ownership::decide_replicas(&count, asked, intent.record.takes_count, FIELD_MANAGER);
    let says = |result, message: String| Check::new(CheckKind::Replicas, result, message);
    if let Some(autoscaler) = autoscaler {
        let ignored = wanted.filter(|n| count.live != Some(*n) && intent.record.cause == Cause::Deploy);
        let check = match ignored {
            Some(n) => says(
                Finding::Warn,
                format!("spec.replicas {n} is not applied: {autoscaler} decides the count."),
            ),
            None => says(Finding::Pass, format!("The count is left unchanged; {autoscaler} decides it.")),
        };
        return (decision, check.of(Kind::Deployment.object_of(&intent.name)));
    }
    let check = match decision {
        Decision::Apply { replicas, force: false } => {
            says(Finding::Pass, format!("The count in the spec is applied: {replicas}."))
        }
        Decision::Apply { replicas, force: true } => says(
            Finding::Pass,
            format!("The count is set to {replicas} and taken over from {}.", list_owners(&count)),
        ),
        Decision::Leave { ignored: Some(_) } if intent.record.cause != Cause::Deploy => {
            // A restart or a rollback asks for no count.
            says(Finding::Pass, format!("The count is left unchanged; {} set it.", list_owners(&count)))
        }
        Decision::Leave { ignored: None } => {
            says(Finding::Pass, format!("The count is left unchanged; {} set it.", list_owners(&count)))
        }
        Decision::Leave { ignored: Some(wanted) } => says(
            Finding::Warn,
            format!(
                "spec.replicas {wanted} is not applied: {} set the count to {}. Name spec.replicas in update_mask to set it.",
                list_owners(&count),
                count.live.unwrap_or_default()
            ),
        ),
    };
    (decision, check.of(Kind::Deployment.object_of(&intent.name)))
}

fn list_owners(count: &ReplicasField<'_>) -> String {
    let owners: Vec<_> = count.owners.iter().filter(|o| *o != FIELD_MANAGER).cloned().collect();
    owners.join(", ")
}

fn refuse_patch(content: &Content, error: &pod_template_patch::Invalid) -> Error {
    use pod_template_patch::Invalid;
    let path = match error {
        Invalid::NoKey { path, .. } | Invalid::Touches { path, .. } => Some(path),
        Invalid::NotAnObject { .. } => None,
    };
    let field = match (path, &content.spec.pod_template_patch) {
        (Some(path), Some(patch)) => path_in_patch(patch, path),
        _ => PATCH.to_owned(),
    };
    Error::invalid(field, error)
}

fn pod_labels(deployment: &Object) -> BTreeMap<String, String> {
    let labels = &deployment.manifest["spec"]["template"]["metadata"]["labels"];
    serde_json::from_value(labels.clone()).unwrap_or_default()
}
