//! Finds changes made outside Gantry: decides whether a Deployment runs what the newest revision asked for,
//! and builds the rollout of what it runs instead. Also builds the rollouts of Deployments that Gantry does
//! not manage.
//!
//! Deployments, ReplicaSets and revisions come by separate watches, and each may be behind the other two.
//! Every statement here must hold for each such mixture: a change that did not happen must never be reported,
//! and a change that did happen may be reported late.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{AppRows, Progress, Rollout, State};
use crate::domain::{
    name,
    observed::{Deployment, ReplicaSet, Revision},
    revision::Cause,
    spec::{Content, Port, Resources, Spec},
};

/// Seconds by which the clocks of the API servers may differ.
const SKEW: i64 = 5;

/// The age of a revision from which a missing Deployment counts as deleted. Before that the watch of
/// Deployments may be behind the watch of revisions.
const UNSEEN: SignedDuration = SignedDuration::from_secs(10);

/// Returns whether the app of this revision is gone and only its history is left, so that nothing is rolled
/// out. The Deployment may be missing for a moment after the revision was carried out.
pub fn is_gone(newest: &Revision, facts: &AppRows<'_>, now: Timestamp) -> bool {
    facts.deployment.is_none() && newest.applied && now.duration_since(newest.created) > UNSEEN
}

/// The origin of the pod template that a Deployment runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin<'a> {
    /// The newest revision.
    Current,
    /// Not yet the newest revision, or unknown because rows are too old.
    Pending,
    /// A change of the Deployment outside Gantry after the newest revision. This ReplicaSet runs it.
    External(&'a ReplicaSet),
}

/// Finds the origin of the pod template that the Deployment runs.
///
/// Kubernetes numbers templates in the order in which they become current. In the same write it copies the
/// Deployment's annotation, which names Gantry's revision, to the current ReplicaSet. So the lowest template
/// number that carries the newest revision belongs to that revision, and a higher number came after it.
pub fn find_origin<'a>(newest: &Revision, facts: &AppRows<'a>) -> Origin<'a> {
    let Some(deployment) = facts.deployment else { return Origin::Pending };
    let current = facts.numbered(deployment);
    let first = facts
        .replica_sets
        .iter()
        .filter(|rs| rs.revision == Some(newest.number))
        .map(|rs| rs.template_revision)
        .min();
    if let Some(rs) = current.filter(|rs| came_after(newest, deployment, rs, first, facts)) {
        return Origin::External(rs);
    }
    let carried = match (newest.cause, newest.template_revision) {
        (Cause::External, Some(number)) => deployment.template_revision >= number,
        _ => match deployment.revision {
            Some(number) if number >= newest.number => number == newest.number,
            // Gantry's annotation was removed from the Deployment, or set to an older number. The ReplicaSet
            // retains it until the controller takes up that change. After that the revision itself shows that
            // it was applied, and the template was not changed since.
            _ => {
                let stands =
                    newest.applied && shows(deployment, newest) && !is_touched_since(deployment, newest);
                stands || current.is_some_and(|rs| rs.revision == Some(newest.number))
            }
        },
    };
    if carried { Origin::Current } else { Origin::Pending }
}

/// Returns whether the row of the Deployment is at least as new as the last write of the revision.
const fn shows(deployment: &Deployment, revision: &Revision) -> bool {
    deployment.resource_version > revision.version
}

/// Returns whether the pod template may have been changed outside Gantry after the revision was written.
fn is_touched_since(deployment: &Deployment, revision: &Revision) -> bool {
    let touch = deployment.template_by.as_ref();
    touch.is_some_and(|touch| touch.time.as_second() + SKEW >= revision.created.as_second())
}

fn came_after(
    newest: &Revision,
    deployment: &Deployment,
    current: &ReplicaSet,
    first: Option<u64>,
    facts: &AppRows<'_>,
) -> bool {
    // A later revision was applied whose row has not arrived yet, so the change may belong to it.
    let is_later = |revision: Option<u64>| revision.is_some_and(|number| number > newest.number);
    let behind = is_later(deployment.revision) || facts.replica_sets.iter().any(|rs| is_later(rs.revision));
    // Two concurrent deploys through Gantry may be applied in reverse order. That is no change outside
    // Gantry.
    if behind || !is_touched_since(deployment, newest) || !newest.applied {
        return false;
    }
    let shown = shows(deployment, newest);
    match (newest.cause, newest.template_revision, first) {
        (Cause::External, Some(number), _) => current.template_revision > number,
        (Cause::External, None, _) => shown && newest.replica_set.as_ref() != Some(&current.name),
        (_, _, Some(first)) => current.template_revision > first,
        // The revision was undone before Kubernetes took it up. A reused ReplicaSet gets its number before
        // the Deployment does, and until then the Deployment has the number of another template.
        (_, _, None) => {
            let undone = deployment.revision.is_some_and(|number| number < newest.number);
            shown && undone && current.template == deployment.template
        }
    }
}

// === impl Rollout ===

