//! Changes made outside Gantry: whether a Deployment runs what the newest revision asked for, and the rollout
//! of what it runs instead. Also the rollouts of Deployments that Gantry does not manage.
//!
//! Rows of Deployments, ReplicaSets and revisions come by watches of their own, so any of them may be behind
//! another. What is said here must hold for every such mixture: a change that is not there may never be told,
//! one that is there may be told late.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{AppRows, Progress, Rollout, State};
use crate::domain::{
    name,
    observed::{Deployment, ReplicaSet, Revision},
    quantity,
    revision::Cause,
    spec::{Content, Port, Resources, Spec},
};

/// Seconds by which the clocks of several API servers may differ.
const SKEW: i64 = 5;

/// Age of a revision from which its Deployment counts as gone if there is none. Rows of the two come by
/// different watches.
const UNSEEN: SignedDuration = SignedDuration::from_secs(10);

/// Whether the app of this revision is gone, and only its history is left: nothing of it is rolled out. Its
/// Deployment may be unseen for a moment after the revision was carried out.
pub fn is_gone(newest: &Revision, facts: &AppRows<'_>, now: Timestamp) -> bool {
    facts.deployment.is_none() && newest.applied && now.duration_since(newest.created) > UNSEEN
}

/// Where what a Deployment runs comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin<'a> {
    /// From the newest revision.
    Current,
    /// Not from the newest revision yet, or the rows are too old to tell.
    Pending,
    /// From a change of the Deployment outside Gantry after the newest revision; this ReplicaSet runs it.
    External(&'a ReplicaSet),
}

/// Decides where what the Deployment runs comes from.
///
/// Kubernetes numbers templates in the order in which they become current, and copies the Deployment's
/// annotation, with our number in it, to the current ReplicaSet in the same write. So the lowest number of a
/// template that carries the newest revision is its own, and a higher one came after it.
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
            // Our annotation was taken away from the Deployment, or an older number put there. The ReplicaSet
            // keeps it until that is taken up; then the revision itself says that it was applied, and the
            // template was not touched since.
            _ => {
                let stands =
                    newest.applied && shows(deployment, newest) && !is_touched_since(deployment, newest);
                stands || current.is_some_and(|rs| rs.revision == Some(newest.number))
            }
        },
    };
    if carried { Origin::Current } else { Origin::Pending }
}

/// Whether the row of the Deployment shows all that the revision says was applied.
const fn shows(deployment: &Deployment, revision: &Revision) -> bool {
    deployment.resource_version > revision.version
}

/// Whether the pod template may have been changed outside Gantry after the revision was written.
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
    // A later revision of ours was applied and has not been seen: the change may be that one's.
    let is_later = |revision: Option<u64>| revision.is_some_and(|number| number > newest.number);
    let behind = is_later(deployment.revision) || facts.replica_sets.iter().any(|rs| is_later(rs.revision));
    // Two deploys of ours at once may be applied in the other order; that is no change outside Gantry.
    if behind || !is_touched_since(deployment, newest) || !newest.applied {
        return false;
    }
    let shown = shows(deployment, newest);
    match (newest.cause, newest.template_revision, first) {
        (Cause::External, Some(number), _) => current.template_revision > number,
        (Cause::External, None, _) => shown && newest.replica_set.as_ref() != Some(&current.name),
        (_, _, Some(first)) => current.template_revision > first,
        // It was undone before Kubernetes took it up at all. A ReplicaSet that is used again gets its number
        // before the Deployment does: until then the Deployment has the number of another template.
        (_, _, None) => {
            let undone = deployment.revision.is_some_and(|number| number < newest.number);
            shown && undone && current.template == deployment.template
        }
    }
}

// === impl Rollout ===

impl Rollout {
    /// The newest rollout of an app, before it is judged: of the newest revision, of a change made outside
    /// Gantry after it, or, for an app that Gantry does not manage, of its ReplicaSet.
    pub fn latest(newest: Option<&Revision>, facts: &AppRows<'_>) -> Option<Self> {
        let Some(newest) = newest else { return Self::unmanaged(facts) };
        let state = match find_origin(newest, facts) {
            Origin::Current => State::Running,
            Origin::Pending => State::Pending,
            Origin::External(rs) => return Some(Self::external(newest, facts.deployment?, rs)),
        };
        Some(Self { state, ..Self::recorded(newest) })
    }

    /// The rollout of a change made outside Gantry after this revision.
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

    /// The newest rollout of an app that Gantry does not manage.
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

    /// A rollout of an app that Gantry does not manage, which another one has replaced. What it ran is not
    /// known any more.
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

/// When a template became current. A ReplicaSet that is used again is older than that, and who changed the
/// template may have changed something else since.
fn began(deployment: &Deployment, rs: &ReplicaSet) -> Timestamp {
    let touched = deployment.template_by.as_ref().map(|touch| touch.time);
    touched
        .filter(|time| *time > rs.created && deployment.completed.is_none_or(|completed| *time <= completed))
        .unwrap_or(rs.created)
}

/// What was asked for, with the fields that the pod template shows to be otherwise now.
pub fn with_template_changes(asked: &Spec, live: &Spec) -> Spec {
    let mut spec = asked.clone();
    if live.container() != asked.container() {
        return spec;
    }
    if live.image != asked.image {
        spec.image.clone_from(&live.image);
    }
    // A patch adds to the other fields, so a difference is no change.
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

/// Kubernetes writes quantities in a form of its own: `0.5` comes back as `500m`.
fn same_resources(asked: Option<&Resources>, live: Option<&Resources>) -> bool {
    let empty = Resources::default();
    let (asked, live) = (asked.unwrap_or(&empty), live.unwrap_or(&empty));
    let same = |a: &str, b: &str| match (quantity::parse_quantity(a), quantity::parse_quantity(b)) {
        (Some(a), Some(b)) => (a - b).abs() <= a.abs() * 1e-9,
        _ => a == b,
    };
    [(&asked.requests, &live.requests), (&asked.limits, &live.limits)].iter().all(|(asked, live)| {
        asked.len() == live.len() && asked.iter().all(|(key, a)| live.get(key).is_some_and(|b| same(a, b)))
    })
}

#[cfg(test)]
mod tests;