impl Rollout {
    /// Returns the newest rollout of an app, before it is judged. It belongs to the newest revision or, if
    /// one followed, to a change made outside Gantry. For an app that Gantry does not manage, it belongs to
    /// the current ReplicaSet.
    pub fn latest(newest: Option<&Revision>, facts: &AppRows<'_>) -> Option<Self> {
        let Some(newest) = newest else { return Self::unmanaged(facts) };
        let state = match find_origin(newest, facts) {
            Origin::Current => State::Running,
            Origin::Pending => State::Pending,
            Origin::External(rs) => return Some(Self::external(newest, facts.deployment?, rs)),
        };
        Some(Self { state, ..Self::recorded(newest) })
    }

    /// Returns the rollout of a change made outside Gantry after this revision.
    fn external(after: &Revision, deployment: &Deployment, rs: &ReplicaSet) -> Self {
        let content = Content {
            spec: with_template_changes(&after.content.spec, &deployment.spec),
            ..(*after.content).clone()
        };
        Self {
            number: after.number + 1,
            digest: content.digest(),
            content: Arc::new(content),
            actor: changed_by(deployment),
            start: began(deployment, rs).max(after.created),
            ..Self::of_set(&after.app, deployment, rs)
        }
    }

    /// Returns the newest rollout of an app that Gantry does not manage.
    fn unmanaged(facts: &AppRows<'_>) -> Option<Self> {
        let deployment = facts.deployment.filter(|_| !facts.managed)?;
        let is_current = |rs: &&&ReplicaSet| rs.template_revision == deployment.template_revision;
        let rs = facts.replica_sets.iter().filter(|rs| rs.template_revision > 0).find(is_current)?;
        let content = Content::of_unmanaged(&deployment.labels, &deployment.spec);
        Some(Self {
            digest: content.digest(),
            content: Arc::new(content),
            actor: changed_by(deployment),
            start: began(deployment, rs),
            ..Self::of_set(&deployment.name, deployment, rs)
        })
    }

    /// Returns a superseded rollout of an app that Gantry does not manage. Its content is not known any more.
    pub fn replaced(app: &name::App, deployment: &Deployment, rs: &ReplicaSet) -> Self {
        Self { state: State::Pending, start: rs.created, ..Self::of_set(app, deployment, rs) }
    }

    fn of_set(app: &name::App, deployment: &Deployment, rs: &ReplicaSet) -> Self {
        Self {
            app: app.clone(),
            number: rs.template_revision,
            state: State::Running,
            content: Arc::default(),
            digest: String::new(),
            progress: Progress { desired: deployment.desired, ..Progress::default() },
            message: String::new(),
            problems: Vec::new(),
            error: None,
            evidence: None,
            unkept: false,
            autoscaler: None,
            count: None,
            untried: false,
            proved_at: None,
            cause: Cause::External,
            actor: String::new(),
            reason: String::new(),
            source: None,
            changes: Arc::new([]),
            set: Some((rs.name.clone(), rs.template_revision)),
            start: rs.created,
            end: None,
        }
    }
}

fn changed_by(deployment: &Deployment) -> String {
    deployment.template_by.as_ref().map_or_else(String::new, |touch| touch.manager.to_string())
}

/// Returns when a template became current. A reused ReplicaSet is older than that, and the field manager that
/// changed the template may have changed another field since.
fn began(deployment: &Deployment, rs: &ReplicaSet) -> Timestamp {
    let touched = deployment.template_by.as_ref().map(|touch| touch.time);
    touched
        .filter(|time| *time > rs.created && deployment.completed.is_none_or(|completed| *time <= completed))
        .unwrap_or(rs.created)
}

/// Returns the spec that callers asked for, with the fields that differ in the live pod template replaced.
pub fn with_template_changes(asked: &Spec, live: &Spec) -> Spec {
    let mut spec = asked.clone();
    if live.container() != asked.container() {
        return spec;
    }
    if live.image != asked.image {
        spec.image.clone_from(&live.image);
    }
    // A pod template patch also changes other fields, so a difference shows no change outside Gantry.
    if asked.pod_template_patch.is_none() {
        spec.command.clone_from(&live.command);
        spec.args.clone_from(&live.args);
        spec.env.clone_from(&live.env);
        spec.secret_env.clone_from(&live.secret_env);
        spec.config_map_env.clone_from(&live.config_map_env);
        if !same_resources(asked.resources.as_ref(), live.resources.as_ref()) {
            spec.resources.clone_from(&live.resources);
        }
        if !same_ports(&asked.ports, &live.ports) {
            let known = |port: &Port| asked.ports.iter().find(|p| p.name == port.name).map(|p| p.protocol);
            let port = |p: &Port| Port { protocol: known(p).unwrap_or(p.protocol), ..p.clone() };
            spec.ports = live.ports.iter().map(port).collect();
        }
    }
    spec
}

fn same_ports(asked: &[Port], live: &[Port]) -> bool {
    let plain = |ports: &[Port]| ports.iter().map(|p| (p.name.clone(), p.number)).collect::<Vec<_>>();
    plain(asked) == plain(live)
}

/// Compares quantities by value, because Kubernetes normalizes them: `0.5` comes back as `500m`.
fn same_resources(asked: Option<&Resources>, live: Option<&Resources>) -> bool {
    let canonical = |resources: Option<&Resources>| resources.map(Resources::canonical).unwrap_or_default();
    canonical(asked) == canonical(live)
}

#[cfg(test)]
mod tests;
